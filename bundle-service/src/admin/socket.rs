//! The admin socket: a Unix socket for the user of the service and for root, and nobody else.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
};

use axum::{extract::connect_info::Connected, serve::IncomingStream};
use tokio::net::{UnixListener, UnixStream};

/// A bound socket. Its file goes away with it.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    path: PathBuf,
    listener: UnixListener,
}

/// Why the admin socket cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody listens on it.
    #[error(
        "the admin socket {0} is in use by a running process; stop it, or configure another admin_socket"
    )]
    InUse(PathBuf),
    /// Something else is there.
    #[error("{0} exists and is not a socket; it is left alone: remove it, or configure another admin_socket")]
    NotASocket(PathBuf),
    /// The system refuses.
    #[error("the admin socket {path} cannot be bound: {source}")]
    Bind {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl AdminSocket {
    /// Binds a path for the owner of the process alone. A socket that a dead process left behind is replaced.
    pub(crate) async fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |source| SocketError::Bind { path: path.to_owned(), source };
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(SocketError::NotASocket(path.to_owned()));
            }
            Ok(_) if UnixStream::connect(path).await.is_ok() => {
                return Err(SocketError::InUse(path.to_owned()));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        // Bound under another name first: under its own it never has a mode that is not the final one.
        let temporary = path.with_extension("new");
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&temporary).map_err(failed)?;
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        fs::rename(&temporary, path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), listener })
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "the admin socket's file was gone already");
        }
    }
}

impl axum::serve::Listener for AdminSocket {
    type Io = UnixStream;
    type Addr = tokio::net::unix::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        axum::serve::Listener::accept(&mut self.listener).await
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// The user at the other end, as the kernel names them; `None` when it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LocalUser(pub(crate) Option<u32>);

impl LocalUser {
    /// Whether it is root or the user that this process runs as. The socket's mode says the same; a folder that was
    /// opened by mistake must not be enough.
    pub(crate) fn may_administer(self) -> bool {
        self.0.is_some_and(|uid| uid == 0 || uid == rustix::process::geteuid().as_raw())
    }
}

impl Connected<IncomingStream<'_, AdminSocket>> for LocalUser {
    fn connect_info(stream: IncomingStream<'_, AdminSocket>) -> Self {
        Self(stream.io().peer_cred().ok().map(|credentials| credentials.uid()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn is_for_its_owner_alone_and_goes_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let socket = AdminSocket::bind(&path).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(AdminSocket::bind(&path).await, Err(SocketError::InUse(_))));
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn replaces_a_dead_socket_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        drop(AdminSocket::bind(&path).await.unwrap());
        fs::write(&path, "mine").unwrap();
        assert!(matches!(AdminSocket::bind(&path).await, Err(SocketError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn only_root_and_the_own_user_administer() {
        let own = rustix::process::geteuid().as_raw();
        assert!(LocalUser(Some(0)).may_administer() && LocalUser(Some(own)).may_administer());
        assert!(!LocalUser(Some(own + 12345)).may_administer() && !LocalUser(None).may_administer());
    }
}
