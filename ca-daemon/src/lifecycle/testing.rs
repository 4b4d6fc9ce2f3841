//! A folder with an authority in it, by a clock that the test moves.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyUsagePurpose};
use secplane_identity::{
    KeyKind, PrivateKey, SpiffeId, TrustDomain, revocation::Revocable, x509::Certificate,
};

use super::{AuthorityLifetimes, Lifecycle, LifecycleSettings, PartOfLife, Schedule, Vault};
use crate::{
    access::{Caller, Holder, Revoked},
    authority::{CertificateRequest, Lifetimes, Subject},
    founding::{Founded, FoundingError, found},
    instant::{Clock, unix},
    issuance::{Issuance, Order, Requester},
    jwt_svids::{JwtLives, JwtSettings, JwtSvids},
    keys::{KeyStorage, KeyStore, WrappingKey},
    store::{Change, Revocation, RevocationTarget, Store, testing},
};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const DAY: Duration = Duration::from_secs(86_400);
pub(crate) const SETTINGS: LifecycleSettings = LifecycleSettings {
    schedule: Schedule {
        prepare_at: PartOfLife::thousandths(500),
        activate_at: PartOfLife::thousandths(833),
        publish_ahead: Duration::from_secs(300),
    },
    longest_jwt_svid: HOUR,
    revoke_after_agents: false,
};

pub(crate) struct World {
    folder: tempfile::TempDir,
    seconds: Arc<AtomicU64>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), seconds: Arc::new(AtomicU64::new(1_800_000_000)) }
    }

    pub(crate) fn clock(&self) -> Clock {
        let seconds = Arc::clone(&self.seconds);
        Clock::of(move || SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::SeqCst)))
    }

    pub(crate) fn now(&self) -> SystemTime {
        self.clock().now()
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.seconds.fetch_add(by.as_secs(), Ordering::SeqCst);
    }

    /// Those of a CA certificate for one that is outside, or that an outside one signs.
    pub(crate) fn ca_params(&self, name: &str, lifetime: Duration) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = (self.now().into(), (self.now() + lifetime).into());
        params.use_authority_key_identifier_extension = true;
        params
    }

    pub(crate) fn key_file(&self, key_id: &str) -> PathBuf {
        self.folder.path().join("keys").join(format!("{key_id}.key"))
    }

    pub(crate) async fn store(&self) -> Store {
        testing::open(self.folder.path(), self.clock()).await
    }

    pub(crate) async fn vault(&self, store: &Store, trust_domain: &str, replica: &str) -> Vault {
        let wrapping = WrappingKey::parse(KEY).unwrap();
        let files = KeyStorage::Files(self.folder.path().join("keys"));
        let keys = KeyStore::open(files, wrapping, KeyKind::EcP256).await.unwrap();
        Vault {
            trust_domain: TrustDomain::parse(trust_domain).unwrap(),
            replica: replica.to_owned(),
            store: store.clone(),
            mac: keys.row_mac(false).await.unwrap(),
            keys,
            lifetimes: ArcSwap::from_pointee(AuthorityLifetimes {
                root: DAY * 365,
                issuing: DAY,
                jwt_key: DAY * 30,
            }),
            crl_url: None,
            clock: self.clock(),
        }
    }

    pub(crate) async fn found(&self, store: &Store, trust_domain: &str) -> Result<Founded, FoundingError> {
        found(&self.vault(store, trust_domain, testing::REPLICA).await).await
    }

    pub(crate) async fn issuance(&self) -> Arc<Issuance> {
        self.start().await.0
    }

    pub(crate) async fn start(&self) -> (Arc<Issuance>, Arc<Lifecycle>) {
        let store = self.store().await;
        self.start_replica(&store, testing::REPLICA).await
    }

    /// Starts another replica on the same database.
    pub(crate) async fn start_replica(&self, store: &Store, id: &str) -> (Arc<Issuance>, Arc<Lifecycle>) {
        let vault = self.vault(store, "example.org", id).await;
        let founded = found(&vault).await.unwrap();
        let lifetimes = Lifetimes { x509_svid: HOUR, server: HOUR, client: HOUR, longest: DAY };
        let revoked = Arc::new(Revoked::default());
        let issuance = Arc::new(Issuance::new(
            founded.issuing,
            founded.bundle,
            lifetimes,
            revoked,
            store.clone(),
            vault.mac.clone(),
            self.clock(),
        ));
        let settings = JwtSettings { issuer: None, lifetime: HOUR / 12, longest: HOUR };
        let lives = JwtLives::new(vault.keys.clone(), id.to_owned());
        let jwt_svids = Arc::new(JwtSvids::new(settings, lives, store.clone(), self.clock()));
        let lifecycle =
            Lifecycle::new(vault, SETTINGS, Arc::clone(&issuance), jwt_svids, founded.authorities);
        (issuance, lifecycle)
    }
}

/// A workload with an SVID that an agent asked for.
pub(crate) async fn workload_of(issuance: &Issuance, agent: &str) -> Requester {
    let key = PrivateKey::generate().unwrap();
    let id = SpiffeId::parse("spiffe://example.org/nested").unwrap();
    let order = Order {
        request: CertificateRequest::parse(&key.bare_request().unwrap()).unwrap(),
        subject: Subject::X509Svid { id: id.clone(), dns_names: Vec::new() },
        lifetime: None,
        requester: Requester::local(agent),
        entry_id: None,
        renews: None,
    };
    let signed = issuance.issue(order).await.unwrap();
    let svid = Certificate::parse(&signed.chain[0]).unwrap();
    let holder = Holder {
        der: svid.der.clone(),
        serial: svid.serial.clone(),
        names: Revocable::of(&svid),
        not_after: svid.not_after,
        address: ([127, 0, 0, 1], 0).into(),
    };
    Requester::from(&Caller::Svid { id, holder })
}

/// Writes what belongs to the ban of an agent. Nobody here is told.
pub(crate) async fn revoke_what_was_given(issuance: &Issuance, agent: &str) {
    let target = RevocationTarget::Requester(agent.to_owned());
    let at = unix(issuance.clock().now());
    let revocation = Revocation { target, at, reason: "banned".to_owned() };
    issuance.store().write(Change::Revoke(revocation)).await.unwrap();
}
