use std::path::PathBuf;

use futures_util::{StreamExt as _, future, stream::BoxStream};
use rstest::rstest;
use rustls_pki_types::CertificateDer;
use secplane_proto::workload::{
    JwtBundlesRequest, JwtBundlesResponse, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
    ValidateJwtsvidResponse, WitBundlesRequest, WitBundlesResponse, WitsvidRequest, WitsvidResponse,
    X509BundlesRequest, X509BundlesResponse, X509svid,
    spiffe_workload_api_server::{SpiffeWorkloadApi, SpiffeWorkloadApiServer},
};
use tempfile::TempDir;
use tokio::{net::UnixListener, sync::watch};
use tokio_stream::wrappers::{UnixListenerStream, WatchStream};
use tonic::{Response, transport::Server};

use super::*;
use crate::{
    TrustDomain,
    revocation::{MAX_LIST_BYTES, RevocationList, SerialNumber},
    testing::{TestCa, leaf, revocation_list},
    x509::{Certificate, Purpose},
};

const OWN: &str = "spiffe://example.org/own";
const PEER: &str = "spiffe://example.org/peer";

/// A workload's answer: an SVID of `id` that `ca` issued, and the CA's list of what it revoked.
fn answer(ca: &TestCa, id: &str, number: u64, revoked: &[SerialNumber]) -> X509svidResponse {
    let (leaf, key) = ca.sign(&leaf(id));
    X509svidResponse {
        svids: vec![X509svid {
            spiffe_id: id.to_owned(),
            x509_svid: leaf.to_vec(),
            x509_svid_key: key.pkcs8_der().to_vec(),
            bundle: ca.der.to_vec(),
            hint: String::new(),
        }],
        crl: vec![revocation_list(ca, number, revoked)],
        ..Default::default()
    }
}

fn serial(certificate: &CertificateDer<'_>) -> SerialNumber {
    Certificate::parse(certificate).unwrap().serial.parse().unwrap()
}

/// A Workload API that says what a test wants.
struct Scripted {
    folder: TempDir,
    answers: watch::Sender<X509svidResponse>,
    serving: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Scripted {
    fn start(first: X509svidResponse) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut api = Self { folder, answers: watch::Sender::new(first), serving: None };
        api.serve();
        api
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("api.sock")
    }

    fn serve(&mut self) {
        let _ = std::fs::remove_file(self.socket());
        let incoming = UnixListenerStream::new(UnixListener::bind(self.socket()).unwrap());
        let service = SpiffeWorkloadApiServer::new(Answers(self.answers.subscribe()));
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let served = Server::builder().add_service(service).serve_with_incoming(incoming);
        let task = tokio::spawn(async move {
            tokio::select! { _ = served => {}, () = stopped => {} }
        });
        self.serving = Some((stop, task));
    }

    async fn stop(&mut self) {
        let (stop, task) = self.serving.take().unwrap();
        stop.cancel();
        task.await.unwrap();
    }

    fn options(&self) -> WorkloadApiOptions {
        WorkloadApiOptions {
            endpoint: format!("unix:{}", self.socket().display()),
            spiffe_id: None,
            first_within: Duration::from_secs(30),
        }
    }
}

struct Answers(watch::Receiver<X509svidResponse>);

#[tonic::async_trait]
impl SpiffeWorkloadApi for Answers {
    type FetchX509SVIDStream = BoxStream<'static, Result<X509svidResponse, Status>>;
    type FetchX509BundlesStream = BoxStream<'static, Result<X509BundlesResponse, Status>>;
    type FetchJWTBundlesStream = BoxStream<'static, Result<JwtBundlesResponse, Status>>;
    type FetchWITSVIDStream = BoxStream<'static, Result<WitsvidResponse, Status>>;
    type FetchWITBundlesStream = BoxStream<'static, Result<WitBundlesResponse, Status>>;

    async fn fetch_x509svid(
        &self,
        request: Request<X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        assert_eq!(request.metadata().get("workload.spiffe.io").unwrap(), "true");
        assert_eq!(request.metadata().get(LARGEST_MESSAGE).unwrap(), "67108864");
        Ok(Response::new(WatchStream::new(self.0.clone()).map(Ok).boxed()))
    }

    async fn fetch_x509_bundles(
        &self,
        _: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        future::pending().await
    }

    async fn fetch_jwtsvid(&self, _: Request<JwtsvidRequest>) -> Result<Response<JwtsvidResponse>, Status> {
        future::pending().await
    }

    async fn fetch_jwt_bundles(
        &self,
        _: Request<JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        future::pending().await
    }

    async fn validate_jwtsvid(
        &self,
        _: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        future::pending().await
    }

    async fn fetch_witsvid(
        &self,
        _: Request<WitsvidRequest>,
    ) -> Result<Response<Self::FetchWITSVIDStream>, Status> {
        future::pending().await
    }

    async fn fetch_wit_bundles(
        &self,
        _: Request<WitBundlesRequest>,
    ) -> Result<Response<Self::FetchWITBundlesStream>, Status> {
        future::pending().await
    }
}

async fn changed(source: &mut IdentitySource) -> Arc<IdentitySnapshot> {
    timeout(Duration::from_secs(30), source.changed()).await.expect("no change came")
}

#[tokio::test]
async fn takes_trust_back_when_a_list_says_so() {
    let ca = TestCa::root("example.org");
    let peer = [ca.sign(&leaf(PEER)).0];
    let api = Scripted::start(answer(&ca, OWN, 1, &[]));
    let shutdown = CancellationToken::new();
    let (mut source, task) = follow(api.options(), shutdown.clone()).await.unwrap();
    let first = source.current();
    assert_eq!(first.identity.as_ref().unwrap().id().as_str(), OWN);
    first.verify_svid(&peer, Purpose::ClientAuth, SystemTime::now()).unwrap();

    api.answers.send_replace(answer(&ca, OWN, 2, &[serial(&peer[0])]));
    let second = changed(&mut source).await;
    assert!(second.verify_svid(&peer, Purpose::ClientAuth, SystemTime::now()).is_err());
    assert_ne!(
        second.identity.as_ref().unwrap().leaf().serial,
        first.identity.as_ref().unwrap().leaf().serial,
        "the identity rotates with the same message"
    );
    shutdown.cancel();
    task.await.unwrap();
}

/// More than others read, and more than a message of 4 MiB holds: what is on it must not be trusted for its length.
#[tokio::test]
async fn takes_trust_back_when_a_very_long_list_says_so() {
    let ca = TestCa::root("example.org");
    let peer = [ca.sign(&leaf(PEER)).0];
    let others = (0..125_000_u128)
        .map(|number| SerialNumber::from_bytes(&((1_u128 << 126) + number).to_be_bytes()).unwrap());
    let revoked: Vec<_> = others.chain([serial(&peer[0])]).collect();
    let answer = answer(&ca, OWN, 1, &revoked);
    assert!(answer.crl[0].len() > MAX_LIST_BYTES, "{} bytes", answer.crl[0].len());
    let api = Scripted::start(answer);
    let (source, _task) = follow(api.options(), CancellationToken::new()).await.unwrap();
    assert!(source.current().verify_svid(&peer, Purpose::ClientAuth, SystemTime::now()).is_err());
}

#[tokio::test]
async fn takes_lists_over_from_an_answer_whose_identity_is_unusable() {
    let ca = TestCa::root("example.org");
    let peer = [ca.sign(&leaf(PEER)).0];
    let api = Scripted::start(answer(&ca, OWN, 1, &[]));
    let (mut source, _task) = follow(api.options(), CancellationToken::new()).await.unwrap();
    let own = source.current().identity.as_ref().unwrap().leaf().serial.clone();

    let mut spoiled = answer(&ca, OWN, 2, &[serial(&peer[0])]);
    spoiled.svids[0].x509_svid_key = vec![0x30, 0x00];
    api.answers.send_replace(spoiled);
    let snapshot = changed(&mut source).await;
    assert!(snapshot.verify_svid(&peer, Purpose::ClientAuth, SystemTime::now()).is_err());
    assert_eq!(snapshot.identity.as_ref().unwrap().leaf().serial, own, "the last identity stays");
}

#[tokio::test]
async fn keeps_what_it_has_while_the_api_is_away() {
    let ca = TestCa::root("example.org");
    let peer = [ca.sign(&leaf(PEER)).0];
    let mut api = Scripted::start(answer(&ca, OWN, 1, &[serial(&peer[0])]));
    let (mut source, _task) = follow(api.options(), CancellationToken::new()).await.unwrap();
    let first = source.current();
    api.stop().await;
    assert!(Arc::ptr_eq(&first, &source.current()));

    let other = [ca.sign(&leaf(PEER)).0];
    api.answers.send_replace(answer(&ca, OWN, 2, &[serial(&peer[0]), serial(&other[0])]));
    api.serve();
    let second = changed(&mut source).await;
    for revoked in [peer, other] {
        assert!(second.verify_svid(&revoked, Purpose::ClientAuth, SystemTime::now()).is_err());
    }
}

#[tokio::test]
async fn says_why_there_is_no_identity() {
    let ca = TestCa::root("example.org");
    let api = Scripted::start(answer(&ca, OWN, 1, &[]));
    // All of it passes, and the first answer has to come within it on a busy machine.
    let soon = Duration::from_secs(3);
    let wanted = Some(SpiffeId::parse(PEER).unwrap());
    let options = WorkloadApiOptions { spiffe_id: wanted, first_within: soon, ..api.options() };
    let failure = follow(options, CancellationToken::new()).await.unwrap_err();
    assert!(
        matches!(failure, WorkloadApiFailure::Response(ResponseError::NoSuchIdentity { .. })),
        "{failure}"
    );

    let endpoint = "unix:/nonexistent/api.sock".to_owned();
    let options = WorkloadApiOptions { endpoint, first_within: soon, ..api.options() };
    let failure = follow(options, CancellationToken::new()).await.unwrap_err();
    assert!(matches!(failure, WorkloadApiFailure::Endpoint(EndpointError::Unreachable { .. })), "{failure}");
    assert!(failure.to_string().contains("No such file"), "{failure}");
}

fn read(response: &X509svidResponse, held: &Revocations) -> Update {
    Update::read(response, None, held, SystemTime::now())
}

#[rstest]
#[case::no_identity(|answer: &mut X509svidResponse| answer.svids.clear())]
#[case::no_certificate(|answer: &mut X509svidResponse| answer.svids[0].x509_svid.clear())]
#[case::cut_certificate(|answer: &mut X509svidResponse| { answer.svids[0].x509_svid.pop(); })]
#[case::no_bundle(|answer: &mut X509svidResponse| answer.svids[0].bundle.clear())]
#[case::another_bundle(|answer: &mut X509svidResponse| {
    answer.svids[0].bundle = TestCa::root("example.org").der.to_vec();
})]
#[case::another_key(|answer: &mut X509svidResponse| {
    answer.svids[0].x509_svid_key = crate::PrivateKey::generate().unwrap().pkcs8_der().to_vec();
})]
#[case::another_name(|answer: &mut X509svidResponse| answer.svids[0].spiffe_id = PEER.to_owned())]
#[case::a_long_chain(|answer: &mut X509svidResponse| {
    answer.svids[0].x509_svid = answer.svids[0].x509_svid.repeat(9);
})]
#[case::a_bundle_of_nobody(|answer: &mut X509svidResponse| {
    answer.federated_bundles.insert("spiffe://Not/a trust domain".to_owned(), Vec::new());
})]
fn refuses_an_identity_that_is_not_whole(#[case] spoil: fn(&mut X509svidResponse)) {
    let mut answer = answer(&TestCa::root("example.org"), OWN, 1, &[]);
    assert!(read(&answer, &Revocations::default()).identity.is_ok());
    spoil(&mut answer);
    assert!(read(&answer, &Revocations::default()).identity.is_err());
}

#[test]
fn lets_no_federated_bundle_speak_for_the_own_trust_domain() {
    let ca = TestCa::root("example.org");
    let mut answer = answer(&ca, OWN, 1, &[]);
    let stranger = TestCa::root("example.org");
    let federated = TestCa::root("example.com");
    answer.federated_bundles = [
        ("spiffe://example.org".to_owned(), stranger.der.to_vec()),
        ("spiffe://example.com".to_owned(), federated.der.to_vec()),
    ]
    .into();
    let (_, bundles) = read(&answer, &Revocations::default()).identity.unwrap();
    let roots = |name: &str| -> Vec<_> {
        let bundle = bundles.get(&TrustDomain::parse(name).unwrap()).unwrap();
        bundle.authorities().map(|root| root.der.clone()).collect()
    };
    assert_eq!(roots("example.org"), [ca.der]);
    assert_eq!(roots("example.com"), [federated.der]);
}

#[test]
fn keeps_the_held_list_when_the_new_one_cannot_be_read() {
    let ca = TestCa::root("example.org");
    let peer = serial(&ca.sign(&leaf(PEER)).0);
    let mut held = Revocations::default();
    let list = RevocationList::parse(&revocation_list(&ca, 1, &[peer])).unwrap();
    held.take_lists([Arc::new(list)], SystemTime::now());
    let mut answer = answer(&ca, OWN, 2, &[]);
    answer.crl[0].pop();
    let update = read(&answer, &held);
    assert!(update.identity.is_ok());
    assert!(update.revocations.lists().any(|list| list.contains(&peer)));
}
