//! Rows that somebody put back: deleted ones, and changed ones as they were before.
//!
//! The authority wrote each of them, and their MAC says no more than that. What was done last stands in the audit logs, all
//! of which are read: too much for a start, but not for an examination.

use std::collections::{HashMap, hash_map};

use prost::Message;
use secplane_proto::secplane::ca::{
    store::v1::AgentBody,
    v1::{AuditOutcome, AuditRecord},
};

use super::Finding;
use crate::audit::Action;

const CHECK: &str = "played back";
/// How many rows are named.
const NAMED: usize = 8;

const ENTRY_CREATE: &str = Action::EntryCreate.as_str();
const ENTRY_UPDATE: &str = Action::EntryUpdate.as_str();
const ENTRY_DELETE: &str = Action::EntryDelete.as_str();
const AGENT_ATTEST: &str = Action::AgentAttest.as_str();
const AGENT_BAN: &str = Action::AgentBan.as_str();
const AGENT_EVICT: &str = Action::AgentEvict.as_str();

/// What the audit logs tell last of each entry and each agent. Nothing of those that are older than the logs.
#[derive(Default)]
pub(super) struct LastTold {
    entries: HashMap<String, Told>,
    agents: HashMap<String, Told>,
}

struct Told {
    /// In which log.
    log: usize,
    /// Unix milliseconds, by the clock of whoever wrote that log.
    time: i64,
    state: State,
}

enum State {
    /// An entry with this revision, or an agent.
    Stands(i64),
    Banned,
    Gone,
}

impl LastTold {
    /// Takes in the next record of a log. Each log is taken in its own order, and one after another.
    pub(super) fn take(&mut self, log: usize, leaf: &[u8]) {
        // What is no record is found by `secctl audit verify`.
        let Ok(record) = AuditRecord::decode(leaf) else { return };
        if record.outcome() != AuditOutcome::Done {
            return;
        }
        let (table, state) = match record.action.as_str() {
            ENTRY_CREATE => (&mut self.entries, State::Stands(0)),
            ENTRY_UPDATE => {
                let revision = record.details.get("revision").and_then(|text| text.parse().ok());
                let Some(revision) = revision else { return };
                (&mut self.entries, State::Stands(revision))
            }
            ENTRY_DELETE => (&mut self.entries, State::Gone),
            AGENT_ATTEST => (&mut self.agents, State::Stands(0)),
            AGENT_BAN => (&mut self.agents, State::Banned),
            AGENT_EVICT => (&mut self.agents, State::Gone),
            _ => return,
        };
        let told = Told { log, time: record.time, state };
        match table.entry(record.target) {
            hash_map::Entry::Vacant(place) => {
                place.insert(told);
            }
            // A log has an order, whatever the clock did; between logs there is only the time.
            hash_map::Entry::Occupied(mut before) => {
                if before.get().log == told.log || before.get().time <= told.time {
                    before.insert(told);
                }
            }
        }
    }

    /// Whether an entry was deleted, or has been changed since it had this revision.
    pub(super) fn is_past_entry(&self, id: &str, revision: i64) -> bool {
        self.entries.get(id).is_some_and(|told| match told.state {
            State::Stands(newest) => revision < newest,
            State::Banned | State::Gone => true,
        })
    }

    /// Whether an agent was evicted, or is banned and its row says that it is not.
    pub(super) fn is_past_agent(&self, spiffe_id: &str, body: &[u8]) -> bool {
        // A row that is none is refused by the daemon.
        let Ok(body) = AgentBody::decode(body) else { return false };
        self.agents.get(spiffe_id).is_some_and(|told| match told.state {
            State::Stands(_) => false,
            State::Banned => !body.banned,
            State::Gone => true,
        })
    }
}

/// What the IDs of entries, and the SPIFFE IDs of agents, come to whose rows were put back.
pub(super) fn finding(entries: &[String], agents: &[String]) -> Finding {
    let rows = entries.len() + agents.len();
    if rows == 0 {
        return Finding::ok(CHECK, "entries and agents are as the audit log tells last");
    }
    let entries = entries.iter().map(|id| format!("entry {id}"));
    let agents = agents.iter().map(|id| format!("agent {id}"));
    let mut named: Vec<_> = entries.chain(agents).take(NAMED).collect();
    if rows > NAMED {
        named.push(format!("{} more", rows - NAMED));
    }
    Finding::fail(
        CHECK,
        format!(
            "{rows} rows were put back that the audit log tells were deleted or changed: {}. Find out who did it; \
             `secctl entry delete` and `secctl agent evict` delete them",
            named.join(", ")
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::{audit::Event, operations::doctor::Verdict};

    /// What is told of `x` by one log, a second each.
    fn told(events: &[(Action, &str)]) -> LastTold {
        let mut last = LastTold::default();
        take(&mut last, 0, 0, events);
        last
    }

    fn take(last: &mut LastTold, log: usize, begin: u64, events: &[(Action, &str)]) {
        for (second, (action, revision)) in (begin..).zip(events) {
            let event = Event::by_daemon(*action, "x").with("revision", *revision);
            last.take(log, &event.encode(SystemTime::UNIX_EPOCH + Duration::from_secs(second)));
        }
    }

    fn agent(banned: bool) -> Vec<u8> {
        AgentBody { banned, ..AgentBody::default() }.encode_to_vec()
    }

    #[test]
    fn knows_an_entry_by_what_was_done_last() {
        let (create, update) = ((Action::EntryCreate, ""), |revision| (Action::EntryUpdate, revision));
        let delete = (Action::EntryDelete, "");
        assert!(!told(&[]).is_past_entry("x", 0), "it is older than the log");
        assert!(!told(&[create]).is_past_entry("x", 0));
        assert!(told(&[create, update("1"), update("2")]).is_past_entry("x", 1));
        assert!(!told(&[create, update("1"), update("2")]).is_past_entry("x", 2));
        assert!(told(&[create, update("1"), delete]).is_past_entry("x", 1));
        assert!(!told(&[create, update("1"), delete, create]).is_past_entry("x", 0), "created again");
        assert!(!told(&[delete]).is_past_entry("y", 0), "another one");
    }

    #[test]
    fn knows_an_agent_by_what_was_done_last() {
        let (attest, ban, evict) =
            ((Action::AgentAttest, ""), (Action::AgentBan, ""), (Action::AgentEvict, ""));
        assert!(!told(&[attest]).is_past_agent("x", &agent(false)));
        assert!(told(&[attest, ban]).is_past_agent("x", &agent(false)));
        assert!(!told(&[attest, ban]).is_past_agent("x", &agent(true)));
        assert!(told(&[attest, ban, evict]).is_past_agent("x", &agent(true)));
    }

    #[test]
    fn takes_no_account_of_what_was_not_done() {
        let mut last = told(&[(Action::EntryCreate, "")]);
        let denied = Event::by_daemon(Action::EntryDelete, "x").denied("not an admin");
        last.take(0, &denied.encode(SystemTime::UNIX_EPOCH + Duration::from_secs(9)));
        last.take(0, b"\xff");
        assert!(!last.is_past_entry("x", 0));
    }

    #[test]
    fn puts_the_logs_of_replicas_together_by_time() {
        let (create, delete) = ([(Action::EntryCreate, "")], [(Action::EntryDelete, "")]);
        for (deleted_at, is_past) in [(4, false), (6, true)] {
            for order in [[0, 1], [1, 0]] {
                let mut last = LastTold::default();
                for log in order {
                    let (at, events) = [(5, &create), (deleted_at, &delete)][log];
                    take(&mut last, log, at, events);
                }
                assert_eq!(last.is_past_entry("x", 0), is_past, "{deleted_at} {order:?}");
            }
        }
    }

    #[test]
    fn names_a_few() {
        assert_eq!(finding(&[], &[]).verdict, Verdict::Ok);
        let entries: Vec<_> = (0..NAMED).map(|number| format!("e{number}")).collect();
        let found = finding(&entries, &["a".to_owned()]);
        assert_eq!(found.verdict, Verdict::Fail);
        assert!(found.message.contains("entry e0") && found.message.contains("1 more"), "{}", found.message);
    }
}
