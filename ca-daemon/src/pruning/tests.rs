//! Against a real database in a temporary folder.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use secplane_identity::TrustDomain;
use tempfile::TempDir;

use super::*;
use crate::{
    agents::{AgentSvid, testing::agent},
    config::PruningConfig,
    keys::{RowMac, WrappingKeySource},
    registry::tests::{admin, fields, over},
    store::{Commit, testing},
};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What clears away in a folder of its own, by a clock that the test moves.
struct Case {
    pruning: Pruning,
    now: Arc<AtomicU64>,
    _folder: TempDir,
}

impl Case {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let now = Arc::new(AtomicU64::new(1_800_000_000));
        let read = Arc::clone(&now);
        let clock =
            Clock::of(move || SystemTime::UNIX_EPOCH + Duration::from_secs(read.load(Ordering::Relaxed)));
        let store = testing::open(folder.path(), clock.clone()).await;
        let config = Config::minimal(
            TrustDomain::parse("example.org").unwrap(),
            folder.path().to_owned(),
            WrappingKeySource::File(PathBuf::from("/none")),
        );
        let pruning = Pruning {
            replica: "one".to_owned(),
            registry: over(&store).await,
            agents: Agents::load(store.clone(), RowMac::new(&[7; 32])).await.unwrap(),
            settings: Arc::new(ArcSwap::from_pointee(config)),
            store,
            clock,
        };
        Self { pruning, now, _folder: folder }
    }

    fn now(&self) -> SystemTime {
        self.pruning.clock.now()
    }

    fn later(&self, by: Duration) {
        self.now.fetch_add(by.as_secs(), Ordering::Relaxed);
    }

    /// An agent whose SVID ends then.
    async fn agent(&self, path: &str, not_after: SystemTime) -> Arc<crate::agents::Agent> {
        let svid = AgentSvid { serial: "1".to_owned(), not_after };
        let agent = crate::agents::Agent { svid, ..agent(path) };
        self.pruning.agents.admit(agent, Commit::default()).await.unwrap()
    }

    async fn recorded(&self) -> i64 {
        self.pruning.store.audit_sizes().await.unwrap().iter().map(|(_, size)| size).sum()
    }
}

#[tokio::test]
async fn deletes_what_has_expired_and_nothing_else() {
    let case = Case::new().await;
    let registry = &case.pruning.registry;
    let create = async |path: &str, expires_at| {
        let fields = crate::registry::EntryFields { expires_at, ..fields(path, &["uid:1"]) };
        registry.create(fields, &admin(), case.now()).await.unwrap()
    };
    let over_soon = create("/soon", Some(case.now() + DAY)).await;
    let over_later = create("/later", Some(case.now() + 3 * DAY)).await;
    let endless = create("/endless", None).await;
    assert_eq!(case.pruning.once().await.unwrap(), Some(Pruned::default()));

    case.later(DAY);
    let before = case.recorded().await;
    assert_eq!(case.pruning.once().await.unwrap(), Some(Pruned { entries: 1, agents: 0 }));
    assert_eq!(case.recorded().await, before + 1);
    let reopened = over(&case.pruning.store).await;
    for registry in [registry, &reopened] {
        let stands = |entry: &Arc<crate::registry::Entry>| registry.entry(entry.id()).is_some();
        assert_eq!([&over_soon, &over_later, &endless].map(stands), [false, true, true]);
    }
}

#[tokio::test]
async fn leaves_an_entry_that_another_replica_extended() {
    let case = Case::new().await;
    let (ours, theirs) = (&case.pruning.registry, over(&case.pruning.store).await);
    let fields =
        crate::registry::EntryFields { expires_at: Some(case.now() + DAY), ..fields("/a", &["uid:1"]) };
    let entry = ours.create(fields, &admin(), case.now()).await.unwrap();
    theirs.refresh(&[entry.id().to_string()]).await.unwrap();
    let extend = |fields: &mut crate::registry::EntryFields| {
        fields.expires_at = None;
        Ok(())
    };
    theirs.update(entry.id(), extend, &admin()).await.unwrap();

    case.later(DAY);
    assert!(ours.entry(entry.id()).unwrap().is_expired(case.now()), "we have not heard of it");
    assert_eq!(case.pruning.once().await.unwrap(), Some(Pruned::default()));
    assert!(over(&case.pruning.store).await.entry(entry.id()).is_some());
}

#[tokio::test]
async fn forgets_agents_long_after_their_end_unless_they_are_banned() {
    let case = Case::new().await;
    let agents = &case.pruning.agents;
    let gone = case.agent("/spire/agent/gone", case.now()).await;
    let banned = case.agent("/spire/agent/banned", case.now()).await;
    let event = Event::by_daemon(Action::AgentBan, banned.id.as_str());
    agents.ban(&banned.id, Commit { changes: Vec::new(), events: vec![event] }).await.unwrap();
    let late = case.agent("/spire/agent/late", case.now() + DAY).await;
    case.later(30 * DAY);
    assert_eq!(case.pruning.once().await.unwrap(), Some(Pruned::default()), "to the second");
    case.later(Duration::from_secs(1));

    let mut config = Config::clone(&case.pruning.settings.load());
    config.pruning = PruningConfig { agents_expired_for: None };
    case.pruning.settings.store(Arc::new(config.clone()));
    assert_eq!(case.pruning.once().await.unwrap(), Some(Pruned::default()), "never");
    config.pruning = PruningConfig::default();
    case.pruning.settings.store(Arc::new(config));

    assert_eq!(case.pruning.once().await.unwrap(), Some(Pruned { entries: 0, agents: 1 }));
    let stands = |agent: &crate::agents::Agent| agents.agent(&agent.id).is_some();
    assert_eq!([&*gone, &*banned, &*late].map(stands), [false, true, true]);
}

#[tokio::test]
async fn is_one_replicas_work_until_it_is_silent() {
    let case = Case::new().await;
    let Pruning { store, registry, agents, settings, clock, .. } = &case.pruning;
    let other = Pruning {
        replica: "other".to_owned(),
        store: store.clone(),
        registry: Arc::clone(registry),
        agents: Arc::clone(agents),
        settings: Arc::clone(settings),
        clock: clock.clone(),
    };
    assert!(case.pruning.once().await.unwrap().is_some());
    assert!(other.once().await.unwrap().is_none());
    case.later(EVERY);
    assert!(other.once().await.unwrap().is_none(), "it may be late");
    assert!(case.pruning.once().await.unwrap().is_some(), "it keeps what it has");
    case.later(EVERY + EVERY / 2);
    assert!(other.once().await.unwrap().is_some(), "it was silent");
    assert!(case.pruning.once().await.unwrap().is_none());
    // The other one's clock was years ahead for a moment.
    case.later(1000 * DAY);
    assert!(other.once().await.unwrap().is_some());
    case.now.fetch_sub(1000 * DAY.as_secs(), Ordering::Relaxed);
    assert!(case.pruning.once().await.unwrap().is_some(), "nobody has it for years");
}

#[tokio::test]
async fn a_clock_that_jumps_ends_nobody_for_a_turn() {
    let case = Case::new().await;
    case.agent("/spire/agent/a", case.now()).await;
    let passed = Arc::new(AtomicU64::new(0));
    let reads = Arc::clone(&passed);
    let clock = case.pruning.clock.clone();
    let clock = clock.while_passes(move || Duration::from_secs(reads.load(Ordering::Relaxed)));
    let before = clock.moment();
    case.later(40 * DAY);
    let after = clock.moment();
    case.later(EVERY);
    passed.fetch_add(EVERY.as_secs(), Ordering::Relaxed);
    let Case { pruning, .. } = case;
    let pruning = Pruning { clock, ..pruning };
    assert_eq!(pruning.turn(before).await.unwrap(), None);
    assert_eq!(pruning.turn(after).await.unwrap(), Some(Pruned { entries: 0, agents: 1 }));
}
