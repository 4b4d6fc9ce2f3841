//! What can be changed in the database, and how a transaction carries it out.

use super::{
    StoreError,
    agents::{AgentRow, LockedAgents},
    authorities::{self, AuthorityRow, TrustDomainRow},
    certificates::{self, CertificateRecord},
    database::Transaction,
    entries::{self, EntryRow},
    federation::{self, FederationRow, FederationTable},
    join_tokens::{self, JoinTokenRow},
    leases::{self, Lease},
    notices::{CHANNEL, Notice, payloads},
    replicas,
    revocations::{self, MendedRecord, Revocation, RevocationListRow, RevokedKeyRow},
    secrets::{self, SealedSecret},
};

/// One change of the database.
#[derive(Debug, Clone)]
pub enum Change {
    /// Records certificates.
    Issue(Vec<CertificateRecord>),
    /// Marks certificates as revoked.
    Revoke(Revocation),
    /// Refuses the whole commit if a certificate, by its serial number, has been revoked.
    HoldCertificate(String),
    /// Makes the record of a certificate say what the certificate says.
    MendCertificate(MendedRecord),
    /// Revokes a public key.
    RevokeKey(RevokedKeyRow),
    /// Removes the row of a revoked key, if it still is this one.
    ForgetRevokedKey(RevokedKeyRow),
    /// Replaces the revocation list of an issuer.
    PutRevocationList {
        /// The new list.
        row: RevocationListRow,
        /// The number of the list that it replaces; 0 when there is none.
        before: i64,
    },
    /// Forgets the revocation list of an issuer.
    ForgetRevocationList(String),
    /// Fills in the key of a certificate of the first schema.
    FillKeyHash {
        /// The certificate.
        serial: String,
        /// SHA-256 of its SubjectPublicKeyInfo.
        key_sha256: Vec<u8>,
    },
    /// Adds an entry.
    CreateEntry(EntryRow),
    /// Replaces an entry that is still at this revision.
    UpdateEntry {
        /// What it becomes.
        row: EntryRow,
        /// What it was made of.
        old_revision: i64,
    },
    /// Fills in the likeness of an entry of the first schema.
    FillLikeness {
        /// The entry.
        id: String,
        /// Its likeness.
        likeness: Vec<u8>,
    },
    /// Removes an entry.
    DeleteEntry(String),
    /// Removes an entry that is still at this revision.
    PruneEntry {
        /// The entry.
        id: String,
        /// Its revision.
        revision: i64,
    },
    /// Adds a row of federation that must not be there yet.
    AddFederation {
        /// To which table.
        table: FederationTable,
        /// The row.
        row: FederationRow,
    },
    /// Replaces a row of federation that is still what it was.
    ReplaceFederation {
        /// In which table.
        table: FederationTable,
        /// What it becomes.
        row: FederationRow,
        /// The MAC of what it was.
        old_mac: Vec<u8>,
    },
    /// Removes a row of federation.
    RemoveFederation {
        /// From which table.
        table: FederationTable,
        /// The foreign trust domain.
        trust_domain: String,
    },
    /// Adds an agent that must not be there yet.
    AddAgent(AgentRow),
    /// Replaces an agent whose row is still the one with this MAC.
    ReplaceAgent {
        /// What it becomes.
        row: AgentRow,
        /// The MAC of what it was made of.
        old_mac: Vec<u8>,
    },
    /// Removes an agent whose row is still the one with this MAC.
    DeleteAgent {
        /// The agent.
        spiffe_id: String,
        /// The MAC of its row.
        old_mac: Vec<u8>,
    },
    /// Refuses the whole commit unless an agent's row still is the one with this MAC.
    HoldAgent {
        /// The agent.
        spiffe_id: String,
        /// The MAC of its row.
        mac: Vec<u8>,
    },
    /// Adds a join token that must not be there yet.
    AddJoinToken(JoinTokenRow),
    /// Replaces a join token whose row is still the one with this MAC.
    ReplaceJoinToken {
        /// What it becomes.
        row: JoinTokenRow,
        /// The MAC of what it was made of.
        old_mac: Vec<u8>,
    },
    /// Removes the join tokens that have expired, used or not.
    ForgetJoinTokens {
        /// Unix seconds.
        expired_before: i64,
    },
    /// Adds a sealed secret that must not be there yet.
    AddSecret {
        /// What names it.
        name: String,
        /// The sealed secret.
        sealed: Vec<u8>,
    },
    /// Adds a sealed secret or replaces it.
    PutSecret {
        /// What names it.
        name: String,
        /// The sealed secret.
        sealed: Vec<u8>,
    },
    /// Removes a sealed secret.
    DeleteSecret(String),
    /// Refuses the whole commit unless a secret still is this one.
    HoldSecret(SealedSecret),
    /// Replaces every secret there is by one of the same name, if all of them still stand as they were read.
    ReplaceSecrets {
        /// As they were read.
        old: Vec<SealedSecret>,
        /// What takes their places, in the same order.
        new: Vec<SealedSecret>,
    },
    /// Begins a trust domain.
    BeginTrustDomain(TrustDomainRow),
    /// The trust bundle has changed: its sequence number grows.
    AdvanceBundle,
    /// Adds an authority; refused when its place is taken.
    AddAuthority(AuthorityRow),
    /// Moves an authority on in its life, or renews its certificate, if it still stands as `old` says.
    ReplaceAuthority {
        /// As it was read.
        old: Box<AuthorityRow>,
        /// As it shall be: another state, tainted, or with another certificate for the same key.
        new: Box<AuthorityRow>,
    },
    /// Forgets an authority, if it still stands.
    ForgetAuthority(String),
    /// Forgets an authority; refused when another replica did so already.
    ExpireAuthority(String),
    /// A replica lives.
    SeeReplica {
        /// Which.
        id: String,
        /// Unix seconds.
        at: i64,
    },
    /// Takes or keeps a lease that nobody else holds.
    TakeLease(Lease),
}

impl Change {
    /// What other replicas must be told.
    pub(super) fn notice(&self) -> Option<Notice> {
        match self {
            Self::CreateEntry(row) | Self::UpdateEntry { row, .. } => {
                Some(Notice::Entries(vec![row.id.clone()]))
            }
            Self::DeleteEntry(id) | Self::PruneEntry { id, .. } => Some(Notice::Entries(vec![id.clone()])),
            Self::AddAgent(row) | Self::ReplaceAgent { row, .. } => {
                Some(Notice::Agents(vec![row.spiffe_id.clone()]))
            }
            Self::DeleteAgent { spiffe_id, .. } => Some(Notice::Agents(vec![spiffe_id.clone()])),
            Self::Revoke(_)
            | Self::RevokeKey(_)
            | Self::ForgetRevokedKey(_)
            | Self::PutRevocationList { .. } => Some(Notice::Revocations),
            Self::AddFederation { .. } | Self::ReplaceFederation { .. } | Self::RemoveFederation { .. } => {
                Some(Notice::Federation)
            }
            Self::BeginTrustDomain(_)
            | Self::AdvanceBundle
            | Self::AddAuthority(_)
            | Self::ReplaceAuthority { .. }
            | Self::ForgetAuthority(_)
            | Self::ExpireAuthority(_) => Some(Notice::Authorities),
            Self::Issue(_)
            | Self::HoldCertificate(_)
            | Self::FillLikeness { .. }
            | Self::FillKeyHash { .. }
            | Self::MendCertificate(_)
            | Self::ForgetRevocationList(_)
            | Self::HoldAgent { .. }
            | Self::AddJoinToken(_)
            | Self::ReplaceJoinToken { .. }
            | Self::ForgetJoinTokens { .. }
            | Self::AddSecret { .. }
            | Self::PutSecret { .. }
            | Self::DeleteSecret(_)
            | Self::HoldSecret(_)
            | Self::ReplaceSecrets { .. }
            | Self::SeeReplica { .. }
            | Self::TakeLease(_) => None,
        }
    }
}

/// Other replicas hear of it when the transaction is committed.
pub(super) async fn tell_others(
    replica: &str,
    transaction: &mut Transaction,
    changes: &[&Change],
) -> Result<(), StoreError> {
    let Transaction::Postgres(transaction) = transaction else { return Ok(()) };
    for payload in payloads(replica, changes.iter().filter_map(|change| change.notice())) {
        sqlx::query("SELECT pg_notify($1, $2)")
            .bind(CHANNEL)
            .bind(payload)
            .execute(&mut **transaction)
            .await?;
    }
    Ok(())
}

/// Carries changes out in their order; runs of additions share statements.
pub(super) async fn apply(transaction: &mut Transaction, changes: &[&Change]) -> Result<(), StoreError> {
    // Agents before certificates, as whoever bans an agent has them: the two must not wait for each other.
    let mut agents = LockedAgents::lock(transaction, changes).await?;
    let mut run = Run::default();
    for change in changes {
        match change {
            Change::Issue(records) => run.issued.extend(records),
            Change::CreateEntry(row) => run.created.push(row),
            Change::HoldAgent { spiffe_id, mac } => agents.hold(spiffe_id, mac)?,
            other => {
                run.flush(transaction).await?;
                apply_one(transaction, &mut agents, other).await?;
            }
        }
    }
    run.flush(transaction).await
}

/// Changes that share statements: none of them changes an agent or revokes anything.
#[derive(Default)]
struct Run<'a> {
    issued: Vec<&'a CertificateRecord>,
    created: Vec<&'a EntryRow>,
}

impl Run<'_> {
    async fn flush(&mut self, transaction: &mut Transaction) -> Result<(), StoreError> {
        for record in &self.issued {
            if let Some(renewed) = &record.renews {
                revocations::refuse_revoked(transaction, renewed).await?;
            }
        }
        certificates::insert(transaction, &self.issued).await?;
        entries::create(transaction, &self.created).await?;
        *self = Self::default();
        Ok(())
    }
}

async fn apply_one(
    transaction: &mut Transaction,
    agents: &mut LockedAgents,
    change: &Change,
) -> Result<(), StoreError> {
    match change {
        Change::Issue(records) => {
            certificates::insert(transaction, &records.iter().collect::<Vec<_>>()).await
        }
        Change::CreateEntry(row) => entries::create(transaction, &[row]).await,
        Change::Revoke(revocation) => revocations::revoke(transaction, revocation).await,
        Change::HoldCertificate(serial) => revocations::refuse_revoked(transaction, serial).await,
        Change::MendCertificate(record) => revocations::mend(transaction, record).await,
        Change::ForgetRevokedKey(row) => revocations::forget_key(transaction, row).await,
        Change::RevokeKey(row) => revocations::revoke_key(transaction, row).await,
        Change::PutRevocationList { row, before } => revocations::put_list(transaction, row, *before).await,
        Change::ForgetRevocationList(issuer) => revocations::forget_list(transaction, issuer).await,
        Change::FillKeyHash { serial, key_sha256 } => {
            revocations::fill_key_hash(transaction, serial, key_sha256).await
        }
        Change::UpdateEntry { row, old_revision } => entries::update(transaction, row, *old_revision).await,
        Change::FillLikeness { id, likeness } => entries::fill_likeness(transaction, id, likeness).await,
        Change::DeleteEntry(id) => entries::delete(transaction, id).await,
        Change::PruneEntry { id, revision } => entries::prune(transaction, id, *revision).await,
        Change::AddFederation { table, row } => federation::add(transaction, *table, row).await,
        Change::ReplaceFederation { table, row, old_mac } => {
            federation::replace(transaction, *table, row, old_mac).await
        }
        Change::RemoveFederation { table, trust_domain } => {
            federation::remove(transaction, *table, trust_domain).await
        }
        Change::AddAgent(row) => agents.add(transaction, row).await,
        Change::ReplaceAgent { row, old_mac } => agents.replace(transaction, row, old_mac).await,
        Change::DeleteAgent { spiffe_id, old_mac } => agents.delete(transaction, spiffe_id, old_mac).await,
        Change::HoldAgent { spiffe_id, mac } => agents.hold(spiffe_id, mac),
        Change::AddJoinToken(row) => join_tokens::add(transaction, row).await,
        Change::ReplaceJoinToken { row, old_mac } => join_tokens::replace(transaction, row, old_mac).await,
        Change::ForgetJoinTokens { expired_before } => {
            join_tokens::forget_expired(transaction, *expired_before).await
        }
        Change::AddSecret { name, sealed } => secrets::add(transaction, name, sealed).await,
        Change::PutSecret { name, sealed } => secrets::put(transaction, name, sealed).await,
        Change::DeleteSecret(name) => secrets::delete(transaction, name).await,
        Change::HoldSecret(secret) => secrets::hold(transaction, secret).await,
        Change::ReplaceSecrets { old, new } => secrets::replace_all(transaction, old, new).await,
        Change::BeginTrustDomain(row) => authorities::begin(transaction, row).await,
        Change::AdvanceBundle => authorities::advance_bundle(transaction).await,
        Change::AddAuthority(row) => authorities::add(transaction, row).await,
        Change::ReplaceAuthority { old, new } => authorities::replace(transaction, old, new).await,
        Change::ForgetAuthority(key_id) => authorities::forget(transaction, key_id).await.map(drop),
        Change::ExpireAuthority(key_id) => authorities::expire(transaction, key_id).await,
        Change::SeeReplica { id, at } => replicas::see(transaction, id, *at).await,
        Change::TakeLease(lease) => leases::take(transaction, lease).await,
    }
}
