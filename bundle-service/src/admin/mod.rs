//! The administrator's interface, on a Unix socket of its own: look back, go back, let go.
//!
//! | module | holds |
//! |---|---|
//! | [`wire`] | the questions and answers |
//! | [`socket`] | who may ask |
//! | `answers` | what they come to |
//! | `timeline` | what an identity had when |

mod answers;
pub mod socket;
mod timeline;
pub mod wire;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{
        ConnectInfo, DefaultBodyLimit, FromRequestParts, Query, Request, State,
        rejection::{JsonRejection, QueryRejection},
    },
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::StatusCode;
use serde::Serialize;

use crate::{catalog::Catalog, history::query::QueryError, kubernetes::Shared, refusal::Refusal};
use socket::LocalUser;
use wire::{ErrorAnswer, ErrorBody, HistoryQuery, ReleaseRequest, RollbackRequest, SnapshotQuery};

/// The largest question. They name things and give a reason.
const MAX_QUESTION_BYTES: usize = 64 * 1024;
/// The longest reason.
pub(crate) const MAX_REASON_BYTES: usize = 1024;

/// What administrators ask and change.
#[derive(Debug, Clone)]
pub(crate) struct Administered {
    pub(crate) catalog: Catalog,
    /// Whom to tell whose verdict may be another one by a choice.
    pub(crate) judged: Option<Arc<Shared>>,
}

/// The router of the admin socket.
pub(crate) fn router(administered: Administered) -> Router {
    Router::new()
        .route("/v1/history", get(history))
        .route("/v1/snapshot", get(snapshot))
        .route("/v1/rollback", post(rollback))
        .route("/v1/release", post(release))
        .fallback(async || AdminFailure::NotFound("there is nothing under this address".to_owned()))
        .with_state(administered)
        .layer(DefaultBodyLimit::max(MAX_QUESTION_BYTES))
        .layer(from_fn(only_administrators))
}

async fn only_administrators(request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let user =
        ConnectInfo::<LocalUser>::from_request_parts(&mut parts, &()).await.map(|ConnectInfo(user)| user);
    match user {
        Ok(user) if user.may_administer() => next.run(Request::from_parts(parts, body)).await,
        Ok(user) => {
            tracing::warn!(uid = user.0, "a user who may not administer asked on the admin socket");
            AdminFailure::Forbidden.into_response()
        }
        Err(_) => AdminFailure::Forbidden.into_response(),
    }
}

type Asked<Q> = Result<Query<Q>, QueryRejection>;
type Sent<B> = Result<Json<B>, JsonRejection>;

async fn history(
    State(administered): State<Administered>,
    query: Asked<HistoryQuery>,
) -> Result<Response, AdminFailure> {
    let Query(HistoryQuery { of }) = query.map_err(malformed)?;
    answered(answers::history(&administered.catalog, of).await)
}

async fn snapshot(
    State(administered): State<Administered>,
    query: Asked<SnapshotQuery>,
) -> Result<Response, AdminFailure> {
    let Query(SnapshotQuery { of, at }) = query.map_err(malformed)?;
    answered(answers::snapshot(&administered.catalog, of, at).await)
}

async fn rollback(
    State(administered): State<Administered>,
    ConnectInfo(user): ConnectInfo<LocalUser>,
    request: Sent<RollbackRequest>,
) -> Result<Response, AdminFailure> {
    let Json(RollbackRequest { of, to, reason }) = request.map_err(malformed)?;
    answered(answers::rollback(&administered, of, to, by(user, &reason)?).await)
}

async fn release(
    State(administered): State<Administered>,
    ConnectInfo(user): ConnectInfo<LocalUser>,
    request: Sent<ReleaseRequest>,
) -> Result<Response, AdminFailure> {
    let Json(ReleaseRequest { of, reason }) = request.map_err(malformed)?;
    answered(answers::release(&administered, of, by(user, &reason)?).await)
}

/// Who does something, and why, as the history keeps it.
fn by(LocalUser(uid): LocalUser, reason: &str) -> Result<String, AdminFailure> {
    let reason = reason.trim();
    if reason.is_empty() || reason.len() > MAX_REASON_BYTES {
        let message = format!(
            "the reason has {} bytes; it has at least 1 and at most {MAX_REASON_BYTES}",
            reason.len()
        );
        return Err(AdminFailure::Malformed(message));
    }
    let who = uid.map_or_else(|| "an unknown user".to_owned(), |uid| format!("user {uid}"));
    Ok(format!("{who}: {reason}"))
}

fn answered(answer: Result<impl Serialize, AdminFailure>) -> Result<Response, AdminFailure> {
    Ok(Json(answer?).into_response())
}

fn malformed(rejection: impl std::fmt::Display) -> AdminFailure {
    AdminFailure::Malformed(rejection.to_string())
}

/// Why an administrator gets no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminFailure {
    #[error("only root and the user of the service may administer it")]
    Forbidden,
    #[error("{0}")]
    Malformed(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{}", lines(.0))]
    Refused(Vec<Refusal>),
    #[error("{0}")]
    Unavailable(String),
}

fn lines(refusals: &[Refusal]) -> String {
    refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl From<QueryError> for AdminFailure {
    fn from(error: QueryError) -> Self {
        match &error {
            QueryError::History(_) => Self::Unavailable(error.to_string()),
            QueryError::Unknown(_) => Self::NotFound(error.to_string()),
            QueryError::Ambiguous(_) | QueryError::Denied(_) => Self::Malformed(error.to_string()),
        }
    }
}

impl IntoResponse for AdminFailure {
    fn into_response(self) -> Response {
        let (status, code) = match &self {
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            Self::Refused(_) => (StatusCode::CONFLICT, "refused"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        let error = ErrorBody { code: code.to_owned(), message: self.to_string() };
        (status, Json(ErrorAnswer { error })).into_response()
    }
}

#[cfg(test)]
mod tests;
