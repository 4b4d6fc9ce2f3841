//! The calls of `secplane.ca.v1.Authority` by which an outside CA certifies the CA of the trust domain.

use rustls_pki_types::CertificateDer;
use secplane_proto::secplane::ca::v1::{
    GetUpstreamRequestRequest, GetUpstreamRequestResponse, ImportUpstreamChainRequest,
    ImportUpstreamChainResponse,
};
use tonic::{Request, Response, Status};

use super::{authority::to_wire, refusal::ToStatus, services::Services};
use crate::{
    access::{Caller, Permission},
    audit::{Action, Event},
    issuance::Requester,
    store::AuthorityRow,
    upstream::{PendingRequest, UpstreamError, answered_request, forget_request, pending_request},
};

/// The most certificates of one chain, and the most roots.
const MAX_CERTIFICATES: usize = 16;

pub(super) async fn request(
    services: &Services,
    request: Request<GetUpstreamRequestRequest>,
) -> Result<Response<GetUpstreamRequestResponse>, Status> {
    let caller = services.authorize(&request, Permission::Admin)?;
    let made = make(services, &caller).await;
    let csr = services.noted(&caller, Action::AuthorityRequest, "", made)?;
    Ok(Response::new(GetUpstreamRequestResponse { csr }))
}

/// A request is handed out once it is on record for which key, and to whom.
async fn make(services: &Services, caller: &Caller) -> Result<Vec<u8>, Status> {
    let PendingRequest { key_id, csr } = pending_request(&services.keys, services.issuance.trust_domain())
        .await
        .map_err(|error| error.to_status())?;
    let event = Event::by(caller, Action::AuthorityRequest, key_id);
    services.issuance.store().record(event).await.map_err(|error| error.to_status())?;
    Ok(csr)
}

/// What was taken in is prepared: in the trust bundle, and signing nothing until it is activated.
pub(super) async fn import(
    services: &Services,
    request: Request<ImportUpstreamChainRequest>,
) -> Result<Response<ImportUpstreamChainResponse>, Status> {
    let caller = services.authorize(&request, Permission::Admin)?;
    let imported = take_in(services, request.into_inner(), &caller).await;
    let row = services.noted(&caller, Action::AuthorityPrepare, "", imported)?;
    let authority = Some(to_wire(&row, &services.lifecycle.standing(), &services.lifecycle));
    Ok(Response::new(ImportUpstreamChainResponse { authority }))
}

async fn take_in(
    services: &Services,
    wire: ImportUpstreamChainRequest,
    caller: &Caller,
) -> Result<AuthorityRow, Status> {
    let ImportUpstreamChainRequest { chain, roots } = wire;
    if chain.len() > MAX_CERTIFICATES || roots.len() > MAX_CERTIFICATES {
        return Err(Status::invalid_argument(format!(
            "at most {MAX_CERTIFICATES} certificates are read of each"
        )));
    }
    let certificates = |list: Vec<Vec<u8>>| list.into_iter().map(CertificateDer::from).collect();
    let ca = answered_request(
        &services.keys,
        services.issuance.trust_domain(),
        certificates(chain),
        certificates(roots),
        services.issuance.clock().now(),
    )
    .await
    .map_err(|error| error.to_status())?;
    let row = services
        .lifecycle
        .take_in(ca, services.keys.ca_storage(), Requester::from(caller))
        .await
        .map_err(|error| error.to_status())?;
    forget_request(&services.keys).await.map_err(|error| error.to_status())?;
    Ok(row)
}

impl ToStatus for UpstreamError {
    fn to_status(&self) -> Status {
        match self {
            Self::NoRequest => Status::failed_precondition(self.to_string()),
            Self::NoChain | Self::OtherRoots | Self::NoMoreLists | Self::Ca(_) => {
                Status::invalid_argument(self.to_string())
            }
            Self::Interrupted => Status::unavailable(self.to_string()),
            Self::Read { .. }
            | Self::Exposed { .. }
            | Self::Key { .. }
            | Self::Certificates { .. }
            | Self::Empty(_)
            | Self::Keys(_) => {
                tracing::error!(error = %self, "a call failed");
                Status::internal("the authority could not do this; its log says why")
            }
        }
    }
}
