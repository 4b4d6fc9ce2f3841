//! Issuing into a real database, by a clock that the test moves.

use std::sync::atomic::{AtomicU64, Ordering};

use secplane_identity::PrivateKey;

use super::*;
use crate::{
    authority::DomainCa,
    founding::{Founded, FoundingError, found},
    keys::{KeyStorage, KeyStore, WrappingKey},
    rotation::Rotation,
    store::{CertificateFilter, Page, testing},
};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const HOUR: Duration = Duration::from_secs(3600);

struct World {
    folder: tempfile::TempDir,
    seconds: Arc<AtomicU64>,
}

impl World {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), seconds: Arc::new(AtomicU64::new(1_800_000_000)) }
    }

    fn clock(&self) -> Clock {
        let seconds = Arc::clone(&self.seconds);
        Clock::of(move || SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::SeqCst)))
    }

    fn advance(&self, by: Duration) {
        self.seconds.fetch_add(by.as_secs(), Ordering::SeqCst);
    }

    async fn keys(&self) -> KeyStore {
        let wrapping = WrappingKey::parse(KEY).unwrap();
        let files = KeyStorage::Files(self.folder.path().join("keys"));
        KeyStore::open(files, wrapping, secplane_identity::KeyKind::EcP256).await.unwrap()
    }

    async fn store(&self) -> Store {
        testing::open(self.folder.path(), self.clock()).await
    }

    async fn found(&self, store: &Store, trust_domain: &str) -> Result<Founded, FoundingError> {
        let trust_domain = TrustDomain::parse(trust_domain).unwrap();
        found(
            &trust_domain,
            testing::REPLICA,
            store,
            &self.keys().await,
            HOUR * 24 * 365,
            HOUR * 24,
            self.clock().now(),
        )
        .await
    }

    async fn issuance(&self) -> (Arc<Issuance>, Arc<DomainCa>) {
        let store = self.store().await;
        let founded = self.found(&store, "example.org").await.unwrap();
        let lifetimes = Lifetimes { x509_svid: HOUR, server: HOUR, client: HOUR, longest: HOUR * 24 };
        let revoked = Arc::new(Revoked::default());
        let issuance =
            Issuance::new(founded.issuing, founded.bundle, lifetimes, revoked, store, self.clock());
        (Arc::new(issuance), Arc::new(founded.domain_ca))
    }
}

fn order(name: &str) -> Order {
    let key = PrivateKey::generate().unwrap();
    Order {
        request: CertificateRequest::parse(&key.bare_request().unwrap()).unwrap(),
        subject: Subject::Client { common_name: name.into(), dns_names: vec![], ip_addresses: vec![] },
        lifetime: None,
        requester: Requester::local("test"),
        entry_id: None,
        renews: None,
    }
}

#[tokio::test]
async fn finds_the_same_root_again() {
    let world = World::new();
    let store = world.store().await;
    let first = world.found(&store, "example.org").await.unwrap();
    let second = world.found(&store, "example.org").await.unwrap();
    assert!(first.is_new && !second.is_new);
    assert_eq!(first.domain_ca.root_fingerprint(), second.domain_ca.root_fingerprint());
    assert_eq!(first.issuing.key_id(), second.issuing.key_id());
    let other = world.found(&store, "other.org").await;
    assert!(matches!(other, Err(FoundingError::OtherTrustDomain { .. })));
}

#[tokio::test]
async fn makes_a_new_issuing_ca_when_the_old_one_is_half_over_or_its_key_is_lost() {
    let world = World::new();
    let store = world.store().await;
    let first = world.found(&store, "example.org").await.unwrap();
    world.advance(HOUR * 13);
    let second = world.found(&store, "example.org").await.unwrap();
    assert_ne!(first.issuing.key_id(), second.issuing.key_id());
    let key = world.folder.path().join("keys").join(format!("{}.key", second.issuing.key_id()));
    std::fs::remove_file(key).unwrap();
    let third = world.found(&store, "example.org").await.unwrap();
    assert_ne!(second.issuing.key_id(), third.issuing.key_id());
    let root = world.folder.path().join("keys").join(format!("{}.key", third.domain_ca.key_id()));
    std::fs::remove_file(root).unwrap();
    assert!(world.found(&store, "example.org").await.is_err(), "a lost root is not made anew in silence");
}

#[tokio::test]
async fn has_recorded_what_it_hands_out() {
    let world = World::new();
    let (issuance, _) = world.issuance().await;
    let orders = (0..100).map(|number| issuance.issue(order(&format!("c{number}"))));
    let issued = futures_util::future::join_all(orders).await;
    for signed in issued {
        let signed = signed.unwrap();
        let record = issuance.record(&signed.serial).await.unwrap();
        assert_eq!(record.certificate, signed.chain[0].to_vec());
        assert_eq!(record.requester, "test");
        assert_eq!(record.not_after, unix(signed.not_after()));
    }
    let everything = CertificateFilter::default();
    let page = Page { before: None, size: 500 };
    assert_eq!(issuance.store().list_certificates(&everything, page).await.unwrap().len(), 100);
}

#[tokio::test]
async fn hands_out_nothing_that_it_cannot_record() {
    let world = World::new();
    let (issuance, _) = world.issuance().await;
    issuance.store().clone().close().await;
    let refused = issuance.issue(order("a")).await;
    assert!(matches!(refused, Err(IssueError::Store(StoreError::Closed))));
}

#[tokio::test]
async fn rotates_the_server_certificate_and_the_issuing_ca_by_the_clock() {
    let world = World::new();
    let (issuance, root) = world.issuance().await;
    let (rotation, source) = Rotation::start(
        Arc::clone(&issuance),
        root,
        testing::REPLICA.into(),
        world.keys().await,
        HOUR * 24,
        Vec::new(),
    )
    .await
    .unwrap();
    let first = source.current();
    let first_issuing = issuance.issuing().key_id().to_owned();
    let shutdown = tokio_util::sync::CancellationToken::new();
    let task = tokio::spawn(rotation.run(shutdown.clone()));

    let mut follower = source.clone();
    world.advance(HOUR / 2 + Duration::from_secs(1));
    let second = follower.changed().await;
    let serial = |snapshot: &secplane_identity::IdentitySnapshot| {
        snapshot.identity.as_ref().unwrap().leaf().serial.clone()
    };
    assert_ne!(serial(&first), serial(&second));
    assert_eq!(issuance.issuing().key_id(), first_issuing);

    world.advance(HOUR * 12);
    while issuance.issuing().key_id() == first_issuing {
        follower.changed().await;
    }
    shutdown.cancel();
    task.await.unwrap();
}
