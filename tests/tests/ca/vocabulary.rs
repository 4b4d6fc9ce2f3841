//! The codes and the first words that clients of the SPIRE API know a refusal by.

use rstest::rstest;
use secplane_identity::PrivateKey;
use secplane_proto::spire::api::{
    server::{
        bundle::v1::{AppendBundleRequest, GetFederatedBundleRequest},
        entry::v1::{
            BatchCreateEntryRequest, BatchDeleteEntryRequest, BatchUpdateEntryRequest, CountEntriesRequest,
            GetEntryRequest, ListEntriesRequest, count_entries_request, list_entries_request,
        },
        svid::v1::{MintJwtsvidRequest, MintX509svidRequest},
        trustdomain::v1::{
            BatchCreateFederationRelationshipRequest, BatchDeleteFederationRelationshipRequest,
            BatchUpdateFederationRelationshipRequest, GetFederationRelationshipRequest, RefreshBundleRequest,
        },
    },
    types,
};
use secplane_tests::{
    authority::Ca,
    clients::Clients,
    entries::{entry, id},
    requests,
};
use tonic::{Code, Status};

/// Each refusal begins as it should.
fn check(refused: Vec<(&str, Result<(), Status>, Code, &str)>) {
    for (what, outcome, code, beginning) in refused {
        let refusal = outcome.expect_err(what);
        assert_eq!(refusal.code(), code, "{what}: {refusal}");
        assert!(refusal.message().starts_with(beginning), "{what}: {refusal}");
    }
}

fn item(status: Option<types::Status>) -> Result<(), Status> {
    let status = status.unwrap();
    match Code::from(status.code) {
        Code::Ok => Ok(()),
        code => Err(Status::new(code, status.message)),
    }
}

async fn create(admin: &Clients, wanted: types::Entry) -> Result<(), Status> {
    let request = BatchCreateEntryRequest { entries: vec![wanted], output_mask: None };
    item(admin.entry().batch_create_entry(request).await?.into_inner().results.remove(0).status)
}

async fn update(admin: &Clients, wanted: types::Entry) -> Result<(), Status> {
    let request = BatchUpdateEntryRequest { entries: vec![wanted], ..Default::default() };
    item(admin.entry().batch_update_entry(request).await?.into_inner().results.remove(0).status)
}

async fn delete(admin: &Clients, id: &str) -> Result<(), Status> {
    let request = BatchDeleteEntryRequest { ids: vec![id.to_owned()] };
    item(admin.entry().batch_delete_entry(request).await?.into_inner().results.remove(0).status)
}

async fn get(admin: &Clients, id: &str) -> Result<(), Status> {
    let request = GetEntryRequest { id: id.to_owned(), output_mask: None };
    admin.entry().get_entry(request).await.map(drop)
}

#[tokio::test]
async fn of_entries() {
    use Code::{AlreadyExists, InvalidArgument, NotFound};
    let ca = Ca::start().await;
    let admin = ca.admin();
    let good = || entry("/a", &["uid:1"]);
    create(&admin, good()).await.unwrap();
    let named = |name: &str| types::Entry { id: name.to_owned(), ..good() };
    check(vec![
        ("no ID to get", get(&admin, "").await, InvalidArgument, "missing ID"),
        ("an unknown ID to get", get(&admin, "unknown").await, NotFound, "entry not found"),
        ("no ID to delete", delete(&admin, "").await, InvalidArgument, "missing entry ID"),
        ("an unknown ID to delete", delete(&admin, "unknown").await, NotFound, "entry not found"),
        ("no ID to update", update(&admin, good()).await, InvalidArgument, "missing entry ID"),
        ("an unknown ID to update", update(&admin, named("unknown")).await, NotFound, "entry not found"),
        ("a similar one", create(&admin, good()).await, AlreadyExists, "similar entry already exists"),
        (
            "no selectors",
            create(&admin, entry("/b", &[])).await,
            InvalidArgument,
            "invalid entry: selector list",
        ),
        (
            "a reserved ID",
            create(&admin, entry("/spire/a", &["uid:1"])).await,
            InvalidArgument,
            "invalid entry",
        ),
        (
            "a negative TTL",
            create(&admin, types::Entry { x509_svid_ttl: -1, ..entry("/c", &["uid:1"]) }).await,
            InvalidArgument,
            "invalid entry: x509_svid_ttl",
        ),
        (
            "a name that is none",
            create(&admin, types::Entry { dns_names: vec!["-".into()], ..entry("/c", &["uid:1"]) }).await,
            InvalidArgument,
            "invalid entry",
        ),
        (
            "a long ID",
            create(&admin, named(&"a".repeat(256))).await,
            InvalidArgument,
            "invalid entry: the entry ID",
        ),
    ]);
    let too_many = BatchCreateEntryRequest { entries: vec![good(); 501], output_mask: None };
    let refusal = admin.entry().batch_create_entry(too_many).await.unwrap_err();
    assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal}");
}

#[rstest]
#[case(list_entries_request::Filter { by_spiffe_id: Some(id("no path")), ..Default::default() }, "malformed SPIFFE ID filter")]
#[case(list_entries_request::Filter { by_parent_id: Some(id("no path")), ..Default::default() }, "malformed parent ID filter")]
#[case(
    list_entries_request::Filter { by_selectors: Some(types::SelectorMatch::default()), ..Default::default() },
    "malformed selectors filter: empty selector set"
)]
#[case(
    list_entries_request::Filter { by_federates_with: Some(types::FederatesWithMatch::default()), ..Default::default() },
    "malformed federates with filter: empty trust domain set"
)]
#[tokio::test]
async fn of_filters(#[case] filter: list_entries_request::Filter, #[case] beginning: &str) {
    let ca = Ca::start().await;
    let same = count_entries_request::Filter {
        by_spiffe_id: filter.by_spiffe_id.clone(),
        by_parent_id: filter.by_parent_id.clone(),
        by_selectors: filter.by_selectors.clone(),
        by_federates_with: filter.by_federates_with.clone(),
        ..Default::default()
    };
    let listing = ListEntriesRequest { filter: Some(filter), ..Default::default() };
    let counting = CountEntriesRequest { filter: Some(same) };
    check(vec![
        ("list", ca.admin().entry().list_entries(listing).await.map(drop), Code::InvalidArgument, beginning),
        (
            "count",
            ca.admin().entry().count_entries(counting).await.map(drop),
            Code::InvalidArgument,
            beginning,
        ),
    ]);
}

#[tokio::test]
async fn of_minting() {
    use Code::InvalidArgument;
    let ca = Ca::start().await;
    let admin = ca.admin();
    let key = PrivateKey::generate().unwrap();
    let mint =
        async |csr: Vec<u8>| admin.svid().mint_x509svid(MintX509svidRequest { csr, ttl: 0 }).await.map(drop);
    let naming = |uris: &[&str]| requests::naming(&key, uris);
    let mut unsigned = naming(&["spiffe://example.org/a"]);
    *unsigned.last_mut().unwrap() ^= 1;
    let jwt = async |id: Option<types::Spiffeid>, audience: &[&str]| {
        let audience = audience.iter().map(ToString::to_string).collect();
        admin.svid().mint_jwtsvid(MintJwtsvidRequest { id, audience, ttl: 0 }).await.map(drop)
    };
    let foreign = types::Spiffeid { trust_domain: "example.com".to_owned(), path: "/a".to_owned() };
    check(vec![
        ("nothing", mint(Vec::new()).await, InvalidArgument, "missing CSR"),
        ("no request", mint(vec![1]).await, InvalidArgument, "malformed CSR"),
        ("another's", mint(unsigned).await, InvalidArgument, "failed to verify CSR signature"),
        ("no name", mint(naming(&[])).await, InvalidArgument, "CSR URI SAN is required"),
        (
            "two names",
            mint(naming(&["spiffe://example.org/a", "spiffe://example.org/b"])).await,
            InvalidArgument,
            "only one URI SAN is expected",
        ),
        (
            "no ID",
            mint(naming(&["https://a"])).await,
            InvalidArgument,
            "CSR URI SAN is not a valid SPIFFE ID",
        ),
        (
            "foreign",
            mint(naming(&["spiffe://example.com/a"])).await,
            InvalidArgument,
            "CSR URI SAN is invalid",
        ),
        (
            "reserved",
            mint(naming(&["spiffe://example.org/spire/a"])).await,
            InvalidArgument,
            "CSR URI SAN is invalid",
        ),
        ("a token for nobody", jwt(None, &["a"]).await, InvalidArgument, "invalid SPIFFE ID"),
        ("a foreign token", jwt(Some(foreign), &["a"]).await, InvalidArgument, "invalid SPIFFE ID"),
        ("a token of ours", jwt(Some(id("/spire/a")), &["a"]).await, InvalidArgument, "invalid SPIFFE ID"),
        ("no audience", jwt(Some(id("/a")), &[]).await, InvalidArgument, "at least one audience is required"),
    ]);
}

#[tokio::test]
async fn of_bundles_and_relationships() {
    use Code::{InvalidArgument, NotFound, Unimplemented};
    let ca = Ca::start().await;
    let admin = ca.admin();
    let federated = async |name: &str| {
        let request = GetFederatedBundleRequest { trust_domain: name.to_owned(), output_mask: None };
        admin.bundle().get_federated_bundle(request).await.map(drop)
    };
    let append = async |request: AppendBundleRequest| admin.bundle().append_bundle(request).await.map(drop);
    let root = types::X509Certificate { asn1: vec![1], tainted: false };
    let key = types::JwtKey { public_key: vec![1], ..Default::default() };
    let wit = types::WitKey::default();
    let get = async |name: &str| {
        let request = GetFederationRelationshipRequest { trust_domain: name.to_owned(), output_mask: None };
        admin.trust_domain().get_federation_relationship(request).await.map(drop)
    };
    let refresh = async |name: &str| {
        let request = RefreshBundleRequest { trust_domain: name.to_owned() };
        admin.trust_domain().refresh_bundle(request).await.map(drop)
    };
    let relationship = types::FederationRelationship {
        trust_domain: "example.com".to_owned(),
        bundle_endpoint_url: "http://example.com".to_owned(),
        ..Default::default()
    };
    let create = BatchCreateFederationRelationshipRequest {
        federation_relationships: vec![relationship.clone()],
        ..Default::default()
    };
    let update = BatchUpdateFederationRelationshipRequest {
        federation_relationships: vec![types::FederationRelationship {
            bundle_endpoint_url: "https://example.com".to_owned(),
            bundle_endpoint_profile: Some(types::federation_relationship::BundleEndpointProfile::HttpsWeb(
                Default::default(),
            )),
            ..relationship
        }],
        ..Default::default()
    };
    let delete = BatchDeleteFederationRelationshipRequest { trust_domains: vec!["example.com".to_owned()] };
    let mut relationships = admin.trust_domain();
    let created = relationships.batch_create_federation_relationship(create).await.unwrap().into_inner();
    let updated = relationships.batch_update_federation_relationship(update).await.unwrap().into_inner();
    let deleted = relationships.batch_delete_federation_relationship(delete).await.unwrap().into_inner();
    let with_root = AppendBundleRequest { x509_authorities: vec![root], ..Default::default() };
    let with_key = AppendBundleRequest { jwt_authorities: vec![key], ..Default::default() };
    let with_wit = AppendBundleRequest { wit_authorities: vec![wit], ..Default::default() };
    check(vec![
        ("our own", federated("example.org").await, InvalidArgument, ""),
        ("an unknown one", federated("example.com").await, NotFound, "bundle not found"),
        ("no name", federated("").await, InvalidArgument, ""),
        (
            "nothing",
            append(AppendBundleRequest::default()).await,
            InvalidArgument,
            "no authorities to append",
        ),
        ("no root", append(with_root).await, InvalidArgument, "invalid X.509 authority"),
        ("no key", append(with_key).await, InvalidArgument, "invalid JWT authority: missing key ID"),
        ("a WIT key", append(with_wit).await, Unimplemented, ""),
        ("no relationship", get("example.com").await, NotFound, "federation relationship does not exist"),
        ("nothing to refresh", refresh("example.com").await, NotFound, "no relationship with trust domain"),
        ("no HTTPS", item(created.results[0].status.clone()), InvalidArgument, ""),
        ("none to update", item(updated.results[0].status.clone()), NotFound, ""),
        ("none to delete", item(deleted.results[0].status.clone()), NotFound, ""),
    ]);
}
