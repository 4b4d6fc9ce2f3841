//! Where private keys and other secrets live: sealed under a [`WrappingKey`] that is not beside them, in files, in
//! the database, or for a test in memory. The key of the trust domain's CA may stay in a PKCS#11 token instead.
//!
//! Among the secrets is the key of the MAC that proves which rows of the database this authority wrote, so that
//! whoever can only write the database can register nothing.

mod config;
mod database;
mod file;
mod memory;
mod name;
mod row_mac;
mod sealed;
mod store;
mod token;
mod wrapping;

pub use config::{KeyStorageKind, KeysConfig, Pkcs11Config};
pub use row_mac::RowMac;
pub use sealed::SealError;
pub(crate) use sealed::sealed_under;
pub(crate) use store::IN_TOKEN;
pub use store::{KeyStorage, KeyStore, KeyStoreError, Rekeyed};
pub use token::{TokenError, Trouble as TokenTrouble};
pub use wrapping::{WrappingKey, WrappingKeyError, WrappingKeyId, WrappingKeySource, generate_wrapping_key};

use name::SecretName;
