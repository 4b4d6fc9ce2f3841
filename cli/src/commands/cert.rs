//! `secctl cert`: certificates for programs that do not speak SPIFFE, and every certificate that was issued.

mod issue;
mod record;
mod revoke;

use std::path::Path;

use clap::{Args, Subcommand, ValueEnum};
use secplane_identity::{
    SpiffeId,
    trust_bundle::{certificates_from_pem, to_certificate_pem},
    x509::Certificate,
};
use secplane_proto::secplane::ca::v1::{
    CertificateKind, CertificateRecord, GetCertificateRequest, ListCertificatesRequest,
};

use self::{
    issue::{IssueCommand, RenewArgs, issue, renew},
    record::{CertificateList, RecordReport},
    revoke::{RevokeArgs, revoke},
};
use crate::{
    ca_client::{CaClient, CaOptions},
    failure::{Failure, Kind},
    files,
    output::Output,
};

const PAGE_SIZE: usize = 500;
const MAX_CERTIFICATE_FILE_BYTES: usize = 1024 * 1024;

/// Certificates: issue, renew, list, show, revoke
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  secctl cert list")]
pub(crate) enum CertCommand {
    #[command(subcommand)]
    Issue(IssueCommand),
    /// Renew the certificate in a folder, authenticating with it: the same names, a new key, a new validity
    #[command(
        after_help = "Example:\n  secctl cert renew --dir ./db --server 127.0.0.1:8081 --trust-domain \
                            example.org"
    )]
    Renew(RenewArgs),
    /// List the certificates on record, newest first
    #[command(after_help = "Examples:\n  secctl cert list\n  secctl cert list --kind svid --unexpired \
                            --limit 20")]
    List(ListArgs),
    /// Show the record of one certificate
    #[command(after_help = "Examples:\n  secctl cert show 5f3a9c\n  secctl cert show 5f3a9c --pem")]
    Show(ShowArgs),
    /// Revoke a certificate and every renewal of it, all of a SPIFFE ID, or a key; it cannot be undone
    #[command(
        after_help = "Examples:\n  secctl cert revoke 5f3a9c --reason decommissioned\n  secctl cert revoke \
                            ./db/cert.pem\n  secctl cert revoke --spiffe-id \
                            spiffe://example.org/db\n  secctl cert revoke --key ./db/key.pem --reason stolen"
    )]
    Revoke(RevokeArgs),
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kinds {
    /// X.509-SVIDs.
    Svid,
    /// TLS server certificates.
    Server,
    /// TLS client certificates.
    Client,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only this kind
    #[arg(long, value_name = "KIND")]
    kind: Option<Kinds>,
    /// Only those of this SPIFFE ID
    #[arg(long, value_name = "ID")]
    spiffe_id: Option<SpiffeId>,
    /// Leave out what has expired
    #[arg(long)]
    unexpired: bool,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    ca: CaOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The serial number in hex, as `secctl cert list` shows it, or a file with the certificate (PEM)
    #[arg(value_name = "SERIAL|FILE")]
    certificate: String,
    /// Write the certificate itself, in PEM
    #[arg(long)]
    pem: bool,
    #[command(flatten)]
    ca: CaOptions,
}

impl CertCommand {
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        match self {
            Self::Issue(command) => output.report(&issue(&command).await?),
            Self::Renew(args) => output.report(&renew(&args).await?),
            Self::List(args) => output.report(&list(&args).await?),
            Self::Show(args) => {
                let record = get(&args.ca.connect().await?, &serial_of(&args.certificate)?).await?;
                if args.pem {
                    output.text(&to_certificate_pem([record.certificate.as_slice()]))
                } else {
                    output.report(&RecordReport::from(record))
                }
            }
            Self::Revoke(args) => revoke(args, output).await,
        }
    }
}

async fn list(args: &ListArgs) -> Result<CertificateList, Failure> {
    let ca = args.ca.connect().await?;
    let kind = match args.kind {
        None => CertificateKind::Unspecified,
        Some(Kinds::Svid) => CertificateKind::X509Svid,
        Some(Kinds::Server) => CertificateKind::Server,
        Some(Kinds::Client) => CertificateKind::Client,
    };
    let mut certificates = Vec::new();
    let mut page_token = String::new();
    while certificates.len() < args.limit {
        let page_size = (args.limit - certificates.len()).min(PAGE_SIZE);
        let page = ca
            .certificates()
            .list_certificates(ListCertificatesRequest {
                page_size: i32::try_from(page_size).unwrap_or(i32::MAX),
                page_token,
                by_spiffe_id: args.spiffe_id.as_ref().map(ToString::to_string).unwrap_or_default(),
                by_kind: kind.into(),
                unexpired_only: args.unexpired,
            })
            .await
            .map_err(|status| Failure::from_status("list the certificates", &status))?
            .into_inner();
        certificates.extend(page.certificates.into_iter().map(RecordReport::from));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    certificates.truncate(args.limit);
    Ok(CertificateList { certificates })
}

async fn get(ca: &CaClient, serial: &str) -> Result<CertificateRecord, Failure> {
    let what = format!("show the certificate {serial}");
    ca.certificates()
        .get_certificate(GetCertificateRequest { serial_number: serial.to_owned() })
        .await
        .map_err(|status| Failure::from_status(what.clone(), &status))?
        .into_inner()
        .certificate
        .ok_or_else(|| Failure::new(Kind::Other, what, "the CA answered without its record"))
}

/// The serial number that a person gave, or that of the certificate in the file that they named.
fn serial_of(given: &str) -> Result<String, Failure> {
    let is_serial = !given.is_empty() && given.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
    if is_serial {
        return Ok(given.to_owned());
    }
    let what = format!("find out the serial number of `{given}`");
    let text = files::read_text(Path::new(given), MAX_CERTIFICATE_FILE_BYTES)?;
    let chain = certificates_from_pem(&text).map_err(|error| Failure::refused(what.clone(), error))?;
    match chain.first().map(|leaf| Certificate::parse(leaf)) {
        Some(Ok(leaf)) => Ok(leaf.serial),
        Some(Err(error)) => Err(Failure::refused(what, error)),
        None => Err(Failure::refused(what, "it holds no certificate")),
    }
}
