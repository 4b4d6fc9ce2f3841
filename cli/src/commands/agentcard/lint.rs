//! `secctl agentcard lint`.

use std::path::PathBuf;

use clap::Args;
use secplane_agent_card::{AgentCard, Finding, MAX_CARD_BYTES, Severity};
use serde::Serialize;

use crate::{
    failure::{Failure, Kind},
    files,
    output::{Output, Report, rows},
};

#[derive(Debug, Args)]
pub(crate) struct LintArgs {
    /// The card (JSON); `-` for standard input
    #[arg(value_name = "FILE")]
    card: PathBuf,
    /// Fail on warnings too
    #[arg(long)]
    strict: bool,
}

pub(super) fn run(output: Output, args: &LintArgs) -> Result<(), Failure> {
    let what = || format!("call the card `{}` clean", args.card.display());
    let bytes = files::read_bytes(&args.card, MAX_CARD_BYTES)?;
    let card = AgentCard::parse(&bytes).map_err(|error| Failure::refused(what(), error))?;
    let findings = card.lint();
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let warnings = findings.len() - errors;
    output.report(&LintReport { errors, warnings, findings })?;
    if errors > 0 || (args.strict && warnings > 0) {
        let why = format!("{errors} errors and {warnings} warnings were found");
        return Err(Failure::new(Kind::CheckFailed, what(), why));
    }
    Ok(())
}

#[derive(Serialize)]
struct LintReport {
    errors: usize,
    warnings: usize,
    findings: Vec<Finding>,
}

impl Report for LintReport {
    fn table(&self) -> String {
        let lines = self.findings.iter().map(|finding| {
            let member = if finding.member.is_empty() { "(the card)" } else { &finding.member };
            [
                finding.severity.to_string(),
                finding.rule.to_string(),
                member.to_owned(),
                finding.message.clone(),
            ]
        });
        rows(["SEVERITY", "RULE", "MEMBER", "WHAT"], lines, "nothing to say of this card")
    }
}
