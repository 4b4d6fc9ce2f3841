//! What is true of a certificate on record.
//!
//! Whoever can write the database can edit a record: give it another issuer, on whose list its revocation would then
//! stand, or an early end, with which it would leave the lists. So what this authority did not write counts only as far
//! as the certificate itself says it, under the signature of one of our issuing CAs. Whether that is ours is told by the proof of its own row or, if that was
//! edited too, by the signature of one of our roots.

use secplane_identity::{
    revocation::{KeyHash, SerialNumber},
    x509::Certificate,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{
    instant::unix,
    issuance,
    keys::RowMac,
    lifecycle::row,
    store::{
        AuthorityFilter, AuthorityKind, AuthorityRow, CertificateRecord, MendedRecord, Store, StoreError,
    },
};

/// Whom to believe.
pub(super) enum Genuine {
    /// The record: this authority wrote it.
    Record,
    /// The certificate, which says this; the record has no proof, or a wrong one.
    Certificate(MendedRecord),
    /// Nobody: what stands in the record as the certificate is not the one of this serial number, or not ours.
    Nothing,
}

impl Genuine {
    pub(super) async fn of(
        serial: &SerialNumber,
        record: &CertificateRecord,
        store: &Store,
        mac: &RowMac,
    ) -> Result<Self, StoreError> {
        if issuance::proof::is_ours(record, mac) {
            return Ok(Self::Record);
        }
        let Ok(leaf) = Certificate::parse(&record.certificate) else { return Ok(Self::Nothing) };
        let Some(issuer_key_id) = leaf.authority_key_id.clone() else { return Ok(Self::Nothing) };
        if leaf.serial.parse() != Ok(*serial) {
            return Ok(Self::Nothing);
        }
        let rows = store.authorities(&AuthorityFilter::default()).await?;
        if !issuing_cas(&rows, &issuer_key_id, mac).any(|issuer| leaf.is_signed_by(&issuer)) {
            return Ok(Self::Nothing);
        }
        Ok(Self::Certificate(MendedRecord {
            serial: record.serial.clone(),
            issuer_key_id,
            not_after: unix(leaf.not_after),
            key_sha256: KeyHash::of(&leaf.public_key_info).as_bytes().to_vec(),
        }))
    }
}

/// Our issuing CAs of a key ID: those whose rows this authority wrote, and those whose certificates one of our roots
/// signed, whatever somebody has written beside them.
fn issuing_cas<'a>(
    rows: &'a [AuthorityRow],
    key_id: &'a str,
    mac: &'a RowMac,
) -> impl Iterator<Item = Certificate> + 'a {
    let roots: Vec<_> = rows
        .iter()
        .filter(|row| row.kind == AuthorityKind::Root && !row.is_of_somebody_else() && row::is_ours(row, mac))
        .filter_map(|row| Certificate::parse(&row.public).ok())
        .collect();
    rows.iter().filter_map(move |row| {
        let ca = Certificate::parse(&row.public).ok()?;
        let is_ours = if row::is_ours(row, mac) {
            row.kind == AuthorityKind::Issuing
        } else {
            may_be_issuing(&ca) && roots.iter().any(|root| ca.is_signed_by(root))
        };
        (is_ours && ca.subject_key_id.as_deref() == Some(key_id)).then_some(ca)
    })
}

/// The CA of a mesh, which our roots sign too, may have no other below it. Of an issuing CA nothing is said of that.
fn may_be_issuing(ca: &Certificate) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(&ca.der) else { return false };
    let constraints = certificate.basic_constraints().ok().flatten();
    constraints
        .is_some_and(|constraints| constraints.value.ca && constraints.value.path_len_constraint.is_none())
}

/// Whether a record says the same as its certificate.
pub(super) fn agrees(record: &CertificateRecord, said: &MendedRecord) -> bool {
    record.issuer_key_id == said.issuer_key_id && record.not_after == said.not_after
}
