//! `secctl agent attest`: proving by hand that this is a node.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use clap::Args;
use futures_util::stream;
use rustls_pki_types::CertificateDer;
use secplane_identity::{
    PrivateKey, SpiffeId,
    x509::{Purpose, verify_x509_svid},
};
use secplane_proto::spire::api::{
    server::agent::v1::{
        AgentX509svidParams, AttestAgentRequest, attest_agent_request, attest_agent_response,
    },
    types,
};
use serde::Serialize;

use crate::{
    ca_client::CaOptions,
    commands::file_list,
    failure::{Failure, Kind},
    files, holder_files,
    output::{Instant, Report, facts},
};

/// A join token is never longer than this, in bytes.
const MAX_TOKEN_BYTES: usize = 1024;

#[derive(Debug, Args)]
pub(crate) struct AttestArgs {
    /// The token that the node proves itself with; others on this machine may see it (see --join-token-file)
    #[arg(long, value_name = "TOKEN", required_unless_present = "join_token_file")]
    join_token: Option<String>,
    /// The file that holds the token; `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "join_token")]
    join_token_file: Option<PathBuf>,
    /// The folder for the three files; made if it is missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    ca: CaOptions,
}

impl AttestArgs {
    fn token(&self) -> Result<String, Failure> {
        match (&self.join_token, &self.join_token_file) {
            (Some(token), _) => Ok(token.clone()),
            (None, Some(path)) => Ok(files::read_text(path, MAX_TOKEN_BYTES)?.trim().to_owned()),
            (None, None) => Err(Failure::usage("attest this node", "no join token is given")),
        }
    }
}

pub(super) async fn attest(args: &AttestArgs) -> Result<AttestedAgent, Failure> {
    let what = "attest this node";
    let token = args.token()?;
    let ca = args.ca.connect().await?;
    let bundle = ca.trust_bundle().await?;
    let key = lasting_key(&args.out)?;
    let csr = key.bare_request().map_err(|error| Failure::new(Kind::Other, what, error))?;

    let params = attest_agent_request::Params {
        data: Some(types::AttestationData { r#type: "join_token".to_owned(), payload: token.into_bytes() }),
        params: Some(AgentX509svidParams { csr }),
    };
    let request = AttestAgentRequest { step: Some(attest_agent_request::Step::Params(params)) };
    let refused = |status: &tonic::Status| Failure::from_status(what, status);
    let requests = stream::iter([request]);
    let answers = ca.agent().attest_agent(requests).await.map_err(|status| refused(&status))?;
    let mut answers = answers.into_inner();
    let answer = answers.message().await.map_err(|status| refused(&status))?.and_then(|answer| answer.step);
    let Some(attest_agent_response::Step::Result(result)) = answer else {
        return Err(Failure::new(Kind::Other, what, "the CA answered without a result"));
    };
    let svid =
        result.svid.ok_or_else(|| Failure::new(Kind::Other, what, "the CA answered without an SVID"))?;

    let chain: Vec<_> = svid.cert_chain.into_iter().map(CertificateDer::from).collect();
    let verified = verify_x509_svid(&chain, &bundle.clone().into(), Purpose::ClientAuth, SystemTime::now())
        .map_err(|error| {
        Failure::refused(what, format_args!("what the CA sent is not usable: {error}"))
    })?;
    let files = holder_files::write(&args.out, holder_files::SVID, &chain, &key, &bundle)?;
    Ok(AttestedAgent {
        spiffe_id: verified.id().clone(),
        serial_number: verified.leaf().serial.clone(),
        expires_at: verified.leaf().not_after.into(),
        files,
    })
}

/// The key in the folder, or a new one that is there before anybody is asked to certify it.
fn lasting_key(folder: &Path) -> Result<PrivateKey, Failure> {
    let path = folder.join(holder_files::KEY);
    if path.exists() {
        return holder_files::read_key(&path);
    }
    let key = PrivateKey::generate()
        .map_err(|error| Failure::new(Kind::Other, "make a key for this node", error))?;
    files::make_folder(folder)?;
    files::write(&path, key.to_pem().as_bytes(), files::SECRET)?;
    Ok(key)
}

#[derive(Serialize)]
pub(super) struct AttestedAgent {
    spiffe_id: SpiffeId,
    serial_number: String,
    expires_at: Instant,
    files: Vec<PathBuf>,
}

impl Report for AttestedAgent {
    fn table(&self) -> String {
        facts([
            ("Agent", self.spiffe_id.to_string()),
            ("Serial number", self.serial_number.clone()),
            ("Expires", self.expires_at.to_string()),
            ("Files", file_list(&self.files)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_the_key_again_that_it_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("agent");
        let first = lasting_key(&out).unwrap();
        let again = lasting_key(&out).unwrap();
        assert_eq!(first.pkcs8_der(), again.pkcs8_der());
    }
}
