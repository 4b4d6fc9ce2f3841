//! A row that the authority did not write counts for nothing, and whoever watches it is told.

use ca_daemon::{
    Config,
    config::OperationsConfig,
    operations::doctor::{Finding, Verdict, examine},
};
use rstest::rstest;
use secplane_identity::PrivateKey;
use secplane_proto::{
    secplane::ca::v1::{AuditOutcome, revoke_request::Target},
    spire::api::{
        server::{
            agent::v1::{CreateJoinTokenRequest, DeleteAgentRequest},
            bundle::v1::{
                AppendBundleRequest, BatchCreateFederatedBundleRequest, BatchDeleteFederatedBundleRequest,
            },
            trustdomain::v1::{
                BatchCreateFederationRelationshipRequest, BatchDeleteFederationRelationshipRequest,
            },
        },
        types::{self, FederationRelationship, federation_relationship::BundleEndpointProfile},
    },
};
use secplane_tests::{
    agents::Agent,
    audit_log::AuditLog,
    authority::Ca,
    clients::Clients,
    database::Database,
    entries::{entry, id},
};
use tonic::Code;

/// Writes something into each table whose rows carry a proof.
async fn fill(admin: &Clients) {
    admin.create_entry(entry("/workload", &["uid:4711"])).await;
    let public_key = PrivateKey::generate().unwrap().public_key_info().unwrap();
    let key = types::JwtKey { public_key, key_id: "theirs".to_owned(), ..Default::default() };
    let append = AppendBundleRequest { jwt_authorities: vec![key], ..Default::default() };
    admin.bundle().append_bundle(append).await.unwrap();
    admin.revoke_all(Target::PublicKeySha256("ab".repeat(32))).await.unwrap();
    let bundle = types::Bundle { trust_domain: "a.net".to_owned(), ..Default::default() };
    let create = BatchCreateFederatedBundleRequest { bundle: vec![bundle], output_mask: None };
    admin.bundle().batch_create_federated_bundle(create).await.unwrap();
    let relationship = FederationRelationship {
        trust_domain: "b.net".to_owned(),
        // Nothing listens there.
        bundle_endpoint_url: "https://127.0.0.1:1/bundle".to_owned(),
        bundle_endpoint_profile: Some(BundleEndpointProfile::HttpsSpiffe(types::HttpsspiffeProfile {
            endpoint_spiffe_id: "spiffe://b.net/spire/server".to_owned(),
        })),
        trust_domain_bundle: None,
    };
    let federation_relationships = vec![relationship];
    let create = BatchCreateFederationRelationshipRequest { federation_relationships, output_mask: None };
    admin.trust_domain().batch_create_federation_relationship(create).await.unwrap();
}

async fn refused_rows(ca: &Ca, table: &str) -> f64 {
    ca.metric(&format!("secplane_ca_refused_rows{{table=\"{table}\"}}")).await
}

/// What the doctor finds who may ask a daemon for its metrics.
async fn finding(ca: &Ca) -> Finding {
    let operations = OperationsConfig { listen: Some(ca.operations_address()) };
    let report = examine(&Config { operations, ..ca.folder().config.clone() }).await;
    report.findings().iter().find(|finding| finding.check == "refused rows").unwrap().clone()
}

#[rstest]
#[case::entries("entries", "UPDATE entries SET revision = revision + 1")]
#[case::authorities("authorities", "UPDATE authorities SET since = since + 1 WHERE key_id = 'theirs'")]
#[case::agents("agents", "UPDATE agents SET spiffe_id = spiffe_id || 'x'")]
#[case::join_tokens("join_tokens", "UPDATE join_tokens SET expires_at = expires_at + 1")]
#[case::revoked_keys("revoked_keys", "UPDATE revoked_keys SET revoked_at = revoked_at + 1")]
#[case::relationships(
    "federation_relationships",
    "UPDATE federation_relationships SET trust_domain = 'c.net' WHERE trust_domain = 'b.net'"
)]
#[case::bundles(
    "federated_bundles",
    "UPDATE federated_bundles SET trust_domain = 'c.net' WHERE trust_domain = 'a.net'"
)]
#[tokio::test]
async fn are_counted_in_each_table(#[case] table: &str, #[case] edit: &'static str) {
    let ca = Ca::start().await;
    let admin = ca.admin();
    fill(&admin).await;
    Agent::attest(&ca).await;
    let token = admin.join_token().await;
    assert_eq!(refused_rows(&ca, table).await, 0.0);
    assert_eq!(finding(&ca).await.verdict, Verdict::Ok);
    let folder = ca.stop().await;
    let mut database = Database::open(&folder).await;
    database.run(edit).await;
    database.close().await;

    let ca = folder.start().await;
    if table == "join_tokens" {
        let key = PrivateKey::generate().unwrap();
        assert!(ca.connect_anonymously().await.attest(&token, &key).await.is_err());
    }
    assert_eq!(refused_rows(&ca, table).await, 1.0);
    assert_eq!(finding(&ca).await.verdict, Verdict::Fail);
}

/// Nobody can tell by "try again" that somebody has to do something.
#[tokio::test]
async fn is_told_to_the_node_that_it_keeps_out_with_what_deletes_it() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    Agent::attest(&ca).await;
    let create =
        CreateJoinTokenRequest { ttl: 600, token: "a-token-of-this-test".to_owned(), agent_id: None };
    let token = admin.agent().create_join_token(create).await.unwrap().into_inner().value;
    let mut database = Database::open(ca.folder()).await;
    let agent = "/spire/agent/join_token/a-token-of-this-test";
    database
        .run("UPDATE agents SET spiffe_id = 'spiffe://example.org/spire/agent/join_token/a-token-of-this-test'")
        .await;
    database.close().await;

    let (node, key) = (ca.connect_anonymously().await, PrivateKey::generate().unwrap());
    let refused = node.attest(&token, &key).await.map(drop).unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains("`secctl agent evict`"), "{refused}");
    assert!(!refused.message().contains(&token), "the token can still be used: {refused}");

    admin.agent().delete_agent(DeleteAgentRequest { id: Some(id(agent)) }).await.unwrap();
    node.attest(&token, &key).await.unwrap();
}

/// Deletes a forged row of each kind by what it is named, as an admin deletes any other.
async fn delete_each(admin: &Clients, agent: &str) {
    admin.delete_entry(&types::Entry { id: "forged".to_owned(), ..Default::default() }).await;
    let evict = DeleteAgentRequest { id: Some(id(agent)) };
    admin.agent().delete_agent(evict.clone()).await.unwrap();
    let again = admin.agent().delete_agent(evict).await.unwrap_err();
    assert_eq!(again.code(), Code::NotFound);

    let delete = BatchDeleteFederationRelationshipRequest { trust_domains: vec!["c.net".to_owned()] };
    let deleted = admin.trust_domain().batch_delete_federation_relationship(delete).await.unwrap();
    assert_eq!(deleted.into_inner().results.remove(0).status.unwrap().code, 0);
    let delete =
        BatchDeleteFederatedBundleRequest { trust_domains: vec!["d.net".to_owned()], ..Default::default() };
    let deleted = admin.bundle().batch_delete_federated_bundle(delete).await.unwrap();
    assert_eq!(deleted.into_inner().results.remove(0).status.unwrap().code, 0);
}

/// Whether the daemon knows of them since its start, or they were written while it runs.
#[rstest]
#[case::before_the_start(true)]
#[case::while_it_runs(false)]
#[tokio::test]
async fn are_deleted_by_an_admin_and_the_audit_log_tells_what_they_were(#[case] restarts: bool) {
    let ca = Ca::start().await;
    fill(&ca.admin()).await;
    let agent = format!("{}x", Agent::attest(&ca).await.path);
    let mut database = Database::open(ca.folder()).await;
    database.run("UPDATE entries SET id = 'forged'").await;
    database.run("UPDATE agents SET spiffe_id = spiffe_id || 'x'").await;
    database.run("UPDATE federation_relationships SET trust_domain = 'c.net'").await;
    database.run("UPDATE federated_bundles SET trust_domain = 'd.net'").await;
    database.close().await;
    let ca = if restarts { ca.restart().await } else { ca };

    let admin = ca.admin();
    delete_each(&admin, &agent).await;
    for table in ["entries", "agents", "federation_relationships", "federated_bundles"] {
        assert_eq!(refused_rows(&ca, table).await, 0.0, "{table}");
    }
    let log = AuditLog::read(&admin).await;
    let evicted = format!("spiffe://example.org{agent}");
    for (action, target) in [
        ("entry.delete", "forged"),
        ("agent.evict", evicted.as_str()),
        ("federation.delete", "c.net"),
        ("federation.delete", "d.net"),
    ] {
        let record = log.one(action, target, AuditOutcome::Done);
        assert!(record.details.contains_key("refused"), "{record:?}");
    }
    let mut database = Database::open(ca.folder()).await;
    for left in [
        "SELECT count(*) FROM entries",
        "SELECT count(*) FROM agents",
        "SELECT count(*) FROM federation_relationships",
        "SELECT count(*) FROM federated_bundles",
    ] {
        assert_eq!(database.number(left).await, 0, "{left}");
    }
    database.close().await;
}
