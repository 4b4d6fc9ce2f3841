//! What the end-to-end tests share: authorities that run in this process or in one of their own, clients that
//! reach them over real sockets, and certificate requests good and bad.
//!
//! | module | holds |
//! |---|---|
//! | [`authority`] | a `ca-daemon` in this process, in a folder of its own |
//! | [`process`] | a `ca-daemon` as a process: started, killed, read |
//! | [`agents`] | node agents: attestation, and their workloads' SVIDs |
//! | [`clients`] | gRPC clients over the admin socket and over TLS |
//! | [`holder`] | a certificate with its key, and how one is obtained |
//! | [`requests`] | certificate requests |
//! | [`entries`] | registration entries |
//! | [`sidecars`] | a bundle service in this process, and the sidecars that poll it |
//! | [`workload`] | the Workload API as a workload calls it |
//! | [`plain_http`] | plain HTTP, one request a connection |
//! | [`audit_log`] | the audit log as an auditor reads it |
//! | [`moved_clock`] | a clock that a test moves on, and one that stands still |
//! | [`database`] | the daemon's database, opened behind its back |
//! | [`postgres`] | a PostgreSQL server of this test process |
//!
//! A client here is a stock rustls or tonic one wherever that is possible: what the product's own libraries make
//! easy must not be what makes a test pass.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a harness that cannot go on fails its test"
)]

pub mod agents;
pub mod audit_log;
pub mod authority;
pub mod clients;
pub mod database;
pub mod entries;
pub mod holder;
pub mod moved_clock;
pub mod plain_http;
pub mod postgres;
pub mod process;
pub mod requests;
pub mod sidecars;
pub mod workload;

use std::{fmt::Display, future::Future, time::Duration};

/// How long anything may take that should happen at once. Only a test that fails waits this long.
const SOON: Duration = Duration::from_secs(60);

/// Waits for something that has to happen.
///
/// # Panics
/// When it does not happen in time: with what was waited for.
pub async fn soon<T>(what: impl Display, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(SOON, event).await {
        Ok(value) => value,
        Err(_) => panic!("not within {SOON:?}: {what}"),
    }
}
