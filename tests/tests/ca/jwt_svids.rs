//! JWT-SVIDs: minted by an admin, fetched by workloads, verified with the keys that the authority hands out.

use secplane_identity::{TrustBundle, TrustBundleSet, TrustDomain};
use secplane_proto::{
    spire::api::{
        server::{bundle::v1::GetBundleRequest, svid::v1::MintJwtsvidRequest},
        types,
    },
    workload::{JwtBundlesResponse, ValidateJwtsvidRequest},
};
use secplane_tests::{
    authority::{Ca, TRUST_DOMAIN},
    entries::{entry_for_this_process, id},
    workload::asking,
};
use serde_json::Value;
use tonic::{Code, Status};

/// The keys of a message, as somebody who verifies tokens keeps them.
pub(super) fn keys_of(message: &JwtBundlesResponse) -> TrustBundleSet {
    let key_set: Value =
        serde_json::from_slice(&message.bundles[&format!("spiffe://{TRUST_DOMAIN}")]).unwrap();
    // A plain JWK Set: a SPIFFE bundle document says of each key what it is for.
    let keys: Vec<Value> = key_set["keys"].as_array().unwrap().clone();
    let keys: Vec<_> = keys
        .into_iter()
        .map(|mut key| {
            assert!(key.get("use").is_none());
            key["use"] = "jwt-svid".into();
            key
        })
        .collect();
    let document = serde_json::json!({ "keys": keys }).to_string();
    let trust_domain = TrustDomain::parse(TRUST_DOMAIN).unwrap();
    TrustBundle::from_spiffe_json(trust_domain, &document).unwrap().into()
}

/// What anybody who has the workload's JWT bundle thinks of a token.
async fn verify(ca: &Ca, token: &str, audience: &str) -> Result<String, String> {
    let bundles = keys_of(&ca.workload().jwt_bundles().await.unwrap().next().await);
    ca_daemon::authority::verify_jwt_svid(token, &bundles, audience, std::time::SystemTime::now())
        .map(|verified| verified.id.to_string())
        .map_err(|error| error.to_string())
}

async fn mint(ca: &Ca, path: &str, audience: &[&str], ttl: i32) -> Result<types::Jwtsvid, Status> {
    let audience = audience.iter().map(ToString::to_string).collect();
    let request = MintJwtsvidRequest { id: Some(id(path)), audience, ttl };
    Ok(ca.admin().svid().mint_jwtsvid(request).await?.into_inner().svid.unwrap())
}

#[tokio::test]
async fn are_minted_for_any_workload_by_an_admin() {
    let ca = Ca::start().await;
    ca.admin().create_entry(entry_for_this_process("/verifier")).await;
    let svid = mint(&ca, "/web", &["one", "two"], 90).await.unwrap();
    assert_eq!(svid.expires_at - svid.issued_at, 90);
    assert_eq!(verify(&ca, &svid.token, "two").await.unwrap(), "spiffe://example.org/web");
    assert!(verify(&ca, &svid.token, "three").await.is_err());
    let default = mint(&ca, "/web", &["one"], 0).await.unwrap();
    assert_eq!(default.expires_at - default.issued_at, 300);
    let cut = mint(&ca, "/web", &["one"], 1_000_000_000).await.unwrap();
    let lives = cut.expires_at - cut.issued_at;
    assert!((23 * 3600..=24 * 3600).contains(&lives), "it ends with its key, if not before: {lives} s");

    let wire = ca.admin().bundle().get_bundle(GetBundleRequest::default()).await.unwrap().into_inner();
    assert_eq!(wire.jwt_authorities.len(), 1);
    let ca = ca.restart().await;
    assert_eq!(verify(&ca, &svid.token, "one").await.unwrap(), "spiffe://example.org/web");
}

#[tokio::test]
async fn are_not_minted_for_everything() {
    let ca = Ca::start().await;
    for (path, audience, ttl) in [
        ("/web", vec![], 0),
        ("/web", vec![""], 0),
        ("/web", vec!["one"], -1),
        ("", vec!["one"], 0),
        ("/a//b", vec!["one"], 0),
        ("/spire/server", vec!["one"], 0),
    ] {
        let refusal = mint(&ca, path, &audience, ttl).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument, "{path} {audience:?} {ttl}: {refusal}");
    }
    let nobody = ca.connect_anonymously().await;
    let request = MintJwtsvidRequest { id: Some(id("/web")), audience: vec!["one".to_owned()], ttl: 0 };
    assert_eq!(nobody.svid().mint_jwtsvid(request).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn are_fetched_by_a_workload_for_each_of_its_identities() {
    let ca = Ca::start().await;
    let first = types::Entry { hint: "main".to_owned(), jwt_svid_ttl: 60, ..entry_for_this_process("/a") };
    ca.admin().create_entry(first).await;
    ca.admin().create_entry(entry_for_this_process("/b")).await;
    let both = ca.workload().jwt_svids(&["one"], "").await.unwrap();
    let mut ids: Vec<_> = both.iter().map(|svid| (svid.spiffe_id.as_str(), svid.hint.as_str())).collect();
    ids.sort_unstable();
    assert_eq!(ids, [("spiffe://example.org/a", "main"), ("spiffe://example.org/b", "")]);
    for svid in &both {
        assert_eq!(verify(&ca, &svid.svid, "one").await.unwrap(), svid.spiffe_id);
    }
    let one = ca.workload().jwt_svids(&["one"], "spiffe://example.org/b").await.unwrap();
    assert_eq!(one.len(), 1);

    let code =
        async |audience: &[&str], id: &str| ca.workload().jwt_svids(audience, id).await.unwrap_err().code();
    assert_eq!(code(&[], "").await, Code::InvalidArgument);
    assert_eq!(code(&["one"], "nonsense").await, Code::InvalidArgument);
    assert_eq!(code(&["one"], "spiffe://example.org/c").await, Code::PermissionDenied);
}

#[tokio::test]
async fn are_refused_to_a_workload_that_nobody_registered() {
    let ca = Ca::start().await;
    let refusal = ca.workload().jwt_svids(&["one"], "").await.unwrap_err();
    assert_eq!((refusal.code(), refusal.message()), (Code::PermissionDenied, "no identity issued"));
    let refusal = ca.workload().jwt_bundles().await.unwrap().end().await;
    assert_eq!((refusal.code(), refusal.message()), (Code::PermissionDenied, "no identity issued"));
}

#[tokio::test]
async fn are_verified_for_a_workload() {
    let ca = Ca::start().await;
    let svid = mint(&ca, "/web", &["one"], 60).await.unwrap();
    let validate = async |audience: &str, svid: &str| {
        let request = ValidateJwtsvidRequest { audience: audience.to_owned(), svid: svid.to_owned() };
        ca.workload().client().validate_jwtsvid(asking(request)).await.map(tonic::Response::into_inner)
    };
    let valid = validate("one", &svid.token).await.unwrap();
    assert_eq!(valid.spiffe_id, "spiffe://example.org/web");
    let claims = valid.claims.unwrap().fields;
    let mut names: Vec<_> = claims.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["aud", "exp", "iat", "sub"]);

    let changed = svid.token.replace('.', ".e");
    for (audience, token) in [("", svid.token.as_str()), ("one", ""), ("two", &svid.token), ("one", &changed)]
    {
        let refusal = validate(audience, token).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
    }
}
