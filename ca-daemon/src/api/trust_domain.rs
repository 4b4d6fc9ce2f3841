//! `spire.api.server.trustdomain.v1.TrustDomain`.

use std::sync::Arc;

use secplane_proto::spire::api::{
    server::trustdomain::v1::{
        BatchCreateFederationRelationshipRequest, BatchCreateFederationRelationshipResponse,
        BatchDeleteFederationRelationshipRequest, BatchDeleteFederationRelationshipResponse,
        BatchUpdateFederationRelationshipRequest, BatchUpdateFederationRelationshipResponse,
        GetFederationRelationshipRequest, ListFederationRelationshipsRequest,
        ListFederationRelationshipsResponse, RefreshBundleRequest,
        batch_create_federation_relationship_response, batch_delete_federation_relationship_response,
        batch_update_federation_relationship_response, trust_domain_server::TrustDomain,
    },
    types,
};
use tonic::{Request, Response, Status};

use super::{
    batch::{check_batch, done, failed},
    page,
    refusal::ToStatus,
    services::Services,
};
use crate::{
    access::{Caller, Permission},
    audit::Action,
    federation::{
        Author, Before, FederatedBundle, FederationError, RefreshError, Relationship, RelationshipError,
        trust_domain,
    },
};

pub(super) struct TrustDomainApi(pub(super) Arc<Services>);

#[tonic::async_trait]
impl TrustDomain for TrustDomainApi {
    async fn list_federation_relationships(
        &self,
        request: Request<ListFederationRelationshipsRequest>,
    ) -> Result<Response<ListFederationRelationshipsResponse>, Status> {
        self.0.authorize(&request, Permission::Admin)?;
        let request = request.into_inner();
        let size = page::size(request.page_size)?;
        let after = page::after(&request.page_token)?;
        let mut rest = self.0.federation.relationships();
        rest.retain(|kept| after.as_ref().is_none_or(|after| kept.trust_domain > *after));
        let shown = rest.iter().take(size).map(|kept| self.shown(kept, request.output_mask));
        let federation_relationships = page::fitting(shown);
        let next_page_token = match federation_relationships.last() {
            Some(last) if federation_relationships.len() < rest.len() => last.trust_domain.clone(),
            _ => String::new(),
        };
        Ok(Response::new(ListFederationRelationshipsResponse { federation_relationships, next_page_token }))
    }

    async fn get_federation_relationship(
        &self,
        request: Request<GetFederationRelationshipRequest>,
    ) -> Result<Response<types::FederationRelationship>, Status> {
        self.0.authorize(&request, Permission::Admin)?;
        let GetFederationRelationshipRequest { trust_domain: name, output_mask } = request.into_inner();
        let of = trust_domain(&name).map_err(|error| error.to_status())?;
        let kept = self.0.federation.relationship(&of);
        let kept = kept.ok_or_else(|| FederationError::NoRelationship.to_status())?;
        Ok(Response::new(self.shown(&kept, output_mask)))
    }

    async fn batch_create_federation_relationship(
        &self,
        request: Request<BatchCreateFederationRelationshipRequest>,
    ) -> Result<Response<BatchCreateFederationRelationshipResponse>, Status> {
        let caller = self.0.authorize(&request, Permission::Admin)?;
        let request = request.into_inner();
        check_batch(request.federation_relationships.len())?;
        let mut answer = Answer::new(self, request.output_mask);
        let mut results = Vec::new();
        for wire in request.federation_relationships {
            let name = wire.trust_domain.clone();
            let created = self.put(wire, None, Before::Absent, &caller).await;
            let created = created.map_err(|error| error.to_status());
            let created = self.0.noted(&caller, Action::FederationCreate, &name, created);
            let (status, federation_relationship) = answer.item(created);
            results.push(batch_create_federation_relationship_response::Result {
                status,
                federation_relationship,
            });
        }
        Ok(Response::new(BatchCreateFederationRelationshipResponse { results }))
    }

    async fn batch_update_federation_relationship(
        &self,
        request: Request<BatchUpdateFederationRelationshipRequest>,
    ) -> Result<Response<BatchUpdateFederationRelationshipResponse>, Status> {
        let caller = self.0.authorize(&request, Permission::Admin)?;
        let request = request.into_inner();
        check_batch(request.federation_relationships.len())?;
        let mut answer = Answer::new(self, request.output_mask);
        let mut results = Vec::new();
        for wire in request.federation_relationships {
            let name = wire.trust_domain.clone();
            let updated = self.put(wire, request.input_mask.as_ref(), Before::Present, &caller).await;
            let updated = updated.map_err(|error| error.to_status());
            let updated = self.0.noted(&caller, Action::FederationUpdate, &name, updated);
            let (status, federation_relationship) = answer.item(updated);
            results.push(batch_update_federation_relationship_response::Result {
                status,
                federation_relationship,
            });
        }
        Ok(Response::new(BatchUpdateFederationRelationshipResponse { results }))
    }

    async fn batch_delete_federation_relationship(
        &self,
        request: Request<BatchDeleteFederationRelationshipRequest>,
    ) -> Result<Response<BatchDeleteFederationRelationshipResponse>, Status> {
        let caller = self.0.authorize(&request, Permission::Admin)?;
        let names = request.into_inner().trust_domains;
        check_batch(names.len())?;
        let mut results = Vec::with_capacity(names.len());
        for name in names {
            let deleted = self.delete(&name, &caller).await.map_err(|error| error.to_status());
            let status = match self.0.noted(&caller, Action::FederationDelete, &name, deleted) {
                Ok(()) => done(),
                Err(status) => failed(&status),
            };
            results.push(batch_delete_federation_relationship_response::Result {
                status: Some(status),
                trust_domain: name,
            });
        }
        Ok(Response::new(BatchDeleteFederationRelationshipResponse { results }))
    }

    /// Fetches the bundle before it answers, so that a failure is the caller's to see.
    async fn refresh_bundle(&self, request: Request<RefreshBundleRequest>) -> Result<Response<()>, Status> {
        let caller = self.0.authorize(&request, Permission::Admin)?;
        let name = request.into_inner().trust_domain;
        let refreshed = self.refresh(&name, &caller).await;
        self.0.noted(&caller, Action::FederationUpdate, &name, refreshed).map(Response::new)
    }
}

impl TrustDomainApi {
    /// Writes a relationship, and the bundle that comes with it where the mask takes it.
    async fn put(
        &self,
        mut wire: types::FederationRelationship,
        mask: Option<&types::FederationRelationshipMask>,
        before: Before,
        caller: &Caller,
    ) -> Result<Arc<Relationship>, FederationError> {
        let of = trust_domain(&wire.trust_domain)?;
        let federation = &self.0.federation;
        let by = Author::Caller(caller);
        let bundle = wire.trust_domain_bundle.take();
        let bundle = bundle.filter(|_| mask.is_none_or(|mask| mask.trust_domain_bundle));
        if let Some(bundle) = &bundle {
            if trust_domain(&bundle.trust_domain)? != of {
                return Err(RelationshipError::ForeignBundle(bundle.trust_domain.clone()).into());
            }
            // Looked at before anything is written: who is refused has changed nothing.
            FederatedBundle::new(bundle.clone())?;
        }
        let make = |old: Option<&Relationship>| match old {
            Some(old) => old.changed(wire, mask),
            None => Relationship::from_wire(&wire),
        };
        let kept = federation.put_relationship(&of, make, before, by).await?;
        if let Some(bundle) = bundle {
            federation.put_bundle(bundle, Before::Either, by).await?;
        }
        Ok(kept)
    }

    async fn refresh(&self, name: &str, caller: &Caller) -> Result<(), Status> {
        let of = trust_domain(name).map_err(|error| error.to_status())?;
        self.0.refresher.refresh(&of, Author::Caller(caller)).await.map_err(|error| match error {
            RefreshError::NoRelationship(_) => {
                Status::not_found(format!("no relationship with trust domain \"{of}\""))
            }
            RefreshError::Keep(error) => error.to_status(),
            error @ RefreshError::Fetch(_) => {
                Status::unavailable(format!("the bundle of {of} cannot be fetched: {error}"))
            }
        })
    }

    async fn delete(&self, name: &str, caller: &Caller) -> Result<(), FederationError> {
        self.0.federation.delete_relationship(&trust_domain(name)?, Author::Caller(caller)).await
    }

    /// A relationship as a message with the fields that a mask names; no mask names them all.
    fn shown(
        &self,
        kept: &Relationship,
        mask: Option<types::FederationRelationshipMask>,
    ) -> types::FederationRelationship {
        let mut wire = kept.to_wire();
        if mask.is_none_or(|mask| mask.trust_domain_bundle) {
            let bundle = self.0.federation.bundle(&kept.trust_domain);
            wire.trust_domain_bundle = bundle.map(|bundle| bundle.to_wire().clone());
        }
        if mask.is_some_and(|mask| !mask.bundle_endpoint_url) {
            wire.bundle_endpoint_url.clear();
        }
        if mask.is_some_and(|mask| !mask.bundle_endpoint_profile) {
            wire.bundle_endpoint_profile = None;
        }
        wire
    }
}

/// The items of an answer, of which the last ones are shown without their bundles when there is no more room.
struct Answer<'a> {
    api: &'a TrustDomainApi,
    mask: Option<types::FederationRelationshipMask>,
    room: page::Room,
}

impl<'a> Answer<'a> {
    fn new(api: &'a TrustDomainApi, mask: Option<types::FederationRelationshipMask>) -> Self {
        Self { api, mask, room: page::Room::default() }
    }

    fn item(
        &mut self,
        result: Result<Arc<Relationship>, Status>,
    ) -> (Option<types::Status>, Option<types::FederationRelationship>) {
        match result {
            Ok(kept) => {
                let mut shown = self.api.shown(&kept, self.mask);
                if !self.room.holds(&shown) {
                    shown.trust_domain_bundle = None;
                }
                (Some(done()), Some(shown))
            }
            Err(status) => (Some(failed(&status)), None),
        }
    }
}

impl ToStatus for RelationshipError {
    fn to_status(&self) -> Status {
        Status::invalid_argument(self.to_string())
    }
}
