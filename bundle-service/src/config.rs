//! The configuration of the service: a YAML file, with every key also settable by an environment variable.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use schemars::JsonSchema;
use secplane_configuration::{
    LoadError,
    connections::{self, ConnectionsConfig},
    load,
    logging::LogConfig,
    to_yaml,
};
use secplane_identity::{SpiffeId, TrustDomain};
use secplane_rego::capabilities::OpaVersion;
use serde::{Deserialize, Serialize};

use crate::{
    compile::freshness::SHORTEST_LIFETIME,
    history::HistoryLimits,
    kubernetes::{KubernetesConfig, WebhookConfig},
    source::{SourceKind, SourceOptions, git::GitConfig},
    tiers::{ClientSelector, PathTemplate},
};

/// The prefix of environment variables; nested keys are separated by `__`.
pub const ENV_PREFIX: &str = "BUNDLE_SERVICE_";

/// The configuration of `bundle-service`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where bundles are served over mutual TLS. Port 0 takes a free one.
    #[serde(default = "default_listen")]
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// Where `/healthz`, `/readyz` and `/metrics` are served, without TLS. Port 0 takes a free one.
    #[serde(default = "default_health_listen")]
    #[schemars(with = "String")]
    pub health_listen: SocketAddr,
    /// Lets `health_listen` be an address that is not loopback.
    #[serde(default)]
    pub health_beyond_loopback: bool,
    /// The SPIFFE Workload API that gives the service its identity, such as `unix:/run/secplane/workload.sock`.
    pub workload_api: String,
    /// Which identity of the Workload API to use. Default: the first that it gives.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub spiffe_id: Option<SpiffeId>,
    /// How long the first identity may take at the start, such as `30s`.
    #[serde(default = "default_first_identity_within", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub first_identity_within: Duration,
    /// Where the policies come from.
    pub source: SourceConfig,
    /// The validating admission webhook. Default: none.
    #[serde(default)]
    pub webhook: Option<WebhookConfig>,
    /// Where the service keeps what was in force, so that a broken policy falls back to its last good version after a
    /// restart too. Default: nowhere, and after a restart a broken policy denies its tier.
    #[serde(default)]
    pub data_dir: Option<PathBuf>,
    /// How much of the past is kept in `data_dir`.
    #[serde(default)]
    pub history: HistoryLimits,
    /// The Unix socket that `secctl bundle history` and its like speak to; root and the user of the service may.
    /// Default: none, and nobody may.
    #[serde(default)]
    pub admin_socket: Option<PathBuf>,
    /// The trust domain whose identities have namespace and client policies. Default: that of the service's own
    /// identity.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub trust_domain: Option<TrustDomain>,
    /// The namespace whose resources may have `scope: global`.
    #[serde(default = "default_system_namespace")]
    pub system_namespace: String,
    /// How the path of a SPIFFE ID names namespace and service account.
    #[serde(default)]
    #[schemars(with = "String")]
    pub path_template: PathTemplate,
    /// What of a resource with `scope: client` names its client: `name` (metadata.name) or `clientID`
    /// (spec.clientID).
    #[serde(default)]
    pub client_selector: ClientSelector,
    /// Whether the shipped global policy denies an identity that has no client policy.
    #[serde(default)]
    pub require_client_policy: bool,
    /// Whether each bundle also answers Envoy's external authorization, at `envoy/authz/allow`. It then owns the root
    /// `envoy` as well.
    #[serde(default)]
    pub envoy_adapter: bool,
    /// How long a bundle may be used, such as `24h`: the shipped global policy denies by an older one. Each sidecar
    /// gets a new one when half of that is over. Default: for ever.
    #[serde(default, with = "humantime_serde")]
    #[schemars(with = "Option<String>")]
    pub bundle_lifetime: Option<Duration>,
    /// The oldest OPA among the sidecars, `v1.18` to `v1.22`: what it would not activate is refused.
    #[serde(default)]
    #[schemars(with = "String")]
    pub opa_version: OpaVersion,
    /// The largest bundle, in bytes: a policy that would make one larger is refused.
    #[serde(default = "default_bundle_size_limit")]
    pub bundle_size_limit: usize,
    /// How many connections over TCP there may be at once.
    #[serde(default)]
    pub connections: ConnectionsConfig,
    /// What is logged and how.
    #[serde(default)]
    pub log: LogConfig,
}

/// Where the policies come from: at least one of `directory`, `git` and `kubernetes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// A folder of manifests. Every `*.yaml`, `*.yml` and `*.json` below it is read, and read again when it changes.
    #[serde(default)]
    pub directory: Option<PathBuf>,
    /// A Git repository of manifests, read at one ref.
    #[serde(default)]
    pub git: Option<GitConfig>,
    /// A Kubernetes API server.
    #[serde(default)]
    pub kubernetes: Option<KubernetesConfig>,
    /// Which source counts when several have a resource of the same namespace and name, the first one first. The
    /// others' is passed over with a warning, and counts once the first one's is gone.
    #[serde(default = "default_precedence")]
    pub precedence: Vec<SourceKind>,
    /// The API groups of the AuthorizationPolicy resource; resources of other groups are passed over. Of two resources
    /// in a cluster that have one name and differ in their group alone, that of the group named first counts.
    #[serde(default = "default_api_groups")]
    pub api_groups: Vec<String>,
}

fn default_listen() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8443)
}

fn default_health_listen() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080)
}

fn default_system_namespace() -> String {
    "secplane-system".to_owned()
}

pub(crate) fn default_bundle_size_limit() -> usize {
    5 * 1024 * 1024
}

fn default_first_identity_within() -> Duration {
    Duration::from_secs(30)
}

fn default_precedence() -> Vec<SourceKind> {
    SourceKind::ALL.to_vec()
}

impl SourceConfig {
    /// The sources that are set, in their order of precedence.
    #[must_use]
    pub fn kinds(&self) -> Vec<SourceKind> {
        self.precedence.iter().copied().filter(|kind| self.has(*kind)).collect()
    }

    fn has(&self, kind: SourceKind) -> bool {
        match kind {
            SourceKind::Directory => self.directory.is_some(),
            SourceKind::Git => self.git.is_some(),
            SourceKind::Kubernetes => self.kubernetes.is_some(),
        }
    }

    /// What of it cannot be used: the key, and why.
    fn fault(&self) -> Option<(&'static str, String)> {
        if !SourceKind::ALL.into_iter().any(|kind| self.has(kind)) {
            let reason = "set at least one of source.directory, source.git and source.kubernetes";
            return Some(("source", reason.to_owned()));
        }
        let named = |kind: SourceKind| self.precedence.iter().filter(|other| **other == kind).count();
        for kind in SourceKind::ALL {
            if named(kind) > 1 {
                return Some(("source.precedence", format!("it names `{kind}` twice")));
            }
            if self.has(kind) && named(kind) == 0 {
                return Some(("source.precedence", format!("it does not name `{kind}`, which is set")));
            }
        }
        if self.api_groups.is_empty() {
            return Some(("source.api_groups", "without a group no resource is read".to_owned()));
        }
        self.git.as_ref().and_then(GitConfig::fault)
    }
}

fn default_api_groups() -> Vec<String> {
    SourceOptions::default().api_groups
}

impl Config {
    /// The defaults for a Workload API and a folder of manifests.
    #[must_use]
    pub fn new(workload_api: &str, directory: &Path) -> Self {
        Self {
            listen: default_listen(),
            health_listen: default_health_listen(),
            health_beyond_loopback: false,
            workload_api: workload_api.to_owned(),
            spiffe_id: None,
            first_identity_within: default_first_identity_within(),
            source: SourceConfig {
                directory: Some(directory.to_owned()),
                git: None,
                kubernetes: None,
                precedence: default_precedence(),
                api_groups: default_api_groups(),
            },
            webhook: None,
            data_dir: None,
            history: HistoryLimits::default(),
            admin_socket: None,
            trust_domain: None,
            system_namespace: default_system_namespace(),
            path_template: PathTemplate::default(),
            client_selector: ClientSelector::default(),
            require_client_policy: false,
            envoy_adapter: false,
            bundle_lifetime: None,
            opa_version: OpaVersion::default(),
            bundle_size_limit: default_bundle_size_limit(),
            connections: ConnectionsConfig::default(),
            log: LogConfig::default(),
        }
    }

    /// Reads a file, puts the environment over it, and checks the result.
    ///
    /// # Errors
    /// When the file cannot be read, a key is unknown or missing, or a value cannot be used.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let config: Self = load(path, ENV_PREFIX, &[])?;
        config.check()?;
        Ok(config)
    }

    /// Checks that the values can be used.
    ///
    /// # Errors
    /// Names the key and what to change.
    pub fn check(&self) -> Result<(), ConfigError> {
        let refuse = |key: &'static str, reason: String| Err(ConfigError::Invalid { key, reason });
        if !self.health_listen.ip().is_loopback() && !self.health_beyond_loopback {
            return refuse(
                "health_listen",
                format!(
                    "{} is not loopback, and the listener has no TLS; listen on 127.0.0.1, or set \
                     health_beyond_loopback",
                    self.health_listen
                ),
            );
        }
        if self.workload_api.is_empty() {
            return refuse("workload_api", "it is empty; give it as `unix:/path`".to_owned());
        }
        if let Some((key, reason)) = self.source.fault() {
            return refuse(key, reason);
        }
        if self.webhook.is_some() && self.source.kubernetes.is_none() {
            return refuse("webhook", "it answers an API server; set source.kubernetes".to_owned());
        }
        if self.system_namespace.is_empty() {
            return refuse("system_namespace", "it is empty".to_owned());
        }
        if self.history.publications == 0 {
            return refuse(
                "history.publications",
                "what is in force is the least that can be kept: 1".to_owned(),
            );
        }
        if self.bundle_size_limit == 0 {
            return refuse("bundle_size_limit", "with 0 no bundle is served".to_owned());
        }
        if let Some(lifetime) = self.bundle_lifetime.filter(|lifetime| *lifetime < SHORTEST_LIFETIME) {
            return refuse("bundle_lifetime", format!("{lifetime:?} is shorter than {SHORTEST_LIFETIME:?}"));
        }
        if let Some(fault) = self.connections.fault() {
            return refuse(connections::SECTION, fault);
        }
        if let Err(error) = self.log.check() {
            return refuse("log.filter", error.to_string());
        }
        Ok(())
    }

    /// The effective configuration as YAML. Nothing in it is secret.
    ///
    /// # Errors
    /// When a value has no YAML form.
    pub fn to_yaml(&self) -> Result<String, ConfigError> {
        to_yaml(self).map_err(ConfigError::Print)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read, or is not of this form.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A value cannot be used.
    #[error("the configuration's `{key}` is not usable: {reason}")]
    Invalid {
        /// The key.
        key: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// It cannot be written as YAML.
    #[error("the configuration cannot be printed: {0}")]
    Print(String),
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const LEAST: &str = "workload_api: unix:/a\nsource: {directory: /p}\n";

    fn load(text: &str) -> Result<Config, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Config::load(file.path())
    }

    #[test]
    fn the_rest_has_defaults() {
        assert_eq!(load(LEAST).unwrap(), Config::new("unix:/a", Path::new("/p")));
    }

    #[test]
    fn what_is_printed_can_be_read() {
        let config = load(LEAST).unwrap();
        assert_eq!(load(&config.to_yaml().unwrap()).unwrap(), config);
    }

    #[rstest]
    #[case("listne: 1\n", "listne")]
    #[case("path_template: /a\n", "path_template")]
    #[case("client_selector: id\n", "client_selector")]
    #[case("opa_version: v1.17\n", "1.18 to 1.22")]
    #[case("health_listen: 0.0.0.0:1\n", "health_listen")]
    #[case("bundle_size_limit: 0\n", "bundle_size_limit")]
    #[case("connections: {peers: 0}\n", "connections` is not usable: `peers`")]
    #[case("connections: {handshakes_of_one_address: 1000001}\n", "handshakes_of_one_address")]
    #[case("log: {filter: 'a=b=c'}\n", "log.filter")]
    #[case("system_namespace: ''\n", "system_namespace")]
    #[case("webhook: {listen: '127.0.0.1:0'}\n", "source.kubernetes")]
    fn refuses(#[case] line: &str, #[case] named: &str) {
        let error = load(&format!("{LEAST}{line}")).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }

    #[rstest]
    #[case("{}", "source.directory")]
    #[case("{kubernetes: {groups: []}}", "groups")]
    #[case("{directory: /p, api_groups: []}", "source.api_groups")]
    #[case("{directory: /p, precedence: [git]}", "source.precedence")]
    #[case("{directory: /p, precedence: [directory, git, directory]}", "twice")]
    #[case("{directory: /p, precedence: [directory, http]}", "http")]
    #[case("{git: {url: https://a/b}}", "scratch")]
    #[case("{git: {url: 'http://a/b', scratch: /s}}", "source.git.url")]
    fn refuses_sources(#[case] source: &str, #[case] named: &str) {
        let error = load(&format!("workload_api: unix:/a\nsource: {source}\n")).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }

    #[rstest]
    #[case("{directory: /p}", &[SourceKind::Directory])]
    #[case("{kubernetes: {}, directory: /p}", &[SourceKind::Directory, SourceKind::Kubernetes])]
    #[case(
        "{directory: /p, git: {url: https://a/b, scratch: /s}, precedence: [git, kubernetes, directory]}",
        &[SourceKind::Git, SourceKind::Directory]
    )]
    fn takes_several_sources_in_their_order(#[case] source: &str, #[case] kinds: &[SourceKind]) {
        let config = load(&format!("workload_api: unix:/a\nsource: {source}\n")).unwrap();
        assert_eq!(config.source.kinds(), kinds);
    }

    #[test]
    fn a_cluster_needs_no_settings() {
        let config = load("workload_api: unix:/a\nsource: {kubernetes: {}}\n").unwrap();
        assert_eq!(config.source.kubernetes, Some(KubernetesConfig::default()));
    }

    #[test]
    fn health_beyond_loopback_takes_a_second_flag() {
        assert!(load(&format!("{LEAST}health_listen: 0.0.0.0:1\nhealth_beyond_loopback: true\n")).is_ok());
    }
}
