//! Reading all entries, fast enough for a million: rows are read and decoded at the same time, sorted, and put in their
//! places.

use std::{collections::HashSet, sync::Arc};

use futures_util::StreamExt;
use secplane_identity::{SpiffeId, TrustDomain};
use tokio::sync::mpsc;

use super::{Entry, EntryId, encoding, index::Index, likeness::Likeness};
use crate::{
    keys::RowMac,
    store::{EntryRow, Store, StoreError},
};

/// How many rows are decoded together.
const CHUNK: usize = 2048;
/// How many chunks are decoded at a time.
const AT_ONCE: usize = 4;

/// What the store holds.
pub(super) struct Loaded {
    pub(super) index: Index,
    /// Entries of a database of the first schema, which lack their likeness there.
    pub(super) unlike: Vec<EntryId>,
}

/// One row, read.
struct Read {
    /// The entry with its likeness, or the ID of a row that is refused.
    entry: Result<(Entry, Likeness), String>,
    likeness_is_missing: bool,
}

/// Reads every row. One that is not ours is reported and left out.
pub(super) async fn load(
    store: &Store,
    mac: &Arc<RowMac>,
    trust_domain: &TrustDomain,
) -> Result<Loaded, StoreError> {
    let (decoded, mut to_place) = mpsc::channel::<Vec<Read>>(AT_ONCE);
    let placing = tokio::task::spawn_blocking(move || {
        let mut arrived = Arrived::default();
        while let Some(reads) = to_place.blocking_recv() {
            reads.into_iter().for_each(|read| arrived.take(read));
        }
        arrived.into_places()
    });
    let mut chunks = store
        .entries()
        .chunks(CHUNK)
        .map(|rows| {
            let (mac, trust_domain) = (Arc::clone(mac), trust_domain.clone());
            async move {
                let rows = rows.into_iter().collect::<Result<Vec<_>, _>>()?;
                let decoding = tokio::task::spawn_blocking(move || {
                    rows.iter().map(|row| read(row, &mac, &trust_domain)).collect::<Vec<_>>()
                });
                decoding.await.map_err(|_| StoreError::Closed)
            }
        })
        .buffered(AT_ONCE);
    while let Some(reads) = chunks.next().await {
        // It ends only after this sender.
        let _ = decoded.send(reads?).await;
    }
    drop(decoded);
    placing.await.map_err(|_| StoreError::Closed)
}

fn read(row: &EntryRow, mac: &RowMac, trust_domain: &TrustDomain) -> Read {
    match opened(row, mac, trust_domain) {
        Some(entry) => Read { entry: Ok(entry), likeness_is_missing: row.likeness.is_none() },
        None => Read { entry: Err(row.id.clone()), likeness_is_missing: false },
    }
}

/// The entry of a row. A row that is not ours is reported, and is none.
pub(super) fn open(row: &EntryRow, mac: &RowMac, trust_domain: &TrustDomain) -> Option<Entry> {
    opened(row, mac, trust_domain).map(|(entry, _)| entry)
}

fn opened(row: &EntryRow, mac: &RowMac, trust_domain: &TrustDomain) -> Option<(Entry, Likeness)> {
    match encoding::open(row, mac, trust_domain) {
        Ok(entry) => Some(entry),
        Err(error) => {
            tracing::error!(entry = %row.id, %error, "a registration entry is refused; `secctl entry delete` deletes its row");
            None
        }
    }
}

/// What has been read and has no place yet.
#[derive(Default)]
struct Arrived {
    /// Each with the beginning of its ID.
    entries: Vec<(u128, Arc<Entry>, Likeness)>,
    /// Each parent once, for all entries below it to hold.
    parents: HashSet<SpiffeId>,
    unlike: Vec<EntryId>,
    refused: Vec<String>,
}

impl Arrived {
    fn take(&mut self, read: Read) {
        match read.entry {
            Err(id) => self.refused.push(id),
            Ok((mut entry, likeness)) => {
                if read.likeness_is_missing {
                    self.unlike.push(entry.id().clone());
                }
                match self.parents.get(&entry.fields().parent_id) {
                    Some(parent) => entry.hold_parent(parent.clone()),
                    None => drop(self.parents.insert(entry.fields().parent_id.clone())),
                }
                self.entries.push((beginning(entry.id()), Arc::new(entry), likeness));
            }
        }
    }

    /// In the order of their IDs, in which trees grow at one end: to descend into one of a million for each entry would
    /// wait for memory most of the time, as comparing IDs does. So their beginnings are sorted first.
    fn into_places(mut self) -> Loaded {
        let mut index = Index::default();
        self.refused.into_iter().for_each(|id| index.refuse(id));
        self.entries
            .sort_unstable_by(|(a, one, _), (b, other, _)| a.cmp(b).then_with(|| one.id().cmp(other.id())));
        for (_, entry, likeness) in self.entries {
            index.add(entry, likeness);
        }
        Loaded { index, unlike: self.unlike }
    }
}

/// The first 16 bytes of an ID, as a number of the same order.
fn beginning(id: &EntryId) -> u128 {
    let mut bytes = [0; 16];
    for (byte, of_id) in bytes.iter_mut().zip(id.as_str().bytes()) {
        *byte = of_id;
    }
    u128::from_be_bytes(bytes)
}
