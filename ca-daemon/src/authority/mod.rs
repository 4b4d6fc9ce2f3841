//! The signing core: no I/O, no clock of its own.
//!
//! The CA of a trust domain ([`DomainCa`]: a self-signed root, or a CA below somebody else's) signs issuing CAs
//! ([`IssuingCa`]); an issuing CA signs leaves. Trust bundles hold roots only, so that an issuing CA can be replaced
//! without anyone noticing. What a leaf may say is decided here, in [`Subject`]; a [`CertificateRequest`] contributes
//! its public key and nothing else.

mod ca;
mod ca_key;
mod crl;
mod crl_url;
mod domain_ca;
mod issuing_ca;
mod jwt;
mod leaf;
mod names;
mod request;
mod self_check;
mod subject_name;
#[cfg(test)]
mod testing;
mod validity;

pub use ca::{CaError, MAX_CERTIFICATES_ABOVE_ISSUING};
pub use ca_key::CaKey;
pub(crate) use ca_key::key_id_of;
pub use crl::{CrlError, CrlReason, ListSigner, RevocationList, RevokedCertificate};
pub use crl_url::{CrlUrl, CrlUrlError};
pub(crate) use domain_ca::may_sign_lists;
pub use domain_ca::{DomainCa, is_self_issued, split_certificates};
pub use issuing_ca::IssuingCa;
pub use jwt::{
    JwtError, JwtKey, JwtKeyError, JwtSignError, JwtSubject, LEEWAY as JWT_LEEWAY, MAX_AUDIENCE_BYTES,
    MAX_AUDIENCES, MAX_TOKEN_BYTES, SignedJwt, VerifiedJwt, verify_jwt_svid,
};
pub use leaf::{CertificateKind, SignError, SignedCertificate, Subject};
pub use names::{DnsName, NameError};
pub(crate) use request::key_identifier;
pub use request::{CertificateRequest, RequestError, RequestedNames};
pub use self_check::SelfCheckError;
pub use validity::{BACKDATE, Lifetimes, Validity};
