//! The calls of `secplane.ca.v1.Authority` that are about private keys: another wrapping key, and a CA for a mesh's key.

use std::{path::PathBuf, time::Duration};

use secplane_proto::secplane::ca::v1::{
    IssueIstioCaRequest, IssueIstioCaResponse, RekeyRequest, RekeyResponse, rekey_request::NewWrappingKey,
};
use tonic::{Request, Response, Status};

use super::{refusal::ToStatus, services::Services, svid::lifetime};
use crate::{
    access::{Caller, Permission},
    audit::Action,
    authority::CertificateRequest,
    issuance::Requester,
    keys::{WrappingKey, WrappingKeySource},
    lifecycle::{CaOfAnother, OrderForAnother},
};

/// How long a mesh's CA is valid unless the admin says otherwise: long enough to plan its renewal, and no longer.
const MESH_CA_LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);

/// Seals every secret under another wrapping key, which the daemon reads from its own machine: so only somebody on it
/// may say where.
pub(super) async fn rekey(
    services: &Services,
    request: Request<RekeyRequest>,
) -> Result<Response<RekeyResponse>, Status> {
    let caller = services.authorize(&request, Permission::Admin)?;
    if !matches!(caller, Caller::LocalAdmin(_)) {
        return Err(Status::permission_denied(
            "the wrapping key is changed over the admin socket alone; run secctl on the CA's machine",
        ));
    }
    let read = read(request.into_inner().new_wrapping_key).await;
    let (source, wrapping) = services.noted(&caller, Action::KeysRekey, "", read)?;
    let event = Requester::from(&caller).event(Action::KeysRekey, wrapping.id().to_string());
    let done = services.keys.rekey(wrapping).await;
    let event = match &done {
        Ok(done) => event.with("from", done.from.to_string()).with("sealed", done.sealed.to_string()),
        Err(error) => event.failed(error.to_string()),
    };
    let recorded = services.issuance.store().record(event).await;
    let done = done.map_err(|error| Status::failed_precondition(error.to_string()))?;
    // Where it is read from if another replica seals everything anew; it is the one in use, so nothing refuses it.
    if let Err(error) = services.keys.read_wrapping_key_from(source).await {
        tracing::error!(%error, "the new wrapping key cannot be read again");
    }
    recorded.map_err(|error| error.to_status())?;
    tracing::warn!(from = %done.from, to = %done.to, "every secret is sealed under another wrapping key");
    Ok(Response::new(RekeyResponse { sealed: i64::try_from(done.sealed).unwrap_or(i64::MAX) }))
}

/// The new wrapping key, and where it was read.
async fn read(named: Option<NewWrappingKey>) -> Result<(WrappingKeySource, WrappingKey), Status> {
    let source = match named {
        Some(NewWrappingKey::File(path)) if PathBuf::from(&path).is_absolute() => {
            WrappingKeySource::File(path.into())
        }
        Some(NewWrappingKey::File(path)) => {
            return Err(Status::invalid_argument(format!(
                "`{path}` is not absolute; the daemon may run in another folder"
            )));
        }
        Some(NewWrappingKey::Credential(name)) => WrappingKeySource::Credential(name),
        Some(NewWrappingKey::Env(name)) => WrappingKeySource::Env(name),
        None => return Err(Status::invalid_argument("the request names no new wrapping key")),
    };
    let reading = source.clone();
    let read = tokio::task::spawn_blocking(move || reading.read()).await;
    let wrapping = read
        .map_err(|_| Status::unavailable("the authority is stopping"))?
        .map_err(|error| Status::failed_precondition(error.to_string()))?;
    Ok((source, wrapping))
}

/// Signs the CA of a mesh that is to chain to the same root. It can issue any identity of the trust domain, so its key
/// is as precious as an issuing CA's; only an admin gets one, and the audit log says so.
pub(super) async fn issue_istio_ca(
    services: &Services,
    request: Request<IssueIstioCaRequest>,
) -> Result<Response<IssueIstioCaResponse>, Status> {
    let caller = services.authorize(&request, Permission::Admin)?;
    let IssueIstioCaRequest { csr, ttl } = request.into_inner();
    let wanted = lifetime(ttl).and_then(|lifetime| {
        let request = CertificateRequest::parse_for_ca(&csr, services.issuance.trust_domain())
            .map_err(|error| error.to_status())?;
        Ok((lifetime.unwrap_or(MESH_CA_LIFETIME), request))
    });
    let (lifetime, request) = services.noted(&caller, Action::CertificateIssue, "", wanted)?;
    let order = OrderForAnother { whose: CaOfAnother::Mesh, request, lifetime, by: Requester::from(&caller) };
    let ca = services.lifecycle.sign_for_another(order).await.map_err(|error| error.to_status())?;
    tracing::info!(%caller, "a mesh has a CA of its own below ours");
    Ok(Response::new(IssueIstioCaResponse {
        chain: ca.chain.iter().map(|der| der.to_vec()).collect(),
        roots: ca.roots.iter().map(|der| der.to_vec()).collect(),
    }))
}
