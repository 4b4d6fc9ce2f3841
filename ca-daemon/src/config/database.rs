//! Where records are kept.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnectOptions;

use super::{Config, ConfigError};
use crate::{
    keys::{KeyStorage, KeyStorageKind, WrappingKeySource},
    store::{Store, StoreLocation},
};

/// The database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DatabaseConfig {
    /// A file in `data_dir`, for one daemon.
    Sqlite(SqliteConfig),
    /// A PostgreSQL server, for any number of replicas.
    Postgres(PostgresConfig),
}

/// PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// Such as `postgres://ca@db.example.org/ca?sslmode=verify-full&sslrootcert=/etc/ca/db.pem`, without a password.
    pub url: String,
    /// Where the password comes from, if the server asks for one.
    #[serde(default)]
    pub password: Option<WrappingKeySource>,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self::Sqlite(SqliteConfig::default())
    }
}

/// SQLite has nothing to configure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqliteConfig {}

impl Config {
    /// Where the database is, and how to log in.
    ///
    /// # Errors
    /// When the URL is not one, or holds a password, which would be printed with the configuration.
    pub fn store_location(&self) -> Result<StoreLocation, ConfigError> {
        let invalid = |reason: String| ConfigError::Invalid { key: "database.postgres", reason };
        let config = match &self.database {
            DatabaseConfig::Sqlite(_) => return Ok(StoreLocation::Sqlite(self.data_dir.join("ca.db"))),
            DatabaseConfig::Postgres(config) => config,
        };
        let after_scheme = config.url.split_once("://").map(|(_, rest)| rest).unwrap_or_default();
        let login = after_scheme.split(['/', '?']).next().and_then(|authority| authority.rsplit_once('@'));
        if login.is_some_and(|(login, _)| login.contains(':')) || after_scheme.contains("password=") {
            return Err(invalid(
                "its `url` holds a password; give it by `password: {file: …}` instead".into(),
            ));
        }
        let mut options: PgConnectOptions = config
            .url
            .parse()
            .map_err(|error: sqlx::Error| invalid(format!("its `url` is no URL of a database: {error}")))?;
        if let Some(source) = &config.password {
            let password = source.read_text().map_err(|error| invalid(error.to_string()))?;
            options = options.password(password.trim_end_matches(['\r', '\n']));
        }
        Ok(StoreLocation::Postgres(Box::new(options)))
    }

    /// The folder of the private keys, where they are files.
    #[must_use]
    pub fn key_folder(&self) -> Option<PathBuf> {
        let is_in_files = match self.database {
            DatabaseConfig::Sqlite(_) => {
                matches!(self.keys.storage, None | Some(KeyStorageKind::File | KeyStorageKind::Pkcs11))
            }
            // Replicas share their keys as they share the database.
            DatabaseConfig::Postgres(_) => false,
        };
        is_in_files.then(|| self.data_dir.join("keys"))
    }

    /// Where private keys are kept, `store` being the database.
    #[must_use]
    pub fn key_storage(&self, store: &Store) -> KeyStorage {
        let by_default = match self.database {
            DatabaseConfig::Sqlite(_) => KeyStorageKind::File,
            DatabaseConfig::Postgres(_) => KeyStorageKind::Database,
        };
        match self.keys.storage.unwrap_or(by_default) {
            KeyStorageKind::Memory => KeyStorage::Memory,
            KeyStorageKind::Pkcs11 if by_default == KeyStorageKind::Database => {
                KeyStorage::Database(store.clone())
            }
            KeyStorageKind::Database => KeyStorage::Database(store.clone()),
            KeyStorageKind::File | KeyStorageKind::Pkcs11 => KeyStorage::Files(self.data_dir.join("keys")),
        }
    }
}
