//! Workloads that follow the Workload API and talk to one another over mutual TLS all the time.
//!
//! Both sides are stock rustls, told nothing but what the Workload API sends.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use rustls_pki_types::ServerName;
use secplane_identity::{tls::crypto_provider, x509::Certificate};
use secplane_proto::{
    spire::api::types,
    workload::{X509svid, X509svidResponse},
};
use secplane_tests::{
    entries::entry_for_this_process,
    soon,
    workload::{Workload, holder, split},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::sleep,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;

const PAUSE: Duration = Duration::from_millis(5);
/// How many handshakes a test waits for before it goes on.
const ENOUGH: usize = 100;
const DNS_NAME: &str = "workload.test";

/// The entry of a workload that can be a TLS server.
pub(super) fn entry(path: &str) -> types::Entry {
    types::Entry { dns_names: vec![DNS_NAME.to_owned()], ..entry_for_this_process(path) }
}

/// What a workload has at one moment.
pub(super) struct Current {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    /// The key ID of the issuing CA that signed its SVID.
    pub(super) issuer: String,
    /// The key ID of the root above its SVID.
    pub(super) root: String,
    /// The key IDs of the roots that it trusts.
    pub(super) trusted: Vec<String>,
}

impl Current {
    fn of(svid: &X509svid) -> Self {
        let mut roots = RootCertStore::empty();
        let mut trusted = Vec::new();
        for root in split(&svid.bundle) {
            trusted.push(Certificate::parse(&root).unwrap().subject_key_id.unwrap());
            roots.add(root.into()).unwrap();
        }
        let holder = holder(svid);
        let issuing = Certificate::parse(holder.chain().last().unwrap()).unwrap();
        let roots = Arc::new(roots);
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), crypto_provider());
        let mut server = ServerConfig::builder_with_provider(crypto_provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(holder.chain().to_vec(), holder.key().to_rustls())
            .unwrap();
        // A resumed session would verify nothing.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(crypto_provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(holder.chain().to_vec(), holder.key().to_rustls())
            .unwrap();
        client.resumption = Resumption::disabled();
        let issuer = holder.leaf().authority_key_id.unwrap();
        let root = issuing.authority_key_id.unwrap();
        Self { client: Arc::new(client), server: Arc::new(server), issuer, root, trusted }
    }
}

/// What came of all handshakes.
#[derive(Default)]
struct Seen {
    /// How many succeeded, by the roots of the client's and of the server's SVID.
    succeeded: BTreeMap<(String, String), usize>,
    /// Why others did not.
    failures: Vec<String>,
}

impl Seen {
    /// How many succeeded between SVIDs that are both below this root.
    fn below(&self, root: &str) -> usize {
        self.succeeded.get(&(root.to_owned(), root.to_owned())).copied().unwrap_or_default()
    }

    fn note(&mut self, client: &Current, server: &Current, outcome: std::io::Result<()>) {
        match outcome {
            Ok(()) => *self.succeeded.entry((client.root.clone(), server.root.clone())).or_default() += 1,
            Err(error) => self.failures.push(format!(
                "a client below {} that trusts {:?}, a server below {} that trusts {:?}: {error}",
                client.root, client.trusted, server.root, server.trusted
            )),
        }
    }

    fn assert_no_failure(&self) {
        assert!(self.failures.is_empty(), "{} handshakes failed: {}", self.failures.len(), self.failures[0]);
    }
}

/// Workloads under traffic, until it is ended.
pub(super) struct Traffic {
    pub(super) workloads: Vec<watch::Receiver<Arc<Current>>>,
    seen: watch::Receiver<Seen>,
    stop: CancellationToken,
    followers: JoinSet<Option<()>>,
    talker: JoinHandle<()>,
}

impl Traffic {
    /// Follows the Workload API as each of these identities, and lets each talk to each other one.
    pub(super) async fn begin(api: &Workload, ids: &[String]) -> Self {
        let stop = CancellationToken::new();
        let mut followers = JoinSet::new();
        let workloads: Vec<_> = future::join_all(ids.iter().map(|id| follow(api.clone(), id.clone())))
            .await
            .into_iter()
            .map(|(receiver, follower)| {
                followers.spawn(stop.clone().run_until_cancelled_owned(follower));
                receiver
            })
            .collect();
        let (reports, seen) = watch::channel(Seen::default());
        let talker = tokio::spawn(talk(workloads.clone(), reports, stop.clone()));
        Self { workloads, seen, stop, followers, talker }
    }

    /// Waits until as many more handshakes as say something have succeeded between SVIDs below this root.
    ///
    /// Fails as soon as one has failed, between whomever.
    pub(super) async fn goes_on_below(&self, root: &str) {
        let mut seen = self.seen.clone();
        let enough = seen.borrow_and_update().below(root) + ENOUGH;
        let seen = seen.wait_for(|seen| !seen.failures.is_empty() || seen.below(root) >= enough);
        soon(format!("{ENOUGH} handshakes below {root}"), seen).await.unwrap().assert_no_failure();
    }

    /// Ends it. No handshake may have failed.
    pub(super) async fn end(mut self) {
        self.stop.cancel();
        self.talker.await.unwrap();
        while let Some(ended) = self.followers.join_next().await {
            ended.unwrap();
        }
        self.seen.borrow().assert_no_failure();
    }
}

/// The first identity, and what goes on publishing its successors.
async fn follow(api: Workload, id: String) -> (watch::Receiver<Arc<Current>>, impl Future<Output = ()>) {
    let mut updates = api.x509_svids().await.unwrap();
    let first = Current::of(&mine(updates.next().await, &id));
    let (sender, receiver) = watch::channel(Arc::new(first));
    let following = async move {
        loop {
            let current = Current::of(&mine(updates.next_whenever().await, &id));
            sender.send_replace(Arc::new(current));
        }
    };
    (receiver, following)
}

fn mine(message: X509svidResponse, id: &str) -> X509svid {
    message.svids.into_iter().find(|svid| svid.spiffe_id == id).unwrap()
}

/// One handshake after another: the rest of the machine is for the authority, which has to renew in time what expires.
async fn talk(
    workloads: Vec<watch::Receiver<Arc<Current>>>,
    reports: watch::Sender<Seen>,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        for (c, client) in workloads.iter().enumerate() {
            for (s, server) in workloads.iter().enumerate() {
                if c != s {
                    let (client, server) = (Arc::clone(&client.borrow()), Arc::clone(&server.borrow()));
                    let outcome = shake_hands(&client, &server).await;
                    reports.send_modify(|seen| seen.note(&client, &server, outcome));
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

async fn shake_hands(client: &Current, server: &Current) -> std::io::Result<()> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from(DNS_NAME).unwrap();
    let connector = TlsConnector::from(Arc::clone(&client.client));
    let acceptor = TlsAcceptor::from(Arc::clone(&server.server));
    let client = async move {
        let mut stream = connector.connect(name, near).await?;
        // The server is done only when it has looked at the client's certificate.
        stream.read_u8().await.map(drop)
    };
    let server = async move {
        let mut stream = acceptor.accept(far).await?;
        stream.write_u8(1).await?;
        stream.shutdown().await
    };
    let (client, server) = tokio::join!(client, server);
    server.and(client)
}
