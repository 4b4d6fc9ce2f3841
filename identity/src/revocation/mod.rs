//! Whose trust was taken back before its time: single certificates, and public keys with all that was ever issued
//! for them.
//!
//! What is revoked comes from two sides. An authority knows it by itself ([`Revocations::revoke_serial`],
//! [`Revocations::revoke_key`]); everyone else learns it from certificate revocation lists ([`RevocationList`]),
//! whose signatures are verified against the issuer that a verified chain leads through.

mod list;
mod names;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::SystemTime,
};

pub use list::{MAX_LIST_BYTES, MAX_OWN_LIST_BYTES, RevocationList, RevocationListError};
pub use names::{KeyHash, NameError, SerialNumber};

use crate::{
    TrustBundle,
    x509::{Certificate, SvidError, VerifiedChain},
};

/// The most issuers whose lists are kept: as many as a trust domain may have issuing CAs at once, and then some.
pub const MAX_LISTS: usize = 1024;

/// What is revoked at one moment. Cloning costs as much as there are issuers, not as there are revocations.
#[derive(Debug, Clone, Default)]
pub struct Revocations {
    /// By the issuer's key ID, in lower-case hex.
    serials: HashMap<String, Arc<HashSet<SerialNumber>>>,
    keys: Arc<HashSet<KeyHash>>,
    /// By the issuer's key ID, in lower-case hex.
    lists: HashMap<String, Arc<RevocationList>>,
}

/// What a certificate can be revoked by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocable {
    /// Lower-case hex of the authority key identifier. Without one a certificate is revoked by its key alone.
    pub issuer_key_id: Option<String>,
    /// The serial number. One longer than RFC 5280 allows is `None`, and can be in no list.
    pub serial: Option<SerialNumber>,
    /// The public key.
    pub key: KeyHash,
}

impl Revocable {
    /// The names by which a certificate can be revoked.
    #[must_use]
    pub fn of(certificate: &Certificate) -> Self {
        Self {
            issuer_key_id: certificate.authority_key_id.clone(),
            serial: certificate.serial.parse().ok(),
            key: KeyHash::of(&certificate.public_key_info),
        }
    }
}

impl Revocations {
    /// Revokes one certificate of an issuer. Answers whether that is news.
    pub fn revoke_serial(&mut self, issuer_key_id: &str, serial: SerialNumber) -> bool {
        let serials = match self.serials.get_mut(issuer_key_id) {
            Some(serials) => serials,
            None => self.serials.entry(issuer_key_id.to_owned()).or_default(),
        };
        !serials.contains(&serial) && Arc::make_mut(serials).insert(serial)
    }

    /// Revokes every certificate of a public key, also those to come. Answers whether that is news.
    pub fn revoke_key(&mut self, key: KeyHash) -> bool {
        !self.keys.contains(&key) && Arc::make_mut(&mut self.keys).insert(key)
    }

    /// Forgets a certificate: once it has expired it is refused anyway.
    pub fn forget_serial(&mut self, issuer_key_id: &str, serial: &SerialNumber) {
        if let Some(serials) = self.serials.get_mut(issuer_key_id) {
            Arc::make_mut(serials).remove(serial);
            if serials.is_empty() {
                self.serials.remove(issuer_key_id);
            }
        }
    }

    /// Takes over lists that were offered at `now`.
    ///
    /// One that was made before the one that is held is an old list played back, and the held one stays. One that is no
    /// longer offered stays until its time is over. At most [`MAX_LISTS`] are held.
    pub fn take_lists(&mut self, offered: impl IntoIterator<Item = Arc<RevocationList>>, now: SystemTime) {
        let mut offered_issuers = HashSet::new();
        for list in offered {
            let issuer = list.issuer_key_id().to_owned();
            let held = self.lists.get(&issuer);
            if held.is_none() && self.lists.len() >= MAX_LISTS {
                tracing::error!(
                    issuer,
                    "more than {MAX_LISTS} revocation lists were offered; this one is left out"
                );
                continue;
            }
            offered_issuers.insert(issuer.clone());
            match held {
                // By time before number: an authority that was restored from a backup counts from an earlier number.
                Some(held) if (held.this_update(), held.number()) > (list.this_update(), list.number()) => {
                    tracing::warn!(
                        issuer,
                        "an old revocation list was offered; the newer one that is held stays"
                    );
                }
                // The held one may know already who signed it.
                Some(held) if held.der() == list.der() => {}
                _ => drop(self.lists.insert(issuer, list)),
            }
        }
        self.lists.retain(|issuer, list| offered_issuers.contains(issuer) || list.next_update() > now);
    }

    /// The lists that are in use.
    pub fn lists(&self) -> impl Iterator<Item = &Arc<RevocationList>> {
        self.lists.values()
    }

    /// The lists that should have been replaced by `now`. They stay in use; what was revoked since may not be known.
    pub fn stale_lists(&self, now: SystemTime) -> impl Iterator<Item = &Arc<RevocationList>> {
        self.lists.values().filter(move |list| list.next_update() <= now)
    }

    /// Whether the authority itself revoked a public key.
    #[must_use]
    pub fn contains_key(&self, key: &KeyHash) -> bool {
        self.keys.contains(key)
    }

    /// Whether the authority itself revoked a certificate: what lists say is not looked at.
    #[must_use]
    pub fn contains(&self, names: &Revocable) -> bool {
        self.keys.contains(&names.key) || self.contains_serial(names)
    }

    fn contains_serial(&self, names: &Revocable) -> bool {
        let (Some(issuer), Some(serial)) = (&names.issuer_key_id, &names.serial) else { return false };
        self.serials.get(issuer).is_some_and(|serials| serials.contains(serial))
    }

    /// Refuses a chain of which a certificate is revoked, be it the leaf or a CA above it.
    ///
    /// `bundle` is the one that the chain was verified against: the issuer of a list is looked for in both.
    ///
    /// # Errors
    /// Names the certificate; or the list that its issuer did not sign, since then nobody can tell.
    pub fn check(&self, chain: &VerifiedChain, bundle: &TrustBundle) -> Result<(), SvidError> {
        if self.keys.is_empty() && self.serials.is_empty() && self.lists.is_empty() {
            return Ok(());
        }
        for (position, certificate) in chain.iter().enumerate() {
            let names = Revocable::of(certificate);
            if self.contains(&names) || self.is_listed(&names, chain, bundle)? {
                let serial = certificate.serial.clone();
                return Err(if position == 0 {
                    SvidError::Revoked { serial }
                } else {
                    SvidError::IssuerRevoked { serial }
                });
            }
        }
        Ok(())
    }

    fn is_listed(
        &self,
        names: &Revocable,
        chain: &VerifiedChain,
        bundle: &TrustBundle,
    ) -> Result<bool, SvidError> {
        let (Some(issuer), Some(serial)) = (&names.issuer_key_id, &names.serial) else { return Ok(false) };
        let Some(list) = self.lists.get(issuer) else { return Ok(false) };
        let mut signers = chain
            .iter()
            .skip(1)
            .chain(bundle.authorities())
            .filter(|ca| ca.subject_key_id.as_ref() == Some(issuer))
            .peekable();
        if signers.peek().is_some() && !signers.any(|ca| list.is_signed_by(ca)) {
            tracing::warn!(
                issuer,
                "a revocation list is not signed by its issuer, whose certificates are refused"
            );
            return Err(SvidError::RevocationList { issuer_key_id: issuer.clone() });
        }
        // A CA whose own issuer is not there vouches for nothing, but a revoked one is not worth having either.
        Ok(list.contains(serial))
    }
}

#[cfg(test)]
mod tests;
