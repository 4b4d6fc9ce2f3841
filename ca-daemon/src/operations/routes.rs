//! What the listener for operations answers.
//!
//! | path | answers |
//! |---|---|
//! | `/live` | 200 for as long as the process serves |
//! | `/ready` | 200 when the daemon can do its work, else 503; JSON with the reasons |
//! | `/metrics` | the metrics, as Prometheus reads them |
//! | `/crl/<issuer's key ID>.crl` | the current revocation list of an issuing CA, DER |
//! | `/bundle` | the trust bundle as a SPIFFE bundle document |

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, StatusCode, header};
use serde_json::json;

use super::{Readiness, bundle, metrics, observations::Observations, revocation_list};

/// What the answers are made of.
pub struct Sources {
    /// Whether the daemon is ready.
    pub readiness: Arc<Readiness>,
    /// What is measured at the moment somebody asks.
    pub observations: Observations,
}

/// The routes of the listener for operations.
pub fn routes(sources: Sources) -> Router {
    Router::new()
        .route("/live", get(async || "ok\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/crl/{file}", get(list_of_issuer))
        .route("/bundle", get(trust_bundle))
        .with_state(Arc::new(sources))
}

async fn ready(State(sources): State<Arc<Sources>>) -> Response {
    let missing = sources.readiness.missing().await;
    let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": missing.is_empty(), "missing": missing }))).into_response()
}

async fn metrics(State(sources): State<Arc<Sources>>) -> Response {
    match sources.observations.encode().await {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn list_of_issuer(
    State(sources): State<Arc<Sources>>,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Response {
    let services = sources.observations.services();
    let lists = services.revoker.lists().borrow().clone();
    match revocation_list::issuer_of(&file).and_then(|key_id| lists.of_issuer(&key_id.to_ascii_lowercase())) {
        Some(list) => revocation_list::answer(&headers, list.row(), services.issuance.clock().now()),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn trust_bundle(State(sources): State<Arc<Sources>>, headers: HeaderMap) -> Response {
    let bundle = Arc::clone(&sources.observations.services().issuance.bundle().borrow());
    match bundle.to_spiffe_json() {
        Ok(document) => {
            bundle::answer(&headers, document.to_string(), bundle.sequence(), bundle.refresh_hint_seconds())
        }
        Err(error) => {
            tracing::error!(%error, "the trust bundle cannot be written as a document");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
