//! What the log tells of who may be whom: entries, JWT-SVIDs, and the trust domains that are federated with.

use secplane_proto::{
    secplane::ca::v1::AuditOutcome,
    spire::api::{
        server::{
            bundle::v1::{
                BatchCreateFederatedBundleRequest, BatchDeleteFederatedBundleRequest,
                BatchUpdateFederatedBundleRequest,
            },
            entry::v1::BatchUpdateEntryRequest,
            svid::v1::{MintJwtsvidRequest, NewJwtsvidRequest},
            trustdomain::v1::{
                BatchCreateFederationRelationshipRequest, BatchDeleteFederationRelationshipRequest,
                BatchUpdateFederationRelationshipRequest,
            },
        },
        types::{self, FederationRelationship, federation_relationship::BundleEndpointProfile},
    },
};
use secplane_tests::{
    agents::Agent,
    audit_log::AuditLog,
    authority::Ca,
    entries::{entry, entry_for_this_process, id},
};
use tonic::Code;

use super::{is_local_admin, is_remote_admin, remote_admin};

/// That an item of a batch went well.
fn went_well(status: Option<&types::Status>) {
    let status = status.unwrap();
    assert_eq!(status.code, i32::from(Code::Ok), "{}", status.message);
}

#[tokio::test]
async fn records_how_an_entry_was_changed_and_what_went_with_it() {
    let ca = Ca::start().await;
    let remote = remote_admin(&ca).await;
    let registered = ca.admin().create_entry(entry("/workload", &["uid:4711"])).await;
    let change = types::Entry {
        id: registered.id.clone(),
        admin: true,
        dns_names: vec!["a.example.org".to_owned()],
        ..Default::default()
    };
    let input_mask = Some(types::EntryMask { admin: true, dns_names: true, ..Default::default() });
    let request = BatchUpdateEntryRequest { entries: vec![change], input_mask, output_mask: None };
    let updated = remote.entry().batch_update_entry(request).await.unwrap().into_inner().results;
    went_well(updated[0].status.as_ref());
    remote.delete_entry(&registered).await;

    let log = AuditLog::read(&ca.admin()).await;
    let updated = log.one("entry.update", &registered.id, AuditOutcome::Done);
    assert!(is_remote_admin(&updated), "{updated:?}");
    assert_eq!(updated.details["changed"], "admin dns_names");
    assert_eq!(updated.details["revision"], "1");
    assert_eq!(updated.details["admin"], "true", "the right that it gives stands in the record");
    let deleted = log.one("entry.delete", &registered.id, AuditOutcome::Done);
    assert!(is_remote_admin(&deleted), "{deleted:?}");
    for record in [updated, deleted] {
        assert_eq!(record.details["spiffe_id"], "spiffe://example.org/workload");
        assert_eq!(record.details["selectors"], "unix:uid:4711");
    }
}

#[tokio::test]
async fn records_each_jwt_svid_for_whom_it_was_and_who_asked() {
    let ca = Ca::start().await;
    let (admin, remote) = (ca.admin(), remote_admin(&ca).await);
    let mint = |path: &str, audience: [&str; 2]| MintJwtsvidRequest {
        id: Some(id(path)),
        audience: audience.map(str::to_owned).to_vec(),
        ttl: 90,
    };
    let minted = remote.svid().mint_jwtsvid(mint("/minted", ["one", "two"])).await;
    let minted = minted.unwrap().into_inner().svid.unwrap();
    remote.svid().mint_jwtsvid(mint("/refused", ["one", ""])).await.unwrap_err();
    let own = admin.create_entry(entry_for_this_process("/fetched")).await;
    ca.workload().jwt_svids(&["one"], "").await.unwrap();
    let agent = Agent::attest(&ca).await;
    let theirs = admin.create_entry(agent.entry("/node")).await;
    let request = NewJwtsvidRequest { entry_id: theirs.id.clone(), audience: vec!["one".to_owned()] };
    agent.clients.svid().new_jwtsvid(request).await.unwrap();

    let log = AuditLog::read(&admin).await;
    let issued = |path: &str, outcome| log.one("jwt.issue", &format!("spiffe://example.org{path}"), outcome);
    let of_admin = issued("/minted", AuditOutcome::Done);
    assert!(is_remote_admin(&of_admin), "{of_admin:?}");
    assert_eq!(of_admin.details["audience"], "one two");
    assert_eq!(of_admin.details["entry"], "");
    assert_eq!(of_admin.details["expires_at"], minted.expires_at.to_string());
    let key = log.of("authority.activate").into_iter().find(|one| one.details["kind"] == "jwt").unwrap();
    assert_eq!(of_admin.details["key"], key.target);
    let refused = issued("/refused", AuditOutcome::Failed);
    assert!(is_remote_admin(&refused), "{refused:?}");
    assert!(refused.details["reason"].contains("audience"), "{refused:?}");

    let of_workload = issued("/fetched", AuditOutcome::Done);
    assert!(of_workload.actor.starts_with("workload(pid="), "{of_workload:?}");
    assert_eq!((of_workload.address.as_str(), &of_workload.details["entry"]), ("", &own.id));
    let of_agent = issued("/node", AuditOutcome::Done);
    assert_eq!(of_agent.actor, format!("spiffe://example.org{}", agent.path));
    assert!(of_agent.address.starts_with("127.0.0.1:"), "{of_agent:?}");
    assert_eq!(of_agent.details["entry"], theirs.id);
}

#[tokio::test]
async fn records_foreign_bundles_from_the_first_to_the_last() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    let bundle = |refresh_hint| types::Bundle {
        trust_domain: "a.net".to_owned(),
        refresh_hint,
        ..types::Bundle::default()
    };
    let create = BatchCreateFederatedBundleRequest { bundle: vec![bundle(60)], output_mask: None };
    let created = admin.bundle().batch_create_federated_bundle(create).await.unwrap().into_inner().results;
    went_well(created[0].status.as_ref());
    let input_mask = Some(types::BundleMask { refresh_hint: true, ..types::BundleMask::default() });
    let update =
        BatchUpdateFederatedBundleRequest { bundle: vec![bundle(77)], input_mask, output_mask: None };
    let updated = admin.bundle().batch_update_federated_bundle(update).await.unwrap().into_inner().results;
    went_well(updated[0].status.as_ref());
    let trust_domains = vec!["a.net".to_owned()];
    let delete = BatchDeleteFederatedBundleRequest { trust_domains, ..Default::default() };
    let deleted = admin.bundle().batch_delete_federated_bundle(delete).await.unwrap().into_inner().results;
    went_well(deleted[0].status.as_ref());

    let log = AuditLog::read(&admin).await;
    for action in ["federation.create", "federation.update", "federation.delete"] {
        let record = log.one(action, "a.net", AuditOutcome::Done);
        assert!(is_local_admin(&record), "{record:?}");
        assert_eq!(record.details["what"], "bundle");
    }
    let created = log.one("federation.create", "a.net", AuditOutcome::Done);
    assert_eq!(created.details["x509_authorities"], "0");
}

#[tokio::test]
async fn records_relationships_from_the_first_to_the_last() {
    let ca = Ca::start().await;
    let remote = remote_admin(&ca).await;
    let relationship = |url: &str| FederationRelationship {
        trust_domain: "b.net".to_owned(),
        bundle_endpoint_url: url.to_owned(),
        bundle_endpoint_profile: Some(BundleEndpointProfile::HttpsSpiffe(types::HttpsspiffeProfile {
            endpoint_spiffe_id: "spiffe://b.net/spire/server".to_owned(),
        })),
        trust_domain_bundle: None,
    };
    // Nothing listens there.
    let (first, second) = ("https://127.0.0.1:1/first", "https://127.0.0.1:1/second");
    let create = BatchCreateFederationRelationshipRequest {
        federation_relationships: vec![relationship(first)],
        output_mask: None,
    };
    let created = remote.trust_domain().batch_create_federation_relationship(create).await.unwrap();
    went_well(created.into_inner().results[0].status.as_ref());
    let update = BatchUpdateFederationRelationshipRequest {
        federation_relationships: vec![relationship(second)],
        ..Default::default()
    };
    let updated = remote.trust_domain().batch_update_federation_relationship(update).await.unwrap();
    went_well(updated.into_inner().results[0].status.as_ref());
    let delete = BatchDeleteFederationRelationshipRequest { trust_domains: vec!["b.net".to_owned()] };
    let deleted = remote.trust_domain().batch_delete_federation_relationship(delete).await.unwrap();
    went_well(deleted.into_inner().results[0].status.as_ref());

    let log = AuditLog::read(&ca.admin()).await;
    for (action, url) in
        [("federation.create", Some(first)), ("federation.update", Some(second)), ("federation.delete", None)]
    {
        let record = log.one(action, "b.net", AuditOutcome::Done);
        assert!(is_remote_admin(&record), "{record:?}");
        assert_eq!(record.details["what"], "relationship");
        assert_eq!(record.details.get("bundle_endpoint_url").map(String::as_str), url);
    }
}
