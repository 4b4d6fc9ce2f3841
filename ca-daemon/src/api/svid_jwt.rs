//! The calls of `spire.api.server.svid.v1.SVID` that are about JWT-SVIDs.

use secplane_identity::SpiffeId;
use secplane_proto::spire::api::{
    server::svid::v1::{MintJwtsvidRequest, MintJwtsvidResponse},
    types,
};
use tonic::{Request, Response, Status};

use super::{refusal::ToStatus, services::Services, svid::lifetime};
use crate::{
    access::Permission,
    authority::{JwtSubject, SignedJwt},
    instant::unix,
    issuance::Requester,
    jwt_svids::JwtOrder,
};

/// An admin mints a JWT-SVID for any workload of the trust domain.
pub(super) async fn mint(
    services: &Services,
    request: Request<MintJwtsvidRequest>,
) -> Result<Response<MintJwtsvidResponse>, Status> {
    let caller = services.authorize(&request, Permission::Admin)?;
    let MintJwtsvidRequest { id, audience, ttl } = request.into_inner();
    let id = workload_id(services, id)?;
    let order = JwtOrder {
        subject: JwtSubject { id: id.clone(), audience, token_id: None },
        lifetime: lifetime(ttl.into())?,
        requester: Requester::from(&caller),
        entry_id: None,
    };
    let signed = services.jwt_svids.issue(order).await.map_err(|error| error.to_status())?;
    Ok(Response::new(MintJwtsvidResponse { svid: Some(to_wire(&id, signed, String::new())) }))
}

/// A JWT-SVID as a message.
pub(super) fn to_wire(id: &SpiffeId, signed: SignedJwt, hint: String) -> types::Jwtsvid {
    types::Jwtsvid {
        token: signed.token,
        id: Some(types::Spiffeid { trust_domain: id.trust_domain().to_string(), path: id.path().to_owned() }),
        expires_at: unix(signed.expires_at),
        issued_at: unix(signed.issued_at),
        hint,
    }
}

fn workload_id(services: &Services, id: Option<types::Spiffeid>) -> Result<SpiffeId, Status> {
    let types::Spiffeid { trust_domain, path } =
        id.ok_or_else(|| Status::invalid_argument("the request names no SPIFFE ID"))?;
    let own = services.issuance.trust_domain();
    if trust_domain != own.as_str() {
        return Err(Status::invalid_argument(format!(
            "`{trust_domain}` is not the trust domain of this authority, which is {own}"
        )));
    }
    let id = SpiffeId::from_parts(own, &path)
        .map_err(|error| Status::invalid_argument(format!("the SPIFFE ID is not usable: {error}")))?;
    if id.is_reserved() {
        return Err(Status::invalid_argument(format!(
            "{id} lies below /spire, which is kept for servers and agents"
        )));
    }
    Ok(id)
}
