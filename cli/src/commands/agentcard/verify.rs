//! `secctl agentcard verify`.

use std::time::{Duration, SystemTime};

use clap::Args;
use secplane_agent_card::{AgentCard, VerifyOptions, verify, verify_bytes};
use secplane_identity::SpiffeId;
use secplane_proto::secplane::ca::v1::VerifyAgentCardRequest;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Form, card_file, key_sets::KeySetArgs, report::CardReport, trust::TrustArgs, web::WebRoots};
use crate::{
    failure::{Failure, Kind},
    output::Output,
};

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The card (JSON): a file, `-` for standard input, or an http(s) URL
    #[arg(value_name = "FILE|URL")]
    card: String,
    /// FILE is a Kubernetes ConfigMap with the card under `agent-card.json`
    #[arg(long)]
    from_configmap: bool,
    #[command(flatten)]
    expected: Expectations,
    /// Let the CA verify it, by the trust bundles and revocations that it has
    #[arg(long, conflicts_with_all = ["crl", "key_set", "allow_jku"])]
    via_ca: bool,
    #[command(flatten)]
    key_sets: KeySetArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    web_roots: WebRoots,
}

/// What a card must be, beside right.
#[derive(Debug, Clone, Args)]
pub(super) struct Expectations {
    /// The SPIFFE ID that must have signed it; anyone of a trusted domain otherwise
    #[arg(long, alias = "expect", value_name = "ID")]
    pub(super) expect_id: Option<SpiffeId>,
    /// As of when, in RFC 3339; now otherwise
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub(super) at: Option<SystemTime>,
    /// Accept only this canonical form
    #[arg(long, alias = "form", value_name = "FORM")]
    pub(super) canonicalization: Option<Form>,
    /// Accept a signature that leaves members of the card uncovered
    #[arg(long)]
    pub(super) accept_uncovered: bool,
}

fn instant(text: &str) -> Result<SystemTime, String> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map(SystemTime::from)
        .map_err(|_| "a time is written like 2026-01-31T12:00:00Z".to_owned())
}

pub(super) async fn run(output: Output, args: &VerifyArgs) -> Result<(), Failure> {
    if args.card == "-" && args.trust.ca.identity.trust_bundle.as_deref().is_some_and(|path| path == "-") {
        return Err(Failure::usage(
            "read the card",
            "the card and the trust bundle cannot both be standard input",
        ));
    }
    let bytes = card_file::read(&args.card, args.from_configmap, &args.web_roots).await?;
    let report =
        if args.via_ca { verify_via_ca(args, bytes).await? } else { verify_here(args, &bytes).await? };
    output.report(&report)?;
    report.verdict(format!("accept the card `{}`", args.card))
}

async fn verify_here(args: &VerifyArgs, bytes: &[u8]) -> Result<CardReport, Failure> {
    let trust = args.trust.load().await?;
    let options = VerifyOptions {
        expected_id: args.expected.expect_id.as_ref(),
        trust_domain: args.trust.trust_domain(),
        canonicalization: args.expected.canonicalization.map(Into::into),
        accept_uncovered: args.expected.accept_uncovered,
        revocations: trust.revocations.for_verification(),
        ..VerifyOptions::new(&trust.bundles, args.expected.at.unwrap_or_else(SystemTime::now))
    };
    let Ok(card) = AgentCard::parse(bytes) else { return Ok(verify_bytes(bytes, &options).into()) };
    let key_sets = args.key_sets.load(&card, &args.web_roots).await?;
    Ok(verify(&card, &VerifyOptions { key_sets: Some(&key_sets), ..options }).into())
}

async fn verify_via_ca(args: &VerifyArgs, card: Vec<u8>) -> Result<CardReport, Failure> {
    let what = "have the CA verify the card";
    let form = args.expected.canonicalization.map(secplane_agent_card::Canonicalization::from);
    let request = VerifyAgentCardRequest {
        card,
        expected_id: args.expected.expect_id.as_ref().map(ToString::to_string).unwrap_or_default(),
        trust_domain: args.trust.trust_domain().map(ToString::to_string).unwrap_or_default(),
        at: args.expected.at.map(|at| unix(at, what)).transpose()?,
        canonicalization: form.map(|form| form.to_string()).unwrap_or_default(),
        accept_uncovered: args.expected.accept_uncovered,
    };
    let answer = args.trust.ca.connect().await?.agent_cards().verify(request).await;
    let answer = answer.map_err(|status| Failure::from_status(what, &status))?;
    Ok(answer.into_inner().into())
}

fn unix(at: SystemTime, what: &str) -> Result<i64, Failure> {
    let since: Option<Duration> = at.duration_since(SystemTime::UNIX_EPOCH).ok();
    since.and_then(|since| i64::try_from(since.as_secs()).ok()).ok_or_else(|| {
        Failure::new(Kind::Usage, what, "a time before 1970 is not one that a certificate was valid at")
    })
}
