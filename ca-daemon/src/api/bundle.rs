//! `spire.api.server.bundle.v1.Bundle`.

use std::sync::Arc;

use secplane_proto::spire::api::{
    server::bundle::v1::{
        AppendBundleRequest, BatchCreateFederatedBundleRequest, BatchCreateFederatedBundleResponse,
        BatchDeleteFederatedBundleRequest, BatchDeleteFederatedBundleResponse,
        BatchSetFederatedBundleRequest, BatchSetFederatedBundleResponse, BatchUpdateFederatedBundleRequest,
        BatchUpdateFederatedBundleResponse, CountBundlesRequest, CountBundlesResponse, GetBundleRequest,
        GetFederatedBundleRequest, ListFederatedBundlesRequest, ListFederatedBundlesResponse,
        PublishJwtAuthorityRequest, PublishJwtAuthorityResponse, PublishWitAuthorityRequest,
        PublishWitAuthorityResponse, bundle_server::Bundle,
    },
    types,
};
use tonic::{Request, Response, Status};

use super::services::Services;
use crate::{access::Permission, bundle_message::to_wire};

pub(super) struct BundleApi(pub(super) Arc<Services>);

pub(super) fn masked(mut bundle: types::Bundle, mask: Option<types::BundleMask>) -> types::Bundle {
    let Some(mask) = mask else { return bundle };
    if !mask.x509_authorities {
        bundle.x509_authorities.clear();
    }
    if !mask.jwt_authorities {
        bundle.jwt_authorities.clear();
    }
    if !mask.wit_authorities {
        bundle.wit_authorities.clear();
    }
    if !mask.refresh_hint {
        bundle.refresh_hint = 0;
    }
    if !mask.sequence_number {
        bundle.sequence_number = 0;
    }
    bundle
}

impl BundleApi {
    fn not_here<T, R>(&self, request: &Request<T>, what: &str) -> Result<R, Status> {
        self.0.authorize(request, Permission::Admin)?;
        Err(Status::unimplemented(format!("this authority does not {what}")))
    }
}

#[tonic::async_trait]
impl Bundle for BundleApi {
    /// The bootstrap call: it needs no certificate, for what it answers is public and is worth nothing before it
    /// was compared with a fingerprint that came another way.
    async fn get_bundle(
        &self,
        request: Request<GetBundleRequest>,
    ) -> Result<Response<types::Bundle>, Status> {
        self.0.authorize(&request, Permission::Public)?;
        let bundle = to_wire(&self.0.issuance.bundle().borrow());
        Ok(Response::new(masked(bundle, request.into_inner().output_mask)))
    }

    async fn count_bundles(
        &self,
        request: Request<CountBundlesRequest>,
    ) -> Result<Response<CountBundlesResponse>, Status> {
        self.0.authorize(&request, Permission::Admin)?;
        let count = i32::try_from(self.0.federation.bundles().len() + 1).unwrap_or(i32::MAX);
        Ok(Response::new(CountBundlesResponse { count }))
    }

    async fn list_federated_bundles(
        &self,
        request: Request<ListFederatedBundlesRequest>,
    ) -> Result<Response<ListFederatedBundlesResponse>, Status> {
        self.0.authorize(&request, Permission::Admin)?;
        self.0.list_federated_bundles(request.into_inner()).map(Response::new)
    }

    async fn get_federated_bundle(
        &self,
        request: Request<GetFederatedBundleRequest>,
    ) -> Result<Response<types::Bundle>, Status> {
        self.0.authorize_admin_or_agent(&request).await?;
        let GetFederatedBundleRequest { trust_domain, output_mask } = request.into_inner();
        self.0.federated_bundle(&trust_domain, output_mask).map(Response::new)
    }

    async fn append_bundle(
        &self,
        request: Request<AppendBundleRequest>,
    ) -> Result<Response<types::Bundle>, Status> {
        self.not_here(&request, "take in foreign authorities")
    }

    async fn publish_jwt_authority(
        &self,
        request: Request<PublishJwtAuthorityRequest>,
    ) -> Result<Response<PublishJwtAuthorityResponse>, Status> {
        self.not_here(&request, "publish JWT keys")
    }

    async fn publish_wit_authority(
        &self,
        request: Request<PublishWitAuthorityRequest>,
    ) -> Result<Response<PublishWitAuthorityResponse>, Status> {
        self.not_here(&request, "publish workload identity token keys")
    }

    async fn batch_create_federated_bundle(
        &self,
        request: Request<BatchCreateFederatedBundleRequest>,
    ) -> Result<Response<BatchCreateFederatedBundleResponse>, Status> {
        let caller = self.0.authorize(&request, Permission::Admin)?;
        self.0.create_federated_bundles(request.into_inner(), &caller).await.map(Response::new)
    }

    async fn batch_update_federated_bundle(
        &self,
        request: Request<BatchUpdateFederatedBundleRequest>,
    ) -> Result<Response<BatchUpdateFederatedBundleResponse>, Status> {
        let caller = self.0.authorize(&request, Permission::Admin)?;
        self.0.update_federated_bundles(request.into_inner(), &caller).await.map(Response::new)
    }

    async fn batch_set_federated_bundle(
        &self,
        request: Request<BatchSetFederatedBundleRequest>,
    ) -> Result<Response<BatchSetFederatedBundleResponse>, Status> {
        let caller = self.0.authorize(&request, Permission::Admin)?;
        self.0.set_federated_bundles(request.into_inner(), &caller).await.map(Response::new)
    }

    async fn batch_delete_federated_bundle(
        &self,
        request: Request<BatchDeleteFederatedBundleRequest>,
    ) -> Result<Response<BatchDeleteFederatedBundleResponse>, Status> {
        let caller = self.0.authorize(&request, Permission::Admin)?;
        self.0.delete_federated_bundles(request.into_inner(), &caller).await.map(Response::new)
    }
}
