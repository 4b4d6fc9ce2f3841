//! Reading all entries, fast enough for a million: rows are read, decoded and put in their places at the same time.

use std::sync::Arc;

use futures_util::StreamExt;
use secplane_identity::TrustDomain;
use tokio::sync::mpsc;

use super::{Entry, EntryId, encoding, index::Index};
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
    /// The entry, or the ID of a row that is refused.
    entry: Result<Entry, String>,
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
        let mut loaded = Loaded { index: Index::default(), unlike: Vec::new() };
        while let Some(reads) = to_place.blocking_recv() {
            for read in reads {
                loaded.place(read);
            }
        }
        loaded
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
    match open(row, mac, trust_domain) {
        Some(entry) => Read { entry: Ok(entry), likeness_is_missing: row.likeness.is_none() },
        None => Read { entry: Err(row.id.clone()), likeness_is_missing: false },
    }
}

/// The entry of a row. A row that is not ours is reported, and is none.
pub(super) fn open(row: &EntryRow, mac: &RowMac, trust_domain: &TrustDomain) -> Option<Entry> {
    match encoding::open(row, mac, trust_domain) {
        Ok(entry) => Some(entry),
        Err(error) => {
            tracing::error!(entry = %row.id, %error, "a registration entry is refused");
            None
        }
    }
}

impl Loaded {
    fn place(&mut self, read: Read) {
        match read.entry {
            Err(id) => self.index.refuse(id),
            Ok(entry) => {
                if read.likeness_is_missing {
                    self.unlike.push(entry.id().clone());
                }
                let entry = self.index.with_shared_parent(entry);
                self.index.insert(entry);
            }
        }
    }
}
