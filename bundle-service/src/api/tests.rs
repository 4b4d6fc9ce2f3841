//! The bundle listener: whose bundle, in which form, and when.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{Router, body::Body};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rstest::rstest;
use secplane_identity::{
    IdentitySnapshot, IdentitySource, PrivateKey, SpiffeId, TrustBundle, TrustDomain, X509Identity,
    connect::connect,
    serve::{Connection, ConnectionLimits, ReachedLimits, serve},
    tls::{ClientPolicy, ExpectedServer, Peer, client_config, verify_client},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{Bundles, Health, health_router, router};
use crate::{
    catalog::Catalog,
    compile::{Archive, Policies, Settings},
    digest::Digest,
    metrics::Metrics,
    policy_tests::{TestFailure, TestReport, TestRequest, Tester},
    source::{Batch, Change, SourceKind, SourceOptions, manifests::FileContent, reach::Reach},
};

const OWN: &str = "spiffe://example.org/ns/team-a/sa/agent";
const OTHER: &str = "spiffe://example.org/ns/team-b/sa/agent";
const SERVICE: &str = "spiffe://example.org/ns/secplane-system/sa/bundle-service";

/// An authority whose workloads trust one another.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    bundle: TrustBundle,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI("spiffe://example.org".try_into().unwrap())];
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root = params.self_signed(&key).unwrap();
        let bundle = TrustBundle::new(TrustDomain::parse("example.org").unwrap(), [root.der()]).unwrap();
        Self { issuer: Issuer::new(params, key), bundle }
    }

    fn workload(&self, id: &str) -> IdentitySnapshot {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = (SystemTime::now() - Duration::from_secs(60)).into();
        params.not_after = (SystemTime::now() + Duration::from_secs(3600)).into();
        let key = PrivateKey::generate().unwrap();
        let leaf = params.signed_by(&key.signing_pair().unwrap(), &self.issuer).unwrap();
        IdentitySnapshot {
            identity: Some(X509Identity::new(vec![leaf.der().clone()], key).unwrap()),
            bundles: self.bundle.clone().into(),
            ..IdentitySnapshot::default()
        }
    }
}

fn policy(namespace: &str, content: &str) -> Batch {
    let manifest = serde_json::json!({
        "apiVersion": "agent.kagenti.dev/v1alpha1",
        "kind": "AuthorizationPolicy",
        "metadata": { "namespace": namespace, "name": "policy" },
        "spec": { "scope": "namespace", "policies": [{ "path": "a.rego", "content": content }] },
    });
    let text = manifest.to_string();
    let content = FileContent::read("a.yaml", text.as_bytes(), &SourceOptions::default());
    let changes = content.objects.into_iter().map(|object| Change::Set(Arc::new(object)));
    Batch { changes: changes.collect(), ..Batch::default() }
}

fn helper(value: u32) -> String {
    format!("package authbridge.ns.helper\n\nx := {value}\n")
}

async fn bundles() -> Bundles {
    let catalog = Catalog::new(Settings::new(TrustDomain::parse("example.org").unwrap()));
    catalog.apply(policy("team-a", &helper(1))).await.unwrap();
    Bundles { catalog, metrics: Arc::new(Metrics::new()), size_limit: 5 * 1024 * 1024 }
}

/// The listener as one client sees it, without the network between them.
struct Client {
    router: Router,
    connection: Connection,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Client {
    fn new(bundles: Bundles, id: &str) -> Self {
        let authority = Authority::new();
        let snapshot = authority.workload(id);
        let chain = snapshot.identity.as_ref().unwrap().chain().to_vec();
        let peer = verify_client(&chain, &snapshot, ClientPolicy::Svid, SystemTime::now()).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        Self { router: router(bundles), connection: Connection::new(peer, address) }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let mut request = request;
        request.extensions_mut().insert(self.connection.clone());
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&self, address: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::get(address);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

#[rstest]
#[case("/bundles/self.tar.gz")]
#[case("/bundles/authz")]
#[case("/bundles/any/name/at.all")]
#[case("/bundles")]
#[case("/bundles?spiffe=example.org%2Fns%2Fteam-a%2Fsa%2Fagent")]
#[case("/bundles?spiffe=spiffe%3A%2F%2Fexample.org%2Fns%2Fteam-a%2Fsa%2Fagent")]
#[case("/bundles?spiffe=example.org/ns/team-a/sa/agent&other=1")]
#[case("/bundles/spiffe%3A%2F%2Fexample.org%2Fns%2Fteam-a%2Fsa%2Fagent")]
#[tokio::test]
async fn serves_the_bundle_of_the_certificate(#[case] address: &str) {
    let bundles = bundles().await;
    let id = SpiffeId::parse(OWN).unwrap();
    let own = bundles.catalog.subscribe(&id).await.unwrap().borrow().clone();
    let answer = Client::new(bundles, OWN).get(address, &[]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(answer.body, own.bytes().to_vec());
    assert_eq!(answer.header("content-type"), "application/vnd.openpolicyagent.bundles");
    assert_eq!(answer.header("etag"), own.etag());
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(!answer.headers.contains_key("content-encoding"));
    assert!(!answer.headers.contains_key("vary"));
    let archive = Archive::read(&answer.body).unwrap();
    assert!(archive.modules.iter().any(|module| module.text.contains("authbridge.ns.helper")));
}

#[rstest]
#[case("/bundles?spiffe=example.org%2Fns%2Fteam-a%2Fsa%2Fagent")]
#[case("/bundles?spiffe=spiffe%3A%2F%2Fexample.org%2Fns%2Fteam-a%2Fsa%2Fagent")]
#[case("/bundles/self.tar.gz?spiffe=example.org/ns/team-a/sa/agent")]
#[case("/bundles?spiffe=example.org/ns/team-b/sa/agent&spiffe=example.org/ns/team-a/sa/agent")]
#[case("/bundles/spiffe%3A%2F%2Fexample.org%2Fns%2Fteam-a%2Fsa%2Fagent")]
#[tokio::test]
async fn refuses_the_bundle_of_another_and_says_who_asks(#[case] address: &str) {
    let answer = Client::new(bundles().await, OTHER).get(address, &[]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.text().contains(OTHER), "{}", answer.text());
    assert!(!answer.text().contains(OWN));
    assert_eq!(answer.header("etag"), "");
}

#[tokio::test]
async fn refuses_a_certificate_without_an_identity() {
    let client = Client::new(bundles().await, OWN);
    let connection = Connection::new(Peer::Anonymous, client.connection.address);
    let answer = Client { connection, ..client }.get("/bundles/self.tar.gz", &[]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[rstest]
#[case("/bundles?spiffe=", StatusCode::BAD_REQUEST)]
#[case("/bundles?spiffe=example.org", StatusCode::BAD_REQUEST)]
#[case("/bundles?spiffe=example.org/ns/../x", StatusCode::BAD_REQUEST)]
#[case("/bundles?spiffe=https://example.org/x", StatusCode::BAD_REQUEST)]
#[case("/bundles?spiffe=spiffe://spiffe://example.org/x", StatusCode::BAD_REQUEST)]
#[case("/", StatusCode::NOT_FOUND)]
#[case("/metrics", StatusCode::NOT_FOUND)]
#[case("/healthz", StatusCode::NOT_FOUND)]
#[tokio::test]
async fn refuses_with_one_shape(#[case] address: &str, #[case] status: StatusCode) {
    let answer = Client::new(bundles().await, OWN).get(address, &[]).await;
    assert_eq!(answer.status, status);
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(body["error"]["message"].is_string() && body["error"]["code"].is_string(), "{body}");
}

#[tokio::test]
async fn refuses_other_methods() {
    let client = Client::new(bundles().await, OWN);
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        let request = Request::builder().method(method).uri("/bundles/authz").body(Body::empty()).unwrap();
        let answer = client.send(request).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.header("allow"), "GET, HEAD");
    }
}

#[tokio::test]
async fn refuses_an_oversized_request() {
    let client = Client::new(bundles().await, OWN);
    let request = Request::get("/bundles/authz").body(Body::from(vec![0; 20_000])).unwrap();
    assert_eq!(client.send(request).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let long = format!("/bundles?spiffe={}", "a".repeat(10_000));
    assert_eq!(client.get(&long, &[]).await.status, StatusCode::URI_TOO_LONG);
    assert_eq!(client.get("/bundles/authz", &[]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn refuses_an_oversized_bundle() {
    let bundles = Bundles { size_limit: 100, ..bundles().await };
    let answer = Client::new(bundles, OWN).get("/bundles/authz", &[]).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}

/// What would not be served is not published either: its status would say that it is in force.
#[tokio::test]
async fn serves_the_last_good_bundle_when_a_policy_grows_too_large() {
    const LIMIT: usize = 20_000;
    let settings = Settings::new(TrustDomain::parse("example.org").unwrap());
    let catalog = Catalog::new(Settings { bundle_size_limit: LIMIT, ..settings });
    catalog.apply(policy("team-a", &helper(1))).await.unwrap();
    let bundles = Bundles { catalog: catalog.clone(), metrics: Arc::new(Metrics::new()), size_limit: LIMIT };
    let client = Client::new(bundles, OWN);
    let before = client.get("/bundles/authz", &[]).await;
    let noise: String = (0..LIMIT / 32).map(|n: usize| Digest::of(&[&n.to_be_bytes()]).to_string()).collect();
    let grown = format!("{}noise := \"{noise}\"\n", helper(2));
    let applied = catalog.apply(policy("team-a", &grown)).await.unwrap();
    assert_eq!(applied.refusals[0].code, "bundle_size", "{:?}", applied.refusals);
    let after = client.get("/bundles/authz", &[]).await;
    assert_eq!((before.status, after.status), (StatusCode::OK, StatusCode::OK));
    assert_eq!(after.header("etag"), before.header("etag"));
}

#[tokio::test]
async fn is_unavailable_until_the_policies_were_read() {
    let catalog = Catalog::new(Settings::new(TrustDomain::parse("example.org").unwrap()));
    let bundles = Bundles { catalog, metrics: Arc::new(Metrics::new()), size_limit: 1 << 20 };
    let answer = Client::new(bundles, OWN).get("/bundles/authz", &[]).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn head_has_the_headers_alone() {
    let client = Client::new(bundles().await, OWN);
    let whole = client.get("/bundles/authz", &[]).await;
    let request = Request::head("/bundles/authz").body(Body::empty()).unwrap();
    let head = client.send(request).await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    assert_eq!(head.header("etag"), whole.header("etag"));
    assert_eq!(head.header("content-length"), whole.body.len().to_string());
}

#[tokio::test]
async fn answers_304_with_the_tag_to_who_holds_it() {
    let client = Client::new(bundles().await, OWN);
    let etag = client.get("/bundles/authz", &[]).await.header("etag").to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"'), "strong and quoted: {etag}");
    let bare = etag.trim_matches('"');
    for held in [etag.clone(), format!("W/{etag}"), bare.to_owned(), "*".to_owned(), format!("\"x\", {etag}")]
    {
        let answer = client.get("/bundles/authz", &[("if-none-match", &held)]).await;
        assert_eq!((answer.status, answer.body.len()), (StatusCode::NOT_MODIFIED, 0), "{held}");
        assert_eq!(answer.header("etag"), etag);
    }
    let answer = client.get("/bundles/authz", &[("if-none-match", "\"x\"")]).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn answers_at_once_who_holds_nothing() {
    let client = Client::new(bundles().await, OWN);
    for held in [[("prefer", "wait=300")].as_slice(), &[("prefer", "wait=300"), ("if-none-match", "\"x\"")]] {
        let answer = timeout(Duration::from_secs(30), client.get("/bundles/authz", held)).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn holds_a_poll_for_its_wait() {
    let client = Client::new(bundles().await, OWN);
    let etag = client.get("/bundles/authz", &[]).await.header("etag").to_owned();
    let started = tokio::time::Instant::now();
    let held = [("if-none-match", etag.as_str()), ("prefer", "modes=snapshot,delta;wait=60")];
    let answer = client.get("/bundles/authz", &held).await;
    assert_eq!(answer.status, StatusCode::NOT_MODIFIED);
    assert!((60..62).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    assert_eq!(answer.header("etag"), etag);

    let started = tokio::time::Instant::now();
    let held = [("if-none-match", etag.as_str()), ("prefer", "wait=86400")];
    client.get("/bundles/authz", &held).await;
    assert!((300..302).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
}

/// Lets everything that can go on go on.
async fn settle(bundles: &Bundles, held: i64) {
    timeout(Duration::from_secs(30), async {
        while bundles.metrics.held_polls.get() != held {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_change_ends_the_polls_of_whom_it_concerns() {
    let bundles = bundles().await;
    let (own, other) = (Client::new(bundles.clone(), OWN), Client::new(bundles.clone(), OTHER));
    let tag = async |client: &Client| client.get("/bundles/authz", &[]).await.header("etag").to_owned();
    let (own_tag, other_tag) = (tag(&own).await, tag(&other).await);
    let poll = |client: Client, etag: String| {
        tokio::spawn(async move {
            client.get("/bundles/authz", &[("if-none-match", &etag), ("prefer", "wait=250")]).await
        })
    };
    let (own_poll, other_poll) = (poll(own, own_tag.clone()), poll(other, other_tag));
    settle(&bundles, 2).await;
    bundles.catalog.apply(policy("team-a", &helper(2))).await.unwrap();
    let answer = timeout(Duration::from_secs(30), own_poll).await.unwrap().unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    assert_ne!(answer.header("etag"), own_tag);
    settle(&bundles, 1).await;
    assert!(!other_poll.is_finished());
    other_poll.abort();
}

#[tokio::test]
async fn a_broken_change_ends_no_poll() {
    let bundles = bundles().await;
    let client = Client::new(bundles.clone(), OWN);
    let etag = client.get("/bundles/authz", &[]).await.header("etag").to_owned();
    let poll = tokio::spawn(async move {
        client.get("/bundles/authz", &[("if-none-match", &etag), ("prefer", "wait=250")]).await
    });
    settle(&bundles, 1).await;
    bundles
        .catalog
        .apply(policy("team-a", "package authbridge.inbound.request\n\nallow := true"))
        .await
        .unwrap();
    bundles.catalog.apply(policy("team-a", &helper(3))).await.unwrap();
    let answer = timeout(Duration::from_secs(30), poll).await.unwrap().unwrap();
    let archive = Archive::read(&answer.body).unwrap();
    assert!(archive.modules.iter().any(|module| module.text.contains("x := 3")));
}

#[tokio::test]
async fn health_tells_and_counts() {
    let bundles = bundles().await;
    let client = Client::new(bundles.clone(), OWN);
    client.get("/bundles/authz", &[]).await;
    client.get("/nothing", &[]).await;
    let reach = Reach::new(SourceKind::Git, bundles.metrics.failing(SourceKind::Git));
    let health = |catalog: &Catalog| {
        let identity = IdentitySource::fixed(Authority::new().workload(SERVICE));
        health_router(Health {
            catalog: catalog.clone(),
            identity,
            cluster: None,
            reaches: vec![reach.clone()],
            metrics: Arc::clone(&bundles.metrics),
            reached: ReachedLimits::default(),
        })
    };
    let get = async |router: Router, path: &str| {
        let response = router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status();
        (
            status,
            String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap(),
        )
    };
    assert_eq!(get(health(&bundles.catalog), "/healthz").await.0, StatusCode::OK);
    assert_eq!(get(health(&bundles.catalog), "/readyz").await.0, StatusCode::OK);
    let fresh = Catalog::new(Settings::new(TrustDomain::parse("example.org").unwrap()));
    let (status, missing) = get(health(&fresh), "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(missing.contains("source.git is not read yet"), "{missing}");
    reach.succeeded();
    reach.failed("no route".to_owned());
    let (status, notes) = get(health(&bundles.catalog), "/readyz").await;
    assert_eq!(status, StatusCode::OK, "what was read stays in use");
    assert!(notes.contains("no route"), "{notes}");
    let (_, metrics) = get(health(&bundles.catalog), "/metrics").await;
    assert!(metrics.contains("bundle_service_http_requests_total{code=\"200\"} 1"), "{metrics}");
    assert!(metrics.contains("bundle_service_http_requests_total{code=\"404\"} 1"), "{metrics}");
    assert!(metrics.contains("bundle_service_source_failing{source=\"git\"} 1"), "{metrics}");
    assert!(!metrics.contains("team-a"));
    assert_eq!(get(health(&bundles.catalog), "/bundles").await.0, StatusCode::NOT_FOUND);
}

/// The same over real sockets: mutual TLS, and the end of held polls at shutdown.
#[tokio::test]
async fn over_tls_the_certificate_decides_and_shutdown_ends_held_polls() {
    let authority = Authority::new();
    let bundles = bundles().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let shutdown = CancellationToken::new();
    let limits = ConnectionLimits { drain: Duration::from_millis(300), ..ConnectionLimits::default() };
    let source = IdentitySource::fixed(authority.workload(SERVICE));
    let server = tokio::spawn(serve(
        listener,
        source,
        ClientPolicy::Svid,
        limits,
        router(bundles.clone()),
        shutdown.clone(),
    ));
    let ask = async |snapshot: IdentitySnapshot, request: String| {
        let expected = ExpectedServer::Id(SpiffeId::parse(SERVICE).unwrap());
        let config = client_config(IdentitySource::fixed(snapshot), expected).unwrap();
        let mut stream = connect(&address, Arc::new(config)).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        // A connection that ends in the middle of a poll may end without TLS's goodbye.
        let read = stream.read_to_end(&mut answer).await;
        if answer.is_empty() {
            read?;
        }
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    let request = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{more}\r\n");

    let answer = ask(authority.workload(OWN), request("/bundles/a", "connection: close\r\n")).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let path = "/bundles?spiffe=example.org/ns/team-a/sa/agent";
    let answer = ask(authority.workload(OTHER), request(path, "connection: close\r\n")).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains(OTHER), "{answer}");

    let stranger =
        IdentitySnapshot { bundles: authority.bundle.clone().into(), ..Authority::new().workload(OWN) };
    assert!(ask(stranger, request("/bundles/a", "connection: close\r\n")).await.is_err());
    let nobody = IdentitySnapshot { bundles: authority.bundle.clone().into(), ..Default::default() };
    assert!(ask(nobody, request("/bundles/a", "connection: close\r\n")).await.is_err());

    let held = request("/bundles/a", "if-none-match: *\r\nprefer: wait=300\r\n");
    let poll = ask(authority.workload(OWN), held);
    let ended = async {
        settle(&bundles, 1).await;
        shutdown.cancel();
        sleep(Duration::ZERO).await;
    };
    let (answer, ()) = timeout(Duration::from_secs(30), async { tokio::join!(poll, ended) }).await.unwrap();
    assert!(!answer.unwrap_or_default().contains("HTTP/1.1"), "a held poll ends without an answer");
    timeout(Duration::from_secs(30), server).await.unwrap().unwrap().unwrap();
    assert_eq!(bundles.metrics.held_polls.get(), 0);
}

/// None of these tests ends.
#[derive(Debug)]
struct Endless;

impl Tester for Endless {
    fn run(&self, _: &TestRequest) -> Result<TestReport, TestFailure> {
        Err(TestFailure::Limits("5s were over".to_owned()))
    }
}

#[tokio::test]
async fn is_not_ready_while_what_never_stood_waits_for_its_first_tests() {
    let settings = Settings::new(TrustDomain::parse("example.org").unwrap());
    let policies = Policies::new(settings).with_tester(Arc::new(Endless));
    let catalog = Catalog::remembering(policies, None, Arc::new(SystemTime::now));
    let client = |number: usize| {
        let manifest = serde_json::json!({
            "apiVersion": "agent.kagenti.dev/v1alpha1",
            "kind": "AuthorizationPolicy",
            "metadata": { "namespace": "team-a", "name": format!("agent-{number}") },
            "spec": { "scope": "client", "policies": [
                { "path": "a.rego", "content": "package authbridge.client.a\n\nx := 1\n" },
                { "path": "a_test.rego", "content": "package authbridge.client.a_test\n\ntest_x if true\n" },
            ] },
        });
        let content = FileContent::read("a.yaml", manifest.to_string().as_bytes(), &SourceOptions::default());
        content.objects.into_iter().map(|object| Change::Set(Arc::new(object))).collect::<Vec<_>>()
    };
    // One more than those of one namespace may be in one change that do not end.
    let batch = Batch { changes: (0..13).flat_map(client).collect(), ..Batch::default() };
    catalog.apply(batch).await.unwrap();
    let health = health_router(Health {
        catalog: catalog.clone(),
        identity: IdentitySource::fixed(Authority::new().workload(SERVICE)),
        cluster: None,
        reaches: Vec::new(),
        metrics: Arc::new(Metrics::new()),
        reached: ReachedLimits::default(),
    });
    let status = async || {
        let request = Request::get("/readyz").body(Body::empty()).unwrap();
        health.clone().oneshot(request).await.unwrap().status()
    };
    assert_eq!(status().await, StatusCode::SERVICE_UNAVAILABLE);
    catalog.try_again().await.unwrap().unwrap();
    assert_eq!(status().await, StatusCode::OK, "all of them were tried");
}
