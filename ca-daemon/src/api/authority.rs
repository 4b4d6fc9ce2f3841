//! `secplane.ca.v1.Authority`.

use std::sync::Arc;

use secplane_identity::Fingerprint;
use secplane_proto::secplane::ca::v1::{
    GetStatusRequest, GetStatusResponse, GetUpstreamRequestRequest, GetUpstreamRequestResponse,
    ImportUpstreamChainRequest, ImportUpstreamChainResponse, IssueIstioCaRequest, IssueIstioCaResponse,
    ListAuthoritiesRequest, ListAuthoritiesResponse, RekeyRequest, RekeyResponse,
    authority_server::Authority,
};
use tonic::{Request, Response, Status};

use super::{authority_keys, services::Services};
use crate::{access::Permission, instant::unix};

pub(super) struct AuthorityApi(pub(super) Arc<Services>);

#[tonic::async_trait]
impl Authority for AuthorityApi {
    async fn get_status(
        &self,
        request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        self.0.authorize(&request, Permission::Admin)?;
        let services = &self.0;
        let bundle = services.issuance.bundle().borrow().clone();
        let issuing = services.issuance.issuing();
        let entries = services.registry.len();
        Ok(Response::new(GetStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            trust_domain: bundle.trust_domain().to_string(),
            root_fingerprints: bundle.authorities().map(|r| Fingerprint::of(&r.der).to_string()).collect(),
            root_expires_at: services
                .domain_ca
                .roots()
                .map(|root| unix(root.not_after))
                .min()
                .unwrap_or_default(),
            issuing_ca_key_id: issuing.key_id().to_owned(),
            issuing_ca_expires_at: unix(issuing.certificate().not_after),
            bundle_sequence: bundle.sequence(),
            entries: i64::try_from(entries).unwrap_or(i64::MAX),
            started_at: unix(services.started_at),
            insecure: services.insecure,
        }))
    }

    async fn list_authorities(
        &self,
        request: Request<ListAuthoritiesRequest>,
    ) -> Result<Response<ListAuthoritiesResponse>, Status> {
        self.0.authorize(&request, Permission::Admin)?;
        Err(Status::unimplemented("this authority does not do this yet"))
    }

    async fn get_upstream_request(
        &self,
        request: Request<GetUpstreamRequestRequest>,
    ) -> Result<Response<GetUpstreamRequestResponse>, Status> {
        self.0.authorize(&request, Permission::Admin)?;
        Err(Status::unimplemented("this authority does not do this yet"))
    }

    async fn import_upstream_chain(
        &self,
        request: Request<ImportUpstreamChainRequest>,
    ) -> Result<Response<ImportUpstreamChainResponse>, Status> {
        self.0.authorize(&request, Permission::Admin)?;
        Err(Status::unimplemented("this authority does not do this yet"))
    }

    async fn issue_istio_ca(
        &self,
        request: Request<IssueIstioCaRequest>,
    ) -> Result<Response<IssueIstioCaResponse>, Status> {
        authority_keys::issue_istio_ca(&self.0, request).await
    }

    async fn rekey(&self, request: Request<RekeyRequest>) -> Result<Response<RekeyResponse>, Status> {
        authority_keys::rekey(&self.0, request).await
    }
}
