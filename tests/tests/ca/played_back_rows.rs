//! Rows that somebody copied, and put back after they were changed or deleted: each is one that the authority wrote.

use secplane_identity::PrivateKey;
use secplane_proto::spire::api::server::agent::v1::{CreateJoinTokenRequest, DeleteAgentRequest};
use secplane_tests::{agents::Agent, authority::Ca, database::Database, entries::id};
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
