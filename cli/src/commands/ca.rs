//! `secctl ca`: what the certificate authority is.

use clap::Subcommand;
use secplane_proto::secplane::ca::v1::GetStatusRequest;
use serde::Serialize;

use super::{
    ca_crl::{CrlArgs, crl},
    ca_istio::{IstioArgs, export},
    ca_rekey::{RekeyArgs, rekey},
};
use crate::{
    ca_client::CaOptions,
    failure::{Failure, Kind},
    output::{Instant, Output, Report, facts, shown},
};

/// What the certificate authority is
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  secctl ca status")]
pub(crate) enum CaCommand {
    /// Show the state of the CA: trust domain, roots, issuing CA, number of entries
    #[command(after_help = "Examples:\n  secctl ca status\n  secctl --output json ca status --admin-socket \
                            ./secplane-dev/ca/admin.sock")]
    Status(CaOptions),
    /// Show the SHA-256 fingerprints of the CA's roots, the active one first
    #[command(after_help = "Examples:\n  secctl ca fingerprint\n  secctl ca fingerprint --server \
                            127.0.0.1:8081 --svid-dir ./admin")]
    Fingerprint(CaOptions),
    /// Seal the CA's private keys under another wrapping key, on the CA's machine
    #[command(
        after_help = "Examples:\n  secctl ca rekey --file /etc/secplane/wrapping-2.key\n  secctl ca rekey \
                            --credential wrapping-2 --admin-socket /run/secplane/admin.sock"
    )]
    Rekey(RekeyArgs),
    /// Make a CA for an Istio mesh below the CA's root, in the four files that Istio reads as `cacerts`
    #[command(after_help = "Examples:\n  secctl ca export-istio-cacerts --out ./cacerts\n  secctl ca \
                            export-istio-cacerts --out ./cacerts --ttl 2160h --key rsa-2048")]
    ExportIstioCacerts(IstioArgs),
    /// Show the CA's revocation lists, or write them into files
    #[command(after_help = "Examples:\n  secctl ca crl\n  secctl ca crl --dir ./crls\n  secctl ca crl \
                            --format pem")]
    Crl(CrlArgs),
}

impl CaCommand {
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        match self {
            Self::Crl(args) => crl(args, output).await,
            Self::Status(options) => output.report(&status(&options).await?),
            Self::Rekey(args) => output.report(&rekey(args).await?),
            Self::ExportIstioCacerts(args) => output.report(&export(&args).await?),
            Self::Fingerprint(options) => {
                let status = status(&options).await?;
                output.report(&RootFingerprints { root_fingerprints: status.root_fingerprints })
            }
        }
    }
}

async fn status(options: &CaOptions) -> Result<CaStatus, Failure> {
    let ca = options.connect().await?;
    let status = ca
        .authority()
        .get_status(GetStatusRequest {})
        .await
        .map_err(|status| Failure::from_status("get the status of the CA", &status))?
        .into_inner();
    if status.root_fingerprints.is_empty() {
        return Err(Failure::new(Kind::Other, "get the status of the CA", "it answered without any root"));
    }
    Ok(CaStatus {
        trust_domain: status.trust_domain,
        version: status.version,
        root_fingerprints: status.root_fingerprints,
        root_expires_at: Instant::from_unix(status.root_expires_at),
        issuing_ca_key_id: status.issuing_ca_key_id,
        issuing_ca_expires_at: Instant::from_unix(status.issuing_ca_expires_at),
        bundle_sequence: status.bundle_sequence,
        entries: status.entries,
        started_at: Instant::from_unix(status.started_at),
        insecure: status.insecure,
    })
}

#[derive(Serialize)]
struct CaStatus {
    trust_domain: String,
    version: String,
    root_fingerprints: Vec<String>,
    root_expires_at: Option<Instant>,
    issuing_ca_key_id: String,
    issuing_ca_expires_at: Option<Instant>,
    bundle_sequence: u64,
    entries: i64,
    started_at: Option<Instant>,
    insecure: bool,
}

impl Report for CaStatus {
    fn table(&self) -> String {
        facts([
            ("Trust domain", self.trust_domain.clone()),
            ("Root SHA-256", self.root_fingerprints.join("\n")),
            ("Root expires", shown(self.root_expires_at)),
            ("Issuing CA", self.issuing_ca_key_id.clone()),
            ("Issuing CA expires", shown(self.issuing_ca_expires_at)),
            ("Bundle sequence", self.bundle_sequence.to_string()),
            ("Registration entries", self.entries.to_string()),
            ("Running since", shown(self.started_at)),
            ("Version", self.version.clone()),
            ("INSECURE", if self.insecure { "yes: for development only".into() } else { String::new() }),
        ])
    }
}

#[derive(Serialize)]
struct RootFingerprints {
    root_fingerprints: Vec<String>,
}

impl Report for RootFingerprints {
    fn table(&self) -> String {
        self.root_fingerprints.join("\n")
    }
}
