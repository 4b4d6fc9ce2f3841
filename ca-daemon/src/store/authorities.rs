//! The trust domain and its CA certificates.

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{Store, StoreError};

/// What the database belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustDomainRow {
    /// The trust domain's name.
    pub name: String,
    /// The trust bundle's sequence number.
    pub bundle_sequence: i64,
}

/// Which CA certificate a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorityKind {
    /// A self-signed root.
    Root,
    /// An issuing CA.
    Issuing,
}

/// Whether a CA certificate signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorityState {
    /// It signs.
    Active,
    /// It no longer signs; what it signed is still valid.
    Old,
}

/// One CA certificate.
#[derive(Debug, Clone)]
pub struct AuthorityRow {
    /// Lower-case hex of the subject key identifier; names the private key too.
    pub key_id: String,
    /// Root or issuing CA.
    pub kind: AuthorityKind,
    /// Whether it signs.
    pub state: AuthorityState,
    /// DER.
    pub certificate: Vec<u8>,
    /// Unix seconds.
    pub not_after: i64,
    /// Unix seconds.
    pub created_at: i64,
}

impl Store {
    /// What this database belongs to; `None` before the first start.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn trust_domain(&self) -> Result<Option<TrustDomainRow>, StoreError> {
        let row = sqlx::query("SELECT name, bundle_sequence FROM trust_domain")
            .fetch_optional(&self.readers)
            .await?;
        row.map(|row| {
            Ok(TrustDomainRow {
                name: row.try_get("name")?,
                bundle_sequence: row.try_get("bundle_sequence")?,
            })
        })
        .transpose()
    }

    /// The active CA certificate of a kind, the newest if there are several.
    ///
    /// # Errors
    /// When the database fails or the row cannot be understood.
    pub async fn active_authority(&self, kind: AuthorityKind) -> Result<Option<AuthorityRow>, StoreError> {
        let row = sqlx::query(
            "SELECT key_id, kind, state, certificate, not_after, created_at FROM authorities
             WHERE kind = $1 AND state = 'active' ORDER BY created_at DESC, rowid DESC LIMIT 1",
        )
        .bind(kind.as_str())
        .fetch_optional(&self.readers)
        .await?;
        row.map(|row| AuthorityRow::read(&row)).transpose()
    }
}

impl TrustDomainRow {
    pub(super) async fn insert(&self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO trust_domain (only_one, name, bundle_sequence) VALUES (1, $1, $2)")
            .bind(&self.name)
            .bind(self.bundle_sequence)
            .execute(connection)
            .await?;
        Ok(())
    }
}

impl AuthorityRow {
    pub(super) async fn insert(&self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO authorities (key_id, kind, state, certificate, not_after, created_at)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(&self.key_id)
        .bind(self.kind.as_str())
        .bind(self.state.as_str())
        .bind(&self.certificate)
        .bind(self.not_after)
        .bind(self.created_at)
        .execute(connection)
        .await?;
        Ok(())
    }

    pub(super) async fn retire_issuing(connection: &mut SqliteConnection) -> Result<(), StoreError> {
        sqlx::query("UPDATE authorities SET state = 'old' WHERE kind = 'issuing' AND state = 'active'")
            .execute(connection)
            .await?;
        Ok(())
    }

    fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        let unknown = |reason: String| StoreError::Row { table: "authorities", reason };
        let kind: String = row.try_get("kind")?;
        let state: String = row.try_get("state")?;
        Ok(Self {
            key_id: row.try_get("key_id")?,
            kind: AuthorityKind::parse(&kind).ok_or_else(|| unknown(format!("kind `{kind}`")))?,
            state: AuthorityState::parse(&state).ok_or_else(|| unknown(format!("state `{state}`")))?,
            certificate: row.try_get("certificate")?,
            not_after: row.try_get("not_after")?,
            created_at: row.try_get("created_at")?,
        })
    }
}

impl AuthorityKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Issuing => "issuing",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Root, Self::Issuing].into_iter().find(|kind| kind.as_str() == text)
    }
}

impl AuthorityState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Old => "old",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Old].into_iter().find(|state| state.as_str() == text)
    }
}
