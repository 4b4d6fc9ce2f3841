//! The federated part of `spire.api.server.bundle.v1.Bundle`: the bundles of foreign trust domains.

use std::{future::Future, sync::Arc};

use futures_util::future::join_all;
use secplane_identity::TrustDomain;
use secplane_proto::spire::api::{
    server::bundle::v1::{
        BatchCreateFederatedBundleRequest, BatchCreateFederatedBundleResponse,
        BatchDeleteFederatedBundleRequest, BatchDeleteFederatedBundleResponse,
        BatchSetFederatedBundleRequest, BatchSetFederatedBundleResponse, BatchUpdateFederatedBundleRequest,
        BatchUpdateFederatedBundleResponse, ListFederatedBundlesRequest, ListFederatedBundlesResponse,
        batch_create_federated_bundle_response, batch_delete_federated_bundle_request::Mode,
        batch_delete_federated_bundle_response, batch_set_federated_bundle_response,
        batch_update_federated_bundle_response,
    },
    types,
};
use tonic::{Code, Status};

use super::{
    batch::{check_batch, done, failed},
    bundle::masked,
    page,
    refusal::ToStatus,
    services::Services,
};
use crate::{
    access::Caller,
    audit::Action,
    federation::{Author, Before, FederatedBundle, FederationError, trust_domain},
    registry::{EntryFields, EntryFilter, Match, RegistryError},
};

impl Services {
    pub(super) fn list_federated_bundles(
        &self,
        request: ListFederatedBundlesRequest,
    ) -> Result<ListFederatedBundlesResponse, Status> {
        let size = page::size(request.page_size)?;
        let after = page::after(&request.page_token)?;
        let mask = request.output_mask;
        let bundles = self.federation.bundles();
        let mut rest =
            bundles.iter().filter(|bundle| after.as_ref().is_none_or(|a| bundle.trust_domain() > a));
        let shown = rest.by_ref().take(size).map(|bundle| masked(bundle.to_wire().clone(), mask));
        let shown = page::fitting(shown);
        let all =
            bundles.iter().filter(|bundle| after.as_ref().is_none_or(|a| bundle.trust_domain() > a)).count();
        let next_page_token = match shown.last() {
            Some(last) if shown.len() < all => last.trust_domain.clone(),
            _ => String::new(),
        };
        Ok(ListFederatedBundlesResponse { bundles: shown, next_page_token })
    }

    pub(super) fn federated_bundle(
        &self,
        name: &str,
        mask: Option<types::BundleMask>,
    ) -> Result<types::Bundle, Status> {
        let of = trust_domain(name).map_err(|error| Status::invalid_argument(error.to_string()))?;
        if of == *self.issuance.trust_domain() {
            return Err(FederationError::Own.to_status());
        }
        let bundle = self.federation.bundle(&of).ok_or_else(|| FederationError::NoBundle.to_status())?;
        Ok(masked(bundle.to_wire().clone(), mask))
    }

    pub(super) async fn create_federated_bundles(
        &self,
        request: BatchCreateFederatedBundleRequest,
        caller: &Caller,
    ) -> Result<BatchCreateFederatedBundleResponse, Status> {
        let put = |wire| self.federation.put_bundle(wire, Before::Absent, Author::Caller(caller));
        let action = Action::FederationCreate;
        let results = self.each(caller, action, request.bundle, request.output_mask, put).await?;
        let results = results
            .into_iter()
            .map(|(status, bundle)| batch_create_federated_bundle_response::Result { status, bundle });
        Ok(BatchCreateFederatedBundleResponse { results: results.collect() })
    }

    pub(super) async fn set_federated_bundles(
        &self,
        request: BatchSetFederatedBundleRequest,
        caller: &Caller,
    ) -> Result<BatchSetFederatedBundleResponse, Status> {
        let put = |wire| self.federation.put_bundle(wire, Before::Either, Author::Caller(caller));
        let action = Action::FederationUpdate;
        let results = self.each(caller, action, request.bundle, request.output_mask, put).await?;
        let results = results
            .into_iter()
            .map(|(status, bundle)| batch_set_federated_bundle_response::Result { status, bundle });
        Ok(BatchSetFederatedBundleResponse { results: results.collect() })
    }

    pub(super) async fn update_federated_bundles(
        &self,
        request: BatchUpdateFederatedBundleRequest,
        caller: &Caller,
    ) -> Result<BatchUpdateFederatedBundleResponse, Status> {
        let mask = request.input_mask;
        let change = |wire| self.federation.change_bundle(wire, mask.as_ref(), Author::Caller(caller));
        let action = Action::FederationUpdate;
        let results = self.each(caller, action, request.bundle, request.output_mask, change).await?;
        let results = results
            .into_iter()
            .map(|(status, bundle)| batch_update_federated_bundle_response::Result { status, bundle });
        Ok(BatchUpdateFederatedBundleResponse { results: results.collect() })
    }

    pub(super) async fn delete_federated_bundles(
        &self,
        request: BatchDeleteFederatedBundleRequest,
        caller: &Caller,
    ) -> Result<BatchDeleteFederatedBundleResponse, Status> {
        check_batch(request.trust_domains.len())?;
        let mode = Mode::try_from(request.mode)
            .map_err(|_| Status::invalid_argument(format!("the mode {} is not known", request.mode)))?;
        let mut results = Vec::with_capacity(request.trust_domains.len());
        for name in request.trust_domains {
            let deleted = self.delete_federated_bundle(&name, mode, caller).await;
            let status = match self.noted(caller, Action::FederationDelete, &name, deleted) {
                Ok(()) => done(),
                Err(status) => failed(&status),
            };
            results.push(batch_delete_federated_bundle_response::Result {
                status: Some(status),
                trust_domain: name,
            });
        }
        Ok(BatchDeleteFederatedBundleResponse { results })
    }

    async fn delete_federated_bundle(&self, name: &str, mode: Mode, caller: &Caller) -> Result<(), Status> {
        let of = trust_domain(name).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let is_in_force = self.federation.bundle(&of).is_some() || of == *self.issuance.trust_domain();
        let is_held =
            is_in_force || self.federation.holds_bundle(&of).await.map_err(|error| error.to_status())?;
        if !is_held {
            return Err(FederationError::NoBundle.to_status());
        }
        // A bundle that is refused is not there for any entry, so none is a reason to keep it.
        if is_in_force || mode != Mode::Restrict {
            self.part_entries_from(&of, mode, caller).await?;
        }
        self.federation.delete_bundle(&of, Author::Caller(caller)).await.map_err(|error| error.to_status())
    }

    /// Sees to the entries that federate with a trust domain whose bundle is to be deleted.
    async fn part_entries_from(&self, of: &TrustDomain, mode: Mode, caller: &Caller) -> Result<(), Status> {
        let federating = EntryFilter {
            federates_with: Some((Match::Superset, [of.clone()].into())),
            ..EntryFilter::default()
        };
        if mode == Mode::Restrict {
            return match self.registry.count(&federating).await {
                0 => Ok(()),
                count => Err(Status::failed_precondition(format!(
                    "cannot delete bundle; federated with {count} registration entries"
                ))),
            };
        }
        let entries = self.registry.list(&federating, None, usize::MAX).await;
        let part = |fields: &mut EntryFields| {
            fields.federates_with =
                fields.federates_with.iter().filter(|other| *other != of).cloned().collect();
            Ok(())
        };
        let parted = entries.iter().map(|entry| async {
            let result = match mode {
                Mode::Delete => self.registry.delete(entry.id(), caller).await,
                _ => self.registry.update(entry.id(), part, caller).await.map(drop),
            };
            match result {
                // Somebody else deleted it meanwhile: it federates with nobody.
                Err(RegistryError::NotFound(_)) => Ok(()),
                other => other.map_err(|error| error.to_status()),
            }
        });
        join_all(parted).await.into_iter().collect()
    }

    /// What became of each bundle of a batch; what failed is taken note of.
    async fn each<F>(
        &self,
        caller: &Caller,
        action: Action,
        bundles: Vec<types::Bundle>,
        mask: Option<types::BundleMask>,
        put: impl Fn(types::Bundle) -> F,
    ) -> Result<Vec<(Option<types::Status>, Option<types::Bundle>)>, Status>
    where
        F: Future<Output = Result<Arc<FederatedBundle>, FederationError>>,
    {
        check_batch(bundles.len())?;
        let mut room = page::Room::default();
        let mut results = Vec::with_capacity(bundles.len());
        for wire in bundles {
            let name = wire.trust_domain.clone();
            let put = put(wire).await.map_err(|error| error.to_status());
            results.push(match self.noted(caller, action, &name, put) {
                Ok(bundle) => {
                    let shown = masked(bundle.to_wire().clone(), mask);
                    let shown = if room.holds(&shown) {
                        shown
                    } else {
                        types::Bundle { trust_domain: shown.trust_domain, ..types::Bundle::default() }
                    };
                    (Some(done()), Some(shown))
                }
                Err(status) => (Some(failed(&status)), None),
            });
        }
        Ok(results)
    }
}

impl ToStatus for FederationError {
    fn to_status(&self) -> Status {
        let code = match self {
            Self::Bundle(_) | Self::Relationship(_) | Self::Own => Code::InvalidArgument,
            Self::NoBundle | Self::NoRelationship => Code::NotFound,
            Self::BundleExists | Self::RelationshipExists => Code::AlreadyExists,
            Self::Raced => Code::Aborted,
            Self::Forged { .. } => Code::FailedPrecondition,
            Self::Store(error) => return error.to_status(),
        };
        Status::new(code, self.to_string())
    }
}
