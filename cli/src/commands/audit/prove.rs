//! `secctl audit prove`: one entry against a signed checkpoint, without the rest of the log.

use std::path::Path;

use base64::{Engine, prelude::BASE64_STANDARD};
use ca_daemon::audit::{Checkpoint, Hash, LogId, verify_inclusion};
use secplane_proto::secplane::ca::v1::{AuditEntry, ProveInclusionRequest};
use serde::{Deserialize, Serialize};

use super::{
    ProveArgs,
    entry::EntryReport,
    fetch::Log,
    keys::{KnownCheckpoint, PinnedKey, read_checkpoints},
};
use crate::{
    ca_client::CaClient,
    failure::{Failure, Kind},
    files,
    output::{Report, facts},
};

const MAX_PROOF_FILE_BYTES: usize = 256 * 1024;

pub(super) async fn prove(args: &ProveArgs) -> Result<ProofReport, Failure> {
    match (&args.proof, args.index) {
        (Some(path), _) => check_file(path, &args.public_keys),
        (None, index) => fetch(args, index.unwrap_or_default()).await,
    }
}

async fn fetch(args: &ProveArgs, index: u64) -> Result<ProofReport, Failure> {
    let ca = args.ca.connect().await?;
    let log = Log::open(&ca, args.replica.as_deref()).await?;
    let newest = log.signed_checkpoint(&args.public_keys)?;
    let against = match &args.checkpoint {
        None => newest,
        Some(path) => kept_checkpoint(path, &newest.key)?,
    };
    let what = format!("prove entry {index} of the audit log {}", log.id());
    let size = against.signed.checkpoint.size;
    if index >= size {
        let why = format!("the checkpoint is of {size} entries, which does not cover it");
        return Err(
            Failure::refused(what, why).remedy("a new entry is covered a second after it was written")
        );
    }
    let proof = request_proof(&ca, &log, index, size, &what).await?;
    proof.verify(&against.signed.checkpoint)?;
    proof.into_report(&against)
}

/// The newest checkpoint of a log in a file.
fn kept_checkpoint(path: &Path, key: &PinnedKey) -> Result<KnownCheckpoint, Failure> {
    let what = format!("use the checkpoints in `{}`", path.display());
    let of_log = read_checkpoints(path)?.into_iter().filter(|(log, _)| *log == key.log);
    let verified = of_log.map(|(_, text)| KnownCheckpoint::verify(&text, key)).collect::<Result<Vec<_>, _>>();
    let verified = verified.map_err(|error| Failure::new(Kind::CheckFailed, what.clone(), error))?;
    verified
        .into_iter()
        .max_by_key(|known| known.signed.checkpoint.size)
        .ok_or_else(|| Failure::refused(what, format_args!("none of them is of the log {}", key.log)))
}

async fn request_proof(
    ca: &CaClient,
    log: &Log,
    index: u64,
    tree_size: u64,
    what: &str,
) -> Result<Proof, Failure> {
    let request = ProveInclusionRequest { log_id: log.id().to_owned(), index, tree_size };
    let response = ca
        .audit()
        .prove_inclusion(request)
        .await
        .map_err(|status| Failure::from_status(what, &status))?
        .into_inner();
    let entry = response.entry.ok_or_else(|| Failure::new(Kind::Other, what, "the CA sent no entry"))?;
    if entry.index != index || entry.log_id != log.id() {
        return Err(Failure::new(Kind::CheckFailed, what, "the CA sent another entry"));
    }
    let hashes = response.hashes.iter().map(|hash| to_hash(hash)).collect::<Option<_>>();
    let hashes =
        hashes.ok_or_else(|| Failure::new(Kind::CheckFailed, what, "the CA's proof is no list of hashes"))?;
    Ok(Proof { entry, hashes })
}

fn to_hash(bytes: &[u8]) -> Option<Hash> {
    bytes.try_into().ok()
}

/// An entry and the hashes that lead from it to a root.
struct Proof {
    entry: AuditEntry,
    hashes: Vec<Hash>,
}

impl Proof {
    fn verify(&self, checkpoint: &Checkpoint) -> Result<(), Failure> {
        let AuditEntry { log_id, index, leaf } = &self.entry;
        verify_inclusion(leaf, *index, &self.hashes, checkpoint).map_err(|error| {
            Failure::new(Kind::CheckFailed, format!("prove entry {index} of the audit log {log_id}"), error)
                .remedy("verify the log: `secctl audit verify`")
        })
    }

    fn into_report(self, against: &KnownCheckpoint) -> Result<ProofReport, Failure> {
        Ok(ProofReport {
            log: self.entry.log_id.clone(),
            index: self.entry.index,
            leaf: BASE64_STANDARD.encode(&self.entry.leaf),
            hashes: self.hashes.iter().map(|hash| BASE64_STANDARD.encode(hash)).collect(),
            checkpoint: against.text.clone(),
            public_key: against.key.to_string(),
            entry: Some(EntryReport::read(self.entry)?),
        })
    }
}

fn check_file(path: &Path, pinned: &[PinnedKey]) -> Result<ProofReport, Failure> {
    let what = format!("verify the proof in `{}`", path.display());
    let refused = |why: &dyn std::fmt::Display| Failure::refused(what.clone(), why);
    let text = files::read_text(path, MAX_PROOF_FILE_BYTES)?;
    let report: ProofReport = serde_json::from_str(&text).map_err(|error| refused(&error))?;
    let log = LogId::parse(&report.log).map_err(|error| refused(&error))?;
    let key = pinned.iter().find(|pinned| pinned.log == log);
    let key = key.ok_or_else(|| refused(&format_args!("no --public-key was given for the log {log}")))?;
    let against = KnownCheckpoint::verify(&report.checkpoint, key)
        .map_err(|error| Failure::new(Kind::CheckFailed, what.clone(), error))?;
    let decode = |text: &String| BASE64_STANDARD.decode(text).map_err(|error| refused(&error));
    let entry = AuditEntry { log_id: report.log, index: report.index, leaf: decode(&report.leaf)? };
    let mut hashes = Vec::new();
    for hash in &report.hashes {
        hashes.push(to_hash(&decode(hash)?).ok_or_else(|| refused(&"it holds something other than hashes"))?);
    }
    let proof = Proof { entry, hashes };
    proof.verify(&against.signed.checkpoint)?;
    proof.into_report(&against)
}

/// An entry that was proven, with the proof.
#[derive(Serialize, Deserialize)]
pub(super) struct ProofReport {
    log: String,
    index: u64,
    /// What the leaf says; not read back, for the leaf itself is what is proven.
    #[serde(skip_deserializing)]
    entry: Option<EntryReport>,
    leaf: String,
    hashes: Vec<String>,
    checkpoint: String,
    public_key: String,
}

impl Report for ProofReport {
    fn table(&self) -> String {
        facts([
            ("Proven", format!("entry {} is in the log {}", self.index, self.log)),
            ("Entry", self.entry.as_ref().map(Report::table).unwrap_or_default()),
            ("Hashes", self.hashes.join("\n")),
            ("Checkpoint", self.checkpoint.clone()),
            ("Public key", self.public_key.clone()),
        ])
    }
}
