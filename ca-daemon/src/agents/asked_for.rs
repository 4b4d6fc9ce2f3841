//! What agents ask for is recorded for none that was shut out meanwhile.

use std::time::Duration;

use tokio::time::sleep;

use super::{ATTEMPTS, Agent, Agents, AgentsError, NotAnAgent};
use crate::{
    operations::metrics::IssueResult,
    store::{Change, Commit, Outcome},
};

/// How long what an agent asked for waits at first while another replica changes the agent; twice as long each time, and
/// some seconds all in all: whoever bans an agent may revoke much with it.
const PAUSE: Duration = Duration::from_millis(200);

impl Agents {
    /// Makes durable what an agent asked for, as which a caller was let in, if it still may act by then: it is shut out
    /// either before, and this is refused, or after, and whoever shuts it out finds what this wrote.
    ///
    /// That its newest SVID was put to use meanwhile, beside the one that it was let in by, is no reason to refuse: an
    /// agent that is told so takes itself for lost.
    ///
    /// # Errors
    /// When the agent was banned or evicted, or the database fails.
    pub async fn commit_for(&self, asking: &Agent, mut with: Commit) -> Result<(), AgentsError> {
        let id = &asking.id;
        let mut pause = PAUSE;
        for attempt in 1..=ATTEMPTS {
            let mac = match self.row_of(asking) {
                Ok(mac) => mac,
                Err(error) => return Err(self.refuse(&with, error.into())),
            };
            with.changes.push(Change::HoldAgent { spiffe_id: id.to_string(), mac: mac.clone() });
            match self.store.commit_unless_outrun(with).await? {
                Outcome::Made => return Ok(()),
                Outcome::Outrun(back) => with = back,
            }
            with.changes.pop();
            // It may be nothing but its version that changed.
            self.reload(id).await?;
            if attempt < ATTEMPTS && self.kept(id).is_some_and(|now| now.mac == mac) {
                // It has not changed yet: another replica is about to.
                sleep(pause).await;
                pause *= 2;
                self.reload(id).await?;
            }
        }
        Err(self.refuse(&with, AgentsError::Busy(id.clone())))
    }

    /// The MAC of an agent's row, if it may still act. One that was evicted and has proved itself anew is another one.
    fn row_of(&self, asking: &Agent) -> Result<Vec<u8>, NotAnAgent> {
        let id = &asking.id;
        match self.kept(id).filter(|kept| kept.agent.attested_at == asking.attested_at) {
            None => Err(NotAnAgent::NotAttested(id.clone())),
            Some(kept) if kept.agent.banned => Err(NotAnAgent::Banned(id.clone())),
            Some(kept) => Ok(kept.mac),
        }
    }

    /// The writer does not count what is given back: it may yet be made.
    fn refuse(&self, asked_for: &Commit, error: AgentsError) -> AgentsError {
        asked_for.count(IssueResult::Refused, self.store.metrics());
        error
    }
}
