//! The trust bundle as a document (SPIFFE Trust Domain and Bundle, section 4), for whoever polls it over HTTP.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};

/// Answers a bundle document: 304 when the client has it already.
///
/// The document changes with its sequence number and only with it, so the number is its entity tag.
pub(super) fn answer(headers: &HeaderMap, document: String, sequence: u64, refresh_hint: u64) -> Response {
    let tag = format!("\"{sequence}\"");
    let fresh_for = format!("max-age={refresh_hint}");
    let cached = [(header::ETAG, text(&tag)), (header::CACHE_CONTROL, text(&fresh_for))];
    if has(headers, &tag) {
        return (StatusCode::NOT_MODIFIED, cached).into_response();
    }
    let json = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    (cached, [json], document).into_response()
}

/// Whether `If-None-Match` names a tag (RFC 9110, section 13.1.2).
pub(super) fn has(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

pub(super) fn text(value: &str) -> HeaderValue {
    // Digits, quotes and fixed words: always a header.
    HeaderValue::from_str(value).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::nothing(None, StatusCode::OK)]
    #[case::another("\"6\"", StatusCode::OK)]
    #[case::this("\"7\"", StatusCode::NOT_MODIFIED)]
    #[case::weak("W/\"7\"", StatusCode::NOT_MODIFIED)]
    #[case::one_of("\"6\", \"7\"", StatusCode::NOT_MODIFIED)]
    #[case::any("*", StatusCode::NOT_MODIFIED)]
    fn answers_what_is_new(#[case] known: impl Into<Option<&'static str>>, #[case] status: StatusCode) {
        let mut headers = HeaderMap::new();
        if let Some(known) = known.into() {
            headers.insert(header::IF_NONE_MATCH, known.parse().unwrap());
        }
        let response = answer(&headers, "{}".into(), 7, 300);
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()[header::ETAG], "\"7\"");
        assert_eq!(response.headers()[header::CACHE_CONTROL], "max-age=300");
    }
}
