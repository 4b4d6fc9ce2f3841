//! The life of the authorities: roots and JWT keys are prepared, activated, tainted and revoked, by command or by
//! age, and each replica has its own issuing CA below the active root.
//!
//! | module | holds |
//! |---|---|
//! | [`succession`](Succession) | which step is legal from which state |
//! | [`schedule`](Schedule) | when a step is due by age |
//! | `row` | the proof that this authority wrote a row |
//! | [`authorities`](Authorities) | all rows at one moment, and the trust bundle that they come to |
//! | [`vault`](Vault) | rows and private keys together |
//! | `adoption` | rows of the first schema |
//! | `others` | CAs that others have below ours |
//! | `outside` | roots of outside CAs |
//! | `renewal` | certificates that an outside CA renewed for the same key |
//! | `publishing` | roots and keys of others that are trusted beside ours |
//! | `steps` | the steps |
//! | `obstacles` | what is in the way of each |
//!
//! The database is the truth. A step is one transaction; after it, and whenever another replica took one, a replica
//! reads everything again and catches up: the trust bundle, its issuing CA, the key that signs JWT-SVIDs. So it does
//! not matter where a replica was when it was killed, or which notices it missed.

mod adoption;
mod authorities;
mod obstacles;
mod others;
mod outside;
mod publishing;
mod renewal;
pub(crate) mod row;
mod schedule;
mod steps;
mod succession;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod vault;

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use secplane_identity::revocation::KeyHash;
use tokio::sync::{Mutex, MutexGuard, watch};
use tokio_util::task::TaskTracker;

pub use authorities::{Authorities, BundleError};
pub use others::{CaOfAnother, CertifiedCa, OrderForAnother};
pub(crate) use outside::outside_roots;
pub use publishing::ForeignAuthorities;
pub use schedule::{DueStep, PartOfLife, Schedule};
pub use steps::{Command, Step};
pub use succession::{Line, Member, Move, Preparation, StepError, Succession};
pub use vault::{AuthorityLifetimes, Vault};

use crate::{
    authority::{CaError, DomainCa, JwtKey, JwtKeyError},
    issuance::Issuance,
    jwt_svids::JwtSvids,
    keys::KeyStoreError,
    store::{AuthorityRow, AuthorityState, StoreError},
    upstream::UpstreamError,
};

/// How the lines go on.
#[derive(Debug, Clone, Copy)]
pub struct LifecycleSettings {
    /// When steps are due.
    pub schedule: Schedule,
    /// The longest life of a JWT-SVID: so long after its key signed last, no token of it is valid.
    pub longest_jwt_svid: Duration,
    /// Whether a root goes only once every live agent has reported the trust bundle.
    pub revoke_after_agents: bool,
}

/// Keeps this replica in step with the authorities, and takes steps.
pub struct Lifecycle {
    vault: Vault,
    settings: ArcSwap<LifecycleSettings>,
    issuance: Arc<Issuance>,
    standing: ArcSwap<Authorities>,
    domain_ca: ArcSwap<DomainCa>,
    jwt_svids: Arc<JwtSvids>,
    /// Changes when this replica caught up with something.
    caught_up: watch::Sender<u64>,
    turn: Mutex<()>,
    tasks: TaskTracker,
}

/// Where a replica is after reading everything again.
struct CaughtUp {
    /// What stands.
    standing: Arc<Authorities>,
    /// Whether this replica could follow it in everything. Whom it trusts follows in any case.
    followed: Result<(), LifecycleError>,
}

/// Shows that its holder is the only one who takes steps and catches up here.
type Turn<'a> = MutexGuard<'a, ()>;

impl Lifecycle {
    /// Goes on from where founding ended.
    #[must_use]
    pub fn new(
        vault: Vault,
        settings: LifecycleSettings,
        issuance: Arc<Issuance>,
        jwt_svids: Arc<JwtSvids>,
        founded: FoundedAuthorities,
    ) -> Arc<Self> {
        let FoundedAuthorities { authorities, domain_ca, jwt_key } = founded;
        issuance.withdraw(authorities.withdrawn_issuers());
        jwt_svids.use_key(jwt_key);
        Arc::new(Self {
            vault,
            settings: ArcSwap::from_pointee(settings),
            issuance,
            standing: ArcSwap::from_pointee(authorities),
            domain_ca: ArcSwap::new(domain_ca),
            jwt_svids,
            caught_up: watch::Sender::new(0),
            turn: Mutex::new(()),
            tasks: TaskTracker::new(),
        })
    }

    /// Where the authorities are kept.
    #[must_use]
    pub(crate) fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Goes on by other settings from now on; what stands already keeps its own end. Steps that are due by them are
    /// taken at once.
    pub fn set_settings(&self, settings: LifecycleSettings, lifetimes: AuthorityLifetimes) {
        self.settings.store(Arc::new(settings));
        self.vault.lifetimes.store(Arc::new(lifetimes));
        self.caught_up.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The CA that signs issuing CAs.
    #[must_use]
    pub fn domain_ca(&self) -> Arc<DomainCa> {
        self.domain_ca.load_full()
    }

    /// The authorities as this replica last read them.
    #[must_use]
    pub fn standing(&self) -> Arc<Authorities> {
        self.standing.load_full()
    }

    /// The authorities as they stand in the database at this moment.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn look(&self) -> Result<Authorities, LifecycleError> {
        self.vault.read().await
    }

    /// Changes whenever this replica caught up.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.caught_up.subscribe()
    }

    /// When which step of a line is due by age, for authorities that stand like this.
    #[must_use]
    pub fn next_step(&self, standing: &Authorities, line: Line) -> Option<(DueStep, SystemTime)> {
        self.settings.load().schedule.next(&standing.succession(line))
    }

    /// When there is next something to do by age.
    #[must_use]
    pub fn next_due(&self) -> SystemTime {
        let issuing = self.issuance.issuing().validity().half_life();
        let standing = self.standing();
        let steps =
            [Line::Root, Line::Jwt].into_iter().filter_map(|line| Some(self.next_step(&standing, line)?.1));
        let expiry = standing.next_expiry().and_then(|end| end.checked_add(Duration::from_secs(1)));
        steps.chain(expiry).min().map_or(issuing, |due| due.min(issuing))
    }

    /// Waits for steps that are under way.
    pub async fn close(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Catches up with what other replicas did, and takes the steps that are due by age.
    ///
    /// # Errors
    /// When something could not be done; what could, is. It is to be tried again.
    pub async fn keep_up(&self) -> Result<(), LifecycleError> {
        let turn = self.turn.lock().await;
        let followed = self.catch_up(&turn).await?.followed;
        // What could not be followed may be just what a step cures, such as a root that has expired.
        let root = self.take_due_steps(&turn, Line::Root).await;
        let jwt = self.take_due_steps(&turn, Line::Jwt).await;
        self.forget_expired(&turn).await?;
        root.and(jwt)?;
        match followed {
            Ok(()) => Ok(()),
            Err(_) => self.catch_up(&turn).await?.followed,
        }
    }

    async fn take_due_steps(&self, turn: &Turn<'_>, line: Line) -> Result<(), LifecycleError> {
        while let Some((step, due)) = self.next_step(&self.standing(), line)
            && due <= self.vault.clock.now()
        {
            self.take_due_step(turn, line, step).await?;
        }
        Ok(())
    }

    /// Reads what stands by now, and follows.
    ///
    /// A root comes into the bundle before anything is signed below it; what is below a root that goes is replaced
    /// before the root leaves the bundle.
    async fn catch_up(&self, _turn: &Turn<'_>) -> Result<CaughtUp, LifecycleError> {
        let mut standing = self.vault.read().await?;
        let root = standing.active(Line::Root).ok_or(LifecycleError::NoRoot)?.clone();
        let bundle = standing.bundle(&self.vault.trust_domain, self.vault.clock.now())?;
        let published: HashSet<_> =
            self.issuance.bundle().borrow().authorities().map(|root| root.der.clone()).collect();
        let grows_only = published.iter().all(|old| bundle.authorities().any(|root| root.der == *old));
        if grows_only {
            self.issuance.publish(bundle.clone());
        }
        // What fails here keeps nothing else back, a root that leaves the bundle least of all.
        let signing = self.follow_root(&standing, &root).await;
        if matches!(signing, Ok(true)) {
            standing = self.vault.read().await?;
        }
        self.issuance.withdraw(standing.withdrawn_issuers());
        if !grows_only {
            self.issuance.publish(bundle);
        }
        let jwt = self.follow_jwt_key(&standing).await;
        let standing = Arc::new(standing);
        if *self.standing.load_full() != *standing {
            self.standing.store(Arc::clone(&standing));
        }
        self.caught_up.send_modify(|count| *count = count.wrapping_add(1));
        Ok(CaughtUp { standing, followed: signing.map(drop).and(jwt) })
    }

    /// Signs below the active root from now on. Answers whether that took a new issuing CA.
    async fn follow_root(&self, standing: &Authorities, root: &AuthorityRow) -> Result<bool, LifecycleError> {
        if !is_of(&self.domain_ca.load(), root) {
            self.domain_ca.store(self.vault.domain_ca(root).await?);
        }
        if self.signs_as_it_should(standing, &root.key_id) {
            return Ok(false);
        }
        let issuing = self.vault.new_issuing_ca(&self.domain_ca(), standing).await?;
        tracing::info!(key_id = issuing.key_id(), root = root.key_id, "a new issuing CA signs from now on");
        self.issuance.replace_issuing(issuing);
        Ok(true)
    }

    /// Whether this replica's issuing CA is on record, below the active root as it is certified now, and in the first
    /// half of its life.
    fn signs_as_it_should(&self, standing: &Authorities, root: &str) -> bool {
        let issuing = self.issuance.issuing();
        let leads_up = issuing.below_root().get(1..) == Some(self.domain_ca.load().below_root());
        let is_on_record = standing.row(issuing.key_id()).is_some_and(|row| {
            row.state == AuthorityState::Active
                && row.replica == self.vault.replica
                && row.issuer_key_id == root
        });
        is_on_record && leads_up && self.vault.clock.now() < issuing.validity().half_life()
    }

    async fn follow_jwt_key(&self, standing: &Authorities) -> Result<(), LifecycleError> {
        let Some(row) = standing.active(Line::Jwt) else { return Err(LifecycleError::NoJwtKey) };
        if self.jwt_svids.key().is_none_or(|key| key.key_id() != row.key_id) {
            let key = self.vault.jwt_key(row).await?;
            tracing::info!(key_id = key.key_id(), "another key signs JWT-SVIDs from now on");
            self.jwt_svids.use_key(key);
        }
        Ok(())
    }
}

/// Whether a CA is what a row says, and signs: an outside CA may have renewed the certificate for the same key, and the
/// key may have been away at the start.
fn is_of(ca: &DomainCa, row: &AuthorityRow) -> bool {
    ca.has_key()
        && ca.key_id() == row.key_id
        && ca.certificate().der[..] == row.public[..]
        && ca.above() == row.chain
}

/// What founding leaves to the lifecycle.
pub struct FoundedAuthorities {
    /// All authorities.
    pub authorities: Authorities,
    /// The CA that signs issuing CAs.
    pub domain_ca: Arc<DomainCa>,
    /// The key that signs JWT-SVIDs.
    pub jwt_key: JwtKey,
}

/// Why a step was not taken, or could not be followed.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// The state does not allow it.
    #[error(transparent)]
    Step(#[from] StepError),
    /// An outside CA signed it.
    #[error(
        "local authority can't be tainted or revoked if there is an upstream authority: it is trusted through the outside \
         root with the subject key identifier {}; taint or revoke that (`secctl ca taint --upstream`)",
        .0.join(", ")
    )]
    Upstream(Vec<String>),
    /// The root above a CA from outside is on its way out.
    #[error(
        "the outside root above this CA is tainted (subject key identifier {}), and what is below it is to be replaced: have \
         the CA certified below another root, or revoke the tainted one first (`secctl ca revoke --upstream`)",
        .0.join(", ")
    )]
    TaintedUpstream(Vec<String>),
    /// Nothing is trusted through an outside root.
    #[error("upstream authority is not configured")]
    NoUpstream,
    /// Only an outside CA can sign the next one.
    #[error(
        "an outside CA signs the CA of this trust domain: have it sign the next one, and take in the chain that it answers"
    )]
    SignedOutside,
    /// Replicas would go on issuing below what is tainted.
    #[error(
        "replicas still sign below this root: {}; wait until they have an issuing CA below the active root, or, when \
         they are gone for good, force the step",
        .0.join(", ")
    )]
    StillSigning(Vec<String>),
    /// Others have CAs below it.
    #[error(
        "others have CAs below this root that are neither expired nor revoked, the last one until {}: {}; have them \
         certified anew below the active root and revoke these (`secctl cert revoke`), wait until they end, or force \
         the step",
        humantime::format_rfc3339_seconds(*.until),
        .names.join(", ")
    )]
    CasOfOthers {
        /// What the first of them are, and their serial numbers.
        names: Vec<String>,
        /// When the last one expires.
        until: SystemTime,
    },
    /// Agents may not know what takes its place.
    #[error(
        "agents have not reported yet that they have trust bundle {sequence}: {}; wait until they have, ban or evict \
         those that are gone, or force the step",
        .names.join(", ")
    )]
    AgentsBehind {
        /// Which; the first of them.
        names: Vec<String>,
        /// The trust bundle's version.
        sequence: u64,
    },
    /// Somebody else signs below it.
    #[error(
        "this root is somebody else's, and what they signed below it is not known here: it may be valid until {}. Wait \
         until then, or force the step",
        humantime::format_rfc3339_seconds(*.0)
    )]
    RootOfAnother(SystemTime),
    /// A CA is wanted for a key that was revoked.
    #[error("the public key {0} (SHA-256) has been revoked: nothing is issued for it; make a new key")]
    KeyRevoked(KeyHash),
    /// Another authority has the ID already.
    #[error("another authority of this trust domain has the ID `{0}` already")]
    IdTaken(String),
    /// A root or key of somebody else cannot be trusted as it is.
    #[error("{0}")]
    Unfit(String),
    /// Somebody else has as much here as they may.
    #[error("{0}")]
    TooMany(String),
    /// Holders of certificates would be refused.
    #[error(
        "{count} certificates below this root are neither expired nor revoked, the last one until {}; their holders would be \
         refused. Wait until then, or force the step",
        humantime::format_rfc3339_seconds(*.until)
    )]
    StillValid {
        /// How many.
        count: u64,
        /// When the last one expires.
        until: SystemTime,
    },
    /// Holders of tokens would be refused.
    #[error(
        "JWT-SVIDs that this key signed may be valid until {}; wait until then, or force the step",
        humantime::format_rfc3339_seconds(*.0)
    )]
    TokensStillValid(SystemTime),
    /// Another replica took another step at the same time.
    #[error("another step was taken at the same time; look at the authorities and try again")]
    Overtaken,
    /// The database has no active root.
    #[error(
        "the database holds no active root that this authority wrote; restore it from a backup, and look into the log for \
         rows that were refused"
    )]
    NoRoot,
    /// The database has no active JWT key.
    #[error("the database holds no active JWT key that this authority wrote")]
    NoJwtKey,
    /// A kept key belongs to something else.
    #[error("the private key kept for authority {0} is not its key; restore it from a backup")]
    ForeignKey(String),
    /// A CA certificate cannot be made or used.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The trust bundle cannot be made.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A key cannot be kept or read.
    #[error(transparent)]
    KeyStore(#[from] KeyStoreError),
    /// A JWT key cannot be used.
    #[error(transparent)]
    JwtKey(#[from] JwtKeyError),
    /// A key cannot be made.
    #[error(transparent)]
    Key(#[from] secplane_identity::private_key::PrivateKeyError),
    /// A CA below an outside root cannot be taken in.
    #[error(transparent)]
    Outside(#[from] UpstreamError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The daemon is stopping.
    #[error("the work was interrupted: the daemon is stopping")]
    Interrupted,
}

impl LifecycleError {
    /// When the step would be taken, if nothing but time is in the way.
    #[must_use]
    pub fn wait_until(&self) -> Option<SystemTime> {
        match self {
            Self::Step(StepError::NotPublished { until })
            | Self::StillValid { until, .. }
            | Self::CasOfOthers { until, .. }
            | Self::RootOfAnother(until)
            | Self::TokensStillValid(until) => Some(*until),
            _ => None,
        }
    }
}
