//! `secctl svid`: X.509-SVIDs as files.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use clap::{Args, Subcommand};
use rustls_pki_types::CertificateDer;
use secplane_identity::{
    PrivateKey, SpiffeId, TrustBundle, X509Identity,
    x509::{Purpose, verify_x509_svid},
};
use secplane_proto::spire::api::server::svid::v1::MintX509svidRequest;
use serde::Serialize;

use super::wire_ttl;
use crate::{
    ca_client::{CaClient, CaOptions},
    client_identity::from_workload_api,
    failure::{Failure, Kind},
    holder_files,
    output::{Instant, Output, Report, facts},
};

/// X.509-SVIDs as files
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Example:\n  secctl svid issue --spiffe-id spiffe://example.org/ns/demo/sa/web --out ./web"
)]
pub(crate) enum SvidCommand {
    /// Get an X.509-SVID and write svid.pem, key.pem and bundle.pem
    ///
    /// As an admin, makes a key and lets the CA mint an SVID for any ID. With --workload-api and without --server,
    /// fetches the SVID that the socket gives to this very process.
    #[command(after_help = "Examples:\n  secctl svid issue --spiffe-id spiffe://example.org/ns/demo/sa/web \
                            --out ./web\n  secctl svid issue --spiffe-id \
                            spiffe://example.org/ns/demo/sa/web --ttl 10m --out ./web\n  secctl svid issue \
                            --workload-api ./secplane-dev/workload.sock --out ./me")]
    Issue(IssueArgs),
}

#[derive(Debug, Args)]
pub(crate) struct IssueArgs {
    /// Whom the SVID names; with --workload-api, which of the identities that it gives
    #[arg(long, value_name = "ID")]
    spiffe_id: Option<SpiffeId>,
    /// How long it is valid, such as 90s or 1h; the CA's default otherwise
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    /// The folder for the three files; made if it is missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    ca: CaOptions,
}

impl SvidCommand {
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        match self {
            Self::Issue(args) => output.report(&issue(&args).await?),
        }
    }
}

async fn issue(args: &IssueArgs) -> Result<IssuedSvid, Failure> {
    let (identity, bundle) = match (&args.ca.identity.workload_api, &args.ca.server) {
        (Some(socket), None) => fetch(socket, args).await?,
        _ => {
            let id = args.spiffe_id.as_ref().ok_or_else(|| {
                Failure::usage("issue an SVID", "no SPIFFE ID is given").remedy("give --spiffe-id ID")
            })?;
            let ca = args.ca.connect().await?;
            let bundle = ca.trust_bundle().await?;
            (mint(&ca, id, &bundle, args.ttl).await?, bundle)
        }
    };
    let chain = identity.chain();
    let files = holder_files::write(&args.out, holder_files::SVID, chain, identity.key(), &bundle)?;
    Ok(IssuedSvid::new(&identity, files))
}

async fn fetch(socket: &Path, args: &IssueArgs) -> Result<(X509Identity, TrustBundle), Failure> {
    let what = "fetch an SVID";
    if args.ttl.is_some() {
        return Err(Failure::usage(what, "the Workload API decides the validity itself")
            .remedy("leave out --ttl, or set it on the registration entry (`secctl entry create --ttl`)"));
    }
    let snapshot = from_workload_api(socket, args.spiffe_id.as_ref()).await?;
    let identity = snapshot
        .identity
        .ok_or_else(|| Failure::new(Kind::Denied, what, "the Workload API gave no identity"))?;
    let bundle = snapshot.bundles.get(identity.id().trust_domain()).ok_or_else(|| {
        Failure::refused(what, "the Workload API gave no trust bundle of the SVID's own trust domain")
    })?;
    Ok((identity, TrustBundle::clone(bundle)))
}

/// Makes a key and has the CA mint an SVID for it. What comes back is verified before anybody uses it.
pub(crate) async fn mint(
    ca: &CaClient,
    id: &SpiffeId,
    bundle: &TrustBundle,
    ttl: Option<Duration>,
) -> Result<X509Identity, Failure> {
    let what = || format!("issue an SVID for {id}");
    let key = PrivateKey::generate().map_err(|error| Failure::new(Kind::Other, what(), error))?;
    let csr = key.svid_request(id).map_err(|error| Failure::new(Kind::Other, what(), error))?;
    let ttl = i32::try_from(wire_ttl(ttl)).map_err(|_| Failure::usage(what(), "the validity is too long"))?;
    let svid = ca
        .svid()
        .mint_x509svid(MintX509svidRequest { csr, ttl })
        .await
        .map_err(|status| Failure::from_status(what(), &status))?
        .into_inner()
        .svid
        .ok_or_else(|| Failure::new(Kind::Other, what(), "the CA answered without an SVID"))?;

    let chain: Vec<_> = svid.cert_chain.into_iter().map(CertificateDer::from).collect();
    let unusable = |error: &dyn std::fmt::Display| {
        Failure::refused(what(), format_args!("what the CA sent is not usable: {error}"))
    };
    let verified = verify_x509_svid(&chain, &bundle.clone().into(), Purpose::ClientAuth, SystemTime::now())
        .map_err(|error| unusable(&error))?;
    if verified.id() != id {
        return Err(unusable(&format_args!("it names {}", verified.id())));
    }
    X509Identity::new(chain, key).map_err(|error| unusable(&error))
}

#[derive(Serialize)]
struct IssuedSvid {
    spiffe_id: SpiffeId,
    serial_number: String,
    expires_at: Instant,
    files: Vec<PathBuf>,
}

impl IssuedSvid {
    fn new(identity: &X509Identity, files: Vec<PathBuf>) -> Self {
        Self {
            spiffe_id: identity.id().clone(),
            serial_number: identity.leaf().serial.clone(),
            expires_at: identity.leaf().not_after.into(),
            files,
        }
    }
}

impl Report for IssuedSvid {
    fn table(&self) -> String {
        facts([
            ("SPIFFE ID", self.spiffe_id.to_string()),
            ("Serial number", self.serial_number.clone()),
            ("Expires", self.expires_at.to_string()),
            ("Files", super::file_list(&self.files)),
        ])
    }
}
