//! The record of every certificate that was issued.

use sqlx::{FromRow, QueryBuilder};

use super::{
    Store, StoreError,
    database::{Transaction, in_steps, on, within},
    readable::{all_readable, one_readable},
};
use crate::authority::CertificateKind;

/// What is on record of one certificate. Times are Unix seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRecord {
    /// Order of issuing; given by the database, 0 before.
    pub position: i64,
    /// Lower-case hex without leading zeros.
    pub serial: String,
    /// Which kind it is.
    pub kind: CertificateKind,
    /// For an X.509-SVID.
    pub spiffe_id: Option<String>,
    /// The subject's common name.
    pub common_name: Option<String>,
    /// DNS names.
    pub dns_names: Vec<String>,
    /// IP addresses as text.
    pub ip_addresses: Vec<String>,
    /// Start of the validity.
    pub not_before: i64,
    /// End of the validity.
    pub not_after: i64,
    /// When it was signed.
    pub issued_at: i64,
    /// Who asked for it.
    pub requester: String,
    /// The registration entry that granted it.
    pub entry_id: Option<String>,
    /// The serial of the certificate that it renews.
    pub renews: Option<String>,
    /// The serial of the first certificate of its renewals: its own, when it renews none.
    pub lineage: String,
    /// Lower-case hex of the issuing CA's subject key identifier.
    pub issuer_key_id: String,
    /// DER of the leaf.
    pub certificate: Vec<u8>,
    /// SHA-256 of the SubjectPublicKeyInfo; empty in a row of the first schema.
    pub key_sha256: Vec<u8>,
    /// When it was revoked.
    pub revoked_at: Option<i64>,
    /// Why.
    pub revocation_reason: Option<String>,
    /// Proof that this authority wrote the row; `None` in a row from before there were such proofs.
    pub mac: Option<Vec<u8>>,
}

/// Which records to list.
#[derive(Debug, Clone, Default)]
pub struct CertificateFilter {
    /// Only those of this SPIFFE ID.
    pub spiffe_id: Option<String>,
    /// Only this kind.
    pub kind: Option<CertificateKind>,
    /// Only those valid after this instant, in Unix seconds.
    pub valid_after: Option<i64>,
}

/// Which part of a list, newest first.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// Only records issued before the one at this position.
    pub before: Option<i64>,
    /// How many at the most.
    pub size: u32,
}

const COLUMNS: &str = "position, serial, kind, spiffe_id, common_name, dns_names, ip_addresses, not_before, \
     not_after, issued_at, requester, entry_id, renews, lineage, issuer_key_id, certificate, key_sha256, \
     revoked_at, revocation_reason, mac";

impl Store {
    /// One page of the records, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_certificates(
        &self,
        filter: &CertificateFilter,
        page: Page,
    ) -> Result<Vec<CertificateRecord>, StoreError> {
        let rows: Vec<RawRecord> = on!(&self.readers, pool => {
            let mut query = QueryBuilder::new("SELECT ");
            query.push(COLUMNS).push(" FROM certificates WHERE position < ");
            query.push_bind(page.before.unwrap_or(i64::MAX));
            if let Some(id) = &filter.spiffe_id {
                query.push(" AND spiffe_id = ").push_bind(id);
            }
            if let Some(kind) = filter.kind {
                query.push(" AND kind = ").push_bind(kind.as_str());
            }
            if let Some(instant) = filter.valid_after {
                query.push(" AND not_after > ").push_bind(instant);
            }
            query.push(" ORDER BY position DESC LIMIT ").push_bind(i64::from(page.size));
            all_readable("certificates", query.build_query_as().fetch(pool)).await?
        });
        Ok(rows.into_iter().map(CertificateRecord::from).collect())
    }

    /// The record of one certificate.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn certificate(&self, serial: &str) -> Result<Option<CertificateRecord>, StoreError> {
        let row: Option<RawRecord> = on!(&self.readers, pool => {
            let mut query = QueryBuilder::new("SELECT ");
            query.push(COLUMNS).push(" FROM certificates WHERE serial = ").push_bind(serial);
            one_readable("certificates", query.build_query_as().fetch_optional(pool).await)?
        });
        Ok(row.map(CertificateRecord::from))
    }

    /// Whether a certificate of a SPIFFE ID is on record, be it valid or not.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn was_issued_to(&self, spiffe_id: &str) -> Result<bool, StoreError> {
        let found: Option<i64> = on!(&self.readers, pool => {
            sqlx::query_scalar("SELECT position FROM certificates WHERE spiffe_id = $1 LIMIT 1")
                .bind(spiffe_id)
                .fetch_optional(pool)
                .await?
        });
        Ok(found.is_some())
    }
}

/// What issuing CAs signed and is still valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnexpiredBelow {
    /// How many certificates.
    pub count: u64,
    /// When the last of them expires, in Unix seconds.
    pub last: i64,
}

/// How many records one statement looks through.
const LOOKED_THROUGH_AT_ONCE: i64 = 10_000;
/// How far the clocks of replicas may be apart, in seconds.
const CLOCK_SKEW: i64 = 3600;

impl Store {
    /// The certificates below these issuing CAs, the oldest of which was made at `since`, that are neither revoked nor
    /// expired at `now`; `None` when there are none.
    ///
    /// No index is kept for this, which every issuing would pay for: records are looked through from the newest down
    /// to those that are older than the issuing CAs.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn unexpired_below(
        &self,
        issuers: &[String],
        since: i64,
        now: i64,
    ) -> Result<Option<UnexpiredBelow>, StoreError> {
        let mut found = UnexpiredBelow { count: 0, last: i64::MIN };
        let mut before = i64::MAX;
        loop {
            let step: LookedThrough = on!(&self.readers, pool => {
                let mut query = QueryBuilder::new(
                    "SELECT MIN(position) AS lowest, MAX(issued_at) AS newest, CAST(COALESCE(SUM(counts), 0) AS BIGINT) AS count, \
                     MAX(counts * not_after) AS last FROM (SELECT position, issued_at, not_after, \
                     CASE WHEN revoked_at IS NULL AND not_after >= ",
                );
                query.push_bind(now).push(" AND issuer_key_id IN (");
                let mut list = query.separated(", ");
                for issuer in issuers {
                    list.push_bind(issuer);
                }
                query.push(") THEN CAST(1 AS BIGINT) ELSE 0 END AS counts FROM certificates WHERE position < ");
                query.push_bind(before);
                query.push(" ORDER BY position DESC LIMIT ").push_bind(LOOKED_THROUGH_AT_ONCE);
                query.push(") AS newest_records");
                query.build_query_as().fetch_one(pool).await?
            });
            let (Some(lowest), Some(newest)) = (step.lowest, step.newest) else { break };
            if step.count > 0 {
                found.count += u64::try_from(step.count).unwrap_or_default();
                found.last = found.last.max(step.last.unwrap_or(i64::MIN));
            }
            if newest < since.saturating_sub(CLOCK_SKEW) {
                break;
            }
            before = lowest;
        }
        Ok((found.count > 0).then_some(found))
    }
}

#[derive(FromRow)]
struct LookedThrough {
    lowest: Option<i64>,
    newest: Option<i64>,
    count: i64,
    last: Option<i64>,
}

/// Records certificates. What renews one has to be looked at by `revocations::refuse_revoked` before.
pub(super) async fn insert(
    transaction: &mut Transaction,
    records: &[&CertificateRecord],
) -> Result<(), StoreError> {
    let insert_into = transaction.insert_into();
    for step in in_steps(records) {
        within!(transaction, connection => {
            QueryBuilder::new(insert_into)
            .push(
                "certificates (serial, kind, spiffe_id, common_name, dns_names, ip_addresses, not_before, not_after, \
                 issued_at, requester, entry_id, renews, lineage, issuer_key_id, certificate, key_sha256, mac) ",
            )
            .push_values(step, |mut values, record| {
                values
                    .push_bind(&record.serial)
                    .push_bind(record.kind.as_str())
                    .push_bind(&record.spiffe_id)
                    .push_bind(&record.common_name)
                    .push_bind(record.dns_names.join(" "))
                    .push_bind(record.ip_addresses.join(" "))
                    .push_bind(record.not_before)
                    .push_bind(record.not_after)
                    .push_bind(record.issued_at)
                    .push_bind(&record.requester)
                    .push_bind(&record.entry_id)
                    .push_bind(&record.renews)
                    .push_bind(&record.lineage)
                    .push_bind(&record.issuer_key_id)
                    .push_bind(&record.certificate)
                    .push_bind(&record.key_sha256)
                    .push_bind(&record.mac);
            })
            .build()
            .execute(connection)
            .await?;
        });
    }
    Ok(())
}

#[derive(FromRow)]
struct RawRecord {
    position: i64,
    serial: String,
    kind: String,
    spiffe_id: Option<String>,
    common_name: Option<String>,
    dns_names: String,
    ip_addresses: String,
    not_before: i64,
    not_after: i64,
    issued_at: i64,
    requester: String,
    entry_id: Option<String>,
    renews: Option<String>,
    lineage: String,
    issuer_key_id: String,
    certificate: Vec<u8>,
    key_sha256: Option<Vec<u8>>,
    revoked_at: Option<i64>,
    revocation_reason: Option<String>,
    mac: Option<Vec<u8>>,
}

impl From<RawRecord> for CertificateRecord {
    /// A kind that is not known was not written here, whatever MAC stands beside it. Such a record is one without a
    /// right proof, of which only what the certificate says counts. An error would take its whole page with it.
    fn from(raw: RawRecord) -> Self {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        let kind = CertificateKind::ALL.into_iter().find(|kind| kind.as_str() == raw.kind);
        let mac = if kind.is_some() { raw.mac } else { Some(Vec::new()) };
        Self {
            position: raw.position,
            serial: raw.serial,
            kind: kind.unwrap_or(CertificateKind::Client),
            spiffe_id: raw.spiffe_id,
            common_name: raw.common_name,
            dns_names: words(&raw.dns_names),
            ip_addresses: words(&raw.ip_addresses),
            not_before: raw.not_before,
            not_after: raw.not_after,
            issued_at: raw.issued_at,
            requester: raw.requester,
            entry_id: raw.entry_id,
            renews: raw.renews,
            lineage: raw.lineage,
            issuer_key_id: raw.issuer_key_id,
            certificate: raw.certificate,
            key_sha256: raw.key_sha256.unwrap_or_default(),
            revoked_at: raw.revoked_at,
            revocation_reason: raw.revocation_reason,
            mac,
        }
    }
}
