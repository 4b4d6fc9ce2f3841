//! `secctl audit`: the log of who did what, and the proof that nobody changed it since.

mod entry;
mod export;
mod fetch;
mod keys;
mod prove;
mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use secplane_proto::secplane::ca::v1::TailAuditEntriesRequest;

use self::{
    entry::{EntryList, EntryReport, Filter},
    export::export,
    fetch::Log,
    keys::PinnedKey,
    prove::prove,
    verify::verify,
};
use crate::{
    ca_client::CaOptions,
    failure::{Failure, Kind},
    output::{Instant, Output, Report, rows},
};

/// The audit log: who did what, when and from where; verify that nobody changed it
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  secctl audit list")]
pub(crate) enum AuditCommand {
    /// List the newest entries, oldest first
    #[command(after_help = "Examples:\n  secctl audit list\n  secctl audit list --action certificate. \
                            --limit 20\n  secctl --output json audit list --actor admin-socket")]
    List(ListArgs),
    /// Show entries as they are written, until Ctrl-C
    #[command(after_help = "Examples:\n  secctl audit tail\n  secctl --output json audit tail --last 0")]
    Tail(TailArgs),
    /// List the logs, one a replica, with the keys that verify them
    #[command(after_help = "Example:\n  secctl audit logs")]
    Logs(CaOptions),
    /// Verify whole logs: every entry, the signature, and that kept checkpoints still hold
    ///
    /// Reads every entry and computes the tree's root anew. What an earlier checkpoint covers cannot have been
    /// changed since; so keep the newest one where the CA cannot reach it, with --save-checkpoint, and give it to the
    /// next run with --checkpoint.
    #[command(after_help = "Examples:\n  secctl audit verify --save-checkpoint checkpoints\n  secctl audit \
                            verify --checkpoint checkpoints --save-checkpoint checkpoints\n  secctl audit \
                            verify --log audit.jsonl --checkpoint checkpoints --public-key \
                            secplane-audit/5f3a+ee01a056+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea")]
    Verify(VerifyArgs),
    /// Prove that one entry is in the log, and verify the proof
    #[command(after_help = "Examples:\n  secctl audit prove 42\n  secctl --output json audit prove 42\n  \
                            secctl audit prove --proof proof.json --public-key \
                            secplane-audit/5f3a+ee01a056+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea")]
    Prove(ProveArgs),
    /// Write a whole log to a file that can be verified without the CA
    #[command(after_help = "Example:\n  secctl audit export --out audit.jsonl")]
    Export(ExportArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// The replica whose log it is; the one that answers otherwise
    #[arg(long, value_name = "ID")]
    replica: Option<String>,
    /// Begin at this entry instead of at the end
    #[arg(long, value_name = "N")]
    from: Option<u64>,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    ca: CaOptions,
}

#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// How many entries of each log to show first
    #[arg(long, value_name = "N", default_value_t = 10)]
    last: u32,
    /// End after this many entries
    #[arg(long, value_name = "N")]
    count: Option<usize>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    ca: CaOptions,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Verify this one replica's log instead of all
    #[arg(long, value_name = "ID", conflicts_with = "log")]
    replica: Option<String>,
    /// Verify an exported log, without the CA
    #[arg(long, value_name = "FILE", requires = "public_keys")]
    log: Option<PathBuf>,
    /// A file with checkpoints that were kept, which the log must still contain
    #[arg(long = "checkpoint", value_name = "FILE")]
    checkpoints: Vec<PathBuf>,
    /// Write the verified checkpoints to this file
    #[arg(long, value_name = "FILE")]
    save_checkpoint: Option<PathBuf>,
    /// A key that signs checkpoints, as `secctl audit logs` shows it; without one, the CA's word is taken
    #[arg(long = "public-key", value_name = "KEY")]
    public_keys: Vec<PinnedKey>,
    #[command(flatten)]
    ca: CaOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ProveArgs {
    /// The entry, as `secctl audit list` numbers it
    #[arg(value_name = "INDEX", required_unless_present = "proof", conflicts_with = "proof")]
    index: Option<u64>,
    /// The replica whose log it is; the one that answers otherwise
    #[arg(long, value_name = "ID")]
    replica: Option<String>,
    /// Prove it against a checkpoint that was kept, instead of against the newest one
    #[arg(long, value_name = "FILE", conflicts_with = "proof")]
    checkpoint: Option<PathBuf>,
    /// Verify a proof that `secctl --output json audit prove` wrote, without the CA
    #[arg(long, value_name = "FILE", requires = "public_keys")]
    proof: Option<PathBuf>,
    /// A key that signs checkpoints, as `secctl audit logs` shows it; without one, the CA's word is taken
    #[arg(long = "public-key", value_name = "KEY")]
    public_keys: Vec<PinnedKey>,
    #[command(flatten)]
    ca: CaOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The file to write; only you can read it
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The replica whose log it is; the one that answers otherwise
    #[arg(long, value_name = "ID")]
    replica: Option<String>,
    #[command(flatten)]
    ca: CaOptions,
}

impl AuditCommand {
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        match self {
            Self::List(args) => output.report(&list(&args).await?),
            Self::Tail(args) => tail(&args, output).await,
            Self::Logs(options) => output.report(&logs(&options).await?),
            Self::Verify(args) => output.report(&verify(&args).await?),
            Self::Prove(args) => output.report(&prove(&args).await?),
            Self::Export(args) => output.report(&export(&args).await?),
        }
    }
}

async fn list(args: &ListArgs) -> Result<EntryList, Failure> {
    let log = Log::open(&args.ca.connect().await?, args.replica.as_deref()).await?;
    let mut entries = match args.from {
        Some(from) => log.entries_after(from, args.limit, &args.filter).await?,
        None => log.entries_before(log.size(), args.limit, &args.filter).await?,
    };
    entries.truncate(args.limit);
    Ok(EntryList { log: log.id().to_owned(), entries })
}

async fn tail(args: &TailArgs, output: Output) -> Result<(), Failure> {
    let what = "follow the audit log";
    let ca = args.ca.connect().await?;
    let mut stream = ca
        .audit()
        .tail_entries(TailAuditEntriesRequest { last: args.last })
        .await
        .map_err(|status| Failure::from_status(what, &status))?
        .into_inner();
    let mut left = args.count.unwrap_or(usize::MAX);
    while left > 0 {
        let sent = stream.message().await.map_err(|status| Failure::from_status(what, &status))?;
        let Some(sent) = sent else {
            return Err(Failure::new(Kind::Unreachable, what, "the CA ended the stream"));
        };
        for entry in sent.entries {
            let entry = EntryReport::read(entry)?;
            if left > 0 && args.filter.passes(&entry) {
                output.report(&entry)?;
                left -= 1;
            }
        }
    }
    Ok(())
}

async fn logs(options: &CaOptions) -> Result<LogList, Failure> {
    let logs = fetch::logs(&options.connect().await?).await?;
    let logs = logs.iter().map(|log| {
        let checkpoint = log.signed_checkpoint(&[])?;
        Ok(LogReport {
            replica: log.id().to_owned(),
            entries: log.size(),
            signed_entries: checkpoint.signed.checkpoint.size,
            signed_at: checkpoint.signed.at.into(),
            public_key: checkpoint.key.to_string(),
        })
    });
    Ok(LogList { logs: logs.collect::<Result<_, _>>()? })
}

#[derive(serde::Serialize)]
struct LogList {
    logs: Vec<LogReport>,
}

#[derive(serde::Serialize)]
struct LogReport {
    replica: String,
    entries: u64,
    signed_entries: u64,
    signed_at: Instant,
    public_key: String,
}

impl Report for LogList {
    fn table(&self) -> String {
        rows(
            ["REPLICA", "ENTRIES", "SIGNED", "AT", "PUBLIC KEY"],
            self.logs.iter().map(|log| {
                [
                    log.replica.clone(),
                    log.entries.to_string(),
                    log.signed_entries.to_string(),
                    log.signed_at.to_string(),
                    log.public_key.clone(),
                ]
            }),
            "no logs",
        )
    }
}
