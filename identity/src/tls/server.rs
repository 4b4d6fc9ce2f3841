//! The server's side of TLS.

use std::{sync::Arc, time::SystemTime};

use rustls::{
    DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::verify_tls13_signature,
    server::{
        ClientHello, NoServerSessionStorage, ResolvesServerCert,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::{ClientPolicy, crypto_provider, refuse_tls12, signature_algorithms, tls_error, verify_client};
use crate::IdentitySource;

/// A server that presents the source's identity and verifies clients against the source's bundles, both as they
/// are at each handshake. HTTP/2 and HTTP/1.1 are offered.
///
/// # Errors
/// When the provider lacks TLS 1.3.
pub fn server_config(
    source: IdentitySource,
    policy: ClientPolicy,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(crypto_provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(ClientVerifier { source: source.clone(), policy }))
        .with_cert_resolver(Arc::new(OwnCertificate(source)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A resumed session would skip the verification of the client.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct OwnCertificate(IdentitySource);

impl ResolvesServerCert for OwnCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.current().identity.as_ref().map(crate::X509Identity::certified)
    }
}

#[derive(Debug)]
struct ClientVerifier {
    source: IdentitySource,
    policy: ClientPolicy,
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.policy == ClientPolicy::Svid
    }

    /// None: hints could not follow a change of the roots.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let chain: Vec<_> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(now.as_secs());
        verify_client(&chain, &self.source.current(), self.policy, at).map_err(|error| {
            tracing::debug!(%error, "client certificate refused");
            tls_error(error)
        })?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &signature_algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        signature_algorithms().supported_schemes()
    }
}
