//! How many connections there may be, and how they and their streams end.

use std::time::SystemTime;

use rstest::rstest;
use secplane_proto::{
    secplane::ca::v1::{WatchTrustBundleRequest, WatchTrustBundleResponse},
    spire::api::server::entry::v1::SyncAuthorizedEntriesRequest,
};
use secplane_tests::{
    authority::{Ca, CaFolder},
    clients::Clients,
    process::CaProcess,
    soon,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{Code, Status, Streaming};

async fn try_to_watch(clients: &Clients) -> Result<Streaming<WatchTrustBundleResponse>, Status> {
    let stream = clients.trust_bundle().watch_trust_bundle(WatchTrustBundleRequest {}).await?;
    let mut stream = stream.into_inner();
    soon("the first bundle", stream.message()).await?;
    Ok(stream)
}

async fn watch(clients: &Clients) -> Streaming<WatchTrustBundleResponse> {
    try_to_watch(clients).await.unwrap()
}

/// How often a limit on connections was reached.
async fn reached(ca: &Ca, limit: &str) -> f64 {
    ca.metric(&format!("secplane_ca_connection_limits_reached_total{{limit=\"{limit}\"}}")).await
}

#[rstest]
#[case::one(1, false)]
#[case::two(2, true)]
#[tokio::test]
async fn takes_as_many_of_one_address_as_the_configuration_says(
    #[case] most: usize,
    #[case] takes_second: bool,
) {
    let ca = Ca::start_with(|config| config.connections.anonymous_of_one_address = most).await;
    let _first = watch(&ca.connect_anonymously().await).await;
    let second = try_to_watch(&ca.connect_anonymously().await).await;
    assert_eq!(second.is_ok(), takes_second, "{second:?}");
    assert_eq!(reached(&ca, "anonymous_of_one_address").await > 0.0, !takes_second);
}

#[rstest]
#[case::one(1, false)]
#[case::two(2, true)]
#[tokio::test]
async fn takes_as_many_of_one_identity_as_the_configuration_says(
    #[case] most: usize,
    #[case] takes_second: bool,
) {
    let ca = Ca::start_with(|config| config.connections.peers_of_one_identity = most).await;
    let holder = ca.admin().mint("/a", 0).await.unwrap();
    let _first = watch(&ca.connect_as(&holder).await).await;
    let second = try_to_watch(&ca.connect_as(&holder).await).await;
    assert_eq!(second.is_ok(), takes_second, "{second:?}");
    assert_eq!(reached(&ca, "peers_of_one_identity").await > 0.0, !takes_second);
    let other = ca.admin().mint("/b", 0).await.unwrap();
    watch(&ca.connect_as(&other).await).await;
}

#[rstest]
#[case::one(1, false)]
#[case::two(2, true)]
#[tokio::test]
async fn takes_as_many_without_tls_as_the_configuration_says(
    #[case] most: usize,
    #[case] takes_second: bool,
) {
    let ca = Ca::start_with(|config| config.connections.plain_of_one_address = most).await;
    let ask = async |stream: &mut TcpStream| {
        stream.write_all(b"GET /live HTTP/1.1\r\nhost: a\r\n\r\n").await?;
        stream.read_exact(&mut [0; 12]).await
    };
    let mut first = TcpStream::connect(ca.operations_address()).await.unwrap();
    soon("an answer", ask(&mut first)).await.unwrap();
    let mut second = TcpStream::connect(ca.operations_address()).await.unwrap();
    let answered = soon("an answer or the end", ask(&mut second)).await;
    assert_eq!(answered.is_ok(), takes_second, "{answered:?}");
}

#[tokio::test]
async fn names_the_setting_whose_limit_is_reached() {
    let mut folder = CaFolder::new();
    folder.config.connections.peers_of_one_identity = 1;
    let ca = CaProcess::start(&folder).await;
    let holder = ca.admin().mint("/a", 0).await.unwrap();
    let _first = watch(&ca.connect(Some(&holder)).await).await;
    try_to_watch(&ca.connect(Some(&holder)).await).await.unwrap_err();
    let log = ca.log();
    let named = log.lines().find(|line| line.contains("connections.peers_of_one_identity"));
    assert!(named.is_some_and(|line| line.contains("spiffe://example.org/a")), "{log}");
}

#[tokio::test]
async fn ends_a_connection_when_its_client_s_certificate_expires() {
    let ca = Ca::start().await;
    // Longer than the drain time, before which the connection takes new calls, by enough for a busy machine.
    let holder = ca.admin().mint("/a", 10).await.unwrap();
    let mut stream = watch(&ca.connect_as(&holder).await).await;
    soon("the connection ends", stream.message()).await.unwrap_err();
    assert!(SystemTime::now() >= holder.leaf().not_after, "it ended before the certificate did");
    watch(&ca.connect_anonymously().await).await;
}

#[tokio::test]
async fn ends_a_watch_with_unavailable_when_the_daemon_stops() {
    let ca = Ca::start().await;
    let mut over_tls = watch(&ca.connect_anonymously().await).await;
    let mut over_socket = watch(&ca.admin()).await;
    let stopping = tokio::spawn(ca.stop());
    for stream in [&mut over_tls, &mut over_socket] {
        let status = soon("the stream ends", stream.message()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
    }
    stopping.await.unwrap();
}

/// A call whose sender never finishes its request: it must not hold up a daemon that stops.
#[tokio::test]
async fn stops_though_a_caller_never_finishes() {
    let ca = Ca::start().await;
    let clients = ca.admin();
    let endless = futures_util::stream::pending::<SyncAuthorizedEntriesRequest>();
    let _ = clients.entry().sync_authorized_entries(endless).await;
    let socket = ca.folder().config.workload_api_socket();
    let stuck = secplane_tests::workload::begin_and_never_finish(&socket).await;
    soon("the daemon stops", ca.stop()).await;
    drop(stuck);
}
