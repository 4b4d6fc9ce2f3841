//! `secctl policy eval`: one request, decided by the bundle of an identity.

use std::path::{Path, PathBuf};

use bundle_service::compile::Archive;
use clap::Args;
use secplane_identity::SpiffeId;
use serde::Serialize;
use serde_json::Value;

use super::{ServiceOptions, built};
use crate::{
    commands::bundle::read_archive,
    decision::{Decision, DecisionPoint, decide},
    failure::{Failure, Kind},
    files,
    output::{Output, Report, note, visible},
};

/// The largest input document.
const MAX_INPUT_BYTES: usize = 8 * 1024 * 1024;

#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    /// Compile the bundle from the manifests below this folder
    #[arg(long, value_name = "DIR", requires = "spiffe_id", required_unless_present = "bundle")]
    policies: Option<PathBuf>,
    /// The identity whose bundle it is
    #[arg(long, value_name = "ID", conflicts_with = "bundle")]
    spiffe_id: Option<SpiffeId>,
    /// Use this bundle's archive, as `secctl bundle pull` writes it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["policies", "config"])]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    service: ServiceOptions,
    /// Where the decision is made
    #[arg(long, value_name = "POINT")]
    decision: DecisionPoint,
    /// The input document (JSON) that a sidecar would send; `-` for standard input
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// End with status 7 when the request is denied
    #[arg(long)]
    fail: bool,
}

pub(super) fn eval(output: Output, args: &EvalArgs) -> Result<(), Failure> {
    let bundle = match (&args.bundle, &args.policies, &args.spiffe_id) {
        (Some(file), _, _) => read_archive(file)?,
        (None, Some(folder), Some(id)) => compiled_in(folder, id, &args.service)?,
        _ => {
            return Err(Failure::usage("decide", "no bundle is given")
                .remedy("give --bundle FILE, or --policies DIR with --spiffe-id ID"));
        }
    };
    let text = files::read_text(&args.input, MAX_INPUT_BYTES)?;
    let input: Value = serde_json::from_str(&text)
        .map_err(|error| Failure::refused(format!("read the input `{}`", args.input.display()), error))?;
    let Decision { allow, reason, missing_builtins, opa_may_differ } =
        decide(&bundle, args.decision, &input)?;
    if !missing_builtins.is_empty() {
        note(format_args!(
            "note: this engine lacks {}; a rule that calls it fails here and may hold at a sidecar",
            missing_builtins.join(", ")
        ));
    }
    if !opa_may_differ.is_empty() {
        note("WARNING: at a sidecar the decision may differ from the one printed here");
        opa_may_differ.iter().for_each(|place| note(visible(&format!("WARNING: {place}"))));
    }
    let result = if allow { Verdict::Allow } else { Verdict::Deny };
    let decided = DecidedRequest { decision: args.decision, result, reason: reason.clone(), opa_may_differ };
    output.report(&decided)?;
    if allow || !args.fail {
        return Ok(());
    }
    let why = reason.unwrap_or_else(|| "the policy gives no reason".to_owned());
    Err(Failure::new(Kind::CheckFailed, format!("allow the request at {}", args.decision), why))
}

/// The bundle that the service would serve to an identity, read back.
fn compiled_in(folder: &Path, id: &SpiffeId, options: &ServiceOptions) -> Result<Archive, Failure> {
    let bytes = built(folder, id, options)?;
    Archive::read(&bytes)
        .map_err(|error| Failure::new(Kind::Other, format!("read the bundle of {id}"), error))
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Allow,
    Deny,
}

#[derive(Serialize)]
struct DecidedRequest {
    decision: DecisionPoint,
    result: Verdict,
    reason: Option<String>,
    /// Where in the policies OPA may take something otherwise; empty when no such place is known.
    opa_may_differ: Vec<secplane_rego::Refusal>,
}

impl Report for DecidedRequest {
    fn table(&self) -> String {
        let result = match self.result {
            Verdict::Allow => "allow",
            Verdict::Deny => "deny",
        };
        match &self.reason {
            Some(reason) => format!("{result}: {}", visible(reason)),
            None => result.to_owned(),
        }
    }
}
