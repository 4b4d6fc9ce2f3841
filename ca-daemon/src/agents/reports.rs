//! What agents say that they have.

use std::time::SystemTime;

use futures_util::TryStreamExt;
use secplane_identity::SpiffeId;

use super::encoding;
use crate::{
    keys::RowMac,
    store::{Store, StoreError},
};

/// The agents that could act at `now` and have not reported the trust bundle of this sequence number or a later one.
/// As the database has them: this replica may not have heard of the last reports yet.
pub(crate) async fn agents_behind(
    store: &Store,
    mac: &RowMac,
    sequence: u64,
    now: SystemTime,
) -> Result<Vec<SpiffeId>, StoreError> {
    let mut behind = Vec::new();
    let mut rows = store.agents();
    while let Some(row) = rows.try_next().await? {
        // A row that is not ours is no agent; whoever loads agents reports it.
        let Ok(agent) = encoding::open_agent(&row, mac) else { continue };
        if !agent.banned && agent.svid.not_after >= now && agent.bundle_sequence < sequence {
            behind.push(agent.id);
        }
    }
    Ok(behind)
}
