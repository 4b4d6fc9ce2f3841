//! `secctl agentcard`: signed A2A AgentCards.

use std::{path::PathBuf, time::SystemTime};

use clap::{Args, Subcommand, ValueEnum};
use secplane_agent_card::{
    AgentCard, Canonicalization, ExistingSignatures, FormsToSign, MAX_CARD_BYTES, SignOptions, Verification,
    VerifyOptions, sign, verify_bytes,
};
use secplane_identity::{SpiffeId, X509Identity};
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    client_identity::{IdentityOptions, from_workload_api},
    failure::{Failure, Kind},
    files::{self, PUBLIC},
    holder_files,
    output::{Instant, Output, Report, facts, rows},
};

/// Signed A2A AgentCards
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  secctl agentcard verify card.json --svid-dir ./web")]
pub(crate) enum AgentCardCommand {
    /// Sign a card with an X.509-SVID; the chain travels in the signature
    ///
    /// Verifiers disagree about what a signature covers. A card of which they do is refused, and what makes the
    /// difference is named; --portable signs it for all of them, --form for one.
    #[command(
        after_help = "Examples:\n  secctl agentcard sign card.json --svid-dir ./web --out signed.json\n  \
                            secctl agentcard sign card.json --workload-api ./secplane-dev/workload.sock \
                            --portable --out signed.json"
    )]
    Sign(SignArgs),
    /// Verify the signatures of a card, every check by itself; exit status 7 when none is valid
    #[command(after_help = "Examples:\n  secctl agentcard verify signed.json --svid-dir ./web\n  secctl \
                            agentcard verify signed.json --trust-bundle bundle.pem --trust-domain \
                            example.org --expect spiffe://example.org/ns/demo/sa/web")]
    Verify(Box<VerifyArgs>),
}

/// A canonical form of a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// The card as it stands.
    Raw,
    /// The text of A2A 1.0.
    Presence,
    /// The Python and JavaScript SDKs.
    Sdk,
    /// The Kagenti operator.
    Kagenti,
}

impl From<Form> for Canonicalization {
    fn from(form: Form) -> Self {
        match form {
            Form::Raw => Self::Raw,
            Form::Presence => Self::Presence,
            Form::Sdk => Self::Sdk,
            Form::Kagenti => Self::Kagenti,
        }
    }
}

/// What becomes of the signatures that a card has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Existing {
    /// They stay.
    Keep,
    /// Those of the same SPIFFE ID are replaced.
    ReplaceOwn,
    /// All are replaced.
    ReplaceAll,
}

#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// The card (JSON); `-` for standard input
    #[arg(value_name = "FILE")]
    card: PathBuf,
    #[command(flatten)]
    signer: SignerOptions,
    /// Sign every form that differs, so that every verifier finds one that it accepts
    #[arg(long, conflicts_with = "form")]
    portable: bool,
    /// Sign this form, whatever the others are
    #[arg(long, value_name = "FORM")]
    form: Option<Form>,
    /// What becomes of the signatures that the card has
    #[arg(long, value_name = "WHAT", default_value = "replace-own")]
    existing: Existing,
    /// The file for the signed card; standard output otherwise
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// As whom to sign.
#[derive(Debug, Args)]
struct SignerOptions {
    /// Sign with the X.509-SVID in this folder (svid.pem, key.pem)
    #[arg(
        long,
        value_name = "DIR",
        required_unless_present = "workload_api",
        conflicts_with = "workload_api"
    )]
    svid_dir: Option<PathBuf>,
    /// Sign with the X.509-SVID that this SPIFFE Workload API socket gives
    #[arg(long, value_name = "SOCKET")]
    workload_api: Option<PathBuf>,
    /// Which of the identities that the Workload API gives
    #[arg(long, value_name = "ID", requires = "workload_api")]
    identity: Option<SpiffeId>,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The card (JSON); `-` for standard input
    #[arg(value_name = "FILE")]
    card: PathBuf,
    /// The SPIFFE ID that must have signed it; anyone of a trusted domain otherwise
    #[arg(long, value_name = "ID")]
    expect: Option<SpiffeId>,
    /// As of when, in RFC 3339; now otherwise
    #[arg(long, value_name = "TIME", value_parser = instant)]
    at: Option<SystemTime>,
    /// Accept only this form
    #[arg(long, value_name = "FORM")]
    form: Option<Form>,
    /// Accept a signature that leaves members of the card uncovered
    #[arg(long)]
    accept_uncovered: bool,
    #[command(flatten)]
    trust: IdentityOptions,
}

fn instant(text: &str) -> Result<SystemTime, String> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map(SystemTime::from)
        .map_err(|_| "a time is written like 2026-01-31T12:00:00Z".to_owned())
}

impl AgentCardCommand {
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        match self {
            Self::Sign(args) => sign_card(output, &args).await,
            Self::Verify(args) => verify_card(output, &args).await,
        }
    }
}

async fn sign_card(output: Output, args: &SignArgs) -> Result<(), Failure> {
    let what = || format!("sign the card `{}`", args.card.display());
    let bytes = files::read_bytes(&args.card, MAX_CARD_BYTES)?;
    let card = AgentCard::parse(&bytes).map_err(|error| Failure::refused(what(), error))?;
    let identity = args.signer.load().await?;
    if SystemTime::now() > identity.leaf().not_after {
        return Err(Failure::refused(what(), "the SVID has expired, and nobody would accept its signature")
            .remedy("get a new one with `secctl svid issue`"));
    }
    let options = SignOptions {
        forms: match (args.portable, args.form) {
            (true, _) => FormsToSign::Portable,
            (false, Some(form)) => FormsToSign::One(form.into()),
            (false, None) => FormsToSign::Agreeing,
        },
        existing: match args.existing {
            Existing::Keep => ExistingSignatures::Keep,
            Existing::ReplaceOwn => ExistingSignatures::ReplaceOwn,
            Existing::ReplaceAll => ExistingSignatures::ReplaceAll,
        },
        ..SignOptions::default()
    };
    let signed = sign(&card, &identity, &options).map_err(|error| Failure::refused(what(), error))?;
    let text = serde_json::to_string_pretty(&signed.to_json())
        .map_err(|error| Failure::new(Kind::Other, what(), error))?;
    match &args.out {
        None => output.text(&format!("{text}\n")),
        Some(path) => {
            files::write(path, format!("{text}\n").as_bytes(), PUBLIC)?;
            output.report(&SignedCard {
                signer: identity.id().clone(),
                expires_at: identity.leaf().not_after.into(),
                signatures: signed.signatures().len(),
                file: path.clone(),
            })
        }
    }
}

impl SignerOptions {
    async fn load(&self) -> Result<X509Identity, Failure> {
        if let Some(folder) = &self.svid_dir {
            return holder_files::read_svid(folder);
        }
        let nobody = || Failure::usage("sign a card", "no SVID is given").remedy("give --svid-dir DIR");
        let socket = self.workload_api.as_ref().ok_or_else(nobody)?;
        from_workload_api(socket, self.identity.as_ref()).await?.identity.ok_or_else(nobody)
    }
}

async fn verify_card(output: Output, args: &VerifyArgs) -> Result<(), Failure> {
    let bytes = files::read_bytes(&args.card, MAX_CARD_BYTES)?;
    let trust = args.trust.load(None).await?;
    let options = VerifyOptions {
        expected_id: args.expect.as_ref(),
        trust_domain: args.trust.trust_domain.as_ref(),
        canonicalization: args.form.map(Into::into),
        accept_uncovered: args.accept_uncovered,
        ..VerifyOptions::new(&trust.snapshot.bundles, args.at.unwrap_or_else(SystemTime::now))
    };
    let verification = verify_bytes(&bytes, &options);
    let (valid, outcome, reason) =
        (verification.is_valid(), verification.outcome, verification.reason.clone());
    output.report(&VerifiedCard(verification))?;
    if valid {
        return Ok(());
    }
    let what = format!("accept the card `{}`", args.card.display());
    Err(Failure::new(Kind::CheckFailed, what, format_args!("it is {outcome}: {reason}")))
}

#[derive(Serialize)]
struct SignedCard {
    signer: SpiffeId,
    expires_at: Instant,
    signatures: usize,
    file: PathBuf,
}

impl Report for SignedCard {
    fn table(&self) -> String {
        facts([
            ("Signer", self.signer.to_string()),
            ("Valid until", self.expires_at.to_string()),
            ("Signatures", self.signatures.to_string()),
            ("File", self.file.display().to_string()),
        ])
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct VerifiedCard(Verification);

impl Report for VerifiedCard {
    fn table(&self) -> String {
        let verification = &self.0;
        let head = facts([
            ("Result", verification.outcome.to_string()),
            ("Reason", verification.reason.clone()),
            ("Agent", verification.agent.clone().unwrap_or_default()),
            ("Signer", verification.signer.as_ref().map(ToString::to_string).unwrap_or_default()),
            ("Form", verification.canonicalization.map(|form| form.to_string()).unwrap_or_default()),
            ("As of", Instant::from(verification.at).to_string()),
        ]);
        let signatures = verification.signatures.iter().map(|signature| {
            let checks = rows(
                ["CHECK", "RESULT", "DETAIL"],
                signature
                    .checks
                    .iter()
                    .map(|check| [check.name.to_string(), check.status.to_string(), check.detail.clone()]),
                "no checks were made",
            );
            format!("\n\nSignature {}: {}\n{checks}", signature.index + 1, signature.outcome)
        });
        format!("{head}{}", signatures.collect::<String>())
    }
}
