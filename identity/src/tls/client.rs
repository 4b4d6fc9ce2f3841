//! The client's side of TLS: the server is authenticated by SPIFFE ID, never by host name.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::{
        ResolvesClientCert, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::verify_tls13_signature,
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{crypto_provider, refuse_tls12, signature_algorithms, tls_error};
use crate::{
    IdentitySource, SpiffeId, TrustBundle, TrustDomain,
    x509::{Purpose, SvidError, VerifiedSvid, verify_x509_svid},
};

/// Which server a client wants to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpectedServer {
    /// Exactly this one.
    Id(SpiffeId),
    /// Any workload of this trust domain.
    MemberOf(TrustDomain),
}

impl ExpectedServer {
    fn admits(&self, id: &SpiffeId) -> bool {
        match self {
            Self::Id(expected) => expected == id,
            Self::MemberOf(trust_domain) => trust_domain == id.trust_domain(),
        }
    }
}

/// A client that presents the source's identity (if it has one) and verifies the server against the source's
/// bundles, both as they are at each handshake.
///
/// # Errors
/// When the provider lacks TLS 1.3.
pub fn client_config(
    source: IdentitySource,
    expected: ExpectedServer,
) -> Result<ClientConfig, rustls::Error> {
    let verifier = SvidVerifier { source: source.clone(), expected };
    config(Arc::new(verifier), Arc::new(OwnCertificate(Some(source))))
}

/// A client that has no trust bundle yet. It believes nobody during the handshake and remembers what the server
/// presented; [`Bootstrap::confirm`] then checks it against the bundle that was fetched and pinned by other means.
///
/// # Errors
/// When the provider lacks TLS 1.3.
pub fn bootstrap_client_config() -> Result<(ClientConfig, Bootstrap), rustls::Error> {
    let bootstrap = Bootstrap(Arc::default());
    let verifier = RecordingVerifier(bootstrap.clone());
    Ok((config(Arc::new(verifier), Arc::new(OwnCertificate(None)))?, bootstrap))
}

fn config(
    verifier: Arc<dyn ServerCertVerifier>,
    certificate: Arc<dyn ResolvesClientCert>,
) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(crypto_provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(certificate);
    // A resumed session would skip the verification of the server.
    config.resumption = Resumption::disabled();
    Ok(config)
}

#[derive(Debug)]
struct OwnCertificate(Option<IdentitySource>);

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.as_ref()?.current().identity.as_ref().map(crate::X509Identity::certified)
    }

    fn has_certs(&self) -> bool {
        self.0.as_ref().is_some_and(|source| source.current().identity.is_some())
    }
}

#[derive(Debug)]
struct SvidVerifier {
    source: IdentitySource,
    expected: ExpectedServer,
}

impl ServerCertVerifier for SvidVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain: Vec<_> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(now.as_secs());
        let svid = self.source.current().verify_svid(&chain, Purpose::ServerAuth, at).map_err(tls_error)?;
        if self.expected.admits(svid.id()) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General(format!("the server is {}, not the one that was expected", svid.id())))
        }
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

/// What a server presented before anything was known of it.
#[derive(Debug, Clone)]
pub struct Bootstrap(Arc<Mutex<Vec<CertificateDer<'static>>>>);

impl Bootstrap {
    /// Verifies, after the fact, that the server of the connection belongs to a bundle that is now trusted.
    ///
    /// # Errors
    /// When it does not: whatever came over that connection is then worthless.
    pub fn confirm(&self, bundle: &TrustBundle, at: SystemTime) -> Result<VerifiedSvid, SvidError> {
        let chain = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        verify_x509_svid(&chain, &bundle.clone().into(), Purpose::ServerAuth, at)
    }
}

#[derive(Debug)]
struct RecordingVerifier(Bootstrap);

impl ServerCertVerifier for RecordingVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain =
            std::iter::once(end_entity).chain(intermediates).map(|c| c.clone().into_owned()).collect();
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = chain;
        Ok(ServerCertVerified::assertion())
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
