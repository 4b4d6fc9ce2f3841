//! `secctl agentcard sign`.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use clap::{Args, ValueEnum};
use secplane_agent_card::{AgentCard, ExistingSignatures, FormsToSign, MAX_CARD_BYTES, SignOptions, sign};
use secplane_identity::{IdentitySource, SpiffeId, X509Identity};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::Form;
use crate::{
    client_identity::{follow_workload_api, from_workload_api},
    config_map,
    end_signals::EndSignals,
    failure::{Failure, Kind},
    files::{self, PUBLIC},
    holder_files,
    output::{Instant, Output, Report, facts, note},
};

#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// The card (JSON); `-` for standard input
    #[arg(value_name = "FILE")]
    card: PathBuf,
    #[command(flatten)]
    signer: SignerOptions,
    /// Sign every form that differs, so that every verifier finds one that it accepts
    #[arg(long, conflicts_with = "canonicalization")]
    portable: bool,
    /// Sign this form, whatever the others are
    #[arg(long, alias = "form", value_name = "FORM")]
    canonicalization: Option<Form>,
    /// What becomes of the signatures that the card has
    #[arg(long, value_name = "WHAT", default_value = "replace-own")]
    existing: Existing,
    /// Write a Kubernetes ConfigMap `AGENT-card-signed` (YAML) with the card under `agent-card.json`
    #[arg(long, value_name = "AGENT")]
    write_configmap: Option<String>,
    /// The namespace of that ConfigMap
    #[arg(long, value_name = "NAME", requires = "write_configmap")]
    namespace: Option<String>,
    /// Keep running, and sign again whenever the Workload API gives a new SVID
    #[arg(long, requires = "workload_api", requires = "out")]
    watch: bool,
    /// The file for the signed card; standard output otherwise
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
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

/// As whom to sign.
#[derive(Debug, Args)]
#[group(id = "signer", required = true, multiple = true, args = ["svid_dir", "workload_api", "svid"])]
struct SignerOptions {
    /// Sign with the X.509-SVID in this folder (svid.pem, key.pem)
    #[arg(long, value_name = "DIR", conflicts_with_all = ["workload_api", "svid"])]
    svid_dir: Option<PathBuf>,
    /// Sign with the X.509-SVID whose chain is in this file (PEM, leaf first)
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with = "workload_api")]
    svid: Option<PathBuf>,
    /// The private key of that X.509-SVID (PEM)
    #[arg(long, value_name = "FILE", requires = "svid")]
    key: Option<PathBuf>,
    /// Sign with the X.509-SVID that this SPIFFE Workload API socket gives
    #[arg(long, value_name = "SOCKET")]
    workload_api: Option<PathBuf>,
    /// Which of the identities that the Workload API gives
    #[arg(long, value_name = "ID", requires = "workload_api")]
    identity: Option<SpiffeId>,
}

pub(super) async fn run(output: Output, args: &SignArgs) -> Result<(), Failure> {
    match (args.watch, &args.signer.workload_api, &args.out) {
        (true, Some(socket), Some(out)) => watch(output, args, socket, out).await,
        _ => {
            let identity = args.signer.load().await?;
            write(output, args, &signed(args, &identity)?, &identity)
        }
    }
}

/// Signs now and with every SVID that comes, until it is told to end.
async fn watch(output: Output, args: &SignArgs, socket: &Path, out: &Path) -> Result<(), Failure> {
    if args.card == Path::new("-") || args.card == out {
        return Err(Failure::usage(
            "sign again when the SVID rotates",
            "the card is read again each time, so it must be a file, and another one than --out",
        ));
    }
    let mut end = EndSignals::new()?;
    let shutdown = CancellationToken::new();
    let following = follow_workload_api(socket, args.signer.identity.as_ref(), shutdown.clone());
    let (source, follower) = tokio::select! {
        followed = following => followed?,
        () = end.received() => return Ok(()),
    };
    let signing = sign_each(output, args, source);
    let outcome = tokio::select! {
        failure = signing => Err(failure),
        () = end.received() => Ok(()),
    };
    shutdown.cancel();
    // The task was cancelled on the line above; whether it ended well no longer matters.
    let _ = follower.await;
    outcome
}

/// Ends only when the first signature cannot be made. Later a card that cannot be signed leaves the last one standing.
async fn sign_each(output: Output, args: &SignArgs, mut source: IdentitySource) -> Failure {
    let mut last: Option<Vec<u8>> = None;
    let mut snapshot = source.current();
    loop {
        if let Some(identity) = &snapshot.identity
            && last.as_deref() != Some(identity.leaf().der.as_ref())
        {
            match signed(args, identity).and_then(|card| write(output, args, &card, identity)) {
                Ok(()) => last = Some(identity.leaf().der.to_vec()),
                Err(failure) if last.is_none() => return failure,
                Err(failure) => note(format_args!("error: {failure}; the last signed card stays")),
            }
        }
        snapshot = source.changed().await;
    }
}

fn signed(args: &SignArgs, identity: &X509Identity) -> Result<AgentCard, Failure> {
    let what = || format!("sign the card `{}`", args.card.display());
    let bytes = files::read_bytes(&args.card, MAX_CARD_BYTES)?;
    let card = AgentCard::parse(&bytes).map_err(|error| Failure::refused(what(), error))?;
    if SystemTime::now() > identity.leaf().not_after {
        return Err(Failure::refused(what(), "the SVID has expired, and nobody would accept its signature")
            .remedy("get a new one with `secctl svid issue`"));
    }
    let options = SignOptions {
        forms: match (args.portable, args.canonicalization) {
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
    sign(&card, identity, &options).map_err(|error| {
        Failure::refused(what(), error)
            .remedy("--portable signs for every verifier; `secctl agentcard lint` says more")
    })
}

fn write(
    output: Output,
    args: &SignArgs,
    signed: &AgentCard,
    identity: &X509Identity,
) -> Result<(), Failure> {
    let what = || format!("write the signed card of `{}`", args.card.display());
    let text = serde_json::to_string_pretty(&signed.to_json())
        .map_err(|error| Failure::new(Kind::Other, what(), error))?;
    let mut text = format!("{text}\n");
    if let Some(agent) = &args.write_configmap {
        text = config_map::of_card(agent, args.namespace.as_deref(), &text)
            .map_err(|error| Failure::refused(what(), error))?;
    }
    match &args.out {
        None => output.text(&text),
        Some(path) => {
            files::write(path, text.as_bytes(), PUBLIC)?;
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
        let nobody = || {
            Failure::usage("sign a card", "no SVID is given")
                .remedy("give --svid-dir DIR, --svid FILE with --key FILE, or --workload-api SOCKET")
        };
        match (&self.svid_dir, &self.svid, &self.key, &self.workload_api) {
            (Some(folder), ..) => holder_files::read_svid(folder),
            (None, Some(svid), Some(key), _) => {
                X509Identity::new(holder_files::read_chain(svid)?, holder_files::read_key(key)?)
                    .map_err(|error| Failure::refused(format!("use the SVID `{}`", svid.display()), error))
            }
            (.., Some(socket)) => {
                from_workload_api(socket, self.identity.as_ref()).await?.identity.ok_or_else(nobody)
            }
            _ => Err(nobody()),
        }
    }
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
