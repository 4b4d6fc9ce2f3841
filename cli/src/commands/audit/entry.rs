//! Entries of the audit log, as they are shown.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use clap::Args;
use prost::Message;
use secplane_proto::secplane::ca::v1::{AuditEntry, AuditOutcome, AuditRecord};
use serde::Serialize;

use crate::{
    failure::{Failure, Kind},
    output::{Instant, Report, rows, visible},
};

/// Which entries are shown.
#[derive(Debug, Default, Args)]
pub(super) struct Filter {
    /// Only actions that begin with this, such as `certificate.`
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only what was done by actors that begin with this
    #[arg(long, value_name = "ACTOR")]
    actor: Option<String>,
    /// Only what was done to exactly this
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
}

impl Filter {
    pub(super) fn passes(&self, entry: &EntryReport) -> bool {
        let begins = |wanted: &Option<String>, text: &str| {
            wanted.as_ref().is_none_or(|wanted| text.starts_with(wanted.as_str()))
        };
        begins(&self.action, &entry.action)
            && begins(&self.actor, &entry.actor)
            && self.target.as_ref().is_none_or(|target| *target == entry.target)
    }
}

/// One entry.
#[derive(Debug, Serialize)]
pub(super) struct EntryReport {
    pub(super) log: String,
    pub(super) index: u64,
    at: Instant,
    action: String,
    actor: String,
    address: String,
    target: String,
    outcome: &'static str,
    details: BTreeMap<String, String>,
}

impl EntryReport {
    pub(super) fn read(entry: AuditEntry) -> Result<Self, Failure> {
        let record = AuditRecord::decode(entry.leaf.as_slice()).map_err(|error| {
            let what = format!("read entry {} of the audit log {}", entry.index, entry.log_id);
            Failure::new(Kind::CheckFailed, what, format_args!("it is no audit record: {error}"))
                .remedy("verify the log: `secctl audit verify`")
        })?;
        let millis = u64::try_from(record.time).unwrap_or(0);
        let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis));
        Ok(Self {
            log: entry.log_id,
            index: entry.index,
            at: at.unwrap_or(SystemTime::UNIX_EPOCH).into(),
            outcome: match record.outcome() {
                AuditOutcome::Done => "done",
                AuditOutcome::Denied => "denied",
                AuditOutcome::Failed => "failed",
                AuditOutcome::Unspecified => "unknown",
            },
            action: record.action,
            actor: record.actor,
            address: record.address,
            target: record.target,
            details: record.details,
        })
    }

    /// Who, and where from if that is known beside.
    fn who(&self) -> String {
        match self.address.as_str() {
            "" => self.actor.clone(),
            address => format!("{} from {address}", self.actor),
        }
    }

    fn details(&self) -> String {
        self.details.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
    }
}

/// One line, as `tail` shows it.
impl Report for EntryReport {
    fn table(&self) -> String {
        let parts = [
            &self.at.to_string(),
            &format!("{}#{}", self.log, self.index),
            &self.action,
            self.outcome,
            &self.target,
            &format!("by {}", self.who()),
            &self.details(),
        ]
        .map(|part: &str| visible(part).replace('\n', "\\n"));
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ")
    }
}

/// Entries of one log, oldest first.
#[derive(Debug, Serialize)]
pub(super) struct EntryList {
    pub(super) log: String,
    pub(super) entries: Vec<EntryReport>,
}

impl Report for EntryList {
    fn table(&self) -> String {
        rows(
            ["INDEX", "AT", "ACTION", "OUTCOME", "TARGET", "ACTOR", "DETAILS"],
            self.entries.iter().map(|entry| {
                [
                    entry.index.to_string(),
                    entry.at.to_string(),
                    entry.action.clone(),
                    entry.outcome.to_owned(),
                    entry.target.replace('\n', "\\n"),
                    entry.who(),
                    entry.details().replace('\n', "\\n"),
                ]
            }),
            "no entries",
        )
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn entry(target: &str) -> EntryReport {
        let record = AuditRecord {
            time: 1_700_000_000_123,
            action: "entry.create".into(),
            actor: "spiffe://example.org/admin".into(),
            address: "192.0.2.7:4711".into(),
            target: target.into(),
            outcome: AuditOutcome::Done.into(),
            details: [("count".to_owned(), "3".to_owned())].into(),
        };
        let entry = AuditEntry { log_id: "r1".into(), index: 42, leaf: record.encode_to_vec() };
        EntryReport::read(entry).unwrap()
    }

    #[test]
    fn shows_an_entry_on_one_line() {
        assert_eq!(
            entry("a\nb\u{1b}[2J").table(),
            "2023-11-14T22:13:20Z  r1#42  entry.create  done  a\\nb\\u{1b}[2J  by spiffe://example.org/admin from \
             192.0.2.7:4711  count=3"
        );
    }

    #[rstest]
    #[case(Filter::default(), true)]
    #[case(Filter { action: Some("entry.".into()), ..Filter::default() }, true)]
    #[case(Filter { action: Some("certificate.".into()), ..Filter::default() }, false)]
    #[case(Filter { actor: Some("spiffe://example.org".into()), ..Filter::default() }, true)]
    #[case(Filter { target: Some("a".into()), ..Filter::default() }, true)]
    #[case(Filter { target: Some("b".into()), ..Filter::default() }, false)]
    fn filters(#[case] filter: Filter, #[case] passes: bool) {
        assert_eq!(filter.passes(&entry("a")), passes);
    }

    #[test]
    fn names_an_entry_that_is_no_record() {
        let entry = AuditEntry { log_id: "r1".into(), index: 7, leaf: vec![0xff] };
        let failure = EntryReport::read(entry).unwrap_err();
        assert_eq!(failure.kind(), Kind::CheckFailed);
        assert!(failure.to_string().contains("entry 7"), "{failure}");
    }
}
