//! What was revoked: certificates and keys, and the lists that tell others of it.

use sqlx::{FromRow, QueryBuilder};

use super::{
    Conflict, Store, StoreError,
    database::{Transaction, on, within},
    readable::all_readable,
};

/// Takes the trust from every certificate that a target names and that has not expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Which certificates.
    pub target: RevocationTarget,
    /// Unix seconds.
    pub at: i64,
    /// Why.
    pub reason: String,
}

/// Which certificates are revoked together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevocationTarget {
    /// A certificate and all that renewed it: the serial of the first of them.
    Lineage(String),
    /// All of a SPIFFE ID.
    SpiffeId(String),
    /// All of a public key: the SHA-256 of its SubjectPublicKeyInfo.
    Key(Vec<u8>),
    /// All that somebody asked for, and all that renewed it: their name in the records.
    Requester(String),
}

/// A certificate that was revoked. Times are Unix seconds.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct RevokedRow {
    /// Lower-case hex without leading zeros.
    pub serial: String,
    /// Lower-case hex of the issuing CA's subject key identifier.
    pub issuer_key_id: String,
    /// End of the validity.
    pub not_after: i64,
    /// Since when.
    pub revoked_at: i64,
    /// SHA-256 of its SubjectPublicKeyInfo; `None` in a row of the first schema.
    pub key_sha256: Option<Vec<u8>>,
}

/// A public key that was revoked: nothing is issued for it any more.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct RevokedKeyRow {
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub key_sha256: Vec<u8>,
    /// Unix seconds.
    pub revoked_at: i64,
    /// Why.
    pub reason: String,
    /// Proof that this authority wrote the row.
    pub mac: Vec<u8>,
}

/// What a certificate says of itself, for a record that somebody may have edited. Times are Unix seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MendedRecord {
    /// Which certificate.
    pub serial: String,
    /// Lower-case hex of the issuing CA's subject key identifier.
    pub issuer_key_id: String,
    /// End of the validity.
    pub not_after: i64,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub key_sha256: Vec<u8>,
}

/// The current list of an issuing CA.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct RevocationListRow {
    /// Lower-case hex of the issuer's subject key identifier.
    pub issuer_key_id: String,
    /// Grows with every list.
    pub number: i64,
    /// DER.
    pub crl: Vec<u8>,
    /// Unix seconds.
    pub this_update: i64,
    /// Unix seconds.
    pub next_update: i64,
}

/// Completes a statement about certificates by the condition that names those of a target. Of a lineage the expired
/// ones are named too: whether it may be renewed is asked of the last one.
macro_rules! push_target {
    ($query:ident, $target:expr, $now:expr) => {
        match $target {
            RevocationTarget::Lineage(first) => {
                $query.push("(serial = ").push_bind(first).push(" OR (renews IS NOT NULL AND lineage = ");
                $query.push_bind(first).push("))");
            }
            RevocationTarget::SpiffeId(id) => {
                $query.push("spiffe_id = ").push_bind(id).push(" AND not_after >= ").push_bind($now);
            }
            RevocationTarget::Key(hash) => {
                $query.push("key_sha256 = ").push_bind(hash).push(" AND not_after >= ").push_bind($now);
            }
            // Whoever holds a certificate renews it by themselves, so who asked first stands on record of the first
            // one alone. Of both parts nothing is read that has expired.
            RevocationTarget::Requester(name) => {
                $query.push(
                    "position IN (SELECT asked.position FROM certificates AS asked WHERE asked.requester = ",
                );
                $query.push_bind(name).push(" AND asked.not_after >= ").push_bind($now);
                $query.push(
                    " UNION ALL SELECT renewed.position FROM certificates AS renewed
                     WHERE renewed.renews IS NOT NULL AND renewed.not_after >= ",
                );
                $query.push_bind($now).push(
                    " AND (SELECT origin.requester FROM certificates AS origin
                     WHERE origin.serial = renewed.lineage) = ",
                );
                $query.push_bind(name).push(")");
            }
        }
    };
}

/// What a start reads of the certificates: nothing of it grows with those that were ever issued.
const REVOKED: &str = "SELECT serial, issuer_key_id, not_after, revoked_at, key_sha256 FROM certificates
     WHERE revoked_at IS NOT NULL AND not_after >= $1";
const WITHOUT_KEY_HASH: &str = "SELECT serial, certificate FROM certificates
     WHERE key_sha256 IS NULL AND not_after >= $1 LIMIT $2";

impl Store {
    /// The revoked certificates whose validity ends at `end` (Unix seconds) or later.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revoked_certificates(&self, end: i64) -> Result<Vec<RevokedRow>, StoreError> {
        Ok(on!(&self.readers, pool => {
            all_readable("certificates", sqlx::query_as(REVOKED).bind(end).fetch(pool)).await?
        }))
    }

    /// The revoked certificates of a target that have not expired at `now` (Unix seconds).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revoked_of(
        &self,
        target: &RevocationTarget,
        now: i64,
    ) -> Result<Vec<RevokedRow>, StoreError> {
        Ok(on!(&self.readers, pool => {
            let mut query = QueryBuilder::new(
                "SELECT serial, issuer_key_id, not_after, revoked_at, key_sha256 FROM certificates
                 WHERE revoked_at IS NOT NULL AND ",
            );
            push_target!(query, target, now);
            query.push(" AND not_after >= ").push_bind(now);
            query.build_query_as().fetch_all(pool).await?
        }))
    }

    /// Whether a certificate of a target is valid at `now` (Unix seconds) and not revoked.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn has_unrevoked(&self, target: &RevocationTarget, now: i64) -> Result<bool, StoreError> {
        let found: Option<i64> = on!(&self.readers, pool => {
            let mut query =
                QueryBuilder::new("SELECT position FROM certificates WHERE revoked_at IS NULL AND ");
            push_target!(query, target, now);
            query.push(" AND not_after >= ").push_bind(now).push(" LIMIT 1");
            query.build_query_scalar().fetch_optional(pool).await?
        });
        Ok(found.is_some())
    }

    /// The revoked keys.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revoked_keys(&self) -> Result<Vec<RevokedKeyRow>, StoreError> {
        Ok(on!(&self.readers, pool => {
            let all = sqlx::query_as("SELECT key_sha256, revoked_at, reason, mac FROM revoked_keys");
            all_readable("revoked_keys", all.fetch(pool)).await?
        }))
    }

    /// Which issuers have a list, and its number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revocation_list_numbers(&self) -> Result<Vec<(String, i64)>, StoreError> {
        Ok(on!(&self.readers, pool => {
            let all = sqlx::query_as("SELECT issuer_key_id, number FROM revocation_lists");
            all_readable("revocation_lists", all.fetch(pool)).await?
        }))
    }

    /// The list of an issuer.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revocation_list(
        &self,
        issuer_key_id: &str,
    ) -> Result<Option<RevocationListRow>, StoreError> {
        Ok(on!(&self.readers, pool => {
            sqlx::query_as(
                "SELECT issuer_key_id, number, crl, this_update, next_update FROM revocation_lists
                 WHERE issuer_key_id = $1",
            )
            .bind(issuer_key_id)
            .fetch_optional(pool)
            .await?
        }))
    }

    /// Certificates (serial and DER) of the first schema that are valid at `now` (Unix seconds) and whose key is not
    /// on record yet: `size` of them at the most.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn without_key_hash(&self, now: i64, size: u32) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        Ok(on!(&self.readers, pool => {
            sqlx::query_as(WITHOUT_KEY_HASH)
            .bind(now)
            .bind(i64::from(size))
            .fetch_all(pool)
            .await?
        }))
    }
}

/// Refuses to renew a certificate that was revoked, or what its holder asks for. In the same transaction as what is
/// written for them, so that a revocation cannot slip in between.
pub(super) async fn refuse_revoked(transaction: &mut Transaction, serial: &str) -> Result<(), StoreError> {
    let revoked: Option<Option<i64>> = match transaction {
        Transaction::Sqlite(transaction) => {
            sqlx::query_scalar("SELECT revoked_at FROM certificates WHERE serial = $1")
                .bind(serial)
                .fetch_optional(&mut **transaction)
                .await?
        }
        // The lock makes another replica's revocation wait for this transaction, or this one see that revocation.
        Transaction::Postgres(transaction) => {
            sqlx::query_scalar("SELECT revoked_at FROM certificates WHERE serial = $1 FOR SHARE")
                .bind(serial)
                .fetch_optional(&mut **transaction)
                .await?
        }
    };
    match revoked.flatten() {
        Some(_) => Err(StoreError::Refused(format!("certificate {serial} has been revoked"))),
        None => Ok(()),
    }
}

/// Marks the certificates of a target as revoked. Those that were so before keep their time and reason.
pub(super) async fn revoke(transaction: &mut Transaction, revocation: &Revocation) -> Result<(), StoreError> {
    let Revocation { target, at, reason } = revocation;
    if let Transaction::Postgres(transaction) = transaction {
        // Renewals under way on other replicas end first; the statement below sees what they wrote.
        let mut query = QueryBuilder::new("SELECT 1 FROM certificates WHERE revoked_at IS NULL AND ");
        push_target!(query, target, *at);
        query.push(" FOR UPDATE");
        query.build().execute(&mut **transaction).await?;
    }
    within!(transaction, connection => {
        let mut query = QueryBuilder::new("UPDATE certificates SET revoked_at = ");
        query.push_bind(at).push(", revocation_reason = ").push_bind(reason);
        query.push(" WHERE revoked_at IS NULL AND ");
        push_target!(query, target, *at);
        query.build().execute(connection).await?;
    });
    Ok(())
}

/// Makes a record say what its certificate says.
pub(super) async fn mend(transaction: &mut Transaction, record: &MendedRecord) -> Result<(), StoreError> {
    within!(transaction, connection => {
        sqlx::query(
            "UPDATE certificates SET issuer_key_id = $2, not_after = $3, key_sha256 = $4 WHERE serial = $1",
        )
        .bind(&record.serial)
        .bind(&record.issuer_key_id)
        .bind(record.not_after)
        .bind(&record.key_sha256)
        .execute(connection)
        .await?;
    });
    Ok(())
}

/// Revokes a public key. One that was revoked before keeps its time and reason.
pub(super) async fn revoke_key(transaction: &mut Transaction, row: &RevokedKeyRow) -> Result<(), StoreError> {
    within!(transaction, connection => {
        sqlx::query(
            "INSERT INTO revoked_keys (key_sha256, revoked_at, reason, mac) VALUES ($1, $2, $3, $4)
             ON CONFLICT (key_sha256) DO NOTHING",
        )
        .bind(&row.key_sha256)
        .bind(row.revoked_at)
        .bind(&row.reason)
        .bind(&row.mac)
        .execute(connection)
        .await?;
    });
    Ok(())
}

/// Removes the row of a revoked key, if it still is this one.
pub(super) async fn forget_key(transaction: &mut Transaction, row: &RevokedKeyRow) -> Result<(), StoreError> {
    within!(transaction, connection => {
        sqlx::query("DELETE FROM revoked_keys WHERE key_sha256 = $1 AND mac = $2")
            .bind(&row.key_sha256)
            .bind(&row.mac)
            .execute(connection)
            .await?;
    });
    Ok(())
}

/// Replaces the list number `before` of an issuer, 0 when it has none. Refused when another replica was first.
pub(super) async fn put_list(
    transaction: &mut Transaction,
    row: &RevocationListRow,
    before: i64,
) -> Result<(), StoreError> {
    let changed = within!(transaction, connection => {
        sqlx::query(
            "INSERT INTO revocation_lists (issuer_key_id, number, crl, this_update, next_update)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (issuer_key_id) DO UPDATE SET number = excluded.number, crl = excluded.crl,
                this_update = excluded.this_update, next_update = excluded.next_update
             WHERE revocation_lists.number = $6",
        )
        .bind(&row.issuer_key_id)
        .bind(row.number)
        .bind(&row.crl)
        .bind(row.this_update)
        .bind(row.next_update)
        .bind(before)
        .execute(connection)
        .await?
        .rows_affected()
    });
    if changed == 0 { Err(Conflict::Changed.into()) } else { Ok(()) }
}

/// Forgets the list of an issuer that has expired.
pub(super) async fn forget_list(
    transaction: &mut Transaction,
    issuer_key_id: &str,
) -> Result<(), StoreError> {
    within!(transaction, connection => {
        sqlx::query("DELETE FROM revocation_lists WHERE issuer_key_id = $1")
            .bind(issuer_key_id)
            .execute(connection)
            .await?;
    });
    Ok(())
}

/// Fills in the key of a certificate of the first schema.
pub(super) async fn fill_key_hash(
    transaction: &mut Transaction,
    serial: &str,
    key_sha256: &[u8],
) -> Result<(), StoreError> {
    within!(transaction, connection => {
        sqlx::query("UPDATE certificates SET key_sha256 = $2 WHERE serial = $1 AND key_sha256 IS NULL")
            .bind(serial)
            .bind(key_sha256)
            .execute(connection)
            .await?;
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use sqlx::{Connection, SqliteConnection};

    use super::*;
    use crate::{instant::Clock, store::testing};

    /// An index leads to what is read; no query looks at every certificate there ever was. PostgreSQL plans by what it
    /// finds in a table, and in a small one it looks at everything.
    #[rstest]
    #[case(REVOKED)]
    #[case(WITHOUT_KEY_HASH)]
    #[tokio::test]
    async fn reads_no_history_at_the_start(#[case] query: &'static str) {
        let folder = tempfile::tempdir().unwrap();
        let store = testing::open_file(folder.path(), Clock::system()).await;
        let url = format!("sqlite:{}", folder.path().join("ca.db").display());
        let mut database = SqliteConnection::connect(&url).await.unwrap();
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}"));
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(explain).bind(0_i64).bind(1_i64).fetch_all(&mut database).await.unwrap();
        let steps: Vec<_> = plan.iter().map(|(.., step)| step.as_str()).collect();
        assert!(steps.iter().all(|step| step.starts_with("SEARCH certificates USING INDEX")), "{steps:?}");
        store.close().await;
    }

    #[tokio::test]
    async fn reads_no_more_than_what_is_valid_of_what_somebody_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let store = testing::open_file(folder.path(), Clock::system()).await;
        let url = format!("sqlite:{}", folder.path().join("ca.db").display());
        let mut database = SqliteConnection::connect(&url).await.unwrap();
        let target = RevocationTarget::Requester("spiffe://example.org/spire/agent/a".to_owned());
        let mut query = QueryBuilder::new(
            "EXPLAIN QUERY PLAN UPDATE certificates SET revoked_at = 1 WHERE revoked_at IS NULL AND ",
        );
        push_target!(query, &target, 1_i64);
        let plan: Vec<(i64, i64, i64, String)> =
            query.build_query_as().fetch_all(&mut database).await.unwrap();
        let steps: Vec<_> = plan.iter().map(|(.., step)| step.as_str()).collect();
        for search in [
            "SEARCH certificates USING INTEGER PRIMARY KEY",
            "SEARCH asked USING COVERING INDEX certificates_by_requester (requester=? AND not_after>?)",
            "SEARCH renewed USING INDEX certificates_renewals_by_end (not_after>?)",
            "SEARCH origin USING INDEX sqlite_autoindex_certificates_1 (serial=?)",
        ] {
            assert!(steps.iter().any(|step| step.starts_with(search)), "{search}: {steps:?}");
        }
        assert!(steps.iter().all(|step| !step.starts_with("SCAN")), "{steps:?}");
        store.close().await;
    }
}
