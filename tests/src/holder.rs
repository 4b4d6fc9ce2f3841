//! A certificate with its key, and TLS with it: stock rustls, told to trust the roots of one bundle.

use std::{io, net::SocketAddr, sync::Arc};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use secplane_identity::{PrivateKey, TrustBundle, connect::connect, tls::crypto_provider, x509::Certificate};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

/// Whoever holds a certificate and its private key.
pub struct Holder {
    key: PrivateKey,
    chain: Vec<CertificateDer<'static>>,
}

impl Holder {
    /// Joins a key and a DER chain, leaf first.
    #[must_use]
    pub fn new(key: PrivateKey, chain: Vec<Vec<u8>>) -> Self {
        Self { key, chain: chain.into_iter().map(CertificateDer::from).collect() }
    }

    /// The certificate.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn leaf(&self) -> Certificate {
        Certificate::parse(&self.chain[0]).unwrap()
    }

    /// The private key.
    #[must_use]
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// The certificates, leaf first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// What a server with a bundle does to this holder: `Ok` when it lets them in, otherwise the alert.
    ///
    /// In TLS 1.3 the client is done before the server has looked at its certificate, so the refusal comes with
    /// the first answer.
    ///
    /// # Errors
    /// As the server says.
    ///
    /// # Panics
    /// When there is no server.
    pub async fn knock(&self, address: SocketAddr, bundle: &TrustBundle) -> io::Result<()> {
        let mut stream =
            open(address, client_config(bundle, Some(self))).await.expect("the server is one we trust");
        stream.write_all(b"OPTIONS * HTTP/1.1\r\nhost: ca\r\n\r\n").await?;
        stream.read_exact(&mut [0; 8]).await?;
        Ok(())
    }
}

/// A rustls client that trusts the roots of a bundle, checks the server's host name, and presents a certificate.
///
/// # Panics
/// When the bundle or the holder's certificate cannot be used.
#[must_use]
pub fn client_config(bundle: &TrustBundle, holder: Option<&Holder>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for root in bundle.authorities() {
        roots.add(root.der.clone()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(crypto_provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    match holder {
        Some(holder) => config.with_client_auth_cert(holder.chain.clone(), holder.key.to_rustls()).unwrap(),
        None => config.with_no_client_auth(),
    }
}

/// Opens a TLS connection to a server that must prove that it is `localhost`.
///
/// # Errors
/// When the handshake fails on the client's side.
pub async fn open(address: SocketAddr, config: ClientConfig) -> io::Result<TlsStream<TcpStream>> {
    connect(&format!("localhost:{}", address.port()), Arc::new(config)).await
}
