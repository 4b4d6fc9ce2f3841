//! The bundle service over its sockets: how many connections it takes, and that it stops when it is told to.

use std::net::{Ipv4Addr, SocketAddr};

use bundle_service::{BundleService, Config, RunError};
use rstest::rstest;
use secplane_proto::spire::api::types;
use secplane_tests::{
    authority::Ca,
    entries::entry_for_this_process,
    holder::{client_config, open},
    plain_http::get,
    soon,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_util::sync::{CancellationToken, DropGuard};

const LIVE: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n";

/// A service in this process, with an authority that gives it its identity.
struct Running {
    ca: Ca,
    _policies: TempDir,
    address: SocketAddr,
    health: SocketAddr,
    shutdown: DropGuard,
    task: JoinHandle<Result<(), RunError>>,
}

impl Running {
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let ca = Ca::start().await;
        let own =
            types::Entry { dns_names: vec!["localhost".to_owned()], ..entry_for_this_process("/bundles") };
        ca.admin().create_entry(own).await;
        let policies = tempfile::tempdir().unwrap();
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut config = Config::new(&ca.workload().endpoint(), policies.path());
        (config.listen, config.health_listen) = (free, free);
        change(&mut config);
        let service = BundleService::start(config).await.unwrap();
        let (address, health) = (service.address(), service.health_address());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(service.run(shutdown.clone()));
        Self { ca, _policies: policies, address, health, shutdown: shutdown.drop_guard(), task }
    }
}

/// Asks over a connection whether the service lives; `false` when the service has closed it.
async fn is_answered(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 12];
    let asked = async {
        stream.write_all(LIVE).await?;
        stream.read_exact(&mut answer).await
    };
    soon("an answer or the end", asked).await.is_ok() && &answer == b"HTTP/1.1 200"
}

#[tokio::test]
async fn waits_for_no_request_that_is_never_finished() {
    let service = Running::start(|_| ()).await;
    let mut stuck = TcpStream::connect(service.health).await.unwrap();
    assert!(is_answered(&mut stuck).await);
    stuck.write_all(&LIVE[..12]).await.unwrap();

    drop(service.shutdown);
    soon("the service stops", service.task).await.unwrap().unwrap();
}

#[rstest]
#[case::one(1, false)]
#[case::two(2, true)]
#[tokio::test]
async fn takes_as_many_handshakes_of_one_address_as_the_configuration_says(
    #[case] most: usize,
    #[case] takes_second: bool,
) {
    let service = Running::start(|config| config.connections.handshakes_of_one_address = most).await;
    let holder = service.ca.admin().mint("/sidecar", 0).await.unwrap();
    let config = client_config(&service.ca.bundle().await, Some(&holder));
    let _silent = TcpStream::connect(service.address).await.unwrap();
    let second = soon("the handshake ends", open(service.address, config)).await;
    assert_eq!(second.is_ok(), takes_second, "{second:?}");

    let metrics = get(service.health, "/metrics", &[]).await.body;
    let counted = r#"bundle_service_connection_limits_reached_total{limit="handshakes_of_one_address"} "#;
    let times = metrics.lines().find_map(|line| line.strip_prefix(counted)).unwrap();
    assert_eq!(times == "0", takes_second, "{metrics}");
}

#[rstest]
#[case::one(1, false)]
#[case::two(2, true)]
#[tokio::test]
async fn tells_as_many_of_one_address_of_its_health_as_the_configuration_says(
    #[case] most: usize,
    #[case] takes_second: bool,
) {
    let service = Running::start(|config| config.connections.plain_of_one_address = most).await;
    let mut first = TcpStream::connect(service.health).await.unwrap();
    assert!(is_answered(&mut first).await);
    let mut second = TcpStream::connect(service.health).await.unwrap();
    assert_eq!(is_answered(&mut second).await, takes_second);
}
