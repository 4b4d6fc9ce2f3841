//! The SPIFFE Workload API: who gets which identity.

use std::env;

use secplane_identity::{
    TrustBundle,
    x509::{Purpose, verify_x509_svid},
};
use secplane_proto::{
    spire::api::types,
    workload::{
        JwtBundlesRequest, JwtsvidRequest, ValidateJwtsvidRequest, WitBundlesRequest, WitsvidRequest,
        X509BundlesRequest, X509svidRequest,
    },
};
use secplane_tests::{
    authority::Ca,
    entries::{entry, entry_for_this_process, id},
    soon,
    workload::{asking, holder, split},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};
use tonic::{Code, Request, Status};

fn is_header_refusal<T>(result: Result<T, Status>) {
    let refusal = result.err().unwrap();
    assert_eq!(refusal.code(), Code::InvalidArgument);
    assert_eq!(refusal.message(), "security header missing from request");
}

#[tokio::test]
async fn refuses_every_call_without_the_security_header() {
    let ca = Ca::start().await;
    ca.admin().create_entry(entry_for_this_process("/a")).await;
    let mut client = ca.workload().client();
    is_header_refusal(client.fetch_x509svid(X509svidRequest {}).await);
    is_header_refusal(client.fetch_x509_bundles(X509BundlesRequest {}).await);
    is_header_refusal(client.fetch_jwtsvid(JwtsvidRequest::default()).await);
    is_header_refusal(client.fetch_jwt_bundles(JwtBundlesRequest {}).await);
    is_header_refusal(client.validate_jwtsvid(ValidateJwtsvidRequest::default()).await);
    is_header_refusal(client.fetch_witsvid(WitsvidRequest::default()).await);
    is_header_refusal(client.fetch_wit_bundles(WitBundlesRequest {}).await);
    for wrong in ["false", "TRUE", ""] {
        let mut request = Request::new(X509svidRequest {});
        request.metadata_mut().insert("workload.spiffe.io", wrong.parse().unwrap());
        is_header_refusal(client.fetch_x509svid(request).await);
    }
}

#[tokio::test]
async fn says_what_it_does_not_support() {
    let ca = Ca::start().await;
    let mut client = ca.workload().client();
    for code in [
        client.fetch_witsvid(asking(WitsvidRequest::default())).await.err().unwrap().code(),
        client.fetch_wit_bundles(asking(WitBundlesRequest {})).await.err().unwrap().code(),
    ] {
        assert_eq!(code, Code::Unimplemented);
    }
}

#[tokio::test]
async fn gives_an_unregistered_workload_nothing() {
    let ca = Ca::start().await;
    // Other users' entries, and one below another agent.
    ca.admin().create_entry(entry("/other-user", &["uid:4711"])).await;
    let own = entry_for_this_process("/elsewhere");
    ca.admin().create_entry(types::Entry { parent_id: Some(id("/spire/agent/other")), ..own }).await;
    let with_another_fact = entry("/stricter", &["uid:4711", &format!("uid:{}", own_uid())]);
    ca.admin().create_entry(with_another_fact).await;

    for refusal in [
        ca.workload().x509_svids().await.unwrap().end().await,
        ca.workload().x509_bundles().await.unwrap().end().await,
    ] {
        assert_eq!((refusal.code(), refusal.message()), (Code::PermissionDenied, "no identity issued"));
    }
}

fn own_uid() -> u32 {
    rustix::process::getuid().as_raw()
}

#[tokio::test]
async fn gives_what_an_independent_client_understands() {
    let ca = Ca::start().await;
    ca.admin().create_entry(types::Entry { hint: "main".to_owned(), ..entry_for_this_process("/a") }).await;
    let client = spiffe::WorkloadApiClient::connect_to(ca.workload().endpoint()).await.unwrap();

    let svid = client.fetch_x509_svid().await.unwrap();
    assert_eq!(svid.spiffe_id().to_string(), "spiffe://example.org/a");
    assert_eq!(svid.hint(), Some("main"));
    assert_eq!(svid.cert_chain().len(), 2);

    let context = client.fetch_x509_context().await.unwrap();
    let trust_domain = "example.org".parse().unwrap();
    let bundle = context.bundle_set().get(&trust_domain).unwrap();
    let own = ca.bundle().await;
    let roots: Vec<_> = bundle.authorities().iter().map(spiffe::cert::Certificate::as_bytes).collect();
    assert_eq!(roots, [own.authorities().next().unwrap().der.as_ref()]);
    assert_eq!(client.fetch_x509_bundles().await.unwrap().len(), 1);
}

#[tokio::test]
async fn tells_an_independent_client_that_there_is_no_identity() {
    let ca = Ca::start().await;
    let client = spiffe::WorkloadApiClient::connect_to(ca.workload().endpoint()).await.unwrap();
    let refusal = client.fetch_x509_svid().await.unwrap_err().to_string();
    assert!(refusal.contains("no identity issued"), "{refusal}");
}

#[tokio::test]
async fn gives_a_chain_a_key_and_a_bundle_that_fit() {
    let ca = Ca::start().await;
    let named = types::Entry {
        dns_names: vec!["a.example.org".to_owned(), "b.example.org".to_owned()],
        ..entry_for_this_process("/a")
    };
    ca.admin().create_entry(named).await;
    let svid = ca.workload().x509_svids().await.unwrap().next_svid().await;
    assert_eq!(svid.spiffe_id, "spiffe://example.org/a");
    let holder = holder(&svid);
    let trust_domain = ca.folder().config.trust_domain.clone();
    let bundle = TrustBundle::new(trust_domain, split(&svid.bundle)).unwrap();
    let now = std::time::SystemTime::now();
    verify_x509_svid(holder.chain(), &bundle.into(), Purpose::ServerAuth, now).unwrap();
    assert_eq!(holder.leaf().dns_names, ["a.example.org", "b.example.org"]);
    // The key is the leaf's: TLS with it works.
    holder.knock(ca.grpc_address(), &ca.bundle().await).await.unwrap();

    let bundles = ca.workload().x509_bundles().await.unwrap().next().await.bundles;
    assert_eq!(bundles.into_iter().collect::<Vec<_>>(), [("spiffe://example.org".to_owned(), svid.bundle)]);
}

#[tokio::test]
async fn records_which_process_got_an_svid_by_which_entry() {
    let ca = Ca::start().await;
    let entry = ca.admin().create_entry(entry_for_this_process("/a")).await;
    let svid = ca.workload().x509_svids().await.unwrap().next_svid().await;
    let record = ca.admin().record(holder(&svid).leaf().serial).await.unwrap();
    assert_eq!(record.entry_id, entry.id);
    assert_eq!(record.requester, format!("workload(pid={},uid={})", std::process::id(), own_uid()));
}

#[tokio::test]
async fn knows_a_workload_by_each_fact() {
    let ca = Ca::start().await;
    let program = env::current_exe().unwrap();
    let hash = sha256(&std::fs::read(&program).unwrap());
    for (path, selector) in [
        ("/by-uid", format!("uid:{}", own_uid())),
        ("/by-gid", format!("gid:{}", rustix::process::getgid().as_raw())),
        ("/by-path", format!("path:{}", program.display())),
        ("/by-sha256", format!("sha256:{hash}")),
        ("/by-other-path", "path:/bin/true".to_owned()),
        ("/by-other-sha256", format!("sha256:{}", "0".repeat(64))),
    ] {
        ca.admin().create_entry(entry(path, &[&selector])).await;
    }
    let mut paths: Vec<_> = ca
        .workload()
        .x509_svids()
        .await
        .unwrap()
        .next()
        .await
        .svids
        .into_iter()
        .map(|s| s.spiffe_id)
        .collect();
    paths.sort();
    assert_eq!(
        paths,
        ["/by-gid", "/by-path", "/by-sha256", "/by-uid"].map(|p| format!("spiffe://example.org{p}"))
    );
}

fn sha256(content: &[u8]) -> String {
    secplane_identity::Fingerprint::of(content).to_string()
}

#[tokio::test]
async fn gives_two_streams_of_one_entry_the_same_svid() {
    let ca = Ca::start().await;
    ca.admin().create_entry(entry_for_this_process("/a")).await;
    let (one, other) = (ca.workload(), ca.workload());
    let (one, other) = tokio::join!(one.x509_svids(), other.x509_svids());
    let (mut one, mut other) = (one.unwrap(), other.unwrap());
    let (one, other) = tokio::join!(one.next_svid(), other.next_svid());
    assert_eq!(one, other);
    let records = ca.admin().records().await.unwrap();
    assert_eq!(records.iter().filter(|record| record.spiffe_id == "spiffe://example.org/a").count(), 1);
}

#[tokio::test]
async fn gives_the_oldest_of_two_entries_the_hint_that_they_share() {
    let ca = Ca::start().await;
    let hinted = |name: &str, hint: &str| types::Entry {
        id: name.to_owned(),
        hint: hint.to_owned(),
        ..entry_for_this_process(&format!("/{name}"))
    };
    for (name, hint) in [("a", "x"), ("b", "x"), ("c", ""), ("d", "")] {
        ca.admin().create_entry(hinted(name, hint)).await;
    }
    let svids = ca.workload().x509_svids().await.unwrap().next().await.svids;
    let ids: Vec<_> = svids.iter().map(|svid| svid.spiffe_id.as_str()).collect();
    assert_eq!(ids, ["spiffe://example.org/a", "spiffe://example.org/c", "spiffe://example.org/d"]);
}

#[tokio::test]
async fn lets_every_user_ask_but_only_the_owner_administer() {
    use std::os::unix::fs::PermissionsExt;
    let ca = Ca::start().await;
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&ca.folder().config.workload_api_socket()), 0o777);
    assert_eq!(mode(&ca.folder().config.admin_socket()), 0o600);
    let folder = ca.stop().await;
    assert!(!folder.config.workload_api_socket().exists() && !folder.config.admin_socket().exists());
}

/// No program takes so many streams that others get none.
#[tokio::test]
async fn gives_one_process_no_more_than_its_share_of_calls() {
    let ca = Ca::start().await;
    ca.admin().create_entry(entry_for_this_process("/a")).await;
    let mut open = Vec::new();
    for _ in 0..64 {
        let mut updates = ca.workload().x509_bundles().await.unwrap();
        updates.next().await;
        open.push(updates);
    }
    let refusal = ca.workload().x509_bundles().await.err().unwrap();
    assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal}");

    drop(open);
    // That the streams were given up arrives a moment later.
    soon("there is room again", async { while ca.workload().x509_bundles().await.is_err() {} }).await;
}

#[tokio::test]
async fn allows_a_workload_a_few_streams_on_a_connection() {
    /// SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113, section 6.5.2).
    const MAX_CONCURRENT_STREAMS: [u8; 2] = [0, 3];
    let ca = Ca::start().await;
    let mut stream = UnixStream::connect(ca.folder().config.workload_api_socket()).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    let mut head = [0; 9];
    soon("a frame", stream.read_exact(&mut head)).await.unwrap();
    assert_eq!(head[3], 4, "SETTINGS come first");
    let mut settings = vec![0_u8; usize::from(u16::from_be_bytes([head[1], head[2]]))];
    soon("the settings", stream.read_exact(&mut settings)).await.unwrap();
    let most = settings.chunks_exact(6).find(|setting| setting[..2] == MAX_CONCURRENT_STREAMS).unwrap();
    assert_eq!(most[2..], [0, 0, 0, 16]);
}

#[tokio::test]
async fn offers_no_admin_service_to_workloads() {
    let ca = Ca::start().await;
    let at_workload_socket =
        secplane_tests::clients::Clients::over_unix_socket(&ca.folder().config.workload_api_socket());
    let refusal = at_workload_socket.mint("/a", 0).await.err().unwrap();
    assert_eq!(refusal.code(), Code::Unimplemented, "{refusal}");
}
