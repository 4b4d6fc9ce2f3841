//! Every gRPC call, counted, timed and — where traces are sent — traced.
//!
//! A call ends when its answer does: with the trailers, or when the caller goes away before them.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
};
use http::StatusCode;
use hyper::body::{Frame, SizeHint};
use tonic::{Code, Status};
use tracing::{Instrument, Span};

use super::{Metrics, traces};

/// Counts the calls of some routes.
pub fn observed(routes: Router, metrics: Arc<Metrics>) -> Router {
    routes.layer(middleware::from_fn_with_state(metrics, observe))
}

async fn observe(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let span = traces::call_span(&request);
    let path = request.uri().path().to_owned();
    let ending = Ending { metrics, path, began: Instant::now(), span: span.clone(), code: None };
    let response = next.run(request).instrument(span).await;
    if let Some(status) = Status::from_header_map(response.headers()) {
        ending.with(status.code());
        return response;
    }
    if response.status() != StatusCode::OK || response.body().is_end_stream() {
        ending.with(Code::Unknown);
        return response;
    }
    response.map(|body| Body::new(Observed { body, ending }))
}

/// A call that has not ended yet. Dropped without a code it was cancelled.
struct Ending {
    metrics: Arc<Metrics>,
    path: String,
    began: Instant,
    span: Span,
    code: Option<Code>,
}

impl Ending {
    fn with(mut self, code: Code) {
        self.code = Some(code);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let code = self.code.unwrap_or(Code::Cancelled);
        self.metrics.called(&self.path, code, self.began);
        traces::record_code(&self.span, code);
    }
}

/// An answer whose trailers are looked at as they pass.
struct Observed {
    body: Body,
    ending: Ending,
}

impl HttpBody for Observed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let _inside = this.ending.span.enter();
        let polled = Pin::new(&mut this.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(status) = frame.trailers_ref().and_then(Status::from_header_map) {
                    this.ending.code = Some(status.code());
                }
            }
            Poll::Ready(Some(Err(_)) | None) if this.ending.code.is_none() => {
                this.ending.code = Some(Code::Unknown);
            }
            Poll::Ready(_) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::post;
    use futures_util::stream;
    use http::{HeaderMap, HeaderValue};
    use http_body_util::{BodyExt, StreamBody};
    use tower::ServiceExt;

    use super::*;

    const CHECK: &str = "/grpc.health.v1.Health/Check";

    fn status(code: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(http::header::HeaderName::from_static("grpc-status"), code.parse().unwrap())])
    }

    async fn with_trailers() -> Body {
        let frames = [Ok(Frame::data(Bytes::from_static(b"x"))), Ok(Frame::trailers(status("5")))];
        Body::new(StreamBody::new(stream::iter(frames.map(|frame: Result<_, axum::Error>| frame))))
    }

    async fn with_headers() -> Response {
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = status("7");
        response
    }

    async fn never_ends() -> Body {
        Body::from_stream(stream::pending::<Result<Bytes, axum::Error>>())
    }

    async fn no_grpc() -> (StatusCode, [(&'static str, HeaderValue); 0]) {
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, [])
    }

    async fn count(routes: axum::routing::MethodRouter, read: bool) -> String {
        let metrics = Arc::new(Metrics::new());
        let app = observed(Router::new().route(CHECK, routes), Arc::clone(&metrics));
        let response = app.oneshot(Request::post(CHECK).body(Body::empty()).unwrap()).await.unwrap();
        match read {
            true => drop(response.into_body().collect().await),
            false => drop(response),
        }
        metrics.encode().unwrap()
    }

    #[rstest::rstest]
    #[case::trailers(post(with_trailers), true, "NOT_FOUND")]
    #[case::headers(post(with_headers), true, "PERMISSION_DENIED")]
    #[case::caller_went_away(post(never_ends), false, "CANCELLED")]
    #[case::not_grpc(post(no_grpc), true, "UNKNOWN")]
    #[tokio::test]
    async fn counts_a_call_once_with_its_code(
        #[case] routes: axum::routing::MethodRouter,
        #[case] read: bool,
        #[case] code: &str,
    ) {
        let text = count(routes, read).await;
        let line = format!(r#"secplane_ca_grpc_calls_total{{method="{CHECK}",code="{code}"}} 1"#);
        assert!(text.lines().any(|found| found == line), "no {line} in {text}");
        assert!(
            text.contains(&format!(r#"secplane_ca_grpc_call_duration_seconds_count{{method="{CHECK}"}} 1"#))
        );
    }
}
