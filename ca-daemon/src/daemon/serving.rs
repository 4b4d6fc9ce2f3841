//! The listeners: each serves until the daemon stops, and lets calls in flight end.

use std::{convert::Infallible, future, io, net::SocketAddr, sync::Arc};

use futures_util::{Stream, TryStreamExt};
use secplane_identity::{
    IdentitySource,
    serve::{ConnectionLimits, plain, serve_watched},
    tls::ClientPolicy,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_util::sync::CancellationToken;
use tonic::{
    service::Routes,
    transport::{
        Server,
        server::{Connected, TcpIncoming},
    },
};
use tower::util::MapResponseLayer;

use super::{RunError, StartError};
use crate::{
    access::LocalPeer,
    api::{Cuttable, Services, UnixSocket},
    operations::{Metrics, Observations, metrics::Listener, routes},
    witness::Witness,
};

/// Where the connections of a listener are counted.
pub(super) struct Counted {
    pub(super) metrics: Arc<Metrics>,
    pub(super) listener: Listener,
}

/// Serves a Unix socket, and shows each peer to `seen`.
pub(super) async fn serve_unix(
    socket: UnixSocket,
    routes: Routes,
    counted: Counted,
    stop: CancellationToken,
    seen: impl Fn(LocalPeer) + Send + 'static,
) -> Result<(), RunError> {
    let path = socket.path().to_owned();
    let socket = socket.inspect_ok(move |connection| {
        if let Some(peer) = connection.connect_info().peer() {
            seen(peer);
        }
    });
    serve_without_tls(socket, routes, counted, stop).await.map_err(|source| RunError::Socket { path, source })
}

pub(super) async fn serve_tls(
    listener: TcpListener,
    identity: IdentitySource,
    routes: Routes,
    limits: ConnectionLimits,
    stop: CancellationToken,
    witness: Witness,
) -> Result<(), RunError> {
    let app = routes.into_axum_router();
    serve_watched(listener, identity, ClientPolicy::AnyOrNone, limits, app, stop, Arc::new(witness))
        .await
        .map_err(RunError::Tls)
}

pub(super) async fn serve_operations(
    listener: TcpListener,
    services: Arc<Services>,
    limits: plain::Limits,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let metrics = Arc::clone(&services.metrics);
    let sources = routes::Sources {
        readiness: Arc::clone(&services.readiness),
        observations: Observations::new(services),
    };
    let counted = move || metrics.connected(Listener::Operations);
    plain::serve(listener, routes::routes(sources), limits, counted, stop).await;
    Ok(())
}

pub(super) async fn listen_for_operations(
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Operations { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Plain text, and every answer says so.
pub(super) async fn serve_insecure(
    listener: TcpListener,
    routes: Routes,
    counted: Counted,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let warning = MapResponseLayer::new(|mut response: http::Response<_>| {
        response.headers_mut().insert("x-secplane-insecure", http::HeaderValue::from_static("true"));
        response
    });
    let routes = Routes::from(routes.into_axum_router().layer(warning));
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    serve_without_tls(incoming, routes, counted, stop).await.map_err(RunError::Plain)
}

/// How many calls may be open on a connection. A workload needs a few streams.
fn most_streams(listener: Listener) -> u32 {
    match listener {
        Listener::Workload => 16,
        Listener::Grpc | Listener::Admin | Listener::Operations => 256,
    }
}

/// Serves until `stop`. Calls in flight then have the drain time to end, before their connections are cut: a peer who
/// never finishes holds up nobody.
async fn serve_without_tls<S>(
    incoming: impl Stream<Item = io::Result<S>>,
    routes: Routes,
    counted: Counted,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error>
where
    S: AsyncRead + AsyncWrite + Connected<ConnectInfo: Clone + Send + Sync> + Unpin + Send + 'static,
{
    let cut = CancellationToken::new();
    let incoming = incoming
        .map_ok(|stream| Cuttable::new(stream, cut.clone(), counted.metrics.connected(counted.listener)));
    let served = Server::builder()
        .max_concurrent_streams(most_streams(counted.listener))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    let cut_what_is_left = async {
        stop.cancelled().await;
        tokio::time::sleep(ConnectionLimits::default().drain).await;
        cut.cancel();
        future::pending::<Infallible>().await
    };
    tokio::select! {
        result = served => result,
        never = cut_what_is_left => match never {},
    }
}
