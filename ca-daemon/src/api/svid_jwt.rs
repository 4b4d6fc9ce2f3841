//! The calls of `spire.api.server.svid.v1.SVID` that are about JWT-SVIDs.

use std::{sync::Arc, time::Duration};

use secplane_identity::SpiffeId;
use secplane_proto::spire::api::{
    server::svid::v1::{MintJwtsvidRequest, MintJwtsvidResponse, NewJwtsvidRequest, NewJwtsvidResponse},
    types,
};
use tonic::{Request, Response, Status};

use super::{not_given::named, refusal::ToStatus, services::Services, svid::lifetime};
use crate::{
    access::{Caller, Permission},
    agents::Agent,
    audit::Action,
    authority::{JwtSubject, SignedJwt},
    instant::unix,
    issuance::Requester,
    jwt_svids::{JwtOrder, token_id},
    registry::{Entry, EntryId},
};

/// An admin mints a JWT-SVID for any workload of the trust domain.
pub(super) async fn mint(
    services: &Services,
    request: Request<MintJwtsvidRequest>,
) -> Result<Response<MintJwtsvidResponse>, Status> {
    let caller = services.authorize(&request, Permission::Admin)?;
    let MintJwtsvidRequest { id, audience, ttl } = request.into_inner();
    let named = named(id.as_ref());
    let wanted = wanted(services, id, &audience, ttl);
    let (id, lifetime) = services.noted(&caller, Action::JwtIssue, &named, wanted)?;
    let order = JwtOrder {
        subject: JwtSubject { id: id.clone(), audience, token_id: None },
        lifetime,
        requester: Requester::from(&caller),
        entry_id: None,
    };
    let signed = services.jwt_svids.issue(order).await.map_err(|error| error.to_status())?;
    Ok(Response::new(MintJwtsvidResponse { svid: Some(to_wire(&id, signed, String::new())) }))
}

/// An agent gets a JWT-SVID for a workload of one of its entries.
pub(super) async fn new_for_entry(
    services: &Services,
    caller: &Caller,
    agent: &Agent,
    request: NewJwtsvidRequest,
) -> Result<NewJwtsvidResponse, Status> {
    let NewJwtsvidRequest { entry_id, audience } = request;
    if entry_id.is_empty() {
        return Err(Status::invalid_argument("missing entry ID"));
    }
    services.within_limit(services.limits.signatures.hold_back(&agent.id, 1).await)?;
    let entry = granted(services, agent, &entry_id, &audience)
        .inspect_err(|status| services.note_of_entry(caller, Action::JwtIssue, &entry_id, status))?;
    let fields = entry.fields();
    let token_id =
        fields.jwt_svid_include_jti.then(token_id).transpose().map_err(|error| error.to_status())?;
    let order = JwtOrder {
        subject: JwtSubject { id: fields.spiffe_id.clone(), audience, token_id },
        lifetime: services.jwt_svids.granted_lifetime(&entry),
        requester: Requester::from(caller),
        entry_id: Some(entry.id().clone()),
    };
    let issued = services.jwt_svids.issue_for(&services.agents, agent, order).await;
    let signed = issued.map_err(|error| error.to_status())?;
    Ok(NewJwtsvidResponse { svid: Some(to_wire(&fields.spiffe_id, signed, fields.hint.clone())) })
}

/// The entry that grants what an agent asks for.
fn granted(
    services: &Services,
    agent: &Agent,
    entry_id: &str,
    audience: &[String],
) -> Result<Arc<Entry>, Status> {
    let now = services.issuance.clock().now();
    let entry = EntryId::parse(entry_id)
        .ok()
        .and_then(|id| services.registry.authorized_entry(&agent.node(), &id, now))
        .ok_or_else(|| Status::not_found("entry not found or not authorized"))?;
    check_audience(audience)?;
    Ok(entry)
}

/// For whom and for how long an admin wants a token.
fn wanted(
    services: &Services,
    id: Option<types::Spiffeid>,
    audience: &[String],
    ttl: i32,
) -> Result<(SpiffeId, Option<Duration>), Status> {
    let id = workload_id(services, id)?;
    check_audience(audience)?;
    Ok((id, lifetime(ttl.into())?))
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

fn check_audience(audience: &[String]) -> Result<(), Status> {
    if audience.is_empty() {
        return Err(Status::invalid_argument("at least one audience is required"));
    }
    Ok(())
}

fn workload_id(services: &Services, id: Option<types::Spiffeid>) -> Result<SpiffeId, Status> {
    let types::Spiffeid { trust_domain, path } =
        id.ok_or_else(|| Status::invalid_argument("invalid SPIFFE ID: the request names none"))?;
    let own = services.issuance.trust_domain();
    if trust_domain != own.as_str() {
        return Err(Status::invalid_argument(format!(
            "invalid SPIFFE ID: `{trust_domain}` is not the trust domain of this authority, which is {own}"
        )));
    }
    let id = SpiffeId::from_parts(own, &path)
        .map_err(|error| Status::invalid_argument(format!("invalid SPIFFE ID: {error}")))?;
    if id.is_reserved() {
        return Err(Status::invalid_argument(format!(
            "invalid SPIFFE ID: {id} lies below /spire, which is kept for servers and agents"
        )));
    }
    Ok(id)
}
