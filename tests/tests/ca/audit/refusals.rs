//! What the log tells of what was asked for and not given.

use secplane_identity::PrivateKey;
use secplane_proto::{
    secplane::ca::v1::{AuditOutcome, ImportUpstreamChainRequest, revoke_request::Target},
    spire::api::{
        server::{
            agent::v1::{
                AgentX509svidParams, BanAgentRequest, CreateJoinTokenRequest, DeleteAgentRequest,
                RenewAgentRequest,
            },
            bundle::v1::{AppendBundleRequest, BatchDeleteFederatedBundleRequest},
            entry::v1::{BatchDeleteEntryRequest, BatchUpdateEntryRequest},
            svid::v1::{BatchNewX509svidRequest, MintJwtsvidRequest, NewJwtsvidRequest, NewX509svidParams},
            trustdomain::v1::BatchDeleteFederationRelationshipRequest,
        },
        types,
    },
};
use secplane_tests::{
    agents::Agent,
    audit_log::AuditLog,
    authority::Ca,
    entries::{entry, id},
};

use super::is_local_admin;

/// Whoever holds the key of an agent and tries what else it opens is seen.
#[tokio::test]
async fn records_what_an_agent_may_not_have() {
    let ca = Ca::start().await;
    let (agent, other) = (Agent::attest(&ca).await, Agent::attest(&ca).await);
    let mine = ca.admin().create_entry(agent.entry("/mine")).await;
    let theirs = ca.admin().create_entry(other.entry("/theirs")).await;
    let bare = PrivateKey::generate().unwrap().bare_request().unwrap();
    let params =
        |entry_id: &str, csr: &[u8]| NewX509svidParams { entry_id: entry_id.to_owned(), csr: csr.to_vec() };
    let items = vec![params(&theirs.id, &bare), params(&mine.id, b"nonsense"), params(&mine.id, &bare)];
    let results = agent.clients.svid().batch_new_x509svid(BatchNewX509svidRequest { params: items }).await;
    let results = results.unwrap().into_inner().results;
    let given: Vec<_> = results.iter().map(|result| result.svid.is_some()).collect();
    assert_eq!(given, [false, false, true]);
    let token = NewJwtsvidRequest { entry_id: theirs.id.clone(), audience: vec!["db".to_owned()] };
    agent.clients.svid().new_jwtsvid(token).await.unwrap_err();
    let nonsense = Some(AgentX509svidParams { csr: b"nonsense".to_vec() });
    agent.clients.agent().renew_agent(RenewAgentRequest { params: nonsense }).await.unwrap_err();

    let ca = ca.restart().await;
    let log = AuditLog::read(&ca.admin()).await;
    let own = format!("spiffe://example.org{}", agent.path);
    for (action, target, outcome, why) in [
        ("certificate.issue", &theirs.id, AuditOutcome::Denied, "not authorized"),
        ("certificate.issue", &mine.id, AuditOutcome::Failed, "malformed CSR"),
        ("jwt.issue", &theirs.id, AuditOutcome::Denied, "not authorized"),
        ("agent.renew", &own, AuditOutcome::Failed, ""),
    ] {
        let record = log.one(action, target, outcome);
        assert_eq!(record.actor, own);
        assert!(record.address.starts_with("127.0.0.1:"), "{record:?}");
        assert!(record.details["reason"].contains(why), "{record:?}");
    }
}

/// An agent that tries one ID after another fills neither the disk nor the room in which others' calls are told apart.
#[tokio::test]
async fn counts_what_an_agent_may_not_have_instead_of_recording_each() {
    const ASKED: usize = 400;
    /// The kinds that are told apart, and all others as one; in a second window once more.
    const MOST: usize = 2 * 129;
    let ca = Ca::start().await;
    let agent = Agent::attest(&ca).await;
    let csr = PrivateKey::generate().unwrap().bare_request().unwrap();
    let params = (0..ASKED).map(|n| NewX509svidParams { entry_id: format!("none-{n}"), csr: csr.clone() });
    let request = BatchNewX509svidRequest { params: params.collect() };
    agent.clients.svid().batch_new_x509svid(request).await.unwrap();
    ca.connect_anonymously().await.mint("/a", 0).await.err().unwrap();

    let ca = ca.restart().await;
    let log = AuditLog::read(&ca.admin()).await;
    let mut refused = log.of("certificate.issue");
    refused.retain(|record| record.outcome() == AuditOutcome::Denied);
    assert!(refused.len() <= MOST, "{} records", refused.len());
    let told: usize =
        refused.iter().map(|record| record.details.get("count").map_or(1, |n| n.parse().unwrap())).sum();
    assert_eq!(told, ASKED);
    let denied = log.one("call.deny", "/spire.api.server.svid.v1.SVID/MintX509SVID", AuditOutcome::Denied);
    assert_eq!(denied.actor, "anonymous");
}

#[tokio::test]
async fn records_what_an_admin_asked_for_in_vain() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    admin.create_entry(entry("/workload", &["uid:4711"])).await;
    admin.try_create_entry(entry("/workload", &["uid:4711"])).await;
    let nobody = types::Entry { id: "nobody".to_owned(), ..Default::default() };
    let update = BatchUpdateEntryRequest { entries: vec![nobody], ..Default::default() };
    admin.entry().batch_update_entry(update).await.unwrap();
    let delete = BatchDeleteEntryRequest { ids: vec!["nobody".to_owned()] };
    admin.entry().batch_delete_entry(delete).await.unwrap();
    let no_agent = || Some(id("/spire/agent/nobody"));
    admin.agent().ban_agent(BanAgentRequest { id: no_agent() }).await.unwrap_err();
    admin.agent().delete_agent(DeleteAgentRequest { id: no_agent() }).await.unwrap_err();
    let token = CreateJoinTokenRequest { agent_id: Some(id("/alias")), ..Default::default() };
    admin.agent().create_join_token(token).await.unwrap_err();
    admin.revoke_all(Target::SpiffeId("spiffe://other.org/a".to_owned())).await.unwrap_err();
    admin.revoke_all(Target::SerialNumber("no serial".to_owned())).await.unwrap_err();
    let delete = BatchDeleteFederationRelationshipRequest { trust_domains: vec!["a.net".to_owned()] };
    admin.trust_domain().batch_delete_federation_relationship(delete).await.unwrap();
    let trust_domains = vec!["b.net".to_owned()];
    let delete = BatchDeleteFederatedBundleRequest { trust_domains, ..Default::default() };
    admin.bundle().batch_delete_federated_bundle(delete).await.unwrap();
    admin.bundle().append_bundle(AppendBundleRequest::default()).await.unwrap_err();
    admin.authority().import_upstream_chain(ImportUpstreamChainRequest::default()).await.unwrap_err();
    admin.mint_with(b"nonsense".to_vec(), 0).await.unwrap_err();
    let token = MintJwtsvidRequest { id: Some(id("/workload")), ..Default::default() };
    admin.svid().mint_jwtsvid(token).await.unwrap_err();

    let ca = ca.restart().await;
    let log = AuditLog::read(&ca.admin()).await;
    for (action, target) in [
        ("entry.create", "spiffe://example.org/workload"),
        ("entry.update", "nobody"),
        ("entry.delete", "nobody"),
        ("agent.ban", "spiffe://example.org/spire/agent/nobody"),
        ("agent.evict", "spiffe://example.org/spire/agent/nobody"),
        ("token.create", "spiffe://example.org/alias"),
        ("certificate.revoke", "spiffe://other.org/a"),
        ("certificate.revoke", ""),
        ("federation.delete", "a.net"),
        ("federation.delete", "b.net"),
        ("authority.publish", ""),
        ("authority.prepare", ""),
        ("certificate.issue", ""),
        ("jwt.issue", "spiffe://example.org/workload"),
    ] {
        let record = log.one(action, target, AuditOutcome::Failed);
        assert!(is_local_admin(&record), "{record:?}");
        assert!(!record.details["reason"].is_empty(), "{record:?}");
    }
}
