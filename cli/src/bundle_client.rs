//! Fetching a bundle from the bundle service over mutual TLS.

use std::{sync::Arc, time::Duration};

use http::{
    Request, Response, StatusCode,
    header::{ACCEPT, ETAG, HOST, IF_NONE_MATCH},
};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use secplane_identity::{
    IdentitySource, SpiffeId,
    connect::connect,
    tls::{ExpectedServer, client_config},
};
use tokio::time::timeout;

use crate::{
    client_identity::ClientIdentity,
    failure::{Failure, Kind},
};

/// How long an answer may take beside the wait that was asked for.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The largest archive that is read.
pub(crate) const MAX_ARCHIVE_BYTES: usize = 64 * 1024 * 1024;
/// The longest explanation of a refusal that is read.
const MAX_REFUSAL_BYTES: usize = 16 * 1024;

/// What to ask the bundle service for.
#[derive(Debug, Clone, Default)]
pub(crate) struct BundleRequest {
    /// Names an identity in the request. It cannot change whose bundle comes back: the service refuses any but the
    /// one in the certificate.
    pub(crate) identity: Option<SpiffeId>,
    /// The entity tag of the bundle that is held already.
    pub(crate) etag: Option<String>,
    /// How long the service may hold the request until there is another one.
    pub(crate) wait: Option<Duration>,
}

/// What the bundle service answered.
#[derive(Debug)]
pub(crate) enum BundleAnswer {
    /// The bundle.
    Bundle { archive: Bytes, etag: Option<String> },
    /// The bundle that is held already is the current one.
    Unchanged { etag: Option<String> },
}

/// Fetches the bundle of whom the certificate names.
pub(crate) async fn pull(
    address: &str,
    identity: &ClientIdentity,
    service: ExpectedServer,
    request: &BundleRequest,
) -> Result<BundleAnswer, Failure> {
    let what = || format!("pull the bundle from {address}");
    let source = IdentitySource::fixed(identity.snapshot.clone());
    let mut config =
        client_config(source, service).map_err(|error| Failure::new(Kind::Other, "configure TLS", error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream =
        connect(address, Arc::new(config)).await.map_err(|error| Failure::from_connect(what(), &error))?;

    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Failure::from_connect(what(), &error))?;
    let exchange = async {
        let response = sender
            .send_request(http_request(address, request, &what())?)
            .await
            .map_err(|error| Failure::from_connect(what(), &error))?;
        read_answer(response, &what()).await
    };
    let exchange = async {
        tokio::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            // The connection may be read to its end before its last response is.
            _ = connection => exchange.await,
        }
    };
    let limit = ANSWER_WITHIN + request.wait.unwrap_or_default();
    timeout(limit, exchange).await.unwrap_or_else(|_| {
        Err(Failure::new(Kind::Unreachable, what(), format_args!("no answer within {limit:?}")))
    })
}

fn http_request(
    address: &str,
    request: &BundleRequest,
    what: &str,
) -> Result<Request<Empty<Bytes>>, Failure> {
    // A canonical SPIFFE ID has no character that a query would have to escape.
    let path = match &request.identity {
        Some(identity) => format!("/bundles?spiffe={identity}"),
        None => "/bundles/self.tar.gz".to_owned(),
    };
    let mut builder = Request::get(path)
        .header(HOST, address)
        .header(ACCEPT, "application/vnd.openpolicyagent.bundles, application/gzip");
    if let Some(etag) = &request.etag {
        builder = builder.header(IF_NONE_MATCH, quoted(etag));
    }
    if let Some(wait) = request.wait {
        builder = builder.header("prefer", format!("modes=snapshot;wait={}", wait.as_secs()));
    }
    builder.body(Empty::new()).map_err(|error| Failure::usage(what, error))
}

/// An entity tag as RFC 9110 has it; people leave out the quotes.
fn quoted(etag: &str) -> String {
    if etag.ends_with('"') { etag.to_owned() } else { format!("\"{etag}\"") }
}

async fn read_answer(response: Response<Incoming>, what: &str) -> Result<BundleAnswer, Failure> {
    let etag = response.headers().get(ETAG).and_then(|value| value.to_str().ok()).map(str::to_owned);
    match response.status() {
        StatusCode::OK => {
            let archive = Limited::new(response.into_body(), MAX_ARCHIVE_BYTES)
                .collect()
                .await
                .map_err(|error| Failure::refused(what, format_args!("the bundle cannot be read: {error}")))?
                .to_bytes();
            Ok(BundleAnswer::Bundle { archive, etag })
        }
        StatusCode::NOT_MODIFIED => Ok(BundleAnswer::Unchanged { etag }),
        status => Err(refusal(status, response.into_body(), what).await),
    }
}

async fn refusal(status: StatusCode, body: Incoming, what: &str) -> Failure {
    let said = match Limited::new(body, MAX_REFUSAL_BYTES).collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).trim().to_owned(),
        Err(_) => String::new(),
    };
    let why = if said.is_empty() { status.to_string() } else { format!("{said} ({status})") };
    let (kind, remedy) = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (
            Kind::Denied,
            "the certificate decides whose bundle this is: use the SVID of the identity you want",
        ),
        StatusCode::NOT_FOUND => (Kind::NotFound, "see whether the address is that of a bundle service"),
        StatusCode::SERVICE_UNAVAILABLE => {
            (Kind::Unreachable, "the service is not ready: see its log and /readyz, then try again")
        }
        status if status.is_client_error() => (Kind::Refused, "change the request as the service says"),
        _ => (Kind::Other, "see the log of the bundle service"),
    };
    Failure::new(kind, what, why).remedy(remedy)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("abc", "\"abc\"")]
    #[case("\"abc\"", "\"abc\"")]
    #[case("W/\"abc\"", "W/\"abc\"")]
    fn quotes_entity_tags(#[case] given: &str, #[case] sent: &str) {
        assert_eq!(quoted(given), sent);
    }

    #[test]
    fn asks_for_its_own_bundle_when_nobody_is_named() {
        let request = http_request("localhost:1", &BundleRequest::default(), "try").unwrap();
        assert_eq!(request.uri(), "/bundles/self.tar.gz");
        let id = SpiffeId::parse("spiffe://example.org/ns/a/sa/b").unwrap();
        let named =
            BundleRequest { identity: Some(id), etag: Some("x".into()), wait: Some(Duration::from_secs(5)) };
        let request = http_request("localhost:1", &named, "try").unwrap();
        assert_eq!(request.uri(), "/bundles?spiffe=spiffe://example.org/ns/a/sa/b");
        assert_eq!(request.headers()["if-none-match"], "\"x\"");
        assert_eq!(request.headers()["prefer"], "modes=snapshot;wait=5");
    }

    #[test]
    fn refuses_an_etag_that_would_end_the_header() {
        let request = BundleRequest { etag: Some("a\r\nx: y".into()), ..BundleRequest::default() };
        assert_eq!(http_request("localhost:1", &request, "try").unwrap_err().kind(), Kind::Usage);
    }
}
