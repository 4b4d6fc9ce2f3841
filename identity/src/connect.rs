//! Connections to a server that [`serve`](crate::serve) runs.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{
    net::{TcpStream, ToSocketAddrs},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower::Service;

/// How long a connection with its handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens a TLS connection to `address` (`host:port`).
///
/// # Errors
/// When the address cannot be reached in time or the handshake fails.
pub async fn connect(address: &str, config: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    handshake(address, host, config).await
}

/// Opens a TLS connection to one of the addresses that `host` was found to have: the name is not looked up again.
///
/// # Errors
/// When none of the addresses can be reached in time or the handshake fails.
pub async fn connect_at(
    addresses: &[SocketAddr],
    host: &str,
    config: Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    handshake(addresses, host, config).await
}

async fn handshake(
    address: impl ToSocketAddrs,
    host: &str,
    config: Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("`{host}` is not a host name")))?;
    let attempt = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        TlsConnector::from(config).connect(name, stream).await
    };
    timeout(CONNECT_TIMEOUT, attempt).await.unwrap_or_else(|_| {
        let message = format!("no TLS connection to {host} within {CONNECT_TIMEOUT:?}");
        Err(io::Error::new(io::ErrorKind::TimedOut, message))
    })
}

/// A connector for gRPC channels. The URI it is called with is only a name: the address is the connector's own.
///
/// tonic refuses `https://` without its own TLS, so give the channel `http://` and this connector.
#[derive(Debug, Clone)]
pub struct GrpcConnector {
    address: Arc<str>,
    config: Arc<ClientConfig>,
}

impl GrpcConnector {
    /// Connects to `address` (`host:port`) with HTTP/2.
    #[must_use]
    pub fn new(address: &str, mut config: ClientConfig) -> Self {
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self { address: address.into(), config: Arc::new(config) }
    }
}

impl Service<Uri> for GrpcConnector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _name: Uri) -> Self::Future {
        let (address, config) = (Arc::clone(&self.address), Arc::clone(&self.config));
        Box::pin(async move { connect(&address, config).await.map(TokioIo::new) })
    }
}
