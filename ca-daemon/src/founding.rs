//! How an authority begins: the first start makes a root and an issuing CA, every later one finds them again.

use std::time::{Duration, SystemTime};

use secplane_identity::{TrustBundle, TrustDomain, trust_bundle::TrustBundleError};

use crate::{
    audit::{Action, Event},
    authority::{CaError, CaKey, DomainCa, IssuingCa, split_certificates},
    instant::unix,
    keys::{KeyStore, KeyStoreError},
    store::{
        AuthorityFilter, AuthorityKind, AuthorityRow, AuthorityState, Change, Commit, Store, StoreError,
        TrustDomainRow,
    },
};

/// The CA of a trust domain and an issuing CA below it, ready to issue.
pub struct Founded {
    /// The CA of the trust domain.
    pub domain_ca: DomainCa,
    /// The issuing CA.
    pub issuing: IssuingCa,
    /// What is trusted.
    pub bundle: TrustBundle,
    /// Whether this start made the root.
    pub is_new: bool,
}

/// Finds the authority of `trust_domain` in the store, or makes it.
///
/// # Errors
/// When the store belongs to another trust domain, or a key is missing or does not open.
pub async fn found(
    trust_domain: &TrustDomain,
    replica: &str,
    store: &Store,
    keys: &KeyStore,
    root_lifetime: Duration,
    issuing_lifetime: Duration,
    now: SystemTime,
) -> Result<Founded, FoundingError> {
    let (domain_ca, sequence, is_new) = match store.trust_domain().await? {
        Some(row) if row.name != trust_domain.as_str() => {
            return Err(FoundingError::OtherTrustDomain { found: row.name, wanted: trust_domain.clone() });
        }
        Some(row) => (find_root(trust_domain, store, keys).await?, row.bundle_sequence, false),
        None => (make_root(trust_domain, store, keys, root_lifetime, now).await?, 1, true),
    };
    let issuing = match find_issuing(replica, store, keys, &domain_ca, now).await? {
        Some(issuing) if issuing.validity().half_life() > now => issuing,
        _ => new_issuing_ca(&domain_ca, replica, keys, store, issuing_lifetime, now).await?,
    };
    let bundle = TrustBundle::new(trust_domain.clone(), domain_ca.roots().map(|root| &root.der))?
        .with_sequence(u64::try_from(sequence).unwrap_or(1));
    Ok(Founded { domain_ca, issuing, bundle, is_new })
}

async fn find_root(
    trust_domain: &TrustDomain,
    store: &Store,
    keys: &KeyStore,
) -> Result<DomainCa, FoundingError> {
    let row = active(store, AuthorityKind::Root, None).await?.ok_or(FoundingError::NoRoot)?;
    let key = keys.ca_key(&row.key_id).await?;
    let above = split_certificates(&row.chain)?;
    Ok(DomainCa::restore(trust_domain, &row.public, &above, key)?)
}

/// An issuing CA whose key is lost, that has expired or that another CA signed is no obstacle: a new one is made.
async fn find_issuing(
    replica: &str,
    store: &Store,
    keys: &KeyStore,
    domain_ca: &DomainCa,
    now: SystemTime,
) -> Result<Option<IssuingCa>, FoundingError> {
    let Some(row) = active(store, AuthorityKind::Issuing, Some(replica.to_owned())).await? else {
        return Ok(None);
    };
    match keys.load(&row.key_id).await {
        Ok(key) => {
            let key = CaKey::try_from(&key).map_err(CaError::from)?;
            match IssuingCa::restore(&row.public, key, domain_ca, now) {
                Ok(issuing) => Ok(Some(issuing)),
                Err(error) => {
                    tracing::warn!(%error, "the issuing CA is not usable; a new one takes its place");
                    Ok(None)
                }
            }
        }
        Err(error) => {
            tracing::warn!(%error, "the issuing CA's key is not usable; a new issuing CA takes its place");
            Ok(None)
        }
    }
}

async fn make_root(
    trust_domain: &TrustDomain,
    store: &Store,
    keys: &KeyStore,
    lifetime: Duration,
    now: SystemTime,
) -> Result<DomainCa, FoundingError> {
    // The key first: a key without a certificate is harmless, a certificate without its key is not.
    let key = keys.make_ca_key().await?;
    let root = DomainCa::self_signed(trust_domain, key, lifetime, now)?;
    let row = row(
        AuthorityKind::Root,
        root.key_id(),
        root.key_id(),
        "",
        keys.ca_storage(),
        root.certificate(),
        now,
    );
    let trust_domain = TrustDomainRow { name: trust_domain.to_string(), bundle_sequence: 1 };
    let event = Event::by_daemon(Action::AuthorityActivate, root.key_id()).with("kind", "root");
    store
        .commit(Commit {
            changes: vec![Change::BeginTrustDomain(trust_domain), Change::AddAuthority(row)],
            events: vec![event],
        })
        .await?;
    Ok(root)
}

/// Makes, keeps and records a new issuing CA; the one before becomes old.
///
/// # Errors
/// When it cannot be signed, or its key or record not be written.
pub async fn new_issuing_ca(
    domain_ca: &DomainCa,
    replica: &str,
    keys: &KeyStore,
    store: &Store,
    lifetime: Duration,
    now: SystemTime,
) -> Result<IssuingCa, FoundingError> {
    let key = keys.make().await?;
    let issuing = domain_ca.issue_ca(&key, lifetime, now)?;
    keys.keep(issuing.key_id(), &key).await?;
    let row = row(
        AuthorityKind::Issuing,
        issuing.key_id(),
        domain_ca.key_id(),
        replica,
        keys.storage(),
        issuing.certificate(),
        now,
    );
    let mut changes = Vec::new();
    if let Some(old) = active(store, AuthorityKind::Issuing, Some(replica.to_owned())).await? {
        let new = AuthorityRow { state: AuthorityState::Old, ..old.clone() };
        changes.push(Change::ReplaceAuthority { old, new });
    }
    changes.push(Change::AddAuthority(row));
    let event = Event::by_daemon(Action::AuthorityRotate, issuing.key_id()).with("kind", "issuing");
    store.commit(Commit { changes, events: vec![event] }).await?;
    Ok(issuing)
}

async fn active(
    store: &Store,
    kind: AuthorityKind,
    replica: Option<String>,
) -> Result<Option<AuthorityRow>, StoreError> {
    let filter = AuthorityFilter { kind: Some(kind), state: Some(AuthorityState::Active), replica };
    Ok(store.authorities(&filter).await?.into_iter().next())
}

fn row(
    kind: AuthorityKind,
    key_id: &str,
    issuer_key_id: &str,
    replica: &str,
    key_storage: &str,
    certificate: &secplane_identity::x509::Certificate,
    now: SystemTime,
) -> AuthorityRow {
    AuthorityRow {
        key_id: key_id.to_owned(),
        kind,
        state: AuthorityState::Active,
        tainted: false,
        public: certificate.der.to_vec(),
        chain: Vec::new(),
        issuer_key_id: issuer_key_id.to_owned(),
        replica: replica.to_owned(),
        key_storage: key_storage.to_owned(),
        not_before: unix(certificate.not_before),
        not_after: unix(certificate.not_after),
        created_at: unix(now),
        mac: None,
    }
}

/// Why an authority cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum FoundingError {
    /// The database belongs to another trust domain.
    #[error(
        "the data folder belongs to trust domain {found}, not {wanted}; use another folder, or configure {found}"
    )]
    OtherTrustDomain {
        /// Whose it is.
        found: String,
        /// What was configured.
        wanted: TrustDomain,
    },
    /// The database has a trust domain but no root.
    #[error("the database holds no active root; restore it from a backup")]
    NoRoot,
    /// A CA certificate cannot be made or used.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// A key cannot be kept or read.
    #[error(transparent)]
    KeyStore(#[from] KeyStoreError),
    /// The root cannot be put into a bundle.
    #[error(transparent)]
    Bundle(#[from] TrustBundleError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
