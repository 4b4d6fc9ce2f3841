//! Over real sockets: who gets in, and when a connection ends.

mod strangers;

use axum::{
    Extension,
    routing::{get, post},
};
use http::StatusCode;
use http_body_util::{BodyExt, Full};
use hyper::{body::Bytes, client::conn::http1};
use tokio::{io::AsyncReadExt, task::JoinHandle};

use super::*;
use crate::{
    IdentityPublisher, IdentitySnapshot, Revocations, SpiffeId,
    connect::connect,
    revocation::KeyHash,
    testing::{TestCa, leaf},
    tls::{ExpectedServer, client_config},
};

const SERVER: &str = "spiffe://example.org/server";
const CLIENT: &str = "spiffe://example.org/client";

struct TestServer {
    address: String,
    publisher: IdentityPublisher,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), rustls::Error>>,
}

async fn start(ca: &TestCa, policy: ClientPolicy, limits: ConnectionLimits) -> TestServer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (publisher, source) = IdentitySource::channel(ca.workload(&leaf(SERVER)));
    let shutdown = CancellationToken::new();
    let app = Router::new().route("/whoami", get(whoami)).route("/length", post(length));
    let task = tokio::spawn(serve(listener, source, policy, limits, app, shutdown.clone()));
    TestServer { address, publisher, shutdown, task }
}

async fn whoami(Extension(connection): Extension<Connection>) -> String {
    connection.peer.spiffe_id().map_or("nobody".into(), ToString::to_string)
}

async fn length(body: Bytes) -> String {
    body.len().to_string()
}

/// A connection that was opened and asked once.
struct TestClient {
    sender: http1::SendRequest<Full<Bytes>>,
    ended: JoinHandle<()>,
}

impl TestClient {
    async fn open(server: &TestServer, snapshot: IdentitySnapshot) -> Result<(Self, String), String> {
        let expected = ExpectedServer::Id(SpiffeId::parse(SERVER).unwrap());
        let config = client_config(IdentitySource::fixed(snapshot), expected).unwrap();
        let stream = connect(&server.address, Arc::new(config)).await.map_err(|e| e.to_string())?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        let ended = tokio::spawn(async move {
            let _ = connection.await;
        });
        let mut client = Self { sender, ended };
        let answer = client.ask().await?;
        Ok((client, answer))
    }

    async fn ask(&mut self) -> Result<String, String> {
        let request = Request::get("/whoami").header("host", "a").body(Full::default()).unwrap();
        let response = self.sender.send_request(request).await.map_err(|e| e.to_string())?;
        assert_eq!(response.status(), StatusCode::OK);
        let body = response.into_body().collect().await.map_err(|e| e.to_string())?;
        Ok(String::from_utf8(body.to_bytes().to_vec()).unwrap())
    }

    /// Waits until the server has ended the connection.
    async fn ended(self) {
        timeout(Duration::from_secs(30), self.ended).await.expect("the connection never ended").unwrap();
    }
}

#[tokio::test]
async fn tells_the_application_who_the_peer_is() {
    let ca = TestCa::root("example.org");
    let server = start(&ca, ClientPolicy::Svid, ConnectionLimits::default()).await;
    let (_, answer) = TestClient::open(&server, ca.workload(&leaf(CLIENT))).await.unwrap();
    assert_eq!(answer, CLIENT);
    server.shutdown.cancel();
    server.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn refuses_strangers() {
    let ca = TestCa::root("example.org");
    let server = start(&ca, ClientPolicy::Svid, ConnectionLimits::default()).await;
    let trusting =
        |identity| IdentitySnapshot { identity, bundles: ca.bundle().into(), ..Default::default() };

    let nobody = trusting(None);
    assert!(TestClient::open(&server, nobody).await.is_err());
    let foreign = TestCa::root("example.org").workload(&leaf(CLIENT)).identity;
    assert!(TestClient::open(&server, trusting(foreign)).await.is_err());
    let mut expired = leaf(CLIENT);
    expired.not_after = (SystemTime::now() - Duration::from_secs(5)).into();
    assert!(TestClient::open(&server, ca.workload(&expired)).await.is_err());

    assert!(TestClient::open(&server, ca.workload(&leaf(CLIENT))).await.is_ok(), "others are not harmed");
}

#[tokio::test]
async fn lets_anonymous_clients_in_only_where_the_policy_says_so() {
    let ca = TestCa::root("example.org");
    let server = start(&ca, ClientPolicy::AnyOrNone, ConnectionLimits::default()).await;
    let nobody = IdentitySnapshot { bundles: ca.bundle().into(), ..Default::default() };
    assert_eq!(TestClient::open(&server, nobody).await.unwrap().1, "nobody");
}

#[tokio::test]
async fn client_refuses_another_server() {
    let ca = TestCa::root("example.org");
    let server = start(&ca, ClientPolicy::Svid, ConnectionLimits::default()).await;
    server.publisher.publish(ca.workload(&leaf("spiffe://example.org/impostor")));
    let refused = TestClient::open(&server, ca.workload(&leaf(CLIENT))).await;
    assert!(refused.is_err_and(|reason| reason.contains("impostor")));
}

#[tokio::test]
async fn ends_a_connection_with_its_client_s_certificate() {
    let ca = TestCa::root("example.org");
    let server = start(&ca, ClientPolicy::Svid, ConnectionLimits::default()).await;
    let mut short = leaf(CLIENT);
    // Long enough to be let in and answered on a busy machine.
    short.not_after = (SystemTime::now() + Duration::from_secs(8)).into();
    let (client, _) = TestClient::open(&server, ca.workload(&short)).await.unwrap();
    client.ended().await;
}

#[tokio::test]
async fn ends_a_connection_whose_root_is_withdrawn() {
    let ca = TestCa::root("example.org");
    let server = start(&ca, ClientPolicy::Svid, ConnectionLimits::default()).await;
    let (mut stays, _) = TestClient::open(&server, ca.workload(&leaf(CLIENT))).await.unwrap();
    // A change that keeps the root ends nothing.
    server.publisher.publish(ca.workload(&leaf(SERVER)));
    assert_eq!(stays.ask().await.unwrap(), CLIENT);

    let successor = TestCa::root("example.org");
    server.publisher.publish(successor.workload(&leaf(SERVER)));
    stays.ended().await;
}

#[tokio::test]
async fn ends_the_connection_of_a_revoked_client_alone() {
    let ca = TestCa::root("example.org");
    let server = start(&ca, ClientPolicy::Svid, ConnectionLimits::default()).await;
    let (identity, other) = (ca.workload(&leaf(CLIENT)), ca.workload(&leaf(CLIENT)));
    let (mut stays, _) = TestClient::open(&server, other).await.unwrap();
    let (revoked, _) = TestClient::open(&server, identity.clone()).await.unwrap();

    let certificate = identity.identity.as_ref().unwrap().leaf();
    let mut revocations = Revocations::default();
    let issuer = certificate.authority_key_id.as_deref().unwrap();
    revocations.revoke_serial(issuer, certificate.serial.parse().unwrap());
    server.publisher.publish_revocations(Arc::new(revocations));
    revoked.ended().await;
    assert!(TestClient::open(&server, identity).await.is_err());

    // A renewal of the server's certificate brings nobody back.
    let renewed = ca.workload(&leaf(SERVER));
    server.publisher.publish_identity(renewed.identity.unwrap(), renewed.bundles);
    assert_eq!(stays.ask().await.unwrap(), CLIENT);
}

#[tokio::test]
async fn client_refuses_a_revoked_server() {
    let ca = TestCa::root("example.org");
    let server = start(&ca, ClientPolicy::Svid, ConnectionLimits::default()).await;
    let own = server.publisher.current().identity.clone().unwrap();
    let mut revocations = Revocations::default();
    revocations.revoke_key(KeyHash::of(&own.leaf().public_key_info));
    let client = IdentitySnapshot { revocations: Arc::new(revocations), ..ca.workload(&leaf(CLIENT)) };
    let refusal = TestClient::open(&server, client).await.err().unwrap();
    assert!(refusal.contains("Revoked"), "{refusal}");
}

#[tokio::test]
async fn ends_a_connection_at_its_greatest_age() {
    let ca = TestCa::root("example.org");
    // Not before its first request is answered on a busy machine.
    let limits = ConnectionLimits { age: Duration::from_secs(3), ..ConnectionLimits::default() };
    let server = start(&ca, ClientPolicy::Svid, limits).await;
    let (client, _) = TestClient::open(&server, ca.workload(&leaf(CLIENT))).await.unwrap();
    client.ended().await;
}

#[tokio::test]
async fn ends_idle_connections_at_shutdown() {
    let ca = TestCa::root("example.org");
    let server = start(&ca, ClientPolicy::Svid, ConnectionLimits::default()).await;
    let (client, _) = TestClient::open(&server, ca.workload(&leaf(CLIENT))).await.unwrap();
    server.shutdown.cancel();
    client.ended().await;
    server.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn gives_up_a_handshake_that_never_comes() {
    let ca = TestCa::root("example.org");
    let limits = ConnectionLimits { handshake: Duration::from_millis(100), ..ConnectionLimits::default() };
    let server = start(&ca, ClientPolicy::Svid, limits).await;
    let mut silent = TcpStream::connect(&server.address).await.unwrap();
    let mut byte = [0];
    assert_eq!(silent.read(&mut byte).await.unwrap(), 0, "the server hangs up");
}

/// A ClientHello that offers TLS 1.2 alone (RFC 5246, section 7.4.1.2).
#[tokio::test]
async fn refuses_tls_1_2_with_the_alert_that_says_so() {
    use tokio::io::AsyncWriteExt;
    let ca = TestCa::root("example.org");
    let server = start(&ca, ClientPolicy::Svid, ConnectionLimits::default()).await;

    let mut hello = vec![0x03, 0x03];
    hello.extend([7; 32]); // random
    hello.push(0); // no session
    hello.extend([0, 2, 0xc0, 0x2b]); // TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
    hello.extend([1, 0]); // no compression
    let extensions = [
        [0, 10, 0, 4, 0, 2, 0, 23].as_slice(), // supported groups: P-256
        &[0, 13, 0, 4, 0, 2, 4, 3],            // signature algorithms: ecdsa_secp256r1_sha256
    ]
    .concat();
    hello.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    hello.extend(extensions);
    let length = u16::try_from(hello.len()).unwrap();
    let mut record = vec![22, 3, 1];
    record.extend((length + 4).to_be_bytes());
    record.extend([1, 0]);
    record.extend(length.to_be_bytes());
    record.extend(hello);

    let mut stream = TcpStream::connect(&server.address).await.unwrap();
    stream.write_all(&record).await.unwrap();
    let mut alert = [0; 7];
    stream.read_exact(&mut alert).await.unwrap();
    assert_eq!((alert[0], alert[5], alert[6]), (21, 2, 70), "a fatal protocol_version alert");
}
