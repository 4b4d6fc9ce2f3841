//! `secctl agentcard fetch`: the card of a running agent, and who served it.
//!
//! | mode | how |
//! |---|---|
//! | strict | mutual TLS or nothing |
//! | permissive | mutual TLS; plain HTTP when nobody speaks TLS there. A server that proves to be someone else is refused all the same |
//! | disabled | plain HTTP; nothing says who served the card |

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use clap::{Args, ValueEnum};
use http::StatusCode;
use secplane_agent_card::{AgentCard, MAX_CARD_BYTES, Outcome, Verification, VerifyOptions, verify_bytes};
use secplane_identity::{
    IdentitySource, SpiffeId,
    connect::connect,
    tls::{ExpectedServer, client_config},
    x509::Certificate,
};
use serde::Serialize;
use tokio::{net::TcpStream, time::timeout};

use super::{
    report::CardReport,
    verify::Expectations,
    web::{self, Answer, WITHIN, WebUrl},
};
use crate::{
    client_identity::{ClientIdentity, IdentityOptions},
    failure::{Failure, Kind},
    files::{self, PUBLIC},
    output::{Output, Report, facts, note},
};

/// Where A2A agents have their card, the new place first.
const WELL_KNOWN: [&str; 2] = ["/.well-known/agent-card.json", "/.well-known/agent.json"];
/// How much of that time the TLS handshake may take, so that `permissive` has some left to look for plain HTTP.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(crate) struct FetchArgs {
    /// Where the agent is, such as https://agent.demo.svc:8443; without a path the well-known ones are tried
    #[arg(value_name = "URL")]
    url: String,
    /// Whether the agent must prove itself by mutual TLS
    #[arg(long, value_name = "MODE", default_value = "strict")]
    mode: Mode,
    /// Where `permissive` and `disabled` find the agent over plain HTTP, when that is elsewhere
    #[arg(long, value_name = "URL")]
    http_url: Option<String>,
    /// The file for the card as it was received; nothing is written when it is not accepted
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    expected: Expectations,
    #[command(flatten)]
    identity: IdentityOptions,
}

/// Whether an agent must prove itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Mutual TLS or nothing.
    Strict,
    /// Mutual TLS, or plain HTTP where nobody speaks TLS.
    Permissive,
    /// Plain HTTP.
    Disabled,
}

/// A card as it came.
struct Fetched {
    bytes: Vec<u8>,
    url: WebUrl,
    /// Whom the server's certificate names.
    attested: Option<SpiffeId>,
}

pub(super) async fn run(output: Output, args: &FetchArgs) -> Result<(), Failure> {
    let url = WebUrl::parse(&args.url)?;
    let identity = args.identity.load(None).await?;
    if args.mode != Mode::Disabled && identity.snapshot.identity.is_none() {
        return Err(Failure::usage(format!("get {url} over mutual TLS"), "no SVID is given")
            .remedy("give --svid-dir DIR or --workload-api SOCKET, or --mode disabled"));
    }
    let fetched = fetch(args, &url, &identity).await?;

    let known = identity.snapshot.revocations.lists().next().is_some();
    let mut options = VerifyOptions {
        trust_domain: args.identity.trust_domain.as_ref(),
        canonicalization: args.expected.canonicalization.map(Into::into),
        accept_uncovered: args.expected.accept_uncovered,
        expected_id: args.expected.expect_id.as_ref(),
        ..VerifyOptions::new(&identity.snapshot.bundles, args.expected.at.unwrap_or_else(SystemTime::now))
    };
    if known {
        options.revocations = secplane_agent_card::KnownRevocations::Lists(&identity.snapshot.revocations);
    }
    let verification = verify_bytes(&fetched.bytes, &options);
    let verdict = judge(&fetched, &verification);
    let report = FetchReport::new(&fetched, verification);
    output.report(&report)?;
    verdict?;
    match &args.out {
        Some(path) => files::write(path, &fetched.bytes, PUBLIC),
        None => Ok(()),
    }
}

/// An unsigned card is accepted from a server that proved who it is, as that is who answers for it. A signature that
/// is there counts, and so does it when another identity made it than the one that serves it.
fn judge(fetched: &Fetched, verification: &Verification) -> Result<(), Failure> {
    let what = format!("accept the card of {}", fetched.url);
    match (&fetched.attested, verification.outcome) {
        (Some(_), Outcome::Unsigned) => Ok(()),
        (Some(attested), Outcome::Valid) if verification.signer.as_ref() != Some(attested) => {
            let signer = verification.signer.as_ref().map_or("nobody known".to_owned(), ToString::to_string);
            let why = format!("it is signed by {signer}, but {attested} serves it");
            Err(Failure::new(Kind::CheckFailed, what, why))
        }
        _ => CardReport::from(verification.clone()).verdict(what),
    }
}

/// Gets the card, whatever it takes, within [`WITHIN`].
async fn fetch(args: &FetchArgs, url: &WebUrl, identity: &ClientIdentity) -> Result<Fetched, Failure> {
    let attempt = timeout(WITHIN, fetch_by_mode(args, url, identity)).await;
    attempt.unwrap_or_else(|_| Err(web::late(&format!("get the card of {url}"))))
}

async fn fetch_by_mode(
    args: &FetchArgs,
    url: &WebUrl,
    identity: &ClientIdentity,
) -> Result<Fetched, Failure> {
    if args.mode != Mode::Disabled {
        if !url.is_tls {
            return Err(Failure::usage(format!("get {url} over mutual TLS"), "it is not an https:// URL")
                .remedy("name the agent's TLS port, or give --mode disabled"));
        }
        match over_tls(args, url, identity).await? {
            Ok(fetched) => return Ok(fetched),
            Err(failure) if args.mode == Mode::Strict => return Err(failure),
            Err(failure) => note(format_args!("note: {failure}\n  trying plain HTTP, which proves nothing")),
        }
    }
    let plain = match &args.http_url {
        Some(text) => WebUrl::parse(text)?,
        None => WebUrl { is_tls: false, ..url.clone() },
    };
    if plain.is_tls {
        return Err(Failure::usage(format!("get {plain} over plain HTTP"), "it is an https:// URL"));
    }
    let what = format!("get the card of {plain}");
    let (url, bytes) = first_found(&plain, &what, async |url| {
        let stream = TcpStream::connect(plain.address())
            .await
            .map_err(|error| Failure::from_connect(&what, &error))?;
        web::ask(stream, url, MAX_CARD_BYTES, &what).await
    })
    .await?;
    Ok(Fetched { bytes, url, attested: None })
}

/// The inner failure is one that `permissive` passes over: nobody speaks TLS there.
async fn over_tls(
    args: &FetchArgs,
    url: &WebUrl,
    identity: &ClientIdentity,
) -> Result<Result<Fetched, Failure>, Failure> {
    let what = format!("get the card of {url}");
    let expected = match &args.expected.expect_id {
        Some(id) => ExpectedServer::Id(id.clone()),
        None => ExpectedServer::MemberOf(identity.trust_domain.clone()),
    };
    let source = IdentitySource::fixed(identity.snapshot.clone());
    let mut config =
        client_config(source, expected).map_err(|error| Failure::new(Kind::Other, "configure TLS", error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let config = Arc::new(config);

    let address = url.address();
    let first = match timeout(HANDSHAKE_WITHIN, connect(&address, Arc::clone(&config))).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            let failure = Failure::from_connect(&what, &error);
            // Whoever proved to be someone else, or refuses us, speaks TLS.
            return if failure.kind() == Kind::Unreachable { Ok(Err(failure)) } else { Err(failure) };
        }
        Err(_) => {
            let why = format!("no TLS handshake within {HANDSHAKE_WITHIN:?}");
            return Ok(Err(Failure::new(Kind::Unreachable, what, why)));
        }
    };
    let attested = first
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| Certificate::parse(chain.first()?).ok()?.spiffe_id().ok());
    let mut first = Some(first);
    let (url, bytes) = first_found(url, &what, async |url| {
        let stream = match first.take() {
            Some(stream) => stream,
            None => connect(&address, Arc::clone(&config))
                .await
                .map_err(|error| Failure::from_connect(&what, &error))?,
        };
        web::ask(stream, url, MAX_CARD_BYTES, &what).await
    })
    .await?;
    Ok(Ok(Fetched { bytes, url, attested }))
}

/// The document at the URL's own path or, when it has none, at the first well-known one where there is something.
async fn first_found(
    url: &WebUrl,
    what: &str,
    mut ask: impl AsyncFnMut(&WebUrl) -> Result<Answer, Failure>,
) -> Result<(WebUrl, Vec<u8>), Failure> {
    let own = [url.path.as_str()];
    let paths: &[&str] = if url.path == "/" { &WELL_KNOWN } else { &own };
    let mut last = StatusCode::NOT_FOUND;
    for path in paths {
        let url = url.with_path(path);
        match ask(&url).await? {
            Answer::Document(bytes) => return Ok((url, bytes)),
            Answer::Status(StatusCode::NOT_FOUND) => {}
            Answer::Status(status) => {
                last = status;
                break;
            }
        }
    }
    Err(web::bad_status(what, last))
}

#[derive(Serialize)]
struct FetchReport {
    url: String,
    /// Whom the server's certificate names; none over plain HTTP.
    attested_id: Option<SpiffeId>,
    /// Whether that is who signed the card; none when one of the two is not known.
    attested_is_signer: Option<bool>,
    /// The agent's own word.
    name: Option<String>,
    verification: CardReport,
}

impl FetchReport {
    fn new(fetched: &Fetched, verification: Verification) -> Self {
        let pair = fetched.attested.as_ref().zip(verification.signer.as_ref());
        Self {
            url: fetched.url.to_string(),
            attested_id: fetched.attested.clone(),
            attested_is_signer: pair.map(|(attested, signer)| attested == signer),
            name: AgentCard::parse(&fetched.bytes).ok().and_then(|card| card.name().map(str::to_owned)),
            verification: verification.into(),
        }
    }
}

impl Report for FetchReport {
    fn table(&self) -> String {
        let same = match self.attested_is_signer {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "not known",
        };
        let attested = match &self.attested_id {
            Some(id) => id.to_string(),
            None => "nobody: it came over plain HTTP".to_owned(),
        };
        let head = facts([
            ("URL", self.url.clone()),
            ("Served by", attested),
            ("Signed by the same", same.to_owned()),
        ]);
        format!("{head}\n\n{}", self.verification.table())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use secplane_identity::{IdentitySnapshot, TrustDomain};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        time::{Instant, sleep},
    };

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: FetchArgs,
    }

    fn nobody() -> ClientIdentity {
        ClientIdentity {
            snapshot: IdentitySnapshot::default(),
            trust_domain: TrustDomain::parse("example.org").unwrap(),
        }
    }

    /// An address at which whoever connects waits for an answer.
    async fn silent() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let mut held = Vec::new();
            loop {
                held.push(listener.accept().await.unwrap());
            }
        });
        address
    }

    /// An address at which a document comes that never ends, a byte a second.
    async fn dripping() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await.unwrap();
            while stream.write_all(b" ").await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        });
        address
    }

    /// How long a fetch took that came to nothing, and why.
    async fn failed(arguments: &[&str]) -> (Duration, Failure) {
        let args = Command::parse_from([&["fetch"], arguments].concat()).args;
        let url = WebUrl::parse(&args.url).unwrap();
        let begun = Instant::now();
        match fetch(&args, &url, &nobody()).await {
            Ok(_) => panic!("a card came"),
            Err(failure) => (begun.elapsed(), failure),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn waits_for_no_handshake_that_does_not_come() {
        let (took, failure) = failed(&[&format!("https://{}", silent().await)]).await;
        assert_eq!(
            (took.as_secs(), failure.kind()),
            (HANDSHAKE_WITHIN.as_secs(), Kind::Unreachable),
            "{failure}"
        );
        assert!(failure.to_string().contains("no TLS handshake"), "{failure}");
    }

    /// However a server spends it, there is one span of time for the whole.
    #[tokio::test(start_paused = true)]
    async fn waits_for_no_card_that_does_not_end() {
        let (silent, dripping) = (silent().await, dripping().await);
        let url = format!("https://{silent}");
        let elsewhere = format!("http://{dripping}");
        let (took, failure) = failed(&[&url, "--mode", "permissive", "--http-url", &elsewhere]).await;
        assert_eq!((took.as_secs(), failure.kind()), (WITHIN.as_secs(), Kind::Unreachable), "{failure}");
        assert!(failure.to_string().contains("no whole answer within 10s"), "{failure}");
    }
}
