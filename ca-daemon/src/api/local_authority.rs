//! `spire.api.server.localauthority.v1.LocalAuthority`.
//!
//! A step that is refused because somebody would be left without trust is taken all the same when the call's metadata
//! holds `secplane-force: true`.

use std::{future::Future, sync::Arc};

use secplane_proto::spire::api::server::localauthority::v1::{
    ActivateJwtAuthorityRequest, ActivateJwtAuthorityResponse, ActivateWitAuthorityRequest,
    ActivateWitAuthorityResponse, ActivateX509AuthorityRequest, ActivateX509AuthorityResponse,
    AuthorityState, GetJwtAuthorityStateRequest, GetJwtAuthorityStateResponse, GetWitAuthorityStateRequest,
    GetWitAuthorityStateResponse, GetX509AuthorityStateRequest, GetX509AuthorityStateResponse,
    PrepareJwtAuthorityRequest, PrepareJwtAuthorityResponse, PrepareWitAuthorityRequest,
    PrepareWitAuthorityResponse, PrepareX509AuthorityRequest, PrepareX509AuthorityResponse,
    RevokeJwtAuthorityRequest, RevokeJwtAuthorityResponse, RevokeWitAuthorityRequest,
    RevokeWitAuthorityResponse, RevokeX509AuthorityRequest, RevokeX509AuthorityResponse,
    RevokeX509UpstreamAuthorityRequest, RevokeX509UpstreamAuthorityResponse, TaintJwtAuthorityRequest,
    TaintJwtAuthorityResponse, TaintWitAuthorityRequest, TaintWitAuthorityResponse,
    TaintX509AuthorityRequest, TaintX509AuthorityResponse, TaintX509UpstreamAuthorityRequest,
    TaintX509UpstreamAuthorityResponse, local_authority_server::LocalAuthority,
};
use tonic::{Request, Response, Status};

use super::{refusal::ToStatus, services::Services};
use crate::{
    access::Permission,
    instant::unix,
    issuance::Requester,
    lifecycle::{Command, Line, Member, Step, StepError, outside_roots},
    store::AuthorityRow,
};

const FORCE: &str = "secplane-force";

pub(super) struct LocalAuthorityApi(pub(super) Arc<Services>);

/// The three that clients ask for: active, prepared, old.
type States = [Option<AuthorityState>; 3];

impl LocalAuthorityApi {
    async fn states<T>(&self, request: &Request<T>, line: Line) -> Result<States, Status> {
        self.0.authorize(request, Permission::Admin)?;
        let standing = self.0.lifecycle.look().await.map_err(|error| error.to_status())?;
        let succession = standing.succession(line);
        let active = succession.active().ok_or_else(|| StepError::NotBegun.to_status())?;
        let state =
            |member: Option<&Member>| member.and_then(|member| standing.row(&member.key_id)).map(state_of);
        Ok([state(Some(active)), state(succession.prepared()), state(succession.old())])
    }

    fn take<T>(
        &self,
        request: &Request<T>,
        line: Line,
        step: Step,
    ) -> impl Future<Output = Result<Option<AuthorityState>, Status>> {
        let caller = self.0.authorize(request, Permission::Admin);
        let force = request.metadata().get(FORCE).is_some_and(|value| value == "true");
        let lifecycle = Arc::clone(&self.0.lifecycle);
        async move {
            let command = Command { line, step, force, by: Requester::from(&caller?) };
            let row = lifecycle.take(command).await.map_err(|error| error.to_status())?;
            Ok(Some(state_of(&row)))
        }
    }

    fn no_wit<T, R>(&self, request: &Request<T>) -> Result<R, Status> {
        self.0.authorize(request, Permission::Admin)?;
        Err(Status::unimplemented("this authority issues no WIT-SVIDs"))
    }
}

fn state_of(row: &AuthorityRow) -> AuthorityState {
    AuthorityState {
        authority_id: row.key_id.clone(),
        expires_at: unix(Member::from(row).validity.not_after),
        upstream_authority_subject_key_id: upstream_key_id(row).unwrap_or_default(),
    }
}

/// The key identifier of the outside root above a CA; of the first one, when there are several.
fn upstream_key_id(row: &AuthorityRow) -> Option<String> {
    outside_roots(row).ok()?.into_iter().next()
}

#[tonic::async_trait]
impl LocalAuthority for LocalAuthorityApi {
    async fn get_x509_authority_state(
        &self,
        request: Request<GetX509AuthorityStateRequest>,
    ) -> Result<Response<GetX509AuthorityStateResponse>, Status> {
        let [active, prepared, old] = self.states(&request, Line::Root).await?;
        Ok(Response::new(GetX509AuthorityStateResponse { active, prepared, old }))
    }

    async fn prepare_x509_authority(
        &self,
        request: Request<PrepareX509AuthorityRequest>,
    ) -> Result<Response<PrepareX509AuthorityResponse>, Status> {
        let prepared_authority = self.take(&request, Line::Root, Step::Prepare).await?;
        Ok(Response::new(PrepareX509AuthorityResponse { prepared_authority }))
    }

    async fn activate_x509_authority(
        &self,
        request: Request<ActivateX509AuthorityRequest>,
    ) -> Result<Response<ActivateX509AuthorityResponse>, Status> {
        let step = Step::Activate(request.get_ref().authority_id.clone());
        let activated_authority = self.take(&request, Line::Root, step).await?;
        Ok(Response::new(ActivateX509AuthorityResponse { activated_authority }))
    }

    async fn taint_x509_authority(
        &self,
        request: Request<TaintX509AuthorityRequest>,
    ) -> Result<Response<TaintX509AuthorityResponse>, Status> {
        let step = Step::Taint(request.get_ref().authority_id.clone());
        let tainted_authority = self.take(&request, Line::Root, step).await?;
        Ok(Response::new(TaintX509AuthorityResponse { tainted_authority }))
    }

    async fn revoke_x509_authority(
        &self,
        request: Request<RevokeX509AuthorityRequest>,
    ) -> Result<Response<RevokeX509AuthorityResponse>, Status> {
        let step = Step::Revoke(request.get_ref().authority_id.clone());
        let revoked_authority = self.take(&request, Line::Root, step).await?;
        Ok(Response::new(RevokeX509AuthorityResponse { revoked_authority }))
    }

    async fn taint_x509_upstream_authority(
        &self,
        request: Request<TaintX509UpstreamAuthorityRequest>,
    ) -> Result<Response<TaintX509UpstreamAuthorityResponse>, Status> {
        let id = request.get_ref().subject_key_id.clone();
        self.take(&request, Line::Root, Step::TaintUpstream(id.clone())).await?;
        Ok(Response::new(TaintX509UpstreamAuthorityResponse { upstream_authority_subject_key_id: id }))
    }

    async fn revoke_x509_upstream_authority(
        &self,
        request: Request<RevokeX509UpstreamAuthorityRequest>,
    ) -> Result<Response<RevokeX509UpstreamAuthorityResponse>, Status> {
        let id = request.get_ref().subject_key_id.clone();
        self.take(&request, Line::Root, Step::RevokeUpstream(id.clone())).await?;
        Ok(Response::new(RevokeX509UpstreamAuthorityResponse { upstream_authority_subject_key_id: id }))
    }

    async fn get_jwt_authority_state(
        &self,
        request: Request<GetJwtAuthorityStateRequest>,
    ) -> Result<Response<GetJwtAuthorityStateResponse>, Status> {
        let [active, prepared, old] = self.states(&request, Line::Jwt).await?;
        Ok(Response::new(GetJwtAuthorityStateResponse { active, prepared, old }))
    }

    async fn prepare_jwt_authority(
        &self,
        request: Request<PrepareJwtAuthorityRequest>,
    ) -> Result<Response<PrepareJwtAuthorityResponse>, Status> {
        let prepared_authority = self.take(&request, Line::Jwt, Step::Prepare).await?;
        Ok(Response::new(PrepareJwtAuthorityResponse { prepared_authority }))
    }

    async fn activate_jwt_authority(
        &self,
        request: Request<ActivateJwtAuthorityRequest>,
    ) -> Result<Response<ActivateJwtAuthorityResponse>, Status> {
        let step = Step::Activate(request.get_ref().authority_id.clone());
        let activated_authority = self.take(&request, Line::Jwt, step).await?;
        Ok(Response::new(ActivateJwtAuthorityResponse { activated_authority }))
    }

    async fn taint_jwt_authority(
        &self,
        request: Request<TaintJwtAuthorityRequest>,
    ) -> Result<Response<TaintJwtAuthorityResponse>, Status> {
        let step = Step::Taint(request.get_ref().authority_id.clone());
        let tainted_authority = self.take(&request, Line::Jwt, step).await?;
        Ok(Response::new(TaintJwtAuthorityResponse { tainted_authority }))
    }

    async fn revoke_jwt_authority(
        &self,
        request: Request<RevokeJwtAuthorityRequest>,
    ) -> Result<Response<RevokeJwtAuthorityResponse>, Status> {
        let step = Step::Revoke(request.get_ref().authority_id.clone());
        let revoked_authority = self.take(&request, Line::Jwt, step).await?;
        Ok(Response::new(RevokeJwtAuthorityResponse { revoked_authority }))
    }

    async fn get_wit_authority_state(
        &self,
        request: Request<GetWitAuthorityStateRequest>,
    ) -> Result<Response<GetWitAuthorityStateResponse>, Status> {
        self.no_wit(&request)
    }

    async fn prepare_wit_authority(
        &self,
        request: Request<PrepareWitAuthorityRequest>,
    ) -> Result<Response<PrepareWitAuthorityResponse>, Status> {
        self.no_wit(&request)
    }

    async fn activate_wit_authority(
        &self,
        request: Request<ActivateWitAuthorityRequest>,
    ) -> Result<Response<ActivateWitAuthorityResponse>, Status> {
        self.no_wit(&request)
    }

    async fn taint_wit_authority(
        &self,
        request: Request<TaintWitAuthorityRequest>,
    ) -> Result<Response<TaintWitAuthorityResponse>, Status> {
        self.no_wit(&request)
    }

    async fn revoke_wit_authority(
        &self,
        request: Request<RevokeWitAuthorityRequest>,
    ) -> Result<Response<RevokeWitAuthorityResponse>, Status> {
        self.no_wit(&request)
    }
}
