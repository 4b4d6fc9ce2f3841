//! Backups: one encrypted file that an authority can begin again from.
//!
//! It holds the whole database as it stood at one moment, and the sealed private keys. It does not hold the wrapping
//! key, without which the private keys in it are worth nothing. What a restored authority must not share with the one
//! that the backup was made of is left behind: the replica's ID and the key of its audit log. So no two daemons ever
//! continue one log.

mod archive;
mod keys;
mod postgres;
mod record;
mod restore;
mod restored;
mod sealed_stream;
mod sqlite;
mod write;

use std::{io, path::PathBuf};

pub use archive::{DatabaseKind, Manifest};
pub use keys::KeysError;
pub use record::record;
pub(crate) use restore::half_restored;
pub use restore::restore;
pub(crate) use restored::record_restore;
pub use sealed_stream::BackupFormError;
pub(super) use sqlite::{integrity as sqlite_damage, open as open_sqlite};
pub use write::{verify, write};

use crate::{StartError, config::ConfigError, keys::WrappingKeyError};

/// Why a backup cannot be made, checked or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file is no backup, or does not open.
    #[error("the backup cannot be used: {0}")]
    Form(#[from] BackupFormError),
    /// What is inside is not what should be.
    #[error("the backup cannot be used: {0}")]
    Content(String),
    /// The configuration is not usable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no key to seal it with or open it with.
    #[error(transparent)]
    Key(#[from] WrappingKeyError),
    /// The private keys do not fit together, or to the database.
    #[error("the private keys cannot be backed up: {0}")]
    Keys(#[from] KeysError),
    /// There is nothing to back up.
    #[error("there is no authority in {0} yet: nothing to back up")]
    Nothing(String),
    /// The file is there already.
    #[error("{0} exists already and is left alone; choose another name")]
    Exists(PathBuf),
    /// There is something that a restored authority would replace.
    #[error(
        "{0} holds an authority already; restore into an empty place, or move it aside with --force (it is kept)"
    )]
    NotEmpty(String),
    /// A daemon is using what would be replaced.
    #[error("{0} is in use by a running ca-daemon; stop it first")]
    InUse(String),
    /// The data folder cannot be used.
    #[error(transparent)]
    DataDir(Box<StartError>),
    /// The database is damaged.
    #[error("the database is damaged, and was not backed up: {0}; restore an earlier backup")]
    Damaged(String),
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// Its schema cannot be brought up to date.
    #[error("the schema of the database cannot be made: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A file cannot be read or written.
    #[error("{0}")]
    Io(#[source] io::Error),
    /// The program is ending.
    #[error("the work was interrupted")]
    Interrupted,
}

impl From<io::Error> for BackupError {
    /// An error that tells of the backup's form stays one on its way through the readers above it.
    fn from(error: io::Error) -> Self {
        match error.downcast::<BackupFormError>() {
            Ok(form) => Self::Form(form),
            Err(error) => Self::Io(error),
        }
    }
}
