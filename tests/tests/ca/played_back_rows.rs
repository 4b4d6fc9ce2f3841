//! Rows that somebody copied, and put back after they were changed or deleted: each is one that the authority wrote.

use ca_daemon::operations::doctor::{Finding, Verdict, examine};
use secplane_identity::PrivateKey;
use secplane_proto::spire::api::{
    server::{
        agent::v1::{BanAgentRequest, CreateJoinTokenRequest, DeleteAgentRequest},
        entry::v1::BatchUpdateEntryRequest,
    },
    types,
};
use secplane_tests::{
    agents::Agent,
    authority::Ca,
    database::Database,
    entries::{entry, id},
};
use tonic::Code;

fn key() -> PrivateKey {
    PrivateKey::generate().unwrap()
}

async fn refused_tokens(ca: &Ca) -> f64 {
    ca.metric("secplane_ca_refused_rows{table=\"join_tokens\"}").await
}

/// Whoever read the agent's SPIFFE ID knows the token.
#[tokio::test]
async fn open_nothing_with_a_token_that_was_used() {
    let ca = Ca::start().await;
    let token = ca.admin().join_token().await;
    let mut database = Database::open(ca.folder()).await;
    database.run("CREATE TEMPORARY TABLE kept AS SELECT * FROM join_tokens").await;
    let anyone = ca.connect_anonymously().await;
    let agent = Agent::of(&ca, anyone.attest(&token, &key()).await.unwrap()).await;
    database.run("DELETE FROM join_tokens").await;
    database.run("INSERT INTO join_tokens SELECT * FROM kept").await;

    let refusal = anyone.attest(&token, &key()).await.err().unwrap();
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
    assert!(refusal.message().contains("has already been used"), "{refusal}");
    assert_eq!(refused_tokens(&ca).await, 1.0);
    agent.clients.new_svids(&["none"]).await.unwrap();

    // Nor once the agent is forgotten, over a restart.
    ca.admin().agent().delete_agent(DeleteAgentRequest { id: Some(id(&agent.path)) }).await.unwrap();
    let ca = ca.restart().await;
    let anyone = ca.connect_anonymously().await;
    anyone.attest(&token, &key()).await.err().unwrap();
    assert_eq!(refused_tokens(&ca).await, 1.0);
    database.run("DELETE FROM join_tokens").await;
    anyone.attest(&token, &key()).await.err().unwrap();
    assert_eq!(refused_tokens(&ca).await, 0.0);
    database.close().await;
}

/// As after the end of a token, when its row is cleared away.
#[tokio::test]
async fn are_not_needed_to_know_a_token_that_was_used() {
    let ca = Ca::start().await;
    let request = CreateJoinTokenRequest { ttl: 600, token: "0123456789abcdef".to_owned(), agent_id: None };
    ca.admin().agent().create_join_token(request.clone()).await.unwrap();
    ca.connect_anonymously().await.attest(&request.token, &key()).await.unwrap();
    let mut database = Database::open(ca.folder()).await;
    database.run("DELETE FROM join_tokens").await;
    database.close().await;
    let refusal = ca.admin().agent().create_join_token(request).await.unwrap_err();
    assert_eq!(refusal.code(), Code::AlreadyExists, "{refusal}");
}

/// What the doctor says of them.
async fn finding(ca: &Ca) -> Finding {
    let report = examine(&ca.folder().config).await;
    report.findings().iter().find(|finding| finding.check == "played back").unwrap().clone()
}

#[tokio::test]
async fn of_entries_are_found_by_the_doctor() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    let boss = types::Entry { id: "boss".to_owned(), admin: true, ..entry("/boss", &["uid:4711"]) };
    let boss = admin.create_entry(boss).await;
    let web = types::Entry { id: "web".to_owned(), ..entry("/web", &["uid:4711"]) };
    let web = admin.create_entry(web).await;
    let other = types::Entry { id: "other".to_owned(), ..entry("/other", &["uid:4711"]) };
    admin.create_entry(other).await;
    let mut database = Database::open(ca.folder()).await;
    database.run("CREATE TEMPORARY TABLE kept AS SELECT * FROM entries").await;
    admin.delete_entry(&boss).await;
    let change = types::Entry { hint: "later".to_owned(), ..web.clone() };
    let request = BatchUpdateEntryRequest { entries: vec![change], input_mask: None, output_mask: None };
    let result = admin.entry().batch_update_entry(request).await.unwrap().into_inner().results.remove(0);
    assert_eq!(result.status.unwrap().code, 0);
    assert_eq!(finding(&ca).await.verdict, Verdict::Ok);

    database.run("DELETE FROM entries").await;
    database.run("INSERT INTO entries SELECT * FROM kept").await;
    database.close().await;
    let ca = ca.restart().await;
    let found = finding(&ca).await;
    assert_eq!(found.verdict, Verdict::Fail, "{found:?}");
    assert!(found.message.contains("entry boss, entry web."), "{found:?}");
    for entry in [&boss, &web] {
        ca.admin().delete_entry(entry).await;
    }
    assert_eq!(finding(&ca).await.verdict, Verdict::Ok);
}

#[tokio::test]
async fn of_agents_are_found_by_the_doctor() {
    let ca = Ca::start().await;
    let (banned, evicted) = (Agent::attest(&ca).await, Agent::attest(&ca).await);
    Agent::attest(&ca).await;
    let mut database = Database::open(ca.folder()).await;
    database.run("CREATE TEMPORARY TABLE kept AS SELECT * FROM agents").await;
    let evict = |agent: &Agent| DeleteAgentRequest { id: Some(id(&agent.path)) };
    ca.admin().agent().ban_agent(BanAgentRequest { id: Some(id(&banned.path)) }).await.unwrap();
    ca.admin().agent().delete_agent(evict(&evicted)).await.unwrap();
    assert_eq!(finding(&ca).await.verdict, Verdict::Ok);

    database.run("DELETE FROM agents").await;
    database.run("INSERT INTO agents SELECT * FROM kept").await;
    database.close().await;
    let ca = ca.restart().await;
    let found = finding(&ca).await;
    assert_eq!(found.verdict, Verdict::Fail, "{found:?}");
    assert!(found.message.starts_with("2 rows"), "{found:?}");
    for agent in [&banned, &evicted] {
        assert!(found.message.contains(&agent.path), "{found:?}");
        ca.admin().agent().delete_agent(evict(agent)).await.unwrap();
    }
    assert_eq!(finding(&ca).await.verdict, Verdict::Ok);
}
