//! The database, read behind the daemon's back.

use std::time::SystemTime;

use futures_util::TryStreamExt;
use secplane_identity::x509::Certificate;
use sqlx::{Connection, PgConnection, SqliteConnection};

use super::{
    Finding, lists,
    played_back::{self, LastTold},
    time::expiry,
};
use crate::{Config, authority::may_sign_lists, instant::unix, operations::backup, store::StoreLocation};

/// A connection that changes nothing.
pub(super) enum Database {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// What the database told.
pub(super) struct Examined {
    pub(super) findings: Vec<Finding>,
    /// When the newest certificate on record was issued, in Unix seconds.
    pub(super) newest_record: Option<i64>,
}

/// Kind, state, key ID, start and end.
type Authority = (String, String, String, i64, i64);

/// Runs one expression on whichever database it is.
macro_rules! either {
    ($database:expr, $connection:ident => $body:expr) => {
        match $database {
            Database::Sqlite($connection) => $body,
            Database::Postgres($connection) => $body,
        }
    };
}

impl Database {
    /// Opens the database of a configuration.
    pub(super) async fn open(config: &Config) -> Result<Self, Finding> {
        const CHECK: &str = "database";
        let location = config.store_location().map_err(|error| Finding::fail(CHECK, error.to_string()))?;
        let name = location.name();
        let opened = match location {
            StoreLocation::Sqlite(path) if !path.exists() => {
                return Err(Finding::warn(
                    CHECK,
                    format!("there is no {name} yet; the first start makes it"),
                ));
            }
            StoreLocation::Sqlite(path) => backup::open_sqlite(&path).await.map(Self::Sqlite),
            StoreLocation::Postgres(options) => {
                PgConnection::connect_with(&options).await.map(Self::Postgres)
            }
        };
        opened.map_err(|error| Finding::fail(CHECK, format!("{name} cannot be opened: {error}")))
    }

    /// Looks at the schema, the integrity and the authorities.
    pub(super) async fn examine(&mut self, config: &Config) -> Result<Examined, sqlx::Error> {
        if !self.has_tables().await? {
            let empty = "it is empty; the first start fills it. Where there was an authority, restore a backup instead";
            return Ok(Examined { findings: vec![Finding::warn("database", empty)], newest_record: None });
        }
        let mut findings = vec![self.schema(config).await?];
        findings.extend(self.integrity().await?);
        if self.has_life_cycle().await? {
            findings.extend(self.authorities().await?);
            findings.push(self.revocation_lists().await?);
            findings.push(self.played_back().await?);
            findings.extend(self.cas_without_lists().await?);
        }
        // By its position, which is the key: `max(issued_at)` would read all that was ever issued.
        let newest = "SELECT issued_at FROM certificates ORDER BY position DESC LIMIT 1";
        let newest_record: Option<i64> =
            either!(self, connection => sqlx::query_scalar(newest).fetch_optional(connection).await?);
        Ok(Examined { findings, newest_record })
    }

    /// Whether any start has made its tables.
    async fn has_tables(&mut self) -> Result<bool, sqlx::Error> {
        match self {
            Self::Sqlite(connection) => {
                let table = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = '_sqlx_migrations')";
                sqlx::query_scalar(table).fetch_one(connection).await
            }
            Self::Postgres(connection) => {
                let table = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";
                sqlx::query_scalar(table).fetch_one(connection).await
            }
        }
    }

    async fn schema(&mut self, config: &Config) -> Result<Finding, sqlx::Error> {
        const CHECK: &str = "schema";
        let version = "SELECT max(version) FROM _sqlx_migrations";
        let found: Option<i64> =
            either!(self, connection => sqlx::query_scalar(version).fetch_one(connection).await?);
        let found = found.unwrap_or(0);
        let known = config.store_location().map_or(found, |location| location.newest_schema());
        Ok(match found.cmp(&known) {
            std::cmp::Ordering::Equal => Finding::ok(CHECK, format!("it is version {found}")),
            std::cmp::Ordering::Less => Finding::warn(
                CHECK,
                format!(
                    "it is version {found}, this program's is {known}; the next start brings it up to date: make a backup first"
                ),
            ),
            std::cmp::Ordering::Greater => Finding::fail(
                CHECK,
                format!(
                    "it is version {found}, and this program knows {known}; run the version that wrote it"
                ),
            ),
        })
    }

    async fn integrity(&mut self) -> Result<Option<Finding>, sqlx::Error> {
        const CHECK: &str = "integrity";
        // PostgreSQL looks after its own pages.
        let Self::Sqlite(connection) = self else { return Ok(None) };
        Ok(Some(match backup::sqlite_damage(connection).await? {
            None => Finding::ok(CHECK, "the database is sound"),
            Some(damage) => Finding::fail(
                CHECK,
                format!("the database is damaged: {damage}; stop the daemon and restore a backup"),
            ),
        }))
    }

    /// Whether the schema is one that knows of states and starts.
    async fn has_life_cycle(&mut self) -> Result<bool, sqlx::Error> {
        match self {
            Self::Sqlite(connection) => {
                let column = "SELECT EXISTS (SELECT 1 FROM pragma_table_info('authorities') WHERE name = 'not_before')";
                sqlx::query_scalar(column).fetch_one(connection).await
            }
            Self::Postgres(_) => Ok(true),
        }
    }

    async fn revocation_lists(&mut self) -> Result<Finding, sqlx::Error> {
        let size = "SELECT coalesce(sum(length(crl)), 0) FROM revocation_lists";
        let bytes: i64 = either!(self, connection => sqlx::query_scalar(size).fetch_one(connection).await?);
        let revoked = "SELECT issuer_key_id, count(*) FROM certificates
             WHERE revoked_at IS NOT NULL AND not_after >= $1
             GROUP BY issuer_key_id ORDER BY count(*) DESC LIMIT 1";
        let now = unix(SystemTime::now());
        let fullest: Option<(String, i64)> = either!(self, connection => {
            sqlx::query_as(revoked).bind(now).fetch_optional(connection).await?
        });
        Ok(lists::finding(bytes, fullest.as_ref().map(|(issuer, entries)| (issuer.as_str(), *entries))))
    }

    /// Whether entries and agents are as the audit logs tell last.
    async fn played_back(&mut self) -> Result<Finding, sqlx::Error> {
        // First the logs: what is changed while they are read is newer than what they told.
        let logs = "SELECT log_id FROM audit_logs ORDER BY log_id";
        let logs: Vec<String> =
            either!(self, connection => sqlx::query_scalar(logs).fetch_all(connection).await?);
        let records = "SELECT leaf FROM audit_entries WHERE log_id = $1 ORDER BY position";
        let mut last_told = LastTold::default();
        for (log, log_id) in logs.iter().enumerate() {
            either!(self, connection => {
                let mut leaves = sqlx::query_scalar::<_, Vec<u8>>(records).bind(log_id).fetch(connection);
                while let Some(leaf) = leaves.try_next().await? {
                    last_told.take(log, &leaf);
                }
            });
        }
        let rows = "SELECT id, revision FROM entries ORDER BY id";
        let mut entries = Vec::new();
        either!(self, connection => {
            let mut rows = sqlx::query_as::<_, (String, i64)>(rows).fetch(connection);
            while let Some((id, revision)) = rows.try_next().await? {
                if last_told.is_past_entry(&id, revision) {
                    entries.push(id);
                }
            }
        });
        let rows = "SELECT spiffe_id, body FROM agents ORDER BY spiffe_id";
        let mut agents = Vec::new();
        either!(self, connection => {
            let mut rows = sqlx::query_as::<_, (String, Vec<u8>)>(rows).fetch(connection);
            while let Some((spiffe_id, body)) = rows.try_next().await? {
                if last_told.is_past_agent(&spiffe_id, &body) {
                    agents.push(spiffe_id);
                }
            }
        });
        Ok(played_back::finding(&entries, &agents))
    }

    /// Of the CAs that sign issuing CAs, those that may sign no list.
    async fn cas_without_lists(&mut self) -> Result<Vec<Finding>, sqlx::Error> {
        let roots = "SELECT key_id, public FROM authorities
             WHERE kind = 'root' AND state IN ('active', 'prepared') ORDER BY state, key_id";
        let found: Vec<(String, Vec<u8>)> =
            either!(self, connection => sqlx::query_as(roots).fetch_all(connection).await?);
        let without = found.iter().filter(|(_, der)| {
            Certificate::parse(der).is_ok_and(|certificate| !may_sign_lists(&certificate))
        });
        Ok(without.map(|(key_id, _)| lists::without(short(key_id))).collect())
    }

    async fn authorities(&mut self) -> Result<Vec<Finding>, sqlx::Error> {
        let all = "SELECT kind, state, key_id, not_before, not_after FROM authorities
             WHERE state IN ('active', 'prepared') ORDER BY kind, state, key_id";
        let found: Vec<Authority> =
            either!(self, connection => sqlx::query_as(all).fetch_all(connection).await?);
        let now = unix(SystemTime::now());
        let mut findings = Vec::new();
        for kind in ["root", "issuing", "jwt"] {
            let is = |authority: &&Authority, state: &str| authority.0 == kind && authority.1 == state;
            let prepared = found.iter().any(|authority| is(&authority, "prepared") && authority.4 > now);
            for (_, _, key_id, not_before, not_after) in found.iter().filter(|found| is(found, "active")) {
                let (check, name, remedy) = describe(kind);
                let what = format!("{name} {}", short(key_id));
                // An issuing CA of a replica that is gone is nobody's loss, and one that stands by is made when it starts.
                if kind == "issuing" && *not_after <= now {
                    continue;
                }
                let finding = expiry(check, &what, *not_before, *not_after, remedy);
                findings.push(match prepared && *not_after > now {
                    true => Finding::ok(check, format!("{}, and its successor is prepared", finding.message)),
                    false => finding,
                });
            }
            if kind == "root" && !found.iter().any(|authority| is(&authority, "active")) {
                findings.push(Finding::fail("root", "there is no active root; restore a backup"));
            }
        }
        Ok(findings)
    }
}

fn describe(kind: &str) -> (&'static str, &'static str, &'static str) {
    match kind {
        "root" => ("root", "root", "rotate it with `secctl ca`"),
        "issuing" => ("issuing CA", "issuing CA", "the daemon should have renewed it: its log says why not"),
        _ => ("JWT key", "JWT key", "the daemon should have rotated it: its log says why not"),
    }
}

fn short(key_id: &str) -> &str {
    key_id.get(..12).unwrap_or(key_id)
}
