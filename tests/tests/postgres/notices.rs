//! Replicas tell one another what they change; none of them finds out by looking now and then.
//!
//! How fast that is nobody measures here. The tests see that a notice leaves with each kind of change, and that of
//! entries a replica misses what it is not told of. What is looked at now and then besides goes by the clock:
//! revocations every ten seconds, authorities when a step is due. `two_that_must_be_told` stops it for the tests that
//! show that a change reaches another replica without such a look. All of them would miss a daemon that keeps a notice
//! back for a while; how long the way takes is a figure of `benches/run`.

use ca_daemon::config::DatabaseConfig;
use secplane_proto::spire::api::{
    server::{agent::v1::BanAgentRequest, localauthority::v1::PrepareX509AuthorityRequest},
    types::Entry,
};
use secplane_tests::{
    agents::Agent,
    authority::Ca,
    database::Database,
    entries::{entry, id},
    soon,
};
use serde_json::{Value, json};
use sqlx::postgres::PgListener;

use super::until;

/// Somebody who listens as another replica does.
async fn listen(ca: &Ca) -> PgListener {
    let DatabaseConfig::Postgres(config) = &ca.folder().config.database else {
        unreachable!("these tests run on PostgreSQL")
    };
    let mut listener = PgListener::connect(&config.url).await.unwrap();
    listener.listen("secplane").await.unwrap();
    listener
}

/// Waits for a notice. Others may come before.
async fn hears(listener: &mut PgListener, wanted: &Value) {
    soon(format!("the notice {wanted}"), async {
        loop {
            let heard = listener.recv().await.unwrap();
            let letter: Value = serde_json::from_str(heard.payload()).unwrap();
            if letter["notice"] == *wanted {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn leave_with_every_change() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    let mut listener = listen(&ca).await;
    let mut database = Database::open(ca.folder()).await;

    let created = admin.create_entry(entry("/a", &["uid:1"])).await;
    hears(&mut listener, &json!({ "Entries": [created.id] })).await;
    assert_eq!(database.number("SELECT count(*) FROM entries").await, 1, "who hears of it finds it");
    admin.delete_entry(&created).await;
    hears(&mut listener, &json!({ "Entries": [created.id] })).await;
    assert_eq!(database.number("SELECT count(*) FROM entries").await, 0);

    let holder = admin.mint("/revoked", 0).await.unwrap();
    admin.revoke(&holder).await.unwrap();
    // Of the revocation, and of the list that names it.
    for _ in 0..2 {
        hears(&mut listener, &json!("Revocations")).await;
    }

    let agent = Agent::attest(&ca).await;
    let spiffe_id = format!("spiffe://example.org{}", agent.path);
    hears(&mut listener, &json!({ "Agents": [spiffe_id] })).await;
    admin.agent().ban_agent(BanAgentRequest { id: Some(id(&agent.path)) }).await.unwrap();
    hears(&mut listener, &json!({ "Agents": [spiffe_id] })).await;

    admin.local_authority().prepare_x509_authority(PrepareX509AuthorityRequest {}).await.unwrap();
    hears(&mut listener, &json!("Authorities")).await;
    database.close().await;
}

/// Entries that go behind the daemon's back: it misses the one that it is told of, and no other.
#[tokio::test]
async fn are_all_that_makes_a_replica_look() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    for name in ["before", "told", "untold"] {
        let named = Entry { id: name.to_owned(), ..entry(&format!("/{name}"), &["uid:1"]) };
        admin.create_entry(named).await;
    }
    let mut database = Database::open(ca.folder()).await;
    let is_gone = async |id: &str| admin.get_entry(id).await.err();
    // When it has heeded this, it has done with reading everything, as it does when it begins to listen.
    database.run("DELETE FROM entries WHERE id = 'before'").await;
    database.run(r#"SELECT pg_notify('secplane', '{"from":"other","notice":{"Entries":["before"]}}')"#).await;
    until("the first to go", async || is_gone("before").await).await;

    database.run("DELETE FROM entries").await;
    database.run(r#"SELECT pg_notify('secplane', '{"from":"other","notice":{"Entries":["told"]}}')"#).await;
    until("the one that it was told of to go", async || is_gone("told").await).await;
    admin.get_entry("untold").await.unwrap();
    database.close().await;
}
