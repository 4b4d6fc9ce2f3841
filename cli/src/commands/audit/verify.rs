//! `secctl audit verify`: a whole log against what was signed.

use std::collections::{BTreeMap, BTreeSet};

use ca_daemon::audit::{Finding, LogId, Verified, Verifier};
use serde::Serialize;

use super::{
    VerifyArgs,
    export::{ExportedLog, Part},
    fetch::{self, Log},
    keys::{KnownCheckpoint, PinnedKey, choose_key, read_checkpoints},
};
use crate::{
    failure::{Failure, Kind},
    files,
    output::{Instant, Report, facts, note},
};

pub(super) async fn verify(args: &VerifyArgs) -> Result<VerifyReport, Failure> {
    let mut kept = KeptCheckpoints::read(args)?;
    let logs = match &args.log {
        Some(path) => vec![verify_file(&mut ExportedLog::open(path)?, &mut kept, &args.public_keys)?],
        None => verify_all(args, &mut kept).await?,
    };
    if let Some(log) = kept.by_log.keys().next() {
        return Err(Failure::new(
            Kind::CheckFailed,
            format!("verify the audit log {log}"),
            "a checkpoint of it was kept, and the log is not there any more: deleted",
        ));
    }
    if let Some(path) = &args.save_checkpoint {
        let verified = logs.iter().map(|log| &log.checkpoint);
        let texts: Vec<_> = verified.chain(&kept.of_others).map(String::as_str).collect();
        files::write(path, texts.join("\n").as_bytes(), files::PUBLIC)?;
    }
    Ok(VerifyReport { logs })
}

async fn verify_all(args: &VerifyArgs, kept: &mut KeptCheckpoints) -> Result<Vec<LogReport>, Failure> {
    let ca = args.ca.connect().await?;
    let chosen = match &args.replica {
        Some(replica) => vec![Log::open(&ca, Some(replica)).await?],
        None => fetch::logs(&ca).await?,
    };
    if let Some(replica) = &args.replica {
        kept.set_others_aside(replica);
    }
    if args.public_keys.is_empty() {
        note("note: no --public-key was given, so the CA's own word is taken for the keys of its logs");
    }
    let mut reports = Vec::new();
    for log in &chosen {
        reports.push(verify_log(log, kept, &args.public_keys).await?);
    }
    Ok(reports)
}

async fn verify_log(
    log: &Log,
    kept: &mut KeptCheckpoints,
    pinned: &[PinnedKey],
) -> Result<LogReport, Failure> {
    let newest = log.signed_checkpoint(pinned)?;
    let old = kept.take(&newest.key)?;
    let mut verifier = verifier(&newest, &old)?;
    let size = newest.signed.checkpoint.size;
    for block in log.blocks(size).await? {
        take_block(&mut verifier, block.block, &block.root);
    }
    log.each_entry(size, |entry| {
        verifier.entry(entry.index, &entry.leaf);
        Ok(())
    })
    .await?;
    LogReport::of(verifier, newest, &old)
}

fn verify_file(
    file: &mut ExportedLog,
    kept: &mut KeptCheckpoints,
    pinned: &[PinnedKey],
) -> Result<LogReport, Failure> {
    let what = format!("verify the exported log of {}", file.header.log);
    let refused = |error: &dyn std::fmt::Display| Failure::refused(what.clone(), error);
    let claimed: PinnedKey = file.header.public_key.parse().map_err(|error| refused(&error))?;
    let log = LogId::parse(&file.header.log).map_err(|error| refused(&error))?;
    let key = choose_key(pinned, &log, claimed.key)?;
    let newest = KnownCheckpoint::verify(&file.header.checkpoint, &key)
        .map_err(|error| Failure::new(Kind::CheckFailed, what.clone(), error))?;
    // Checkpoints of other logs say nothing of this file.
    kept.set_others_aside(log.as_str());
    let old = kept.take(&newest.key)?;
    let mut verifier = verifier(&newest, &old)?;
    while let Some(part) = file.next_part()? {
        match part {
            Part::Block(position, root) => take_block(&mut verifier, position, &root),
            Part::Entry(index, leaf) => verifier.entry(index, &leaf),
        }
    }
    LogReport::of(verifier, newest, &old)
}

fn verifier(newest: &KnownCheckpoint, old: &[KnownCheckpoint]) -> Result<Verifier, Failure> {
    let all = [newest].into_iter().chain(old).map(|known| known.signed.checkpoint.clone());
    Verifier::new(all.collect()).map_err(|finding| failed(&newest.key.log, &[finding]))
}

/// A root that is none would only help to locate a change; without it verifying is as strict.
fn take_block(verifier: &mut Verifier, position: u64, root: &[u8]) {
    if let Ok(root) = root.try_into() {
        verifier.stored_block(position, root);
    }
}

fn failed(log: &LogId, findings: &[Finding]) -> Failure {
    let findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
    Failure::new(Kind::CheckFailed, format!("verify the audit log {log}"), findings.join("\n  "))
        .remedy("keep the database and the checkpoints as they are: they are evidence; docs/audit.md says what follows")
}

/// The checkpoints that were kept, until they are used.
struct KeptCheckpoints {
    by_log: BTreeMap<LogId, BTreeSet<String>>,
    /// Those of logs that are not looked at: whoever saves the others over them must not lose them.
    of_others: Vec<String>,
}

impl KeptCheckpoints {
    fn read(args: &VerifyArgs) -> Result<Self, Failure> {
        let mut by_log: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for path in &args.checkpoints {
            for (log, text) in read_checkpoints(path)? {
                by_log.entry(log).or_default().insert(text);
            }
        }
        Ok(Self { by_log, of_others: Vec::new() })
    }

    /// Leaves those of one log alone.
    fn set_others_aside(&mut self, log: &str) {
        for (kept, texts) in std::mem::take(&mut self.by_log) {
            if kept.as_str() == log {
                self.by_log.insert(kept, texts);
            } else {
                self.of_others.extend(texts);
            }
        }
    }

    /// Those of one log, once their signatures are verified.
    fn take(&mut self, key: &PinnedKey) -> Result<Vec<KnownCheckpoint>, Failure> {
        let texts = self.by_log.remove(&key.log).unwrap_or_default();
        let verified = texts.iter().map(|text| KnownCheckpoint::verify(text, key));
        verified.collect::<Result<_, _>>().map_err(|error| {
            let what = format!("verify a kept checkpoint of the audit log {}", key.log);
            Failure::new(Kind::CheckFailed, what, error)
        })
    }
}

#[derive(Serialize)]
pub(super) struct VerifyReport {
    logs: Vec<LogReport>,
}

#[derive(Serialize)]
struct LogReport {
    log: String,
    entries: u64,
    /// How many of them the newest checkpoint covers.
    signed_entries: u64,
    signed_at: Instant,
    root: String,
    /// The sizes of the kept checkpoints that still hold.
    consistent_with: Vec<u64>,
    public_key: String,
    checkpoint: String,
}

impl LogReport {
    fn of(verifier: Verifier, newest: KnownCheckpoint, old: &[KnownCheckpoint]) -> Result<Self, Failure> {
        let Verified { log_id, size, signed, .. } =
            verifier.finish().map_err(|findings| failed(&newest.key.log, &findings))?;
        let mut consistent_with: Vec<_> = old.iter().map(|known| known.signed.checkpoint.size).collect();
        consistent_with.sort_unstable();
        Ok(Self {
            log: log_id.to_string(),
            entries: size,
            signed_entries: signed,
            signed_at: newest.signed.at.into(),
            root: hex(&newest.signed.checkpoint.root),
            consistent_with,
            public_key: newest.key.to_string(),
            checkpoint: newest.text,
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Report for VerifyReport {
    fn table(&self) -> String {
        let logs = self.logs.iter().map(|log| {
            let held: Vec<_> = log.consistent_with.iter().map(|size| format!("{size} entries")).collect();
            facts([
                ("Log", log.log.clone()),
                ("Verified", format!("{} entries, every one as it was signed", log.signed_entries)),
                ("Signed at", log.signed_at.to_string()),
                ("Root", log.root.clone()),
                ("Kept checkpoints", held.join("\n")),
                ("Public key", log.public_key.clone()),
            ])
        });
        logs.collect::<Vec<_>>().join("\n\n")
    }
}
