//! The keys of the roots and the issuing CAs, for signing their lists: of those that still sign and of those that no
//! longer do.

use secplane_identity::{TrustDomain, private_key::PrivateKeyError, x509::CertificateError};

use crate::{
    authority::{CaError, CaKey, CrlError, ListSigner, RevocationList},
    keys::{KeyStore, KeyStoreError},
    store::{AuthorityKind, AuthorityRow},
};

/// Signs lists with the keys of roots and issuing CAs.
pub struct Signers {
    trust_domain: TrustDomain,
    keys: KeyStore,
}

impl Signers {
    /// Finds the keys in `keys`.
    #[must_use]
    pub fn new(trust_domain: TrustDomain, keys: KeyStore) -> Self {
        Self { trust_domain, keys }
    }

    /// Signs a list of a CA, and answers it as DER. A long list takes a while, so this is done off the
    /// runtime.
    pub(super) async fn sign(
        &self,
        issuer: &AuthorityRow,
        list: RevocationList,
    ) -> Result<Vec<u8>, SignerError> {
        let key = self.key_of(issuer).await?;
        let (trust_domain, certificate) = (self.trust_domain.clone(), issuer.public.clone());
        let work = move || {
            let signer = ListSigner::new(&trust_domain, &certificate, key)?;
            Ok(signer.sign(&list)?.to_vec())
        };
        tokio::task::spawn_blocking(work).await.unwrap_or(Err(SignerError::Interrupted))
    }

    /// Whether the key of a CA is here. One that cannot be read at this moment is.
    pub(super) async fn has_key(&self, issuer: &AuthorityRow) -> bool {
        let key = self.key_of(issuer).await;
        !matches!(key, Err(SignerError::Key(KeyStoreError::NoKey(_) | KeyStoreError::Name(_))))
    }

    async fn key_of(&self, issuer: &AuthorityRow) -> Result<CaKey, SignerError> {
        Ok(match issuer.kind {
            AuthorityKind::Root => self.keys.ca_key(&issuer.key_id).await?,
            _ => CaKey::try_from(&self.keys.load(&issuer.key_id).await?)?,
        })
    }
}

/// Why a list cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The issuer's key cannot be had.
    #[error(transparent)]
    Key(#[from] KeyStoreError),
    /// The issuer's key cannot be used.
    #[error(transparent)]
    PrivateKey(#[from] PrivateKeyError),
    /// The issuer's certificate cannot be used.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The issuer's certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The list cannot be signed.
    #[error(transparent)]
    List(#[from] CrlError),
    /// The daemon is stopping.
    #[error("the signing was interrupted: the daemon is stopping")]
    Interrupted,
}
