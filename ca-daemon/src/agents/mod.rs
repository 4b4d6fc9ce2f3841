//! Node agents: which nodes proved themselves, and the join tokens with which others still may.
//!
//! All agents are in memory; the database is the truth and is written first. A row that this authority did not write
//! (its MAC is wrong) is refused and reported, never loaded. Every change names the row that it was made of, so that
//! of two changes at once, here or on another replica, one is made and the other looks again.
//!
//! Join tokens are read from the database when they are used; nothing of them is kept in memory.

mod agent;
mod asked_for;
mod encoding;
mod filter;
mod index;
mod join_token;
mod refused;
mod reports;
mod unused_tokens;
mod used_tokens;

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, SystemTime},
};

use futures_util::TryStreamExt;
use secplane_identity::SpiffeId;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

pub use agent::{Agent, AgentSvid, MAX_VERSION_BYTES, NotAnAgent, Standing};
pub use filter::AgentFilter;
pub use join_token::{JOIN_TOKEN, JoinToken, LONGEST_TTL, TokenError, TokenHash, TokenRecord, TokenUse};
pub(crate) use reports::agents_behind;
pub(crate) use unused_tokens::{agents_by_token, hide_unused_tokens};

use self::{
    index::{Index, Kept},
    refused::Refused,
};
use crate::{
    audit::Event,
    instant::unix,
    keys::RowMac,
    store::{AgentRow, Change, Commit, Notice, Store, StoreError},
};

/// How often a change is made anew because somebody else changed the same row.
const ATTEMPTS: usize = 5;
/// How long an agent whose state is not known may do what it did while it is read.
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// All attested agents of one trust domain.
pub struct Agents {
    store: Store,
    mac: RowMac,
    index: RwLock<Index>,
    refused: Refused<String>,
    /// Those that somebody brought the token of.
    refused_tokens: Refused<Vec<u8>>,
    tasks: TaskTracker,
}

impl Agents {
    /// Loads every agent of the store.
    ///
    /// # Errors
    /// When the database fails. A row that is not ours is reported and left out.
    pub async fn load(store: Store, mac: RowMac) -> Result<Arc<Self>, StoreError> {
        let agents = Self {
            store,
            mac,
            index: RwLock::default(),
            refused: Refused::default(),
            refused_tokens: Refused::default(),
            tasks: TaskTracker::new(),
        };
        agents.load_all().await?;
        Ok(Arc::new(agents))
    }

    /// One agent.
    #[must_use]
    pub fn agent(&self, id: &SpiffeId) -> Option<Arc<Agent>> {
        self.read_index().get(id).map(|kept| Arc::clone(&kept.agent))
    }

    /// The agent that the holder of an SVID is.
    ///
    /// # Errors
    /// When there is none, it is banned, or the SVID is not its.
    pub fn of_holder(&self, id: &SpiffeId, serial: &str) -> Result<(Arc<Agent>, Standing), NotAnAgent> {
        let index = self.read_index();
        let kept = index.get(id).ok_or_else(|| NotAnAgent::NotAttested(id.clone()))?;
        let standing = kept.agent.standing(serial)?;
        Ok((Arc::clone(&kept.agent), standing))
    }

    /// Up to `size` agents that pass the filter, in the order of their IDs, after `after`.
    #[must_use]
    pub fn list(&self, filter: &AgentFilter, after: Option<&SpiffeId>, size: usize) -> Vec<Arc<Agent>> {
        self.read_index().after(after).filter(|agent| filter.passes(agent)).take(size).cloned().collect()
    }

    /// How many agents pass the filter.
    #[must_use]
    pub fn count(&self, filter: &AgentFilter) -> usize {
        let index = self.read_index();
        if filter.is_empty() { index.len() } else { index.after(None).filter(|a| filter.passes(a)).count() }
    }

    /// How many rows of agents this authority did not write.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.refused.count()
    }

    /// Whether the row of an agent, as it was last read, is one that this authority did not write. It is in the way of
    /// the agent.
    #[must_use]
    pub(crate) fn is_refused(&self, id: &SpiffeId) -> bool {
        self.refused.contains(id.as_str())
    }

    /// How many rows of join tokens this authority did not write, as far as somebody brought the token.
    #[must_use]
    pub fn refused_tokens(&self) -> usize {
        self.refused_tokens.count()
    }

    /// Makes of an agent what `change` says, together with what belongs to it. `change` is asked again when somebody
    /// else was faster; `None` says that nothing is to be done.
    ///
    /// # Errors
    /// When there is no such agent, `change` refuses, or the database fails.
    pub async fn change(
        self: &Arc<Self>,
        id: &SpiffeId,
        with: Commit,
        change: impl Fn(&Agent) -> Result<Option<Agent>, NotAnAgent>,
    ) -> Result<Arc<Agent>, AgentsError> {
        for _ in 0..ATTEMPTS {
            let kept = self.kept(id).ok_or_else(|| AgentsError::NotFound(id.clone()))?;
            let Some(next) = change(&kept.agent)? else { return Ok(kept.agent) };
            match self.put(next, Some(kept.mac), with.clone()).await {
                Err(AgentsError::Store(StoreError::Conflict(_))) => drop(self.reload(id).await?),
                result => return result,
            }
        }
        Err(AgentsError::Busy(id.clone()))
    }

    /// Notes that an agent uses its newest SVID: the one before is no longer accepted.
    ///
    /// # Errors
    /// When the agent was evicted, or the database fails.
    pub async fn settle(self: &Arc<Self>, id: &SpiffeId, serial: &str) -> Result<Arc<Agent>, AgentsError> {
        self.change(id, Commit::default(), |agent| {
            let is_new = agent.standing(serial) == Ok(Standing::FirstUse);
            Ok(is_new.then(|| agent.settled()))
        })
        .await
    }

    /// Shuts an agent out, together with what belongs to it: it can neither act nor prove itself again until it is
    /// evicted.
    ///
    /// # Errors
    /// When there is no such agent, or the database fails.
    pub async fn ban(self: &Arc<Self>, id: &SpiffeId, with: Commit) -> Result<Arc<Agent>, AgentsError> {
        self.change(id, with, |agent| {
            let banned = Agent { banned: true, revision: agent.revision + 1, ..agent.clone() };
            Ok((!agent.banned).then_some(banned))
        })
        .await
    }

    /// Forgets an agent, together with what belongs to it: its SVID no longer makes its holder an agent, and the node
    /// may prove itself again. A row that is refused can be deleted likewise.
    ///
    /// # Errors
    /// When there is no such agent, or the database fails.
    pub async fn evict(self: &Arc<Self>, id: &SpiffeId, with: Commit) -> Result<(), AgentsError> {
        for _ in 0..ATTEMPTS {
            let mut commit = with.clone();
            let old_mac = match self.kept(id) {
                Some(kept) => kept.mac,
                None => {
                    let row = self.store.agent(id.as_str()).await?;
                    let row = row.ok_or_else(|| AgentsError::NotFound(id.clone()))?;
                    // Otherwise another replica has just written it.
                    if encoding::open_agent(&row, &self.mac).is_err() {
                        commit.events = commit.events.into_iter().map(Event::of_refused_row).collect();
                    }
                    row.mac
                }
            };
            // First of all, as in `put`.
            commit.changes.insert(0, Change::DeleteAgent { spiffe_id: id.to_string(), old_mac });
            let gone = id.clone();
            match self.carry_out(id, commit, move |index| index.remove(&gone)).await {
                Ok(()) => {
                    self.refused.remove(id.as_str());
                    return Ok(());
                }
                Err(StoreError::Conflict(_)) => drop(self.reload(id).await?),
                Err(error) => return Err(error.into()),
            }
        }
        Err(AgentsError::Busy(id.clone()))
    }

    /// Forgets an agent that is not banned and whose SVID ended before an instant. Answers whether it did.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn prune(
        self: &Arc<Self>,
        id: &SpiffeId,
        ended_before: SystemTime,
        event: Event,
    ) -> Result<bool, AgentsError> {
        let Some(kept) = self.kept(id).filter(|kept| kept.agent.ended_before(ended_before)) else {
            return Ok(false);
        };
        let change = Change::DeleteAgent { spiffe_id: id.to_string(), old_mac: kept.mac };
        let gone = id.clone();
        let commit = Commit { changes: vec![change], events: vec![event] };
        match self.carry_out(id, commit, move |index| index.remove(&gone)).await {
            Ok(()) => Ok(true),
            // It renewed itself or was forgotten on another replica, which tells us.
            Err(StoreError::Conflict(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes in an agent that has just proved itself, together with what belongs to it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when somebody else was faster: look again. When it was banned.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        agent: Agent,
        with: Commit,
    ) -> Result<Arc<Agent>, AgentsError> {
        let old = self.kept(&agent.id);
        if old.as_ref().is_some_and(|kept| kept.agent.banned) {
            return Err(NotAnAgent::Banned(agent.id).into());
        }
        let revision = old.as_ref().map_or(0, |kept| kept.agent.revision + 1);
        let agent = Agent { revision, ..agent };
        self.put(agent, old.map(|kept| kept.mac), with).await
    }

    /// Makes a token known.
    ///
    /// # Errors
    /// When the same token is known already, or the database fails.
    pub async fn create_token(
        &self,
        token: &TokenRecord,
        now: SystemTime,
        event: Event,
    ) -> Result<(), AgentsError> {
        let changes = vec![
            // Those that nobody used are cleared away by those that come.
            Change::ForgetJoinTokens { expired_before: unix(now) },
            Change::AddJoinToken(encoding::seal_token(token, &self.mac)),
        ];
        match self.store.commit(Commit { changes, events: vec![event] }).await {
            Err(StoreError::Conflict(_)) => Err(AgentsError::TokenTaken),
            result => Ok(result?),
        }
    }

    /// What is known of a token, and the MAC of its row.
    ///
    /// # Errors
    /// When the database fails. A row that is not ours is reported and counts as none.
    pub(crate) async fn token(&self, hash: TokenHash) -> Result<Option<(TokenRecord, Vec<u8>)>, StoreError> {
        let Some(row) = self.store.join_token(hash.as_bytes()).await? else {
            self.refused_tokens.remove(hash.as_bytes());
            return Ok(None);
        };
        match encoding::open_token(hash, &row, &self.mac) {
            Ok(token) => {
                self.refused_tokens.remove(hash.as_bytes());
                Ok(Some((token, row.mac)))
            }
            Err(error) => {
                self.refused_tokens.add(hash.as_bytes().to_vec());
                tracing::error!(token_sha256 = hash.prefix(), %error, "a join token is refused; it goes after its end, or by deleting it from the table `join_tokens`");
                Ok(None)
            }
        }
    }

    /// The change that marks a token as used, if its row is still the one with this MAC.
    pub(crate) fn use_of_token(&self, used: &TokenRecord, old_mac: Vec<u8>) -> Change {
        Change::ReplaceJoinToken { row: encoding::seal_token(used, &self.mac), old_mac }
    }

    /// Reads again what another replica changed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn follow(&self, notice: &Notice) -> Result<(), StoreError> {
        match notice {
            Notice::Agents(ids) => {
                for id in ids.iter().filter_map(|id| SpiffeId::parse(id).ok()) {
                    self.reload(&id).await?;
                }
                Ok(())
            }
            Notice::Everything => self.load_all().await,
            _ => Ok(()),
        }
    }

    /// Reads one agent again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reload(&self, id: &SpiffeId) -> Result<Option<Arc<Agent>>, StoreError> {
        loop {
            let before = self.kept(id).map(|kept| kept.mac);
            let row = self.store.agent(id.as_str()).await?;
            if row.is_none() {
                self.refused.remove(id.as_str());
            }
            let read = row.and_then(|row| self.open(row));
            let mut index = self.write_index();
            // What was changed here while the database was being read may be later than what was read.
            if index.get(id).map(|kept| &kept.mac) != before.as_ref() {
                continue;
            }
            let agent = read.as_ref().map(|kept| Arc::clone(&kept.agent));
            match read {
                Some(kept) => index.put(kept),
                None => index.remove(id),
            }
            return Ok(agent);
        }
    }

    /// Waits for the changes that are under way.
    pub async fn close(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn load_all(&self) -> Result<(), StoreError> {
        let mut known: HashSet<SpiffeId> =
            self.read_index().after(None).map(|agent| agent.id.clone()).collect();
        self.refused.clear();
        let mut others = Vec::new();
        let mut rows = self.store.agents();
        while let Some(row) = rows.try_next().await? {
            let Some(kept) = self.open(row) else { continue };
            if !known.remove(&kept.agent.id) {
                self.write_index().put_later(kept);
            } else if self.kept(&kept.agent.id).is_none_or(|known| known.mac != kept.mac) {
                others.push(kept.agent.id.clone());
            }
        }
        drop(rows);
        // What is left of `known` is gone from the database, or its row is no longer ours.
        for id in known.iter().chain(&others) {
            self.reload(id).await?;
        }
        Ok(())
    }

    fn open(&self, row: AgentRow) -> Option<Kept> {
        match encoding::open_agent(&row, &self.mac) {
            Ok(agent) => {
                self.refused.remove(row.spiffe_id.as_str());
                Some(Kept { agent: Arc::new(agent), mac: row.mac })
            }
            Err(error) => {
                let agent = without_tokens(&row.spiffe_id);
                tracing::error!(agent, %error, "an agent's row is refused; `secctl agent evict` deletes it");
                self.refused.add(row.spiffe_id);
                None
            }
        }
    }

    async fn put(
        self: &Arc<Self>,
        agent: Agent,
        old_mac: Option<Vec<u8>>,
        mut with: Commit,
    ) -> Result<Arc<Agent>, AgentsError> {
        let row = encoding::seal_agent(&agent, &self.mac);
        let kept = Kept { agent: Arc::new(agent), mac: row.mac.clone() };
        let agent = Arc::clone(&kept.agent);
        let change = match old_mac {
            None => Change::AddAgent(row),
            Some(old_mac) => Change::ReplaceAgent { row, old_mac },
        };
        // First of all: it waits for whoever holds the row, and what they wrote is seen by what comes after it.
        with.changes.insert(0, change);
        self.carry_out(&agent.id, with, move |index| index.put_later(kept)).await?;
        Ok(agent)
    }

    /// Makes a commit durable, then shows it to everyone.
    ///
    /// It runs in a task of its own: a caller that goes away in the middle must not leave the database ahead of the
    /// index.
    async fn carry_out(
        self: &Arc<Self>,
        id: &SpiffeId,
        commit: Commit,
        show: impl FnOnce(&mut Index) + Send + 'static,
    ) -> Result<(), StoreError> {
        let (agents, id) = (Arc::clone(self), id.clone());
        let task = self.tasks.spawn(async move {
            let result = agents.store.commit(commit).await;
            match &result {
                Ok(()) => show(&mut agents.write_index()),
                Err(StoreError::Unsure(_)) => agents.look_again(&id).await,
                Err(_) => {}
            }
            result
        });
        task.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Shows what the database holds of an agent that may have been changed or not. If it cannot be read, there is no
    /// such agent until it has been.
    async fn look_again(&self, id: &SpiffeId) {
        if let Ok(Ok(_)) = timeout(LONGEST_LOOK, self.reload(id)).await {
            return;
        }
        let agent = without_tokens(id.as_str());
        tracing::error!(agent, "an agent that may have changed cannot be read; until then it is none");
        self.write_index().remove(id);
        self.store.read_again(Notice::Agents(vec![id.to_string()]));
    }

    fn kept(&self, id: &SpiffeId) -> Option<Kept> {
        self.read_index().get(id).cloned()
    }

    /// The index is whole after every statement that changes it, so a panic elsewhere does not spoil it.
    fn read_index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_index(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An agent's ID for the daemon's own log, where nobody can say whether the agent joined: its token may yet be used.
fn without_tokens(id: &str) -> String {
    hide_unused_tokens(id, |_| false)
}

/// Why agents or tokens cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum AgentsError {
    /// There is no such agent.
    #[error("agent {0} not found")]
    NotFound(SpiffeId),
    /// The one who asks is no agent that may act.
    #[error(transparent)]
    NotAnAgent(#[from] NotAnAgent),
    /// Others change the same agent all the time.
    #[error("other changes of agent {0} are under way; try again")]
    Busy(SpiffeId),
    /// The token is known already, or was used.
    #[error("this join token exists already or was used; choose another one, or let the authority choose")]
    TokenTaken,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[cfg(test)]
pub(crate) use agent::tests as testing;

#[cfg(test)]
mod tests;
