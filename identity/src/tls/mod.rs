//! rustls configurations over an [`IdentitySource`](crate::IdentitySource): TLS 1.3 alone, own certificate and
//! roots read anew at every handshake, no session that could be resumed past a verification.

mod client;
mod peer;
mod server;

use std::sync::Arc;

use rustls::{
    CertificateError, OtherError,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms},
};

pub use client::{Bootstrap, ExpectedServer, bootstrap_client_config, client_config};
pub use peer::{ClientPolicy, Peer, VerifiedCertificate, verify_client};
pub use server::server_config;

pub use rustls::Error as TlsError;

use crate::x509::SvidError;

/// The one cryptography provider of the product.
#[must_use]
pub fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A failed check as the TLS alert that says it best.
fn tls_error(error: SvidError) -> rustls::Error {
    rustls::Error::InvalidCertificate(match error {
        SvidError::Expired => CertificateError::Expired,
        SvidError::NotYetValid => CertificateError::NotValidYet,
        SvidError::UnknownIssuer { .. } | SvidError::UnknownTrustDomain(_) => CertificateError::UnknownIssuer,
        SvidError::Revoked { .. } | SvidError::IssuerRevoked { .. } => CertificateError::Revoked,
        SvidError::RevocationList { .. } => CertificateError::UnknownRevocationStatus,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    })
}

/// No configuration offers TLS 1.2, which other libraries compile in; this answers should that ever change.
fn refuse_tls12() -> Result<HandshakeSignatureValid, rustls::Error> {
    Err(rustls::Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOffered))
}

fn signature_algorithms() -> WebPkiSupportedAlgorithms {
    crypto_provider().signature_verification_algorithms
}
