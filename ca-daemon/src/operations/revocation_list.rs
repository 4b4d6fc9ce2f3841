//! Revocation lists over HTTP, for whoever checks certificates without speaking gRPC (RFC 5280, section 4.2.1.13).

use std::time::SystemTime;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

use super::bundle::{has, text};
use crate::{instant::unix, store::RevocationListRow};

/// How long a list may be kept without asking again, in seconds: what is revoked now is on another list at once.
const FRESH_FOR: i64 = 60;
/// The form of a date in HTTP (RFC 9110, section 5.6.7).
const HTTP_DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
/// The longest key identifier that is looked up, in hex digits.
const MAX_KEY_ID: usize = 128;

/// The key identifier in the last part of a path, `<key id>.crl`.
pub(super) fn issuer_of(file: &str) -> Option<&str> {
    let key_id = file.strip_suffix(".crl")?;
    let is_key_id = key_id.len() <= MAX_KEY_ID && key_id.bytes().all(|b| b.is_ascii_hexdigit());
    (is_key_id && !key_id.is_empty()).then_some(key_id)
}

/// Answers a list: 304 when the client has it already. A list never changes under its number.
pub(super) fn answer(headers: &HeaderMap, list: &RevocationListRow, now: SystemTime) -> Response {
    let tag = format!("\"{}\"", list.number);
    let left = list.next_update.saturating_sub(unix(now)).clamp(0, FRESH_FOR);
    let mut cached =
        vec![(header::ETAG, text(&tag)), (header::CACHE_CONTROL, text(&format!("public, max-age={left}")))];
    for (name, at) in [(header::LAST_MODIFIED, list.this_update), (header::EXPIRES, list.next_update)] {
        cached.extend(http_date(at).map(|date| (name, date)));
    }
    let cached: HeaderMap = cached.into_iter().collect();
    if has(headers, &tag) {
        return (StatusCode::NOT_MODIFIED, cached).into_response();
    }
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/pkix-crl"))];
    (cached, kind, list.crl.clone()).into_response()
}

fn http_date(at: i64) -> Option<HeaderValue> {
    let date = OffsetDateTime::from_unix_timestamp(at).ok()?.format(HTTP_DATE).ok()?;
    HeaderValue::from_str(&date).ok()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::instant::from_unix;

    fn list() -> RevocationListRow {
        RevocationListRow {
            issuer_key_id: "0a1b".to_owned(),
            number: 7,
            crl: vec![1, 2, 3],
            this_update: 784_111_777,
            next_update: 784_111_777 + 3600,
        }
    }

    #[test]
    fn says_how_long_it_is_good_for() {
        let response = answer(&HeaderMap::new(), &list(), from_unix(784_111_800));
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "application/pkix-crl");
        assert_eq!(header("etag"), "\"7\"");
        // The example of RFC 9110, section 5.6.7.
        assert_eq!(header("last-modified"), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(header("cache-control"), "public, max-age=60");
        let late = answer(&HeaderMap::new(), &list(), from_unix(784_111_777 + 3590));
        assert_eq!(late.headers()["cache-control"], "public, max-age=10");
    }

    #[test]
    fn is_not_sent_to_whoever_has_it() {
        let known = HeaderMap::from_iter([(header::IF_NONE_MATCH, "\"7\"".parse().unwrap())]);
        assert_eq!(answer(&known, &list(), from_unix(784_111_800)).status(), StatusCode::NOT_MODIFIED);
    }

    #[rstest]
    #[case("0a1b.crl", Some("0a1b"))]
    #[case("0a1b", None)]
    #[case(".crl", None)]
    #[case("..%2f.crl", None)]
    #[case(&format!("{}.crl", "a".repeat(129)), None)]
    fn takes_key_identifiers_alone(#[case] file: &str, #[case] expected: Option<&str>) {
        assert_eq!(issuer_of(file), expected);
    }
}
