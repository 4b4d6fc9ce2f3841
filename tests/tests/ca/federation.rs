//! Federation: foreign bundles and where they are fetched.

use std::{collections::HashMap, fs};

use secplane_identity::{
    IdentitySnapshot, IdentitySource, PrivateKey, X509Identity,
    serve::{ConnectionLimits, serve},
    tls::ClientPolicy,
};
use secplane_proto::spire::api::{
    server::{
        bundle::v1::{
            BatchCreateFederatedBundleRequest, BatchDeleteFederatedBundleRequest,
            BatchSetFederatedBundleRequest, BatchUpdateFederatedBundleRequest, CountBundlesRequest,
            GetBundleRequest, GetFederatedBundleRequest, ListFederatedBundlesRequest,
            batch_delete_federated_bundle_request::Mode,
        },
        entry::v1::{BatchUpdateEntryRequest, GetEntryRequest},
        trustdomain::v1::{
            BatchCreateFederationRelationshipRequest, BatchDeleteFederationRelationshipRequest,
            BatchUpdateFederationRelationshipRequest, GetFederationRelationshipRequest,
            ListFederationRelationshipsRequest, RefreshBundleRequest,
        },
    },
    types::{
        self, FederationRelationship, FederationRelationshipMask,
        federation_relationship::BundleEndpointProfile,
    },
};
use secplane_tests::{
    authority::Ca,
    clients::Clients,
    entries::{entry, entry_for_this_process},
    requests,
};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Code, Status};

fn item(status: Option<types::Status>) -> Result<(), Status> {
    let status = status.unwrap();
    match Code::from(status.code) {
        Code::Ok => Ok(()),
        code => Err(Status::new(code, status.message)),
    }
}

/// The bundle of an authority as another one takes it in, under a name of its own.
async fn bundle_of(ca: &Ca, name: &str) -> types::Bundle {
    let bundle = ca.admin().bundle().get_bundle(GetBundleRequest::default()).await.unwrap().into_inner();
    types::Bundle { trust_domain: name.to_owned(), ..bundle }
}

fn named(name: &str) -> types::Bundle {
    types::Bundle { trust_domain: name.to_owned(), ..types::Bundle::default() }
}

async fn create(admin: &Clients, bundle: types::Bundle) -> Result<(), Status> {
    let request = BatchCreateFederatedBundleRequest { bundle: vec![bundle], output_mask: None };
    let mut results =
        admin.bundle().batch_create_federated_bundle(request).await.unwrap().into_inner().results;
    item(results.remove(0).status)
}

async fn get(admin: &Clients, name: &str) -> Result<types::Bundle, Status> {
    let request = GetFederatedBundleRequest { trust_domain: name.to_owned(), output_mask: None };
    Ok(admin.bundle().get_federated_bundle(request).await?.into_inner())
}

async fn delete(admin: &Clients, name: &str, mode: Mode) -> Result<(), Status> {
    let request =
        BatchDeleteFederatedBundleRequest { trust_domains: vec![name.to_owned()], mode: mode.into() };
    let mut results =
        admin.bundle().batch_delete_federated_bundle(request).await.unwrap().into_inner().results;
    item(results.remove(0).status)
}

fn relationship(name: &str) -> FederationRelationship {
    FederationRelationship {
        trust_domain: name.to_owned(),
        // Nothing listens there.
        bundle_endpoint_url: "https://127.0.0.1:1/".to_owned(),
        bundle_endpoint_profile: Some(BundleEndpointProfile::HttpsSpiffe(types::HttpsspiffeProfile {
            endpoint_spiffe_id: format!("spiffe://{name}/spire/server"),
        })),
        trust_domain_bundle: None,
    }
}

async fn relate(admin: &Clients, relationship: FederationRelationship) -> Result<(), Status> {
    let request = BatchCreateFederationRelationshipRequest {
        federation_relationships: vec![relationship],
        output_mask: None,
    };
    let results = admin.trust_domain().batch_create_federation_relationship(request).await.unwrap();
    item(results.into_inner().results.remove(0).status)
}

#[tokio::test]
async fn keeps_foreign_bundles() {
    let (ca, other) = (Ca::start().await, Ca::start().await);
    let admin = ca.admin();
    let foreign = bundle_of(&other, "a.net").await;
    create(&admin, foreign.clone()).await.unwrap();
    assert_eq!(create(&admin, foreign.clone()).await.unwrap_err().code(), Code::AlreadyExists);
    for own in ["example.org", "spiffe://example.org"] {
        assert_eq!(create(&admin, named(own)).await.unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(get(&admin, own).await.unwrap_err().code(), Code::InvalidArgument);
    }
    assert_eq!(create(&admin, named("A.net")).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(get(&admin, "b.net").await.unwrap_err().code(), Code::NotFound);

    let mask = types::BundleMask { refresh_hint: true, ..types::BundleMask::default() };
    let change = |name: &str| BatchUpdateFederatedBundleRequest {
        bundle: vec![types::Bundle { refresh_hint: 77, ..named(name) }],
        input_mask: Some(mask),
        output_mask: Some(mask),
    };
    let update = async |name: &str| {
        let results = admin.bundle().batch_update_federated_bundle(change(name)).await.unwrap();
        results.into_inner().results.remove(0)
    };
    assert_eq!(item(update("b.net").await.status).unwrap_err().code(), Code::NotFound);
    let shown = update("a.net").await.bundle.unwrap();
    assert_eq!(shown, types::Bundle { refresh_hint: 77, ..named("a.net") });

    let ca = ca.restart().await;
    let expected = types::Bundle { refresh_hint: 77, ..foreign };
    assert_eq!(get(&ca.admin(), "a.net").await.unwrap(), expected);
    let count = ca.admin().bundle().count_bundles(CountBundlesRequest {}).await.unwrap().into_inner().count;
    assert_eq!(count, 2, "the own one is counted");
}

#[tokio::test]
async fn lists_foreign_bundles_in_pages() {
    let ca = Ca::start().await;
    let names = ["a.net", "b.net", "c.net"];
    let request = BatchSetFederatedBundleRequest {
        bundle: names.iter().map(|name| named(name)).collect(),
        output_mask: None,
    };
    let results = ca.admin().bundle().batch_set_federated_bundle(request.clone()).await.unwrap().into_inner();
    assert!(results.results.into_iter().all(|result| item(result.status).is_ok()));
    ca.admin().bundle().batch_set_federated_bundle(request).await.unwrap();
    let mut seen = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListFederatedBundlesRequest { output_mask: None, page_size: 2, page_token };
        let page = ca.admin().bundle().list_federated_bundles(request).await.unwrap().into_inner();
        seen.extend(page.bundles.into_iter().map(|bundle| bundle.trust_domain));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, names);
    let request = ListFederatedBundlesRequest { page_size: -1, ..Default::default() };
    let refusal = ca.admin().bundle().list_federated_bundles(request).await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn parts_entries_from_a_bundle_that_is_deleted() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    let federating =
        |path| types::Entry { federates_with: vec!["a.net".to_owned()], ..entry(path, &["uid:1"]) };
    let first = admin.create_entry(federating("/a")).await;
    let alone = admin.create_entry(entry("/b", &["uid:1"])).await;
    create(&admin, named("a.net")).await.unwrap();

    let refusal = delete(&admin, "a.net", Mode::Restrict).await.unwrap_err();
    assert_eq!(refusal.code(), Code::FailedPrecondition);
    assert!(refusal.message().contains("federated with 1 registration entries"), "{refusal}");
    delete(&admin, "a.net", Mode::Dissociate).await.unwrap();
    assert_eq!(delete(&admin, "a.net", Mode::Dissociate).await.unwrap_err().code(), Code::NotFound);
    let show = async |id: &str| {
        let request = GetEntryRequest { id: id.to_owned(), output_mask: None };
        admin.entry().get_entry(request).await.map(tonic::Response::into_inner)
    };
    let parted = show(&first.id).await.unwrap();
    assert!(parted.federates_with.is_empty());
    assert_eq!(parted.revision_number, 1);

    let second = admin.create_entry(federating("/c")).await;
    create(&admin, named("a.net")).await.unwrap();
    delete(&admin, "a.net", Mode::Delete).await.unwrap();
    assert_eq!(show(&second.id).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(show(&alone.id).await.unwrap(), alone);
}

#[tokio::test]
async fn gives_foreign_bundles_to_the_workloads_that_federate() {
    let (ca, other) = (Ca::start().await, Ca::start().await);
    let admin = ca.admin();
    let mine = admin.create_entry(entry_for_this_process("/a")).await;
    let (mut svids, mut bundles) =
        (ca.workload().x509_svids().await.unwrap(), ca.workload().x509_bundles().await.unwrap());
    assert!(svids.next().await.federated_bundles.is_empty());
    assert_eq!(bundles.next().await.bundles.len(), 1);

    // A bundle that the entry does not name stays away; one that it names comes at once.
    create(&admin, named("b.net")).await.unwrap();
    let change = types::Entry { federates_with: vec!["a.net".to_owned()], ..mine };
    let input_mask = Some(types::EntryMask { federates_with: true, ..Default::default() });
    let request = BatchUpdateEntryRequest { entries: vec![change], input_mask, output_mask: None };
    admin.entry().batch_update_entry(request).await.unwrap();
    let foreign = bundle_of(&other, "a.net").await;
    create(&admin, foreign.clone()).await.unwrap();
    let expected = HashMap::from([("spiffe://a.net".to_owned(), foreign.x509_authorities[0].asn1.clone())]);
    // The change of the entry alone may have been told before.
    let mut told = svids.next().await.federated_bundles;
    if told.is_empty() {
        told = svids.next().await.federated_bundles;
    }
    assert_eq!(told, expected);
    let all = bundles.next().await.bundles;
    assert_eq!(all.len(), 2);
    assert_eq!(all["spiffe://a.net"], expected["spiffe://a.net"]);

    delete(&admin, "a.net", Mode::Dissociate).await.unwrap();
    assert_eq!(bundles.next().await.bundles.len(), 1);
}

#[tokio::test]
async fn keeps_relationships() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    let with_bundle =
        FederationRelationship { trust_domain_bundle: Some(named("a.net")), ..relationship("a.net") };
    relate(&admin, with_bundle.clone()).await.unwrap();
    assert_eq!(relate(&admin, with_bundle.clone()).await.unwrap_err().code(), Code::AlreadyExists);
    let get = async |admin: &Clients, output_mask| {
        let request = GetFederationRelationshipRequest { trust_domain: "a.net".to_owned(), output_mask };
        admin.trust_domain().get_federation_relationship(request).await.map(tonic::Response::into_inner)
    };
    assert_eq!(get(&admin, None).await.unwrap(), with_bundle);

    for (wrong, said) in [
        (
            FederationRelationship { bundle_endpoint_url: "http://a.net".into(), ..relationship("c.net") },
            "scheme",
        ),
        (FederationRelationship { bundle_endpoint_profile: None, ..relationship("c.net") }, "profile"),
        (relationship("example.org"), "own trust domain"),
        (
            FederationRelationship { trust_domain_bundle: Some(named("b.net")), ..relationship("c.net") },
            "b.net",
        ),
        (
            FederationRelationship {
                trust_domain_bundle: Some(types::Bundle { refresh_hint: -1, ..named("c.net") }),
                ..relationship("c.net")
            },
            "refresh hint",
        ),
    ] {
        let refusal = relate(&admin, wrong).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
        assert!(refusal.message().contains(said), "{refusal}");
    }

    let mask = FederationRelationshipMask { bundle_endpoint_url: true, ..Default::default() };
    let url = |name: &str| FederationRelationship {
        trust_domain: name.to_owned(),
        bundle_endpoint_url: "https://new.net:8443/b".to_owned(),
        ..Default::default()
    };
    let request = BatchUpdateFederationRelationshipRequest {
        federation_relationships: vec![url("a.net"), url("c.net")],
        input_mask: Some(mask),
        output_mask: Some(mask),
    };
    let results = admin.trust_domain().batch_update_federation_relationship(request).await.unwrap();
    let mut results = results.into_inner().results;
    assert_eq!(item(results.remove(1).status).unwrap_err().code(), Code::NotFound);
    assert_eq!(results.remove(0).federation_relationship.unwrap(), url("a.net"));

    let ca = ca.restart().await;
    let admin = ca.admin();
    let expected =
        FederationRelationship { bundle_endpoint_url: "https://new.net:8443/b".into(), ..with_bundle };
    let list = ListFederationRelationshipsRequest::default();
    let listed = admin.trust_domain().list_federation_relationships(list).await.unwrap().into_inner();
    assert_eq!(listed.federation_relationships, [expected]);
    let request = BatchDeleteFederationRelationshipRequest {
        trust_domains: vec!["a.net".to_owned(), "c.net".to_owned()],
    };
    let results = admin.trust_domain().batch_delete_federation_relationship(request).await.unwrap();
    let codes: Vec<_> =
        results.into_inner().results.into_iter().map(|r| item(r.status).err().map(|s| s.code())).collect();
    assert_eq!(codes, [None, Some(Code::NotFound)]);
    assert_eq!(get(&admin, None).await.unwrap_err().code(), Code::NotFound);
    create(&admin, named("a.net")).await.expect_err("the bundle of an ended relationship stays");
}

/// Serves the bundle document of an authority as `spiffe://a.net/endpoint`; answers its URL.
async fn serve_bundle_of(ca: &Ca) -> (String, DropGuard) {
    let key = PrivateKey::generate().unwrap();
    let csr = requests::naming_a_server(&key, "spiffe://a.net/endpoint", "localhost");
    let chain = ca.admin().mint_with(csr, 0).await.unwrap();
    let identity = X509Identity::new(chain.into_iter().map(Into::into).collect(), key).unwrap();
    let source =
        IdentitySource::fixed(IdentitySnapshot { identity: Some(identity), ..IdentitySnapshot::default() });
    let document = ca.bundle().await.with_sequence(5).to_spiffe_json().unwrap().to_string();
    let app = axum::Router::new()
        .route("/bundle", axum::routing::get(move || async move { document }))
        .route("/large", axum::routing::get(|| async { "x".repeat(5 * 1024 * 1024) }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let shutdown = CancellationToken::new();
    let limits = ConnectionLimits::default();
    tokio::spawn(serve(listener, source, ClientPolicy::AnyOrNone, limits, app, shutdown.clone()));
    (url, shutdown.drop_guard())
}

#[tokio::test]
async fn fetches_the_bundle_of_a_foreign_trust_domain() {
    let ca = Ca::start().await;
    let other = Ca::start_with(|config| config.trust_domain = "a.net".parse().unwrap()).await;
    let stranger = Ca::start_with(|config| config.trust_domain = "a.net".parse().unwrap()).await;
    let admin = ca.admin();
    let (url, _serving) = serve_bundle_of(&other).await;
    let at = |path: &str, id: &str| FederationRelationship {
        bundle_endpoint_url: format!("{url}{path}"),
        bundle_endpoint_profile: Some(BundleEndpointProfile::HttpsSpiffe(types::HttpsspiffeProfile {
            endpoint_spiffe_id: id.to_owned(),
        })),
        ..relationship("a.net")
    };
    let change = async |relationship| {
        let request = BatchUpdateFederationRelationshipRequest {
            federation_relationships: vec![relationship],
            ..Default::default()
        };
        let results = admin.trust_domain().batch_update_federation_relationship(request).await.unwrap();
        item(results.into_inner().results.remove(0).status).unwrap();
    };
    let refresh = async || {
        let request = RefreshBundleRequest { trust_domain: "a.net".to_owned() };
        admin.trust_domain().refresh_bundle(request).await.map(drop)
    };

    // The bundle at hand is that of somebody else: the endpoint proves nothing with it.
    let theirs = types::Bundle { sequence_number: 1, ..bundle_of(&stranger, "a.net").await };
    let first = at("/bundle", "spiffe://a.net/endpoint");
    relate(&admin, FederationRelationship { trust_domain_bundle: Some(theirs.clone()), ..first.clone() })
        .await
        .unwrap();
    let refusal = refresh().await.unwrap_err();
    assert!(refusal.message().contains("did not prove itself"), "{refusal}");
    assert_eq!(get(&admin, "a.net").await.unwrap(), theirs);

    let real = types::Bundle { sequence_number: 1, ..bundle_of(&other, "a.net").await };
    let request = BatchSetFederatedBundleRequest { bundle: vec![real], output_mask: None };
    admin.bundle().batch_set_federated_bundle(request).await.unwrap();
    for (wrong, said) in [
        (at("/bundle", "spiffe://a.net/other"), "did not prove itself"),
        (at("/nothing", "spiffe://a.net/endpoint"), "404"),
        (at("/large", "spiffe://a.net/endpoint"), "limit"),
    ] {
        change(wrong).await;
        let refusal = refresh().await.unwrap_err();
        assert_eq!(refusal.code(), Code::Unavailable);
        assert!(refusal.message().contains(said), "{refusal}");
    }
    change(first).await;
    refresh().await.unwrap();
    let fetched = get(&admin, "a.net").await.unwrap();
    assert_eq!(fetched.sequence_number, 5);
    assert_eq!(fetched.x509_authorities.len(), 1);
}

#[tokio::test]
async fn says_why_a_bundle_cannot_be_fetched() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    let refresh = async |name: &str| {
        let request = RefreshBundleRequest { trust_domain: name.to_owned() };
        admin.trust_domain().refresh_bundle(request).await.unwrap_err()
    };
    assert_eq!(refresh("a.net").await.code(), Code::NotFound);
    relate(&admin, relationship("a.net")).await.unwrap();
    let refusal = refresh("a.net").await;
    assert_eq!(refusal.code(), Code::Unavailable);
    assert!(refusal.message().contains("whose bundle is not known"), "{refusal}");
    create(&admin, named("a.net")).await.unwrap();
    let refusal = refresh("a.net").await;
    assert_eq!(refusal.code(), Code::Unavailable);
    assert!(refusal.message().contains("cannot be reached"), "{refusal}");
}

/// The profile `https_web`: the server proves its host name to roots that have nothing to do with the trust domain.
#[tokio::test]
async fn fetches_a_bundle_over_the_public_web() {
    let other = Ca::start_with(|config| config.trust_domain = "a.net".parse().unwrap()).await;
    let (url, _serving) = serve_bundle_of(&other).await;
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("roots.pem");
    let ca = Ca::start_with(|config| config.federation.web_roots = roots.clone()).await;
    let admin = ca.admin();
    let refresh = async || {
        let request = RefreshBundleRequest { trust_domain: "a.net".to_owned() };
        admin.trust_domain().refresh_bundle(request).await.map(drop)
    };
    let web = |url: String| FederationRelationship {
        bundle_endpoint_url: url,
        bundle_endpoint_profile: Some(BundleEndpointProfile::HttpsWeb(types::HttpsWebProfile {})),
        ..relationship("a.net")
    };
    relate(&admin, web(format!("{url}/bundle"))).await.unwrap();
    let refusal = refresh().await.unwrap_err();
    assert!(refusal.message().contains("public roots"), "there is no such file yet: {refusal}");

    // Roots that did not sign the server's certificate.
    fs::write(&roots, ca.bundle().await.to_pem()).unwrap();
    let refusal = refresh().await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unavailable);
    assert!(refusal.message().contains("did not prove itself"), "{refusal}");
    assert_eq!(get(&admin, "a.net").await.unwrap_err().code(), Code::NotFound);

    fs::write(&roots, other.bundle().await.to_pem()).unwrap();
    refresh().await.unwrap();
    assert_eq!(get(&admin, "a.net").await.unwrap().sequence_number, 5);

    // The same server under a name that its certificate does not have.
    let request = BatchUpdateFederationRelationshipRequest {
        federation_relationships: vec![web(format!("{}/bundle", url.replace("localhost", "127.0.0.1")))],
        ..Default::default()
    };
    admin.trust_domain().batch_update_federation_relationship(request).await.unwrap();
    let refusal = refresh().await.unwrap_err();
    assert!(refusal.message().contains("did not prove itself"), "{refusal}");
}
