//! The signing core: no I/O, no clock of its own.
//!
//! A self-signed [`Root`] signs issuing CAs ([`IssuingCa`]); an issuing CA signs leaves. Trust bundles hold roots
//! only, so that an issuing CA can be replaced without anyone noticing. What a leaf may say is decided here, in
//! [`Subject`]; a [`CertificateRequest`] contributes its public key and nothing else.

mod ca;
mod leaf;
mod names;
mod request;
mod validity;

pub use ca::{CaError, IssuingCa, Root};
pub use leaf::{CertificateKind, SignError, SignedCertificate, Subject};
pub use names::{DnsName, NameError};
pub use request::{CertificateRequest, RequestError, RequestedNames};
pub use validity::{BACKDATE, Lifetimes, Validity};
