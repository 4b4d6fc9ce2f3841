//! CAs below ours that were revoked: issuing CAs, and those of meshes and downstream authorities.
//!
//! They stand among the authorities instead of among the certificates. What of them is revoked shows on the lists of
//! their issuers, the roots among those, and is refused wherever a chain leads through it.

use secplane_identity::{
    revocation::{KeyHash, SerialNumber},
    x509::Certificate,
};

use super::Target;
use crate::{
    instant::unix,
    keys::RowMac,
    lifecycle::row,
    store::{
        AuthorityFilter, AuthorityKind, AuthorityRow, AuthorityState, Change, RevokedRow, Store, StoreError,
    },
};

/// A CA below one of ours.
pub(super) struct CaBelow {
    pub(super) row: AuthorityRow,
    certificate: Certificate,
    /// Whether this authority wrote the row as it stands.
    pub(super) is_ours: bool,
}

impl CaBelow {
    /// All of them, revoked or not.
    pub(super) async fn all(store: &Store, mac: &RowMac) -> Result<Vec<Self>, StoreError> {
        let rows = store.authorities(&AuthorityFilter::default()).await?;
        Ok(rows.into_iter().filter_map(|row| Self::of(row, mac)).collect())
    }

    /// Those that are revoked.
    pub(super) async fn revoked(store: &Store, mac: &RowMac) -> Result<Vec<Self>, StoreError> {
        let filter = AuthorityFilter { state: Some(AuthorityState::Revoked), ..AuthorityFilter::default() };
        let rows = store.authorities(&filter).await?;
        Ok(rows.into_iter().filter_map(|row| Self::of(row, mac)).collect())
    }

    fn of(row: AuthorityRow, mac: &RowMac) -> Option<Self> {
        match row.kind {
            AuthorityKind::Issuing | AuthorityKind::Mesh | AuthorityKind::Downstream => {}
            AuthorityKind::Root | AuthorityKind::Jwt => return None,
        }
        match Certificate::parse(&row.public) {
            Ok(certificate) => {
                let is_ours = row::is_ours(&row, mac);
                Some(Self { row, certificate, is_ours })
            }
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

    /// Whether another CA's key signed its certificate.
    pub(super) fn is_signed_by(&self, issuer: &Certificate) -> bool {
        self.certificate.is_signed_by(issuer)
    }

    /// Whether an authority of ours issued it, whose key ID is `issuer` and whose certificate is `above`. Of a row that somebody edited the signature
    /// tells: an outside CA may have given the issuer another key ID than stands in our rows.
    pub(super) fn is_below(&self, issuer: &str, above: Option<&Certificate>) -> bool {
        match self.is_ours {
            true => self.row.issuer_key_id == issuer,
            false => above.is_some_and(|above| self.is_signed_by(above)),
        }
    }

    pub(super) fn is_revoked(&self) -> bool {
        self.row.state == AuthorityState::Revoked
    }

    /// The change that takes the trust from it, at an instant in Unix seconds. A row that somebody edited is not given
    /// our proof: it stays refused, and counts as revoked.
    pub(super) fn revoke(&self, at: i64, mac: &RowMac) -> Change {
        if self.is_ours {
            return row::revoke(self.row.clone(), at, mac);
        }
        let new = AuthorityRow { state: AuthorityState::Revoked, since: at, ..self.row.clone() };
        Change::ReplaceAuthority { old: Box::new(self.row.clone()), new: Box::new(new) }
    }

    /// As a revoked certificate, by its issuer's key ID as the authorities know it. Since when counts only if it is
    /// revoked. Of a row that somebody edited, who issued it and when it ends are the certificate's to say.
    pub(super) fn as_revoked(&self) -> RevokedRow {
        let said = self.certificate.authority_key_id.as_ref().filter(|_| !self.is_ours);
        RevokedRow {
            serial: self.certificate.serial.clone(),
            issuer_key_id: said.unwrap_or(&self.row.issuer_key_id).clone(),
            not_after: if self.is_ours { self.row.not_after } else { unix(self.certificate.not_after) },
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
