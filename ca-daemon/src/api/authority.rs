//! `secplane.ca.v1.Authority`.

use std::sync::Arc;

use secplane_identity::{Fingerprint, x509::Certificate};
use secplane_proto::secplane::ca::v1::{
    AuthorityRecord, GetStatusRequest, GetStatusResponse, GetUpstreamRequestRequest,
    GetUpstreamRequestResponse, ImportUpstreamChainRequest, ImportUpstreamChainResponse, IssueIstioCaRequest,
    IssueIstioCaResponse, ListAuthoritiesRequest, ListAuthoritiesResponse, RekeyRequest, RekeyResponse,
    authority_server::Authority,
};
use tonic::{Request, Response, Status};

use super::{authority_keys, authority_upstream, page, refusal::ToStatus, services::Services};
use crate::{
    access::Permission,
    instant::unix,
    lifecycle::{Authorities, DueStep, Lifecycle, Line},
    store::{AuthorityKind, AuthorityRow, AuthorityState},
};

pub(super) struct AuthorityApi(pub(super) Arc<Services>);

fn fingerprint(root: &Certificate) -> String {
    Fingerprint::of(&root.der).to_string()
}

/// The next step is that of `standing`, of which the row is: what this replica has caught up with may be older.
pub(super) fn to_wire(row: &AuthorityRow, standing: &Authorities, lifecycle: &Lifecycle) -> AuthorityRecord {
    use secplane_proto::secplane::ca::v1::{AuthorityKind as Kind, AuthorityState as State};
    let line = match row.kind {
        AuthorityKind::Root => Some(Line::Root),
        AuthorityKind::Jwt => Some(Line::Jwt),
        AuthorityKind::Issuing | AuthorityKind::Mesh | AuthorityKind::Downstream => None,
    };
    // The next step of a line stands with the one that it is taken with, or that gets a successor by it.
    let next = line.and_then(|line| lifecycle.next_step(standing, line)).filter(|(step, _)| match step {
        DueStep::Prepare => row.state == AuthorityState::Active,
        DueStep::Activate(key_id) => row.key_id == *key_id,
    });
    let (next_step, next_step_at) =
        next.map_or((String::new(), 0), |(step, at)| (step.as_str().to_owned(), unix(at)));
    AuthorityRecord {
        authority_id: row.key_id.clone(),
        kind: match row.kind {
            AuthorityKind::Root => Kind::Root,
            AuthorityKind::Issuing => Kind::Issuing,
            AuthorityKind::Jwt => Kind::Jwt,
            AuthorityKind::Mesh => Kind::Mesh,
            AuthorityKind::Downstream => Kind::Downstream,
        }
        .into(),
        state: match row.state {
            AuthorityState::Prepared => State::Prepared,
            AuthorityState::Active => State::Active,
            AuthorityState::Old => State::Old,
            AuthorityState::Revoked => State::Revoked,
        }
        .into(),
        tainted: row.tainted,
        created_at: row.created_at,
        not_before: row.not_before,
        not_after: row.not_after,
        issuer_authority_id: match row.kind {
            AuthorityKind::Root | AuthorityKind::Jwt => String::new(),
            AuthorityKind::Issuing | AuthorityKind::Mesh | AuthorityKind::Downstream => {
                row.issuer_key_id.clone()
            }
        },
        replica: row.replica.clone(),
        public: row.public.clone(),
        key_storage: row.key_storage.clone(),
        next_step_at,
        next_step,
    }
}

/// What is left to list after the authority that a page ended with. The order is that of their age,
/// the latest first: what is made in between is on no page, and nothing is on two.
fn rows_after<'a>(rows: &'a [AuthorityRow], token: &str) -> Result<&'a [AuthorityRow], Status> {
    if token.is_empty() {
        return Ok(rows);
    }
    match rows.iter().position(|row| row.key_id == token) {
        Some(last) => Ok(&rows[last + 1..]),
        None => Err(Status::aborted(
            "the authority that the page before ended with is no more; begin with the first page",
        )),
    }
}

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
        let domain_ca = services.lifecycle.domain_ca();
        let mut root_fingerprints: Vec<_> = domain_ca.roots().map(fingerprint).collect();
        for other in bundle.authorities().map(fingerprint) {
            if !root_fingerprints.contains(&other) {
                root_fingerprints.push(other);
            }
        }
        Ok(Response::new(GetStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            trust_domain: bundle.trust_domain().to_string(),
            root_fingerprints,
            root_expires_at: domain_ca.roots().map(|root| unix(root.not_after)).min().unwrap_or_default(),
            issuing_ca_key_id: issuing.key_id().to_owned(),
            issuing_ca_expires_at: unix(issuing.certificate().not_after),
            bundle_sequence: bundle.sequence(),
            entries: i64::try_from(entries).unwrap_or(i64::MAX),
            started_at: unix(services.started_at),
            insecure: services.insecure,
            ca_without_lists: !domain_ca.signs_lists(),
        }))
    }

    async fn list_authorities(
        &self,
        request: Request<ListAuthoritiesRequest>,
    ) -> Result<Response<ListAuthoritiesResponse>, Status> {
        self.0.authorize(&request, Permission::Admin)?;
        let ListAuthoritiesRequest { page_size, page_token } = request.into_inner();
        let size = if page_size == 0 { usize::MAX } else { page::size(page_size)? };
        let lifecycle = &self.0.lifecycle;
        let standing = lifecycle.look().await.map_err(|error| error.to_status())?;
        let rows = rows_after(standing.rows(), &page_token)?;
        let authorities = page::fitting(rows.iter().take(size).map(|row| to_wire(row, &standing, lifecycle)));
        let next_page_token = match authorities.last() {
            Some(last) if authorities.len() < rows.len() => last.authority_id.clone(),
            _ => String::new(),
        };
        Ok(Response::new(ListAuthoritiesResponse { authorities, next_page_token }))
    }

    async fn get_upstream_request(
        &self,
        request: Request<GetUpstreamRequestRequest>,
    ) -> Result<Response<GetUpstreamRequestResponse>, Status> {
        authority_upstream::request(&self.0, request).await
    }

    async fn import_upstream_chain(
        &self,
        request: Request<ImportUpstreamChainRequest>,
    ) -> Result<Response<ImportUpstreamChainResponse>, Status> {
        authority_upstream::import(&self.0, request).await
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
