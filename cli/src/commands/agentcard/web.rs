//! Getting a document from the web: one GET, no redirects, bounded in size and time.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use clap::Args;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use secplane_identity::{connect::connect_at, tls::crypto_provider};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use crate::failure::{Failure, Kind};

/// How long one document may take, from the look-up of the name to its last byte.
pub(super) const WITHIN: Duration = Duration::from_secs(10);
/// Where most systems keep the roots of public CAs.
const WEB_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Whom to believe that a web server is who its name says.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Web servers")]
pub(super) struct WebRoots {
    /// The roots (PEM) by which servers of `https://` URLs are authenticated
    #[arg(long, value_name = "FILE", default_value = WEB_ROOTS)]
    pub(super) web_roots: PathBuf,
}

/// An `http` or `https` URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WebUrl {
    pub(super) is_tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// With the query.
    pub(super) path: String,
}

impl WebUrl {
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let refused = |why: String| Failure::usage(format!("use the URL `{text}`"), why);
        let uri: Uri = text.parse().map_err(|error| refused(format!("it is no URL: {error}")))?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(refused("only https:// and http:// are fetched".to_owned())),
        };
        let authority = uri.authority().ok_or_else(|| refused("it names no host".to_owned()))?;
        if authority.as_str().contains('@') {
            return Err(refused("it holds a user name or password, which nobody is sent".to_owned()));
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(refused("it names no host".to_owned()));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            is_tls,
            host,
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            path: if path.is_empty() { "/".to_owned() } else { path.to_owned() },
        })
    }

    /// `host:port`, as it is connected to.
    pub(super) fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    pub(super) fn with_path(&self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self.clone() }
    }
}

impl fmt::Display for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.address(), self.path)
    }
}

/// Gets a document of at most `limit` bytes from any address that the host has.
pub(super) async fn get(url: &WebUrl, roots: &WebRoots, limit: usize) -> Result<Vec<u8>, Failure> {
    get_from(url, roots, limit, |_| true).await
}

/// Gets a document, if every address that the host has is admitted. The connection goes to one of the addresses that
/// were looked at: the name is not looked up again.
pub(super) async fn get_from(
    url: &WebUrl,
    roots: &WebRoots,
    limit: usize,
    admits: fn(IpAddr) -> bool,
) -> Result<Vec<u8>, Failure> {
    let what = format!("get {url}");
    let config = if url.is_tls { Some(Arc::new(web_config(roots)?)) } else { None };
    let exchange = async {
        let addresses =
            resolve(url, admits).await.map_err(|why| Failure::new(Kind::Unreachable, &what, why))?;
        let answer = match config {
            None => {
                let stream = TcpStream::connect(&*addresses)
                    .await
                    .map_err(|error| Failure::from_connect(&what, &error))?;
                ask(stream, url, limit, &what).await?
            }
            Some(config) => {
                let stream = connect_at(&addresses, &url.host, config)
                    .await
                    .map_err(|error| Failure::from_connect(&what, &error))?;
                ask(stream, url, limit, &what).await?
            }
        };
        answer.ok_or(&what)
    };
    timeout(WITHIN, exchange).await.unwrap_or_else(|_| Err(late(&what)))
}

pub(super) fn late(what: &str) -> Failure {
    Failure::new(Kind::Unreachable, what, format_args!("no whole answer within {WITHIN:?}"))
}

async fn resolve(url: &WebUrl, admits: fn(IpAddr) -> bool) -> Result<Vec<SocketAddr>, String> {
    let addresses: Vec<_> = lookup_host((url.host.as_str(), url.port))
        .await
        .map_err(|error| format!("`{}` has no address: {error}", url.host))?
        .collect();
    if addresses.is_empty() {
        return Err(format!("`{}` has no address", url.host));
    }
    match addresses.iter().find(|address| !admits(address.ip())) {
        Some(inside) => Err(format!(
            "`{}` is at {}, which is not an address of the public internet, so it is not asked",
            url.host,
            inside.ip()
        )),
        None => Ok(addresses),
    }
}

fn web_config(roots: &WebRoots) -> Result<ClientConfig, Failure> {
    let path = &roots.web_roots;
    let what = || format!("use the roots in `{}`", path.display());
    let mut store = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| Failure::refused(what(), error))?;
    // One that cannot be used is no reason to trust none: such files hold more than a hundred.
    store.add_parsable_certificates(certificates.filter_map(Result::ok));
    if store.is_empty() {
        return Err(Failure::refused(what(), "it holds no usable certificate"));
    }
    let config = ClientConfig::builder_with_provider(crypto_provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| Failure::new(Kind::Other, "configure TLS", error))?;
    let mut config = config.with_root_certificates(store).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// What a server answered.
pub(super) enum Answer {
    Document(Vec<u8>),
    /// Another status than 200.
    Status(StatusCode),
}

impl Answer {
    /// The document; any other answer, a redirect too, is a failure.
    fn ok_or(self, what: &str) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Document(bytes) => Ok(bytes),
            Self::Status(status) => Err(bad_status(what, status)),
        }
    }
}

pub(super) fn bad_status(what: &str, status: StatusCode) -> Failure {
    let kind = match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => Kind::NotFound,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Kind::Denied,
        _ => Kind::Refused,
    };
    let failure = Failure::new(kind, what, format_args!("the server answers {status}"));
    if status.is_redirection() {
        failure.remedy("redirects are not followed: name the URL that it redirects to, if you trust that")
    } else {
        failure
    }
}

/// One GET over a connection.
pub(super) async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    url: &WebUrl,
    limit: usize,
    what: &str,
) -> Result<Answer, Failure> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Failure::from_connect(what, &error))?;
    let driving = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = Request::get(&url.path)
        .header(header::HOST, url.address())
        .header(header::ACCEPT, "application/json, */*;q=0.1")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Failure::usage(what, error))?;
    let response = sender.send_request(request).await.map_err(|error| Failure::from_connect(what, &error))?;
    if response.status() != StatusCode::OK {
        return Ok(Answer::Status(response.status()));
    }
    let body = Limited::new(response.into_body(), limit)
        .collect()
        .await
        .map_err(|error| Failure::refused(what, format_args!("{error}; at most {limit} bytes are read")))?;
    drop(driving);
    Ok(Answer::Document(body.to_bytes().into()))
}

/// Whether an address is one of the public internet: no other may be reached through a URL that a stranger chose.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// RFC 6890 and its successors, as in IANA's registry of special-purpose addresses.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19));
    !is_special
}

/// Global unicast (2000::/3) without the parts that mean something else. Addresses that carry an IPv4 address inside
/// (mapped, 6to4, NAT64, Teredo) are outside of it or refused.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let is_global = (0x2000..0x4000).contains(&a);
    let is_special =
        (a == 0x2001 && (b < 0x0200 || b == 0x0db8)) || a == 0x2002 || (a == 0x3fff && b < 0x1000);
    is_global && !is_special
}

#[cfg(test)]
pub(super) mod tests {
    use axum::{Router, response::Redirect, routing::get as at};
    use rcgen::{CertificateParams, KeyPair, SanType};
    use rstest::rstest;
    use secplane_identity::{
        IdentitySnapshot, IdentitySource, PrivateKey, X509Identity,
        serve::{ConnectionLimits, serve},
        tls::ClientPolicy,
    };
    use tempfile::NamedTempFile;
    use tokio::net::TcpListener;
    use tokio_util::sync::{CancellationToken, DropGuard};

    use super::*;

    const KEY_SET: &str = r#"{"keys":[{"kid":"a","kty":"OKP","crv":"Ed25519",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    /// A web server at `localhost`, until it is dropped.
    pub(crate) struct Web {
        pub(crate) port: u16,
        /// Those that vouch for it.
        pub(crate) roots: WebRoots,
        _roots_file: NamedTempFile,
        _end: DropGuard,
    }

    impl Web {
        pub(crate) async fn start() -> Self {
            let key = PrivateKey::generate().unwrap();
            let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            let id = "spiffe://example.org/web".try_into().unwrap();
            params.subject_alt_names.push(SanType::URI(id));
            let certificate = params.self_signed(&key.signing_pair().unwrap()).unwrap();
            let identity = X509Identity::new(vec![certificate.der().clone()], key).unwrap();
            let snapshot = IdentitySnapshot { identity: Some(identity), ..Default::default() };
            let app = Router::new()
                .route("/jwks.json", at(|| async { KEY_SET }))
                .route("/page", at(|| async { "<html></html>" }))
                .route("/large", at(|| async { vec![b' '; 1024 * 1024] }))
                .route("/moved", at(|| async { Redirect::temporary("/jwks.json") }));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let (source, limits) = (IdentitySource::fixed(snapshot), ConnectionLimits::default());
            let end = CancellationToken::new();
            tokio::spawn(serve(listener, source, ClientPolicy::AnyOrNone, limits, app, end.clone()));
            let (roots, roots_file) = roots(&certificate.pem());
            Self { port, roots, _roots_file: roots_file, _end: end.drop_guard() }
        }

        pub(crate) fn url(&self, path: &str) -> String {
            format!("https://localhost:{}{path}", self.port)
        }
    }

    fn roots(pem: &str) -> (WebRoots, NamedTempFile) {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), pem).unwrap();
        (WebRoots { web_roots: file.path().to_owned() }, file)
    }

    #[tokio::test]
    async fn believes_a_server_that_the_roots_vouch_for_and_no_other() {
        let web = Web::start().await;
        let url = WebUrl::parse(&web.url("/jwks.json")).unwrap();
        assert_eq!(get(&url, &web.roots, 1000).await.unwrap(), KEY_SET.as_bytes());
        let stranger = KeyPair::generate().unwrap();
        let stranger = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&stranger);
        let (others, _file) = roots(&stranger.unwrap().pem());
        assert_eq!(get(&url, &others, 1000).await.unwrap_err().kind(), Kind::Denied);
        let by_address = WebUrl { host: "127.0.0.1".to_owned(), ..url };
        assert_eq!(get(&by_address, &web.roots, 1000).await.unwrap_err().kind(), Kind::Denied);
    }

    #[rstest]
    #[case("/moved", Kind::Refused)]
    #[case("/large", Kind::Refused)]
    #[case("/nothing", Kind::NotFound)]
    #[tokio::test]
    async fn takes_documents_alone(#[case] path: &str, #[case] expected: Kind) {
        let web = Web::start().await;
        let url = WebUrl::parse(&web.url(path)).unwrap();
        assert_eq!(get(&url, &web.roots, 1000).await.unwrap_err().kind(), expected);
    }

    #[rstest]
    #[case("https://a.example", true, "a.example", 443, "/")]
    #[case("https://a.example:8443/x?y=1", true, "a.example", 8443, "/x?y=1")]
    #[case("http://[::1]:80/", false, "::1", 80, "/")]
    fn reads_urls(
        #[case] text: &str,
        #[case] is_tls: bool,
        #[case] host: &str,
        #[case] port: u16,
        #[case] path: &str,
    ) {
        let expected = WebUrl { is_tls, host: host.into(), port, path: path.into() };
        assert_eq!(WebUrl::parse(text).unwrap(), expected);
    }

    #[rstest]
    #[case("file:///etc/passwd")]
    #[case("ftp://a.example/")]
    #[case("https://user:word@a.example/")]
    #[case("a.example")]
    #[case("https:///x")]
    fn refuses_other_urls(#[case] text: &str) {
        assert_eq!(WebUrl::parse(text).unwrap_err().kind(), Kind::Usage);
    }

    #[rstest]
    #[case("8.8.8.8", true)]
    #[case("100.63.0.1", true)]
    #[case("172.32.0.1", true)]
    #[case("2606:4700::1111", true)]
    #[case("127.0.0.1", false)]
    #[case("0.0.0.0", false)]
    #[case("10.1.2.3", false)]
    #[case("172.16.0.1", false)]
    #[case("192.168.1.1", false)]
    #[case("169.254.169.254", false)]
    #[case("100.64.0.1", false)]
    #[case("192.0.0.1", false)]
    #[case("192.0.2.1", false)]
    #[case("198.18.0.1", false)]
    #[case("224.0.0.1", false)]
    #[case("255.255.255.255", false)]
    #[case("::", false)]
    #[case("::1", false)]
    #[case("::ffff:127.0.0.1", false)]
    #[case("::ffff:8.8.8.8", false)]
    #[case("64:ff9b::7f00:1", false)]
    #[case("::ffff:169.254.169.254", false)]
    #[case("::ffff:10.0.0.1", false)]
    #[case("::127.0.0.1", false)]
    #[case("64:ff9b:1::a00:1", false)]
    #[case("100::1", false)]
    #[case("2001:20::1", false)]
    #[case("3fff::1", false)]
    #[case("5f00::1", false)]
    #[case("203.0.113.1", false)]
    #[case("198.51.100.1", false)]
    #[case("240.0.0.1", false)]
    #[case("fe80::1", false)]
    #[case("fc00::1", false)]
    #[case("fd12::1", false)]
    #[case("fec0::1", false)]
    #[case("ff02::1", false)]
    #[case("2001:db8::1", false)]
    #[case("2001::1", false)]
    #[case("2002:7f00:1::", false)]
    fn knows_public_addresses(#[case] address: IpAddr, #[case] expected: bool) {
        assert_eq!(is_public(address), expected);
    }

    #[tokio::test]
    async fn asks_no_host_that_is_at_an_address_which_is_not_admitted() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let roots = WebRoots { web_roots: WEB_ROOTS.into() };
        for host in ["127.0.0.1", "localhost"] {
            let url = WebUrl::parse(&format!("http://{host}:{port}/")).unwrap();
            let failure = get_from(&url, &roots, 100, is_public).await.unwrap_err();
            assert!(failure.to_string().contains("not an address of the public internet"), "{failure}");
        }
        let nobody_came = timeout(Duration::from_millis(50), listener.accept()).await.is_err();
        assert!(nobody_came, "the host was asked all the same");
    }
}
