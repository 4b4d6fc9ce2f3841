//! What is true of a certificate on record.
//!
//! Whoever can write the database can edit a record: give it another issuer, on whose list its revocation would then
//! stand, or an early end, with which it would leave the lists. So what this authority did not write counts only as far
//! as the certificate itself says it, under the signature of one of our issuing CAs.

use secplane_identity::{
    revocation::{KeyHash, SerialNumber},
    x509::Certificate,
};

use crate::{
    instant::unix,
    issuance,
    keys::RowMac,
    lifecycle::row,
    store::{AuthorityKind, CertificateRecord, MendedRecord, Store, StoreError},
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
        let issuer = store.authority(&issuer_key_id).await?;
        let is_ours = issuer
            .filter(|issuer| issuer.kind == AuthorityKind::Issuing && row::is_ours(issuer, mac))
            .and_then(|issuer| Certificate::parse(&issuer.public).ok())
            .is_some_and(|issuer| leaf.is_signed_by(&issuer));
        if !is_ours || leaf.serial.parse() != Ok(*serial) {
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

/// Whether a record says the same as its certificate.
pub(super) fn agrees(record: &CertificateRecord, said: &MendedRecord) -> bool {
    record.issuer_key_id == said.issuer_key_id && record.not_after == said.not_after
}
