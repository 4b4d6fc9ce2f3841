//! How many callers share a durable write. Nothing here is measured: what waits is handed in before the writer begins.

use std::path::Path;

use futures_util::{
    FutureExt,
    future::{BoxFuture, join_all},
};

use super::*;
use crate::store::{AgentRow, Conflict, testing};

type Answer = BoxFuture<'static, Result<Result<(), StoreError>, oneshot::error::RecvError>>;

/// A committer that has not begun, on a database with nothing in it.
async fn committer(folder: &Path) -> Committer {
    // It makes the schema.
    testing::open(folder, Clock::system()).await.close().await;
    Committer {
        pools: testing::writing(folder).await,
        replica: testing::REPLICA.to_owned(),
        clock: Clock::system(),
        log: None,
        unsure: Unsure::new(Listener::silent()),
        is_committing: false,
        metrics: Arc::default(),
        unheard: Arc::default(),
    }
}

fn addition(name: &str) -> Change {
    Change::AddSecret { name: name.to_owned(), sealed: vec![1] }
}

fn commit(change: Change) -> Commit {
    Commit { changes: vec![change], events: Vec::new() }
}

/// What waits for the writer when it begins, and where each is answered. Nothing is handed in after.
fn waiting(names: impl IntoIterator<Item = String>) -> (mpsc::Receiver<Job>, Vec<Answer>) {
    handed_in(names.into_iter().map(|name| commit(addition(&name))))
}

fn handed_in(commits: impl IntoIterator<Item = Commit>) -> (mpsc::Receiver<Job>, Vec<Answer>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let answers = commits.into_iter().map(|commit| {
        let (done, answer) = oneshot::channel();
        sender.try_send(Job::Commit(commit, done)).unwrap();
        answer.map(|answered| answered.map(as_told)).boxed()
    });
    let answers = answers.collect();
    (receiver, answers)
}

/// What [`Store::commit`](crate::store::Store::commit) makes of it.
fn as_told(result: Result<Outcome, StoreError>) -> Result<(), StoreError> {
    match result? {
        Outcome::Made => Ok(()),
        Outcome::Outrun(_) => Err(Conflict::Changed.into()),
    }
}

fn commits(metrics: &Metrics) -> usize {
    counted(metrics, "secplane_ca_database_commit_changes_count ")
}

fn failures(metrics: &Metrics) -> usize {
    counted(metrics, "secplane_ca_database_errors_total ")
}

fn counted(metrics: &Metrics, prefix: &str) -> usize {
    let text = metrics.encode().unwrap();
    let count = text.lines().find_map(|line| line.strip_prefix(prefix));
    count.unwrap().parse().unwrap()
}

/// The names of what is on disk.
async fn kept(folder: &Path) -> Vec<String> {
    let store = testing::open(folder, Clock::system()).await;
    let secrets = store.secrets().await.unwrap();
    store.close().await;
    secrets.into_iter().map(|(name, _)| name).collect()
}

#[tokio::test]
async fn makes_all_durable_at_once_that_wait() {
    let folder = tempfile::tempdir().unwrap();
    let committer = committer(folder.path()).await;
    let metrics = Arc::clone(&committer.metrics);
    let (receiver, answers) = waiting((0..100).map(|number| format!("{number:03}")));
    committer.commit_all(receiver).await;
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
    assert_eq!(commits(&metrics), 1);
    assert_eq!(kept(folder.path()).await.len(), 100);
}

#[tokio::test]
async fn takes_no_more_at_once_than_a_batch() {
    let folder = tempfile::tempdir().unwrap();
    let committer = committer(folder.path()).await;
    let metrics = Arc::clone(&committer.metrics);
    let (receiver, answers) = waiting((0..=BATCH).map(|number| number.to_string()));
    committer.commit_all(receiver).await;
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
    assert_eq!(commits(&metrics), 2);
}

#[tokio::test]
async fn refuses_who_is_in_the_way_and_no_one_who_shares_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let committer = committer(folder.path()).await;
    let metrics = Arc::clone(&committer.metrics);
    let (receiver, answers) = waiting(["a", "b", "a", "c"].map(str::to_owned));
    committer.commit_all(receiver).await;
    let mut answers = join_all(answers).await.into_iter().map(Result::unwrap);
    assert!(answers.next().unwrap().is_ok() && answers.next().unwrap().is_ok());
    let refused = answers.next().unwrap();
    assert!(matches!(refused, Err(StoreError::Conflict(Conflict::Taken))), "{refused:?}");
    assert!(answers.next().unwrap().is_ok());
    assert_eq!(commits(&metrics), 2, "who came before shared one");
    assert_eq!(kept(folder.path()).await, ["a", "b", "c"]);
}

/// One that is in the way, the last of 64, costs the others no durable write each: 32, 16, 8, 4, 2 and 1 share.
#[tokio::test]
async fn shares_on_although_one_is_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let committer = committer(folder.path()).await;
    let metrics = Arc::clone(&committer.metrics);
    let names = (0..63).map(|number| number.to_string()).chain(["0".to_owned()]);
    let (receiver, answers) = waiting(names);
    committer.commit_all(receiver).await;
    let mut results: Vec<_> = join_all(answers).await.into_iter().map(Result::unwrap).collect();
    let refused = results.pop().unwrap();
    assert!(matches!(refused, Err(StoreError::Conflict(Conflict::Taken))), "{refused:?}");
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(commits(&metrics), 6);
    assert_eq!(kept(folder.path()).await.len(), 63);
}

#[tokio::test]
async fn fails_whose_statement_fails_and_no_one_who_shares_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let committer = committer(folder.path()).await;
    // Too large a number comes of a name of two letters; both databases refuse to make one.
    let statement = "CREATE INDEX failing ON secrets (abs(-9223372036854775806 - length(name)))";
    testing::change(folder.path(), statement).await;
    let (receiver, answers) = waiting(["a", "bb", "c"].map(str::to_owned));
    committer.commit_all(receiver).await;
    let results: Vec<_> = join_all(answers).await.into_iter().map(Result::unwrap).collect();
    assert!(matches!(results[..], [Ok(()), Err(StoreError::Sql(_)), Ok(())]), "{results:?}");
    assert_eq!(kept(folder.path()).await, ["a", "c"]);
}

/// What is in the way of secrets: nobody but PostgreSQL lets two write at once, and one of them be ended for the other.
/// A sequence counts on although its transaction is undone.
async fn stand_in_the_way(folder: &Path, of_how_many: &'static str, code: &'static str) {
    let in_the_way = format!(
        "CREATE FUNCTION in_the_way() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF nextval('tries') <= {of_how_many} THEN RAISE EXCEPTION 'in the way' USING ERRCODE = '{code}'; END IF;
             RETURN NEW;
         END $$"
    );
    for statement in [
        "CREATE SEQUENCE tries",
        &*in_the_way.leak(),
        "CREATE TRIGGER in_the_way BEFORE INSERT ON secrets FOR EACH ROW EXECUTE FUNCTION in_the_way()",
    ] {
        testing::change(folder, statement).await;
    }
}

/// Such as a ban, of which nobody should hear that it failed.
#[rstest::rstest]
#[case::deadlock("40P01")]
#[case::serialization_failure("40001")]
#[tokio::test]
async fn tries_again_what_another_replica_was_in_the_way_of(#[case] code: &'static str) {
    let folder = tempfile::tempdir().unwrap();
    let committer = committer(folder.path()).await;
    if matches!(committer.pools, Pools::Sqlite(_)) {
        return;
    }
    stand_in_the_way(folder.path(), "2", code).await;
    let metrics = Arc::clone(&committer.metrics);
    let (receiver, answers) = waiting(["a".to_owned()]);
    committer.commit_all(receiver).await;
    let results: Vec<_> = join_all(answers).await.into_iter().map(Result::unwrap).collect();
    assert!(matches!(results[..], [Ok(())]), "{results:?}");
    assert_eq!((commits(&metrics), failures(&metrics)), (1, 2));
    assert_eq!(kept(folder.path()).await, ["a"]);
}

#[tokio::test]
async fn gives_up_what_others_are_always_in_the_way_of() {
    let folder = tempfile::tempdir().unwrap();
    let committer = committer(folder.path()).await;
    if matches!(committer.pools, Pools::Sqlite(_)) {
        return;
    }
    stand_in_the_way(folder.path(), "1000", "40P01").await;
    let metrics = Arc::clone(&committer.metrics);
    let (receiver, answers) = waiting(["a".to_owned()]);
    committer.commit_all(receiver).await;
    let results: Vec<_> = join_all(answers).await.into_iter().map(Result::unwrap).collect();
    assert!(matches!(results[..], [Err(StoreError::Sql(_))]), "{results:?}");
    assert_eq!((commits(&metrics), failures(&metrics)), (0, TRIES));
}

/// An agent whose row has this MAC.
fn agent(mac: u8) -> AgentRow {
    AgentRow { spiffe_id: "spiffe://example.org/spire/agent/a".to_owned(), body: vec![0], mac: vec![mac] }
}

/// What somebody asked for while the agent's row had this MAC.
fn asked_for(name: &str, mac: u8) -> Commit {
    let hold = Change::HoldAgent { spiffe_id: agent(mac).spiffe_id, mac: vec![mac] };
    Commit { changes: vec![addition(name), hold], events: Vec::new() }
}

#[tokio::test]
async fn refuses_whose_agent_has_changed_and_no_one_who_shares_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let committer = committer(folder.path()).await;
    let metrics = Arc::clone(&committer.metrics);
    let replacement = Change::ReplaceAgent { row: agent(2), old_mac: vec![1] };
    let deletion = Change::DeleteAgent { spiffe_id: agent(2).spiffe_id, old_mac: vec![2] };
    let (receiver, answers) = handed_in([
        commit(Change::AddAgent(agent(1))),
        asked_for("in time", 1),
        commit(replacement),
        asked_for("late", 1),
        asked_for("by what it became", 2),
        commit(deletion),
        asked_for("of nobody", 2),
        commit(addition("beside")),
    ]);
    committer.commit_all(receiver).await;
    let results: Vec<_> = join_all(answers).await.into_iter().map(Result::unwrap).collect();
    let is_refused = |result: &Result<(), StoreError>| {
        assert!(matches!(result, Ok(()) | Err(StoreError::Conflict(Conflict::Changed))), "{result:?}");
        result.is_err()
    };
    let refused: Vec<_> = results.iter().map(is_refused).collect();
    assert_eq!(refused, [false, false, false, true, false, false, true, false]);
    assert_eq!(commits(&metrics), 1, "what an earlier one has outrun is told without the database");
    assert_eq!(kept(folder.path()).await, ["beside", "by what it became", "in time"]);
}

/// An agent that changes and asks at the same moment, again and again, costs the others no transaction.
#[tokio::test]
async fn halves_nothing_because_of_what_an_earlier_one_has_outrun() {
    let folder = tempfile::tempdir().unwrap();
    let committer = committer(folder.path()).await;
    let metrics = Arc::clone(&committer.metrics);
    let replacement = |mac| Change::ReplaceAgent { row: agent(mac), old_mac: vec![1] };
    let mut late = asked_for("late", 1);
    late.changes.insert(0, Change::PutSecret { name: "late, too".to_owned(), sealed: vec![1] });
    let first = [commit(Change::AddAgent(agent(1))), commit(replacement(2)), late, commit(replacement(3))];
    let others = (0..60).map(|number| commit(addition(&number.to_string())));
    let (receiver, answers) = handed_in(first.into_iter().chain(others).chain([asked_for("in time", 2)]));
    committer.commit_all(receiver).await;
    let results: Vec<_> = join_all(answers).await.into_iter().map(Result::unwrap).collect();
    let refused: Vec<_> = (0..results.len()).filter(|at| results[*at].is_err()).collect();
    assert_eq!(refused, [2, 3], "{results:?}");
    assert_eq!((commits(&metrics), kept(folder.path()).await.len()), (1, 61));
}

#[tokio::test]
async fn takes_nothing_over_from_what_was_outrun_itself() {
    let folder = tempfile::tempdir().unwrap();
    let committer = committer(folder.path()).await;
    let metrics = Arc::clone(&committer.metrics);
    let other = |mac| AgentRow { spiffe_id: "spiffe://example.org/spire/agent/b".to_owned(), ..agent(mac) };
    let mut late = asked_for("late", 1);
    late.changes.insert(0, Change::ReplaceAgent { row: other(2), old_mac: vec![1] });
    let hold = Change::HoldAgent { spiffe_id: other(1).spiffe_id, mac: vec![1] };
    let (receiver, answers) = handed_in([
        commit(Change::AddAgent(agent(1))),
        commit(Change::AddAgent(other(1))),
        commit(Change::ReplaceAgent { row: agent(2), old_mac: vec![1] }),
        late,
        Commit { changes: vec![addition("of the other"), hold], events: Vec::new() },
    ]);
    committer.commit_all(receiver).await;
    let results: Vec<_> = join_all(answers).await.into_iter().map(Result::unwrap).collect();
    assert!(matches!(results[..], [Ok(()), Ok(()), Ok(()), Err(_), Ok(())]), "{results:?}");
    assert_eq!(commits(&metrics), 1);
    assert_eq!(kept(folder.path()).await, ["of the other"]);
}

#[tokio::test]
async fn gives_back_what_was_outrun_and_copies_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::open(folder.path(), Clock::system()).await;
    store.write(Change::AddAgent(agent(2))).await.unwrap();
    let late = asked_for("late", 1);
    let (changes, place) = (late.changes.len(), late.changes.as_ptr());
    let outcome = store.commit_unless_outrun(late).await.unwrap();
    let Outcome::Outrun(back) = outcome else { panic!("{outcome:?}") };
    assert_eq!((back.changes.len(), back.changes.as_ptr()), (changes, place));
    let made = store.commit_unless_outrun(asked_for("in time", 2)).await.unwrap();
    assert!(matches!(made, Outcome::Made), "{made:?}");
}

/// It was made. Each of them could be made once more, and is not.
#[tokio::test]
async fn makes_nothing_twice_whose_end_nobody_heard() {
    let folder = tempfile::tempdir().unwrap();
    let committer = committer(folder.path()).await;
    committer.unheard.store(true, Ordering::Relaxed);
    let metrics = Arc::clone(&committer.metrics);
    let changes = ["a", "b", "c"].map(|name| Change::PutSecret { name: name.to_owned(), sealed: vec![1] });
    let (receiver, answers) = handed_in(changes.map(commit));
    committer.commit_all(receiver).await;
    for answer in answers {
        let answer = answer.await.unwrap();
        assert!(matches!(answer, Err(StoreError::Unsure(_))), "{answer:?}");
    }
    assert_eq!((commits(&metrics), failures(&metrics)), (0, 1));
    assert_eq!(kept(folder.path()).await, ["a", "b", "c"]);
}

/// The same from outside: on one thread, all of them have handed in before the writer's turn comes.
#[tokio::test]
async fn makes_fewer_commits_than_there_are_concurrent_callers() {
    const CALLERS: usize = 64;
    let folder = tempfile::tempdir().unwrap();
    let store = testing::open(folder.path(), Clock::system()).await;
    let before = commits(store.metrics());
    let calls = (0..CALLERS).map(|number| store.commit(commit(addition(&number.to_string()))));
    for result in join_all(calls).await {
        result.unwrap();
    }
    let made = commits(store.metrics()) - before;
    assert!((1..=4).contains(&made), "{made} commits for {CALLERS} callers");
    store.close().await;
    assert_eq!(kept(folder.path()).await.len(), CALLERS);
}
