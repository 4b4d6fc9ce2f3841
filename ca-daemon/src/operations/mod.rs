//! What an operator needs: health, metrics, traces, checks, backups, and a service manager that knows how it goes.
//!
//! | module | holds |
//! |---|---|
//! | [`metrics`] | what is counted |
//! | [`calls`] | every gRPC call, counted and traced |
//! | [`routes`] | plain HTTP for health, metrics, revocation lists, the trust bundle |
//! | [`traces`] | OpenTelemetry, where a collector is configured |
//! | [`doctor`] | what will make an authority stop one day |
//! | [`backup`] | one encrypted file to begin again from |
//! | [`process`] | signals, the service manager, reading the configuration again |

pub mod backup;
mod bundle;
pub mod calls;
pub mod doctor;
pub mod metrics;
mod observations;
pub mod process;
mod readiness;
pub mod reload;
mod revocation_list;
pub mod routes;
mod systemd;
pub mod traces;

pub use metrics::Metrics;
pub use observations::Observations;
pub use readiness::Readiness;
