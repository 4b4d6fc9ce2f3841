//! Who has how many connections: whoever proved an identity has a place that no stranger can take.

use std::{
    collections::HashMap,
    hash::Hash,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits::Quota;
use crate::{Origin, SpiffeId, tls::Peer};

/// Gives each of many holders a share of something, and nobody more than a fixed number. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shares<K> {
    most: usize,
    held: Arc<Mutex<HashMap<K, usize>>>,
}

impl<K: Eq + Hash + Clone> Shares<K> {
    /// At most so many for each holder.
    #[must_use]
    pub fn of_at_most(most: usize) -> Self {
        Self { most, held: Arc::default() }
    }

    /// How many one holder may have.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most
    }

    /// One more for a holder, unless it has as many as it may.
    #[must_use]
    pub fn take(&self, holder: K) -> Option<Share<K>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let number = held.get(&holder).copied().unwrap_or_default();
        if number >= self.most {
            return None;
        }
        held.insert(holder.clone(), number + 1);
        Some(Share { shares: self.clone(), holder })
    }
}

/// What a holder has until it is dropped.
#[derive(Debug)]
pub struct Share<K: Eq + Hash> {
    shares: Shares<K>,
    holder: K,
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut held = self.shares.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = held.get_mut(&self.holder) {
            *number -= 1;
            if *number == 0 {
                held.remove(&self.holder);
            }
        }
    }
}

/// Whose a connection is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    /// Somebody who has proved nothing.
    Stranger(Origin),
    /// The holder of an X.509-SVID.
    SpiffeId(SpiffeId),
    /// The holder of the certificate with this serial number, which names no SPIFFE ID.
    Certificate(String),
}

impl Holder {
    pub(super) fn stranger(address: SocketAddr) -> Self {
        Self::Stranger(Origin::of(Some(address)))
    }

    pub(super) fn of(peer: &Peer, address: SocketAddr) -> Self {
        match peer {
            Peer::Anonymous => Self::stranger(address),
            Peer::Svid(svid) => Self::SpiffeId(svid.id().clone()),
            Peer::Certificate(verified) => Self::Certificate(verified.certificate().serial.clone()),
        }
    }
}

/// The places for connections of one kind.
#[derive(Debug)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    of_one: Shares<Holder>,
}

/// The place of one connection, while it lives.
#[derive(Debug)]
pub(super) struct Place {
    _of_all: OwnedSemaphorePermit,
    _of_one: Share<Holder>,
}

impl Places {
    pub(super) fn new(quota: Quota) -> Self {
        Self { all: Arc::new(Semaphore::new(quota.all)), of_one: Shares::of_at_most(quota.of_one) }
    }

    /// All of them together.
    pub(super) fn all(&self) -> &Arc<Semaphore> {
        &self.all
    }

    /// Fills a place that was taken before it was known for whom; `None` when they have as many as they may.
    pub(super) fn fill(&self, place: OwnedSemaphorePermit, holder: Holder) -> Option<Place> {
        Some(Place { _of_all: place, _of_one: self.of_one.take(holder)? })
    }

    /// A place, if one is free for this holder now.
    pub(super) fn take(&self, holder: Holder) -> Option<Place> {
        self.fill(Arc::clone(&self.all).try_acquire_owned().ok()?, holder)
    }

    /// A place, once one is free; `None` when this holder has as many as it may.
    pub(super) async fn wait(&self, holder: Holder) -> Option<Place> {
        let of_one = self.of_one.take(holder)?;
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Place { _of_all: of_all, _of_one: of_one })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_is_dropped() {
        let shares = Shares::of_at_most(2);
        let (first, second) = (shares.take("a"), shares.take("a"));
        assert!(first.is_some() && second.is_some());
        assert!(shares.take("a").is_none());
        assert!(shares.take("b").is_some(), "another one has a share of its own");
        drop(first);
        assert!(shares.take("a").is_some());
        drop(second);
        assert!(shares.held.lock().unwrap().is_empty(), "who has nothing is forgotten");
    }
}
