//! `spire.api.server.entry.v1.Entry`.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::{StreamExt, future::join_all, stream::BoxStream};
use secplane_identity::TrustDomain;
use secplane_proto::spire::api::{
    server::entry::v1::{
        BatchCreateEntryRequest, BatchCreateEntryResponse, BatchDeleteEntryRequest, BatchDeleteEntryResponse,
        BatchUpdateEntryRequest, BatchUpdateEntryResponse, CountEntriesRequest, CountEntriesResponse,
        GetAuthorizedEntriesRequest, GetAuthorizedEntriesResponse, GetEntryRequest, ListEntriesRequest,
        ListEntriesResponse, SyncAuthorizedEntriesRequest, SyncAuthorizedEntriesResponse,
        batch_create_entry_response, batch_delete_entry_response, batch_update_entry_response,
        count_entries_request, entry_server::Entry as EntryService, list_entries_request,
    },
    types::{self, federates_with_match},
};
use tonic::{Request, Response, Status, Streaming};

use super::{
    batch::{check_batch, done, failed},
    not_given::named,
    page,
    refusal::ToStatus,
    selector_match,
    services::Services,
};
use crate::{
    access::{Caller, Permission},
    audit::Action,
    registry::{
        Entry, EntryFields, EntryFilter, EntryId, Match, RegistryError, Selector, spiffe_id_from_wire,
    },
};

pub(super) struct EntryApi(pub(super) Arc<Services>);

#[tonic::async_trait]
impl EntryService for EntryApi {
    async fn count_entries(
        &self,
        request: Request<CountEntriesRequest>,
    ) -> Result<Response<CountEntriesResponse>, Status> {
        self.0.authorize(&request, Permission::Admin)?;
        let filter = request.into_inner().filter.map(FilterParts::from).unwrap_or_default().read()?;
        let count = i32::try_from(self.0.registry.count(&filter).await).unwrap_or(i32::MAX);
        Ok(Response::new(CountEntriesResponse { count }))
    }

    async fn list_entries(
        &self,
        request: Request<ListEntriesRequest>,
    ) -> Result<Response<ListEntriesResponse>, Status> {
        self.0.authorize(&request, Permission::Admin)?;
        let wire = request.into_inner();
        let filter = wire.filter.map(FilterParts::from).unwrap_or_default().read()?;
        let size = page::size(wire.page_size)?;
        let after = match wire.page_token.as_str() {
            "" => None,
            token => Some(EntryId::parse(token).map_err(|_| {
                Status::invalid_argument("the page token is not one that this authority gave out")
            })?),
        };
        // One more than is shown, to know whether there is a next page.
        let found = self.0.registry.list(&filter, after.as_ref(), size + 1).await;
        let mask = wire.output_mask.as_ref();
        let entries = page::fitting(found.iter().take(size).map(|entry| shown(entry, mask)));
        let next_page_token = match entries.last() {
            Some(last) if entries.len() < found.len() => last.id.clone(),
            _ => String::new(),
        };
        Ok(Response::new(ListEntriesResponse { entries, next_page_token }))
    }

    async fn get_entry(&self, request: Request<GetEntryRequest>) -> Result<Response<types::Entry>, Status> {
        self.0.authorize(&request, Permission::Admin)?;
        let GetEntryRequest { id, output_mask } = request.into_inner();
        if id.is_empty() {
            return Err(Status::invalid_argument("missing ID"));
        }
        let id = EntryId::parse(&id).map_err(|error| error.to_status())?;
        let entry = self.0.registry.entry(&id).ok_or_else(|| RegistryError::NotFound(id).to_status())?;
        Ok(Response::new(shown(&entry, output_mask.as_ref())))
    }

    async fn batch_create_entry(
        &self,
        request: Request<BatchCreateEntryRequest>,
    ) -> Result<Response<BatchCreateEntryResponse>, Status> {
        let caller = self.0.authorize(&request, Permission::Admin)?;
        let BatchCreateEntryRequest { entries, output_mask } = request.into_inner();
        check_batch(entries.len())?;
        let wanted: Vec<_> = entries.iter().map(|wire| named(wire.spiffe_id.as_ref())).collect();
        // All at once, so that they share a durable commit. Of two that are similar the first one wins.
        let created = entries.into_iter().map(|wire| self.create(wire, &caller));
        let mut room = page::Room::default();
        let mut results = Vec::new();
        for (created, wanted) in join_all(created).await.into_iter().zip(wanted) {
            // Whoever finds a similar entry is shown it.
            let entry = match &created {
                Ok(entry) | Err(RegistryError::Similar(entry)) => {
                    Some(shown_in(&mut room, entry, output_mask.as_ref()))
                }
                Err(_) => None,
            };
            let status = Some(self.item_status(&caller, Action::EntryCreate, &wanted, created.map(drop)));
            results.push(batch_create_entry_response::Result { status, entry });
        }
        Ok(Response::new(BatchCreateEntryResponse { results }))
    }

    async fn batch_update_entry(
        &self,
        request: Request<BatchUpdateEntryRequest>,
    ) -> Result<Response<BatchUpdateEntryResponse>, Status> {
        let caller = self.0.authorize(&request, Permission::Admin)?;
        let BatchUpdateEntryRequest { entries, input_mask, output_mask } = request.into_inner();
        check_batch(entries.len())?;
        let wanted: Vec<_> = entries.iter().map(|wire| wire.id.clone()).collect();
        let updated = entries.into_iter().map(|wire| self.update(wire, input_mask.as_ref(), &caller));
        let mut room = page::Room::default();
        let mut results = Vec::new();
        for (updated, wanted) in join_all(updated).await.into_iter().zip(wanted) {
            let entry = updated.as_ref().ok().map(|entry| shown_in(&mut room, entry, output_mask.as_ref()));
            let status = Some(self.item_status(&caller, Action::EntryUpdate, &wanted, updated.map(drop)));
            results.push(batch_update_entry_response::Result { status, entry });
        }
        Ok(Response::new(BatchUpdateEntryResponse { results }))
    }

    async fn batch_delete_entry(
        &self,
        request: Request<BatchDeleteEntryRequest>,
    ) -> Result<Response<BatchDeleteEntryResponse>, Status> {
        let caller = self.0.authorize(&request, Permission::Admin)?;
        let ids = request.into_inner().ids;
        check_batch(ids.len())?;
        let deleted = join_all(ids.iter().map(|id| self.delete(id, &caller))).await;
        let results = ids.iter().zip(deleted).map(|(id, deleted)| batch_delete_entry_response::Result {
            status: Some(self.item_status(&caller, Action::EntryDelete, id, deleted)),
            id: id.clone(),
        });
        Ok(Response::new(BatchDeleteEntryResponse { results: results.collect() }))
    }

    async fn get_authorized_entries(
        &self,
        request: Request<GetAuthorizedEntriesRequest>,
    ) -> Result<Response<GetAuthorizedEntriesResponse>, Status> {
        let agent = self.0.agent(&self.0.caller(&request)?).await?;
        self.0.authorized_entries(&agent, request.into_inner().output_mask.as_ref()).map(Response::new)
    }

    type SyncAuthorizedEntriesStream = BoxStream<'static, Result<SyncAuthorizedEntriesResponse, Status>>;

    async fn sync_authorized_entries(
        &self,
        request: Request<Streaming<SyncAuthorizedEntriesRequest>>,
    ) -> Result<Response<Self::SyncAuthorizedEntriesStream>, Status> {
        let caller = self.0.caller(&request)?;
        let agent = self.0.agent(&caller).await?;
        Ok(Response::new(Arc::clone(&self.0).sync_entries(caller, &agent, request.into_inner()).boxed()))
    }
}

impl EntryApi {
    async fn create(&self, wire: types::Entry, caller: &Caller) -> Result<Arc<Entry>, RegistryError> {
        let services = &self.0;
        let fields = EntryFields::from_wire(wire, services.issuance.trust_domain())?;
        let entry = services.registry.create(fields, caller, services.issuance.clock().now()).await?;
        tracing::info!(%caller, entry = %entry.id(), spiffe_id = %entry.fields().spiffe_id, "an entry was created");
        Ok(entry)
    }

    async fn update(
        &self,
        wire: types::Entry,
        mask: Option<&types::EntryMask>,
        caller: &Caller,
    ) -> Result<Arc<Entry>, RegistryError> {
        let id = EntryId::parse(&wire.id)?;
        let own = self.0.issuance.trust_domain();
        let change = |fields: &mut EntryFields| fields.apply(wire.clone(), mask, own);
        let entry = self.0.registry.update(&id, change, caller).await?;
        tracing::info!(%caller, entry = %id, revision = entry.revision(), "an entry was changed");
        Ok(entry)
    }

    async fn delete(&self, id: &str, caller: &Caller) -> Result<(), RegistryError> {
        let id = EntryId::parse(id)?;
        self.0.registry.delete(&id, caller).await?;
        tracing::info!(%caller, entry = %id, "an entry was deleted");
        Ok(())
    }

    /// What became of an item; that it failed is taken note of.
    fn item_status(
        &self,
        caller: &Caller,
        action: Action,
        wanted: &str,
        result: Result<(), RegistryError>,
    ) -> types::Status {
        match self.0.noted(caller, action, wanted, result.map_err(|error| error.to_status())) {
            Ok(()) => done(),
            Err(status) => failed(&status),
        }
    }
}

/// An entry as one of many in an answer: when the others have taken all the room, only its ID is shown. A batch of
/// small changes can be answered with large entries, and the caller must still learn what became of each.
fn shown_in(room: &mut page::Room, entry: &Entry, mask: Option<&types::EntryMask>) -> types::Entry {
    let whole = shown(entry, mask);
    if room.holds(&whole) { whole } else { types::Entry { id: whole.id, ..Default::default() } }
}

/// An entry as a message with the fields that a mask names; no mask names them all.
pub(super) fn shown(entry: &Entry, mask: Option<&types::EntryMask>) -> types::Entry {
    let whole = entry.to_wire();
    let Some(mask) = mask else { return whole };
    types::Entry {
        id: whole.id,
        spiffe_id: whole.spiffe_id.filter(|_| mask.spiffe_id),
        parent_id: whole.parent_id.filter(|_| mask.parent_id),
        selectors: if mask.selectors { whole.selectors } else { Vec::new() },
        x509_svid_ttl: if mask.x509_svid_ttl { whole.x509_svid_ttl } else { 0 },
        federates_with: if mask.federates_with { whole.federates_with } else { Vec::new() },
        admin: mask.admin && whole.admin,
        downstream: mask.downstream && whole.downstream,
        expires_at: if mask.expires_at { whole.expires_at } else { 0 },
        dns_names: if mask.dns_names { whole.dns_names } else { Vec::new() },
        revision_number: if mask.revision_number { whole.revision_number } else { 0 },
        store_svid: mask.store_svid && whole.store_svid,
        jwt_svid_ttl: if mask.jwt_svid_ttl { whole.jwt_svid_ttl } else { 0 },
        hint: if mask.hint { whole.hint } else { String::new() },
        created_at: if mask.created_at { whole.created_at } else { 0 },
        additional_attributes: whole.additional_attributes.filter(|_| mask.additional_attributes),
    }
}

/// The parts of a filter: listing and counting have a message each, with the same fields.
#[derive(Default)]
struct FilterParts {
    spiffe_id: Option<types::Spiffeid>,
    parent_id: Option<types::Spiffeid>,
    selectors: Option<types::SelectorMatch>,
    federates_with: Option<types::FederatesWithMatch>,
    hint: Option<String>,
    downstream: Option<bool>,
}

impl From<list_entries_request::Filter> for FilterParts {
    fn from(wire: list_entries_request::Filter) -> Self {
        Self {
            spiffe_id: wire.by_spiffe_id,
            parent_id: wire.by_parent_id,
            selectors: wire.by_selectors,
            federates_with: wire.by_federates_with,
            hint: wire.by_hint,
            downstream: wire.by_downstream,
        }
    }
}

impl From<count_entries_request::Filter> for FilterParts {
    fn from(wire: count_entries_request::Filter) -> Self {
        Self {
            spiffe_id: wire.by_spiffe_id,
            parent_id: wire.by_parent_id,
            selectors: wire.by_selectors,
            federates_with: wire.by_federates_with,
            hint: wire.by_hint,
            downstream: wire.by_downstream,
        }
    }
}

impl FilterParts {
    fn read(self) -> Result<EntryFilter, Status> {
        let id = |wire: Option<types::Spiffeid>, role| {
            let read = wire.map(|wire| spiffe_id_from_wire(Some(wire), role)).transpose();
            read.map_err(|error| malformed(role, &error))
        };
        Ok(EntryFilter {
            spiffe_id: id(self.spiffe_id, "SPIFFE ID")?,
            parent_id: id(self.parent_id, "parent ID")?,
            selectors: self.selectors.map(|wire| selectors(&wire)).transpose()?,
            federates_with: self.federates_with.map(|wire| federates_with(&wire)).transpose()?,
            hint: self.hint,
            downstream: self.downstream,
        })
    }
}

/// What of a filter cannot be used, beginning as clients of this API know it.
fn malformed(part: &str, reason: &dyn std::fmt::Display) -> Status {
    Status::invalid_argument(format!("malformed {part} filter: {reason}"))
}

fn selectors(wire: &types::SelectorMatch) -> Result<(Match, BTreeSet<Selector>), Status> {
    let how = selector_match::behavior(wire)?;
    let given = wire
        .selectors
        .iter()
        .map(|s| Selector::new(&s.r#type, &s.value).map_err(|error| malformed("selectors", &error)))
        .collect::<Result<BTreeSet<_>, _>>()?;
    if given.is_empty() {
        return Err(malformed("selectors", &"empty selector set"));
    }
    Ok((how, given))
}

fn federates_with(wire: &types::FederatesWithMatch) -> Result<(Match, BTreeSet<TrustDomain>), Status> {
    use federates_with_match::MatchBehavior;
    let how = match MatchBehavior::try_from(wire.r#match) {
        Ok(MatchBehavior::MatchExact) => Match::Exact,
        Ok(MatchBehavior::MatchSubset) => Match::Subset,
        Ok(MatchBehavior::MatchSuperset) => Match::Superset,
        Ok(MatchBehavior::MatchAny) => Match::Any,
        Err(_) => return Err(Status::invalid_argument("the filter's trust domain match is not known")),
    };
    let given = wire
        .trust_domains
        .iter()
        .map(|name| TrustDomain::parse(name).map_err(|error| malformed("federates with", &error)))
        .collect::<Result<BTreeSet<_>, _>>()?;
    if given.is_empty() {
        return Err(malformed("federates with", &"empty trust domain set"));
    }
    Ok((how, given))
}
