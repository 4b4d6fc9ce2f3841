//! The CA of a trust domain below somebody else's root: taken from PEM files, or certified on request.
//!
//! Either way the key is kept where the authority keeps its own from then on, so that nothing but the first taking in
//! differs from a root that was made here.

use std::{
    fs, io,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use rustls_pki_types::CertificateDer;
use secplane_identity::{
    PrivateKey, TrustDomain,
    private_key::PrivateKeyError,
    trust_bundle::{TrustBundleError, certificates_from_pem},
};
use zeroize::Zeroizing;

use crate::{
    authority::{CaError, CaKey, DomainCa},
    issuance::Requester,
    keys::{KeyStore, KeyStoreError},
    lifecycle::{Lifecycle, LifecycleError},
};

/// The most that is read of one file, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// The secret that names the key for which a request is under way.
const PENDING: &str = "upstream-request";

/// A CA in the four files of Istio's `cacerts`.
pub struct PemCa {
    /// Its private key, from `ca-key.pem`.
    pub key: PrivateKey,
    certificate: CertificateDer<'static>,
    above: Vec<CertificateDer<'static>>,
}

impl PemCa {
    /// Reads `ca-cert.pem`, `ca-key.pem`, `cert-chain.pem` (which may be missing when the CA is below a root) and
    /// `root-cert.pem` of a folder. Touches the disk: belongs off the async runtime.
    ///
    /// # Errors
    /// When a file is missing, can be read by others though it holds the key, or is not what its name says.
    pub fn read(folder: &Path) -> Result<Self, UpstreamError> {
        let key = read_private(&folder.join("ca-key.pem"))?;
        let key = PrivateKey::from_pem(&key)
            .map_err(|source| UpstreamError::Key { path: folder.join("ca-key.pem"), source })?;
        let certificate = certificates(&folder.join("ca-cert.pem"))?;
        let certificate =
            certificate.into_iter().next().ok_or_else(|| UpstreamError::Empty(folder.join("ca-cert.pem")))?;
        let mut above = match certificates(&folder.join("cert-chain.pem")) {
            Err(UpstreamError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
            chain => chain?,
        };
        above.retain(|other| *other != certificate);
        above.extend(certificates(&folder.join("root-cert.pem"))?);
        Ok(Self { key, certificate, above })
    }

    /// As [`PemCa::read`], off the async runtime.
    ///
    /// # Errors
    /// As [`PemCa::read`].
    pub async fn read_blocking(folder: PathBuf) -> Result<Self, UpstreamError> {
        blocking(move || Self::read(&folder)).await
    }

    /// The identifier of its key.
    ///
    /// # Errors
    /// When the key cannot be used.
    pub fn key_id(&self) -> Result<String, UpstreamError> {
        Ok(CaKey::try_from(&self.key).map_err(CaError::from)?.id())
    }

    /// The CA, once what is signed below it was seen to be accepted.
    ///
    /// # Errors
    /// When the files do not belong together, or the CA cannot sign for `trust_domain`.
    pub fn domain_ca(&self, trust_domain: &TrustDomain, now: SystemTime) -> Result<DomainCa, UpstreamError> {
        let ca = self.unchecked(trust_domain)?;
        ca.check(now)?;
        Ok(ca)
    }

    /// The CA as the files say it. Whether what is signed below it would be accepted is not seen to.
    ///
    /// # Errors
    /// When the files do not belong together, or the CA is none of `trust_domain`.
    pub(crate) fn unchecked(&self, trust_domain: &TrustDomain) -> Result<DomainCa, UpstreamError> {
        let key = CaKey::try_from(&self.key).map_err(CaError::from)?;
        Ok(DomainCa::restore(trust_domain, &self.certificate, &self.above, key)?)
    }
}

/// Prepares the CA in the PEM files of a folder when the authority does not know its key yet: another CA lies there
/// since the files were taken in. It signs once an admin activates it.
///
/// What was renewed for a key that is known was taken in before, by [`crate::lifecycle::Vault::take_renewed`].
///
/// # Errors
/// When the files or the CA cannot be used.
pub async fn follow(lifecycle: &Arc<Lifecycle>, folder: PathBuf) -> Result<(), LifecycleError> {
    let files = PemCa::read_blocking(folder).await?;
    let key_id = files.key_id()?;
    if lifecycle.standing().rows().iter().any(|row| row.key_id == key_id) {
        return Ok(());
    }
    let ca = lifecycle.vault().outside_ca(files).await?;
    match lifecycle.take_in(ca, lifecycle.vault().keys.storage(), Requester::daemon()).await {
        Ok(_) => tracing::warn!(
            key_id,
            "the PEM files hold another CA, which is prepared; `secctl ca activate` lets it sign"
        ),
        // What signs goes on without it.
        Err(error @ LifecycleError::TaintedUpstream(_)) => {
            tracing::error!(key_id, %error, "the PEM files hold another CA, which is not taken in");
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// A CA that waits to be certified.
pub struct PendingRequest {
    /// The identifier of its key.
    pub key_id: String,
    /// The certificate request, DER.
    pub csr: Vec<u8>,
}

/// The certificate request of a CA that waits to be certified: the same key until a chain for it was taken in.
///
/// # Errors
/// When the key cannot be made, kept or used.
pub async fn pending_request(
    keys: &KeyStore,
    trust_domain: &TrustDomain,
) -> Result<PendingRequest, UpstreamError> {
    let key = match pending_key(keys).await? {
        Some(key) => key,
        None => {
            let key = keys.make_ca_key().await?;
            keys.keep_secret(PENDING, key.id().as_bytes()).await?;
            key
        }
    };
    let trust_domain = trust_domain.clone();
    blocking(move || Ok(PendingRequest { key_id: key.id(), csr: DomainCa::request(&trust_domain, &key)? }))
        .await
}

/// Joins the key of the request that is under way and the chain that an outside CA answered: our CA first, then what
/// is between it and the root; then the roots.
///
/// # Errors
/// When there is no request, the chain is for another key, or what is signed below it would not be accepted.
pub async fn answered_request(
    keys: &KeyStore,
    trust_domain: &TrustDomain,
    chain: Vec<CertificateDer<'static>>,
    roots: Vec<CertificateDer<'static>>,
    now: SystemTime,
) -> Result<Arc<DomainCa>, UpstreamError> {
    let key = pending_key(keys).await?.ok_or(UpstreamError::NoRequest)?;
    let trust_domain = trust_domain.clone();
    blocking(move || {
        let (own, above) = chain.split_first().ok_or(UpstreamError::NoChain)?;
        let above: Vec<_> = above.iter().cloned().chain(roots).collect();
        let ca = DomainCa::restore(&trust_domain, own, &above, key)?;
        ca.check(now)?;
        Ok(Arc::new(ca))
    })
    .await
}

/// The request that was under way has been answered: the next one is for another key.
///
/// # Errors
/// When the note of it cannot be removed.
pub async fn forget_request(keys: &KeyStore) -> Result<(), UpstreamError> {
    Ok(keys.forget(PENDING).await?)
}

async fn pending_key(keys: &KeyStore) -> Result<Option<CaKey>, UpstreamError> {
    let Some(id) = pending_key_id(keys).await? else { return Ok(None) };
    Ok(Some(keys.ca_key(&id).await?))
}

/// The key of the request that is under way.
pub(crate) async fn pending_key_id(keys: &KeyStore) -> Result<Option<String>, KeyStoreError> {
    let id = keys.load_secret(PENDING).await?;
    Ok(id.map(|id| String::from_utf8_lossy(&id).into_owned()))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, UpstreamError> + Send + 'static,
) -> Result<T, UpstreamError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(UpstreamError::Interrupted))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, UpstreamError> {
    let text = read_bounded(path)?;
    certificates_from_pem(&text)
        .map_err(|source| UpstreamError::Certificates { path: path.to_owned(), source })
}

fn read_private(path: &Path) -> Result<Zeroizing<String>, UpstreamError> {
    use std::os::unix::fs::MetadataExt;
    let unreadable = |source| UpstreamError::Read { path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(unreadable)?.mode();
    if mode & 0o077 != 0 {
        return Err(UpstreamError::Exposed { path: path.to_owned(), mode: mode & 0o777 });
    }
    read_bounded(path)
}

fn read_bounded(path: &Path) -> Result<Zeroizing<String>, UpstreamError> {
    let unreadable = |source| UpstreamError::Read { path: path.to_owned(), source };
    let mut text = Zeroizing::new(String::new());
    fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text))
        .map_err(unreadable)?;
    Ok(text)
}

/// Why a CA below an outside root cannot be taken in.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// A file cannot be read.
    #[error(
        "{path} cannot be read: {source}; `upstream.pem.folder` needs ca-cert.pem, ca-key.pem and root-cert.pem"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others can read the key.
    #[error("the CA's private key {path} can be read by others (mode {mode:o}); run `chmod 600 {path}`")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The key file holds no usable key.
    #[error("{path}: {source}")]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: PrivateKeyError,
    },
    /// A file holds no certificates.
    #[error("{path}: {source}")]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: TrustBundleError,
    },
    /// A file holds no certificate.
    #[error("{0} holds no certificate")]
    Empty(PathBuf),
    /// The CA cannot be used.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The key cannot be kept or read.
    #[error(transparent)]
    Keys(#[from] KeyStoreError),
    /// Nobody asked.
    #[error("no request waits for a chain; make one with `secctl ca request`")]
    NoRequest,
    /// No certificate at all.
    #[error(
        "the chain is empty; give the certificate that the outside CA made, then what is between it and its root"
    )]
    NoChain,
    /// The CA was renewed for the same key below other roots alone.
    #[error(
        "the CA of the PEM files was renewed below another root than before, which nobody trusts yet: whoever is shown \
         what it signs would refuse it. Put both roots into root-cert.pem, beside the certificate and the chain of \
         before, and start the replicas anew; once both have been in the trust bundle for `rotation.publish_ahead`, \
         put the new certificate and chain in; take the old root out when everything below it has expired or was renewed"
    )]
    OtherRoots,
    /// The CA was renewed for the same key without a right that it had.
    #[error(
        "the CA of the PEM files was renewed without cRLSign, which its certificate before had: whoever holds its last \
         revocation list would refuse everything below it; have it renewed with keyCertSign and cRLSign"
    )]
    NoMoreLists,
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Interrupted,
}

#[cfg(test)]
mod tests;
