//! Which of several replicas fetches, and when.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use tempfile::TempDir;

use super::{endpoint::BundleEndpoint, *};
use crate::{
    federation::{duty::ASK_EVERY, refresh::Turns},
    store::Lease,
};

const FOREIGN: &str = "b.net";

/// One database, one foreign trust domain, and a clock that is moved by hand.
struct Shared {
    seconds: Arc<AtomicU64>,
    clock: Clock,
    store: Store,
    federation: Arc<Federation>,
    endpoint: BundleEndpoint,
    _folder: TempDir,
}

impl Shared {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let seconds = Arc::new(AtomicU64::new(1_800_000_000));
        let read = Arc::clone(&seconds);
        let clock =
            Clock::of(move || SystemTime::UNIX_EPOCH + Duration::from_secs(read.load(Ordering::Relaxed)));
        let store = testing::open(folder.path(), clock.clone()).await;
        let federation = over(&store).await;
        let endpoint = BundleEndpoint::start(folder.path(), FOREIGN).await;
        Self { seconds, clock, store, federation, endpoint, _folder: folder }
    }

    fn later(&self, by: Duration) {
        self.seconds.fetch_add(by.as_secs(), Ordering::Relaxed);
    }

    async fn relate(&self, name: &str, url: &str) {
        let wire = FederationRelationship { bundle_endpoint_url: url.to_owned(), ..relationship(name) };
        let (of, made) = (domain(name), Relationship::from_wire(&wire).unwrap());
        self.federation.put_relationship(&of, |_| Ok(made), Before::Absent, Author::Daemon).await.unwrap();
    }

    /// With a relationship whose bundle can be fetched.
    async fn related() -> Self {
        let shared = Self::new().await;
        shared.relate(FOREIGN, &shared.endpoint.url).await;
        shared
    }

    fn replica(&self, name: &str) -> Replica {
        self.replica_that_trusts(name, &self.endpoint.roots)
    }

    /// Without the file of roots each fetch of this replica fails.
    fn replica_cut_off(&self, name: &str) -> Replica {
        self.replica_that_trusts(name, Path::new("/none"))
    }

    fn replica_that_trusts(&self, name: &str, roots: &Path) -> Replica {
        let duty = Duty::new(name.to_owned(), self.store.clone(), self.clock.clone());
        let fetcher = Fetcher::new(PathBuf::from(roots));
        let refresher = Refresher::new(Arc::clone(&self.federation), fetcher, duty);
        Replica { refresher, clock: self.clock.clone(), turns: Turns::default() }
    }
}

struct Replica {
    refresher: Refresher,
    clock: Clock,
    turns: Turns,
}

impl Replica {
    async fn turn(&mut self) -> Option<SystemTime> {
        self.refresher.turn(&mut self.turns).await
    }

    /// Takes its turn with everything due; answers whether it tried to fetch.
    async fn tries(&mut self) -> bool {
        let now = self.clock.now();
        self.turns.due.values_mut().for_each(|at| *at = now);
        self.turn().await;
        self.turns.due.values().all(|at| *at > now)
    }
}

#[tokio::test]
async fn is_fetched_by_one_replica_until_that_is_silent() {
    let shared = Shared::new().await;
    let (mut one, mut other) = (shared.replica("one"), shared.replica("other"));
    assert_eq!(one.turn().await, None, "nobody asks for a lease who has nothing to fetch");

    shared.relate(FOREIGN, &shared.endpoint.url).await;
    let next = Some(shared.clock.now() + ASK_EVERY);
    assert_eq!((one.turn().await, other.turn().await), (next, next));
    assert!(one.turns.due[&domain(FOREIGN)] > shared.clock.now());
    assert!(other.turns.due[&domain(FOREIGN)] <= shared.clock.now());
    assert!(shared.federation.bundle(&domain(FOREIGN)).is_some());
    other
        .refresher
        .refresh(&domain(FOREIGN), Author::Daemon)
        .await
        .expect("by command it is fetched anywhere");

    shared.later(ASK_EVERY);
    one.turn().await;
    assert!(!other.tries().await, "the other one has kept it");

    shared.later(Lease::lasts(ASK_EVERY));
    assert!(other.tries().await, "the other one was silent");
    assert!(!one.tries().await, "it has lost its turn");
}

#[tokio::test]
async fn is_fetched_by_another_replica_when_one_can_fetch_nothing() {
    let shared = Shared::related().await;
    let (mut cut_off, mut other) = (shared.replica_cut_off("one"), shared.replica("other"));
    assert!(cut_off.tries().await);
    assert!(shared.federation.bundle(&domain(FOREIGN)).is_none());
    other.turn().await;
    assert!(shared.federation.bundle(&domain(FOREIGN)).is_some(), "nobody had to be waited for");
    for _ in 0..5 {
        assert!(!cut_off.tries().await, "another does it now");
        shared.later(ASK_EVERY);
        assert!(other.tries().await);
    }

    // It stands by all the same.
    shared.later(Lease::lasts(ASK_EVERY));
    assert!(cut_off.tries().await);
}

/// Whether it is the only one, or one of several that can fetch nothing.
#[tokio::test]
async fn is_tried_on_where_nobody_else_takes_over() {
    let shared = Shared::related().await;
    let mut alone = shared.replica_cut_off("one");
    assert!(alone.tries().await);
    // Neither what comes to be due a moment later waits, nor what is due then.
    shared.later(Duration::from_secs(1));
    shared.relate("c.net", "https://localhost:1/").await;
    alone.turn().await;
    assert!(alone.turns.due[&domain("c.net")] > shared.clock.now());
    for _ in 0..5 {
        shared.later(ASK_EVERY);
        assert!(alone.tries().await);
    }
    let mut other = shared.replica_cut_off("other");
    assert!(other.tries().await);
    assert!(alone.tries().await, "the other one stands back as well");
}

#[tokio::test]
async fn stays_with_a_replica_that_can_fetch_something() {
    let shared = Shared::related().await;
    shared.relate("c.net", &format!("{}nowhere", shared.endpoint.url)).await;
    let (mut one, mut other) = (shared.replica("one"), shared.replica("other"));
    assert!(one.tries().await);
    assert!(shared.federation.bundle(&domain("c.net")).is_none());
    assert!(!other.tries().await, "one of two bundles was fetched");
}

#[tokio::test]
async fn stays_again_with_a_replica_that_can_fetch_again() {
    let shared = Shared::related().await;
    let (mut one, mut other) = (shared.replica("one"), shared.replica("other"));
    shared.endpoint.set_up(false);
    assert!(one.tries().await);
    shared.endpoint.set_up(true);
    assert!(one.tries().await);
    assert!(shared.federation.bundle(&domain(FOREIGN)).is_some());
    assert!(!other.tries().await);
}

/// One endpoint that is down is no reason to have another replica ask all the others again.
#[tokio::test]
async fn stays_with_a_replica_of_which_only_the_dead_endpoint_is_due() {
    const DEAD: &str = "c.net";
    let shared = Shared::related().await;
    shared.relate(DEAD, "https://127.0.0.1:1/bundle").await;
    let (mut one, mut other) = (shared.replica("one"), shared.replica("other"));
    assert!(one.tries().await);
    for _ in 0..3 {
        shared.later(ASK_EVERY);
        let now = shared.clock.now();
        one.turns.due.insert(domain(DEAD), now);
        one.turns.due.insert(domain(FOREIGN), now + ASK_EVERY * 60);
        one.turn().await;
        assert!(one.turns.due[&domain(DEAD)] > now, "it was tried");
        assert!(!other.tries().await, "the one that can fetch goes on");
    }
}
