//! `GET` and `HEAD` of bundles. The certificate decides whose.

use std::sync::Arc;

use axum::{
    Extension, Router,
    body::{Body, Bytes},
    extract::{Path, Query, State, rejection::QueryRejection},
    middleware::{from_fn, map_response_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use secplane_identity::{SpiffeId, serve::Connection};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{
    conditional::{holds, wait},
    failure::Failure,
    limits::limit,
};
use crate::{
    catalog::Catalog,
    compile::Bundle,
    metrics::{Answer, Held, Metrics},
};

/// With any other type OPA gives up long polling.
const CONTENT_TYPE: &str = "application/vnd.openpolicyagent.bundles";
const SCHEME: &str = "spiffe://";

/// What the handlers share.
#[derive(Debug, Clone)]
pub(crate) struct Bundles {
    pub(crate) catalog: Catalog,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) size_limit: usize,
}

/// The router of the bundle listener.
pub(crate) fn router(bundles: Bundles) -> Router {
    let metrics = Arc::clone(&bundles.metrics);
    Router::new()
        .route("/bundles", get(unnamed).fallback(async || Failure::Method))
        .route("/bundles/{*name}", get(named).fallback(async || Failure::Method))
        .fallback(async || Failure::NotFound)
        .with_state(bundles)
        .layer(from_fn(limit))
        .layer(map_response_with_state(metrics, count))
}

async fn count(State(metrics): State<Arc<Metrics>>, response: Response) -> Response {
    metrics.requests.get_or_create(&Answer { code: response.status().as_u16() }).inc();
    response
}

type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

async fn unnamed(
    State(bundles): State<Bundles>,
    Extension(connection): Extension<Connection>,
    method: Method,
    headers: HeaderMap,
    query: Pairs,
) -> Result<Response, Failure> {
    let id = own_identity(&connection, query)?;
    bundles.answer(&id, &method, &headers).await
}

/// The name of the resource is the client's choice and says nothing, unless it says that it is somebody else.
async fn named(
    State(bundles): State<Bundles>,
    Extension(connection): Extension<Connection>,
    Path(name): Path<String>,
    method: Method,
    headers: HeaderMap,
    query: Pairs,
) -> Result<Response, Failure> {
    let id = own_identity(&connection, query)?;
    if name.starts_with(SCHEME) && name != id.as_str() {
        return Err(Failure::OtherIdentity(id));
    }
    bundles.answer(&id, &method, &headers).await
}

/// The identity of the certificate. The query may name it too, with or without its scheme, and nobody else.
fn own_identity(connection: &Connection, query: Pairs) -> Result<SpiffeId, Failure> {
    let own = connection.peer.spiffe_id().ok_or(Failure::NoIdentity)?;
    let Query(pairs) = query.map_err(|error| Failure::MalformedQuery(error.body_text()))?;
    for (name, value) in &pairs {
        if name != "spiffe" {
            continue;
        }
        let text = match value.starts_with(SCHEME) {
            true => value.clone(),
            false => format!("{SCHEME}{value}"),
        };
        let named = SpiffeId::parse(&text).map_err(|error| Failure::MalformedId(error.to_string()))?;
        if named != *own {
            tracing::info!(%own, %named, address = %connection.address, "a bundle of another identity was asked for");
            return Err(Failure::OtherIdentity(own.clone()));
        }
    }
    Ok(own.clone())
}

impl Bundles {
    async fn answer(&self, id: &SpiffeId, method: &Method, headers: &HeaderMap) -> Result<Response, Failure> {
        if !self.catalog.is_ready() {
            return Err(Failure::NotReady);
        }
        let mut current = self.catalog.subscribe(id).await.map_err(|_| Failure::NotReady)?;
        let mut bundle = current.borrow_and_update().clone();
        if holds(headers, &bundle.etag()) {
            let changed = match wait(headers).filter(|_| method == Method::GET) {
                Some(wait) => {
                    let _held = Held::count(&self.metrics.held_polls);
                    other_bundle(&mut current, headers, Instant::now() + wait).await
                }
                None => None,
            };
            match changed {
                Some(other) => bundle = other,
                None => return Ok(not_modified(&bundle)),
            }
        }
        let archive = bundle.bytes();
        let size = archive.len();
        if size > self.size_limit {
            return Err(Failure::BundleTooLarge { size, limit: self.size_limit });
        }
        Ok(whole(&bundle, archive))
    }
}

/// Waits for a bundle that the sender does not hold. Nothing is answered before: OPA would take an early answer as
/// the end of the poll and come back at once. At shutdown the connection ends under the poll.
async fn other_bundle(
    current: &mut watch::Receiver<Arc<Bundle>>,
    headers: &HeaderMap,
    until: Instant,
) -> Option<Arc<Bundle>> {
    loop {
        // The sender lives as long as the catalog, which outlives every request.
        timeout_at(until, current.changed()).await.ok()?.ok()?;
        let bundle = current.borrow_and_update().clone();
        if !holds(headers, &bundle.etag()) {
            return Some(bundle);
        }
    }
}

fn whole(bundle: &Bundle, archive: Bytes) -> Response {
    let mut response = Response::new(Body::from(archive));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    tagged(response, bundle)
}

fn not_modified(bundle: &Bundle) -> Response {
    let mut response = StatusCode::NOT_MODIFIED.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    tagged(response, bundle)
}

fn tagged(mut response: Response, bundle: &Bundle) -> Response {
    let headers = response.headers_mut();
    // An answer without a tag would leave OPA with the one before.
    if let Ok(etag) = HeaderValue::try_from(bundle.etag()) {
        headers.insert(header::ETAG, etag);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
