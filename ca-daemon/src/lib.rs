//! The certificate authority of Secplane.
//!
//! A request for an identity enters at [`api`] or at the Workload API in [`agent`], is authorized ([`access`],
//! [`attest`], [`registry`]), signed ([`authority`]), recorded ([`store`], [`audit`]), and only then leaves ([`issuance`]).
//!
//! [`CaDaemon`] is all of it in one value: the binary, `secctl dev` and the tests start it alike.

pub mod access;
pub mod agent;
pub mod agents;
pub mod api;
pub mod attest;
pub mod audit;
pub mod authority;
mod bundle_message;
pub mod config;
mod daemon;
pub mod federation;
mod following;
pub mod founding;
pub mod init;
pub mod instant;
pub mod issuance;
pub mod jwt_svids;
pub mod keys;
pub mod lifecycle;
pub mod limits;
pub mod operations;
pub mod pruning;
pub mod registry;
pub mod replica;
pub mod revocation;
pub mod rotation;
pub mod store;
pub mod upstream;
mod whole_file;
pub mod witness;

pub use config::Config;
pub use daemon::{CaDaemon, RunError, StartError};
