//! `secctl ca rotate`: all the steps of a rotation that are safe, one after another.

use std::time::{Duration, SystemTime};

use clap::Args;
use serde::Serialize;
use tonic::{Code, Status};

use super::steps::{Line, LineOptions, Step, failed};
use crate::{
    failure::Failure,
    output::{Instant, Report, facts, note, shown},
};

/// How long a forced rotation leaves those who watch the trust bundle to hear of the new root.
const PUSH: Duration = Duration::from_secs(2);
/// How often what other replicas have to do first is looked at, and for how long.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const LOOKS: usize = 60;

#[derive(Debug, Args)]
pub(crate) struct RotateArgs {
    /// Also take the old one out of the trust bundle: wait until nothing below it is valid any more, or with --force
    /// do it at once
    #[arg(long)]
    revoke: bool,
    #[command(flatten)]
    line: LineOptions,
}

/// What a rotation did.
#[derive(Serialize)]
pub(super) struct Rotated {
    active: String,
    old: String,
    old_is: &'static str,
    /// From when on it can be revoked, as far as is known now.
    revocable_at: Option<Instant>,
}

impl Report for Rotated {
    fn table(&self) -> String {
        let next = match (self.old_is, self.revocable_at) {
            ("tainted", at) => format!("secctl ca revoke {}, from {} on", self.old, shown(at)),
            _ => String::new(),
        };
        facts([
            ("Active", self.active.clone()),
            ("Before", format!("{}, {}", self.old, self.old_is)),
            ("What is left", next),
        ])
    }
}

pub(super) async fn rotate(args: &RotateArgs) -> Result<Rotated, Failure> {
    let force = args.line.force;
    let mut line = Line::connect(&args.line).await?;
    let next = line.prepare(false).await.map_err(|status| failed("prepare", &status))?.authority_id;
    note(format_args!("prepared {next}: it is in the trust bundle"));
    let old = line.states().await?.active.map(|active| active.authority_id).unwrap_or_default();

    if force {
        tokio::time::sleep(PUSH).await;
    }
    patiently(&mut line, Step::Activate, &next, force).await?;
    note(format_args!("activated {next}: it signs from now on"));
    patiently(&mut line, Step::Taint, &old, force).await?;
    note(format_args!("tainted {old}: whatever it signed is being replaced"));

    let revoked = if args.revoke {
        patiently(&mut line, Step::Revoke, &old, force).await?;
        Ok(())
    } else {
        line.take(Step::Revoke, &old, false).await.map(drop)
    };
    let (old_is, revocable_at) = match revoked {
        Ok(()) => ("revoked", None),
        Err(status) if status.code() == Code::FailedPrecondition => ("tainted", retry_at(&status)),
        Err(status) => return Err(failed("revoke", &status)),
    };
    Ok(Rotated { active: next, old, old_is, revocable_at })
}

/// Takes a step as soon as it is safe.
async fn patiently(line: &mut Line, step: Step, id: &str, force: bool) -> Result<(), Failure> {
    let mut looks = 0;
    let mut told = None;
    loop {
        let refused = match line.take(step, id, force).await {
            Ok(_) => return Ok(()),
            Err(status) if status.code() == Code::FailedPrecondition => status,
            Err(status) => return Err(failed(step.verb(), &status)),
        };
        match retry_at(&refused) {
            Some(at) => {
                if told != Some(at) {
                    note(format_args!("waiting until {at} to {}: {}", step.verb(), refused.message()));
                    told = Some(at);
                }
                let now = Instant::from(SystemTime::now()).unix();
                let left = u64::try_from(at.unix() - now + 1).unwrap_or(1);
                tokio::time::sleep(Duration::from_secs(left.max(1))).await;
            }
            // Other replicas have to follow first, which they do at once or not at all.
            None if looks < LOOKS => {
                looks += 1;
                tokio::time::sleep(LOOK_EVERY).await;
            }
            None => return Err(failed(step.verb(), &refused)),
        }
    }
}

/// From when on the CA will let the call through, if nothing but time is in the way.
fn retry_at(status: &Status) -> Option<Instant> {
    let seconds = status.metadata().get("secplane-retry-at")?.to_str().ok()?.parse().ok()?;
    Instant::from_unix(seconds)
}
