//! `secctl entry`: registration entries, which say what workload gets which SPIFFE ID.

mod apply;
mod document;
mod plan;

use std::{fmt, str::FromStr, time::Duration};

use clap::{Args, Subcommand};
use secplane_identity::{SpiffeId, TrustDomain};
use secplane_proto::spire::api::{
    server::entry::v1::{
        BatchCreateEntryRequest, BatchDeleteEntryRequest, GetEntryRequest, ListEntriesRequest,
        list_entries_request,
    },
    types,
};
use serde::Serialize;

use self::apply::{ApplyArgs, ExportArgs, ImportArgs};
use super::wire_ttl;
use crate::{
    ca_client::{CaClient, CaOptions, check_item, shown_id, wire_id},
    failure::{Failure, Kind},
    output::{Instant, Output, Report, facts, rows, shown},
};

/// The path of the node agent that is part of the CA.
const LOCAL_AGENT: &str = "/spire/agent/local";
const PAGE_SIZE: i32 = 500;

/// Registration entries: which workload gets which SPIFFE ID
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  secctl entry list")]
pub(crate) enum EntryCommand {
    /// Register a workload: a process with all these selectors is this SPIFFE ID
    #[command(after_help = "Examples:\n  secctl entry create --spiffe-id \
                            spiffe://example.org/ns/demo/sa/web --selector unix:uid:1000\n  secctl entry \
                            create --spiffe-id spiffe://example.org/ns/demo/sa/web --selector unix:uid:1000 \
                            --selector unix:path:/usr/bin/web --dns web.demo.svc --ttl 30m")]
    Create(CreateArgs),
    /// List the entries
    #[command(after_help = "Examples:\n  secctl entry list\n  secctl entry list --spiffe-id \
                            spiffe://example.org/ns/demo/sa/web\n  secctl --output json entry list")]
    List(ListArgs),
    /// Show one entry
    #[command(after_help = "Example:\n  secctl entry show 0b7e5f0e-6a0a-4f0e-8c39-5c3c6f1f9a11")]
    Show(ShowArgs),
    /// Delete entries; their workloads get no new SVID
    #[command(after_help = "Example:\n  secctl entry delete 0b7e5f0e-6a0a-4f0e-8c39-5c3c6f1f9a11")]
    Delete(DeleteArgs),
    /// Make the entries what a file says: show the differences, ask, and do it
    ///
    /// Entries are recognized by their ID where the file gives one, else by SPIFFE ID, parent and selectors. A second
    /// run finds nothing to do.
    #[command(
        after_help = "Examples:\n  secctl entry apply -f entries.yaml --dry-run\n  secctl entry apply -f \
                            entries.yaml --yes\n  secctl entry apply -f team-x.yaml --prune --hint team-x --yes"
    )]
    Apply(ApplyArgs),
    /// Create the entries of a file; those that stand already must be as the file says
    #[command(after_help = "Example:\n  secctl entry import -f entries.yaml")]
    Import(ImportArgs),
    /// Write the entries in the form that apply and import read
    #[command(after_help = "Examples:\n  secctl entry export\n  secctl entry export --out entries.yaml")]
    Export(ExportArgs),
}

/// One attested fact, `type:value`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Selector {
    kind: String,
    value: String,
}

impl FromStr for Selector {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some((kind, value)) if !kind.is_empty() && !value.is_empty() => {
                Ok(Self { kind: kind.to_owned(), value: value.to_owned() })
            }
            _ => Err("a selector is TYPE:VALUE, such as unix:uid:1000"),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.value)
    }
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The identity that the workload gets
    #[arg(long, value_name = "ID")]
    spiffe_id: SpiffeId,
    /// The node that the workload runs on; the CA's own node otherwise (/spire/agent/local)
    #[arg(long, value_name = "ID")]
    parent_id: Option<SpiffeId>,
    /// What the workload must be, as TYPE:VALUE; every one given must hold
    #[arg(long = "selector", value_name = "SELECTOR", required = true)]
    selectors: Vec<Selector>,
    /// A DNS name that its certificate carries beside the SPIFFE ID
    #[arg(long = "dns", value_name = "NAME")]
    dns_names: Vec<String>,
    /// How long its SVIDs are valid, such as 30m; the CA's default otherwise
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    /// Tells the workload which of several identities this is
    #[arg(long, value_name = "TEXT", default_value = "")]
    hint: String,
    /// Let the workload administer the CA
    #[arg(long)]
    admin: bool,
    #[command(flatten)]
    ca: CaOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only entries that give this identity
    #[arg(long, value_name = "ID")]
    spiffe_id: Option<SpiffeId>,
    /// Only entries of this node
    #[arg(long, value_name = "ID")]
    parent_id: Option<SpiffeId>,
    #[command(flatten)]
    ca: CaOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The entry's ID, as `secctl entry list` shows it
    #[arg(value_name = "ENTRY")]
    id: String,
    #[command(flatten)]
    ca: CaOptions,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The entries' IDs, as `secctl entry list` shows them
    #[arg(value_name = "ENTRY", required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    ca: CaOptions,
}

impl EntryCommand {
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        match self {
            Self::Create(args) => output.report(&create_from(&args).await?),
            Self::List(args) => {
                let ca = args.ca.connect().await?;
                let entries = list(&ca, args.spiffe_id.as_ref(), args.parent_id.as_ref()).await?;
                output.report(&EntryList { entries })
            }
            Self::Show(args) => output.report(&show(&args).await?),
            Self::Delete(args) => output.report(&delete(&args).await?),
            Self::Apply(args) => apply::apply(&args, output).await,
            Self::Import(args) => apply::import(&args, output).await,
            Self::Export(args) => apply::export(&args, output).await,
        }
    }
}

async fn create_from(args: &CreateArgs) -> Result<EntryReport, Failure> {
    let what = format!("create an entry for {}", args.spiffe_id);
    let ttl =
        i32::try_from(wire_ttl(args.ttl)).map_err(|_| Failure::usage(what, "the validity is too long"))?;
    let parent = match &args.parent_id {
        Some(parent) => parent.clone(),
        None => local_agent(args.spiffe_id.trust_domain())?,
    };
    let entry = types::Entry {
        spiffe_id: Some(wire_id(&args.spiffe_id)),
        parent_id: Some(wire_id(&parent)),
        selectors: args
            .selectors
            .iter()
            .map(|s| types::Selector { r#type: s.kind.clone(), value: s.value.clone() })
            .collect(),
        x509_svid_ttl: ttl,
        admin: args.admin,
        dns_names: args.dns_names.clone(),
        hint: args.hint.clone(),
        ..types::Entry::default()
    };
    create(&args.ca.connect().await?, entry).await
}

/// The node agent that is part of the CA: the parent of the workloads beside it.
pub(crate) fn local_agent(trust_domain: &TrustDomain) -> Result<SpiffeId, Failure> {
    SpiffeId::from_parts(trust_domain, LOCAL_AGENT)
        .map_err(|error| Failure::usage(format!("name the agent of {trust_domain}"), error))
}

/// Creates one entry.
pub(crate) async fn create(ca: &CaClient, entry: types::Entry) -> Result<EntryReport, Failure> {
    let what = format!("create an entry for {}", shown_id(entry.spiffe_id.as_ref()));
    let response = ca
        .entry()
        .batch_create_entry(BatchCreateEntryRequest { entries: vec![entry], output_mask: None })
        .await
        .map_err(|status| Failure::from_status(what.clone(), &status))?
        .into_inner();
    let result = only(response.results, &what)?;
    check_item(what.clone(), result.status.as_ref())?;
    let created =
        result.entry.ok_or_else(|| Failure::new(Kind::Other, what, "the CA answered without it"))?;
    Ok(created.into())
}

/// Every entry of an identity and of a parent, all pages.
pub(crate) async fn list(
    ca: &CaClient,
    spiffe_id: Option<&SpiffeId>,
    parent_id: Option<&SpiffeId>,
) -> Result<Vec<EntryReport>, Failure> {
    Ok(list_wire(ca, spiffe_id, parent_id).await?.into_iter().map(EntryReport::from).collect())
}

async fn list_wire(
    ca: &CaClient,
    spiffe_id: Option<&SpiffeId>,
    parent_id: Option<&SpiffeId>,
) -> Result<Vec<types::Entry>, Failure> {
    let filter = list_entries_request::Filter {
        by_spiffe_id: spiffe_id.map(wire_id),
        by_parent_id: parent_id.map(wire_id),
        ..list_entries_request::Filter::default()
    };
    let mut entries = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = ca
            .entry()
            .list_entries(ListEntriesRequest {
                filter: Some(filter.clone()),
                output_mask: None,
                page_size: PAGE_SIZE,
                page_token,
            })
            .await
            .map_err(|status| Failure::from_status("list the entries", &status))?
            .into_inner();
        entries.extend(page.entries);
        if page.next_page_token.is_empty() {
            return Ok(entries);
        }
        page_token = page.next_page_token;
    }
}

async fn show(args: &ShowArgs) -> Result<EntryReport, Failure> {
    let ca = args.ca.connect().await?;
    let entry = ca
        .entry()
        .get_entry(GetEntryRequest { id: args.id.clone(), output_mask: None })
        .await
        .map_err(|status| Failure::from_status(format!("show the entry {}", args.id), &status))?;
    Ok(entry.into_inner().into())
}

/// Deletes what can be deleted; the first refusal is the command's failure.
async fn delete(args: &DeleteArgs) -> Result<DeletedEntries, Failure> {
    let ca = args.ca.connect().await?;
    let results = ca
        .entry()
        .batch_delete_entry(BatchDeleteEntryRequest { ids: args.ids.clone() })
        .await
        .map_err(|status| Failure::from_status("delete the entries", &status))?
        .into_inner()
        .results;
    let mut deleted = Vec::new();
    let mut refused = None;
    for result in results {
        match check_item(format!("delete the entry {}", result.id), result.status.as_ref()) {
            Ok(()) => deleted.push(result.id),
            Err(failure) => refused = refused.or(Some(failure)),
        }
    }
    match refused {
        Some(failure) if deleted.is_empty() => Err(failure),
        Some(failure) => Err(failure.remedy(format!("the others are deleted: {}", deleted.join(", ")))),
        None => Ok(DeletedEntries { deleted }),
    }
}

fn only<T>(mut results: Vec<T>, what: &str) -> Result<T, Failure> {
    match (results.pop(), results.is_empty()) {
        (Some(result), true) => Ok(result),
        _ => Err(Failure::new(Kind::Other, what, "the CA did not answer with exactly one result")),
    }
}

/// One entry as it is shown.
#[derive(Debug, Serialize)]
pub(crate) struct EntryReport {
    pub(crate) id: String,
    pub(crate) spiffe_id: String,
    pub(crate) parent_id: String,
    pub(crate) selectors: Vec<String>,
    pub(crate) dns_names: Vec<String>,
    x509_svid_ttl_seconds: i32,
    hint: String,
    admin: bool,
    created_at: Option<Instant>,
    expires_at: Option<Instant>,
}

impl From<types::Entry> for EntryReport {
    fn from(entry: types::Entry) -> Self {
        Self {
            spiffe_id: shown_id(entry.spiffe_id.as_ref()),
            parent_id: shown_id(entry.parent_id.as_ref()),
            id: entry.id,
            selectors: entry.selectors.into_iter().map(|s| format!("{}:{}", s.r#type, s.value)).collect(),
            dns_names: entry.dns_names,
            x509_svid_ttl_seconds: entry.x509_svid_ttl,
            hint: entry.hint,
            admin: entry.admin,
            created_at: Instant::from_unix(entry.created_at),
            expires_at: Instant::from_unix(entry.expires_at),
        }
    }
}

impl Report for EntryReport {
    fn table(&self) -> String {
        let ttl = match self.x509_svid_ttl_seconds {
            0 => "the CA's default".to_owned(),
            seconds => format!("{seconds} s"),
        };
        facts([
            ("Entry", self.id.clone()),
            ("SPIFFE ID", self.spiffe_id.clone()),
            ("Parent", self.parent_id.clone()),
            ("Selectors", self.selectors.join("\n")),
            ("DNS names", self.dns_names.join("\n")),
            ("SVID validity", ttl),
            ("Hint", self.hint.clone()),
            ("Admin", if self.admin { "yes".into() } else { String::new() }),
            ("Created", shown(self.created_at)),
            ("Expires", shown(self.expires_at)),
        ])
    }
}

#[derive(Serialize)]
struct EntryList {
    entries: Vec<EntryReport>,
}

impl Report for EntryList {
    fn table(&self) -> String {
        rows(
            ["ENTRY", "SPIFFE ID", "SELECTORS", "ADMIN"],
            self.entries.iter().map(|entry| {
                let admin = if entry.admin { "yes" } else { "" };
                [entry.id.clone(), entry.spiffe_id.clone(), entry.selectors.join(" "), admin.into()]
            }),
            "no entries",
        )
    }
}

#[derive(Serialize)]
struct DeletedEntries {
    deleted: Vec<String>,
}

impl Report for DeletedEntries {
    fn table(&self) -> String {
        self.deleted.iter().map(|id| format!("deleted {id}")).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn splits_a_selector_at_its_first_colon() {
        let selector: Selector = "unix:path:/usr/bin/a:b".parse().unwrap();
        assert_eq!(selector, Selector { kind: "unix".into(), value: "path:/usr/bin/a:b".into() });
    }

    #[rstest]
    #[case("")]
    #[case("unix")]
    #[case(":uid")]
    #[case("unix:")]
    fn rejects_half_a_selector(#[case] text: &str) {
        assert!(text.parse::<Selector>().is_err());
    }
}
