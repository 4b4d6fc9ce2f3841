//! The trust domain, its CA certificates and its JWT keys.

use sqlx::{FromRow, QueryBuilder};

use super::{
    Conflict, Store, StoreError,
    database::{Transaction, on, within},
    readable::{all_readable, one_readable},
};

/// What the database belongs to.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct TrustDomainRow {
    /// The trust domain's name.
    pub name: String,
    /// The trust bundle's sequence number.
    pub bundle_sequence: i64,
}

/// What an authority is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AuthorityKind {
    /// A root, or the CA under an outside root: it signs issuing CAs.
    Root,
    /// An issuing CA.
    Issuing,
    /// A key that signs JWT-SVIDs.
    Jwt,
    /// The CA of a mesh, below one of our roots. Its key is the mesh's.
    Mesh,
    /// The CA of a downstream authority, below one of our issuing CAs. Its key is that authority's.
    Downstream,
}

/// Where an authority stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AuthorityState {
    /// Trusted, but it signs nothing yet.
    Prepared,
    /// It signs.
    Active,
    /// It no longer signs; what it signed is still trusted.
    Old,
    /// No longer trusted.
    Revoked,
}

/// One authority at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityRow {
    /// Lower-case hex of the subject key identifier, or the key ID of a JWT key; names the private key too. Of a CA
    /// whose key somebody else has, who may have several certified for one key: its serial number in lower-case hex.
    pub key_id: String,
    /// What it is.
    pub kind: AuthorityKind,
    /// Where it stands.
    pub state: AuthorityState,
    /// On its way out.
    pub tainted: bool,
    /// DER: the certificate, or the public key of a JWT key.
    pub public: Vec<u8>,
    /// DER, one after another: what is between it and the root.
    pub chain: Vec<u8>,
    /// Of roots and JWT keys: itself. Of others: what signed it.
    pub issuer_key_id: String,
    /// Of an issuing CA: the replica that signs with it. Of what somebody else has the key of: who asked for it, which is
    /// empty in earlier rows. Of our other ones: empty.
    pub replica: String,
    /// Where its private key is; [`ELSEWHERE`] when it is somebody else's.
    pub key_storage: String,
    /// Unix seconds.
    pub not_before: i64,
    /// Unix seconds.
    pub not_after: i64,
    /// Unix seconds.
    pub created_at: i64,
    /// When it came into its state, in Unix seconds.
    pub since: i64,
    /// Proof that this authority wrote the row; `None` in a row of the first schema.
    pub mac: Option<Vec<u8>>,
}

/// What stands as [`AuthorityRow::key_storage`] of an authority whose private key somebody else has.
pub const ELSEWHERE: &str = "elsewhere";

impl AuthorityRow {
    /// Whether somebody else has the private key.
    #[must_use]
    pub fn is_of_somebody_else(&self) -> bool {
        self.key_storage == ELSEWHERE
    }
}

/// Which authorities to read.
#[derive(Debug, Clone, Default)]
pub struct AuthorityFilter {
    /// Only this kind.
    pub kind: Option<AuthorityKind>,
    /// Only this state.
    pub state: Option<AuthorityState>,
    /// Only those of this replica, or that this caller asked for.
    pub replica: Option<String>,
}

/// What a state counts as that is not known.
const UNKNOWN_STATE: AuthorityState = AuthorityState::Old;

const COLUMNS: &str = "key_id, kind, state, tainted, public, chain, issuer_key_id, replica, key_storage, \
     not_before, not_after, created_at, since, mac";

impl Store {
    /// What this database belongs to; `None` before the first start.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn trust_domain(&self) -> Result<Option<TrustDomainRow>, StoreError> {
        let found = on!(&self.readers, pool => {
            sqlx::query_as("SELECT name, bundle_sequence FROM trust_domain").fetch_optional(pool).await?
        });
        Ok(found)
    }

    /// The authorities that pass the filter, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn authorities(&self, filter: &AuthorityFilter) -> Result<Vec<AuthorityRow>, StoreError> {
        let rows: Vec<RawAuthority> = on!(&self.readers, pool => {
            let mut query = QueryBuilder::new("SELECT ");
            query.push(COLUMNS).push(" FROM authorities WHERE 1 = 1");
            if let Some(kind) = filter.kind {
                query.push(" AND kind = ").push_bind(kind.as_str());
            }
            if let Some(state) = filter.state {
                query.push(" AND state = ").push_bind(state.as_str());
            }
            if let Some(replica) = &filter.replica {
                query.push(" AND replica = ").push_bind(replica);
            }
            query.push(" ORDER BY created_at DESC, not_before DESC, key_id");
            all_readable("authorities", query.build_query_as().fetch(pool)).await?
        });
        Ok(rows.into_iter().map(AuthorityRow::from).collect())
    }

    /// One authority.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn authority(&self, key_id: &str) -> Result<Option<AuthorityRow>, StoreError> {
        let row: Option<RawAuthority> = on!(&self.readers, pool => {
            let mut query = QueryBuilder::new("SELECT ");
            query.push(COLUMNS).push(" FROM authorities WHERE key_id = ").push_bind(key_id);
            one_readable("authorities", query.build_query_as().fetch_optional(pool).await)?
        });
        Ok(row.map(AuthorityRow::from))
    }
}

/// Begins a trust domain. A second one is refused.
pub(super) async fn begin(transaction: &mut Transaction, row: &TrustDomainRow) -> Result<(), StoreError> {
    within!(transaction, connection => {
        sqlx::query("INSERT INTO trust_domain (only_one, name, bundle_sequence) VALUES (1, $1, $2)")
            .bind(&row.name)
            .bind(row.bundle_sequence)
            .execute(connection)
            .await?;
    });
    Ok(())
}

/// The trust bundle has changed.
pub(super) async fn advance_bundle(transaction: &mut Transaction) -> Result<(), StoreError> {
    within!(transaction, connection => {
        sqlx::query("UPDATE trust_domain SET bundle_sequence = bundle_sequence + 1").execute(connection).await?;
    });
    Ok(())
}

/// Adds an authority. A place that is taken (one active root, one prepared root, …) refuses it.
pub(super) async fn add(transaction: &mut Transaction, row: &AuthorityRow) -> Result<(), StoreError> {
    within!(transaction, connection => {
        sqlx::query(
            "INSERT INTO authorities (key_id, kind, state, tainted, public, chain, issuer_key_id, replica,
                key_storage, not_before, not_after, created_at, since, mac)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        )
        .bind(&row.key_id)
        .bind(row.kind.as_str())
        .bind(row.state.as_str())
        .bind(i64::from(row.tainted))
        .bind(&row.public)
        .bind(&row.chain)
        .bind(&row.issuer_key_id)
        .bind(&row.replica)
        .bind(&row.key_storage)
        .bind(row.not_before)
        .bind(row.not_after)
        .bind(row.created_at)
        .bind(row.since)
        .bind(&row.mac)
        .execute(connection)
        .await?;
    });
    Ok(())
}

/// Replaces an authority that still stands as `old` says: two replicas that take the same step take it once. Its
/// certificate may have been renewed; what it is stays. One whose state is not known is replaced as it was read.
pub(super) async fn replace(
    transaction: &mut Transaction,
    old: &AuthorityRow,
    new: &AuthorityRow,
) -> Result<(), StoreError> {
    let changed = within!(transaction, connection => {
        sqlx::query(
            "UPDATE authorities SET state = $2, tainted = $3, since = $4, mac = $5, public = $6, chain = $7,
                not_before = $8, not_after = $9
             WHERE key_id = $1 AND tainted = $11 AND public = $12 AND chain = $13
                AND (state = $10 OR $14 = 1 AND state NOT IN ('prepared', 'active', 'old', 'revoked'))",
        )
        .bind(&old.key_id)
        .bind(new.state.as_str())
        .bind(i64::from(new.tainted))
        .bind(new.since)
        .bind(&new.mac)
        .bind(&new.public)
        .bind(&new.chain)
        .bind(new.not_before)
        .bind(new.not_after)
        .bind(old.state.as_str())
        .bind(i64::from(old.tainted))
        .bind(&old.public)
        .bind(&old.chain)
        .bind(i64::from(old.state == UNKNOWN_STATE))
        .execute(connection)
        .await?
        .rows_affected()
    });
    if changed == 1 { Ok(()) } else { Err(Conflict::Changed.into()) }
}

/// Forgets an authority, and answers how many rows that were.
pub(super) async fn forget(transaction: &mut Transaction, key_id: &str) -> Result<u64, StoreError> {
    Ok(within!(transaction, connection => {
        sqlx::query("DELETE FROM authorities WHERE key_id = $1")
            .bind(key_id)
            .execute(connection)
            .await?
            .rows_affected()
    }))
}

/// Forgets an authority that still stands: of two replicas that forget the same one, the second changes nothing.
pub(super) async fn expire(transaction: &mut Transaction, key_id: &str) -> Result<(), StoreError> {
    if forget(transaction, key_id).await? == 1 { Ok(()) } else { Err(Conflict::Changed.into()) }
}

#[derive(FromRow)]
struct RawAuthority {
    key_id: String,
    kind: String,
    state: String,
    tainted: i64,
    public: Vec<u8>,
    chain: Vec<u8>,
    issuer_key_id: String,
    replica: String,
    key_storage: String,
    not_before: i64,
    not_after: i64,
    created_at: i64,
    since: i64,
    mac: Option<Vec<u8>>,
}

impl From<RawAuthority> for AuthorityRow {
    /// A kind or a state that is not known was not written here, whatever MAC stands beside it. Such a row is taken for
    /// an old issuing CA's without a right proof: it is refused as every row that somebody edited, and what its
    /// certificate says still counts. An error would take all other authorities with it.
    fn from(raw: RawAuthority) -> Self {
        let (kind, state) = (AuthorityKind::parse(&raw.kind), AuthorityState::parse(&raw.state));
        let mac = if kind.is_some() && state.is_some() { raw.mac } else { Some(Vec::new()) };
        Self {
            kind: kind.unwrap_or(AuthorityKind::Issuing),
            state: state.unwrap_or(UNKNOWN_STATE),
            key_id: raw.key_id,
            tainted: raw.tainted != 0,
            public: raw.public,
            chain: raw.chain,
            issuer_key_id: raw.issuer_key_id,
            replica: raw.replica,
            key_storage: raw.key_storage,
            not_before: raw.not_before,
            not_after: raw.not_after,
            created_at: raw.created_at,
            since: raw.since,
            mac,
        }
    }
}

impl AuthorityKind {
    /// As it stands in the database and in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Issuing => "issuing",
            Self::Jwt => "jwt",
            Self::Mesh => "mesh",
            Self::Downstream => "downstream",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Root, Self::Issuing, Self::Jwt, Self::Mesh, Self::Downstream]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

impl AuthorityState {
    /// As it stands in the database and in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Active => "active",
            Self::Old => "old",
            Self::Revoked => "revoked",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Prepared, Self::Active, Self::Old, Self::Revoked]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}
