//! An agent's own SVID: renewed on the strength of the one before, which counts until the new one is used.

use secplane_proto::spire::api::types::permission_denied_details::Reason;
use secplane_tests::{
    agents::{Agent, reason},
    authority::Ca,
};
use tonic::Code;

#[tokio::test]
async fn renews_its_svid_and_drops_the_one_before_at_first_use() {
    let ca = Ca::start().await;
    let agent = Agent::attest(&ca).await;
    let renewed = agent.clients.renew_agent().await.unwrap();
    assert_eq!(renewed.leaf().uris, agent.holder.leaf().uris);
    assert_ne!(renewed.leaf().serial, agent.holder.leaf().serial);
    let record = ca.admin().record(renewed.leaf().serial).await.unwrap();
    assert_eq!(record.renews, agent.holder.leaf().serial);

    // The answer may have been lost: the old one still serves, and can renew once more.
    agent.clients.new_svids(&["none"]).await.unwrap();
    let again = agent.clients.renew_agent().await.unwrap();
    let lost = ca.connect_as(&renewed).await.new_svids(&["none"]).await.unwrap_err();
    assert_eq!((lost.code(), reason(&lost)), (Code::PermissionDenied, Reason::AgentNotActive));

    ca.connect_as(&again).await.new_svids(&["none"]).await.unwrap();
    for refusal in [
        agent.clients.new_svids(&["none"]).await.unwrap_err(),
        agent.clients.renew_agent().await.err().unwrap(),
    ] {
        assert_eq!((refusal.code(), reason(&refusal)), (Code::PermissionDenied, Reason::AgentNotActive));
    }
    // That it was used is remembered.
    let ca = ca.restart().await;
    let refusal = ca.connect_as(&agent.holder).await.new_svids(&["none"]).await.unwrap_err();
    assert_eq!(reason(&refusal), Reason::AgentNotActive);
    ca.connect_as(&again).await.new_svids(&["none"]).await.unwrap();
}

#[tokio::test]
async fn renews_nothing_for_who_is_no_agent() {
    let ca = Ca::start().await;
    let workload = ca.admin().mint("/a", 0).await.unwrap();
    let client = ca.admin().issue_client("alice", 0).await.unwrap();
    for clients in [ca.admin(), ca.connect_as(&workload).await, ca.connect_as(&client).await] {
        let refusal = clients.renew_agent().await.err().unwrap();
        assert_eq!(refusal.code(), Code::PermissionDenied, "{refusal}");
    }
}

#[tokio::test]
async fn makes_no_second_agent_of_a_renewed_certificate() {
    let ca = Ca::start().await;
    let agent = Agent::attest(&ca).await;
    let refusal = agent.clients.renew().await.err().unwrap();
    assert_eq!(refusal.code(), Code::PermissionDenied, "{refusal}");
    assert!(refusal.message().contains("RenewAgent"), "{refusal}");
}

#[tokio::test]
async fn refuses_an_agent_whose_certificate_was_revoked() {
    let ca = Ca::start().await;
    let agent = Agent::attest(&ca).await;
    ca.admin().revoke(&agent.holder).await.unwrap();
    let refusal = agent.clients.new_svids(&["none"]).await.unwrap_err();
    assert_ne!(refusal.code(), Code::Ok, "{refusal}");
}
