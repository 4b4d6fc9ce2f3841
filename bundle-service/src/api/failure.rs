//! The one shape of an error: a status and a small JSON object that says what to do.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use secplane_identity::SpiffeId;
use serde_json::json;

/// Why a request is not answered with a bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    #[error("`spiffe` is not a SPIFFE ID: {0}")]
    MalformedId(String),
    #[error("the query of the request cannot be read: {0}")]
    MalformedQuery(String),
    #[error("the client's certificate names no SPIFFE ID; connect with an X.509-SVID")]
    NoIdentity,
    #[error(
        "this certificate is that of {0}, which gets no bundle but its own; leave `spiffe` out, or name that ID"
    )]
    OtherIdentity(SpiffeId),
    #[error("there is nothing here; bundles are at /bundles/<name> and /bundles?spiffe=<ID>")]
    NotFound,
    #[error("only GET and HEAD are answered here")]
    Method,
    #[error("the request's body took too long to arrive")]
    SlowBody,
    #[error(
        "the bundle has {size} bytes and {limit} are allowed; shorten the policies or raise bundle_size_limit"
    )]
    BundleTooLarge { size: usize, limit: usize },
    #[error("the body of the request is larger than {0} bytes; a bundle request needs none")]
    BodyTooLarge(usize),
    #[error("the request's address is longer than {0} bytes")]
    AddressTooLong(usize),
    #[error("the policies have not been read yet; try again in a moment")]
    NotReady,
}

impl Failure {
    fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::MalformedId(_) | Self::MalformedQuery(_) => (StatusCode::BAD_REQUEST, "malformed"),
            Self::NoIdentity | Self::OtherIdentity(_) => (StatusCode::FORBIDDEN, "forbidden"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::SlowBody => (StatusCode::REQUEST_TIMEOUT, "timeout"),
            Self::BundleTooLarge { .. } | Self::BodyTooLarge(_) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too_large")
            }
            Self::AddressTooLong(_) => (StatusCode::URI_TOO_LONG, "too_long"),
            Self::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, code) = self.status();
        let body = Json(json!({ "error": { "code": code, "message": self.to_string() } }));
        let mut response = (status, [("cache-control", "no-store")], body).into_response();
        if self == Self::Method {
            response.headers_mut().insert(http::header::ALLOW, http::HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}
