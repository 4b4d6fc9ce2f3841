//! Commits that an earlier one of the same batch has outrun: they name an agent's row as it stood before.
//!
//! The database would refuse them, and with them everybody who shares their transaction; to find one of many among them
//! takes as many transactions as halving does. Who they are can be told beforehand.

use std::collections::HashMap;

use super::Pending;
use crate::store::change::Change;

/// Parts those that can be made together from those that were outrun. Both keep their order.
pub(super) fn part(batch: Vec<Pending>) -> (Vec<Pending>, Vec<Pending>) {
    let mut are_outrun = are_outrun(&batch).into_iter();
    let (behind, together) = batch.into_iter().partition(|_| are_outrun.next().unwrap_or(false));
    (together, behind)
}

fn are_outrun(batch: &[Pending]) -> Vec<bool> {
    let mut rows = Rows::default();
    batch.iter().map(|(commit, _)| !rows.take_in(&commit.changes)).collect()
}

/// The MACs of the agents' rows that the batch has made so far; `None` where it removed one. Of other rows only the
/// database knows.
#[derive(Default)]
struct Rows<'a>(HashMap<&'a str, Option<&'a [u8]>>);

impl<'a> Rows<'a> {
    /// Takes in what a commit changes, unless it was outrun. Answers whether it did.
    fn take_in(&mut self, changes: &'a [Change]) -> bool {
        let mut made: HashMap<&'a str, Option<&'a [u8]>> = HashMap::new();
        for change in changes {
            // What the row has to be, and what becomes of it.
            let (agent, named, becomes) = match change {
                Change::HoldAgent { spiffe_id, mac } => (spiffe_id, Some(mac), None),
                Change::ReplaceAgent { row, old_mac } => {
                    (&row.spiffe_id, Some(old_mac), Some(Some(&row.mac)))
                }
                Change::DeleteAgent { spiffe_id, old_mac } => (spiffe_id, Some(old_mac), Some(None)),
                Change::AddAgent(row) => (&row.spiffe_id, None, Some(Some(&row.mac))),
                _ => continue,
            };
            let agent = agent.as_str();
            let stands = made.get(agent).or_else(|| self.0.get(agent));
            if let (Some(named), Some(stands)) = (named, stands)
                && *stands != Some(named.as_slice())
            {
                return false;
            }
            if let Some(mac) = becomes {
                made.insert(agent, mac.map(Vec::as_slice));
            }
        }
        self.0.extend(made);
        true
    }
}
