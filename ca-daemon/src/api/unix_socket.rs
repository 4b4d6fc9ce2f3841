//! A Unix socket of the daemon's own: made with its final mode, never taken from a daemon that lives, and with room
//! for every user.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use secplane_identity::serve::{Share, Shares};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::PollSemaphore;
use tonic::transport::server::Connected;

use crate::{access::LocalPeer, attest::AttestedProcess};

/// How many connections a socket has at once.
#[derive(Debug, Clone, Copy)]
pub struct SocketLimits {
    /// All together; further ones wait to be accepted.
    pub connections: usize,
    /// Those of one user; further ones are closed, so that no user keeps the others out.
    pub of_one_user: usize,
}

/// A bound socket. Its file goes away with it.
#[derive(Debug)]
pub struct UnixSocket {
    path: PathBuf,
    listener: UnixListener,
    places: PollSemaphore,
    /// The place that the next connection takes.
    free: Option<OwnedSemaphorePermit>,
    users: Shares<u32>,
}

impl UnixSocket {
    /// Binds `path` with permissions `mode`.
    ///
    /// A socket that a dead process left behind is replaced; one that somebody listens on, and anything that is
    /// no socket, is not.
    ///
    /// # Errors
    /// When the path is in use, is no socket, is too long, or its folder cannot be written.
    pub async fn bind(path: &Path, mode: u32, limits: SocketLimits) -> Result<Self, SocketError> {
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
        fs::set_permissions(&temporary, fs::Permissions::from_mode(mode)).map_err(failed)?;
        fs::rename(&temporary, path).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            listener,
            places: PollSemaphore::new(Arc::new(Semaphore::new(limits.connections))),
            free: None,
            users: Shares::of_at_most(limits.of_one_user),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "the socket's file was gone already");
        }
    }
}

/// Accepts for as long as it is polled. A connection that fails does not end the others.
impl futures_util::Stream for UnixSocket {
    type Item = io::Result<UnixConnection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if this.free.is_none() {
                this.free = ready!(this.places.poll_acquire(context));
            }
            let stream = match ready!(this.listener.poll_accept(context)) {
                Ok((stream, _)) => stream,
                Err(error) => return Poll::Ready(Some(Err(error))),
            };
            let peer = peer_of(&stream);
            // A peer that the kernel cannot name shares its places with all others like it.
            let Some(of_user) = this.users.take(peer.map_or(u32::MAX, |peer| peer.uid)) else {
                tracing::debug!(
                    path = %this.path.display(),
                    uid = peer.map(|peer| peer.uid),
                    "a connection is closed: its user has {} open already",
                    this.users.most()
                );
                continue;
            };
            let place = Place { _of_all: this.free.take(), _of_user: of_user };
            return Poll::Ready(Some(Ok(UnixConnection::of(stream, peer, place))));
        }
    }
}

fn peer_of(stream: &UnixStream) -> Option<LocalPeer> {
    stream.peer_cred().ok().map(|credentials| LocalPeer {
        pid: credentials.pid(),
        uid: credentials.uid(),
        gid: credentials.gid(),
    })
}

/// What a connection takes, given back when it ends.
#[derive(Debug)]
struct Place {
    _of_all: Option<OwnedSemaphorePermit>,
    _of_user: Share<u32>,
}

/// An accepted connection and who is at its other end.
#[derive(Debug)]
pub struct UnixConnection {
    stream: UnixStream,
    accepted: AcceptedUnix,
    _place: Place,
}

impl UnixConnection {
    fn of(stream: UnixStream, peer: Option<LocalPeer>, place: Place) -> Self {
        let process = match AttestedProcess::of(&stream) {
            Ok(process) => Some(Arc::new(process)),
            Err(error) => {
                tracing::warn!(%error, "the process behind a local connection cannot be named");
                None
            }
        };
        Self { stream, accepted: AcceptedUnix { peer, process }, _place: place }
    }
}

/// Who is at the other end of a Unix socket: in the extensions of each request that came over one.
#[derive(Debug, Clone)]
pub struct AcceptedUnix {
    peer: Option<LocalPeer>,
    process: Option<Arc<AttestedProcess>>,
}

impl AcceptedUnix {
    /// The peer's credentials.
    #[must_use]
    pub fn peer(&self) -> Option<LocalPeer> {
        self.peer
    }

    /// The peer's process, held since it connected.
    #[must_use]
    pub fn process(&self) -> Option<Arc<AttestedProcess>> {
        self.process.clone()
    }
}

impl Connected for UnixConnection {
    type ConnectInfo = AcceptedUnix;

    fn connect_info(&self) -> AcceptedUnix {
        self.accepted.clone()
    }
}

impl AsyncRead for UnixConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for UnixConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }
}

/// Why a socket cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody listens on it.
    #[error("the socket {0} is in use by a running process; stop it, or configure another path")]
    InUse(PathBuf),
    /// Something else is there.
    #[error("{0} exists and is not a socket; it is left alone: remove it, or configure another path")]
    NotASocket(PathBuf),
    /// The system refuses.
    #[error("the socket {path} cannot be bound: {source}")]
    Bind {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SocketLimits = SocketLimits { connections: 3, of_one_user: 2 };

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn binds_with_the_final_mode_and_cleans_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let socket = UnixSocket::bind(&path, 0o600, LIMITS).await.unwrap();
        assert_eq!(mode_of(&path), 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn refuses_a_socket_that_lives_and_replaces_one_that_is_dead() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let first = UnixListener::bind(&path).unwrap();
        assert!(matches!(UnixSocket::bind(&path, 0o600, LIMITS).await, Err(SocketError::InUse(_))));
        drop(first);
        assert!(path.exists(), "a dead process leaves its socket behind");
        UnixSocket::bind(&path, 0o777, LIMITS).await.unwrap();
    }

    #[tokio::test]
    async fn leaves_what_is_no_socket_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        fs::write(&path, "mine").unwrap();
        assert!(matches!(UnixSocket::bind(&path, 0o600, LIMITS).await, Err(SocketError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    /// What a stream gives at this moment.
    async fn now<T>(stream: &mut (impl futures_util::Stream<Item = T> + Unpin)) -> Option<T> {
        use futures_util::StreamExt;
        tokio::select! {
            biased;
            item = stream.next() => item,
            () = tokio::time::sleep(std::time::Duration::from_millis(50)) => None,
        }
    }

    #[tokio::test]
    async fn closes_what_is_too_much_for_one_user() {
        let folder = tempfile::tempdir().unwrap();
        let mut socket = UnixSocket::bind(&folder.path().join("a.sock"), 0o600, LIMITS).await.unwrap();
        let path = socket.path().to_owned();
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(UnixStream::connect(&path).await.unwrap());
        }
        let first = now(&mut socket).await.unwrap().unwrap();
        let _second = now(&mut socket).await.unwrap().unwrap();
        assert!(now(&mut socket).await.is_none(), "the third is not served");
        let mut byte = [0];
        let closed = tokio::io::AsyncReadExt::read(&mut clients[2], &mut byte).await;
        assert!(matches!(closed, Ok(0) | Err(_)), "and its end is told");

        drop(first);
        clients.push(UnixStream::connect(&path).await.unwrap());
        now(&mut socket).await.expect("there is a place again").unwrap();
    }

    #[tokio::test]
    async fn lets_wait_what_is_too_much_for_all() {
        let folder = tempfile::tempdir().unwrap();
        let limits = SocketLimits { connections: 1, of_one_user: 2 };
        let mut socket = UnixSocket::bind(&folder.path().join("a.sock"), 0o600, limits).await.unwrap();
        let path = socket.path().to_owned();
        let _clients = (UnixStream::connect(&path).await.unwrap(), UnixStream::connect(&path).await.unwrap());
        let first = now(&mut socket).await.unwrap().unwrap();
        assert!(now(&mut socket).await.is_none());
        drop(first);
        now(&mut socket).await.expect("the one that waited").unwrap();
    }
}
