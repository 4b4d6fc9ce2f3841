//! Where others reach the daemon, and where it reaches them to tell of itself.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use schemars::JsonSchema;
use secplane_identity::SpiffeId;
use serde::{Deserialize, Serialize};

use super::{Config, ConfigError};
use crate::authority::DnsName;

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

impl Config {
    /// Checks that clients can reach what is listened on, and that only those do who should.
    pub(super) fn check_listeners(&self) -> Result<(), ConfigError> {
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
