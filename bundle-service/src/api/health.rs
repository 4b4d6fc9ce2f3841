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
    if health.catalog.is_starting() {
        missing.push("policies that were never in force deny until their tests have run".to_owned());
    }
    if health.identity.current().expires_at().is_none_or(|expiry| expiry <= SystemTime::now()) {
        missing.push("the service's own certificate has expired and no new one came".to_owned());
    }
    match missing.is_empty() {
        true => fine(notes(&health, SystemTime::now())),
        false => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "not_ready": missing }))).into_response(),
    }
}

/// What is to be noted though the service is ready.
fn notes(health: &Health, now: SystemTime) -> Vec<String> {
    let mut notes: Vec<_> = health.reaches.iter().filter_map(|reach| reach.note(now)).collect();
    notes.extend(health.cluster.iter().flat_map(SourceHealth::notes));
    let stale = stale_lists(health, now);
    if stale > 0 {
        notes.push(format!(
            "{stale} revocation lists are out of date and no newer ones came: who was revoked since is still served"
        ));
    }
    notes
}

fn stale_lists(health: &Health, now: SystemTime) -> usize {
    health.identity.current().revocations.stale_lists(now).count()
}

fn fine(notes: Vec<String>) -> Response {
    notes.into_iter().fold("ok\n".to_owned(), |text, note| text + &note + "\n").into_response()
}

async fn metrics(State(health): State<Health>) -> Response {
    health.metrics.set_limits_reached(&health.reached);
    let stale = stale_lists(&health, SystemTime::now());
    health.metrics.stale_revocation_lists.set(i64::try_from(stale).unwrap_or(i64::MAX));
    match health.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod,
        KeyPair, KeyUsagePurpose, SerialNumber,
    };
    use secplane_identity::{IdentitySnapshot, Revocations, TrustDomain, revocation::RevocationList};

    use super::*;
    use crate::compile::Settings;

    /// A list that was to be replaced an hour before `now`.
    fn stale_list(now: SystemTime) -> RevocationList {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::CrlSign];
        let hour = Duration::from_secs(3600);
        let list = CertificateRevocationListParams {
            this_update: (now - hour * 2).into(),
            next_update: (now - hour).into(),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let signed = list.signed_by(&Issuer::new(params, KeyPair::generate().unwrap())).unwrap();
        RevocationList::parse(signed.der()).unwrap()
    }

    fn health(revocations: Revocations) -> Health {
        let snapshot = IdentitySnapshot { revocations: Arc::new(revocations), ..Default::default() };
        Health {
            catalog: Catalog::new(Settings::new(TrustDomain::parse("example.org").unwrap())),
            identity: IdentitySource::fixed(snapshot),
            cluster: None,
            reaches: Vec::new(),
            metrics: Arc::new(Metrics::new()),
            reached: ReachedLimits::default(),
        }
    }

    #[tokio::test]
    async fn tells_of_a_revocation_list_that_nobody_replaces() {
        let now = SystemTime::now();
        assert!(notes(&health(Revocations::default()), now).is_empty());
        let mut revocations = Revocations::default();
        revocations.take_lists([Arc::new(stale_list(now))], now);
        let health = health(revocations);
        let told = notes(&health, now);
        assert!(
            matches!(&told[..], [note] if note.contains("1 revocation lists are out of date")),
            "{told:?}"
        );
        let shown = metrics(State(health)).await.into_body();
        let shown = axum::body::to_bytes(shown, usize::MAX).await.unwrap();
        let shown = String::from_utf8(shown.to_vec()).unwrap();
        assert!(shown.contains("bundle_service_stale_revocation_lists 1"), "{shown}");
    }
}
