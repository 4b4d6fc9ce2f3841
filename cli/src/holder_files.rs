//! The files that a certificate's holder keeps in one folder: chain, key and trust bundle.

use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateDer;
use secplane_identity::{
    PrivateKey, TrustBundle, TrustDomain, X509Identity,
    trust_bundle::{MAX_DOCUMENT_BYTES, certificates_from_pem, to_certificate_pem},
};

use crate::{
    config_map,
    failure::Failure,
    files::{self, PUBLIC, SECRET},
};

/// The chain of an X.509-SVID, leaf first.
pub(crate) const SVID: &str = "svid.pem";
/// The chain of any other certificate, leaf first.
pub(crate) const CERTIFICATE: &str = "cert.pem";
/// The private key, PKCS#8.
pub(crate) const KEY: &str = "key.pem";
/// The roots to verify peers with.
pub(crate) const BUNDLE: &str = "bundle.pem";

/// A key file is never larger than this.
const MAX_KEY_BYTES: usize = 64 * 1024;

/// Writes chain, key and trust bundle into a folder, which is made if it is missing.
///
/// The chain comes last: who watches it finds the key that fits already there.
pub(crate) fn write(
    folder: &Path,
    chain_name: &str,
    chain: &[CertificateDer<'_>],
    key: &PrivateKey,
    bundle: &TrustBundle,
) -> Result<Vec<PathBuf>, Failure> {
    files::make_folder(folder)?;
    let paths = [folder.join(BUNDLE), folder.join(KEY), folder.join(chain_name)];
    files::write(&paths[0], bundle.to_pem().as_bytes(), PUBLIC)?;
    files::write(&paths[1], key.to_pem().as_bytes(), SECRET)?;
    files::write(&paths[2], to_certificate_pem(chain.iter().map(AsRef::as_ref)).as_bytes(), PUBLIC)?;
    Ok(paths.into())
}

/// Reads an X.509-SVID and its key from a folder.
pub(crate) fn read_svid(folder: &Path) -> Result<X509Identity, Failure> {
    let chain = read_chain(&folder.join(SVID))?;
    let key = read_key(&folder.join(KEY))?;
    X509Identity::new(chain, key)
        .map_err(|error| Failure::refused(format!("use the SVID in `{}`", folder.display()), error))
}

/// Reads a chain of certificates, leaf first.
pub(crate) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let text = files::read_text(path, MAX_DOCUMENT_BYTES)?;
    certificates_from_pem(&text)
        .map_err(|error| Failure::refused(format!("read certificates from `{}`", path.display()), error))
}

/// Reads a private key.
pub(crate) fn read_key(path: &Path) -> Result<PrivateKey, Failure> {
    let text = files::read_text(path, MAX_KEY_BYTES)?;
    PrivateKey::from_pem(&text)
        .map_err(|error| Failure::refused(format!("read the private key `{}`", path.display()), error))
}

/// The keys of a ConfigMap that a trust bundle may lie under: the newer SPIFFE JSON before the older PEM.
const BUNDLE_KEYS: [&str; 2] = ["bundle.spiffe", "bundle.crt"];

/// Reads a trust bundle: PEM, SPIFFE JSON, or a Kubernetes ConfigMap that holds one of these.
pub(crate) fn read_bundle(path: &Path, trust_domain: &TrustDomain) -> Result<TrustBundle, Failure> {
    let what = || format!("read the trust bundle `{}`", path.display());
    let mut text = files::read_text(path, MAX_DOCUMENT_BYTES)?;
    if config_map::is_config_map(&text) {
        let found =
            config_map::value(&text, &BUNDLE_KEYS).map_err(|error| Failure::refused(what(), error))?;
        text = found.1;
    }
    let bundle = if text.trim_start().starts_with('{') {
        TrustBundle::from_spiffe_json(trust_domain.clone(), &text)
    } else {
        TrustBundle::from_pem(trust_domain.clone(), &text)
    };
    bundle.map_err(|error| Failure::refused(what(), error))
}
