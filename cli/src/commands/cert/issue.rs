//! Getting a certificate: a new one from an admin's connection, or a successor from the holder's own.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::{Args, Subcommand};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::CertificateDer;
use secplane_identity::{
    PrivateKey, SpiffeId, TrustBundle, TrustDomain, tls::crypto_provider, x509::Certificate,
};
use secplane_proto::secplane::ca::v1::{
    IssueClientCertificateRequest, IssueServerCertificateRequest, IssuedCertificate, RenewCertificateRequest,
};
use serde::Serialize;

use crate::{
    ca_client::{CaClient, CaOptions, ca_tls_config},
    commands::{file_list, wire_ttl},
    failure::{Failure, Kind},
    holder_files,
    output::{Instant, Report, facts},
};

/// Issue a certificate and write cert.pem, key.pem and bundle.pem
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  secctl cert issue server --dns db.internal --out ./db")]
pub(crate) enum IssueCommand {
    /// Issue a certificate for a TLS server
    #[command(
        after_help = "Examples:\n  secctl cert issue server --dns db.internal --out ./db\n  secctl cert \
                            issue server --dns db.internal --ip 10.0.0.7 --ttl 720h --out ./db"
    )]
    Server(ServerArgs),
    /// Issue a certificate for a TLS client
    #[command(
        after_help = "Example:\n  secctl cert issue client --common-name backup --ttl 24h --out ./backup"
    )]
    Client(ClientArgs),
}

#[derive(Debug, Args)]
#[group(id = "names", required = true, multiple = true, args = ["dns_names", "ip_addresses"])]
pub(crate) struct ServerArgs {
    /// A DNS name that it holds
    #[arg(long = "dns", value_name = "NAME")]
    dns_names: Vec<String>,
    /// An IP address that it holds
    #[arg(long = "ip", value_name = "ADDRESS")]
    ip_addresses: Vec<IpAddr>,
    #[command(flatten)]
    common: IssueArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ClientArgs {
    /// Whom it names: 1 to 64 characters
    #[arg(long, value_name = "NAME")]
    common_name: String,
    /// A DNS name that it holds besides
    #[arg(long = "dns", value_name = "NAME")]
    dns_names: Vec<String>,
    /// An IP address that it holds besides
    #[arg(long = "ip", value_name = "ADDRESS")]
    ip_addresses: Vec<IpAddr>,
    #[command(flatten)]
    common: IssueArgs,
}

/// What every kind of certificate is issued with.
#[derive(Debug, Args)]
struct IssueArgs {
    /// How long it is valid, such as 24h; the CA's default otherwise
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    /// The folder for the three files; made if it is missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    ca: CaOptions,
}

#[derive(Debug, Args)]
pub(crate) struct RenewArgs {
    /// The folder with the certificate (cert.pem or svid.pem), key.pem and bundle.pem; rewritten in place
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The CA's address
    #[arg(long, value_name = "HOST:PORT")]
    server: String,
    /// The CA's trust domain; known already when the certificate is an SVID
    #[arg(long, value_name = "NAME")]
    trust_domain: Option<TrustDomain>,
    /// How long the new one is valid, such as 24h; the CA's default otherwise
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
}

pub(super) async fn issue(command: &IssueCommand) -> Result<HeldCertificate, Failure> {
    let common = match command {
        IssueCommand::Server(args) => &args.common,
        IssueCommand::Client(args) => &args.common,
    };
    let ca = common.ca.connect().await?;
    let bundle = ca.trust_bundle().await?;
    let key = new_key()?;
    let csr = key.bare_request().map_err(|error| Failure::new(Kind::Other, "make a request", error))?;
    let certificate = match command {
        IssueCommand::Server(args) => issue_server(&ca, csr, args).await?,
        IssueCommand::Client(args) => issue_client(&ca, csr, args).await?,
    };
    keep(&common.out, holder_files::CERTIFICATE, certificate, &key, &bundle)
}

async fn issue_server(
    ca: &CaClient,
    csr: Vec<u8>,
    args: &ServerArgs,
) -> Result<Option<IssuedCertificate>, Failure> {
    let request = IssueServerCertificateRequest {
        csr,
        dns_names: args.dns_names.clone(),
        ip_addresses: args.ip_addresses.iter().map(ToString::to_string).collect(),
        ttl: wire_ttl(args.common.ttl),
    };
    let answer = ca.certificates().issue_server_certificate(request).await;
    let answer = answer.map_err(|status| Failure::from_status("issue a server certificate", &status))?;
    Ok(answer.into_inner().certificate)
}

async fn issue_client(
    ca: &CaClient,
    csr: Vec<u8>,
    args: &ClientArgs,
) -> Result<Option<IssuedCertificate>, Failure> {
    let request = IssueClientCertificateRequest {
        csr,
        common_name: args.common_name.clone(),
        dns_names: args.dns_names.clone(),
        ip_addresses: args.ip_addresses.iter().map(ToString::to_string).collect(),
        ttl: wire_ttl(args.common.ttl),
    };
    let answer = ca.certificates().issue_client_certificate(request).await;
    let answer = answer.map_err(|status| Failure::from_status("issue a client certificate", &status))?;
    Ok(answer.into_inner().certificate)
}

pub(super) async fn renew(args: &RenewArgs) -> Result<HeldCertificate, Failure> {
    let what = || format!("renew the certificate in `{}`", args.dir.display());
    let name = chain_name(&args.dir);
    let chain = holder_files::read_chain(&args.dir.join(name))?;
    let id = Certificate::parse(&chain[0]).map_err(|error| Failure::refused(what(), error))?.spiffe_id().ok();
    let trust_domain =
        args.trust_domain.clone().or_else(|| id.as_ref().map(SpiffeId::trust_domain).cloned()).ok_or_else(
            || {
                Failure::usage(what(), "the certificate does not say which trust domain it is of")
                    .remedy("give --trust-domain NAME")
            },
        )?;
    let trusted = holder_files::read_bundle(&args.dir.join(holder_files::BUNDLE), &trust_domain)?;
    let old_key = holder_files::read_key(&args.dir.join(holder_files::KEY))?;
    let ca = connect_as_holder(&args.server, chain, &old_key, trusted).await?;
    let bundle = ca.trust_bundle().await?;

    let key = new_key()?;
    let csr = match &id {
        Some(id) => key.svid_request(id),
        None => key.bare_request(),
    }
    .map_err(|error| Failure::new(Kind::Other, what(), error))?;
    let answer = ca
        .certificates()
        .renew_certificate(RenewCertificateRequest { csr, ttl: wire_ttl(args.ttl) })
        .await
        .map_err(|status| Failure::from_status(what(), &status))?;
    keep(&args.dir, name, answer.into_inner().certificate, &key, &bundle)
}

fn chain_name(folder: &Path) -> &'static str {
    if folder.join(holder_files::SVID).exists() { holder_files::SVID } else { holder_files::CERTIFICATE }
}

/// Connects with a certificate that need not name a SPIFFE ID.
async fn connect_as_holder(
    address: &str,
    chain: Vec<CertificateDer<'static>>,
    key: &PrivateKey,
    trusted: TrustBundle,
) -> Result<CaClient, Failure> {
    let certified = CertifiedKey::from_der(chain, key.to_rustls(), &crypto_provider())
        .map_err(|error| Failure::refused("authenticate with the certificate", error))?;
    let trust_domain = trusted.trust_domain().clone();
    let mut config = ca_tls_config(None, trusted.into(), &trust_domain)?;
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(certified));
    CaClient::with_tls_config(address, config).await
}

fn new_key() -> Result<PrivateKey, Failure> {
    PrivateKey::generate().map_err(|error| Failure::new(Kind::Other, "make a private key", error))
}

/// Checks that the certificate is for the key, then writes both.
fn keep(
    folder: &Path,
    chain_name: &str,
    issued: Option<IssuedCertificate>,
    key: &PrivateKey,
    bundle: &TrustBundle,
) -> Result<HeldCertificate, Failure> {
    let what = "keep the certificate that the CA sent";
    let issued = issued.ok_or_else(|| Failure::new(Kind::Other, what, "it is missing from the answer"))?;
    let chain: Vec<_> = issued.chain.into_iter().map(CertificateDer::from).collect();
    let leaf = chain.first().ok_or_else(|| Failure::new(Kind::Other, what, "its chain is empty"))?;
    let leaf = Certificate::parse(leaf).map_err(|error| Failure::refused(what, error))?;
    CertifiedKey::from_der(chain.clone(), key.to_rustls(), &crypto_provider())
        .map_err(|error| Failure::refused(what, format_args!("it does not fit the key: {error}")))?;
    let files = holder_files::write(folder, chain_name, &chain, key, bundle)?;
    Ok(HeldCertificate {
        serial_number: leaf.serial,
        subject: leaf.subject,
        dns_names: leaf.dns_names,
        ip_addresses: leaf.ip_addresses,
        expires_at: leaf.not_after.into(),
        files,
    })
}

/// A certificate that now lies in a folder.
#[derive(Debug, Serialize)]
pub(super) struct HeldCertificate {
    serial_number: String,
    subject: String,
    dns_names: Vec<String>,
    ip_addresses: Vec<IpAddr>,
    expires_at: Instant,
    files: Vec<PathBuf>,
}

impl Report for HeldCertificate {
    fn table(&self) -> String {
        let addresses: Vec<_> = self.ip_addresses.iter().map(ToString::to_string).collect();
        facts([
            ("Serial number", self.serial_number.clone()),
            ("Subject", self.subject.clone()),
            ("DNS names", self.dns_names.join("\n")),
            ("IP addresses", addresses.join("\n")),
            ("Expires", self.expires_at.to_string()),
            ("Files", file_list(&self.files)),
        ])
    }
}
