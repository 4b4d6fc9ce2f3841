//! The settings of everything that has to do with a Kubernetes API server.

use std::{net::SocketAddr, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A Kubernetes API server as the source of the policies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KubernetesConfig {
    /// How to reach the API server, as a kubeconfig file. Default: as the service account of the own pod.
    #[serde(default)]
    pub kubeconfig: Option<PathBuf>,
    /// Whether every group of `source.api_groups` has to be installed before the service is ready. Otherwise one is
    /// enough, and the others are followed from the moment that they appear.
    #[serde(default)]
    pub require_all_groups: bool,
    /// Whether what became of each resource is written into its status, with Events.
    #[serde(default = "yes")]
    pub write_status: bool,
    /// The Lease in `system_namespace` by which the replicas agree on who writes.
    #[serde(default = "default_lease")]
    pub lease: String,
}

/// The validating admission webhook, which the API server calls before it stores a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Where the API server is answered, with the service's own certificate. Port 0 takes a free one.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// The ValidatingWebhookConfiguration whose `caBundle` is kept current. Default: none is touched.
    #[serde(default)]
    pub configuration: Option<String>,
    /// Whether the API server stores a policy that it could not have checked: `Ignore` (yes) or `Fail` (no); written
    /// into the ValidatingWebhookConfiguration. Default: what stands there.
    #[serde(default)]
    pub failure_policy: Option<FailurePolicy>,
}

/// What the API server does when the webhook does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailurePolicy {
    /// It stores the resource.
    Ignore,
    /// It refuses the resource.
    Fail,
}

fn yes() -> bool {
    true
}

fn default_lease() -> String {
    "secplane-bundle-service".to_owned()
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self { kubeconfig: None, require_all_groups: false, write_status: true, lease: default_lease() }
    }
}
