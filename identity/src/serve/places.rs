//! Who has how many connections: whoever proved an identity has a place that no stranger can take.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    limits::Quota,
    reached::{Limit, ReachedLimits},
};
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

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stranger(origin) => write!(f, "{origin}"),
            Self::SpiffeId(id) => write!(f, "{id}"),
            Self::Certificate(serial) => write!(f, "certificate {serial}"),
        }
    }
}

/// The places for connections of one kind.
#[derive(Debug)]
pub(super) struct Places {
    quota: Quota,
    all: Arc<Semaphore>,
    of_one: Shares<Holder>,
    /// What it is called when all are taken, and when one holder has as many as it may.
    limits: (Limit, Limit),
    reached: ReachedLimits,
}

/// The place of one connection, while it lives.
#[derive(Debug)]
pub(super) struct Place {
    _of_all: OwnedSemaphorePermit,
    _of_one: Share<Holder>,
}

impl Places {
    pub(super) fn new(quota: Quota, limits: (Limit, Limit), reached: &ReachedLimits) -> Self {
        Self {
            quota,
            all: Arc::new(Semaphore::new(quota.all)),
            of_one: Shares::of_at_most(quota.of_one),
            limits,
            reached: reached.clone(),
        }
    }

    /// A place for whoever comes, once one is free.
    pub(super) async fn for_whoever_comes(&self) -> Option<OwnedSemaphorePermit> {
        match self.free() {
            Some(place) => Some(place),
            None => Arc::clone(&self.all).acquire_owned().await.ok(),
        }
    }

    /// Fills a place that was taken before it was known for whom; `None` when they have as many as they may.
    pub(super) fn fill(&self, place: OwnedSemaphorePermit, holder: Holder) -> Option<Place> {
        Some(Place { _of_all: place, _of_one: self.share(holder)? })
    }

    /// A place, if one is free for this holder now.
    pub(super) fn take(&self, holder: Holder) -> Option<Place> {
        self.fill(self.free()?, holder)
    }

    /// A place, once one is free; `None` when that takes longer than `within`, or this holder has as many as it may.
    pub(super) async fn wait(&self, holder: Holder, within: Duration) -> Option<Place> {
        let of_one = self.share(holder)?;
        let Ok(of_all) = timeout(within, Arc::clone(&self.all).acquire_owned()).await else {
            self.reached.note(self.limits.0, self.quota.all, None);
            return None;
        };
        Some(Place { _of_all: of_all.ok()?, _of_one: of_one })
    }

    /// A place of all, if one is free now.
    fn free(&self) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.all).try_acquire_owned().ok();
        if place.is_none() {
            self.reached.note(self.limits.0, self.quota.all, None);
        }
        place
    }

    /// The share of one holder, unless they have as much as they may.
    fn share(&self, holder: Holder) -> Option<Share<Holder>> {
        let share = self.of_one.take(holder.clone());
        if share.is_none() {
            self.reached.note(self.limits.1, self.quota.of_one, Some(&holder));
        }
        share
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
