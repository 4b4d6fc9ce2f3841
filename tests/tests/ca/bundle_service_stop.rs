//! The bundle service stops when it is told to, whoever is connected to its health listener.

use std::net::{Ipv4Addr, SocketAddr};

use bundle_service::BundleService;
use secplane_proto::spire::api::types;
use secplane_tests::{authority::Ca, entries::entry_for_this_process, soon};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

const LIVE: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test]
async fn waits_for_no_request_that_is_never_finished() {
    let ca = Ca::start().await;
    let own = types::Entry { dns_names: vec!["localhost".to_owned()], ..entry_for_this_process("/bundles") };
    ca.admin().create_entry(own).await;
    let folder = tempfile::tempdir().unwrap();
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let config = bundle_service::Config {
        listen: free,
        health_listen: free,
        ..bundle_service::Config::new(&ca.workload().endpoint(), folder.path())
    };
    let service = BundleService::start(config).await.unwrap();
    let health = service.health_address();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(service.run(shutdown.clone()));

    let mut stuck = TcpStream::connect(health).await.unwrap();
    stuck.write_all(LIVE).await.unwrap();
    let mut answer = [0; 12];
    soon("an answer", stuck.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    stuck.write_all(&LIVE[..12]).await.unwrap();

    shutdown.cancel();
    soon("the service stops", running).await.unwrap().unwrap();
}
