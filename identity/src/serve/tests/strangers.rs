//! What somebody without a certificate cannot take from those who have one.

use tokio::io::AsyncWriteExt;
use tokio_rustls::client::TlsStream as ClientStream;

use super::*;

async fn soon<T>(event: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), event).await.expect("it never happened")
}

fn nobody(ca: &TestCa) -> IdentitySnapshot {
    IdentitySnapshot { bundles: ca.bundle().into(), ..Default::default() }
}

fn somebody(ca: &TestCa) -> IdentitySnapshot {
    ca.workload(&leaf(CLIENT))
}

async fn serving(ca: &TestCa, limits: ConnectionLimits) -> TestServer {
    start(ca, ClientPolicy::AnyOrNone, limits).await
}

fn with_anonymous(anonymous: AnonymousLimits) -> ConnectionLimits {
    ConnectionLimits { anonymous, ..ConnectionLimits::default() }
}

/// A connection on which nothing was said after the handshake.
async fn silent(server: &TestServer, snapshot: IdentitySnapshot) -> ClientStream<TcpStream> {
    let expected = ExpectedServer::Id(SpiffeId::parse(SERVER).unwrap());
    let config = client_config(IdentitySource::fixed(snapshot), expected).unwrap();
    connect(&server.address, Arc::new(config)).await.unwrap()
}

/// Tries until there is a place: a connection that was closed gives its own back a moment later.
async fn open_in_the_end(server: &TestServer, snapshot: &IdentitySnapshot) -> TestClient {
    let tries = async {
        loop {
            if let Ok((client, _)) = TestClient::open(server, snapshot.clone()).await {
                return client;
            }
        }
    };
    soon(tries).await
}

#[tokio::test]
async fn take_no_place_from_others() {
    let ca = TestCa::root("example.org");
    let limits = ConnectionLimits {
        peers: Quota { all: 1, of_one: 1 },
        ..with_anonymous(AnonymousLimits {
            connections: Quota { all: 1, of_one: 1 },
            ..AnonymousLimits::default()
        })
    };
    let server = serving(&ca, limits).await;
    let (stranger, _) = TestClient::open(&server, nobody(&ca)).await.unwrap();
    assert!(TestClient::open(&server, nobody(&ca)).await.is_err(), "there is no second place for strangers");
    let (_, answer) = TestClient::open(&server, somebody(&ca)).await.unwrap();
    assert_eq!(answer, CLIENT);

    drop(stranger);
    open_in_the_end(&server, &nobody(&ca)).await;
}

#[tokio::test]
async fn are_counted_by_where_they_come_from() {
    let ca = TestCa::root("example.org");
    let anonymous =
        AnonymousLimits { connections: Quota { all: 10, of_one: 1 }, ..AnonymousLimits::default() };
    let limits = with_anonymous(anonymous);
    let reached = limits.reached.clone();
    let server = serving(&ca, limits).await;
    let (_first, _) = TestClient::open(&server, nobody(&ca)).await.unwrap();
    assert!(met(&reached).is_empty());
    assert!(TestClient::open(&server, nobody(&ca)).await.is_err());
    assert_eq!(met(&reached), [(Limit::AnonymousOfOneAddress, 1)]);
}

/// The limits that were reached, and how often.
fn met(reached: &ReachedLimits) -> Vec<(Limit, u64)> {
    reached.counts().into_iter().filter(|(_, times)| *times > 0).collect()
}

#[tokio::test]
async fn are_told_from_others_whom_no_place_was_left_for() {
    let ca = TestCa::root("example.org");
    let limits = ConnectionLimits {
        peers: Quota { all: 1, of_one: 10 },
        handshake: Duration::from_secs(3),
        ..with_anonymous(AnonymousLimits {
            connections: Quota { all: 1, of_one: 10 },
            ..AnonymousLimits::default()
        })
    };
    let reached = limits.reached.clone();
    let server = serving(&ca, limits).await;
    let (_stranger, _) = TestClient::open(&server, nobody(&ca)).await.unwrap();
    let (mut peer, _) = TestClient::open(&server, somebody(&ca)).await.unwrap();
    // Whoever asks nothing more loses the place when the other one has waited for it.
    let asking = tokio::spawn(async move { while peer.ask().await.is_ok() {} });
    for (snapshot, expected) in [
        (nobody(&ca), vec![(Limit::Anonymous, 1)]),
        (somebody(&ca), vec![(Limit::Peers, 1), (Limit::Anonymous, 1)]),
    ] {
        assert!(TestClient::open(&server, snapshot).await.is_err());
        assert_eq!(met(&reached), expected);
    }
    asking.abort();
}

#[tokio::test]
async fn cannot_hold_up_handshakes_from_one_place() {
    let ca = TestCa::root("example.org");
    let limits = ConnectionLimits {
        handshakes: Quota { all: 10, of_one: 1 },
        handshake: Duration::from_secs(600),
        ..ConnectionLimits::default()
    };
    let server = serving(&ca, limits).await;
    let waiting = TcpStream::connect(&server.address).await.unwrap();
    let mut second = TcpStream::connect(&server.address).await.unwrap();
    let mut byte = [0];
    assert!(matches!(soon(second.read(&mut byte)).await, Ok(0) | Err(_)), "the server hangs up");

    drop(waiting);
    let _client = open_in_the_end(&server, &somebody(&ca)).await;
    // Whoever came through the handshake has left its place to others.
    open_in_the_end(&server, &somebody(&ca)).await;
}

#[tokio::test]
async fn are_sent_away_early() {
    let ca = TestCa::root("example.org");
    // Not before its first request is answered on a busy machine.
    let anonymous = AnonymousLimits { age: Duration::from_secs(3), ..AnonymousLimits::default() };
    let server = serving(&ca, with_anonymous(anonymous)).await;
    let (mut stays, _) = TestClient::open(&server, somebody(&ca)).await.unwrap();
    let (stranger, _) = TestClient::open(&server, nobody(&ca)).await.unwrap();
    stranger.ended().await;
    assert_eq!(stays.ask().await.unwrap(), CLIENT);
}

#[tokio::test]
async fn may_not_send_much() {
    let ca = TestCa::root("example.org");
    let anonymous = AnonymousLimits { body: 1024, ..AnonymousLimits::default() };
    let server = serving(&ca, with_anonymous(anonymous)).await;
    for (snapshot, length, is_taken) in
        [(nobody(&ca), 1024, true), (nobody(&ca), 1025, false), (somebody(&ca), 1025, true)]
    {
        let (mut client, _) = TestClient::open(&server, snapshot).await.unwrap();
        let body = Full::from(vec![b'x'; length]);
        let request = Request::post("/length").header("host", "a").body(body).unwrap();
        let status = client.sender.send_request(request).await.unwrap().status();
        assert_eq!(status == StatusCode::OK, is_taken, "{length} bytes: {status}");
    }
}

/// The streams that a server allows, by its first frame (RFC 9113, sections 6.5.2 and 3.4).
async fn allowed_streams(server: &TestServer, snapshot: IdentitySnapshot) -> Option<u32> {
    let mut stream = silent(server, snapshot).await;
    let no_settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&no_settings).await.unwrap();
    let mut head = [0; 9];
    soon(stream.read_exact(&mut head)).await.unwrap();
    assert_eq!(head[3], 4, "a SETTINGS frame comes first");
    let mut settings = vec![0_u8; usize::from(u16::from_be_bytes([head[1], head[2]]))];
    soon(stream.read_exact(&mut settings)).await.unwrap();
    let most = settings.chunks_exact(6).find(|setting| setting[..2] == [0, 3])?;
    Some(u32::from_be_bytes([most[2], most[3], most[4], most[5]]))
}

#[tokio::test]
async fn may_not_ask_for_much_at_once() {
    let ca = TestCa::root("example.org");
    let server = serving(&ca, ConnectionLimits::default()).await;
    assert_eq!(allowed_streams(&server, nobody(&ca)).await, Some(8));
    assert_eq!(allowed_streams(&server, somebody(&ca)).await, Some(256));
}

/// Whoever it is: a connection on which nothing is asked is of no use to anybody.
#[tokio::test]
async fn are_not_waited_for_when_they_say_nothing() {
    let ca = TestCa::root("example.org");
    let limits = ConnectionLimits { handshake: Duration::from_secs(3), ..ConnectionLimits::default() };
    let server = serving(&ca, limits).await;
    for snapshot in [nobody(&ca), somebody(&ca)] {
        let mut stream = silent(&server, snapshot).await;
        let mut byte = [0];
        assert!(matches!(soon(stream.read(&mut byte)).await, Ok(0) | Err(_)), "the server hangs up");
    }
}

#[tokio::test]
async fn leave_places_to_others_though_they_have_an_identity() {
    let ca = TestCa::root("example.org");
    let limits = ConnectionLimits { peers: Quota { all: 10, of_one: 1 }, ..ConnectionLimits::default() };
    let server = serving(&ca, limits).await;
    let (first, _) = TestClient::open(&server, somebody(&ca)).await.unwrap();
    assert!(TestClient::open(&server, somebody(&ca)).await.is_err());
    let other = ca.workload(&leaf("spiffe://example.org/other"));
    assert!(TestClient::open(&server, other).await.is_ok(), "others are not harmed");
    drop(first);
    open_in_the_end(&server, &somebody(&ca)).await;
}
