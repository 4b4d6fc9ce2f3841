//! One attested node agent, and whether a caller is it.

use std::{collections::BTreeSet, time::SystemTime};

use secplane_identity::SpiffeId;

use crate::registry::{Node, Selector};

/// The longest version that an agent may say of itself, in bytes.
pub const MAX_VERSION_BYTES: usize = 255;

/// A node agent that proved which node it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Who it is: the parent of the entries that it may ask for.
    pub id: SpiffeId,
    /// How it proved itself, such as `join_token`.
    pub attestation_type: String,
    /// The newest SVID that it was given.
    pub svid: AgentSvid,
    /// The one before. It counts until the newest is used for the first time: the answer that carried the newest may
    /// have been lost.
    pub previous: Option<AgentSvid>,
    /// What its attestation found out about the node.
    pub selectors: BTreeSet<Selector>,
    /// An admin shut it out: it can neither act nor prove itself again.
    pub banned: bool,
    /// Whether it can prove itself again in the same way.
    pub can_reattest: bool,
    /// What it said of itself last.
    pub version: String,
    /// The sequence number of the trust bundle that it said it has.
    pub bundle_sequence: u64,
    /// When it last proved itself.
    pub attested_at: SystemTime,
    /// Grows with each change.
    pub revision: i64,
}

/// An SVID of an agent, as far as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSvid {
    /// Lower-case hex.
    pub serial: String,
    /// When it ends.
    pub not_after: SystemTime,
}

/// How a caller that is an agent stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is known to hold its newest SVID, or still uses the one before.
    Settled,
    /// It uses its newest SVID for the first time; the one before is to be dropped.
    FirstUse,
}

impl Agent {
    /// Whether whoever holds the SVID `serial` of this agent may act as it.
    ///
    /// # Errors
    /// When it is banned, or the SVID is neither the newest nor the one before.
    pub fn standing(&self, serial: &str) -> Result<Standing, NotAnAgent> {
        if self.banned {
            return Err(NotAnAgent::Banned(self.id.clone()));
        }
        if self.svid.serial == serial {
            return Ok(if self.previous.is_some() { Standing::FirstUse } else { Standing::Settled });
        }
        if self.previous.as_ref().is_some_and(|previous| previous.serial == serial) {
            return Ok(Standing::Settled);
        }
        Err(NotAnAgent::NotActive {
            id: self.id.clone(),
            expected: self.svid.serial.clone(),
            found: serial.to_owned(),
        })
    }

    /// Whether it could not act any more at an instant. One that is banned is kept: forgetting it would let it in again.
    #[must_use]
    pub fn ended_before(&self, instant: SystemTime) -> bool {
        !self.banned && self.svid.not_after < instant
    }

    /// The agent as one that asks for entries.
    #[must_use]
    pub fn node(&self) -> Node<'_> {
        Node { id: &self.id, selectors: &self.selectors }
    }

    /// The agent after it was given a new SVID on the strength of the one that it holds.
    #[must_use]
    pub fn renewed(&self, held_serial: &str, svid: AgentSvid) -> Self {
        // What the caller holds stays valid until the new one is used; of two answers that were lost, the first is
        // forgotten.
        let held = std::iter::once(&self.svid).chain(&self.previous).find(|svid| svid.serial == held_serial);
        Self { previous: held.cloned(), svid, revision: self.revision + 1, ..self.clone() }
    }

    /// The agent once its newest SVID was seen in use.
    #[must_use]
    pub fn settled(&self) -> Self {
        Self { previous: None, revision: self.revision + 1, ..self.clone() }
    }
}

/// Why a caller is not an agent that may act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAnAgent {
    /// Nothing was presented.
    #[error(
        "this call is for attested node agents, and no certificate was presented; connect with an agent's X.509-SVID"
    )]
    Anonymous,
    /// The connection proves no SPIFFE ID.
    #[error(
        "caller is not an agent: this call is for attested node agents; connect with an agent's X.509-SVID"
    )]
    NoSvid,
    /// Nobody of that ID is attested here.
    #[error("agent {0} is not attested here, or was evicted; attest it again")]
    NotAttested(SpiffeId),
    /// Its SVID has expired.
    #[error("the SVID of agent {0} is expired; attest it again")]
    Expired(SpiffeId),
    /// It holds an SVID that a later one replaced.
    #[error(
        "agent {id} is expected to hold the SVID {expected}, and presents {found}: a newer one was used already"
    )]
    NotActive {
        /// The agent.
        id: SpiffeId,
        /// The serial of its newest SVID.
        expected: String,
        /// The serial of the one presented.
        found: String,
    },
    /// An admin shut it out.
    #[error("agent {0} is banned; an admin lifts this by deleting the agent")]
    Banned(SpiffeId),
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn svid(serial: &str) -> AgentSvid {
        AgentSvid { serial: serial.to_owned(), not_after: SystemTime::UNIX_EPOCH }
    }

    pub(crate) fn agent(path: &str) -> Agent {
        Agent {
            id: SpiffeId::parse(&format!("spiffe://example.org{path}")).unwrap(),
            attestation_type: "join_token".to_owned(),
            svid: svid("1"),
            previous: None,
            selectors: BTreeSet::new(),
            banned: false,
            can_reattest: false,
            version: String::new(),
            bundle_sequence: 0,
            attested_at: SystemTime::UNIX_EPOCH,
            revision: 0,
        }
    }

    #[test]
    fn accepts_the_newest_and_until_its_first_use_the_one_before() {
        let agent = agent("/spire/agent/a");
        assert_eq!(agent.standing("1"), Ok(Standing::Settled));
        let renewed = agent.renewed("1", svid("2"));
        assert_eq!(renewed.standing("1"), Ok(Standing::Settled));
        assert_eq!(renewed.standing("2"), Ok(Standing::FirstUse));
        let settled = renewed.settled();
        assert_eq!(settled.standing("2"), Ok(Standing::Settled));
        assert!(matches!(settled.standing("1"), Err(NotAnAgent::NotActive { .. })));
    }

    #[test]
    fn keeps_what_the_caller_holds_when_two_answers_are_lost() {
        let agent = agent("/spire/agent/a").renewed("1", svid("2")).renewed("1", svid("3"));
        assert_eq!(agent.standing("1"), Ok(Standing::Settled));
        assert_eq!(agent.standing("3"), Ok(Standing::FirstUse));
        assert!(matches!(agent.standing("2"), Err(NotAnAgent::NotActive { .. })), "nobody received it");
    }

    #[test]
    fn refuses_a_banned_agent_whatever_it_holds() {
        let agent = Agent { banned: true, ..agent("/spire/agent/a") };
        assert!(matches!(agent.standing("1"), Err(NotAnAgent::Banned(_))));
        assert!(matches!(agent.standing("9"), Err(NotAnAgent::Banned(_))));
    }
}
