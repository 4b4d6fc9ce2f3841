//! OpenTelemetry traces: one span for each gRPC call, sent by OTLP where the configuration names a collector.
//!
//! A caller's trace goes on here (W3C Trace Context: `traceparent`). Whether a call is traced is decided here alone:
//! the flags of a stranger neither hide a call nor cost anything.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::Request;
use http::HeaderMap;
use opentelemetry::{
    propagation::{Extractor, TextMapPropagator},
    trace::TracerProvider as _,
};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracerProvider},
};
use secplane_configuration::logging::BoxedLayer;
use secplane_identity::{serve::Connection, tls::Peer};
use tonic::Code;
use tracing::{Span, field::Empty};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt};
use tracing_subscriber::{Layer, filter::Targets};

use crate::api::AcceptedUnix;

/// How long the last spans may take to be sent when the daemon stops.
const LAST_SPANS: std::time::Duration = std::time::Duration::from_secs(3);
/// The spans of calls, and nothing that a library below may trace.
const TARGET: &str = "ca_daemon::calls";

/// Whether a collector is configured. Without one, no span is made at all.
static TRACED: AtomicBool = AtomicBool::new(false);

/// Traces that are being sent to a collector.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Begins to send spans to `endpoint`, such as `http://127.0.0.1:4317`. A collector that is not there loses
    /// spans and harms nothing else. Has to be called within the async runtime.
    ///
    /// # Errors
    /// When the endpoint is not one.
    pub fn start(endpoint: &str) -> Result<(Self, BoxedLayer), TracesError> {
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .build()
            .map_err(|source| TracesError { endpoint: endpoint.to_owned(), source })?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::AlwaysOn)
            .with_resource(Resource::builder().with_service_name("ca-daemon").build())
            .build();
        let layer = OpenTelemetryLayer::new(provider.tracer("ca-daemon"))
            .with_location(false)
            .with_threads(false)
            .with_filter(Targets::new().with_target(TARGET, tracing::Level::INFO));
        TRACED.store(true, Ordering::Relaxed);
        Ok((Self(provider), Box::new(layer)))
    }

    /// Sends what has not been sent yet, and ends. It waits for the network and belongs off the async runtime.
    pub fn stop(self) {
        TRACED.store(false, Ordering::Relaxed);
        if let Err(error) = self.0.shutdown_with_timeout(LAST_SPANS) {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// The span of a call, child of the caller's own span where the request names one.
pub(super) fn call_span(request: &Request) -> Span {
    if !TRACED.load(Ordering::Relaxed) {
        return Span::none();
    }
    let path = request.uri().path().trim_start_matches('/');
    let (service, method) = path.split_once('/').unwrap_or(("", path));
    let span = tracing::info_span!(
        target: TARGET,
        "call",
        otel.name = path,
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        rpc.grpc.status_code = Empty,
        enduser.id = caller(request),
    );
    let parent = TraceContextPropagator::new().extract(&Headers(request.headers()));
    // It fails only when nobody listens to the span, and then it does not matter.
    let _ = span.set_parent(parent);
    span
}

/// Says how a call ended.
pub(super) fn record_code(span: &Span, code: Code) {
    span.record("rpc.grpc.status_code", code as i32);
    // Those that are the server's fault (OpenTelemetry semantic conventions for gRPC).
    if matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    ) {
        span.record("otel.status_code", "ERROR");
    }
}

fn caller(request: &Request) -> String {
    let extensions = request.extensions();
    if let Some(connection) = extensions.get::<Connection>() {
        return match &*connection.peer {
            Peer::Svid(svid) => svid.id().to_string(),
            Peer::Certificate(verified) => format!("certificate({})", verified.certificate().serial),
            Peer::Anonymous => "anonymous".to_owned(),
        };
    }
    match extensions.get::<AcceptedUnix>().and_then(AcceptedUnix::peer) {
        Some(peer) => format!("local(uid={})", peer.uid),
        None => "unknown".to_owned(),
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

/// Why no traces can be sent.
#[derive(Debug, thiserror::Error)]
#[error("traces cannot be sent to {endpoint}: {source}; correct `telemetry.otlp.endpoint`")]
pub struct TracesError {
    endpoint: String,
    source: ExporterBuildError,
}
