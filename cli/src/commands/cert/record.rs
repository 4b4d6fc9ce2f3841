//! What is on record of a certificate, as it is shown.

use secplane_proto::secplane::ca::v1::{CertificateKind, CertificateRecord};
use serde::Serialize;

use crate::output::{Instant, Report, facts, rows, shown};

/// The record of one certificate.
#[derive(Debug, Serialize)]
pub(super) struct RecordReport {
    serial_number: String,
    kind: &'static str,
    spiffe_id: String,
    common_name: String,
    dns_names: Vec<String>,
    ip_addresses: Vec<String>,
    not_before: Option<Instant>,
    not_after: Option<Instant>,
    issued_at: Option<Instant>,
    requester: String,
    entry_id: String,
    renews: String,
    revoked_at: Option<Instant>,
    revocation_reason: String,
    issuer_key_id: String,
}

impl From<CertificateRecord> for RecordReport {
    fn from(record: CertificateRecord) -> Self {
        Self {
            kind: match record.kind() {
                CertificateKind::Unspecified => "unknown",
                CertificateKind::X509Svid => "svid",
                CertificateKind::Server => "server",
                CertificateKind::Client => "client",
                CertificateKind::Ca => "ca",
            },
            serial_number: record.serial_number,
            spiffe_id: record.spiffe_id,
            common_name: record.common_name,
            dns_names: record.dns_names,
            ip_addresses: record.ip_addresses,
            not_before: Instant::from_unix(record.not_before),
            not_after: Instant::from_unix(record.not_after),
            issued_at: Instant::from_unix(record.issued_at),
            requester: record.requester,
            entry_id: record.entry_id,
            renews: record.renews,
            revoked_at: Instant::from_unix(record.revoked_at),
            revocation_reason: record.revocation_reason,
            issuer_key_id: record.issuer_key_id,
        }
    }
}

impl RecordReport {
    /// Whom it names: the best of its names.
    fn names(&self) -> String {
        if !self.spiffe_id.is_empty() {
            return self.spiffe_id.clone();
        }
        let names = [&self.common_name].into_iter().chain(&self.dns_names).chain(&self.ip_addresses);
        let mut shown: Vec<_> = names.filter(|name| !name.is_empty()).cloned().collect();
        shown.dedup();
        shown.join(" ")
    }
}

impl Report for RecordReport {
    fn table(&self) -> String {
        facts([
            ("Serial number", self.serial_number.clone()),
            ("Kind", self.kind.to_owned()),
            ("SPIFFE ID", self.spiffe_id.clone()),
            ("Common name", self.common_name.clone()),
            ("DNS names", self.dns_names.join("\n")),
            ("IP addresses", self.ip_addresses.join("\n")),
            ("Valid from", shown(self.not_before)),
            ("Valid to", shown(self.not_after)),
            ("Issued", shown(self.issued_at)),
            ("Requester", self.requester.clone()),
            ("Entry", self.entry_id.clone()),
            ("Renews", self.renews.clone()),
            ("Revoked", shown(self.revoked_at)),
            ("Reason", self.revocation_reason.clone()),
            ("Issuing CA", self.issuer_key_id.clone()),
        ])
    }
}

/// Records, newest first.
#[derive(Debug, Serialize)]
pub(super) struct CertificateList {
    pub(super) certificates: Vec<RecordReport>,
}

impl Report for CertificateList {
    fn table(&self) -> String {
        rows(
            ["SERIAL", "KIND", "NAMES", "VALID TO", "REVOKED"],
            self.certificates.iter().map(|certificate| {
                [
                    certificate.serial_number.clone(),
                    certificate.kind.to_owned(),
                    certificate.names(),
                    shown(certificate.not_after),
                    shown(certificate.revoked_at),
                ]
            }),
            "no certificates",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_a_certificate_without_a_spiffe_id_once() {
        let record = CertificateRecord {
            common_name: "db".into(),
            dns_names: vec!["db".into(), "db.internal".into()],
            ..CertificateRecord::default()
        };
        assert_eq!(RecordReport::from(record).names(), "db db.internal");
    }
}
