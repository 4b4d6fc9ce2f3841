//! From the authority to the bundle service: a sidecar whose certificate is revoked gets no bundle any more.

use std::net::{Ipv4Addr, SocketAddr};

use bundle_service::BundleService;
use http_body_util::{BodyExt, Empty};
use hyper::{StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use secplane_proto::spire::api::types;
use secplane_tests::{
    authority::{Ca, CaFolder},
    entries::entry_for_this_process,
    holder::{Holder, client_config, open},
    moved_clock::stopped,
    soon,
};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

struct Service {
    address: SocketAddr,
    _stop: DropGuard,
    _folder: tempfile::TempDir,
}

/// A bundle service that has its identity from the authority's Workload API.
async fn start(ca: &Ca) -> Service {
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
    let address = service.address();
    let shutdown = CancellationToken::new();
    tokio::spawn(service.run(shutdown.clone()));
    Service { address, _stop: shutdown.drop_guard(), _folder: folder }
}

/// A connection of a sidecar to the bundle service.
struct Sidecar {
    sender: http1::SendRequest<Empty<Bytes>>,
    connection: JoinHandle<()>,
}

impl Sidecar {
    async fn connect(ca: &Ca, service: &Service, holder: &Holder) -> Self {
        let config = client_config(&ca.bundle().await, Some(holder));
        let stream = open(service.address, config).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(async move { drop(connection.await) });
        Self { sender, connection }
    }

    async fn pull(&mut self, etag: Option<&str>) -> hyper::Result<http::Response<Bytes>> {
        let mut request = http::Request::get("/bundles").header("host", "localhost");
        if let Some(etag) = etag {
            request = request.header("if-none-match", etag).header("prefer", "wait=60");
        }
        let response = self.sender.send_request(request.body(Empty::new()).unwrap()).await?;
        let (head, body) = response.into_parts();
        Ok(http::Response::from_parts(head, body.collect().await?.to_bytes()))
    }
}

/// The authority's clock stands still: it never looks for what is revoked, so what the bundle service hears was pushed.
#[tokio::test]
async fn ends_the_poll_of_a_revoked_sidecar_and_refuses_the_next() {
    let ca = CaFolder::new().start_with_clock(stopped()).await;
    let service = start(&ca).await;
    let holder = ca.admin().mint("/ns/travel/sa/booking", 0).await.unwrap();
    let other = ca.admin().mint("/ns/travel/sa/booking", 0).await.unwrap();
    let mut sidecar = Sidecar::connect(&ca, &service, &holder).await;
    let mut stays = Sidecar::connect(&ca, &service, &other).await;
    let first = sidecar.pull(None).await.unwrap();
    assert_eq!(first.status(), StatusCode::OK);
    let etag = first.headers()["etag"].to_str().unwrap().to_owned();

    let held = tokio::spawn(async move {
        let outcome = sidecar.pull(Some(&etag)).await;
        (outcome, sidecar.connection)
    });
    ca.admin().revoke(&holder).await.unwrap();
    let (outcome, connection) = soon("the held poll ends", held).await.unwrap();
    assert!(outcome.is_err(), "{outcome:?}");
    soon("the connection ends", connection).await.unwrap();

    let again = holder.knock(service.address, &ca.bundle().await).await.unwrap_err();
    assert!(again.to_string().contains("CertificateRevoked"), "{again}");
    assert_eq!(stays.pull(None).await.unwrap().status(), StatusCode::OK, "others are not harmed");
}
