//! The configuration of the daemon: a YAML file, with every key also settable by an environment variable.

mod database;
mod lifetimes;
mod listeners;

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
};
use secplane_identity::TrustDomain;
use serde::{Deserialize, Serialize};

pub use self::{
    database::{DatabaseConfig, PostgresConfig, SqliteConfig},
    lifetimes::{CrlConfig, JwtConfig, RotationConfig, ValidityConfig},
    listeners::{OperationsConfig, OtlpConfig, TelemetryConfig, WorkloadApiConfig, unreachable_socket},
};
use crate::keys::{KeysConfig, WrappingKeySource};

/// The prefix of environment variables; nested keys are separated by `__`.
pub const ENV_PREFIX: &str = "CA_DAEMON_";

/// The configuration of `ca-daemon`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The trust domain that this authority is for, such as `example.org`. It cannot change later.
    #[schemars(with = "String")]
    pub trust_domain: TrustDomain,
    /// The folder of the database and of the sealed keys. Only the daemon needs to read it.
    pub data_dir: PathBuf,
    /// Where gRPC with TLS listens. Port 0 takes a free one.
    #[serde(default = "default_listen")]
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// DNS names in the server's own certificate, for clients that check host names.
    #[serde(default)]
    pub server_names: Vec<String>,
    /// The Unix socket for admins. Whoever can open it may do everything. Default: `admin.sock` in `data_dir`.
    #[serde(default)]
    pub admin_socket: Option<PathBuf>,
    /// The SPIFFE Workload API for workloads on this machine.
    #[serde(default)]
    pub workload_api: WorkloadApiConfig,
    /// Where the key comes from that all private keys are sealed under.
    pub wrapping_key: WrappingKeySource,
    /// Where records and entries are kept.
    #[serde(default)]
    pub database: DatabaseConfig,
    /// Where private keys live and of which kind they are.
    #[serde(default)]
    pub keys: KeysConfig,
    /// Foreign trust domains.
    #[serde(default)]
    pub federation: FederationConfig,
    /// The CA that the first start takes instead of making a root.
    #[serde(default)]
    pub upstream: Option<UpstreamConfig>,
    /// How long certificates are valid.
    #[serde(default)]
    pub validity: ValidityConfig,
    /// When roots and JWT keys are replaced.
    #[serde(default)]
    pub rotation: RotationConfig,
    /// JWT-SVIDs.
    #[serde(default)]
    pub jwt: JwtConfig,
    /// How much one caller may ask for.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// How many connections over TCP there may be at once.
    #[serde(default)]
    pub connections: ConnectionsConfig,
    /// What is cleared away.
    #[serde(default)]
    pub pruning: PruningConfig,
    /// For development only: gRPC without TLS, where every caller is an admin.
    #[serde(default)]
    pub insecure: bool,
    /// Lets `insecure` listen on an address that is not loopback.
    #[serde(default)]
    pub insecure_beyond_loopback: bool,
    /// What is logged and how.
    #[serde(default)]
    pub log: LogConfig,
    /// Plain HTTP for health, metrics, revocation lists and the trust bundle.
    #[serde(default)]
    pub operations: OperationsConfig,
    /// Traces.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
    /// Certificate revocation lists.
    #[serde(default)]
    pub crl: CrlConfig,
}

/// Federation with foreign trust domains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FederationConfig {
    /// A PEM file of the roots that bundle endpoints of the profile `https_web` are checked with.
    pub web_roots: PathBuf,
}

impl Default for FederationConfig {
    fn default() -> Self {
        Self { web_roots: "/etc/ssl/certs/ca-certificates.crt".into() }
    }
}

/// The CA above issuing CAs, if it is not a root that the authority makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamConfig {
    /// A CA in PEM files with the names of Istio's `cacerts`.
    Pem(PemUpstreamConfig),
}

/// PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PemUpstreamConfig {
    /// The folder of `ca-cert.pem`, `ca-key.pem`, `cert-chain.pem` and `root-cert.pem`. A start that finds the
    /// certificate renewed for the same key takes it in; one that finds another key than before prepares that CA, and
    /// `secctl ca activate` lets it sign.
    pub folder: PathBuf,
}

/// How much one caller may ask for in a second, and as much at once; a call above it waits for up to a second, then is
/// refused with `ResourceExhausted`. 0 for no limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Attestations from one address that fail. Those that succeed are not counted, and a token that lets its node in
    /// does so above the limit: many nodes may share an address.
    pub failed_attestations: u32,
    /// SVIDs for one agent: its own and those of its workloads.
    pub signatures: u32,
    /// Status reports of one agent.
    pub status_reports: u32,
}

/// What is cleared away every five minutes. Entries that have expired are deleted at the next turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PruningConfig {
    /// How long after its SVID ended an agent is forgotten; `null` for never. One that is banned never is.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "Option<String>")]
    pub agents_expired_for: Option<Duration>,
}

impl Default for PruningConfig {
    fn default() -> Self {
        Self { agents_expired_for: Some(Duration::from_secs(30 * 24 * 3600)) }
    }
}

fn default_listen() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081)
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { failed_attestations: 10, signatures: 500, status_reports: 10 }
    }
}

impl Config {
    /// What has no default, and the defaults for all the rest.
    #[must_use]
    pub fn minimal(trust_domain: TrustDomain, data_dir: PathBuf, wrapping_key: WrappingKeySource) -> Self {
        Self {
            trust_domain,
            data_dir,
            wrapping_key,
            listen: default_listen(),
            server_names: Vec::new(),
            admin_socket: None,
            workload_api: WorkloadApiConfig::default(),
            federation: FederationConfig::default(),
            database: DatabaseConfig::default(),
            keys: KeysConfig::default(),
            upstream: None,
            validity: ValidityConfig::default(),
            rotation: RotationConfig::default(),
            jwt: JwtConfig::default(),
            limits: LimitsConfig::default(),
            connections: ConnectionsConfig::default(),
            pruning: PruningConfig::default(),
            insecure: false,
            insecure_beyond_loopback: false,
            log: LogConfig::default(),
            operations: OperationsConfig::default(),
            telemetry: TelemetryConfig::default(),
            crl: CrlConfig::default(),
        }
    }

    /// Reads a file, puts the environment over it, and checks the result.
    ///
    /// # Errors
    /// When the file cannot be read, a key is unknown or missing, or values contradict one another.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        // A variable of this name can only hold the key itself (`wrapping_key: {env: CA_DAEMON_WRAPPING_KEY}`). Read
        // as a setting it would be refused, and shown.
        let config: Self = load(path, ENV_PREFIX, &["wrapping_key"])?;
        config.check()?;
        Ok(config)
    }

    /// Checks that the values fit together.
    ///
    /// # Errors
    /// Names the value and what to change.
    pub fn check(&self) -> Result<(), ConfigError> {
        let refuse = |key: &'static str, reason: String| Err(ConfigError::Invalid { key, reason });
        self.check_listeners()?;
        if let Some(fault) = self.connections.fault() {
            return refuse(connections::SECTION, fault);
        }
        if let Err(error) = self.log.check() {
            return refuse("log.filter", error.to_string());
        }
        if let Err(reason) = self.keys.check(matches!(self.database, DatabaseConfig::Postgres(_))) {
            return refuse("keys", reason.into());
        }
        self.check_lifetimes()
    }

    /// The folder of the CA in PEM files, if there is one.
    #[must_use]
    pub fn upstream_folder(&self) -> Option<&Path> {
        self.upstream.as_ref().map(|UpstreamConfig::Pem(pem)| pem.folder.as_path())
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Values contradict one another.
    #[error("the configuration's `{key}` is not usable: {reason}")]
    Invalid {
        /// The key.
        key: &'static str,
        /// What is wrong.
        reason: String,
    },
}
