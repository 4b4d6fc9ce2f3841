//! What connections may take.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::reached::ReachedLimits;

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// All together.
    pub all: usize,
    /// Those of one holder.
    pub of_one: usize,
}

/// How many connections of each kind there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Of peers with a certificate, and of one peer.
    pub peers: Quota,
    /// Of those who present none, and from one origin.
    pub anonymous: Quota,
    /// TLS handshakes that are under way, and from one origin.
    pub handshakes: Quota,
    /// Without TLS, and from one origin.
    pub plain: Quota,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            peers: Quota { all: 10_000, of_one: 5_000 },
            anonymous: Quota { all: 512, of_one: 128 },
            handshakes: Quota { all: 2_048, of_one: 512 },
            plain: Quota { all: 256, of_one: 64 },
        }
    }
}

/// What a connection and all of them together may take.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// How many connections peers with a certificate have at once. A further one waits, for as long as a handshake may
    /// take; one too many of one peer is closed.
    pub peers: Quota,
    /// How many handshakes are under way at once. Further connections wait to be accepted; those that are too many of
    /// one origin are closed.
    pub handshakes: Quota,
    /// What those may have who present no certificate.
    pub anonymous: AnonymousLimits,
    /// How long a handshake may take, what is first said after it, and a request's header.
    pub handshake: Duration,
    /// How long a connection may live. Up to a tenth is taken off, differently for each connection.
    pub age: Duration,
    /// How long requests in flight may go on after a connection began to end.
    pub drain: Duration,
    /// Where they are counted.
    pub open: OpenConnections,
    /// Where it is counted what there was no place for.
    pub reached: ReachedLimits,
}

impl ConnectionLimits {
    /// So many connections, each of which may take what is usual.
    #[must_use]
    pub fn of(quotas: &Quotas) -> Self {
        Self {
            peers: quotas.peers,
            handshakes: quotas.handshakes,
            anonymous: AnonymousLimits { connections: quotas.anonymous, ..AnonymousLimits::default() },
            handshake: Duration::from_secs(10),
            age: Duration::from_secs(30 * 60),
            drain: Duration::from_secs(5),
            open: OpenConnections::default(),
            reached: ReachedLimits::default(),
        }
    }
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self::of(&Quotas::default())
    }
}

/// What those may have who present no certificate: enough to ask for something, too little to keep others from it.
#[derive(Debug, Clone)]
pub struct AnonymousLimits {
    /// How many connections they have at once, and those of one origin. Further ones are closed.
    pub connections: Quota,
    /// How many requests are under way at once on a connection.
    pub streams: u32,
    /// The longest body of a request, in bytes.
    pub body: usize,
    /// How long a connection may live, if not shorter for all. Who watches something comes back.
    pub age: Duration,
}

impl Default for AnonymousLimits {
    fn default() -> Self {
        Self {
            connections: Quotas::default().anonymous,
            streams: 8,
            body: 64 * 1024,
            age: Duration::from_secs(30),
        }
    }
}

/// How many connections are open. Every clone tells the same number.
#[derive(Debug, Clone, Default)]
pub struct OpenConnections(Arc<AtomicUsize>);

impl OpenConnections {
    /// How many are open at this moment.
    #[must_use]
    pub fn number(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self) -> CountedConnection {
        self.0.fetch_add(1, Ordering::Relaxed);
        CountedConnection(self.clone())
    }
}

/// One open connection, while it lives.
pub(super) struct CountedConnection(OpenConnections);

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
