//! CAs below ours that were revoked: issuing CAs, and those of meshes and downstream authorities.
//!
//! They stand among the authorities instead of among the certificates. What of them is revoked shows on the lists of
//! their issuers, the roots among those, and is refused wherever a chain leads through it.

use secplane_identity::{
    revocation::{KeyHash, SerialNumber},
    x509::Certificate,
};

use super::Target;
use crate::store::{
    AuthorityFilter, AuthorityKind, AuthorityRow, AuthorityState, RevokedRow, Store, StoreError,
};

/// A CA below one of ours.
pub(super) struct CaBelow {
    pub(super) row: AuthorityRow,
    certificate: Certificate,
}

impl CaBelow {
    /// All of them, revoked or not.
    pub(super) async fn all(store: &Store) -> Result<Vec<Self>, StoreError> {
        Ok(store.authorities(&AuthorityFilter::default()).await?.into_iter().filter_map(Self::of).collect())
    }

    /// Those that are revoked.
    pub(super) async fn revoked(store: &Store) -> Result<Vec<Self>, StoreError> {
        let filter = AuthorityFilter { state: Some(AuthorityState::Revoked), ..AuthorityFilter::default() };
        Ok(store.authorities(&filter).await?.into_iter().filter_map(Self::of).collect())
    }

    fn of(row: AuthorityRow) -> Option<Self> {
        match row.kind {
            AuthorityKind::Issuing | AuthorityKind::Mesh | AuthorityKind::Downstream => {}
            AuthorityKind::Root | AuthorityKind::Jwt => return None,
        }
        match Certificate::parse(&row.public) {
            Ok(certificate) => Some(Self { row, certificate }),
            Err(error) => {
                tracing::error!(key_id = row.key_id, %error, "an authority's row holds no certificate; somebody changed the database");
                None
            }
        }
    }

    /// Whether it is what a target names.
    pub(super) fn is(&self, target: &Target) -> bool {
        match target {
            Target::Certificate(serial) => self.has_serial(serial),
            Target::Key(key) => KeyHash::of(&self.certificate.public_key_info) == *key,
            // It has that of the trust domain, which no workload has.
            Target::SpiffeId(_) => false,
        }
    }

    pub(super) fn has_serial(&self, serial: &SerialNumber) -> bool {
        self.certificate.serial.parse() == Ok(*serial)
    }

    pub(super) fn is_revoked(&self) -> bool {
        self.row.state == AuthorityState::Revoked
    }

    /// As a revoked certificate, by its issuer's key ID as the authorities know it. Since when counts only if it is
    /// revoked.
    pub(super) fn as_revoked(&self) -> RevokedRow {
        RevokedRow {
            serial: self.certificate.serial.clone(),
            issuer_key_id: self.row.issuer_key_id.clone(),
            not_after: self.row.not_after,
            revoked_at: self.row.since,
            key_sha256: Some(KeyHash::of(&self.certificate.public_key_info).as_bytes().to_vec()),
        }
    }

    /// As it is refused, by the key ID that stands in it: an outside CA may have given its issuer another one than we
    /// would.
    pub(super) fn as_refused(&self) -> RevokedRow {
        let row = self.as_revoked();
        let issuer_key_id = self.certificate.authority_key_id.clone().unwrap_or(row.issuer_key_id);
        RevokedRow { issuer_key_id, ..row }
    }
}
