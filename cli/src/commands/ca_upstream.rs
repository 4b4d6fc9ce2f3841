//! `secctl ca request` and `secctl ca import`: an outside CA certifies the CA of the trust domain.

use std::path::PathBuf;

use clap::Args;
use secplane_proto::secplane::ca::v1::{GetUpstreamRequestRequest, ImportUpstreamChainRequest};
use serde::Serialize;

use crate::{
    ca_client::CaOptions,
    failure::{Failure, Kind},
    files::{self, PUBLIC},
    holder_files,
    output::{Instant, Report, facts, shown},
};

#[derive(Debug, Args)]
pub(crate) struct RequestArgs {
    /// The file for the certificate request (PKCS#10, PEM)
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    ca: CaOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The PEM file of what the outside CA answered: our CA first, then what is between it and the root
    #[arg(long, value_name = "FILE")]
    chain: PathBuf,
    /// The PEM file of the outside CA's root
    #[arg(long, value_name = "FILE")]
    root: PathBuf,
    #[command(flatten)]
    ca: CaOptions,
}

pub(super) async fn request(args: &RequestArgs) -> Result<WrittenRequest, Failure> {
    let ca = args.ca.connect().await?;
    let answer = ca
        .authority()
        .get_upstream_request(GetUpstreamRequestRequest {})
        .await
        .map_err(|status| Failure::from_status("get the CA's certificate request", &status))?;
    let block = pem::Pem::new("CERTIFICATE REQUEST", answer.into_inner().csr);
    let text = pem::encode_config(&block, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF));
    files::write(&args.out, text.as_bytes(), PUBLIC)?;
    Ok(WrittenRequest { file: args.out.clone() })
}

pub(super) async fn import(args: &ImportArgs) -> Result<TakenIn, Failure> {
    let what = "take in the chain of the outside CA";
    let der = |path: &PathBuf| -> Result<Vec<Vec<u8>>, Failure> {
        Ok(holder_files::read_chain(path)?.iter().map(|certificate| certificate.to_vec()).collect())
    };
    let request = ImportUpstreamChainRequest { chain: der(&args.chain)?, roots: der(&args.root)? };
    let ca = args.ca.connect().await?;
    let answer = ca
        .authority()
        .import_upstream_chain(request)
        .await
        .map_err(|status| Failure::from_status(what, &status))?;
    let authority = answer
        .into_inner()
        .authority
        .ok_or_else(|| Failure::new(Kind::Other, what, "the CA answered nothing"))?;
    Ok(TakenIn {
        next: format!("secctl ca activate {}", authority.authority_id),
        authority_id: authority.authority_id,
        expires_at: Instant::from_unix(authority.not_after),
    })
}

/// The file that the outside CA is to be given.
#[derive(Debug, Serialize)]
pub(super) struct WrittenRequest {
    file: PathBuf,
}

impl Report for WrittenRequest {
    fn table(&self) -> String {
        facts([("Certificate request", self.file.display().to_string())])
    }
}

/// A CA that is trusted from now on, and signs once it is activated.
#[derive(Debug, Serialize)]
pub(super) struct TakenIn {
    authority_id: String,
    expires_at: Option<Instant>,
    next: String,
}

impl Report for TakenIn {
    fn table(&self) -> String {
        facts([
            ("Prepared", self.authority_id.clone()),
            ("Expires", shown(self.expires_at)),
            ("When everybody follows", self.next.clone()),
        ])
    }
}
