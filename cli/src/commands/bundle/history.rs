//! `secctl bundle history|diff|rollback|release`: what was in force, and going back to it.

use bundle_service::{
    admin::wire::{
        ChoiceAnswer, HistoryAnswer, HistoryEntry, ReleaseRequest, RollbackRequest, StandingPin, Target,
    },
    history::Member,
    policy::ResourceKey,
    tiers::TierKey,
};
use clap::Args;
use secplane_identity::SpiffeId;
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::difference::Difference;
use crate::{
    bundle_admin::AdminOptions,
    failure::Failure,
    output::{Output, Report, facts, note, rows, visible},
};

/// How many digits of a version are shown.
const SHOWN: usize = 12;

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    of: OfAny,
    #[command(flatten)]
    admin: AdminOptions,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    of: OfAny,
    /// From: a publication's number of a tier, a version of a resource, or a revision of an identity: where bundles end,
    /// any that was served will do
    #[arg(long, value_name = "POINT")]
    from: String,
    /// To; what came last otherwise
    #[arg(long, value_name = "POINT")]
    to: Option<String>,
    #[command(flatten)]
    admin: AdminOptions,
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    #[command(flatten)]
    of: OfAny,
    /// To what: a publication's number of a tier, or a version of a resource; of an identity, a publication's number of
    /// its client tier, or a revision of its bundle, of which the client tier comes back
    #[arg(long, value_name = "POINT")]
    to: String,
    /// Why: it is kept in the history and shown to the policy's author
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    admin: AdminOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ReleaseArgs {
    #[command(flatten)]
    of: OfAny,
    /// Why: it is kept in the history
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    admin: AdminOptions,
}

#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
struct OfAny {
    /// An identity: all its tiers to look at, its client tier alone to go back
    #[arg(long, value_name = "ID")]
    identity: Option<SpiffeId>,
    /// A tier: global, namespace/NAMESPACE or client/NAMESPACE/CLIENT
    #[arg(long, value_name = "TIER")]
    tier: Option<TierKey>,
    /// A resource
    #[arg(long, value_name = "NAMESPACE/NAME")]
    resource: Option<ResourceKey>,
}

impl OfAny {
    fn target(&self) -> Result<Target, Failure> {
        let identity = self.identity.clone().map(Target::Identity);
        let tier = self.tier.clone().map(Target::Tier);
        let target = identity.or(tier).or_else(|| self.resource.clone().map(Target::Resource));
        target.ok_or_else(nothing_named)
    }
}

fn nothing_named() -> Failure {
    Failure::usage("look back", "nothing is named").remedy("give --tier, --resource or --identity")
}

pub(super) async fn history(output: Output, args: &HistoryArgs) -> Result<(), Failure> {
    let answer = args.admin.admin().history(&args.of.target()?).await?;
    output.report(&Told(answer))
}

pub(super) async fn diff(output: Output, args: &DiffArgs) -> Result<(), Failure> {
    let (admin, of) = (args.admin.admin(), args.of.target()?);
    let to = match &args.to {
        Some(to) => to.clone(),
        None => last(&of, &admin.history(&of).await?)?,
    };
    let (before, after) = (admin.snapshot(&of, &args.from).await?, admin.snapshot(&of, &to).await?);
    output.report(&Difference::between(args.from.clone(), to, &before, &after))
}

/// The last point of a history.
fn last(of: &Target, history: &HistoryAnswer) -> Result<String, Failure> {
    let nothing = || Failure::refused("compare with what came last", "nothing of it is in the history");
    let entry = history.entries.last().ok_or_else(nothing)?;
    match of {
        Target::Tier(_) => Ok(entry.published.number.to_string()),
        Target::Resource(_) => {
            // What is gone or left out had a last version all the same.
            let mut latest_first = history.entries.iter().rev();
            let member = latest_first.find_map(|entry| entry.published.members.first());
            member.map(|member| member.version.to_string()).ok_or_else(nothing)
        }
        Target::Identity(_) => entry.revision.map(|revision| revision.to_string()).ok_or_else(nothing),
    }
}

pub(super) async fn roll_back(output: Output, args: &RollbackArgs) -> Result<(), Failure> {
    let request = RollbackRequest { of: args.of.target()?, to: args.to.clone(), reason: args.reason.clone() };
    chosen(output, args.admin.admin().roll_back(&request).await?)
}

pub(super) async fn release(output: Output, args: &ReleaseArgs) -> Result<(), Failure> {
    let request = ReleaseRequest { of: args.of.target()?, reason: args.reason.clone() };
    chosen(output, args.admin.admin().release(&request).await?)
}

fn chosen(output: Output, answer: ChoiceAnswer) -> Result<(), Failure> {
    if !answer.durable {
        note("WARNING: it is in force, but not on disk: a restart of the service forgets it");
    }
    for key in &answer.missing {
        note(format_args!(
            "WARNING: {key} was in force then and is in no source any more; it does not come back"
        ));
    }
    output.report(&Chosen(answer))
}

pub(super) fn at(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let time = OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|time| time.format(&Rfc3339).ok());
    time.unwrap_or_else(|| seconds.to_string())
}

#[derive(Serialize)]
#[serde(transparent)]
struct Told(HistoryAnswer);

impl Report for Told {
    fn table(&self) -> String {
        let row = |entry: &HistoryEntry| {
            let HistoryEntry { published, revision, served } = entry;
            let members = published.members.iter();
            let members = members.map(|member| {
                let Member { resource, version, origin, commit } = member;
                let commit = commit.as_ref().map(|commit| format!(", {commit}")).unwrap_or_default();
                format!("{resource} {version:.SHOWN$} ({origin}{commit})")
            });
            let members: Vec<String> = members.collect();
            let state = match &published.denied {
                Some(reason) => format!("denies: {reason}"),
                None if members.is_empty() => "nothing".to_owned(),
                None => members.join("\n"),
            };
            let revision = revision.map(|revision| format!("{revision:.SHOWN$}")).unwrap_or_default();
            let served = served.as_ref().map(|served| {
                format!("\nserved as {:.SHOWN$}\nuntil {}", served.revision, at(served.not_after))
            });
            let revision = revision + &served.unwrap_or_default();
            [
                at(published.at),
                published.tier.to_string(),
                published.number.to_string(),
                state,
                revision,
                published.causes.join("\n"),
            ]
        };
        let heading = ["WHEN", "TIER", "NUMBER", "IN FORCE", "REVISION", "WHY"];
        let history = rows(heading, self.0.entries.iter().map(row), "nothing came into force that is kept");
        let pins = pins(&self.0.pins);
        if pins.is_empty() {
            return history;
        }
        format!(
            "{history}\n\n{pins}\n\nSo it is on {}; each replica of the service has choices of its own.",
            self.0.replica
        )
    }
}

fn pins(pins: &[StandingPin]) -> String {
    let line = |pin: &StandingPin| match &pin.to {
        Some(to) => {
            format!(
                "{}: {to:.SHOWN$} instead of {:.SHOWN$}, by {}",
                pin.resource,
                pin.instead_of,
                visible(&pin.by)
            )
        }
        None => format!("{}: left out, by {}", pin.resource, visible(&pin.by)),
    };
    pins.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[derive(Serialize)]
#[serde(transparent)]
struct Chosen(ChoiceAnswer);

impl Report for Chosen {
    fn table(&self) -> String {
        let tiers = self.0.tiers.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let replica = format!("{}, and no other replica of the service", self.0.replica);
        facts([("Tiers built anew", tiers), ("Not the newest", pins(&self.0.pins)), ("Holds on", replica)])
    }
}

#[cfg(test)]
mod tests {
    use bundle_service::history::Published;

    use super::*;

    fn entry(number: u64, members: Vec<Member>) -> HistoryEntry {
        let (tier, causes) = (TierKey::Global, Vec::new());
        let published =
            Published { at: 0, tier, number, digest: None, denied: None, members, causes, tests: None };
        HistoryEntry { published, revision: None, served: None }
    }

    #[test]
    fn compares_what_is_gone_by_its_last_version() {
        let version = "0".repeat(64);
        let key: ResourceKey = "a/p".parse().unwrap();
        let origin = "a.yaml".into();
        let member =
            Member { resource: key.clone(), version: version.parse().unwrap(), origin, commit: None };
        let entries = vec![entry(1, vec![member]), entry(2, Vec::new())];
        let history = HistoryAnswer { entries, pins: Vec::new(), replica: String::new() };
        assert_eq!(last(&Target::Resource(key), &history).ok(), Some(version));
    }

    #[test]
    fn tells_when() {
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert!(!at(u64::MAX).is_empty());
    }
}
