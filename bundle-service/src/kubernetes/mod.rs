//! AuthorizationPolicies from a Kubernetes API server, and what their authors are told there.
//!
//! ```text
//! API server ──list, watch──▶ watch ─▶ inventory ─▶ batches of changes, as from every source
//!            ◀──status, Events── report ◀─ status ◀─ verdicts of the catalog      (the holder of the lease alone)
//!            ──AdmissionReview─▶ webhook ─▶ the catalog's gate
//! ```
//!
//! The resource exists under two names, in the groups `agent.kagenti.dev` and `agent.rossoctl.dev`. Both are watched,
//! and one policy that is in both counts once: the group that comes first in the configuration.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | the settings |
//! | `definition` | the resource's definition (CRD), made from its type |
//! | `cluster` | all of it, wired together |
//! | `client` | how the API server is reached |
//! | `inventory` | what the API server holds, and what changed of it |
//! | `watch` | following it |
//! | `status` | a verdict as conditions |
//! | `report` | writing them, with Events |
//! | `comparison` | what another replica serves otherwise |
//! | `lease` | which replica writes |
//! | `webhook` | the answer to `kubectl apply` |

mod client;
mod cluster;
mod comparison;
pub mod config;
mod definition;
mod event;
mod inventory;
mod lease;
mod object;
mod report;
mod status;
mod watch;
mod webhook;

pub use client::ClientError;
pub use config::{KubernetesConfig, WebhookConfig};
pub use definition::definition;
pub use status::{AuthorizationPolicyStatus, Condition};

pub(crate) use cluster::{Cluster, Webhook};
pub(crate) use inventory::{Shared, SourceHealth};
pub(crate) use watch::KubernetesSource;

/// Who writes, in server-side apply and in Events.
pub(crate) const MANAGER: &str = "secplane-bundle-service";
