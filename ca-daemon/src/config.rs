//! The configuration of the daemon: a YAML file, with every key also settable by an environment variable.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use schemars::JsonSchema;
use secplane_configuration::{LoadError, load, logging::LogConfig};
use secplane_identity::{SpiffeId, TrustDomain};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnectOptions;

use crate::{
    authority::{DnsName, Lifetimes},
    jwt_svids::JwtSettings,
    keys::{KeyStorage, KeyStorageKind, KeysConfig, WrappingKeySource},
    lifecycle::{AuthorityLifetimes, LifecycleSettings, PartOfLife, Schedule},
    store::{Store, StoreLocation},
};

const MINUTE: Duration = Duration::from_secs(60);

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

/// Certificate revocation lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CrlConfig {
    /// How long a list is valid, from 5 minutes to 30 days. A new one is made when half of it is over, and at once when
    /// something is revoked.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub validity: Duration,
}

/// The listener for operations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OperationsConfig {
    /// Where `/live`, `/ready`, `/metrics`, `/crl/` and `/bundle` are served, without TLS. Port 0 takes a free one;
    /// `null` turns it off.
    #[schemars(with = "Option<String>")]
    pub listen: Option<SocketAddr>,
}

/// Telemetry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// OpenTelemetry by OTLP over gRPC.
    pub otlp: OtlpConfig,
}

/// A collector of traces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpConfig {
    /// The collector that traces are sent to, such as `http://127.0.0.1:4317`. Without it there are none.
    pub endpoint: Option<String>,
}

/// The database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DatabaseConfig {
    /// A file in `data_dir`, for one daemon.
    Sqlite(SqliteConfig),
    /// A PostgreSQL server, for any number of replicas.
    Postgres(PostgresConfig),
}

/// SQLite has nothing to configure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqliteConfig {}

/// PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// Such as `postgres://ca@db.example.org/ca?sslmode=verify-full&sslrootcert=/etc/ca/db.pem`, without a password.
    pub url: String,
    /// Where the password comes from, if the server asks for one.
    #[serde(default)]
    pub password: Option<WrappingKeySource>,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self::Sqlite(SqliteConfig::default())
    }
}

/// The Workload API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WorkloadApiConfig {
    /// Its Unix socket, which every user may open. Default: `workload.sock` in `data_dir`'s parent folder.
    pub socket: Option<PathBuf>,
    /// The path of the agent's SPIFFE ID: the parent of the entries that are served here.
    pub agent_path: String,
    /// How long the first call of a workload waits for its registration entry, which is often created when the
    /// workload is started. At most a minute; `0s` answers at once.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub hold: Duration,
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

/// Lifetimes. Text such as `1h`, `90s`, `30d`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ValidityConfig {
    /// Of the root, when the first start makes it.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub root: Duration,
    /// Of an issuing CA. It is renewed at half of it.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub issuing_ca: Duration,
    /// Of an X.509-SVID, unless its entry says otherwise.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub x509_svid: Duration,
    /// Of a node agent's own X.509-SVID.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub agent: Duration,
    /// Of a server certificate, unless the admin says otherwise.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub server: Duration,
    /// Of a client certificate, unless the admin says otherwise.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub client: Duration,
    /// The longest lifetime that anyone may ask for. None is longer than what is left of the issuing CA.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub longest: Duration,
}

/// When roots and JWT keys are replaced, by their age. `secctl ca rotate` does it at any time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RotationConfig {
    /// The part of its life, between 0 and 1, after which a root or JWT key gets a successor in the trust bundle.
    pub prepare_at: PartOfLife,
    /// The part of its life after which the successor signs instead of it.
    pub activate_at: PartOfLife,
    /// How long a successor is in the trust bundle before it may sign: as long as those who poll the bundle may take.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub publish_ahead: Duration,
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
    /// The folder of `ca-cert.pem`, `ca-key.pem`, `cert-chain.pem` and `root-cert.pem`. A start that finds another key
    /// in it than before prepares that CA; `secctl ca activate` lets it sign.
    pub folder: PathBuf,
}

/// JWT-SVIDs. Durations as in `validity`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JwtConfig {
    /// What tokens name as their issuer (`iss`), such as the URL where their keys can be fetched. Default: nothing.
    pub issuer: Option<String>,
    /// Of a key that signs tokens. No token outlives it.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub key_validity: Duration,
    /// Of a token, unless its entry says otherwise.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub svid_validity: Duration,
}

/// How much one caller may ask for in a second, and as much at once; a call above it waits for up to a second, then is
/// refused with `ResourceExhausted`. 0 for no limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Attestations from one address that fail. Those that succeed are not counted: many nodes may share an address.
    pub failed_attestations: u32,
    /// SVIDs for one agent: its own and those of its workloads.
    pub signatures: u32,
    /// Status reports of one agent.
    pub status_reports: u32,
}

fn default_listen() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081)
}

impl Default for WorkloadApiConfig {
    fn default() -> Self {
        Self { socket: None, agent_path: "/spire/agent/local".to_owned(), hold: Duration::from_secs(2) }
    }
}

impl Default for OperationsConfig {
    fn default() -> Self {
        Self { listen: Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8082)) }
    }
}

impl Default for JwtConfig {
    fn default() -> Self {
        Self {
            issuer: None,
            key_validity: Duration::from_secs(24 * 3600),
            svid_validity: Duration::from_secs(5 * 60),
        }
    }
}

impl Default for CrlConfig {
    fn default() -> Self {
        Self { validity: Duration::from_secs(24 * 3600) }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { failed_attestations: 10, signatures: 500, status_reports: 10 }
    }
}

impl Default for ValidityConfig {
    fn default() -> Self {
        const HOUR: u64 = 3600;
        const DAY: u64 = 24 * HOUR;
        Self {
            // Ten years as humantime counts them: 365.25 days each.
            root: Duration::from_secs(10 * 31_557_600),
            issuing_ca: Duration::from_secs(DAY),
            x509_svid: Duration::from_secs(HOUR),
            agent: Duration::from_secs(HOUR),
            server: Duration::from_secs(HOUR),
            client: Duration::from_secs(HOUR),
            longest: Duration::from_secs(DAY),
        }
    }
}

impl Default for RotationConfig {
    fn default() -> Self {
        Self {
            prepare_at: PartOfLife::thousandths(500),
            activate_at: PartOfLife::thousandths(833),
            // The refresh hint of the trust bundle.
            publish_ahead: Duration::from_secs(300),
        }
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
        if let Err(error) = self.agent_id() {
            return refuse("workload_api.agent_path", error.to_string());
        }
        if self.workload_api.hold > Duration::from_secs(60) {
            return refuse("workload_api.hold", "it is longer than a minute".into());
        }
        if let Err(error) = self.dns_names() {
            return refuse("server_names", error.to_string());
        }
        if let Err(error) = self.log.check() {
            return refuse("log.filter", error.to_string());
        }
        if let Some(endpoint) = &self.telemetry.otlp.endpoint
            && !endpoint.starts_with("http://")
        {
            return refuse(
                "telemetry.otlp.endpoint",
                format!("`{endpoint}` does not begin with http://; name a collector on this machine"),
            );
        }
        for (key, socket) in
            [("admin_socket", self.admin_socket()), ("workload_api.socket", self.workload_api_socket())]
        {
            if let Some(reason) = unreachable_socket(&socket) {
                return refuse(key, reason);
            }
        }
        if let Err(reason) = self.keys.check(matches!(self.database, DatabaseConfig::Postgres(_))) {
            return refuse("keys", reason.into());
        }
        let v = &self.validity;
        for (key, lifetime) in [
            ("validity.x509_svid", v.x509_svid),
            ("validity.agent", v.agent),
            ("validity.server", v.server),
            ("validity.client", v.client),
            ("validity.longest", v.longest),
        ] {
            if lifetime < Duration::from_secs(1) {
                return refuse(key, "it is shorter than a second".into());
            }
            if lifetime > v.issuing_ca {
                return refuse(key, "it is longer than validity.issuing_ca, which no leaf outlives".into());
            }
        }
        if self.jwt.svid_validity < Duration::from_secs(1) {
            return refuse("jwt.svid_validity", "it is shorter than a second".into());
        }
        if self.jwt.svid_validity > v.longest {
            return refuse("jwt.svid_validity", "it is longer than validity.longest".into());
        }
        if self.jwt.svid_validity > self.jwt.key_validity / 2 {
            return refuse("jwt.svid_validity", "it is longer than half of jwt.key_validity".into());
        }
        if self.jwt.issuer.as_ref().is_some_and(|issuer| issuer.is_empty() || issuer.len() > 2048) {
            return refuse("jwt.issuer", "it is empty or longer than 2048 bytes".into());
        }
        if v.agent > v.longest {
            return refuse("validity.agent", "it is longer than validity.longest".into());
        }
        if v.issuing_ca > v.root / 2 {
            return refuse("validity.issuing_ca", "it is longer than half of validity.root".into());
        }
        if v.root > Duration::from_secs(100 * 365 * 24 * 3600) {
            return refuse("validity.root", "it is longer than 100 years".into());
        }
        if !(MINUTE * 5..=MINUTE * 60 * 24 * 30).contains(&self.crl.validity) {
            return refuse("crl.validity", "it is not between 5 minutes and 30 days".into());
        }
        if self.rotation.prepare_at >= self.rotation.activate_at {
            return refuse("rotation.prepare_at", "it is not before rotation.activate_at".into());
        }
        if self.jwt.svid_validity < Duration::from_secs(1) {
            return refuse("jwt.svid_validity", "it is shorter than a second".into());
        }
        if self.jwt.svid_validity > self.jwt.key_validity / 2 {
            return refuse("jwt.svid_validity", "it is longer than half of jwt.key_validity".into());
        }
        if self.insecure && !self.listen.ip().is_loopback() && !self.insecure_beyond_loopback {
            return refuse(
                "insecure",
                format!(
                    "`listen` is {}, which is not loopback; without TLS everyone who reaches it is an admin. \
                     Listen on 127.0.0.1, or set insecure_beyond_loopback",
                    self.listen
                ),
            );
        }
        Ok(())
    }

    /// The SPIFFE ID of the agent that serves this machine's workloads.
    ///
    /// # Errors
    /// When the configured path is not one.
    pub fn agent_id(&self) -> Result<SpiffeId, secplane_identity::spiffe_id::SpiffeIdError> {
        SpiffeId::from_parts(&self.trust_domain, &self.workload_api.agent_path)
    }

    /// The DNS names of the server's own certificate.
    ///
    /// # Errors
    /// When one is not a DNS name.
    pub fn dns_names(&self) -> Result<Vec<DnsName>, crate::authority::NameError> {
        self.server_names.iter().map(|name| DnsName::parse(name)).collect()
    }

    /// Where the admin socket is.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.admin_socket.clone().unwrap_or_else(|| self.data_dir.join("admin.sock"))
    }

    /// Where the Workload API's socket is.
    #[must_use]
    pub fn workload_api_socket(&self) -> PathBuf {
        self.workload_api
            .socket
            .clone()
            .unwrap_or_else(|| self.data_dir.parent().unwrap_or(&self.data_dir).join("workload.sock"))
    }

    /// Where the database is, and how to log in.
    ///
    /// # Errors
    /// When the URL is not one, or holds a password, which would be printed with the configuration.
    pub fn store_location(&self) -> Result<StoreLocation, ConfigError> {
        let invalid = |reason: String| ConfigError::Invalid { key: "database.postgres", reason };
        let config = match &self.database {
            DatabaseConfig::Sqlite(_) => return Ok(StoreLocation::Sqlite(self.data_dir.join("ca.db"))),
            DatabaseConfig::Postgres(config) => config,
        };
        let after_scheme = config.url.split_once("://").map(|(_, rest)| rest).unwrap_or_default();
        let login = after_scheme.split(['/', '?']).next().and_then(|authority| authority.rsplit_once('@'));
        if login.is_some_and(|(login, _)| login.contains(':')) || after_scheme.contains("password=") {
            return Err(invalid(
                "its `url` holds a password; give it by `password: {file: …}` instead".into(),
            ));
        }
        let mut options: PgConnectOptions = config
            .url
            .parse()
            .map_err(|error: sqlx::Error| invalid(format!("its `url` is no URL of a database: {error}")))?;
        if let Some(source) = &config.password {
            let password = source.read_text().map_err(|error| invalid(error.to_string()))?;
            options = options.password(password.trim_end_matches(['\r', '\n']));
        }
        Ok(StoreLocation::Postgres(Box::new(options)))
    }

    /// The folder of the CA in PEM files, if there is one.
    #[must_use]
    pub fn upstream_folder(&self) -> Option<&Path> {
        self.upstream.as_ref().map(|UpstreamConfig::Pem(pem)| pem.folder.as_path())
    }

    /// How JWT-SVIDs are made.
    #[must_use]
    pub fn jwt_settings(&self) -> JwtSettings {
        JwtSettings {
            issuer: self.jwt.issuer.clone(),
            lifetime: self.jwt.svid_validity,
            longest: self.validity.longest,
        }
    }

    /// Where private keys are kept, `store` being the database.
    #[must_use]
    pub fn key_storage(&self, store: &Store) -> KeyStorage {
        let by_default = match self.database {
            DatabaseConfig::Sqlite(_) => KeyStorageKind::File,
            DatabaseConfig::Postgres(_) => KeyStorageKind::Database,
        };
        match self.keys.storage.unwrap_or(by_default) {
            KeyStorageKind::Memory => KeyStorage::Memory,
            KeyStorageKind::Pkcs11 if by_default == KeyStorageKind::Database => {
                KeyStorage::Database(store.clone())
            }
            KeyStorageKind::Database => KeyStorage::Database(store.clone()),
            KeyStorageKind::File | KeyStorageKind::Pkcs11 => KeyStorage::Files(self.data_dir.join("keys")),
        }
    }

    /// The lifetimes of authorities.
    #[must_use]
    pub fn authority_lifetimes(&self) -> AuthorityLifetimes {
        AuthorityLifetimes {
            root: self.validity.root,
            issuing: self.validity.issuing_ca,
            jwt_key: self.jwt.key_validity,
        }
    }

    /// How roots and JWT keys go on.
    #[must_use]
    pub fn lifecycle(&self) -> LifecycleSettings {
        let RotationConfig { prepare_at, activate_at, publish_ahead } = self.rotation;
        LifecycleSettings {
            schedule: Schedule { prepare_at, activate_at, publish_ahead },
            longest_jwt_svid: self.jwt_settings().longest,
        }
    }

    /// The lifetimes of leaves.
    #[must_use]
    pub fn lifetimes(&self) -> Lifetimes {
        let v = &self.validity;
        Lifetimes { x509_svid: v.x509_svid, server: v.server, client: v.client, longest: v.longest }
    }
}

/// Why clients could not name a Unix socket in the address that they are given (`unix:///path`): it is a URI, and
/// gRPC and SPIFFE libraries differ in what they do with the rest.
#[must_use]
pub fn unreachable_socket(path: &Path) -> Option<String> {
    /// `sun_path` with its final zero (unix(7)), less the `.new` that it is bound under.
    const MAX_BYTES: usize = 107 - 4;
    let shown = path.display();
    let Some(text) = path.to_str() else {
        return Some(format!("{shown} is not UTF-8"));
    };
    let is_fit = |c: char| c.is_ascii_graphic() && !matches!(c, '%' | '?' | '#' | '\\' | '"' | '<' | '>');
    if let Some(unfit) = text.chars().find(|c| !is_fit(*c)) {
        return Some(format!(
            "{shown} holds {unfit:?}, which clients cannot write in a socket address; choose a path of letters, digits and -._/"
        ));
    }
    if text.len() > MAX_BYTES {
        return Some(format!(
            "{shown} has {} bytes, and a socket's path has at most {MAX_BYTES}",
            text.len()
        ));
    }
    None
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
