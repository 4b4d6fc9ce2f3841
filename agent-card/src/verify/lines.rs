//! The lines of a report while the checks are being made.

use super::report::{Check, CheckName, CheckStatus, Outcome};
use crate::canonical::cut;

/// How long the text of a line becomes, in characters: some of it was written by whoever made the card.
pub(super) const MAX_DETAIL: usize = 1000;

/// The lines so far, and the class of the first failure in the order of [`CheckName::ALL`].
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<Line>);

#[derive(Debug)]
struct Line {
    check: Check,
    class: Option<Outcome>,
}

impl Lines {
    pub(super) fn ok(&mut self, name: CheckName, detail: impl Into<String>) {
        self.push(name, CheckStatus::Ok, detail.into(), None);
    }

    pub(super) fn not_checked(&mut self, name: CheckName, why: impl Into<String>) {
        self.push(name, CheckStatus::NotChecked, why.into(), None);
    }

    pub(super) fn failed(&mut self, name: CheckName, class: Outcome, why: impl Into<String>) {
        self.push(name, CheckStatus::Failed, why.into(), Some(class));
    }

    fn push(&mut self, name: CheckName, status: CheckStatus, detail: String, class: Option<Outcome>) {
        let detail = if detail.len() > MAX_DETAIL { cut(&detail, MAX_DETAIL) } else { detail };
        self.0.push(Line { check: Check { name, status, detail }, class });
    }

    /// All lines in order, those that were never reached among them, and the class of the whole.
    pub(super) fn finish(mut self) -> (Vec<Check>, Outcome) {
        let mut checks = Vec::with_capacity(CheckName::ALL.len());
        let mut outcome = Outcome::Valid;
        for name in CheckName::ALL {
            match self.0.iter().position(|line| line.check.name == name) {
                Some(position) => {
                    let line = self.0.swap_remove(position);
                    if let (Outcome::Valid, Some(class)) = (outcome, line.class) {
                        outcome = class;
                    }
                    checks.push(line.check);
                }
                None => checks.push(Check {
                    name,
                    status: CheckStatus::NotChecked,
                    detail: "an earlier check failed".to_owned(),
                }),
            }
        }
        (checks, outcome)
    }
}
