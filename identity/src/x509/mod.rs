//! X.509: what a certificate says ([`Certificate`]), and whether a chain is an X.509-SVID
//! ([`verify_x509_svid`]). A [`VerifiedSvid`] can only come from verification.

mod ca_chain;
mod certificate;
mod verify;

pub use ca_chain::verify_ca_chain;
pub use certificate::{Certificate, CertificateError, KeyUsages, MAX_CERTIFICATE_BYTES};
pub(crate) use verify::verify_path;
pub use verify::{
    MAX_CHAIN_LENGTH, Purpose, SvidError, VerifiedChain, VerifiedSvid, check_ca_certificates, verify_chain,
    verify_svid_certificates, verify_x509_svid,
};
