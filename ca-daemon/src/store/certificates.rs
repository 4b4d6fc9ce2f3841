//! The record of every certificate that was issued.

use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, sqlite::SqliteRow};

use super::{Store, StoreError};
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
    /// When it was revoked.
    pub revoked_at: Option<i64>,
    /// Why.
    pub revocation_reason: Option<String>,
}

/// Takes the trust from a certificate and from everything that renewed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// The lineage of the certificate.
    pub lineage: String,
    /// Unix seconds.
    pub at: i64,
    /// Why.
    pub reason: String,
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
     not_after, issued_at, requester, entry_id, renews, lineage, issuer_key_id, certificate, revoked_at, \
     revocation_reason";

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
        let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
        query.push(COLUMNS).push(" FROM certificates WHERE position < ");
        query.push_bind(page.before.unwrap_or(i64::MAX));
        if let Some(id) = &filter.spiffe_id {
            query.push(" AND spiffe_id = ").push_bind(id);
        }
        if let Some(kind) = filter.kind {
            query.push(" AND kind = ").push_bind(kind_text(kind));
        }
        if let Some(instant) = filter.valid_after {
            query.push(" AND not_after > ").push_bind(instant);
        }
        query.push(" ORDER BY position DESC LIMIT ").push_bind(i64::from(page.size));
        let rows = query.build().fetch_all(&self.readers).await?;
        rows.iter().map(CertificateRecord::read).collect()
    }

    /// The record of one certificate.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn certificate(&self, serial: &str) -> Result<Option<CertificateRecord>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
        query.push(COLUMNS).push(" FROM certificates WHERE serial = ").push_bind(serial);
        let row = query.build().fetch_optional(&self.readers).await?;
        row.as_ref().map(CertificateRecord::read).transpose()
    }

    /// The serials of revoked certificates that have not expired at `now` (Unix seconds).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revoked_serials(&self, now: i64) -> Result<Vec<String>, StoreError> {
        let rows =
            sqlx::query("SELECT serial FROM certificates WHERE revoked_at IS NOT NULL AND not_after >= $1")
                .bind(now)
                .fetch_all(&self.readers)
                .await?;
        rows.iter().map(|row| Ok(row.try_get("serial")?)).collect()
    }

    /// The serials of a lineage: a certificate and all that renewed it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lineage(&self, lineage: &str) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query(
            "SELECT serial FROM certificates WHERE serial = $1
             UNION SELECT serial FROM certificates WHERE lineage = $1 AND renews IS NOT NULL",
        )
        .bind(lineage)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(|row| Ok(row.try_get("serial")?)).collect()
    }
}

impl CertificateRecord {
    pub(super) async fn insert(&self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        if self.renews.is_some() {
            self.refuse_if_revoked(connection).await?;
        }
        sqlx::query(
            "INSERT INTO certificates (serial, kind, spiffe_id, common_name, dns_names, ip_addresses, not_before,
                not_after, issued_at, requester, entry_id, renews, lineage, issuer_key_id, certificate)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        )
        .bind(&self.serial)
        .bind(kind_text(self.kind))
        .bind(&self.spiffe_id)
        .bind(&self.common_name)
        .bind(self.dns_names.join(" "))
        .bind(self.ip_addresses.join(" "))
        .bind(self.not_before)
        .bind(self.not_after)
        .bind(self.issued_at)
        .bind(&self.requester)
        .bind(&self.entry_id)
        .bind(&self.renews)
        .bind(&self.lineage)
        .bind(&self.issuer_key_id)
        .bind(&self.certificate)
        .execute(connection)
        .await?;
        Ok(())
    }

    /// In the same transaction as the insertion, so that a revocation cannot slip in between.
    async fn refuse_if_revoked(&self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let revoked = sqlx::query("SELECT 1 FROM certificates WHERE serial = $1 AND revoked_at IS NOT NULL")
            .bind(&self.lineage)
            .fetch_optional(connection)
            .await?;
        match revoked {
            Some(_) => Err(StoreError::Refused(format!("certificate {} has been revoked", self.lineage))),
            None => Ok(()),
        }
    }

    fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        let kind: String = row.try_get("kind")?;
        let words = |column| -> Result<Vec<String>, StoreError> {
            let text: String = row.try_get(column)?;
            Ok(text.split_whitespace().map(str::to_owned).collect())
        };
        Ok(Self {
            position: row.try_get("position")?,
            serial: row.try_get("serial")?,
            kind: parse_kind(&kind)
                .ok_or_else(|| StoreError::Row { table: "certificates", reason: format!("kind `{kind}`") })?,
            spiffe_id: row.try_get("spiffe_id")?,
            common_name: row.try_get("common_name")?,
            dns_names: words("dns_names")?,
            ip_addresses: words("ip_addresses")?,
            not_before: row.try_get("not_before")?,
            not_after: row.try_get("not_after")?,
            issued_at: row.try_get("issued_at")?,
            requester: row.try_get("requester")?,
            entry_id: row.try_get("entry_id")?,
            renews: row.try_get("renews")?,
            lineage: row.try_get("lineage")?,
            issuer_key_id: row.try_get("issuer_key_id")?,
            certificate: row.try_get("certificate")?,
            revoked_at: row.try_get("revoked_at")?,
            revocation_reason: row.try_get("revocation_reason")?,
        })
    }
}

impl Revocation {
    pub(super) async fn apply(&self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE certificates SET revoked_at = $2, revocation_reason = $3
             WHERE revoked_at IS NULL AND (serial = $1 OR (lineage = $1 AND renews IS NOT NULL))",
        )
        .bind(&self.lineage)
        .bind(self.at)
        .bind(&self.reason)
        .execute(connection)
        .await?;
        Ok(())
    }
}

fn kind_text(kind: CertificateKind) -> &'static str {
    match kind {
        CertificateKind::X509Svid => "x509-svid",
        CertificateKind::Server => "server",
        CertificateKind::Client => "client",
    }
}

fn parse_kind(text: &str) -> Option<CertificateKind> {
    [CertificateKind::X509Svid, CertificateKind::Server, CertificateKind::Client]
        .into_iter()
        .find(|kind| kind_text(*kind) == text)
}
