//! Speaking to the bundle service on its admin socket.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use bundle_service::admin::wire::{
    ChoiceAnswer, ErrorAnswer, HistoryAnswer, MAX_BODY_BYTES, ReleaseRequest, RollbackRequest,
    SnapshotAnswer, Target,
};
use clap::Args;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, time::timeout};

use crate::failure::{Failure, Kind};

/// Where `secctl dev` has the socket.
const DEFAULT_SOCKET: &str = "./secplane-dev/bundle.sock";
const SOCKET_VARIABLE: &str = "SECCTL_BUNDLE_ADMIN_SOCKET";
/// How long an answer may take: building tiers anew takes its time.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Where the bundle service is administered.
#[derive(Debug, Clone, Args)]
pub(crate) struct AdminOptions {
    /// The bundle service's admin socket [env: SECCTL_BUNDLE_ADMIN_SOCKET] [default: ./secplane-dev/bundle.sock]
    #[arg(long, value_name = "PATH")]
    bundle_admin_socket: Option<PathBuf>,
}

/// The bundle service, for administrators.
#[derive(Debug)]
pub(crate) struct BundleAdmin {
    socket: PathBuf,
}

impl AdminOptions {
    pub(crate) fn admin(&self) -> BundleAdmin {
        let from_environment =
            || env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        let given = self.bundle_admin_socket.clone().or_else(from_environment);
        BundleAdmin { socket: given.unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET)) }
    }
}

impl BundleAdmin {
    /// What was in force.
    pub(crate) async fn history(&self, of: &Target) -> Result<HistoryAnswer, Failure> {
        let path = format!("/v1/history?of={}", escaped(&of.to_string()));
        self.ask(format!("read the history of {of}"), Method::GET, &path, None::<&()>).await
    }

    /// What was in force at a point, with its text.
    pub(crate) async fn snapshot(&self, of: &Target, at: &str) -> Result<SnapshotAnswer, Failure> {
        let path = format!("/v1/snapshot?of={}&at={}", escaped(&of.to_string()), escaped(at));
        self.ask(format!("read {of} at {at}"), Method::GET, &path, None::<&()>).await
    }

    /// Brings back what was in force.
    pub(crate) async fn roll_back(&self, request: &RollbackRequest) -> Result<ChoiceAnswer, Failure> {
        let what = format!("roll {} back to {}", request.of, request.to);
        self.ask(what, Method::POST, "/v1/rollback", Some(request)).await
    }

    /// Lets the newest versions count again.
    pub(crate) async fn release(&self, request: &ReleaseRequest) -> Result<ChoiceAnswer, Failure> {
        self.ask(format!("release {}", request.of), Method::POST, "/v1/release", Some(request)).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        what: String,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<T, Failure> {
        let exchange = exchange(&self.socket, &what, method, path, body);
        let (status, bytes) = timeout(ANSWER_WITHIN, exchange).await.unwrap_or_else(|_| {
            Err(Failure::new(Kind::Unreachable, &what, format_args!("no answer within {ANSWER_WITHIN:?}")))
        })?;
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|error| Failure::new(Kind::Other, what, error));
        }
        let why = serde_json::from_slice::<ErrorAnswer>(&bytes).map(|answer| answer.error.message);
        let kind = match status {
            StatusCode::FORBIDDEN => Kind::Denied,
            StatusCode::NOT_FOUND => Kind::NotFound,
            StatusCode::BAD_REQUEST | StatusCode::CONFLICT => Kind::Refused,
            _ => Kind::Other,
        };
        Err(Failure::new(kind, what, why.unwrap_or_else(|_| format!("the service answered {status}"))))
    }
}

async fn exchange(
    socket: &Path,
    what: &str,
    method: Method,
    path: &str,
    body: Option<&(impl Serialize + Sync)>,
) -> Result<(StatusCode, Bytes), Failure> {
    let unreachable = |error: &dyn std::fmt::Display| {
        Failure::new(Kind::Unreachable, what, format_args!("{}: {error}", socket.display())).remedy(
            "set admin_socket in the configuration of the bundle service, and run this as its user or as root",
        )
    };
    let stream = UnixStream::connect(socket).await.map_err(|error| unreachable(&error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| unreachable(&error))?;
    let body = match body {
        Some(body) => serde_json::to_vec(body).map_err(|error| Failure::new(Kind::Other, what, error))?,
        None => Vec::new(),
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "bundle-service")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| Failure::usage(what, error))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| unreachable(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_BODY_BYTES).collect().await;
        let body = body.map_err(|error| Failure::new(Kind::Other, what, error))?;
        Ok((status, body.to_bytes()))
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        // The connection may be read to its end before its last response is.
        _ = connection => exchange.await,
    }
}

/// A value of a query: what a tier, a resource and a SPIFFE ID may hold stands as it is.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'/' | b':');
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_holds_what_is_asked_and_nothing_else() {
        assert_eq!(escaped("spiffe://example.org/ns/a/sa/b"), "spiffe://example.org/ns/a/sa/b");
        assert_eq!(escaped("1&of=global #"), "1%26of%3Dglobal%20%23");
    }
}
