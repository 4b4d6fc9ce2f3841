//! JSON Web Signature (RFC 7515) as cards use it: JSON serialization, the payload not carried.

mod algorithm;
mod entry;
mod public_key;
mod signing_key;

pub use self::algorithm::{Algorithm, UnknownAlgorithm};
pub(crate) use self::{
    entry::{ProtectedHeader, SignatureEntry, protected_header, shown},
    public_key::{PublicKey, SignatureFault},
    signing_key::SigningKey,
};
pub use self::{public_key::KeyError, signing_key::SigningKeyError};
