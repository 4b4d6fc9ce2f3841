//! How the command reaches the CA: over its admin socket, or over mutual TLS.

use std::{
    env, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use clap::Args;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use secplane_identity::{
    Fingerprint, IdentitySnapshot, IdentitySource, SpiffeId, TrustBundle, TrustBundleSet, TrustDomain,
    X509Identity,
    connect::GrpcConnector,
    tls::{ExpectedServer, bootstrap_client_config, client_config},
};
use secplane_proto::{
    secplane::ca::v1::{
        ListRevocationListsRequest, RevocationList, agent_cards_client::AgentCardsClient,
        audit_client::AuditClient, authority_client::AuthorityClient,
        certificates_client::CertificatesClient, revocations_client::RevocationsClient,
        trust_bundle_client::TrustBundleClient,
    },
    spire::api::{
        server::{
            agent::v1::agent_client::AgentClient,
            bundle::v1::{GetBundleRequest, bundle_client::BundleClient},
            entry::v1::entry_client::EntryClient,
            localauthority::v1::local_authority_client::LocalAuthorityClient,
            svid::v1::svid_client::SvidClient,
            trustdomain::v1::trust_domain_client::TrustDomainClient,
        },
        types,
    },
};
use tokio::net::UnixStream;
use tonic::{
    Status,
    transport::{Channel, Endpoint, Uri},
};
use tower::service_fn;

use crate::{
    client_identity::IdentityOptions,
    failure::{Failure, Kind},
};

/// Where `secctl dev` has the admin socket.
const DEFAULT_ADMIN_SOCKET: &str = "./secplane-dev/ca/admin.sock";
const ADMIN_SOCKET_VARIABLE: &str = "SECCTL_ADMIN_SOCKET";
/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest answer with revocation lists that is taken.
const MAX_LISTS_BYTES: usize = 64 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Which CA to speak to, and how.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection to the CA")]
pub(crate) struct CaOptions {
    /// The CA's admin socket [env: SECCTL_ADMIN_SOCKET] [default: ./secplane-dev/ca/admin.sock]
    #[arg(long, value_name = "PATH", conflicts_with = "server")]
    pub(crate) admin_socket: Option<PathBuf>,
    /// The CA's address, reached with TLS 1.3 instead of the admin socket
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) server: Option<String>,
    #[command(flatten)]
    pub(crate) identity: IdentityOptions,
}

/// A connection to a CA.
#[derive(Debug, Clone)]
pub(crate) struct CaClient {
    channel: Channel,
}

impl CaOptions {
    /// Connects as the options say.
    pub(crate) async fn connect(&self) -> Result<CaClient, Failure> {
        match &self.server {
            Some(address) => {
                let identity = self.identity.load(None).await?;
                CaClient::over_tls(address, identity.snapshot, &identity.trust_domain).await
            }
            None => CaClient::over_socket(&self.admin_socket()).await,
        }
    }

    fn admin_socket(&self) -> PathBuf {
        self.admin_socket
            .clone()
            .or_else(|| env::var_os(ADMIN_SOCKET_VARIABLE).map(PathBuf::from))
            .unwrap_or_else(|| DEFAULT_ADMIN_SOCKET.into())
    }
}

impl CaClient {
    /// Connects over the admin socket: full rights, given by the socket's file mode.
    pub(crate) async fn over_socket(path: &Path) -> Result<Self, Failure> {
        let what = format!("reach the CA at its admin socket `{}`", path.display());
        // The channel would say "transport error" only.
        UnixStream::connect(path).await.map_err(|error| socket_failure(&what, &error))?;
        let path = path.to_owned();
        let connector = service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let channel = endpoint()
            .connect_with_connector(connector)
            .await
            .map_err(|e| Failure::from_connect(what, &e))?;
        Ok(Self { channel })
    }

    /// Connects over mutual TLS to the CA of a trust domain.
    pub(crate) async fn over_tls(
        address: &str,
        snapshot: IdentitySnapshot,
        trust_domain: &TrustDomain,
    ) -> Result<Self, Failure> {
        let config = ca_tls_config(snapshot.identity, snapshot.bundles, trust_domain)?;
        Self::with_tls_config(address, config).await
    }

    /// Connects with a TLS configuration of the caller's making.
    pub(crate) async fn with_tls_config(address: &str, config: ClientConfig) -> Result<Self, Failure> {
        let channel = endpoint()
            .connect_with_connector(GrpcConnector::new(address, config))
            .await
            .map_err(|error| Failure::from_connect(format!("reach the CA at {address}"), &error))?;
        Ok(Self { channel })
    }

    pub(crate) fn svid(&self) -> SvidClient<Channel> {
        SvidClient::new(self.channel.clone())
    }

    pub(crate) fn entry(&self) -> EntryClient<Channel> {
        EntryClient::new(self.channel.clone())
    }

    pub(crate) fn bundles(&self) -> BundleClient<Channel> {
        BundleClient::new(self.channel.clone())
    }

    pub(crate) fn trust_domain(&self) -> TrustDomainClient<Channel> {
        TrustDomainClient::new(self.channel.clone())
    }

    pub(crate) fn agent(&self) -> AgentClient<Channel> {
        AgentClient::new(self.channel.clone())
    }

    pub(crate) fn agent_cards(&self) -> AgentCardsClient<Channel> {
        AgentCardsClient::new(self.channel.clone())
    }

    pub(crate) fn audit(&self) -> AuditClient<Channel> {
        AuditClient::new(self.channel.clone())
    }

    pub(crate) fn authority(&self) -> AuthorityClient<Channel> {
        AuthorityClient::new(self.channel.clone())
    }

    pub(crate) fn local_authority(&self) -> LocalAuthorityClient<Channel> {
        LocalAuthorityClient::new(self.channel.clone())
    }

    pub(crate) fn certificates(&self) -> CertificatesClient<Channel> {
        CertificatesClient::new(self.channel.clone())
    }

    /// The current revocation lists, page by page: together they may be longer than any message. An authority of an
    /// earlier version answers all of them at once.
    pub(crate) async fn revocation_lists(&self) -> Result<Vec<RevocationList>, Status> {
        let mut request = ListRevocationListsRequest { page_size: 100, ..Default::default() };
        let mut lists = Vec::new();
        loop {
            let page = self.revocations().list_revocation_lists(request.clone()).await?.into_inner();
            lists.extend(page.lists);
            if page.next_page_token.is_empty() {
                return Ok(lists);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// A single list may be long.
    pub(crate) fn revocations(&self) -> RevocationsClient<Channel> {
        RevocationsClient::new(self.channel.clone()).max_decoding_message_size(MAX_LISTS_BYTES)
    }

    pub(crate) fn trust_bundles(&self) -> TrustBundleClient<Channel> {
        TrustBundleClient::new(self.channel.clone())
    }

    /// The trust bundle of the CA's own trust domain.
    pub(crate) async fn trust_bundle(&self) -> Result<TrustBundle, Failure> {
        let what = "get the trust bundle";
        let response = BundleClient::new(self.channel.clone())
            .get_bundle(GetBundleRequest { output_mask: None })
            .await
            .map_err(|status| Failure::from_status(what, &status))?;
        read_trust_bundle(&response.into_inner())
    }
}

/// TLS towards the CA of a trust domain, with the own identity if there is one.
pub(crate) fn ca_tls_config(
    identity: Option<X509Identity>,
    bundles: TrustBundleSet,
    trust_domain: &TrustDomain,
) -> Result<ClientConfig, Failure> {
    let source = IdentitySource::fixed(IdentitySnapshot { identity, bundles, ..Default::default() });
    client_config(source, expected_ca(trust_domain)?)
        .map_err(|error| Failure::new(Kind::Other, "configure TLS", error))
}

/// The trust bundle of a CA of which nothing is known but the fingerprint of a root.
///
/// Nothing is believed before the fetched bundle holds the root with that fingerprint and the server has proved to
/// belong to it.
pub(crate) async fn bootstrap(address: &str, fingerprint: Fingerprint) -> Result<TrustBundle, Failure> {
    let what = format!("trust the CA at {address}");
    let (config, bootstrap) =
        bootstrap_client_config().map_err(|error| Failure::new(Kind::Other, "configure TLS", error))?;
    let bundle = CaClient::with_tls_config(address, config).await?.trust_bundle().await?;
    if !bundle.authorities().any(|root| Fingerprint::of(&root.der) == fingerprint) {
        return Err(Failure::new(
            Kind::CheckFailed,
            what,
            format_args!("none of its roots has the fingerprint {fingerprint}"),
        )
        .remedy(
            "compare the fingerprint with what the CA's own log says; if it is right, somebody else answers at \
             this address",
        ));
    }
    let pinned = pinned_root(&bundle, fingerprint)?;
    let server = bootstrap.confirm(&pinned, SystemTime::now()).map_err(|error| {
        Failure::new(Kind::CheckFailed, what.clone(), format_args!("its own certificate fails: {error}"))
            .remedy("somebody may stand between you and the CA: use another way to it")
    })?;
    if expected_ca(bundle.trust_domain())? == ExpectedServer::Id(server.id().clone()) {
        Ok(bundle)
    } else {
        Err(Failure::new(Kind::CheckFailed, what, format_args!("it is {}, not a CA", server.id())))
    }
}

/// The one root of a bundle that was pinned: the others are believed only because a server that the pinned one
/// vouches for sent them.
fn pinned_root(bundle: &TrustBundle, fingerprint: Fingerprint) -> Result<TrustBundle, Failure> {
    let roots = bundle.authorities().map(|root| &root.der).filter(|der| Fingerprint::of(der) == fingerprint);
    TrustBundle::new(bundle.trust_domain().clone(), roots)
        .map_err(|error| Failure::refused("read the trust bundle", error))
}

/// Reads a trust bundle from the wire.
pub(crate) fn read_trust_bundle(bundle: &types::Bundle) -> Result<TrustBundle, Failure> {
    let what = "read the trust bundle that the CA sent";
    let trust_domain =
        TrustDomain::parse(&bundle.trust_domain).map_err(|error| Failure::refused(what, error))?;
    let roots = bundle.x509_authorities.iter().map(|root| &root.asn1);
    TrustBundle::new(trust_domain, roots)
        .map(|read| read.with_sequence(bundle.sequence_number))
        .map_err(|error| Failure::refused(what, error))
}

/// The SPIFFE ID that every CA of a trust domain serves with.
fn expected_ca(trust_domain: &TrustDomain) -> Result<ExpectedServer, Failure> {
    SpiffeId::from_parts(trust_domain, "/spire/server")
        .map(ExpectedServer::Id)
        .map_err(|error| Failure::usage(format!("name the CA of {trust_domain}"), error))
}

fn endpoint() -> Endpoint {
    // Only a name: the connector knows the address.
    Endpoint::from_static("http://secplane").connect_timeout(CONNECT_TIMEOUT).timeout(CALL_TIMEOUT)
}

fn socket_failure(what: &str, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Failure::new(Kind::Denied, what, error)
            .remedy("run as the user that the CA runs as, or use --server with an admin's SVID"),
        io::ErrorKind::NotFound => Failure::new(Kind::Unreachable, what, "there is no such socket").remedy(
            "start one with `secctl dev`, or name the socket with --admin-socket or SECCTL_ADMIN_SOCKET",
        ),
        _ => Failure::new(Kind::Unreachable, what, error)
            .remedy("start the CA: nothing listens there (`secctl dev`, or `ca-daemon serve`)"),
    }
}

/// A SPIFFE ID as the wire has it.
pub(crate) fn wire_id(id: &SpiffeId) -> types::Spiffeid {
    types::Spiffeid { trust_domain: id.trust_domain().as_str().to_owned(), path: id.path().to_owned() }
}

/// A SPIFFE ID from the wire, as text to show.
pub(crate) fn shown_id(id: Option<&types::Spiffeid>) -> String {
    id.map(|id| format!("spiffe://{}{}", id.trust_domain, id.path)).unwrap_or_default()
}

/// The failure of one item of a batch, whose status is not that of the call.
pub(crate) fn check_item(what: impl Into<String>, status: Option<&types::Status>) -> Result<(), Failure> {
    match status {
        None => Err(Failure::new(Kind::Other, what, "the CA answered without a status")),
        Some(status) if status.code == 0 => Ok(()),
        Some(status) => {
            Err(Failure::from_status(what, &tonic::Status::new(status.code.into(), status.message.clone())))
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, http::Response, routing::post};
    use http_body_util::{BodyExt, Full};
    use hyper::{
        HeaderMap,
        body::Bytes,
        header::{CONTENT_TYPE, HeaderValue},
    };
    use prost::Message;
    use rcgen::{
        BasicConstraints, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer,
        KeyPair, KeyUsagePurpose, SanType,
    };
    use rustls_pki_types::CertificateDer;
    use secplane_identity::{
        PrivateKey,
        serve::{ConnectionLimits, serve},
        tls::ClientPolicy,
    };
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    use super::*;

    const CA: &str = "spiffe://example.org/spire/server";

    struct Root {
        der: CertificateDer<'static>,
        issuer: Issuer<'static, KeyPair>,
    }

    impl Root {
        fn new(name: &str) -> Self {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            let der = params.self_signed(&key).unwrap().der().clone();
            Self { der, issuer: Issuer::new(params, key) }
        }

        fn server(&self, id: &str) -> X509Identity {
            let key = PrivateKey::generate().unwrap();
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages =
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            let leaf = params.signed_by(&key.signing_pair().unwrap(), &self.issuer).unwrap();
            X509Identity::new(vec![leaf.der().clone()], key).unwrap()
        }

        fn fingerprint(&self) -> Fingerprint {
            Fingerprint::of(&self.der)
        }
    }

    /// A server that answers GetBundle with these roots, whatever they are.
    async fn serve_bundle(identity: X509Identity, roots: &[&Root]) -> (String, CancellationToken) {
        let bundle = types::Bundle {
            trust_domain: "example.org".into(),
            x509_authorities: roots
                .iter()
                .map(|root| types::X509Certificate { asn1: root.der.to_vec(), tainted: false })
                .collect(),
            ..types::Bundle::default()
        };
        let message = bundle.encode_to_vec();
        let mut frame = vec![0];
        frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        frame.extend(message);
        let answer = move || {
            let frame = Bytes::from(frame.clone());
            async move {
                let trailers = HeaderMap::from_iter([(
                    "grpc-status".parse::<hyper::header::HeaderName>().unwrap(),
                    HeaderValue::from_static("0"),
                )]);
                let body = Full::new(frame).with_trailers(async move { Some(Ok(trailers)) });
                let response = Response::builder().header(CONTENT_TYPE, "application/grpc");
                response.body(Body::new(body)).unwrap()
            }
        };
        let app = Router::new().route("/spire.api.server.bundle.v1.Bundle/GetBundle", post(answer));
        let source =
            IdentitySource::fixed(IdentitySnapshot { identity: Some(identity), ..Default::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shutdown = CancellationToken::new();
        let limits = ConnectionLimits::default();
        tokio::spawn(serve(listener, source, ClientPolicy::AnyOrNone, limits, app, shutdown.clone()));
        (address, shutdown)
    }

    #[tokio::test]
    async fn trusts_the_ca_whose_root_was_named() {
        let root = Root::new("real");
        let (address, shutdown) = serve_bundle(root.server(CA), &[&root]).await;
        let bundle = bootstrap(&address, root.fingerprint()).await.unwrap();
        assert_eq!(bundle.authorities().len(), 1);
        shutdown.cancel();
    }

    /// Roots are public: whoever stands between can send the right one, and their own beside it.
    #[tokio::test]
    async fn refuses_a_server_that_only_shows_the_right_root() {
        let (real, attacker) = (Root::new("real"), Root::new("attacker"));
        let (address, shutdown) = serve_bundle(attacker.server(CA), &[&real, &attacker]).await;
        let failure = bootstrap(&address, real.fingerprint()).await.unwrap_err();
        assert_eq!(failure.kind(), Kind::CheckFailed);
        shutdown.cancel();
    }

    #[tokio::test]
    async fn refuses_a_workload_that_plays_the_ca() {
        let root = Root::new("real");
        let workload = root.server("spiffe://example.org/ns/a/sa/b");
        let (address, shutdown) = serve_bundle(workload, &[&root]).await;
        let failure = bootstrap(&address, root.fingerprint()).await.unwrap_err();
        assert!(failure.to_string().contains("/ns/a/sa/b"), "{failure}");
        shutdown.cancel();
    }

    #[tokio::test]
    async fn refuses_another_fingerprint() {
        let (root, other) = (Root::new("real"), Root::new("other"));
        let (address, shutdown) = serve_bundle(root.server(CA), &[&root]).await;
        assert_eq!(bootstrap(&address, other.fingerprint()).await.unwrap_err().kind(), Kind::CheckFailed);
        shutdown.cancel();
    }
}
