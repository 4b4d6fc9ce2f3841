//! A bundle service in this process that has its identity from an authority, and the sidecars that poll it.

use std::net::{Ipv4Addr, SocketAddr};

use bundle_service::BundleService;
use http_body_util::{BodyExt, Empty};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use secplane_identity::TrustBundle;
use secplane_proto::spire::api::types;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    clients::Clients,
    entries::entry_for_this_process,
    holder::{Holder, client_config, open},
    workload::Workload,
};

/// A bundle service. Dropping it ends it.
pub struct Bundles {
    address: SocketAddr,
    _stop: DropGuard,
    _folder: tempfile::TempDir,
}

impl Bundles {
    /// Starts one whose identity comes from an authority's Workload API, where it is registered for it.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(admin: &Clients, workload: &Workload) -> Self {
        let own =
            types::Entry { dns_names: vec!["localhost".to_owned()], ..entry_for_this_process("/bundles") };
        admin.create_entry(own).await;
        let folder = tempfile::tempdir().unwrap();
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let config = bundle_service::Config {
            listen: free,
            health_listen: free,
            ..bundle_service::Config::new(&workload.endpoint(), folder.path())
        };
        let service = BundleService::start(config).await.unwrap();
        let address = service.address();
        let shutdown = CancellationToken::new();
        tokio::spawn(service.run(shutdown.clone()));
        Self { address, _stop: shutdown.drop_guard(), _folder: folder }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A connection of a sidecar to a bundle service.
pub struct Sidecar {
    sender: http1::SendRequest<Empty<Bytes>>,
    connection: JoinHandle<()>,
}

impl Sidecar {
    /// Connects as the holder of a certificate.
    ///
    /// # Panics
    /// When there is no service, or it is not one that the bundle vouches for.
    pub async fn connect(trusted: &TrustBundle, service: &Bundles, holder: &Holder) -> Self {
        let stream = open(service.address, client_config(trusted, Some(holder))).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(async move { drop(connection.await) });
        Self { sender, connection }
    }

    /// Asks for its bundle: at once, or when it is no longer the one that it has.
    ///
    /// # Errors
    /// When the connection ends before the answer.
    ///
    /// # Panics
    /// When the ETag cannot stand in a header.
    pub async fn pull(&mut self, etag: Option<&str>) -> hyper::Result<http::Response<Bytes>> {
        let mut request = http::Request::get("/bundles").header("host", "localhost");
        if let Some(etag) = etag {
            request = request.header("if-none-match", etag).header("prefer", "wait=60");
        }
        let response = self.sender.send_request(request.body(Empty::new()).unwrap()).await?;
        let (head, body) = response.into_parts();
        Ok(http::Response::from_parts(head, body.collect().await?.to_bytes()))
    }

    /// Waits until the connection has ended.
    ///
    /// # Panics
    /// When what drives the connection does.
    pub async fn ended(self) {
        self.connection.await.unwrap();
    }
}
