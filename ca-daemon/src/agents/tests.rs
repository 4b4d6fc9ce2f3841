//! Against a real database in a temporary folder.

use std::{
    fs::{self, File},
    path::Path,
    time::Duration,
};

use super::{agent::tests::agent, agent::tests::svid, *};
use crate::{
    audit::Action,
    instant::Clock,
    store::{Conflict, testing},
};

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn mac() -> RowMac {
    RowMac::new(&[7; 32])
}

async fn open(folder: &Path) -> (Arc<Agents>, Store) {
    let store = testing::open(folder, Clock::of(now)).await;
    (Agents::load(store.clone(), mac()).await.unwrap(), store)
}

fn event(action: Action) -> Event {
    Event::by_daemon(action, "an agent")
}

fn with(action: Action) -> Commit {
    Commit { changes: Vec::new(), events: vec![event(action)] }
}

async fn admit(agents: &Arc<Agents>, path: &str) -> Arc<Agent> {
    agents.admit(agent(path), Commit::default()).await.unwrap()
}

#[tokio::test]
async fn keeps_agents_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (agents, store) = open(folder.path()).await;
    let a = admit(&agents, "/spire/agent/a").await;
    let b = admit(&agents, "/spire/agent/b").await;
    agents.ban(&b.id, with(Action::AgentBan)).await.unwrap();
    let c = admit(&agents, "/spire/agent/c").await;
    agents.evict(&c.id, with(Action::AgentEvict)).await.unwrap();
    agents.close().await;
    store.close().await;

    let (agents, _) = open(folder.path()).await;
    let found = agents.list(&AgentFilter::default(), None, 10);
    assert_eq!(
        found.iter().map(|agent| (&agent.id, agent.banned)).collect::<Vec<_>>(),
        [(&a.id, false), (&b.id, true)]
    );
    assert_eq!(agents.list(&AgentFilter::default(), Some(&a.id), 10).len(), 1);
    assert_eq!(agents.count(&AgentFilter { banned: Some(true), ..AgentFilter::default() }), 1);
}

#[tokio::test]
async fn leaves_out_a_row_that_somebody_edited() {
    let folder = tempfile::tempdir().unwrap();
    let (agents, store) = open(folder.path()).await;
    let honest = admit(&agents, "/spire/agent/a").await;
    let banned = admit(&agents, "/spire/agent/b").await;
    agents.ban(&banned.id, with(Action::AgentBan)).await.unwrap();
    let kept = agents.kept(&banned.id).unwrap();
    let mut forged = encoding::seal_agent(&kept.agent, &mac());
    forged.body = encoding::seal_agent(&Agent { banned: false, ..Agent::clone(&kept.agent) }, &mac()).body;
    store.write(Change::ReplaceAgent { row: forged, old_mac: kept.mac }).await.unwrap();

    agents.follow(&Notice::Everything).await.unwrap();
    assert_eq!(agents.agent(&banned.id), None, "a row that is not ours makes nobody an agent");
    assert_eq!(agents.agent(&honest.id), Some(honest));
}

/// It is no agent, and would be in the way of the node for ever.
#[tokio::test]
async fn evicts_an_agent_whose_row_somebody_edited() {
    let folder = tempfile::tempdir().unwrap();
    let (agents, store) = open(folder.path()).await;
    let id = admit(&agents, "/spire/agent/a").await.id.clone();
    let kept = agents.kept(&id).unwrap();
    let mut forged = encoding::seal_agent(&kept.agent, &mac());
    forged.mac[0] ^= 1;
    store.write(Change::ReplaceAgent { row: forged, old_mac: kept.mac }).await.unwrap();

    agents.evict(&id, with(Action::AgentEvict)).await.unwrap();
    assert_eq!(store.agent(id.as_str()).await.unwrap(), None);
    assert_eq!((agents.agent(&id), agents.refused()), (None, 0));
    admit(&agents, "/spire/agent/a").await;
}

#[tokio::test]
async fn accepts_both_svids_until_the_newest_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let (agents, _) = open(folder.path()).await;
    let id = admit(&agents, "/spire/agent/a").await.id.clone();
    agents.change(&id, Commit::default(), |a| Ok(Some(a.renewed("1", svid("2"))))).await.unwrap();
    assert_eq!(agents.of_holder(&id, "1").unwrap().1, Standing::Settled);
    assert_eq!(agents.of_holder(&id, "2").unwrap().1, Standing::FirstUse);
    agents.settle(&id, "2").await.unwrap();
    assert_eq!(agents.of_holder(&id, "2").unwrap().1, Standing::Settled);
    assert!(matches!(agents.of_holder(&id, "1"), Err(NotAnAgent::NotActive { .. })));
}

/// Two replicas are two of these on one database.
#[tokio::test]
async fn sees_what_another_replica_changed() {
    let folder = tempfile::tempdir().unwrap();
    let (here, store) = open(folder.path()).await;
    let there = Agents::load(store.clone(), mac()).await.unwrap();
    let id = admit(&there, "/spire/agent/a").await.id.clone();
    assert_eq!(here.agent(&id), None);
    here.follow(&Notice::Agents(vec![id.to_string()])).await.unwrap();
    assert!(here.agent(&id).is_some());

    // Neither waits for a notice before it changes what the other changed.
    there.change(&id, Commit::default(), |a| Ok(Some(a.renewed("1", svid("2"))))).await.unwrap();
    let banned = here.ban(&id, with(Action::AgentBan)).await.unwrap();
    assert_eq!((banned.banned, banned.svid.serial.as_str()), (true, "2"));
    let refused = there.change(&id, Commit::default(), |a| a.standing("2").map(|_| Some(a.settled()))).await;
    assert!(matches!(refused, Err(AgentsError::NotAnAgent(NotAnAgent::Banned(_)))), "{refused:?}");

    there.evict(&id, with(Action::AgentEvict)).await.unwrap();
    here.follow(&Notice::Everything).await.unwrap();
    assert_eq!(here.agent(&id), None);
}

/// What the holder of an agent's SVID asks for.
fn wish(name: &str) -> Commit {
    let change = Change::AddSecret { name: name.to_owned(), sealed: vec![1] };
    Commit { changes: vec![change], events: Vec::new() }
}

#[tokio::test]
async fn records_nothing_for_an_agent_that_another_replica_shut_out() {
    let folder = tempfile::tempdir().unwrap();
    let (here, store) = open(folder.path()).await;
    let (banned, evicted) = (admit(&here, "/spire/agent/a").await, admit(&here, "/spire/agent/b").await);
    let there = Agents::load(store.clone(), mac()).await.unwrap();
    there.ban(&banned.id, with(Action::AgentBan)).await.unwrap();
    there.evict(&evicted.id, with(Action::AgentEvict)).await.unwrap();
    for agent in [&banned, &evicted] {
        assert!(here.of_holder(&agent.id, "1").is_ok(), "the news of it is on its way");
    }
    let refused = here.commit_for(&banned, wish("a")).await;
    assert!(matches!(refused, Err(AgentsError::NotAnAgent(NotAnAgent::Banned(_)))), "{refused:?}");
    let refused = here.commit_for(&evicted, wish("b")).await;
    assert!(matches!(refused, Err(AgentsError::NotAnAgent(NotAnAgent::NotAttested(_)))), "{refused:?}");

    // Who proves anew to be the node has not asked for it.
    let later = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    let anew = Agent { attested_at: later, ..Agent::clone(&evicted) };
    there.admit(anew, Commit::default()).await.unwrap();
    here.follow(&Notice::Everything).await.unwrap();
    let refused = here.commit_for(&evicted, wish("c")).await;
    assert!(matches!(refused, Err(AgentsError::NotAnAgent(NotAnAgent::NotAttested(_)))), "{refused:?}");
    assert!(store.secrets().await.unwrap().is_empty());
}

#[tokio::test]
async fn records_what_an_agent_asked_for_before_it_used_its_next_svid() {
    let folder = tempfile::tempdir().unwrap();
    let (here, store) = open(folder.path()).await;
    let agent = admit(&here, "/spire/agent/a").await;
    let there = Agents::load(store.clone(), mac()).await.unwrap();
    there.change(&agent.id, Commit::default(), |a| Ok(Some(a.renewed("1", svid("2"))))).await.unwrap();
    here.commit_for(&agent, wish("a")).await.unwrap();
    there.settle(&agent.id, "2").await.unwrap();
    here.commit_for(&agent, wish("b")).await.unwrap();
    assert_eq!(store.secrets().await.unwrap().len(), 2);
}

/// As with a ban that revokes much.
#[tokio::test]
async fn waits_with_what_an_agent_asked_for_while_another_replica_changes_it() {
    let folder = tempfile::tempdir().unwrap();
    let (agents, store) = open(folder.path()).await;
    let agent = admit(&agents, "/spire/agent/a").await;
    let Some(change) = testing::change_of_all_agents(folder.path()).await else { return };
    let beside = async {
        // Others go on meanwhile, and hear of it after what was handed in before was refused.
        store.commit(wish("beside")).await.unwrap();
        change.rollback().await.unwrap();
    };
    let (recorded, ()) = tokio::join!(agents.commit_for(&agent, wish("a")), beside);
    recorded.unwrap();
    assert_eq!(store.secrets().await.unwrap().len(), 2);
}

#[tokio::test]
async fn gives_up_what_an_agent_asked_for_while_another_replica_changes_it_for_long() {
    let folder = tempfile::tempdir().unwrap();
    let (agents, store) = open(folder.path()).await;
    let agent = admit(&agents, "/spire/agent/a").await;
    let Some(change) = testing::change_of_all_agents(folder.path()).await else { return };
    let refused = agents.commit_for(&agent, wish("a")).await;
    assert!(matches!(refused, Err(AgentsError::Busy(_))), "{refused:?}");
    change.rollback().await.unwrap();
    assert!(store.secrets().await.unwrap().is_empty());
}

#[tokio::test]
async fn admits_nobody_who_was_banned() {
    let folder = tempfile::tempdir().unwrap();
    let (agents, _) = open(folder.path()).await;
    let id = admit(&agents, "/spire/agent/a").await.id.clone();
    agents.ban(&id, with(Action::AgentBan)).await.unwrap();
    let again = agents.admit(agent("/spire/agent/a"), Commit::default()).await;
    assert!(matches!(again, Err(AgentsError::NotAnAgent(NotAnAgent::Banned(_)))), "{again:?}");
    assert!(agents.agent(&id).unwrap().banned);
}

#[tokio::test]
async fn looks_at_what_became_of_a_commit_whose_end_nobody_heard() {
    let folder = tempfile::tempdir().unwrap();
    let (agents, store) = open(folder.path()).await;
    let id = admit(&agents, "/spire/agent/a").await.id.clone();
    testing::leave_next_commit_unheard(&store);
    let banned = agents.ban(&id, with(Action::AgentBan)).await;
    assert!(matches!(banned, Err(AgentsError::Store(StoreError::Unsure(_)))), "{banned:?}");
    assert!(matches!(agents.of_holder(&id, "1"), Err(NotAnAgent::Banned(_))), "the ban holds");

    testing::leave_next_commit_unheard(&store);
    let evicted = agents.evict(&id, with(Action::AgentEvict)).await;
    assert!(matches!(evicted, Err(AgentsError::Store(StoreError::Unsure(_)))), "{evicted:?}");
    assert_eq!(agents.agent(&id), None);
}

#[tokio::test]
async fn takes_nobody_for_an_agent_whose_state_is_not_known() {
    let folder = tempfile::tempdir().unwrap();
    let (agents, store) = open(folder.path()).await;
    let id = admit(&agents, "/spire/agent/a").await.id.clone();
    let mut notices = store.changes();
    testing::stop_reading(&store).await;
    testing::leave_next_commit_unheard(&store);
    let banned = agents.ban(&id, with(Action::AgentBan)).await;
    assert!(matches!(banned, Err(AgentsError::Store(StoreError::Unsure(_)))), "{banned:?}");
    assert!(matches!(agents.of_holder(&id, "1"), Err(NotAnAgent::NotAttested(_))));
    // The writer tells that it may have changed, and then that it has yet to be read.
    let wanted = Notice::Agents(vec![id.to_string()]);
    assert_eq!(testing::heard(&mut notices), [wanted.clone(), wanted]);
}

/// An admission may have come to nothing, and its token still be good.
#[tokio::test]
async fn logs_no_token_of_an_agent_whose_state_is_not_known() {
    let folder = tempfile::tempdir().unwrap();
    let (agents, store) = open(folder.path()).await;
    let path = folder.path().join("log");
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(File::create(&path).unwrap()).finish();
    let _log = tracing::subscriber::set_default(log);
    testing::stop_reading(&store).await;
    testing::leave_next_commit_unheard(&store);
    let admitted = agents.admit(agent("/spire/agent/join_token/0123456789abcdef"), Commit::default()).await;
    assert!(matches!(admitted, Err(AgentsError::Store(StoreError::Unsure(_)))), "{admitted:?}");
    let logged = fs::read_to_string(&path).unwrap();
    assert!(logged.contains("an agent that may have changed cannot be read"), "{logged}");
    assert!(logged.contains("/join_token/<sha256:") && !logged.contains("0123456789abcdef"), "{logged}");
}

#[tokio::test]
async fn logs_no_token_of_an_agent_whose_row_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (agents, store) = open(folder.path()).await;
    let mut forged = encoding::seal_agent(&agent("/spire/agent/join_token/0123456789abcdef"), &mac());
    forged.mac[0] ^= 1;
    store.write(Change::AddAgent(forged)).await.unwrap();
    let path = folder.path().join("log");
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(File::create(&path).unwrap()).finish();
    let _log = tracing::subscriber::set_default(log);
    agents.follow(&Notice::Everything).await.unwrap();
    let logged = fs::read_to_string(&path).unwrap();
    assert!(logged.contains("an agent's row is refused"), "{logged}");
    assert!(logged.contains("/join_token/<sha256:") && !logged.contains("0123456789abcdef"), "{logged}");
}

#[tokio::test]
async fn finds_nothing_to_ban_or_evict() {
    let folder = tempfile::tempdir().unwrap();
    let (agents, _) = open(folder.path()).await;
    let id = agent("/spire/agent/a").id;
    assert!(matches!(agents.ban(&id, with(Action::AgentBan)).await, Err(AgentsError::NotFound(_))));
    assert!(matches!(agents.evict(&id, with(Action::AgentEvict)).await, Err(AgentsError::NotFound(_))));
}

fn token(text: &str, lifetime: u64) -> TokenRecord {
    TokenRecord {
        hash: JoinToken::parse(text).unwrap().hash(),
        expires_at: now() + Duration::from_secs(lifetime),
        alias: None,
        used: None,
    }
}

#[tokio::test]
async fn lets_one_of_two_use_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let (agents, _) = open(folder.path()).await;
    let token = token("0123456789abcdef", 60);
    agents.create_token(&token, now(), event(Action::TokenCreate)).await.unwrap();
    let (found, token_mac) = agents.token(token.hash).await.unwrap().unwrap();
    assert_eq!(found, token);

    let use_by = |key: u8| {
        let used =
            TokenUse { key_sha256: [key; 32], serial: key.to_string(), chain: Vec::new(), not_after: now() };
        let change =
            agents.use_of_token(&TokenRecord { used: Some(used), ..token.clone() }, token_mac.clone());
        agents.admit(agent("/spire/agent/a"), Commit { changes: vec![change], events: Vec::new() })
    };
    let (first, second) = tokio::join!(use_by(1), use_by(2));
    let winner = match (first, second) {
        (Ok(_), Err(AgentsError::Store(StoreError::Conflict(Conflict::Changed | Conflict::Taken)))) => 1,
        (Err(AgentsError::Store(StoreError::Conflict(Conflict::Changed | Conflict::Taken))), Ok(_)) => 2,
        both => panic!("{both:?}"),
    };
    let (found, _) = agents.token(token.hash).await.unwrap().unwrap();
    assert_eq!(found.used.unwrap().key_sha256, [winner; 32]);
}

#[tokio::test]
async fn keeps_no_token_twice_and_none_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let (agents, store) = open(folder.path()).await;
    let short = token("0123456789abcdef", 60);
    agents.create_token(&short, now(), event(Action::TokenCreate)).await.unwrap();
    let again = agents.create_token(&short, now(), event(Action::TokenCreate)).await;
    assert!(matches!(again, Err(AgentsError::TokenTaken)), "{again:?}");

    let later = now() + Duration::from_secs(61);
    agents.create_token(&token("fedcba9876543210", 90), later, event(Action::TokenCreate)).await.unwrap();
    assert_eq!(store.join_token(short.hash.as_bytes()).await.unwrap(), None);
}
