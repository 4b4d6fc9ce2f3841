//! The proof that this authority wrote a record of the table `certificates`.
//!
//! A renewal grants again what the record says was granted. Who can only write the database could otherwise renew their
//! own certificate as anybody, free it from the entry that granted it, or take it out of a lineage that is revoked.

use crate::{keys::RowMac, store::CertificateRecord};

const TABLE: &str = "certificates";

/// The record with its proof.
pub(super) fn seal(record: CertificateRecord, mac: &RowMac) -> CertificateRecord {
    let proof = with_columns(&record, |columns| mac.of(TABLE, columns));
    CertificateRecord { mac: Some(proof), ..record }
}

/// Whether this authority wrote the record as it stands.
pub(crate) fn is_ours(record: &CertificateRecord, mac: &RowMac) -> bool {
    record
        .mac
        .as_deref()
        .is_some_and(|proof| with_columns(record, |columns| mac.is_of(proof, TABLE, columns)))
}

fn with_columns<T>(record: &CertificateRecord, work: impl FnOnce(&[&[u8]]) -> T) -> T {
    // Destructured, so that a new column cannot be forgotten.
    let CertificateRecord {
        // Given by the database.
        position: _,
        serial,
        kind,
        spiffe_id,
        common_name,
        dns_names,
        ip_addresses,
        not_before,
        not_after,
        issued_at,
        requester,
        entry_id,
        renews,
        lineage,
        issuer_key_id,
        certificate,
        // Follows from the certificate, and is filled in later where the first schema left it out.
        key_sha256: _,
        // Written when it is revoked; the signed lists prove that.
        revoked_at: _,
        revocation_reason: _,
        mac: _,
    } = record;
    let (dns_names, ip_addresses) = (dns_names.join(" "), ip_addresses.join(" "));
    let [spiffe_id, common_name, entry_id, renews] =
        [spiffe_id, common_name, entry_id, renews].map(|text| optional(text.as_deref()));
    work(&[
        serial.as_bytes(),
        kind.as_str().as_bytes(),
        &spiffe_id,
        &common_name,
        dns_names.as_bytes(),
        ip_addresses.as_bytes(),
        &not_before.to_be_bytes(),
        &not_after.to_be_bytes(),
        &issued_at.to_be_bytes(),
        requester.as_bytes(),
        &entry_id,
        &renews,
        lineage.as_bytes(),
        issuer_key_id.as_bytes(),
        certificate,
    ])
}

/// What is absent reads otherwise than what is empty.
fn optional(text: Option<&str>) -> Vec<u8> {
    text.map_or_else(Vec::new, |text| [b"=".as_slice(), text.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::authority::CertificateKind;

    fn mac(digit: u8) -> RowMac {
        RowMac::new(&[digit; RowMac::KEY_BYTES])
    }

    fn record() -> CertificateRecord {
        CertificateRecord {
            position: 1,
            serial: "0a".into(),
            kind: CertificateKind::X509Svid,
            spiffe_id: Some("spiffe://example.org/a".into()),
            common_name: None,
            dns_names: vec!["a.example.org".into()],
            ip_addresses: Vec::new(),
            not_before: 1,
            not_after: 2,
            issued_at: 3,
            requester: "test".into(),
            entry_id: Some("entry".into()),
            renews: None,
            lineage: "0a".into(),
            issuer_key_id: "0b".into(),
            certificate: vec![1, 2],
            key_sha256: vec![3],
            revoked_at: None,
            revocation_reason: None,
            mac: None,
        }
    }

    #[test]
    fn knows_its_own_records_whatever_became_of_them() {
        let sealed = seal(record(), &mac(0));
        assert!(is_ours(&sealed, &mac(0)));
        assert!(!is_ours(&sealed, &mac(1)));
        assert!(!is_ours(&record(), &mac(0)), "a record without a proof");
        let revoked =
            CertificateRecord { position: 7, revoked_at: Some(4), key_sha256: Vec::new(), ..sealed };
        assert!(is_ours(&revoked, &mac(0)));
    }

    #[rstest]
    #[case(|record: &mut CertificateRecord| record.serial = "0b".into())]
    #[case(|record: &mut CertificateRecord| record.kind = CertificateKind::Client)]
    #[case(|record: &mut CertificateRecord| record.spiffe_id = Some("spiffe://example.org/admin".into()))]
    #[case(|record: &mut CertificateRecord| record.common_name = Some(String::new()))]
    #[case(|record: &mut CertificateRecord| record.dns_names.push("b.example.org".into()))]
    #[case(|record: &mut CertificateRecord| record.ip_addresses.push("10.0.0.1".into()))]
    #[case(|record: &mut CertificateRecord| record.not_before = 0)]
    #[case(|record: &mut CertificateRecord| record.not_after = i64::MAX)]
    #[case(|record: &mut CertificateRecord| record.issued_at = 0)]
    #[case(|record: &mut CertificateRecord| record.requester = "admin".into())]
    #[case(|record: &mut CertificateRecord| record.entry_id = None)]
    #[case(|record: &mut CertificateRecord| record.renews = Some("0c".into()))]
    #[case(|record: &mut CertificateRecord| record.lineage = "0c".into())]
    #[case(|record: &mut CertificateRecord| record.issuer_key_id = "0c".into())]
    #[case(|record: &mut CertificateRecord| record.certificate = vec![1])]
    fn refuses_an_edited_record(#[case] edit: fn(&mut CertificateRecord)) {
        let mut sealed = seal(record(), &mac(0));
        edit(&mut sealed);
        assert!(!is_ours(&sealed, &mac(0)));
    }
}
