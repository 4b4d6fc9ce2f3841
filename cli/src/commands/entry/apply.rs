//! `secctl entry apply`, `import` and `export`: entries out of files and into files.

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use prost::Message;
use secplane_identity::SpiffeId;
use secplane_proto::spire::api::{
    server::entry::v1::{BatchCreateEntryRequest, BatchDeleteEntryRequest, BatchUpdateEntryRequest},
    types,
};
use serde::Serialize;

use super::{
    document::{self, EntryDocument},
    list_wire,
    plan::{Difference, Plan, Scope, Update},
};
use crate::{
    ca_client::{CaClient, CaOptions, check_item},
    failure::Failure,
    files,
    output::{Output, Report, visible},
};

/// The most entries of one call.
const BATCH: usize = 200;
/// The most bytes of one call; the CA reads 4 MiB.
const BATCH_BYTES: usize = 3 * 1024 * 1024;

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// The file of entries, as `secctl entry export` writes it; `-` is standard input
    #[arg(long, short, value_name = "FILE")]
    file: PathBuf,
    /// Delete the entries that the file does not name and that --parent-id and --hint select
    #[arg(long, requires = "scope")]
    prune: bool,
    /// With --prune: only entries of this node
    #[arg(long, value_name = "ID", group = "scope", requires = "prune")]
    parent_id: Option<SpiffeId>,
    /// With --prune: only entries with this hint
    #[arg(long, value_name = "TEXT", group = "scope", requires = "prune")]
    hint: Option<String>,
    /// Show what would be done, and do nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    ca: CaOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The file of entries, as `secctl entry export` writes it; `-` is standard input
    #[arg(long, short, value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    ca: CaOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Only entries that give this identity
    #[arg(long, value_name = "ID")]
    spiffe_id: Option<SpiffeId>,
    /// Only entries of this node
    #[arg(long, value_name = "ID")]
    parent_id: Option<SpiffeId>,
    /// Write into this file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    ca: CaOptions,
}

/// Makes the CA's entries what the file says.
pub(super) async fn apply(args: &ApplyArgs, output: Output) -> Result<(), Failure> {
    let wanted = document::read(&args.file)?;
    let ca = args.ca.connect().await?;
    let scope = args.prune.then(|| Scope { parent_id: args.parent_id.clone(), hint: args.hint.clone() });
    let plan = Plan::make(wanted, standing(&ca, None, None).await?, scope.as_ref())?;
    if plan.is_empty() || args.dry_run {
        return output.report(&Applied::of(&plan, false));
    }
    if !args.yes {
        ask(&Applied::of(&plan, false).table(), &args.file)?;
    }
    carry_out(&ca, &plan).await?;
    output.report(&Applied::of(&plan, true))
}

/// Creates the entries of a file; what stands already must be as the file says.
pub(super) async fn import(args: &ImportArgs, output: Output) -> Result<(), Failure> {
    let wanted = document::read(&args.file)?;
    let ca = args.ca.connect().await?;
    let plan = Plan::make(wanted, standing(&ca, None, None).await?, None)?;
    if let Some(update) = plan.updates.first() {
        return Err(Failure::refused(
            "import the entries",
            format_args!(
                "{} of them stand with other fields, such as {} for {}",
                plan.updates.len(),
                update.id,
                update.wanted.spiffe_id
            ),
        )
        .remedy("see the differences with `secctl entry apply --dry-run`, and change them without it"));
    }
    carry_out(&ca, &plan).await?;
    output.report(&Applied::of(&plan, !plan.is_empty()))
}

/// Writes the CA's entries in the form that `apply` reads.
pub(super) async fn export(args: &ExportArgs, output: Output) -> Result<(), Failure> {
    let ca = args.ca.connect().await?;
    let mut entries = standing(&ca, args.spiffe_id.as_ref(), args.parent_id.as_ref()).await?;
    // The same entries make the same file, whatever their IDs.
    entries.sort_by_cached_key(|entry| (entry.key(), entry.id.clone()));
    let exported = Exported(entries);
    match &args.out {
        None => output.report(&exported),
        Some(path) => {
            files::write(path, format!("{}\n", exported.table()).as_bytes(), files::PUBLIC)?;
            output.report(&ExportedTo { file: path.clone(), entries: exported.0.len() })
        }
    }
}

async fn standing(
    ca: &CaClient,
    spiffe_id: Option<&SpiffeId>,
    parent_id: Option<&SpiffeId>,
) -> Result<Vec<EntryDocument>, Failure> {
    list_wire(ca, spiffe_id, parent_id).await?.into_iter().map(EntryDocument::from_wire).collect()
}

/// Shows the plan to whoever sits there, and lets them say yes.
fn ask(plan: &str, file: &Path) -> Result<(), Failure> {
    let what = "apply the changes";
    if file == Path::new("-") || !io::stdin().is_terminal() {
        return Err(Failure::usage(what, "nobody can be asked: standard input is no terminal")
            .remedy("see them with --dry-run, then give --yes"));
    }
    let mut line = String::new();
    let answered = writeln!(io::stderr(), "{plan}")
        .and_then(|()| write!(io::stderr(), "Apply these changes? [y/N] "))
        .and_then(|()| io::stdin().read_line(&mut line));
    answered.map_err(|error| Failure::from_io(what, &error))?;
    if matches!(line.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Failure::refused(what, "you did not say yes; nothing was changed"))
    }
}

/// Takes every step, in calls of a size that the CA takes. What is refused does not keep the rest from being done.
async fn carry_out(ca: &CaClient, plan: &Plan) -> Result<(), Failure> {
    let mut refused = Refusals::default();
    for batch in plan.deletions.chunks(BATCH) {
        let ids = batch.iter().filter_map(|entry| entry.id.clone()).collect();
        let answer = ca.entry().batch_delete_entry(BatchDeleteEntryRequest { ids }).await;
        let results =
            answer.map_err(|status| Failure::from_status("delete entries", &status))?.into_inner().results;
        for result in results {
            refused.check(format!("delete the entry {}", result.id), result.status.as_ref());
        }
    }
    // An update names only the fields that differ; one call has one mask.
    for (mask, updates) in by_mask(&plan.updates) {
        for batch in in_batches(updates) {
            let what: Vec<_> = batch.iter().map(|entry| format!("change the entry {}", entry.id)).collect();
            let request = BatchUpdateEntryRequest {
                entries: batch,
                input_mask: Some(mask),
                output_mask: Some(types::EntryMask::default()),
            };
            let answer = ca.entry().batch_update_entry(request).await;
            let results = answer
                .map_err(|status| Failure::from_status("change entries", &status))?
                .into_inner()
                .results;
            for (what, result) in what.into_iter().zip(results) {
                refused.check(what, result.status.as_ref());
            }
        }
    }
    for batch in in_batches(plan.creations.iter().map(EntryDocument::to_wire).collect()) {
        let what: Vec<_> = batch.iter().map(created_name).collect();
        let request =
            BatchCreateEntryRequest { entries: batch, output_mask: Some(types::EntryMask::default()) };
        let answer = ca.entry().batch_create_entry(request).await;
        let results =
            answer.map_err(|status| Failure::from_status("create entries", &status))?.into_inner().results;
        for (what, result) in what.into_iter().zip(results) {
            refused.check(what, result.status.as_ref());
        }
    }
    refused.into_result()
}

fn created_name(entry: &types::Entry) -> String {
    format!("create an entry for {}", crate::ca_client::shown_id(entry.spiffe_id.as_ref()))
}

/// The updates that change the same fields, together.
fn by_mask(updates: &[Update]) -> Vec<(types::EntryMask, Vec<types::Entry>)> {
    let mut groups: Vec<(types::EntryMask, Vec<types::Entry>)> = Vec::new();
    for update in updates {
        let mut mask = types::EntryMask::default();
        for difference in &update.differences {
            difference.field.mark(&mut mask);
        }
        let entry = types::Entry { id: update.id.clone(), ..update.wanted.to_wire() };
        match groups.iter_mut().find(|(other, _)| *other == mask) {
            Some((_, entries)) => entries.push(entry),
            None => groups.push((mask, vec![entry])),
        }
    }
    groups
}

fn in_batches(entries: Vec<types::Entry>) -> Vec<Vec<types::Entry>> {
    let mut batches: Vec<Vec<types::Entry>> = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        let length = entry.encoded_len() + 8;
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH && bytes + length <= BATCH_BYTES => {
                batch.push(entry);
                bytes += length;
            }
            _ => {
                batches.push(vec![entry]);
                bytes = length;
            }
        }
    }
    batches
}

/// What the CA refused: the first one is told in full.
#[derive(Default)]
struct Refusals {
    first: Option<Failure>,
    count: usize,
}

impl Refusals {
    fn check(&mut self, what: String, status: Option<&types::Status>) {
        if let Err(failure) = check_item(what, status) {
            self.count += 1;
            self.first.get_or_insert(failure);
        }
    }

    fn into_result(self) -> Result<(), Failure> {
        match self.first {
            None => Ok(()),
            Some(failure) => Err(failure.remedy(format!(
                "{} of the changes failed like this and the others are made; apply the file again when it is mended",
                self.count
            ))),
        }
    }
}

/// What was done, or would be.
#[derive(Serialize)]
struct Applied {
    /// Whether it was done.
    applied: bool,
    changes: Vec<Step>,
    unchanged: usize,
}

/// One entry that is created, changed or deleted.
#[derive(Serialize)]
struct Step {
    action: Action,
    id: Option<String>,
    spiffe_id: SpiffeId,
    differences: Vec<Difference>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Create,
    Update,
    Delete,
}

impl Applied {
    fn of(plan: &Plan, applied: bool) -> Self {
        let whole = |action, entry: &EntryDocument| {
            let fields = entry.fields().into_iter().filter(|(_, value)| !value.is_empty());
            let differences = fields.map(|(field, value)| match action {
                Action::Delete => Difference { field, from: value, to: String::new() },
                _ => Difference { field, from: String::new(), to: value },
            });
            let (id, spiffe_id) = (entry.id.clone(), entry.spiffe_id.clone());
            Step { action, id, spiffe_id, differences: differences.collect() }
        };
        let updates = plan.updates.iter().map(|update| Step {
            action: Action::Update,
            id: Some(update.id.clone()),
            spiffe_id: update.wanted.spiffe_id.clone(),
            differences: update.differences.clone(),
        });
        let deletions = plan.deletions.iter().map(|entry| whole(Action::Delete, entry));
        let creations = plan.creations.iter().map(|entry| whole(Action::Create, entry));
        Self {
            applied,
            changes: deletions.chain(updates).chain(creations).collect(),
            unchanged: plan.unchanged,
        }
    }

    fn summary(&self) -> String {
        let count = |action| self.changes.iter().filter(|step| step.action == action).count();
        let (created, updated, deleted) =
            (count(Action::Create), count(Action::Update), count(Action::Delete));
        if self.changes.is_empty() {
            return format!("nothing to do: {} entries stand as the file says", self.unchanged);
        }
        let would = if self.applied { "" } else { "to be " };
        format!(
            "{created} {would}created, {updated} {would}changed, {deleted} {would}deleted, {} unchanged",
            self.unchanged
        )
    }
}

impl Report for Applied {
    fn table(&self) -> String {
        let mut lines: Vec<_> = self.changes.iter().flat_map(Step::lines).collect();
        lines.push(self.summary());
        lines.join("\n")
    }
}

impl Step {
    fn lines(&self) -> Vec<String> {
        let (sign, verb) = match self.action {
            Action::Create => ('+', "create"),
            Action::Update => ('~', "change"),
            Action::Delete => ('-', "delete"),
        };
        let id = self.id.as_deref().map(|id| format!(" ({id})")).unwrap_or_default();
        let mut lines = vec![visible(&format!("{sign} {verb} {}{id}", self.spiffe_id))];
        for Difference { field, from, to } in &self.differences {
            let name = field.name();
            lines.push(visible(&match self.action {
                Action::Create => format!("    {name}: {to}"),
                Action::Delete => format!("    {name}: {from}"),
                Action::Update => format!("    {name}: {} -> {}", or_none(from), or_none(to)),
            }));
        }
        lines
    }
}

fn or_none(value: &str) -> &str {
    if value.is_empty() { "(default)" } else { value }
}

/// Entries in the form that `apply` reads.
#[derive(Serialize)]
#[serde(transparent)]
struct Exported(Vec<EntryDocument>);

impl Report for Exported {
    fn table(&self) -> String {
        serde_saphyr::to_string(self)
            .map_or_else(|error| error.to_string(), |yaml| yaml.trim_end().to_owned())
    }
}

#[derive(Serialize)]
struct ExportedTo {
    file: PathBuf,
    entries: usize,
}

impl Report for ExportedTo {
    fn table(&self) -> String {
        format!("wrote {} entries to {}", self.entries, self.file.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_what_the_ca_can_read() {
        let large = types::Entry { hint: "x".repeat(1024 * 1024), ..types::Entry::default() };
        let small = vec![types::Entry::default(); 2 * BATCH + 1];
        let sizes = |entries| in_batches(entries).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(vec![large; 5]), [2, 2, 1]);
        assert_eq!(sizes(small), [BATCH, BATCH, 1]);
        assert_eq!(sizes(Vec::new()), Vec::<usize>::new());
    }
}
