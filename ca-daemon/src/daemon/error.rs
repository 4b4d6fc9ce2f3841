//! Why the daemon does not start, and why it stops by itself.

use std::{io, net::SocketAddr, path::PathBuf};

use crate::{
    api::SocketError,
    audit::LogKeyError,
    config::ConfigError,
    founding::FoundingError,
    keys::{KeyStoreError, WrappingKeyError},
    lifecycle::LifecycleError,
    rotation::RotationError,
    store::StoreError,
};

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is not usable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data folder cannot be used.
    #[error("the data folder {path} cannot be used: {source}")]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another daemon uses the data folder.
    #[error("the data folder {0} is in use by another ca-daemon; stop it, or configure another folder")]
    InUse(PathBuf),
    /// A restore into the data folder did not end.
    #[error(
        "a restore was cut short, its files are still in {0}; run `ca-daemon restore` again (with --force, if it says that \
         something is in the way), or delete them to begin without the backup"
    )]
    HalfRestored(PathBuf),
    /// There is no wrapping key.
    #[error(transparent)]
    WrappingKey(#[from] WrappingKeyError),
    /// The keys' folder cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyStoreError),
    /// The keys of this authority ended with the process that made them.
    #[error(
        "`keys.storage: memory` keeps private keys until the process ends, so those of the authority in this database are \
         not there; configure the storage that holds them, or another `data_dir` to begin another authority"
    )]
    KeysEnded,
    /// The audit log's key cannot be used.
    #[error(transparent)]
    AuditKey(#[from] LogKeyError),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The CA from outside cannot be taken in.
    #[error(transparent)]
    Upstream(#[from] LifecycleError),
    /// The authority cannot begin.
    #[error(transparent)]
    Founding(#[from] FoundingError),
    /// The server's own certificate cannot be issued.
    #[error("the server's own certificate cannot be issued: {0}")]
    Identity(#[from] RotationError),
    /// The address cannot be listened on.
    #[error("{address} cannot be listened on: {source}; stop what uses it, or configure another `listen`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The address for operations cannot be listened on.
    #[error(
        "{address} cannot be listened on: {source}; stop what uses it, or configure another `operations.listen`"
    )]
    Operations {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A Unix socket cannot be bound.
    #[error(transparent)]
    Socket(#[from] SocketError),
}

/// Why the daemon stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// TLS cannot be configured.
    #[error("TLS cannot be configured: {0}")]
    Tls(#[source] rustls::Error),
    /// A Unix socket failed.
    #[error("the socket {path} failed: {source}")]
    Socket {
        /// Which.
        path: PathBuf,
        /// Why.
        source: tonic::transport::Error,
    },
    /// The plain text listener failed.
    #[error("the insecure listener failed: {0}")]
    Plain(#[source] tonic::transport::Error),
    /// The audit log cannot be written.
    #[error("the audit log cannot be written: {0}")]
    Audit(#[source] StoreError),
    /// A task panicked.
    #[error("a task of the daemon failed: {0}")]
    Panicked(String),
}
