//! The bundle endpoint of a foreign trust domain, over real TLS.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::{Router, routing::get};
use http::StatusCode;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use secplane_identity::{
    IdentitySnapshot, IdentitySource, PrivateKey, TrustBundle, TrustDomain, X509Identity,
    serve::{ConnectionLimits, serve},
    tls::ClientPolicy,
};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(super) struct BundleEndpoint {
    /// Where the bundle is.
    pub(super) url: String,
    /// A PEM file of the root that its server is checked with.
    pub(super) roots: PathBuf,
    is_up: Arc<AtomicBool>,
    _stop: DropGuard,
}

impl BundleEndpoint {
    /// Serves a bundle of `trust_domain`, and writes the server's root into `folder`.
    pub(super) async fn start(folder: &Path, trust_domain: &str) -> Self {
        let root_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root = params.self_signed(&root_key).unwrap();
        let roots = folder.join("web-roots.pem");
        fs::write(&roots, root.pem()).unwrap();
        let identity = server_identity(trust_domain, &Issuer::new(params, root_key));
        let bundle = TrustBundle::new(TrustDomain::parse(trust_domain).unwrap(), [root.der()]).unwrap();
        let document = bundle.to_spiffe_json().unwrap().to_string();

        let is_up = Arc::new(AtomicBool::new(true));
        let up = Arc::clone(&is_up);
        let app = Router::new().route("/", get(move || answer(Arc::clone(&up), document.clone())));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
        let source = IdentitySource::fixed(IdentitySnapshot {
            identity: Some(identity),
            ..IdentitySnapshot::default()
        });
        let (limits, stop) = (ConnectionLimits::default(), CancellationToken::new());
        tokio::spawn(serve(listener, source, ClientPolicy::AnyOrNone, limits, app, stop.clone()));
        Self { url, roots, is_up, _stop: stop.drop_guard() }
    }

    /// Answers with the bundle from now on, or with an error.
    pub(super) fn set_up(&self, is_up: bool) {
        self.is_up.store(is_up, Ordering::Relaxed);
    }
}

async fn answer(is_up: Arc<AtomicBool>, document: String) -> Result<String, StatusCode> {
    match is_up.load(Ordering::Relaxed) {
        true => Ok(document),
        false => Err(StatusCode::SERVICE_UNAVAILABLE),
    }
}

fn server_identity(trust_domain: &str, issuer: &Issuer<'_, KeyPair>) -> X509Identity {
    let key = PrivateKey::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let id = format!("spiffe://{trust_domain}/endpoint");
    params.subject_alt_names.push(SanType::URI(id.as_str().try_into().unwrap()));
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let now = SystemTime::now();
    params.not_before = (now - Duration::from_secs(60)).into();
    params.not_after = (now + Duration::from_secs(3600)).into();
    let certificate = params.signed_by(&key.signing_pair().unwrap(), issuer).unwrap();
    X509Identity::new(vec![certificate.der().clone()], key).unwrap()
}
