//! An agent that serves its card, over mutual TLS or without.

use std::{net::SocketAddr, path::Path, thread::JoinHandle};

use axum::{Router, http::StatusCode, response::IntoResponse, routing::get};
use secplane_identity::{
    IdentitySnapshot, IdentitySource, PrivateKey, TrustBundle, TrustDomain, X509Identity,
    serve::{ConnectionLimits, serve},
    tls::ClientPolicy,
    trust_bundle::certificates_from_pem,
};
use tokio::{net::TcpListener, sync::oneshot};
use tokio_util::sync::CancellationToken;

/// Serves until it is dropped.
pub(crate) struct CardServer {
    pub(crate) port: u16,
    shutdown: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl CardServer {
    /// Serves what lies in `card` at `path`, as the SVID in `svid_dir`; without one over plain HTTP.
    pub(crate) fn start(card: &Path, path: &'static str, svid_dir: Option<&Path>) -> Self {
        let card = card.to_owned();
        let answer = move || {
            let bytes = std::fs::read(&card);
            async move { bytes.map_err(|_| StatusCode::NOT_FOUND.into_response()) }
        };
        let moved = || async { (StatusCode::FOUND, [("location", "/.well-known/agent-card.json")]) };
        let app = Router::new().route(path, get(answer)).route("/moved.json", get(moved));
        let source = svid_dir.map(source);
        let shutdown = CancellationToken::new();
        let (told, listening) = oneshot::channel::<SocketAddr>();
        let until = shutdown.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                told.send(listener.local_addr().unwrap()).unwrap();
                match source {
                    Some(source) => {
                        let limits = ConnectionLimits::default();
                        serve(listener, source, ClientPolicy::Svid, limits, app, until).await.unwrap();
                    }
                    None => {
                        let ended = async move { until.cancelled().await };
                        axum::serve(listener, app).with_graceful_shutdown(ended).await.unwrap();
                    }
                }
            });
        });
        let port = listening.blocking_recv().unwrap().port();
        Self { port, shutdown, thread: Some(thread) }
    }
}

impl Drop for CardServer {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(thread) = self.thread.take() {
            // It failed already, and the test with it.
            let _ = thread.join();
        }
    }
}

fn source(svid_dir: &Path) -> IdentitySource {
    let read = |name: &str| std::fs::read_to_string(svid_dir.join(name)).unwrap();
    let chain = certificates_from_pem(&read("svid.pem")).unwrap();
    let identity = X509Identity::new(chain, PrivateKey::from_pem(&read("key.pem")).unwrap()).unwrap();
    let bundle =
        TrustBundle::from_pem(TrustDomain::parse("example.org").unwrap(), &read("bundle.pem")).unwrap();
    let snapshot =
        IdentitySnapshot { identity: Some(identity), bundles: bundle.into(), ..IdentitySnapshot::default() };
    IdentitySource::fixed(snapshot)
}
