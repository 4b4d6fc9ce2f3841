//! `spire.api.server.bundle.v1.Bundle`.

use std::sync::Arc;

use secplane_identity::x509::Certificate;
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

use super::{batch::check_batch, downstream, refusal::ToStatus, services::Services};
use crate::{
    access::{Caller, Permission},
    audit::Action,
    bundle_message::to_wire,
    issuance::Requester,
    lifecycle::ForeignAuthorities,
};

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

/// Reads what is to be trusted beside our own.
fn foreign(
    roots: Vec<types::X509Certificate>,
    jwt_keys: Vec<types::JwtKey>,
) -> Result<ForeignAuthorities, Status> {
    check_batch(roots.len() + jwt_keys.len())?;
    if roots.is_empty() && jwt_keys.is_empty() {
        return Err(Status::invalid_argument("no authorities to append"));
    }
    let root = |wire: types::X509Certificate| match Certificate::parse(&wire.asn1) {
        Ok(_) if wire.tainted => Err(Status::invalid_argument("invalid X.509 authority: it is tainted")),
        Ok(root) => Ok(root),
        Err(error) => Err(Status::invalid_argument(format!("invalid X.509 authority: {error}"))),
    };
    Ok(ForeignAuthorities {
        roots: roots.into_iter().map(root).collect::<Result<_, _>>()?,
        jwt_keys: jwt_keys.into_iter().map(downstream::jwt_key).collect::<Result<_, _>>()?,
    })
}

impl BundleApi {
    async fn append(
        &self,
        roots: Vec<types::X509Certificate>,
        jwt_keys: Vec<types::JwtKey>,
        caller: &Caller,
    ) -> Result<(), Status> {
        let foreign = foreign(roots, jwt_keys)?;
        let appended = self.0.lifecycle.publish_foreign(foreign, Requester::from(caller)).await;
        appended.map_err(|error| error.to_status())
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
        let caller = self.0.authorize(&request, Permission::Admin)?;
        let AppendBundleRequest { x509_authorities, jwt_authorities, wit_authorities, output_mask } =
            request.into_inner();
        if !wit_authorities.is_empty() {
            return Err(Status::unimplemented("this authority knows no keys of workload identity tokens"));
        }
        let appended = self.append(x509_authorities, jwt_authorities, &caller).await;
        self.0.noted(&caller, Action::AuthorityPublish, "", appended)?;
        tracing::warn!(%caller, "authorities of others came into the trust bundle");
        let bundle = to_wire(&self.0.issuance.bundle().borrow());
        Ok(Response::new(masked(bundle, output_mask)))
    }

    async fn publish_jwt_authority(
        &self,
        request: Request<PublishJwtAuthorityRequest>,
    ) -> Result<Response<PublishJwtAuthorityResponse>, Status> {
        downstream::publish_jwt_key(&self.0, request).await.map(Response::new)
    }

    async fn publish_wit_authority(
        &self,
        request: Request<PublishWitAuthorityRequest>,
    ) -> Result<Response<PublishWitAuthorityResponse>, Status> {
        self.0.authorize(&request, Permission::Downstream)?;
        Err(Status::unimplemented("this authority knows no keys of workload identity tokens"))
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
