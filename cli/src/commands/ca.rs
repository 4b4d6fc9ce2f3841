//! `secctl ca`: what the certificate authority is, and the life of its roots and keys.

mod authorities;
mod rotate;
mod steps;

use clap::Subcommand;
use secplane_proto::secplane::ca::v1::GetStatusRequest;
use serde::Serialize;

use self::{
    rotate::RotateArgs,
    steps::{LineOptions, Step, StepArgs, WithdrawalArgs},
};
use super::{
    ca_crl::{CrlArgs, crl},
    ca_istio::{IstioArgs, export},
    ca_rekey::{RekeyArgs, rekey},
    ca_upstream::{ImportArgs, RequestArgs, import, request},
};
use crate::{
    ca_client::CaOptions,
    failure::{Failure, Kind},
    output::{Instant, Output, Report, facts, shown},
};

/// What the certificate authority is, and the life of its roots and keys
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
    /// Write the certificate request by which an outside CA can certify this CA
    #[command(after_help = "Example:\n  secctl ca request --out ca.csr")]
    Request(RequestArgs),
    /// Take in the chain that the outside CA answered; the CA is prepared then, and signs once it is activated
    #[command(after_help = "Example:\n  secctl ca import --chain ca-chain.pem --root corporate-root.pem")]
    Import(ImportArgs),
    /// Show the CA's revocation lists, or write them into files
    #[command(after_help = "Examples:\n  secctl ca crl\n  secctl ca crl --dir ./crls\n  secctl ca crl \
                            --format pem")]
    Crl(CrlArgs),
    /// List roots, issuing CAs and JWT keys with their state, and what is due next
    #[command(after_help = "Examples:\n  secctl ca authorities\n  secctl --output json ca authorities")]
    Authorities(CaOptions),
    /// Replace the root, or with --jwt the key that signs JWT-SVIDs, in one go
    ///
    /// Prepares a successor, waits until everybody who follows the trust bundle knows it, activates it, and taints the
    /// old one, so that everything below it is replaced at once. With --force it waits for nobody but those who watch
    /// the bundle: for a key that is stolen.
    #[command(
        after_help = "Examples:\n  secctl ca rotate\n  secctl ca rotate --jwt\n  secctl ca rotate --force \
                            --revoke"
    )]
    Rotate(RotateArgs),
    /// Make the next root or JWT key and put it into the trust bundle
    ///
    /// One that is prepared already is good enough; --force puts it aside for another.
    #[command(after_help = "Examples:\n  secctl ca prepare\n  secctl ca prepare --jwt")]
    Prepare(LineOptions),
    /// Let the prepared root or JWT key sign from now on
    #[command(after_help = "Examples:\n  secctl ca activate\n  secctl ca activate --jwt")]
    Activate(StepArgs),
    /// Have everything replaced at once that an old root or JWT key signed
    #[command(after_help = "Examples:\n  secctl ca taint\n  secctl ca taint \
                            4f1e0c2ab98d7a5540c3f6c19a2f07be0e6d1c55\n  secctl ca taint --upstream \
                            9b2d7c40aa51e3f86d0c1b7e5f4a39286d15ce07")]
    Taint(WithdrawalArgs),
    /// Take an old root or JWT key out of the trust bundle
    #[command(after_help = "Examples:\n  secctl ca revoke\n  secctl ca revoke --jwt --force \
                            4f1e0c2ab98d7a5540c3f6c19a2f07be0e6d1c55\n  secctl ca revoke --upstream \
                            9b2d7c40aa51e3f86d0c1b7e5f4a39286d15ce07")]
    Revoke(WithdrawalArgs),
}

impl CaCommand {
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        match self {
            Self::Crl(args) => crl(args, output).await,
            Self::Status(options) => output.report(&status(&options).await?),
            Self::Request(args) => output.report(&request(&args).await?),
            Self::Import(args) => output.report(&import(&args).await?),
            Self::Rekey(args) => output.report(&rekey(args).await?),
            Self::ExportIstioCacerts(args) => output.report(&export(&args).await?),
            Self::Fingerprint(options) => {
                let status = status(&options).await?;
                output.report(&RootFingerprints { root_fingerprints: status.root_fingerprints })
            }
            Self::Authorities(options) => output.report(&authorities::list(&options).await?),
            Self::Rotate(args) => output.report(&rotate::rotate(&args).await?),
            Self::Prepare(options) => output.report(&steps::prepare(&options).await?),
            Self::Activate(args) => output.report(&steps::take(Step::Activate, &args).await?),
            Self::Taint(args) => output.report(&steps::withdraw(Step::Taint, &args).await?),
            Self::Revoke(args) => output.report(&steps::withdraw(Step::Revoke, &args).await?),
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
        ca_without_lists: status.ca_without_lists,
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
    ca_without_lists: bool,
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
            (
                "Without a CRL",
                if self.ca_without_lists {
                    "the CA above the issuing CAs: its key usage lacks cRLSign".into()
                } else {
                    String::new()
                },
            ),
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
