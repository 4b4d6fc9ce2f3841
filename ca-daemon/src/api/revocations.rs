//! `secplane.ca.v1.Revocations`.

use std::sync::Arc;

use futures_util::{StreamExt, stream, stream::BoxStream};
use secplane_identity::{SpiffeId, revocation::SerialNumber};
use secplane_proto::secplane::ca::v1::{
    ListRevocationListsRequest, ListRevocationListsResponse, RevocationList, RevokeRequest, RevokeResponse,
    WatchRevocationListsRequest, WatchRevocationListsResponse, revocations_server::Revocations,
    revoke_request,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{page, refusal::ToStatus, services::Services};
use crate::{
    access::{Caller, Permission},
    audit::Action,
    issuance::Requester,
    revocation::{Lists, Target},
    store::RevocationListRow,
};

const MAX_REASON_CHARACTERS: usize = 256;

pub(super) struct RevocationsApi(pub(super) Arc<Services>);

#[tonic::async_trait]
impl Revocations for RevocationsApi {
    type WatchRevocationListsStream = BoxStream<'static, Result<WatchRevocationListsResponse, Status>>;

    async fn revoke(&self, request: Request<RevokeRequest>) -> Result<Response<RevokeResponse>, Status> {
        let caller = self.0.authorize(&request, Permission::Admin)?;
        let RevokeRequest { target, reason } = request.into_inner();
        let target = target_of(target).and_then(|target| check_reason(&reason).map(|()| target));
        let target = self.0.noted(&caller, Action::CertificateRevoke, "", target)?;
        let revoked = self.0.revoke(target.clone(), reason, &caller).await?;
        let target = self.0.issuance.store().without_unused_tokens(&target.name()).await;
        tracing::info!(%caller, target, revoked, "trust was taken back");
        Ok(Response::new(RevokeResponse { revoked: i64::try_from(revoked).unwrap_or(i64::MAX) }))
    }

    async fn list_revocation_lists(
        &self,
        request: Request<ListRevocationListsRequest>,
    ) -> Result<Response<ListRevocationListsResponse>, Status> {
        self.0.authorize(&request, Permission::Public)?;
        let ListRevocationListsRequest { page_size, page_token } = request.into_inner();
        let lists = self.0.revoker.lists().borrow().clone();
        let response = if page_size == 0 && page_token.is_empty() {
            ListRevocationListsResponse {
                lists: rows(&lists).map(to_wire).collect(),
                next_page_token: String::new(),
            }
        } else {
            let (lists, next_page_token) = page_of(rows(&lists), &page_token, page::size(page_size)?);
            ListRevocationListsResponse { lists, next_page_token }
        };
        Ok(Response::new(response))
    }

    async fn watch_revocation_lists(
        &self,
        request: Request<WatchRevocationListsRequest>,
    ) -> Result<Response<Self::WatchRevocationListsStream>, Status> {
        self.0.authorize(&request, Permission::Public)?;
        let mut lists = self.0.revoker.lists();
        lists.mark_changed();
        let shutdown = self.0.shutdown.clone();
        let watching = Watching { lists, shutdown, is_split: request.into_inner().split, left: None };
        let updates = stream::unfold(Some(watching), async |state| {
            let mut watching = state?;
            match watching.next().await {
                Some(message) => Some((Ok(message), Some(watching))),
                None => Some((Err(Status::unavailable("the authority is stopping")), None)),
            }
        });
        Ok(Response::new(updates.boxed()))
    }
}

/// Somebody who is told of every change.
struct Watching {
    lists: watch::Receiver<Lists>,
    shutdown: CancellationToken,
    is_split: bool,
    /// The lists of which a part is not sent yet, and after whose list it begins.
    left: Option<(Lists, String)>,
}

impl Watching {
    /// The next message; nothing when the daemon stops.
    async fn next(&mut self) -> Option<WatchRevocationListsResponse> {
        let (lists, after) = match self.left.take() {
            Some(left) => left,
            None => (self.changed().await?, String::new()),
        };
        if !self.is_split {
            let lists = rows(&lists).map(to_wire).collect();
            return Some(WatchRevocationListsResponse { lists, more: false });
        }
        let (page, next) = page_of(rows(&lists), &after, usize::MAX);
        let more = !next.is_empty();
        if more {
            self.left = Some((lists, next));
        }
        Some(WatchRevocationListsResponse { lists: page, more })
    }

    async fn changed(&mut self) -> Option<Lists> {
        let has_changed = tokio::select! {
            () = self.shutdown.cancelled() => false,
            changed = self.lists.changed() => changed.is_ok(),
        };
        has_changed.then(|| self.lists.borrow_and_update().clone())
    }
}

impl Services {
    /// Takes the trust from what a target names. An issuing CA among it is replaced at once.
    pub(super) async fn revoke(
        &self,
        target: Target,
        reason: String,
        caller: &Caller,
    ) -> Result<usize, Status> {
        let may_be_ca = !matches!(target, Target::SpiffeId(_));
        let name = target.name();
        let revoked = self.revoker.revoke(target, reason, Requester::from(caller)).await;
        let revoked = revoked.map_err(|error| error.to_status());
        let revoked = self.noted(caller, Action::CertificateRevoke, &name, revoked)?;
        // It is revoked, whatever becomes of this; it is tried again by the clock.
        if may_be_ca && let Err(error) = self.lifecycle.keep_up().await {
            tracing::error!(%error, "the authorities could not be looked at after a revocation");
        }
        Ok(revoked)
    }
}

fn target_of(wire: Option<revoke_request::Target>) -> Result<Target, Status> {
    match wire {
        None => Err(Status::invalid_argument(
            "nothing to revoke was named: give a serial number, a SPIFFE ID, or the SHA-256 of a public key",
        )),
        Some(revoke_request::Target::SerialNumber(text)) => Ok(Target::Certificate(serial(&text)?)),
        Some(revoke_request::Target::SpiffeId(text)) => SpiffeId::parse(&text)
            .map(Target::SpiffeId)
            .map_err(|error| Status::invalid_argument(error.to_string())),
        Some(revoke_request::Target::PublicKeySha256(text)) => text
            .parse()
            .map(Target::Key)
            .map_err(|error| Status::invalid_argument(format!("`{text}`: {error}"))),
    }
}

/// A serial as it is shown: hex in either case, with or without colons and leading zeros.
pub(super) fn serial(text: &str) -> Result<SerialNumber, Status> {
    let compact: String = text.chars().filter(|c| *c != ':').collect();
    compact.parse().map_err(|_| Status::invalid_argument(format!("`{text}` is not a serial number in hex")))
}

pub(super) fn check_reason(reason: &str) -> Result<(), Status> {
    if reason.chars().count() > MAX_REASON_CHARACTERS {
        return Err(Status::invalid_argument("the reason is longer than 256 characters"));
    }
    Ok(())
}

fn rows(lists: &Lists) -> impl Iterator<Item = &RevocationListRow> {
    lists.iter().map(|list| list.row())
}

/// The lists after that of an issuer, as many as a client reads of one message, one at least; and after whose list the
/// next page begins, if there is one. Their order is that of their issuers' key IDs.
fn page_of<'a>(
    rows: impl Iterator<Item = &'a RevocationListRow>,
    after: &str,
    most: usize,
) -> (Vec<RevocationList>, String) {
    let rest: Vec<_> = rows.filter(|row| row.issuer_key_id.as_str() > after).collect();
    let lists = page::fitting(rest.iter().take(most).map(|row| to_wire(row)));
    let next = match lists.last() {
        Some(last) if lists.len() < rest.len() => last.issuer_key_id.clone(),
        _ => String::new(),
    };
    (lists, next)
}

fn to_wire(row: &RevocationListRow) -> RevocationList {
    RevocationList {
        issuer_key_id: row.issuer_key_id.clone(),
        crl: row.crl.clone(),
        this_update: row.this_update,
        next_update: row.next_update,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(issuer: &str, mebibytes: usize) -> RevocationListRow {
        RevocationListRow {
            issuer_key_id: issuer.to_owned(),
            number: 1,
            crl: vec![7; mebibytes * 1024 * 1024],
            this_update: 1,
            next_update: 2,
        }
    }

    /// Every list once, and no message larger than it has to be.
    #[test]
    fn splits_lists_into_what_a_client_reads() {
        let all = [list("aa", 1), list("bb", 1), list("cc", 5), list("dd", 2), list("ee", 2)];
        let mut pages = Vec::new();
        let mut after = String::new();
        loop {
            let (lists, next) = page_of(all.iter(), &after, usize::MAX);
            pages.push(lists.into_iter().map(|list| list.issuer_key_id).collect::<Vec<_>>());
            if next.is_empty() {
                break;
            }
            after = next;
        }
        assert_eq!(pages, [vec!["aa", "bb"], vec!["cc"], vec!["dd"], vec!["ee"]]);
    }
}
