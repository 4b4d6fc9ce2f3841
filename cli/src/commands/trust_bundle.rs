//! `secctl trust-bundle`: the roots of the trust domain.

use clap::{Args, Subcommand, ValueEnum};
use secplane_identity::{Fingerprint, TrustBundle};
use secplane_proto::{
    secplane::ca::v1::{WatchTrustBundleRequest, WatchTrustBundleResponse},
    spire::api::types,
};
use serde::Serialize;
use tonic::Streaming;

use crate::{
    ca_client::{CaClient, CaOptions, bootstrap, read_trust_bundle},
    failure::{Failure, Kind},
    output::{Instant, Output, Report, facts, rows},
};

/// What failed, if watching did.
const WATCH: &str = "watch the trust bundle";

/// The roots of the trust domain
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  secctl trust-bundle show --format pem")]
pub(crate) enum TrustBundleCommand {
    /// Show the trust bundle; with --server and --fingerprint nothing else needs to be known of the CA
    #[command(after_help = "Examples:\n  secctl trust-bundle show --format pem\n  secctl trust-bundle show \
                            --server 127.0.0.1:8081 --fingerprint \
                            6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b --format spiffe")]
    Show(ShowArgs),
    /// Show the trust bundle now and again after every change
    #[command(after_help = "Examples:\n  secctl trust-bundle watch\n  secctl trust-bundle watch --count 1 \
                            --format spiffe")]
    Watch(WatchArgs),
}

/// How the bundle is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BundleFormat {
    /// Certificates in PEM.
    Pem,
    /// The SPIFFE bundle document (JSON).
    Spiffe,
    /// For people.
    Table,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Trust the CA at --server because one of its roots has this SHA-256 (hex, with or without colons)
    #[arg(long, value_name = "HEX", requires = "server",
          conflicts_with_all = ["svid_dir", "workload_api", "trust_bundle"])]
    fingerprint: Option<Fingerprint>,
    /// The form of the bundle; --output decides otherwise
    #[arg(long, value_name = "FORMAT")]
    format: Option<BundleFormat>,
    #[command(flatten)]
    ca: CaOptions,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// End after this many bundles
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// The form of the bundles; --output decides otherwise
    #[arg(long, value_name = "FORMAT")]
    format: Option<BundleFormat>,
    #[command(flatten)]
    ca: CaOptions,
}

impl TrustBundleCommand {
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        match self {
            Self::Show(args) => {
                let bundle = match (&args.ca.server, args.fingerprint) {
                    (Some(address), Some(fingerprint)) => bootstrap(address, fingerprint).await?,
                    _ => args.ca.connect().await?.trust_bundle().await?,
                };
                write(output, &bundle, args.format)
            }
            Self::Watch(args) => watch(output, &args).await,
        }
    }
}

/// Shows each bundle once. A connection ends in time, that of somebody without a certificate after half a minute: the
/// CA is then asked again, for as long as it answers.
async fn watch(output: Output, args: &WatchArgs) -> Result<(), Failure> {
    let ca = args.ca.connect().await?;
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut shown = None;
    while left > 0 {
        let (mut stream, mut bundle) = open(&ca).await?;
        loop {
            if shown.as_ref() != Some(&bundle) {
                write(output, &read_trust_bundle(&bundle)?, args.format)?;
                shown = Some(bundle);
                left -= 1;
            }
            if left == 0 {
                return Ok(());
            }
            let Ok(Some(update)) = stream.message().await else { break };
            bundle = told(update)?;
        }
    }
    Ok(())
}

/// Begins to watch, and waits for the bundle as it is.
async fn open(ca: &CaClient) -> Result<(Streaming<WatchTrustBundleResponse>, types::Bundle), Failure> {
    let failed = |status: tonic::Status| Failure::from_status(WATCH, &status);
    let response = ca.trust_bundles().watch_trust_bundle(WatchTrustBundleRequest {}).await;
    let mut stream = response.map_err(failed)?.into_inner();
    let first = stream
        .message()
        .await
        .map_err(failed)?
        .ok_or_else(|| Failure::new(Kind::Unreachable, WATCH, "the CA ended the stream"))?;
    Ok((stream, told(first)?))
}

fn told(update: WatchTrustBundleResponse) -> Result<types::Bundle, Failure> {
    update.bundle.ok_or_else(|| Failure::new(Kind::Other, WATCH, "the CA sent an empty update"))
}

fn write(output: Output, bundle: &TrustBundle, format: Option<BundleFormat>) -> Result<(), Failure> {
    match format {
        None => output.report(&BundleReport::from(bundle)),
        Some(BundleFormat::Table) => output.text(&format!("{}\n", BundleReport::from(bundle).table())),
        Some(BundleFormat::Pem) => output.text(&bundle.to_pem()),
        Some(BundleFormat::Spiffe) => {
            let document = bundle
                .to_spiffe_json()
                .map_err(|error| Failure::refused("write the bundle as a SPIFFE document", error))?;
            output.text(&format!("{document}\n"))
        }
    }
}

#[derive(Serialize)]
struct BundleReport {
    trust_domain: String,
    sequence: u64,
    roots: Vec<Root>,
}

#[derive(Serialize)]
struct Root {
    fingerprint: String,
    subject: String,
    serial_number: String,
    not_before: Instant,
    not_after: Instant,
}

impl From<&TrustBundle> for BundleReport {
    fn from(bundle: &TrustBundle) -> Self {
        let roots = bundle.authorities().map(|root| Root {
            fingerprint: Fingerprint::of(&root.der).to_string(),
            subject: root.subject.clone(),
            serial_number: root.serial.clone(),
            not_before: root.not_before.into(),
            not_after: root.not_after.into(),
        });
        Self {
            trust_domain: bundle.trust_domain().to_string(),
            sequence: bundle.sequence(),
            roots: roots.collect(),
        }
    }
}

impl Report for BundleReport {
    fn table(&self) -> String {
        let head =
            facts([("Trust domain", self.trust_domain.clone()), ("Sequence", self.sequence.to_string())]);
        let roots = rows(
            ["ROOT SHA-256", "SUBJECT", "EXPIRES"],
            self.roots
                .iter()
                .map(|root| [root.fingerprint.clone(), root.subject.clone(), root.not_after.to_string()]),
            "no roots: nobody is trusted",
        );
        format!("{head}\n\n{roots}")
    }
}
