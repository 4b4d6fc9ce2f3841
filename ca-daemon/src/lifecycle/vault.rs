//! The rows and the private keys of authorities together: a key is kept before its row is written, and a row is
//! written before its key signs. Killed in between, a key without a row is left behind, which signs nothing.

use std::{collections::HashSet, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use rcgen::PublicKeyData;
use secplane_identity::{PrivateKey, TrustDomain, x509::Certificate};

use super::{
    LifecycleError,
    authorities::Authorities,
    row,
    succession::{Line, Move},
};
use crate::{
    audit::{Action, Event},
    authority::{CaKey, CrlUrl, DomainCa, IssuingCa, JwtKey, Validity, key_id_of, split_certificates},
    instant::{Clock, from_unix, unix},
    jwt_svids::forget_lives,
    keys::{IN_TOKEN, KeyStore, RowMac},
    store::{AuthorityKind, AuthorityRow, AuthorityState, Change, Commit, ELSEWHERE, Store},
    upstream::PemCa,
};

/// How long new authorities live.
#[derive(Debug, Clone, Copy)]
pub struct AuthorityLifetimes {
    /// A root.
    pub root: Duration,
    /// An issuing CA.
    pub issuing: Duration,
    /// A JWT key.
    pub jwt_key: Duration,
}

/// Where one replica keeps the authorities.
pub struct Vault {
    /// Whose authorities they are.
    pub trust_domain: TrustDomain,
    /// The replica.
    pub replica: String,
    /// Their rows.
    pub store: Store,
    /// Their private keys.
    pub keys: KeyStore,
    /// What proves their rows.
    pub mac: RowMac,
    /// How long new ones live.
    pub lifetimes: ArcSwap<AuthorityLifetimes>,
    /// Where certificates say that revocation lists are found.
    pub crl_url: Option<CrlUrl>,
    /// The time.
    pub clock: Clock,
}

impl Vault {
    /// All authorities as they stand. Rows of the first schema are proven on the way.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn read(&self) -> Result<Authorities, LifecycleError> {
        let found = Authorities::read(&self.store, &self.mac).await?;
        if found.rows().is_empty() && found.refused().iter().any(|row| row.mac.is_none()) {
            super::adoption::adopt(self, found.refused()).await?;
            return Ok(Authorities::read(&self.store, &self.mac).await?.with_refused_reported());
        }
        Ok(found.with_refused_reported())
    }

    /// Makes a new root and keeps its key. Nothing points to it yet.
    ///
    /// # Errors
    /// When it cannot be made or kept.
    pub async fn new_root(&self, state: AuthorityState) -> Result<AuthorityRow, LifecycleError> {
        let (trust_domain, lifetime, now) =
            (self.trust_domain.clone(), self.lifetimes.load().root, self.clock.now());
        let key = self.keys.make_ca_key().await?;
        let key_id = key.id();
        let made = blocking(move || {
            let ca = DomainCa::self_signed(&trust_domain, key, lifetime, now)?;
            ca.check(now)?;
            Ok(ca)
        });
        match made.await {
            Ok(ca) => Ok(self.row_of(&ca, state, self.keys.ca_storage())),
            Err(error) => {
                self.destroy(&key_id).await;
                Err(error)
            }
        }
    }

    /// Takes in a CA from PEM files. Its key is kept as our own are from now on; nothing points to it yet.
    ///
    /// # Errors
    /// When what is signed below it would not be accepted, or its key cannot be kept.
    pub async fn outside_ca(&self, files: PemCa) -> Result<Arc<DomainCa>, LifecycleError> {
        let (trust_domain, now) = (self.trust_domain.clone(), self.clock.now());
        let (ca, key) = blocking(move || {
            let ca = files.domain_ca(&trust_domain, now)?;
            Ok((ca, files.key))
        })
        .await?;
        self.keys.keep(ca.key_id(), &key).await?;
        Ok(Arc::new(ca))
    }

    /// The row of the trust domain's CA.
    pub(crate) fn row_of(&self, ca: &DomainCa, state: AuthorityState, key_storage: &str) -> AuthorityRow {
        let certificate = ca.certificate();
        let validity = Validity { not_before: certificate.not_before, not_after: certificate.not_after };
        let key_id = ca.key_id().to_owned();
        let row = self.row(AuthorityKind::Root, state, key_id, certificate.der.to_vec(), validity);
        AuthorityRow { chain: ca.above(), key_storage: key_storage.to_owned(), ..row }
    }

    /// The row of an authority whose private key somebody else has.
    pub(super) fn row_of_another(
        &self,
        kind: AuthorityKind,
        state: AuthorityState,
        key_id: String,
        public: Vec<u8>,
        validity: Validity,
    ) -> AuthorityRow {
        let row = self.row(kind, state, key_id, public, validity);
        AuthorityRow { key_storage: ELSEWHERE.to_owned(), ..row }
    }

    /// Makes a new JWT key and keeps it. Nothing points to it yet.
    ///
    /// # Errors
    /// When it cannot be made or kept.
    pub async fn new_jwt_key(&self, state: AuthorityState) -> Result<AuthorityRow, LifecycleError> {
        let kind = JwtKey::kind_beside(self.keys.kind());
        let key = blocking(move || Ok(PrivateKey::generate_kind(kind)?)).await?;
        let public = CaKey::try_from(&key)?;
        let key_id = public.id();
        self.keys.keep(&key_id, &key).await?;
        let validity = Validity::starting(self.clock.now(), self.lifetimes.load().jwt_key, None);
        Ok(self.row(AuthorityKind::Jwt, state, key_id, public.subject_public_key_info(), validity))
    }

    /// Makes, keeps and records the issuing CA of this replica below `domain_ca`; the one before becomes old.
    ///
    /// # Errors
    /// When it cannot be signed, or its key or record not be written.
    pub async fn new_issuing_ca(
        &self,
        domain_ca: &Arc<DomainCa>,
        standing: &Authorities,
    ) -> Result<IssuingCa, LifecycleError> {
        let (lifetime, now) = (self.lifetimes.load().issuing, self.clock.now());
        let signer = Arc::clone(domain_ca);
        let key = self.keys.make().await?;
        let (key, issuing) = blocking(move || {
            let issuing = signer.issue_ca(&key, lifetime, now)?;
            Ok((key, issuing))
        })
        .await?;
        let key_id = issuing.key_id().to_owned();
        let issuing = issuing.with_crl_url(self.crl_url_of(&key_id));
        self.keys.keep(&key_id, &key).await?;
        let public = issuing.certificate().der.to_vec();
        let row = AuthorityRow {
            issuer_key_id: domain_ca.key_id().to_owned(),
            replica: self.replica.clone(),
            ..self.row(
                AuthorityKind::Issuing,
                AuthorityState::Active,
                key_id.clone(),
                public,
                issuing.validity(),
            )
        };
        let is_in_place = |row: &&AuthorityRow| {
            row.kind == AuthorityKind::Issuing
                && row.replica == self.replica
                && row.state == AuthorityState::Active
        };
        let mut changes: Vec<_> = standing
            .rows()
            .iter()
            .filter(is_in_place)
            .map(|old| self.replace(old, AuthorityState::Old, old.tainted))
            .collect();
        // A row that is not ours must neither stay in the way nor be given our proof.
        let forged = standing.refused().iter().filter(is_in_place);
        changes.extend(forged.map(|row| out_of_the_way(row, standing)));
        changes.push(self.add(row));
        let event = Event::by_daemon(Action::AuthorityRotate, key_id)
            .with("kind", AuthorityKind::Issuing.as_str())
            .with("root", domain_ca.key_id());
        self.store.commit(Commit { changes, events: vec![event] }).await?;
        Ok(issuing)
    }

    /// The CA that a row of a root stands for.
    ///
    /// # Errors
    /// When its key is missing, or does not fit.
    pub async fn domain_ca(&self, row: &AuthorityRow) -> Result<Arc<DomainCa>, LifecycleError> {
        let key = self.keys.ca_key(&row.key_id).await?;
        let above = split_certificates(&row.chain)?;
        let ca = DomainCa::restore(&self.trust_domain, &row.public, &above, key)?;
        Ok(Arc::new(ca.with_crl_url(self.crl_url_of(&row.key_id))))
    }

    /// As [`Vault::domain_ca`] for a time when the key may be away: it signs nothing, and shows the way from what it signed
    /// before up to the roots.
    ///
    /// # Errors
    /// When the certificates do not belong together.
    pub(crate) fn domain_ca_without_key(&self, row: &AuthorityRow) -> Result<Arc<DomainCa>, LifecycleError> {
        let (key, above) = (CaKey::absent(&row.public)?, split_certificates(&row.chain)?);
        Ok(Arc::new(DomainCa::restore(&self.trust_domain, &row.public, &above, key)?))
    }

    fn crl_url_of(&self, issuer: &str) -> Option<String> {
        self.crl_url.as_ref().map(|url| url.of_issuer(issuer))
    }

    /// The issuing CA that a row stands for, if it can still sign below `domain_ca`.
    pub async fn issuing_ca(&self, row: &AuthorityRow, domain_ca: &Arc<DomainCa>) -> Option<IssuingCa> {
        let (signer, now, certificate) = (Arc::clone(domain_ca), self.clock.now(), row.public.clone());
        let restored = match self.keys.load(&row.key_id).await {
            Ok(key) => {
                blocking(move || Ok(IssuingCa::restore(&certificate, CaKey::try_from(&key)?, &signer, now)?))
                    .await
            }
            Err(error) => Err(error.into()),
        };
        restored
            .inspect_err(
                |error| tracing::warn!(%error, "the issuing CA is not usable; a new one takes its place"),
            )
            .ok()
            .map(|issuing| issuing.with_crl_url(self.crl_url_of(&row.key_id)))
    }

    /// The JWT key that a row stands for.
    ///
    /// # Errors
    /// When it is missing or does not fit.
    pub async fn jwt_key(&self, row: &AuthorityRow) -> Result<JwtKey, LifecycleError> {
        let key = self.keys.load(&row.key_id).await?;
        let key = JwtKey::new(&key, from_unix(row.not_after))?;
        if key.key_id() != row.key_id || key.authority().public_key_info != row.public {
            return Err(LifecycleError::ForeignKey(row.key_id.clone()));
        }
        Ok(key)
    }

    /// The changes that moves of a line come to.
    pub(crate) fn moved(&self, standing: &Authorities, moves: &[Move]) -> Vec<Change> {
        let change = |step: &Move| {
            let old = standing.row(&step.key_id)?;
            Some(self.replace(old, step.state, step.tainted))
        };
        moves.iter().filter_map(change).collect()
    }

    /// The change that adds a row with its proof.
    pub(crate) fn add(&self, row: AuthorityRow) -> Change {
        Change::AddAuthority(row::seal(row, &self.mac))
    }

    fn replace(&self, old: &AuthorityRow, state: AuthorityState, tainted: bool) -> Change {
        let since = if state == old.state { old.since } else { unix(self.clock.now()) };
        let new = row::seal(AuthorityRow { state, tainted, since, ..old.clone() }, &self.mac);
        Change::ReplaceAuthority { old: Box::new(old.clone()), new: Box::new(new) }
    }

    fn row(
        &self,
        kind: AuthorityKind,
        state: AuthorityState,
        key_id: String,
        public: Vec<u8>,
        validity: Validity,
    ) -> AuthorityRow {
        let now = unix(self.clock.now());
        AuthorityRow {
            issuer_key_id: key_id.clone(),
            key_id,
            kind,
            state,
            tainted: false,
            public,
            chain: Vec::new(),
            replica: String::new(),
            key_storage: self.keys.storage().to_owned(),
            not_before: unix(validity.not_before),
            not_after: unix(validity.not_after),
            created_at: now,
            since: now,
            mac: None,
        }
    }

    /// Destroys the private keys of this machine that no authority needs any more: those of authorities that are no
    /// more, or that no longer sign anything, and those that a crash left behind before anything pointed to them. In a
    /// token others may have keys, too: there it destroys only those of revoked authorities.
    pub(crate) async fn destroy_retired_keys(&self, standing: &Authorities) -> Result<(), LifecycleError> {
        let rows = standing.rows().iter().filter(|row| !is_without_key(row));
        let mut needed: HashSet<String> = rows.map(|row| row.key_id.clone()).collect();
        // A row that is refused may be one of ours that somebody edited: neither its state counts nor its ID alone.
        for row in standing.refused() {
            needed.insert(row.key_id.clone());
            needed.extend(key_id_of(&row.public));
        }
        needed.extend(crate::upstream::pending_key_id(&self.keys).await?);
        let retired = self.keys.forget_keys_but(&needed).await?;
        if !retired.is_empty() {
            tracing::info!(keys = ?retired, "private keys that no authority needs any more are deleted");
        }
        for row in standing.rows().iter().filter(|row| is_without_key(row) && row.key_storage == IN_TOKEN) {
            self.destroy(&row.key_id).await;
        }
        Ok(())
    }

    /// Destroys the private key of an authority, unless it is somebody else's.
    pub(super) async fn destroy_key_of(&self, row: &AuthorityRow) {
        if !row.is_of_somebody_else() {
            self.destroy(&row.key_id).await;
        }
    }

    /// Destroys a private key that signs no more. That it cannot be is reported: nothing depends on it.
    pub(crate) async fn destroy(&self, key_id: &str) {
        let destroyed = async {
            self.keys.forget_key(key_id).await?;
            forget_lives(&self.keys, key_id).await
        };
        if let Err(error) = destroyed.await {
            tracing::warn!(key_id, %error, "a private key that is not needed any more could not be deleted");
        }
    }

    /// Destroys the private key of an authority that could not be written, unless one stands under its ID all the same:
    /// that may be just what was in the way, and it signs with this key.
    pub(crate) async fn destroy_unless_on_record(&self, key_id: &str) {
        match self.store.authority(key_id).await {
            Ok(None) => self.destroy(key_id).await,
            Ok(Some(_)) => {}
            Err(error) => {
                tracing::warn!(key_id, %error, "whether a private key is in use is not known; it is kept")
            }
        }
    }

    pub(super) async fn new_of(
        &self,
        line: Line,
        state: AuthorityState,
    ) -> Result<AuthorityRow, LifecycleError> {
        match line {
            Line::Root => self.new_root(state).await,
            Line::Jwt => self.new_jwt_key(state).await,
        }
    }
}

/// What becomes of a row in the place of a new issuing CA that this authority did not write. If it holds what one of our
/// roots signed, what that signed in turn is trusted until it ends: it stays known, so that it can be revoked and has
/// its list.
fn out_of_the_way(row: &AuthorityRow, standing: &Authorities) -> Change {
    let roots = standing.rows().iter().filter(|row| row.kind == AuthorityKind::Root);
    let is_ours = Certificate::parse(&row.public).is_ok_and(|ca| {
        roots
            .filter_map(|root| Certificate::parse(&root.public).ok())
            .any(|root| ca.is_ca && ca.is_signed_by(&root))
    });
    if !is_ours {
        return Change::ForgetAuthority(row.key_id.clone());
    }
    let new = AuthorityRow { state: AuthorityState::Old, ..row.clone() };
    Change::ReplaceAuthority { old: Box::new(row.clone()), new: Box::new(new) }
}

/// Whether an authority is done with its key: a revoked root or JWT key signs not even a revocation list.
fn is_without_key(row: &AuthorityRow) -> bool {
    row.state == AuthorityState::Revoked && matches!(row.kind, AuthorityKind::Root | AuthorityKind::Jwt)
}

/// Keys are made, read and used off the async runtime: RSA takes seconds, a disk or a token as long as it takes.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LifecycleError> + Send + 'static,
) -> Result<T, LifecycleError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(LifecycleError::Interrupted))
}
