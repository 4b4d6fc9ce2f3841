//! Clearing away what is over: entries that expired, and agents that have not been heard of for long.
//!
//! Neither grants anything any more. Of several replicas on one database one does it at a time.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::{
    Config,
    agents::{AgentFilter, Agents, AgentsError},
    audit::{Action, Event},
    instant::{Clock, Moment},
    registry::{Registry, RegistryError},
    store::{Lease, Store, StoreError},
};

const EVERY: Duration = Duration::from_secs(300);
/// The name of the lease.
const LEASE: &str = "pruning";
/// How many agents are looked at before others get their turn.
const AT_ONCE: usize = 4096;

/// What clears away.
pub struct Pruning {
    /// Who this replica is.
    pub replica: String,
    /// Where leases are.
    pub store: Store,
    /// The entries.
    pub registry: Arc<Registry>,
    /// The agents.
    pub agents: Arc<Agents>,
    /// How long what is over is kept.
    pub settings: Arc<ArcSwap<Config>>,
    /// What tells that it is over.
    pub clock: Clock,
}

/// What was cleared away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Entries that had expired.
    pub entries: usize,
    /// Agents whose SVID had ended.
    pub agents: usize,
}

impl Pruning {
    /// Clears away again and again, until it is stopped.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let before = self.clock.moment();
            let turn = async {
                self.clock.wait_until(self.clock.now() + EVERY).await;
                self.turn(before).await
            };
            let done = tokio::select! {
                () = stop.cancelled() => return,
                done = turn => done,
            };
            match done {
                Ok(Some(pruned)) if pruned != Pruned::default() => {
                    tracing::info!(
                        entries = pruned.entries,
                        agents = pruned.agents,
                        "cleared away what is over"
                    );
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "what is over could not be cleared away; tried again later")
                }
            }
        }
    }

    /// Clears away, unless the clock was set since the turn before: one that is wrong for a moment must not end what has
    /// years to live.
    async fn turn(&self, before: Moment) -> Result<Option<Pruned>, PruningError> {
        if self.clock.has_jumped_since(before) {
            tracing::warn!("the clock was set; what is over is cleared away when it has stood for a turn");
            return Ok(None);
        }
        self.once().await
    }

    /// Clears away once; `None` when that is another replica's turn.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn once(&self) -> Result<Option<Pruned>, PruningError> {
        let now = self.clock.now();
        let lease = Lease::for_turns(LEASE, &self.replica, now, EVERY);
        if !self.store.take_lease(lease).await? {
            return Ok(None);
        }
        Ok(Some(Pruned { entries: self.entries(now).await?, agents: self.agents(now).await? }))
    }

    async fn entries(&self, now: SystemTime) -> Result<usize, PruningError> {
        let mut pruned = 0;
        for id in self.registry.expired(now).await {
            pruned += usize::from(self.registry.prune(&id, now).await?);
        }
        Ok(pruned)
    }

    async fn agents(&self, now: SystemTime) -> Result<usize, PruningError> {
        let kept_for = self.settings.load().pruning.agents_expired_for;
        let Some(ended_before) = kept_for.and_then(|kept_for| now.checked_sub(kept_for)) else {
            return Ok(0);
        };
        let mut pruned = 0;
        let mut after = None;
        loop {
            let page = self.agents.list(&AgentFilter::default(), after.as_ref(), AT_ONCE);
            for agent in page.iter().filter(|agent| agent.ended_before(ended_before)) {
                let event = Event::by_daemon(Action::AgentEvict, agent.id.as_str()).with("reason", "expired");
                pruned += usize::from(self.agents.prune(&agent.id, ended_before, event).await?);
            }
            match page.last() {
                Some(last) => after = Some(last.id.clone()),
                None => return Ok(pruned),
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Why not all could be cleared away.
#[derive(Debug, thiserror::Error)]
pub enum PruningError {
    /// The lease could not be asked for.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An entry could not be deleted.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// An agent could not be forgotten.
    #[error(transparent)]
    Agents(#[from] AgentsError),
}

#[cfg(test)]
mod tests;
