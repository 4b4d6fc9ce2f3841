//! Fetching a bundle from its endpoint (SPIFFE Federation, section 5).

use std::{path::PathBuf, sync::Arc, time::Duration};

use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use secplane_identity::{
    IdentitySnapshot, IdentitySource, TrustBundle, TrustBundleSet,
    connect::connect,
    tls::{ExpectedServer, client_config, crypto_provider},
    trust_bundle::{MAX_DOCUMENT_BYTES, TrustBundleError},
};
use secplane_proto::spire::api::types;
use tokio::time::timeout;

use super::{Endpoint, Profile, Relationship};
use crate::bundle_message::to_wire;

/// How long one fetch may take.
const WITHIN: Duration = Duration::from_secs(30);

/// Fetches bundles.
#[derive(Debug, Clone)]
pub struct Fetcher {
    /// A PEM file of the roots that servers of the profile `https_web` are checked with.
    web_roots: PathBuf,
}

impl Fetcher {
    /// Checks servers of the profile `https_web` with the roots of a PEM file, read at each fetch.
    #[must_use]
    pub fn new(web_roots: PathBuf) -> Self {
        Self { web_roots }
    }

    /// The bundle at the endpoint of a relationship. `known` authenticates an endpoint of the profile `https_spiffe`.
    ///
    /// # Errors
    /// When the server does not answer, cannot prove itself, or answers something else.
    pub async fn fetch(
        &self,
        relationship: &Relationship,
        known: TrustBundleSet,
    ) -> Result<types::Bundle, FetchError> {
        let config = match &relationship.profile {
            Profile::Spiffe(id) => {
                if known.get(id.trust_domain()).is_none() {
                    return Err(FetchError::NoBundle(id.trust_domain().to_string()));
                }
                let source =
                    IdentitySource::fixed(IdentitySnapshot { bundles: known, ..IdentitySnapshot::default() });
                client_config(source, ExpectedServer::Id(id.clone()))?
            }
            Profile::Web => {
                let path = self.web_roots.clone();
                tokio::task::spawn_blocking(move || web_config(path))
                    .await
                    .map_err(|_| FetchError::Stopped)??
            }
        };
        let text =
            timeout(WITHIN, get(&relationship.endpoint, config)).await.map_err(|_| FetchError::Late)??;
        read(relationship, &text)
    }
}

fn web_config(path: PathBuf) -> Result<ClientConfig, FetchError> {
    let mut roots = RootCertStore::empty();
    let unreadable = |reason: String| FetchError::WebRoots { path: path.clone(), reason };
    let certificates = CertificateDer::pem_file_iter(&path).map_err(|error| unreadable(error.to_string()))?;
    // One that cannot be used is no reason to trust none: such files hold more than a hundred.
    roots.add_parsable_certificates(certificates.filter_map(Result::ok));
    if roots.is_empty() {
        return Err(unreadable("it holds no usable certificate".into()));
    }
    let mut config = ClientConfig::builder_with_provider(crypto_provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// One GET. A redirect is not followed: it is an error like any other answer than 200.
async fn get(endpoint: &Endpoint, config: ClientConfig) -> Result<String, FetchError> {
    let stream = connect(&endpoint.address(), Arc::new(config)).await.map_err(FetchError::Connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(FetchError::Http)?;
    let driving = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
    let uri = endpoint.uri();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(if path.is_empty() { "/" } else { path })
        .header(header::HOST, uri.authority().map_or("", |authority| authority.as_str()))
        .header(header::ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|_| FetchError::Unreadable("the URL makes no request".into()))?;
    let response = sender.send_request(request).await.map_err(FetchError::Http)?;
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    let body = Limited::new(response.into_body(), MAX_DOCUMENT_BYTES).collect().await;
    let bytes = body.map_err(|error| FetchError::Unreadable(error.to_string()))?.to_bytes();
    drop(driving);
    String::from_utf8(bytes.into()).map_err(|_| FetchError::Unreadable("it is not UTF-8 text".into()))
}

fn read(relationship: &Relationship, text: &str) -> Result<types::Bundle, FetchError> {
    let bundle = TrustBundle::from_spiffe_json(relationship.trust_domain.clone(), text)?;
    Ok(to_wire(&bundle))
}

/// Why there is no bundle from an endpoint.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server's trust domain is not known.
    #[error("the endpoint proves itself by trust domain {0}, whose bundle is not known; give it one first")]
    NoBundle(String),
    /// The file of public roots cannot be used.
    #[error(
        "the public roots {path} cannot be used: {reason}; see `federation.web_roots` in the configuration"
    )]
    WebRoots {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// TLS cannot be configured.
    #[error("TLS cannot be configured: {0}")]
    Tls(#[from] rustls::Error),
    /// The endpoint cannot be reached, or did not prove itself.
    #[error("the endpoint cannot be reached, or did not prove itself: {0}")]
    Connect(#[source] std::io::Error),
    /// It does not speak HTTP.
    #[error("the endpoint does not answer: {0}")]
    Http(#[source] hyper::Error),
    /// It answers something else than a bundle.
    #[error("the endpoint answers {0} instead of a bundle")]
    Status(StatusCode),
    /// It is too slow.
    #[error("the endpoint did not answer within {WITHIN:?}")]
    Late,
    /// Its answer cannot be read.
    #[error("the endpoint's answer cannot be read: {0}")]
    Unreadable(String),
    /// Its answer is no bundle.
    #[error("the endpoint's answer is not a usable bundle: {0}")]
    Bundle(#[from] TrustBundleError),
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopped,
}
