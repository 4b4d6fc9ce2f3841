//! The daemon's gRPC services, one thin file each: decode, authorize, call the core, encode.

mod agent;
mod agent_cards;
mod audit;
mod authority;
mod authority_keys;
mod authority_upstream;
mod authorized_entries;
mod batch;
mod batch_svid;
mod bundle;
mod certificates;
mod cuttable;
mod debug;
mod denials;
mod downstream;
mod entry;
mod federated_bundles;
mod health;
mod local_authority;
mod logger;
mod not_given;
mod page;
mod reflection;
mod refusal;
mod revocations;
mod services;
mod svid;
mod svid_jwt;
mod trust_bundle;
mod trust_domain;
mod unix_socket;

pub use cuttable::Cuttable;
pub use denials::{Callers, witnessed};
pub(crate) use reflection::{Admission, with_reflection};
pub use services::Services;
pub use unix_socket::{AcceptedUnix, SocketError, SocketLimits, UnixSocket};
