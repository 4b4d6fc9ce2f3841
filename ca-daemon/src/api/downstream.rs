//! What authorities below this one ask for: a CA to sign with, and that the keys of their JWT-SVIDs are published.

use std::time::Duration;

use secplane_identity::{JwtAuthority, SpiffeId};
use secplane_proto::spire::api::{
    server::{
        bundle::v1::{PublishJwtAuthorityRequest, PublishJwtAuthorityResponse},
        svid::v1::{NewDownstreamX509caRequest, NewDownstreamX509caResponse},
    },
    types,
};
use tonic::{Request, Status};

use super::{
    refusal::ToStatus,
    services::Services,
    svid::{csr_refusal, lifetime},
};
use crate::{
    access::{Caller, Permission},
    audit::Action,
    authority::CertificateRequest,
    bundle_message,
    instant::{LAST_SECOND, from_unix},
    issuance::Requester,
    lifecycle::{CaOfAnother, ForeignAuthorities, OrderForAnother},
};

/// The shortest life of a downstream CA: one that ends sooner could not be put to use before its renewal is due.
const SHORTEST: Duration = Duration::from_secs(60);
/// The longest ID of a foreign JWT key, in bytes.
const MAX_KEY_ID_BYTES: usize = 255;

/// Signs the CA of a downstream authority below this replica's issuing CA, which it never outlives.
pub(super) async fn new_ca(
    services: &Services,
    request: Request<NewDownstreamX509caRequest>,
) -> Result<NewDownstreamX509caResponse, Status> {
    let caller = services.authorize(&request, Permission::Downstream)?;
    services.within_limit(services.limits.signatures.hold_back(id_of(&caller)?, 1).await)?;
    let NewDownstreamX509caRequest { csr, preferred_ttl } = request.into_inner();
    let issuing_lives = services.settings.load().validity.issuing_ca;
    let wanted = lifetime(preferred_ttl.into()).and_then(|lifetime| {
        let request = CertificateRequest::parse_for_ca(&csr, services.issuance.trust_domain())
            .map_err(|error| csr_refusal(&error, "invalid CSR signature"))?;
        Ok((lifetime.unwrap_or(issuing_lives).max(SHORTEST), request))
    });
    let (lifetime, request) = services.noted(&caller, Action::CertificateIssue, "", wanted)?;
    let order =
        OrderForAnother { whose: CaOfAnother::Downstream, request, lifetime, by: Requester::from(&caller) };
    let ca = services.lifecycle.sign_for_another(order).await.map_err(|error| error.to_status())?;
    tracing::info!(%caller, "a downstream authority has a CA below ours");
    let bundle = services.issuance.bundle().borrow().clone();
    Ok(NewDownstreamX509caResponse {
        ca_cert_chain: ca.chain.iter().map(|der| der.to_vec()).collect(),
        x509_authorities: bundle.authorities().map(|root| root.der.to_vec()).collect(),
    })
}

/// Publishes the key of a downstream authority's JWT-SVIDs, and answers all that are published.
pub(super) async fn publish_jwt_key(
    services: &Services,
    request: Request<PublishJwtAuthorityRequest>,
) -> Result<PublishJwtAuthorityResponse, Status> {
    let caller = services.authorize(&request, Permission::Downstream)?;
    services.within_limit(services.limits.signatures.hold_back(id_of(&caller)?, 1).await)?;
    let key = request.into_inner().jwt_authority;
    let key_id = key.as_ref().map(|key| key.key_id.clone()).unwrap_or_default();
    let published = publish(services, key, Requester::from(&caller)).await;
    services.noted(&caller, Action::AuthorityPublish, &key_id, published)?;
    let bundle = bundle_message::to_wire(&services.issuance.bundle().borrow());
    Ok(PublishJwtAuthorityResponse { jwt_authorities: bundle.jwt_authorities })
}

async fn publish(services: &Services, key: Option<types::JwtKey>, by: Requester) -> Result<(), Status> {
    let key = key.ok_or_else(|| Status::invalid_argument("missing JWT authority"))?;
    let foreign = ForeignAuthorities { roots: Vec::new(), jwt_keys: vec![jwt_key(key)?] };
    services.lifecycle.publish_foreign(foreign, by).await.map_err(|error| error.to_status())
}

/// Reads a JWT key of somebody else.
pub(super) fn jwt_key(wire: types::JwtKey) -> Result<JwtAuthority, Status> {
    let refuse = |reason: &str| Err(Status::invalid_argument(format!("invalid JWT authority: {reason}")));
    let types::JwtKey { public_key, key_id, expires_at, tainted } = wire;
    if key_id.is_empty() {
        return refuse("missing key ID");
    }
    if key_id.len() > MAX_KEY_ID_BYTES || key_id.chars().any(char::is_control) {
        return refuse("the key ID is longer than 255 bytes, or has control characters");
    }
    if expires_at < 0 {
        return refuse("its end is negative");
    }
    if expires_at > LAST_SECOND {
        return refuse("it ends after the year 9999; one without an end says 0");
    }
    if tainted {
        return refuse("it is tainted");
    }
    if public_key.is_empty() {
        return refuse("missing public key");
    }
    let expires_at = (expires_at > 0).then(|| from_unix(expires_at));
    Ok(JwtAuthority { key_id, public_key_info: public_key, expires_at, tainted: false })
}

fn id_of(caller: &Caller) -> Result<&SpiffeId, Status> {
    match caller {
        Caller::Svid { id, .. } => Ok(id),
        // Only an X.509-SVID passes as one of a downstream authority.
        _ => Err(Status::permission_denied("the caller has no SPIFFE ID")),
    }
}
