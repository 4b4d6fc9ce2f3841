//! The current bundle of each identity that asked for it.

use std::{collections::HashMap, sync::Arc};

use secplane_identity::SpiffeId;
use tokio::sync::watch;

use crate::compile::Bundle;

/// How many identities are remembered before those that nobody waits for are forgotten.
const MAX_IDENTITIES: usize = 50_000;

/// The bundles that are published, for whoever waits for the next one.
#[derive(Debug)]
pub(super) struct Published {
    bundles: HashMap<SpiffeId, watch::Sender<Arc<Bundle>>>,
    /// At how many those that nobody waits for are looked for next.
    room: usize,
    least_room: usize,
}

impl Published {
    fn with_room(room: usize) -> Self {
        Self { bundles: HashMap::new(), room, least_room: room }
    }

    /// The bundle of an identity, now and as it changes; `None` when it has not asked yet.
    pub(super) fn receiver(&self, id: &SpiffeId) -> Option<watch::Receiver<Arc<Bundle>>> {
        self.bundles.get(id).map(watch::Sender::subscribe)
    }

    /// Publishes the first bundle of an identity.
    pub(super) fn insert(&mut self, id: &SpiffeId, bundle: Arc<Bundle>) -> watch::Receiver<Arc<Bundle>> {
        if self.bundles.len() >= self.room {
            self.bundles.retain(|_, sender| sender.receiver_count() > 0);
            // Half as many come before all are looked at again: each that comes pays for three of them, not for all.
            self.room = self.least_room.max(self.bundles.len() + self.bundles.len() / 2);
        }
        let (sender, receiver) = watch::channel(bundle);
        self.bundles.insert(id.clone(), sender);
        receiver
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&SpiffeId, &watch::Sender<Arc<Bundle>>)> {
        self.bundles.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.bundles.len()
    }
}

impl Default for Published {
    fn default() -> Self {
        Self::with_room(MAX_IDENTITIES)
    }
}

#[cfg(test)]
mod tests {
    use secplane_identity::TrustDomain;

    use super::*;
    use crate::compile::{Policies, Settings};

    fn id(number: usize) -> SpiffeId {
        SpiffeId::parse(&format!("spiffe://example.org/ns/team-a/sa/n{number}")).unwrap()
    }

    fn bundle() -> Arc<Bundle> {
        let mut policies = Policies::new(Settings::new(TrustDomain::parse("example.org").unwrap()));
        policies.bundle(&id(0)).unwrap()
    }

    #[test]
    fn forgets_those_that_nobody_waits_for() {
        let (mut published, bundle) = (Published::with_room(3), bundle());
        let _waiting = published.insert(&id(0), Arc::clone(&bundle));
        for number in 1..4 {
            drop(published.insert(&id(number), Arc::clone(&bundle)));
        }
        assert_eq!(published.len(), 2, "the one that waits, and the newest");
        assert!(published.receiver(&id(0)).is_some() && published.receiver(&id(1)).is_none());
    }

    #[test]
    fn looks_for_them_seldom_while_almost_all_are_waited_for() {
        let (mut published, bundle) = (Published::with_room(4), bundle());
        let mut insert = |number: usize| {
            let receiver = published.insert(&id(number), Arc::clone(&bundle));
            (receiver, published.len())
        };
        let mut waiting: Vec<_> = (0..5).map(&mut insert).collect();
        drop(waiting.remove(0));
        let (_sixth, known) = insert(5);
        assert_eq!(known, 6, "nobody was looked for");
        let (_seventh, known) = insert(6);
        assert_eq!(known, 6, "the one that nobody waits for is forgotten");
    }
}
