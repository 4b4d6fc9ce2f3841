//! `secctl cert revoke`.

use std::path::{Path, PathBuf};

use clap::Args;
use secplane_identity::{
    PrivateKey, SpiffeId, revocation::KeyHash, trust_bundle::certificates_from_pem, x509::Certificate,
};
use secplane_proto::secplane::ca::v1::{RevokeCertificateRequest, RevokeRequest, revoke_request::Target};
use serde::Serialize;

use super::{MAX_CERTIFICATE_FILE_BYTES, record::RecordReport, serial_of};
use crate::{
    ca_client::{CaClient, CaOptions},
    failure::{Failure, Kind},
    files,
    output::{Output, Report},
};

#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Why; at most 256 characters
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    ca: CaOptions,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct TargetArgs {
    /// The serial number in hex, as `secctl cert list` shows it, or a file with the certificate (PEM)
    #[arg(value_name = "SERIAL|FILE")]
    certificate: Option<String>,
    /// Every certificate that this SPIFFE ID was issued until now
    #[arg(long, value_name = "ID")]
    spiffe_id: Option<SpiffeId>,
    /// Every certificate of the key in this file (PEM: a private key or a certificate), now and later
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Every certificate of this public key, now and later: the SHA-256 of its SubjectPublicKeyInfo in hex
    #[arg(long, value_name = "HEX")]
    key_sha256: Option<KeyHash>,
}

pub(super) async fn revoke(args: RevokeArgs, output: Output) -> Result<(), Failure> {
    let RevokeArgs { target, reason, ca } = args;
    let target = match target {
        TargetArgs { certificate: Some(given), .. } => {
            let serial = serial_of(&given)?;
            return output.report(&revoke_certificate(&ca.connect().await?, serial, reason).await?);
        }
        TargetArgs { spiffe_id: Some(id), .. } => Target::SpiffeId(id.to_string()),
        TargetArgs { key: Some(path), .. } => Target::PublicKeySha256(key_in(&path)?.to_string()),
        TargetArgs { key_sha256: Some(key), .. } => Target::PublicKeySha256(key.to_string()),
        // clap sees to it that one is given.
        _ => return Err(Failure::usage("revoke", "nothing to revoke was named")),
    };
    output.report(&revoke_all(&ca.connect().await?, target, reason).await?)
}

async fn revoke_certificate(ca: &CaClient, serial: String, reason: String) -> Result<RecordReport, Failure> {
    let what = format!("revoke the certificate {serial}");
    ca.certificates()
        .revoke_certificate(RevokeCertificateRequest { serial_number: serial, reason })
        .await
        .map_err(|status| Failure::from_status(what.clone(), &status))?
        .into_inner()
        .certificate
        .map(RecordReport::from)
        .ok_or_else(|| Failure::new(Kind::Other, what, "the CA answered without its record"))
}

async fn revoke_all(ca: &CaClient, target: Target, reason: String) -> Result<Revoked, Failure> {
    let what = match &target {
        Target::SpiffeId(id) => format!("revoke the certificates of {id}"),
        Target::PublicKeySha256(key) => format!("revoke the public key {key}"),
        Target::SerialNumber(serial) => format!("revoke the certificate {serial}"),
    };
    let request = RevokeRequest { target: Some(target), reason };
    let response = ca.revocations().revoke(request).await;
    let response = response.map_err(|status| Failure::from_status(what, &status))?;
    Ok(Revoked { revoked: response.into_inner().revoked })
}

/// The public key of the first private key or certificate in a PEM file.
fn key_in(path: &Path) -> Result<KeyHash, Failure> {
    let what = || format!("find out the public key in `{}`", path.display());
    let text = files::read_text(path, MAX_CERTIFICATE_FILE_BYTES)?;
    if let Ok(key) = PrivateKey::from_pem(&text) {
        let info = key.public_key_info().map_err(|error| Failure::refused(what(), error))?;
        return Ok(KeyHash::of(&info));
    }
    let chain = certificates_from_pem(&text).map_err(|error| Failure::refused(what(), error))?;
    let leaf = chain.first().ok_or_else(|| Failure::refused(what(), "it holds no key and no certificate"))?;
    let leaf = Certificate::parse(leaf).map_err(|error| Failure::refused(what(), error))?;
    Ok(KeyHash::of(&leaf.public_key_info))
}

#[derive(Serialize)]
struct Revoked {
    /// How many certificates lost their trust.
    revoked: i64,
}

impl Report for Revoked {
    fn table(&self) -> String {
        match self.revoked {
            1 => "1 certificate revoked".to_owned(),
            n => format!("{n} certificates revoked"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_key_of_a_private_key_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let key = PrivateKey::generate().unwrap();
        std::fs::write(&path, key.to_pem().as_bytes()).unwrap();
        assert_eq!(key_in(&path).unwrap(), KeyHash::of(&key.public_key_info().unwrap()));
        std::fs::write(&path, "nothing").unwrap();
        assert_eq!(key_in(&path).unwrap_err().kind(), Kind::Refused);
    }
}
