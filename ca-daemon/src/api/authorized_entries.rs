//! What an attested agent may ask for: `GetAuthorizedEntries` and `SyncAuthorizedEntries` of
//! `spire.api.server.entry.v1.Entry`.
//!
//! A sync begins with the agent's entries: in full when they fit into one message, otherwise as revisions, page after
//! page, after which the agent asks for those that it does not have. What it may ask for is settled when the sync
//! begins; whether it still is an agent, at each request.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::{Stream, stream};
use secplane_proto::spire::api::{
    server::entry::v1::{
        EntryRevision, GetAuthorizedEntriesResponse, SyncAuthorizedEntriesRequest,
        SyncAuthorizedEntriesResponse,
    },
    types,
};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::{entry::shown, page, services::Services};
use crate::{access::Caller, agents::Agent, instant::unix, registry::Entry};

/// The most entries or revisions of one message.
const PAGE: usize = 500;
/// How long an agent may take for each request of a sync.
const AGENT_WITHIN: Duration = Duration::from_secs(60);

impl Services {
    /// All entries of an agent in one message.
    pub(super) fn authorized_entries(
        &self,
        agent: &Agent,
        mask: Option<&types::EntryMask>,
    ) -> Result<GetAuthorizedEntriesResponse, Status> {
        let entries = self.entries_of(agent);
        let shown: Vec<_> = page::fitting(entries.iter().map(|entry| shown(entry, mask)));
        if shown.len() < entries.len() {
            return Err(Status::resource_exhausted(format!(
                "the {} entries of {} do not fit into one message; use SyncAuthorizedEntries",
                entries.len(),
                agent.id
            )));
        }
        Ok(GetAuthorizedEntriesResponse { entries: shown })
    }

    /// Tells an agent its entries, then gives those in full that it asks for.
    pub(super) fn sync_entries(
        self: Arc<Self>,
        caller: Caller,
        agent: &Agent,
        requests: Streaming<SyncAuthorizedEntriesRequest>,
    ) -> impl Stream<Item = Result<SyncAuthorizedEntriesResponse, Status>> + use<> {
        let entries = self.entries_of(agent);
        let sync = Sync { services: self, caller, requests, entries, mask: None, step: Step::Begin };
        stream::unfold(Some(sync), async |sync| {
            let mut sync = sync?;
            match sync.next().await {
                Ok(Some(response)) => Some((Ok(response), Some(sync))),
                Ok(None) => None,
                Err(status) => Some((Err(status), None)),
            }
        })
    }

    /// The unexpired entries that an agent may ask for, in the order of their IDs.
    fn entries_of(&self, agent: &Agent) -> Vec<Arc<Entry>> {
        self.registry.authorized_for(&agent.node(), self.issuance.clock().now())
    }
}

/// One sync under way.
struct Sync {
    services: Arc<Services>,
    caller: Caller,
    requests: Streaming<SyncAuthorizedEntriesRequest>,
    /// In the order of their IDs.
    entries: Vec<Arc<Entry>>,
    mask: Option<types::EntryMask>,
    step: Step,
}

/// What the next message says.
enum Step {
    Begin,
    /// Revisions from this entry on.
    Revisions(usize),
    /// Entries in full.
    Entries(VecDeque<Arc<Entry>>),
    /// What the agent asks for.
    Requested,
    End,
}

impl Sync {
    /// The next message; `None` at the end.
    async fn next(&mut self) -> Result<Option<SyncAuthorizedEntriesResponse>, Status> {
        loop {
            match std::mem::replace(&mut self.step, Step::End) {
                Step::Begin => {
                    let Some(request) = self.request().await? else { return Ok(None) };
                    if !request.ids.is_empty() {
                        return Err(Status::invalid_argument(
                            "specifying IDs on initial request is not supported",
                        ));
                    }
                    if request.output_mask.as_ref().is_some_and(|mask| !mask.revision_number) {
                        return Err(Status::invalid_argument("revision number cannot be masked"));
                    }
                    self.mask = request.output_mask;
                    if let Some(all) = self.all_at_once() {
                        return Ok(Some(all));
                    }
                    self.step = Step::Revisions(0);
                }
                Step::Revisions(from) => {
                    let page = &self.entries[from..self.entries.len().min(from + PAGE)];
                    let entry_revisions = page.iter().map(|entry| revision(entry)).collect();
                    let next = from + page.len();
                    let more = next < self.entries.len();
                    self.step = if more { Step::Revisions(next) } else { Step::Requested };
                    return Ok(Some(SyncAuthorizedEntriesResponse {
                        entry_revisions,
                        more,
                        ..Default::default()
                    }));
                }
                Step::Requested => {
                    let Some(request) = self.request().await? else { return Ok(None) };
                    // One that is not theirs is left out, like one that is no more.
                    let wanted = request.ids.iter().filter_map(|id| self.entry(id)).cloned().collect();
                    self.step = Step::Entries(wanted);
                }
                Step::Entries(mut wanted) => {
                    let masked = wanted.iter().take(PAGE).map(|entry| shown(entry, self.mask.as_ref()));
                    let entries = page::fitting(masked);
                    wanted.drain(..entries.len());
                    let more = !wanted.is_empty();
                    self.step = if more { Step::Entries(wanted) } else { Step::Requested };
                    return Ok(Some(SyncAuthorizedEntriesResponse { entries, more, ..Default::default() }));
                }
                Step::End => return Ok(None),
            }
        }
    }

    /// The agent's next request, as long as it is one; `None` when it has no more.
    async fn request(&mut self) -> Result<Option<SyncAuthorizedEntriesRequest>, Status> {
        let request = tokio::select! {
            () = self.services.shutdown.cancelled() => {
                return Err(Status::unavailable("the authority is stopping"));
            }
            request = timeout(AGENT_WITHIN, self.requests.message()) => request,
        };
        let request = request.map_err(|_| {
            Status::deadline_exceeded("the agent asked for nothing for too long; begin a new sync")
        })??;
        self.services.agent(&self.caller).await?;
        Ok(request)
    }

    fn entry(&self, id: &str) -> Option<&Arc<Entry>> {
        let at = self.entries.binary_search_by(|entry| entry.id().as_str().cmp(id)).ok()?;
        self.entries.get(at)
    }

    /// All entries in full, if they are few and small.
    fn all_at_once(&self) -> Option<SyncAuthorizedEntriesResponse> {
        if self.entries.len() > PAGE {
            return None;
        }
        let entries = page::fitting(self.entries.iter().map(|entry| shown(entry, self.mask.as_ref())));
        (entries.len() == self.entries.len())
            .then(|| SyncAuthorizedEntriesResponse { entries, ..Default::default() })
    }
}

fn revision(entry: &Entry) -> EntryRevision {
    EntryRevision {
        id: entry.id().as_str().to_owned(),
        revision_number: entry.revision(),
        created_at: unix(entry.created_at()),
    }
}
