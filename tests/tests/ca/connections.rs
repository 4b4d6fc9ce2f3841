//! How connections and streams end.

use std::time::SystemTime;

use secplane_proto::{
    secplane::ca::v1::{WatchTrustBundleRequest, WatchTrustBundleResponse},
    spire::api::server::entry::v1::SyncAuthorizedEntriesRequest,
};
use secplane_tests::{authority::Ca, clients::Clients, soon};
use tonic::{Code, Streaming};

async fn watch(clients: &Clients) -> Streaming<WatchTrustBundleResponse> {
    let stream = clients.trust_bundle().watch_trust_bundle(WatchTrustBundleRequest {}).await.unwrap();
    let mut stream = stream.into_inner();
    soon("the first bundle", stream.message()).await.unwrap().unwrap();
    stream
}

#[tokio::test]
async fn ends_a_connection_when_its_client_s_certificate_expires() {
    let ca = Ca::start().await;
    let holder = ca.admin().mint("/a", 3).await.unwrap();
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
