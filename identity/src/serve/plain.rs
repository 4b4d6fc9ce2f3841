//! Plain HTTP for whoever watches over a daemon, and for what is public anyway. Nothing here needs or grants an
//! identity, so anybody may come, and nobody may stay for long.

use std::time::Duration;

use axum::{Router, body::Body};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use super::{
    Limit, Quota, Quotas, ReachedLimits, accept,
    places::{Holder, Places},
};

/// What connections, and all of them together, may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How many connections are open at once. Further ones wait to be accepted; those that are too many of one origin
    /// are closed.
    pub connections: Quota,
    /// The largest head of a request, in bytes. It is refused with 431.
    pub head: usize,
    /// How long the head of a request may take. An idle connection is closed after it.
    pub head_within: Duration,
    /// How long a connection may live.
    pub age: Duration,
    /// How long requests in flight may go on after the daemon began to stop.
    pub drain: Duration,
    /// Where it is counted what there was no place for.
    pub reached: ReachedLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: Quotas::default().plain,
            head: 16 * 1024,
            head_within: Duration::from_secs(10),
            age: Duration::from_secs(5 * 60),
            drain: Duration::from_secs(2),
            reached: ReachedLimits::default(),
        }
    }
}

/// Serves `app` until `stop`, then lets requests in flight end within the drain time. What `counted` answers is kept for
/// as long as a connection is open.
pub async fn serve<C: Send + 'static>(
    listener: TcpListener,
    app: Router,
    limits: Limits,
    counted: impl Fn() -> C,
    stop: CancellationToken,
) {
    let places = Places::new(limits.connections, (Limit::Plain, Limit::PlainOfOneAddress), &limits.reached);
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, address, place)) = accepted else { continue };
        let Some(place) = places.fill(place, Holder::stranger(address)) else {
            tracing::debug!(%address, "a connection is closed: its origin has too many open already");
            continue;
        };
        let counted = counted();
        let (app, limits, stop) = (app.clone(), limits.clone(), stop.clone());
        tasks.spawn(async move {
            if let Err(error) = connection(stream, app, limits, stop).await {
                tracing::debug!(%address, %error, "a connection without TLS ended");
            }
            drop((place, counted));
        });
    }
    tasks.close();
    tasks.wait().await;
}

async fn connection(
    stream: TcpStream,
    app: Router,
    limits: Limits,
    stop: CancellationToken,
) -> Result<(), hyper::Error> {
    let service = app.map_request(|request: http::Request<Incoming>| request.map(Body::new));
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_within)
        .max_buf_size(limits.head)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut http = std::pin::pin!(http);
    tokio::select! {
        result = http.as_mut() => return result,
        () = sleep(limits.age) => {}
        () = stop.cancelled() => {}
    }
    http.as_mut().graceful_shutdown();
    timeout(limits.drain, http).await.unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        task::JoinHandle,
    };

    use super::*;

    struct Served {
        address: SocketAddr,
        stop: CancellationToken,
        task: JoinHandle<()>,
    }

    async fn start(limits: Limits) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let app = Router::new().route("/live", get(async || "ok\n"));
        let task = tokio::spawn(serve(listener, app, limits, || (), stop.clone()));
        Served { address, stop, task }
    }

    async fn ask(stream: &mut TcpStream, request: &str) -> String {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        let length = soon(stream.read(&mut answer)).await.unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }

    async fn soon<T>(event: impl Future<Output = T>) -> T {
        timeout(Duration::from_secs(30), event).await.expect("it never happened")
    }

    const LIVE: &str = "GET /live HTTP/1.1\r\nhost: a\r\n\r\n";

    #[tokio::test]
    async fn answers_and_stops() {
        let served = start(Limits::default()).await;
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        assert!(ask(&mut stream, LIVE).await.starts_with("HTTP/1.1 200"));
        served.stop.cancel();
        soon(served.task).await.unwrap();
    }

    #[tokio::test]
    async fn refuses_a_head_that_is_too_large() {
        let served = start(Limits::default()).await;
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let large = format!("GET /live HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(20 * 1024));
        assert!(ask(&mut stream, &large).await.starts_with("HTTP/1.1 431"));
    }

    #[tokio::test]
    async fn hangs_up_on_a_head_that_never_comes() {
        // Not before the first line is sent on a busy machine.
        let limits = Limits { head_within: Duration::from_secs(2), ..Limits::default() };
        let served = start(limits).await;
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let answer = ask(&mut stream, "GET /live HTTP/1.1\r\n").await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }

    #[tokio::test]
    async fn lets_one_connection_more_wait() {
        let served = start(Limits { connections: Quota { all: 1, of_one: 2 }, ..Limits::default() }).await;
        let mut first = TcpStream::connect(served.address).await.unwrap();
        assert!(ask(&mut first, LIVE).await.starts_with("HTTP/1.1 200"));
        let mut second = TcpStream::connect(served.address).await.unwrap();
        second.write_all(LIVE.as_bytes()).await.unwrap();
        let mut byte = [0];
        let early = timeout(Duration::from_millis(50), second.read(&mut byte)).await;
        assert!(early.is_err(), "it was served beside the first");
        drop(first);
        assert_eq!(soon(second.read(&mut byte)).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn closes_what_is_too_much_of_one_origin() {
        let limits = Limits { connections: Quota { all: 10, of_one: 1 }, ..Limits::default() };
        let served = start(limits).await;
        let mut first = TcpStream::connect(served.address).await.unwrap();
        assert!(ask(&mut first, LIVE).await.starts_with("HTTP/1.1 200"));
        let mut second = TcpStream::connect(served.address).await.unwrap();
        let mut byte = [0];
        assert!(matches!(soon(second.read(&mut byte)).await, Ok(0) | Err(_)), "the server hangs up");
        assert!(ask(&mut first, LIVE).await.starts_with("HTTP/1.1 200"), "the first is served on");
    }

    #[tokio::test]
    async fn stops_though_a_client_never_finishes() {
        let served = start(Limits { drain: Duration::from_millis(50), ..Limits::default() }).await;
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        assert!(ask(&mut stream, LIVE).await.starts_with("HTTP/1.1 200"));
        stream.write_all(b"GET /live HT").await.unwrap();
        served.stop.cancel();
        soon(served.task).await.unwrap();
    }
}
