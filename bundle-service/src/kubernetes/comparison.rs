//! Says where this replica serves something else than a status tells, which another replica wrote.
//!
//! A status is a function of the resources, but for what a replica alone knows: what an administrator chose on its own
//! socket, and which version was good before it started. Where that makes a difference, a replica that does not write
//! statuses says so itself: with an Event on the resource, and on its own health listener.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use kube::{Api, Client, core::DynamicObject};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    event::{self, Notice},
    inventory::{Entry, Shared, StoredKey},
    lease::Leadership,
    object, report,
    status::{AuthorizationPolicyStatus, Fingerprint, PUBLISHED},
};
use crate::{catalog::Catalog, compile::Verdict, policy::ResourceKey, shorten::cut};

/// How often all statuses are compared. What differs at two looks in a row is no status that is on its way.
const LOOK: Duration = Duration::from_secs(30);
/// How often it is said again while it lasts: an API server forgets an Event after an hour.
const SAID_AGAIN: Duration = Duration::from_secs(30 * 60);
/// How many objects are compared together: their statuses are in memory at once.
const CHUNK: usize = 256;
/// Of how many objects the API server is asked at one look.
const MOST_ASKED: usize = 64;
/// How long one call may take.
const CALL_WITHIN: Duration = Duration::from_secs(10);

/// Compares what this replica serves with the statuses.
pub(super) struct Comparison {
    client: Client,
    shared: Arc<Shared>,
    catalog: Catalog,
    leadership: Leadership,
    /// The name of this replica, as it stands in Events.
    replica: String,
    /// What differed at the last look.
    suspects: BTreeMap<StoredKey, Suspect>,
}

/// A status that is not what this replica would write.
struct Suspect {
    uid: String,
    there: Fingerprint,
    own: Fingerprint,
    /// When it was said.
    said: Option<Instant>,
}

/// An object with another status than this replica would write.
struct Deviation {
    at: StoredKey,
    entry: Entry,
    own: AuthorizationPolicyStatus,
}

impl Comparison {
    pub(super) fn new(
        client: Client,
        shared: Arc<Shared>,
        catalog: Catalog,
        leadership: Leadership,
        replica: String,
    ) -> Self {
        Self { client, shared, catalog, leadership, replica, suspects: BTreeMap::new() }
    }

    /// Compares until `shutdown`.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let looking = async {
            loop {
                sleep(LOOK).await;
                self.look().await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = looking => {}
        }
    }

    async fn look(&mut self) {
        let before = std::mem::take(&mut self.suspects);
        // Who writes the statuses is what the others differ from.
        let all = if self.leadership.is_held() { Vec::new() } else { self.shared.inventory().stored() };
        let (mut differing, mut asked) = (BTreeSet::new(), 0);
        for chunk in all.chunks(CHUNK) {
            for deviation in self.deviations(chunk).await {
                let mut suspect = Suspect::of(&deviation);
                let seen = before.get(&deviation.at).filter(|seen| seen.is_as(&suspect));
                if let Some(seen) = seen
                    && asked < MOST_ASKED
                {
                    asked += 1;
                    suspect.said = seen.said;
                    if self.is_served_otherwise(&deviation).await {
                        differing.insert(deviation.at.key.clone());
                        if suspect.said.is_none_or(|said| said.elapsed() >= SAID_AGAIN)
                            && self.say(&deviation).await
                        {
                            suspect.said = Some(Instant::now());
                        }
                    }
                }
                self.suspects.insert(deviation.at, suspect);
            }
        }
        self.shared.inventory().differ(differing);
    }

    async fn deviations(&self, chunk: &[StoredKey]) -> Vec<Deviation> {
        let keys: BTreeSet<ResourceKey> = chunk.iter().map(|at| at.key.clone()).collect();
        let Ok(verdicts) = self.catalog.verdicts(keys).await else { return Vec::new() };
        let verdicts: BTreeMap<ResourceKey, Verdict> = verdicts.into_iter().collect();
        let inventory = self.shared.inventory();
        let deviation = |at: &StoredKey| {
            let entry = inventory.entry(at)?;
            let own = report::status(&at.key, &entry, verdicts.get(&at.key))?;
            (own.fingerprint() != entry.status).then(|| Deviation { at: at.clone(), entry, own })
        };
        chunk.iter().filter_map(deviation).collect()
    }

    /// Whether the status that stands there is about the same version, and says that something else is in force.
    async fn is_served_otherwise(&self, Deviation { at, entry, own }: &Deviation) -> bool {
        let resource = object::api_resource(&entry.group);
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &at.key.namespace, &resource);
        let Ok(Ok(Some(stored))) = timeout(CALL_WITHIN, api.get_opt(&at.key.name)).await else {
            return false;
        };
        let same_version = stored.metadata.uid.as_ref() == Some(&entry.uid)
            && stored.metadata.generation == Some(entry.generation);
        let there = object::status_of(&stored).unwrap_or_default();
        same_version && differ(entry.generation, &there, own)
    }

    /// False when it could not be said.
    async fn say(&self, Deviation { at, entry, own }: &Deviation) -> bool {
        let notice = notice(&self.replica, own);
        tracing::warn!(resource = %at.key, note = notice.note, "this replica serves something else than the status says");
        let recorded = event::record(&self.client, at, entry, &notice, &self.replica);
        matches!(timeout(CALL_WITHIN, recorded).await, Ok(Ok(())))
    }
}

impl Suspect {
    fn of(Deviation { entry, own, .. }: &Deviation) -> Self {
        Self { uid: entry.uid.clone(), there: entry.status, own: own.fingerprint(), said: None }
    }

    fn is_as(&self, other: &Self) -> bool {
        (&self.uid, self.there, self.own) == (&other.uid, other.there, other.own)
    }
}

/// Whether two statuses tell of different things in force. Why, and by whose choice, may differ.
fn differ(generation: i64, there: &AuthorizationPolicyStatus, own: &AuthorizationPolicyStatus) -> bool {
    let (Some(told), Some(mine)) = (there.condition(PUBLISHED), own.condition(PUBLISHED)) else {
        return false;
    };
    told.observed_generation == Some(generation)
        && (&there.bundle_hash, &told.status) != (&own.bundle_hash, &mine.status)
}

fn notice(replica: &str, own: &AuthorizationPolicyStatus) -> Notice {
    let serves = own.condition(PUBLISHED).map(|condition| condition.message.as_str());
    let mut note = format!(
        "the replicas of the service differ; the status is not of {replica}, where it is so: {}",
        serves.unwrap_or_default()
    );
    cut(&mut note, event::MAX_NOTE_BYTES);
    Notice { kind: "Warning", reason: "ReplicasDiffer", note }
}

#[cfg(test)]
#[path = "comparison_tests.rs"]
mod tests;
