//! `secctl ca authorities`: roots, issuing CAs and JWT keys, and what comes next for each.

use std::time::SystemTime;

use secplane_proto::secplane::ca::v1::{
    AuthorityKind, AuthorityRecord, AuthorityState, ListAuthoritiesRequest,
};
use serde::Serialize;

use crate::{
    ca_client::CaOptions,
    failure::Failure,
    output::{Instant, Report, rows, shown},
};

/// Lists them, those that sign first.
pub(super) async fn list(options: &CaOptions) -> Result<Authorities, Failure> {
    let ca = options.connect().await?;
    let mut authorities = Vec::new();
    let mut request = ListAuthoritiesRequest::default();
    loop {
        let page = ca
            .authority()
            .list_authorities(request.clone())
            .await
            .map_err(|status| Failure::from_status("list the authorities", &status))?
            .into_inner();
        authorities.extend(page.authorities.iter().map(Authority::from));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    authorities.sort_by_key(|authority| authority.order);
    Ok(Authorities { authorities })
}

#[derive(Serialize)]
pub(super) struct Authorities {
    authorities: Vec<Authority>,
}

#[derive(Serialize)]
struct Authority {
    id: String,
    kind: &'static str,
    state: &'static str,
    tainted: bool,
    not_after: Option<Instant>,
    next_step: String,
    next_step_at: Option<Instant>,
    issuer: String,
    replica: String,
    key_storage: String,
    #[serde(skip)]
    order: (i32, i32, i64),
}

impl From<&AuthorityRecord> for Authority {
    fn from(record: &AuthorityRecord) -> Self {
        let (kind, state) = (record.kind(), record.state());
        let next_step_at = Instant::from_unix(record.next_step_at);
        Self {
            id: record.authority_id.clone(),
            kind: match kind {
                AuthorityKind::Root => "root",
                AuthorityKind::Issuing => "issuing",
                AuthorityKind::Jwt => "jwt",
                AuthorityKind::Mesh => "mesh",
                AuthorityKind::Downstream => "downstream",
                AuthorityKind::Unspecified => "unknown",
            },
            state: match state {
                AuthorityState::Prepared => "prepared",
                AuthorityState::Active => "active",
                AuthorityState::Old => "old",
                AuthorityState::Revoked => "revoked",
                AuthorityState::Unspecified => "unknown",
            },
            tainted: record.tainted,
            not_after: Instant::from_unix(record.not_after),
            next_step: record.next_step.clone(),
            next_step_at,
            issuer: record.issuer_authority_id.clone(),
            replica: record.replica.clone(),
            key_storage: record.key_storage.clone(),
            order: (kind.into(), state.into(), -record.created_at),
        }
    }
}

impl Report for Authorities {
    fn table(&self) -> String {
        let now = Instant::from(SystemTime::now());
        let next = |authority: &Authority| match authority.next_step_at {
            Some(at) if at <= now => format!("{}: due", authority.next_step),
            Some(at) => format!("{} at {at}", authority.next_step),
            None => String::new(),
        };
        rows(
            ["ID", "KIND", "STATE", "TAINTED", "NOT AFTER", "NEXT STEP"],
            self.authorities.iter().map(|authority| {
                [
                    authority.id.clone(),
                    authority.kind.to_owned(),
                    authority.state.to_owned(),
                    if authority.tainted { "yes".to_owned() } else { String::new() },
                    shown(authority.not_after),
                    next(authority),
                ]
            }),
            "no authorities",
        )
    }
}
