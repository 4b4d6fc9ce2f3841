//! Two replicas and the same agents. Only with PostgreSQL can another one write meanwhile.

use std::{path::Path, time::Duration};

use sqlx::PgPool;
use tokio::time::{sleep, timeout};

use super::*;
use crate::{
    instant::Clock,
    store::{Commit, database::Pools, testing},
};

fn row(name: &str, mac: u8) -> AgentRow {
    let spiffe_id = format!("spiffe://example.org/spire/agent/{name}");
    AgentRow { spiffe_id, body: vec![0], mac: vec![mac] }
}

fn hold(name: &str) -> Change {
    Change::HoldAgent { spiffe_id: row(name, 1).spiffe_id, mac: vec![1] }
}

fn replacement(name: &str) -> Change {
    Change::ReplaceAgent { row: row(name, 2), old_mac: vec![1] }
}

fn addition(name: &str) -> Change {
    Change::AddSecret { name: name.to_owned(), sealed: vec![1] }
}

fn commit(changes: Vec<Change>) -> Commit {
    Commit { changes, events: Vec::new() }
}

/// A store with the agents `a` and `b`.
async fn with_agents(folder: &Path) -> Store {
    let store = testing::open(folder, Clock::system()).await;
    store.commit(commit(["a", "b"].map(|name| Change::AddAgent(row(name, 1))).into())).await.unwrap();
    store
}

/// One connection of another replica.
async fn another(folder: &Path) -> Option<PgPool> {
    match testing::writing(folder).await {
        Pools::Postgres(pool) => Some(pool),
        Pools::Sqlite(_) => None,
    }
}

/// Until one transaction waits for a row of another one.
async fn somebody_waits(watching: &PgPool) {
    let waiting = async {
        loop {
            let waiting: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                 AND wait_event_type = 'Lock' AND wait_event IN ('transactionid', 'tuple')",
            )
            .fetch_one(watching)
            .await
            .unwrap();
            if waiting > 0 {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(30), waiting).await.expect("nobody waits");
}

fn is_changed(result: &Result<(), StoreError>) -> bool {
    matches!(result, Err(StoreError::Conflict(Conflict::Changed)))
}

/// Both replicas hold the agent for something it asked for, and both note that it has changed.
#[tokio::test]
async fn does_not_wait_for_somebody_who_waits_for_us() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_agents(folder.path()).await;
    let Some(others) = another(folder.path()).await else { return };
    let watching = another(folder.path()).await.unwrap();
    let mut theirs = others.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM agents FOR SHARE").execute(&mut *theirs).await.unwrap();
    let ours = tokio::spawn({
        let store = store.clone();
        async move { store.commit(commit(vec![hold("a"), replacement("a")])).await }
    });
    somebody_waits(&watching).await;
    sqlx::query("UPDATE agents SET mac = '\\x09'").execute(&mut *theirs).await.unwrap();
    theirs.commit().await.unwrap();
    let refused = ours.await.unwrap();
    assert!(is_changed(&refused), "{refused:?}");
    let counted = store.metrics().encode().unwrap();
    assert!(
        counted.contains("secplane_ca_database_errors_total 0"),
        "nobody was ended for anybody: {counted}"
    );
}

/// Whoever bans an agent has its row, and then wants all that it was given.
#[tokio::test]
async fn locks_agents_before_anything_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_agents(folder.path()).await;
    let Some(others) = another(folder.path()).await else { return };
    let watching = another(folder.path()).await.unwrap();
    store.write(addition("wanted by both")).await.unwrap();
    let mut theirs = others.begin().await.unwrap();
    sqlx::query("UPDATE agents SET mac = '\\x09'").execute(&mut *theirs).await.unwrap();
    let ours = tokio::spawn({
        let store = store.clone();
        let first = Change::PutSecret { name: "wanted by both".to_owned(), sealed: vec![2] };
        async move { store.commit(commit(vec![first, replacement("a")])).await }
    });
    somebody_waits(&watching).await;
    sqlx::query("SELECT 1 FROM secrets FOR UPDATE NOWAIT").execute(&mut *theirs).await.unwrap();
    theirs.commit().await.unwrap();
    let refused = ours.await.unwrap();
    assert!(is_changed(&refused), "{refused:?}");
}

/// A ban may take long, and everybody here shares the writer.
#[tokio::test]
async fn does_not_wait_for_an_agent_that_it_only_holds() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_agents(folder.path()).await;
    let Some(others) = another(folder.path()).await else { return };
    let mut theirs = others.begin().await.unwrap();
    let ban = "UPDATE agents SET mac = '\\x09' WHERE spiffe_id LIKE '%/a'";
    sqlx::query(ban).execute(&mut *theirs).await.unwrap();
    for changes in [vec![addition("1"), hold("a")], vec![replacement("b"), hold("a")]] {
        let refused = store.commit(commit(changes)).await;
        assert!(is_changed(&refused), "{refused:?}");
    }
    store.commit(commit(vec![addition("2"), hold("b")])).await.unwrap();
    theirs.rollback().await.unwrap();
    store.commit(commit(vec![addition("1"), hold("a")])).await.unwrap();
}

/// What is given to an agent is on record before the agent changes, or not given.
#[tokio::test]
async fn keeps_an_agent_as_it_is_until_the_end() {
    let folder = tempfile::tempdir().unwrap();
    with_agents(folder.path()).await.close().await;
    let Some(others) = another(folder.path()).await else { return };
    let pools = testing::writing(folder.path()).await;
    let mut ours = pools.begin().await.unwrap();
    LockedAgents::lock(&mut ours, &[&hold("a")]).await.unwrap();
    let ban = "SELECT 1 FROM agents WHERE spiffe_id LIKE '%/a' FOR UPDATE NOWAIT";
    let refused = sqlx::query(ban).execute(&others).await.unwrap_err();
    let code = refused.as_database_error().and_then(|error| error.code());
    assert_eq!(code.as_deref(), Some("55P03"));
}
