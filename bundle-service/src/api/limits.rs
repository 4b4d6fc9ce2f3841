//! What a request may be before anything reads it.

use std::time::Duration;

use axum::{
    body::{Body, HttpBody, to_bytes},
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::time::timeout;

use super::failure::Failure;

/// The longest path and query.
const MAX_ADDRESS_BYTES: usize = 8 * 1024;
/// The largest body. No request here needs one.
const MAX_BODY_BYTES: usize = 16 * 1024;
/// How long a body may take.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Refuses what is too long, and takes the body off: nothing behind this reads one.
pub(super) async fn limit(request: Request, next: Next) -> Response {
    let address = request.uri().path_and_query().map_or(0, |address| address.as_str().len());
    if address > MAX_ADDRESS_BYTES {
        return Failure::AddressTooLong(MAX_ADDRESS_BYTES).into_response();
    }
    let (parts, body) = request.into_parts();
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        return Failure::BodyTooLarge(MAX_BODY_BYTES).into_response();
    }
    if !body.is_end_stream() {
        match timeout(BODY_WITHIN, to_bytes(body, MAX_BODY_BYTES)).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Failure::BodyTooLarge(MAX_BODY_BYTES).into_response(),
            Err(_) => return Failure::SlowBody.into_response(),
        }
    }
    next.run(Request::from_parts(parts, Body::empty())).await
}
