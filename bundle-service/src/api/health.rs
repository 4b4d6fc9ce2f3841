//! Liveness, readiness and metrics, for whoever watches over the process.

use std::{sync::Arc, time::SystemTime};

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{StatusCode, header};
use secplane_identity::{IdentitySource, serve::ReachedLimits};
use serde_json::json;

use crate::{catalog::Catalog, kubernetes::SourceHealth, metrics::Metrics, source::reach::Reach};

/// The format of the metrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the handlers look at.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    pub(crate) catalog: Catalog,
    pub(crate) identity: IdentitySource,
    /// Of the API server that policies come from, if they do.
    pub(crate) cluster: Option<SourceHealth>,
    /// Of the folder and the repository that policies come from.
    pub(crate) reaches: Vec<Reach>,
    pub(crate) metrics: Arc<Metrics>,
    /// Of connections to every listener over TCP, the webhook's apart.
    pub(crate) reached: ReachedLimits,
}

/// The router of the health listener.
pub(crate) fn router(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn ready(State(health): State<Health>) -> Response {
    let mut missing = Vec::new();
    if !health.catalog.is_ready() {
        missing.push("the policies have not been read yet".to_owned());
        missing.extend(health.reaches.iter().filter_map(Reach::missing));
        missing.extend(health.cluster.iter().flat_map(SourceHealth::missing));
    }
    if health.identity.current().expires_at().is_none_or(|expiry| expiry <= SystemTime::now()) {
        missing.push("the service's own certificate has expired and no new one came".to_owned());
    }
    match missing.is_empty() {
        true => {
            let reaches = health.reaches.iter().filter_map(|reach| reach.note(SystemTime::now()));
            fine(reaches.chain(health.cluster.iter().flat_map(SourceHealth::notes)))
        }
        false => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "not_ready": missing }))).into_response(),
    }
}

/// What is to be noted does not keep the service from being ready.
fn fine(notes: impl Iterator<Item = String>) -> Response {
    notes.fold("ok\n".to_owned(), |text, note| text + &note + "\n").into_response()
}

async fn metrics(State(health): State<Health>) -> Response {
    health.metrics.set_limits_reached(&health.reached);
    match health.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
