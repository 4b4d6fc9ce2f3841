//! Where a Workload API is (SPIFFE Workload Endpoint, section 4).

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::{Channel, Endpoint};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// The address of a Workload API.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Address {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl Address {
    /// Reads `unix:/path` or `tcp:ip:port`, with or without `//` after the scheme.
    fn parse(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix("unix:") {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            let is_path = path.starts_with('/') && path.len() > 1 && !path.contains(['?', '#', '\0']);
            return is_path.then(|| Self::Unix(path.into()));
        }
        let rest = text.strip_prefix("tcp:")?;
        rest.strip_prefix("//").unwrap_or(rest).parse().ok().map(Self::Tcp)
    }
}

/// Connects to the Workload API at an address.
pub(super) async fn connect(endpoint: &str) -> Result<Channel, EndpointError> {
    let address = Address::parse(endpoint).ok_or_else(|| EndpointError::Address(endpoint.to_owned()))?;
    // The name is never looked up: the connectors know where to go.
    let channel = Endpoint::from_static("http://workload-api")
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_while_idle(true);
    let connected = match address {
        Address::Unix(path) => {
            let connect = move |_: http::Uri| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            };
            channel.connect_with_connector(tower::service_fn(connect)).await
        }
        Address::Tcp(address) => {
            let connect =
                move |_: http::Uri| async move { TcpStream::connect(address).await.map(TokioIo::new) };
            channel.connect_with_connector(tower::service_fn(connect)).await
        }
    };
    connected.map_err(|error| EndpointError::Unreachable {
        endpoint: endpoint.to_owned(),
        reason: innermost(&error),
    })
}

/// tonic says "transport error"; what lies below says what happened.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// Why a Workload API cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The text is no address.
    #[error("`{0}` is not the address of a Workload API; write `unix:/path/to/socket` or `tcp:ip:port`")]
    Address(String),
    /// Nobody answers there.
    #[error("the Workload API at {endpoint} cannot be reached: {reason}; is the agent running?")]
    Unreachable {
        /// Where.
        endpoint: String,
        /// Why.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("unix:/run/agent.sock", Address::Unix("/run/agent.sock".into()))]
    #[case("unix:///run/agent.sock", Address::Unix("/run/agent.sock".into()))]
    #[case("tcp:127.0.0.1:8082", Address::Tcp(([127, 0, 0, 1], 8082).into()))]
    #[case("tcp://[::1]:8082", Address::Tcp((std::net::Ipv6Addr::LOCALHOST, 8082).into()))]
    fn accepts_valid(#[case] text: &str, #[case] address: Address) {
        assert_eq!(Address::parse(text), Some(address));
    }

    #[rstest]
    #[case("")]
    #[case("/run/agent.sock")]
    #[case("unix:run/agent.sock")]
    #[case("unix://host/run/agent.sock")]
    #[case("unix:/")]
    #[case("unix:/a?b")]
    #[case("tcp:localhost:8082")]
    #[case("tcp:127.0.0.1")]
    #[case("tcp://127.0.0.1:8082/a")]
    #[case("https://127.0.0.1:8082")]
    fn rejects_invalid(#[case] text: &str) {
        assert_eq!(Address::parse(text), None);
    }
}
