//! HTTP and gRPC over TLS, on one port.
//!
//! Each request carries a [`Connection`] in its extensions: who the peer is. A connection ends when its client's
//! certificate does, when that is revoked, when the root that vouched for it is withdrawn, and after a maximum age, so
//! that a client which rotated its certificate comes back with the new one. Whoever presents no certificate has less of
//! everything, and nothing that a peer with one needs: see [`AnonymousLimits`].

mod in_turn;
mod limits;
mod places;
pub mod plain;
mod reached;

use std::{
    future::Future,
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{Router, body::Body};
use http::Request;
use http_body_util::Limited;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use rustls_pki_types::CertificateDer;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use self::{
    in_turn::InTurn,
    places::{Holder, Place, Places},
};
pub use self::{
    limits::{AnonymousLimits, ConnectionLimits, OpenConnections, Quota, Quotas},
    places::{Share, Shares},
    reached::{Limit, ReachedLimits},
};
use crate::{
    IdentitySnapshot, IdentitySource,
    tls::{ClientPolicy, Peer, server_config, verify_client},
    x509::SvidError,
};

/// Who sent a request: in the extensions of every request that [`serve`] passes on. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The verified peer.
    pub peer: Arc<Peer>,
    /// Where it connected from.
    pub address: SocketAddr,
}

impl Connection {
    /// A connection of `peer`.
    #[must_use]
    pub fn new(peer: Peer, address: SocketAddr) -> Self {
        Self { peer: Arc::new(peer), address }
    }
}

/// Is told who connected.
pub trait Watch: Send + Sync {
    /// A peer was verified, or presented nothing where nothing is needed.
    fn connected(&self, connection: &Connection);
    /// A peer was refused, or is no longer trusted, and why.
    fn refused(&self, address: SocketAddr, reason: &str);
}

/// Nobody is told.
struct Unwatched;

impl Watch for Unwatched {
    fn connected(&self, _: &Connection) {}
    fn refused(&self, _: SocketAddr, _: &str) {}
}

/// How long answers that are on their way may take once a peer is no longer trusted. What a peer may still do on an open
/// connection is decided call by call; the connection itself ends well within a second.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How much of what is said first after a handshake is read ahead, in bytes: what HTTP/2 begins with (RFC 9113, section
/// 3.4).
const FIRST_WORDS: usize = 24;

/// The longest head of an HTTP/1.1 request of a stranger, in bytes.
const LONGEST_HEAD: usize = 16 * 1024;

/// How much a stranger may send before it is read, in bytes.
const WINDOW: u32 = 64 * 1024 - 1;

/// Serves `app` on `listener` until `shutdown`, then lets requests in flight end within the drain time.
///
/// # Errors
/// When TLS cannot be configured. What goes wrong on one connection ends that connection alone.
pub async fn serve(
    listener: TcpListener,
    source: IdentitySource,
    policy: ClientPolicy,
    limits: ConnectionLimits,
    app: Router,
    shutdown: CancellationToken,
) -> Result<(), rustls::Error> {
    serve_watched(listener, source, policy, limits, app, shutdown, Arc::new(Unwatched)).await
}

/// As [`serve`], and `watch` is told of each connection.
///
/// # Errors
/// As [`serve`].
pub async fn serve_watched(
    listener: TcpListener,
    source: IdentitySource,
    policy: ClientPolicy,
    limits: ConnectionLimits,
    app: Router,
    shutdown: CancellationToken,
    watch: Arc<dyn Watch>,
) -> Result<(), rustls::Error> {
    let acceptor = TlsAcceptor::from(server_config(source.clone(), policy)?);
    let tasks = TaskTracker::new();
    let server = Arc::new(Server {
        acceptor,
        source,
        policy,
        handshakes: Places::new(
            limits.handshakes,
            (Limit::Handshakes, Limit::HandshakesOfOneAddress),
            &limits.reached,
        ),
        peers: Places::new(limits.peers, (Limit::Peers, Limit::PeersOfOneIdentity), &limits.reached),
        strangers: Places::new(
            limits.anonymous.connections,
            (Limit::Anonymous, Limit::AnonymousOfOneAddress),
            &limits.reached,
        ),
        limits,
        app,
        shutdown,
        tasks: tasks.clone(),
        watch,
    });
    loop {
        let accepted = tokio::select! {
            () = server.shutdown.cancelled() => break,
            accepted = accept(&listener, &server.handshakes) => accepted,
        };
        let Some((stream, address, place)) = accepted else { continue };
        let Some(place) = server.handshakes.fill(place, Holder::stranger(address)) else {
            tracing::debug!(%address, "a connection is closed: too many handshakes of its origin are under way");
            continue;
        };
        let server = Arc::clone(&server);
        let counted = server.limits.open.count();
        let arrival = Arrival { stream, address, place };
        tasks.spawn(async move {
            if let Err(error) = server.connection(arrival).await {
                tracing::debug!(%address, %error, "connection ended");
                if error.is_refusal() {
                    server.watch.refused(address, &error.to_string());
                }
            }
            drop(counted);
        });
    }
    // Whoever connects while the last calls end is refused at once, and not left waiting in the queue.
    drop(listener);
    tasks.close();
    tasks.wait().await;
    Ok(())
}

/// Waits for a place, then for a connection to fill it. `None` after a failure to accept, and a moment's pause.
async fn accept(
    listener: &TcpListener,
    places: &Places,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = places.for_whoever_comes().await?;
    match listener.accept().await {
        Ok((stream, address)) => Some((stream, address, place)),
        Err(error) => {
            // Out of file descriptors, or the peer was gone already: neither is cured by trying at once.
            tracing::warn!(%error, "a connection could not be accepted");
            sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

struct Server {
    acceptor: TlsAcceptor,
    source: IdentitySource,
    policy: ClientPolicy,
    handshakes: Places,
    peers: Places,
    strangers: Places,
    limits: ConnectionLimits,
    app: Router,
    shutdown: CancellationToken,
    tasks: TaskTracker,
    watch: Arc<dyn Watch>,
}

/// A connection of which nothing is known yet.
struct Arrival {
    stream: TcpStream,
    address: SocketAddr,
    /// Its place among the handshakes.
    place: Place,
}

/// Why a connection ended before its peer closed it.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("the TLS handshake took longer than {0:?}")]
    HandshakeTimeout(Duration),
    #[error("the TLS handshake failed: {0}")]
    Handshake(#[source] std::io::Error),
    #[error("the peer is no longer trusted: {0}")]
    Untrusted(#[from] SvidError),
    #[error("no place is free for it")]
    NoPlace,
    #[error("nothing was said within {0:?} after the TLS handshake")]
    Silence(Duration),
    #[error("{0}")]
    Http(Box<dyn std::error::Error + Send + Sync>),
}

impl ConnectionError {
    /// Whether it says something of the peer: a broken connection says nothing.
    fn is_refusal(&self) -> bool {
        match self {
            Self::Untrusted(_) => true,
            Self::Handshake(error) => error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()),
            Self::HandshakeTimeout(_) | Self::NoPlace | Self::Silence(_) | Self::Http(_) => false,
        }
    }
}

impl Server {
    async fn connection(&self, arrival: Arrival) -> Result<(), ConnectionError> {
        let Arrival { stream, address, place: among_handshakes } = arrival;
        // Without this the second write of a response waits for the delayed acknowledgement of the first.
        stream.set_nodelay(true).map_err(ConnectionError::Handshake)?;
        let tls = timeout(self.limits.handshake, self.acceptor.accept(stream))
            .await
            .map_err(|_| ConnectionError::HandshakeTimeout(self.limits.handshake))?
            .map_err(ConnectionError::Handshake)?;
        let chain = presented_chain(&tls);
        let trust = self.source.current();
        let peer = verify_client(&chain, &trust, self.policy, SystemTime::now())?;
        let _place = self.place(&peer, address).await?;
        drop(among_handshakes);
        let is_anonymous = matches!(peer, Peer::Anonymous);
        let (graceful_at, end_at) = self.ends(&peer);

        let connection = Connection::new(peer, address);
        self.watch.connected(&connection);
        let vouched = Vouched { chain, peer: Arc::clone(&connection.peer), trust };
        let mut io = BufReader::with_capacity(FIRST_WORDS, tls);
        tokio::select! {
            said = timeout(self.limits.handshake, io.fill_buf()) => {
                said.map_err(|_| ConnectionError::Silence(self.limits.handshake))?
                    .map_err(|error| ConnectionError::Http(error.into()))?;
            }
            error = self.trust_lost(vouched.clone()) => return Err(error),
            () = sleep_until(end_at) => return Ok(()),
            () = self.shutdown.cancelled() => return Ok(()),
        }

        let longest_body = is_anonymous.then_some(self.limits.anonymous.body);
        let service = self.app.clone().map_request(move |request: Request<Incoming>| {
            let mut request = request.map(|body| match longest_body {
                Some(longest) => Body::new(Limited::new(body, longest)),
                None => Body::new(body),
            });
            request.extensions_mut().insert(connection.clone());
            request
        });
        let mut builder = auto::Builder::new(TrackedExecutor(self.tasks.clone()));
        builder.http1().timer(TokioTimer::new()).header_read_timeout(self.limits.handshake);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(if is_anonymous { self.limits.anonymous.streams } else { 256 })
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20));
        if is_anonymous {
            builder.http1().max_buf_size(LONGEST_HEAD);
            builder.http2().initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
        }
        let http = pin!(builder.serve_connection(TokioIo::new(io), TowerToHyperService::new(service)));
        let mut http = InTurn::new(http);

        tokio::select! {
            result = &mut http => return result.map_err(ConnectionError::Http),
            error = self.trust_lost(vouched.clone()) => {
                // Whoever takes trust from themselves still hears that it was done.
                http.as_mut().graceful_shutdown();
                let _ = timeout(LAST_WORDS, &mut http).await;
                return Err(error);
            }
            () = sleep_until(graceful_at) => {}
            () = self.shutdown.cancelled() => {}
        }
        http.as_mut().graceful_shutdown();
        let end_at = end_at.min(Instant::now() + self.limits.drain);
        tokio::select! {
            result = &mut http => result.map_err(ConnectionError::Http),
            error = self.trust_lost(vouched) => Err(error),
            () = sleep_until(end_at) => Ok(()),
        }
    }

    /// The place of a peer from now on. Strangers do not wait for theirs: meanwhile they would keep others from their
    /// handshakes.
    async fn place(&self, peer: &Peer, address: SocketAddr) -> Result<Place, ConnectionError> {
        let holder = Holder::of(peer, address);
        let place = match peer {
            Peer::Anonymous => self.strangers.take(holder),
            Peer::Svid(_) | Peer::Certificate(_) => self.peers.wait(holder, self.limits.handshake).await,
        };
        place.ok_or(ConnectionError::NoPlace)
    }

    /// When the connection begins to end, and when it has to have ended.
    fn ends(&self, peer: &Peer) -> (Instant, Instant) {
        let now = Instant::now();
        let age = match peer {
            Peer::Anonymous => self.limits.age.min(self.limits.anonymous.age),
            Peer::Svid(_) | Peer::Certificate(_) => self.limits.age,
        };
        let spread = age.mul_f64(jitter() * 0.1);
        let mut graceful_at = now + age.saturating_sub(spread);
        let mut end_at = graceful_at + self.limits.drain;
        if let Some(certificate) = peer.certificate() {
            let left = certificate.not_after.duration_since(SystemTime::now()).unwrap_or_default();
            graceful_at = graceful_at.min(now + left.saturating_sub(self.limits.drain));
            end_at = end_at.min(now + left);
        }
        (graceful_at, end_at)
    }

    /// Waits until the source changes in such a way that the peer is no longer trusted.
    async fn trust_lost(&self, mut vouched: Vouched) -> ConnectionError {
        let mut source = self.source.clone();
        loop {
            let snapshot = source.changed().await;
            if let Err(error) = vouched.again(snapshot, self.policy) {
                return ConnectionError::Untrusted(error);
            }
        }
    }
}

/// What a connection's trust rests on.
#[derive(Clone)]
struct Vouched {
    chain: Vec<CertificateDer<'static>>,
    peer: Arc<Peer>,
    /// What the chain was verified with.
    trust: Arc<IdentitySnapshot>,
}

impl Vouched {
    /// Verifies again after a change. The path is verified anew only when the roots are others than before: revoking
    /// one certificate must not cost signature checks for each of thousands of connections.
    fn again(&mut self, snapshot: Arc<IdentitySnapshot>, policy: ClientPolicy) -> Result<(), SvidError> {
        if snapshot.bundles.has_the_roots_of(&self.trust.bundles) {
            self.peer.check_revocation(&snapshot)?;
        } else {
            verify_client(&self.chain, &snapshot, policy, SystemTime::now())?;
        }
        self.trust = snapshot;
        Ok(())
    }
}

fn presented_chain(tls: &TlsStream<TcpStream>) -> Vec<CertificateDer<'static>> {
    let (_, session) = tls.get_ref();
    session.peer_certificates().unwrap_or_default().to_vec()
}

/// A number in 0..1 that differs from connection to connection; nothing secret depends on it.
fn jitter() -> f64 {
    let mut byte = [0_u8];
    // Without randomness every connection simply lives its full age.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    f64::from(byte[0]) / 256.0
}

/// Runs hyper's own tasks under the server's tracker, so that shutdown waits for them.
#[derive(Clone)]
struct TrackedExecutor(TaskTracker);

impl<F> hyper::rt::Executor<F> for TrackedExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

#[cfg(test)]
mod tests;
