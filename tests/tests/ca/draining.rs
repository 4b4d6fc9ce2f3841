//! A daemon that stops lets calls in flight end, and takes no new ones.

use std::{convert::Infallible, time::Duration};

use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Either, Empty, StreamBody};
use hyper::{
    body::{Bytes, Frame, Incoming},
    client::conn::http2,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rstest::rstest;
use secplane_identity::PrivateKey;
use secplane_proto::{
    secplane::ca::v1::WatchTrustBundleRequest,
    spire::api::{
        server::agent::v1::{AgentX509svidParams, AttestAgentRequest, GetAgentRequest, attest_agent_request},
        types,
    },
};
use secplane_tests::{
    authority::Ca,
    entries::id,
    holder::{client_config, open},
    soon,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    sync::oneshot,
    task::JoinHandle,
};

/// A node that has begun to attest itself and has not sent its evidence yet.
struct Attesting {
    evidence: oneshot::Sender<Bytes>,
    answer: JoinHandle<hyper::Result<http::Response<Incoming>>>,
    /// The connection lives as long as this.
    _connection: Box<dyn Send>,
}

impl Attesting {
    /// Begins over a connection, and waits until the daemon has the call.
    async fn begin(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request =
            |path| http::Request::post(format!("http://ca{path}")).header("content-type", "application/grpc");
        let (evidence, given) = oneshot::channel();
        let messages =
            stream::once(async move { Ok::<_, Infallible>(Frame::data(given.await.unwrap())) }).boxed();
        let attest = request("/spire.api.server.agent.v1.Agent/AttestAgent");
        let attest = attest.body(Either::Left(StreamBody::new(messages))).unwrap();
        let answer = tokio::spawn(sender.send_request(attest));
        // The daemon has the call once it has answered what was sent after it.
        let after = request("/nothing/Here").body(Either::Right(Empty::<Bytes>::new())).unwrap();
        sender.send_request(after).await.unwrap();
        Self { evidence, answer, _connection: Box::new(sender) }
    }

    /// Sends the evidence, and answers the status of the call.
    async fn finish(self, token: &str) -> String {
        let csr = PrivateKey::generate().unwrap().bare_request().unwrap();
        let data =
            types::AttestationData { r#type: "join_token".to_owned(), payload: token.as_bytes().to_vec() };
        let params =
            attest_agent_request::Params { data: Some(data), params: Some(AgentX509svidParams { csr }) };
        let message = AttestAgentRequest { step: Some(attest_agent_request::Step::Params(params)) };
        let message = message.encode_to_vec();
        let mut frame = vec![0];
        frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        frame.extend(message);
        self.evidence.send(frame.into()).unwrap();
        let answer = soon("the call ends", self.answer).await.unwrap().unwrap();
        let at_once = answer.headers().get("grpc-status").cloned();
        let body = soon("the answer arrives", answer.into_body().collect()).await.unwrap();
        let status = at_once.or_else(|| body.trailers()?.get("grpc-status").cloned());
        status.unwrap().to_str().unwrap().to_owned()
    }
}

#[rstest]
#[case::over_tls(true)]
#[case::over_the_admin_socket(false)]
#[tokio::test]
async fn finishes_a_call_in_flight(#[case] over_tls: bool) {
    let ca = Ca::start().await;
    let token = ca.admin().join_token().await;
    let watching = ca.admin().trust_bundle().watch_trust_bundle(WatchTrustBundleRequest {}).await.unwrap();
    let mut watching = watching.into_inner();
    soon("the first bundle", watching.message()).await.unwrap().unwrap();
    let (address, socket) = (ca.grpc_address(), ca.folder().config.admin_socket());
    let attesting = if over_tls {
        Attesting::begin(open(address, client_config(&ca.bundle().await, None)).await.unwrap()).await
    } else {
        Attesting::begin(UnixStream::connect(&socket).await.unwrap()).await
    };

    let stopping = tokio::spawn(ca.stop());
    soon("the daemon begins to stop", watching.message()).await.unwrap_err();
    soon("new connections are refused", async {
        while TcpStream::connect(address).await.is_ok() || UnixStream::connect(&socket).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(attesting.finish(&token).await, "0");

    // What was answered while it stopped is on disk.
    let ca = stopping.await.unwrap().start().await;
    let agent = Some(id(&format!("/spire/agent/join_token/{token}")));
    let request = GetAgentRequest { id: agent, output_mask: None };
    ca.admin().agent().get_agent(request).await.unwrap();
}
