//! Where private keys live: sealed in files under a [`WrappingKey`] that is not beside them.
//!
//! The wrapping key also keys the MAC that proves which rows of the database this authority wrote, so that
//! whoever can only write the database can register nothing.

mod file;
mod sealed;
mod wrapping;

pub use file::{KeyFiles, KeyStoreError};
pub use sealed::SealError;
pub use wrapping::{RowMac, WrappingKey, WrappingKeyError, WrappingKeySource, generate_wrapping_key};
