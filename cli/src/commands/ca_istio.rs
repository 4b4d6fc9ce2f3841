//! `secctl ca export-istio-cacerts`: a CA for an Istio mesh, below the CA's root, in the four files that Istio reads.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use clap::Args;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use secplane_identity::{
    KeyKind, PrivateKey, TrustBundle,
    tls::crypto_provider,
    trust_bundle::to_certificate_pem,
    x509::{Certificate, check_ca_certificates, verify_ca_chain},
};
use secplane_proto::secplane::ca::v1::IssueIstioCaRequest;
use serde::Serialize;

use crate::{
    ca_client::CaOptions,
    commands::{file_list, wire_ttl},
    failure::{Failure, Kind},
    files::{self, PUBLIC, SECRET},
    output::{Instant, Report, facts},
};

#[derive(Debug, Args)]
pub(crate) struct IstioArgs {
    /// The folder for ca-cert.pem, ca-key.pem, cert-chain.pem and root-cert.pem; made if it is missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How long the mesh's CA is valid, such as 2160h; 90 days otherwise, and never longer than the CA above it
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    /// The kind of its key
    #[arg(long, value_name = "KIND", default_value = "ec-p256", value_parser = key_kind)]
    key: KeyKind,
    #[command(flatten)]
    ca: CaOptions,
}

fn key_kind(text: &str) -> Result<KeyKind, String> {
    // Istio signs with RSA and ECDSA alone.
    let mut kinds = KeyKind::ALL.into_iter().filter(|kind| *kind != KeyKind::Ed25519);
    kinds.clone().find(|kind| kind.to_string() == text).ok_or_else(|| {
        let names: Vec<_> = kinds.by_ref().map(|kind| kind.to_string()).collect();
        format!("use one of {}", names.join(", "))
    })
}

pub(super) async fn export(args: &IstioArgs) -> Result<IstioCa, Failure> {
    let what = "make a CA for an Istio mesh";
    let failed = |error: &dyn std::fmt::Display| Failure::new(Kind::Other, what, error.to_string());
    let ca = args.ca.connect().await?;
    let bundle = ca.trust_bundle().await?;
    let key = PrivateKey::generate_kind(args.key).map_err(|error| failed(&error))?;
    let csr = key.bare_request().map_err(|error| failed(&error))?;
    let answer = ca
        .authority()
        .issue_istio_ca(IssueIstioCaRequest { csr, ttl: wire_ttl(args.ttl) })
        .await
        .map_err(|status| Failure::from_status(what, &status))?
        .into_inner();
    let chain: Vec<_> = answer.chain.into_iter().map(CertificateDer::from).collect();
    let roots: Vec<_> = answer.roots.into_iter().map(CertificateDer::from).collect();
    let certificate =
        check(&chain, &roots, &key, &bundle).map_err(|reason| Failure::refused(what, reason))?;
    let files = write(&args.out, &chain, &roots, &key)?;
    Ok(IstioCa {
        serial_number: certificate.serial,
        subject: certificate.subject,
        expires_at: certificate.not_after.into(),
        files,
    })
}

/// What the CA sent must be for our key, and lead to roots that its trust bundle holds.
fn check(
    chain: &[CertificateDer<'static>],
    roots: &[CertificateDer<'static>],
    key: &PrivateKey,
    bundle: &TrustBundle,
) -> Result<Certificate, String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let first = chain.first().ok_or("its chain is empty")?;
    let certificate = Certificate::parse(first).map_err(|error| said(&error))?;
    CertifiedKey::from_der(chain.to_vec(), key.to_rustls(), &crypto_provider())
        .map_err(|error| format!("it does not fit the key: {error}"))?;
    check_ca_certificates(chain).map_err(|error| said(&error))?;
    let now = SystemTime::now();
    if !certificate.is_valid_at(now) {
        return Err("the certificate is not valid now; check the clocks".into());
    }
    let is_trusted = |root: &CertificateDer<'_>| bundle.authorities().any(|trusted| trusted.der == *root);
    if roots.is_empty() || !roots.iter().all(is_trusted) {
        return Err("its root is not in the CA's trust bundle".into());
    }
    // Istio gives its workloads these roots alone.
    let roots = TrustBundle::new(bundle.trust_domain().clone(), roots).map_err(|error| said(&error))?;
    verify_ca_chain(chain, &roots, now)
        .map_err(|error| format!("its chain does not lead to the roots beside it: {error}"))?;
    Ok(certificate)
}

/// The key comes before what is made for it.
fn write(
    folder: &Path,
    chain: &[CertificateDer<'static>],
    roots: &[CertificateDer<'static>],
    key: &PrivateKey,
) -> Result<Vec<PathBuf>, Failure> {
    files::make_folder(folder)?;
    let pem = |certificates: &[CertificateDer<'static>]| {
        to_certificate_pem(certificates.iter().map(AsRef::as_ref)).into_bytes()
    };
    let first = chain.get(..1).unwrap_or_default();
    let key_file = folder.join("ca-key.pem");
    files::write(&key_file, key.to_pem().as_bytes(), SECRET)?;
    let mut written = vec![key_file];
    for (name, content) in
        [("root-cert.pem", pem(roots)), ("cert-chain.pem", pem(chain)), ("ca-cert.pem", pem(first))]
    {
        let path = folder.join(name);
        files::write(&path, &content, PUBLIC)?;
        written.push(path);
    }
    Ok(written)
}

/// A mesh's CA that now lies in a folder.
#[derive(Debug, Serialize)]
pub(super) struct IstioCa {
    serial_number: String,
    subject: String,
    expires_at: Instant,
    files: Vec<PathBuf>,
}

impl Report for IstioCa {
    fn table(&self) -> String {
        facts([
            ("Serial number", self.serial_number.clone()),
            ("Subject", self.subject.clone()),
            ("Expires", self.expires_at.to_string()),
            ("Files", file_list(&self.files)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use ca_daemon::authority::{CaKey, CertificateRequest, DomainCa};
    use secplane_identity::TrustDomain;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn refuses_a_chain_below_another_root_than_the_one_beside_it() {
        let (trust_domain, now) = (TrustDomain::parse("example.org").unwrap(), SystemTime::now());
        let root = || {
            let key = CaKey::try_from(&PrivateKey::generate().unwrap()).unwrap();
            DomainCa::self_signed(&trust_domain, key, HOUR * 2, now).unwrap()
        };
        let (before, after) = (root(), root());
        let key = PrivateKey::generate().unwrap();
        let request = CertificateRequest::parse_for_ca(&key.bare_request().unwrap(), &trust_domain).unwrap();
        let chain = after.sign_outside_ca(&request, HOUR, now).unwrap();
        let ders = [&before, &after].map(|root| root.certificate().der.clone());
        let bundle = TrustBundle::new(trust_domain.clone(), &ders).unwrap();
        let [before, after] = &ders;
        check(&chain, std::slice::from_ref(after), &key, &bundle).unwrap();
        let refused = check(&chain, std::slice::from_ref(before), &key, &bundle).unwrap_err();
        assert!(refused.contains("does not lead to the roots"), "{refused}");
    }
}
