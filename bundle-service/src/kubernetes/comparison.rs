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
    /// How often it was looked.
    looks: u64,
}

/// A status that is not what this replica would write.
struct Suspect {
    uid: String,
    there: Fingerprint,
    own: Fingerprint,
    /// The namespace, and the hash of what is in force there: those of one tier differ together.
    tier: (String, Option<String>),
    /// What is known of it, if it was so at two looks in a row.
    lasting: Option<Lasting>,
}

/// What is known of a status that stays another one. It holds until it is asked again.
#[derive(Debug, Clone, Copy, Default)]
struct Lasting {
    /// At which look the API server was last asked.
    asked: u64,
    /// Whether it was something else that is served, and not other words for it.
    otherwise: bool,
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
        Self { client, shared, catalog, leadership, replica, suspects: BTreeMap::new(), looks: 0 }
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
        self.looks += 1;
        // Who writes the statuses is what the others differ from.
        let all = if self.leadership.is_held() { Vec::new() } else { self.shared.inventory().stored() };
        for chunk in all.chunks(CHUNK) {
            for deviation in self.deviations(chunk).await {
                let mut suspect = Suspect::of(&deviation);
                let seen = before.get(&deviation.at).filter(|seen| seen.is_as(&suspect));
                suspect.lasting = seen.map(|seen| seen.lasting.unwrap_or_default());
                self.suspects.insert(deviation.at, suspect);
            }
        }
        let asked = in_turn(&self.suspects);
        for deviation in self.deviations(&asked).await {
            self.ask_of(&deviation).await;
        }
        let otherwise = |suspect: &Suspect| suspect.lasting.is_some_and(|lasting| lasting.otherwise);
        let differing = self.suspects.iter().filter(|(_, suspect)| otherwise(suspect));
        self.shared.inventory().differ(differing.map(|(at, _)| at.key.clone()).collect());
    }

    /// Asks the API server for the status that stands there, and says what differs.
    async fn ask_of(&mut self, deviation: &Deviation) {
        let suspect = self.suspects.get(&deviation.at).filter(|seen| seen.is_as(&Suspect::of(deviation)));
        let Some(mut lasting) = suspect.and_then(|suspect| suspect.lasting) else { return };
        lasting.asked = self.looks;
        lasting.otherwise = self.is_served_otherwise(deviation).await;
        let is_new = lasting.said.is_none_or(|said| said.elapsed() >= SAID_AGAIN);
        if lasting.otherwise && is_new && self.say(deviation).await {
            lasting.said = Some(Instant::now());
        }
        if let Some(suspect) = self.suspects.get_mut(&deviation.at) {
            suspect.lasting = Some(lasting);
        }
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
    fn of(Deviation { at, entry, own }: &Deviation) -> Self {
        let tier = (at.key.namespace.clone(), own.bundle_hash.clone());
        Self { uid: entry.uid.clone(), there: entry.status, own: own.fingerprint(), tier, lasting: None }
    }

    fn is_as(&self, other: &Self) -> bool {
        (&self.uid, self.there, self.own) == (&other.uid, other.there, other.own)
    }
}

/// Of which objects the API server is asked at this look: those that it was not asked of for the longest, and first one of
/// each tier.
fn in_turn(suspects: &BTreeMap<StoredKey, Suspect>) -> Vec<StoredKey> {
    let mut tiers: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (at, suspect) in suspects {
        if let Some(lasting) = suspect.lasting {
            tiers.entry(&suspect.tier).or_default().push((lasting.asked, at));
        }
    }
    let mut order: Vec<(bool, u64, &StoredKey)> = Vec::new();
    for mut members in tiers.into_values() {
        members.sort();
        let of_tier = members.last().map_or(0, |(asked, _)| *asked);
        for (number, (asked, at)) in members.into_iter().enumerate() {
            let is_first = number == 0;
            order.push((!is_first, if is_first { of_tier } else { asked }, at));
        }
    }
    order.sort();
    order.into_iter().take(MOST_ASKED).map(|(_, _, at)| at.clone()).collect()
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
