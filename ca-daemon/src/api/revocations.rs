//! `secplane.ca.v1.Revocations`.

use std::sync::Arc;

use futures_util::{StreamExt, stream, stream::BoxStream};
use secplane_identity::{SpiffeId, revocation::SerialNumber};
use secplane_proto::secplane::ca::v1::{
    ListRevocationListsRequest, ListRevocationListsResponse, RevocationList, RevokeRequest, RevokeResponse,
    WatchRevocationListsRequest, WatchRevocationListsResponse, revocations_server::Revocations,
    revoke_request,
};
use tonic::{Request, Response, Status};

use super::{refusal::ToStatus, services::Services};
use crate::{
    access::{Caller, Permission},
    audit::Action,
    issuance::Requester,
    revocation::{Lists, Target},
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
        let lists = to_wire(&self.0.revoker.lists().borrow());
        Ok(Response::new(ListRevocationListsResponse { lists }))
    }

    async fn watch_revocation_lists(
        &self,
        request: Request<WatchRevocationListsRequest>,
    ) -> Result<Response<Self::WatchRevocationListsStream>, Status> {
        self.0.authorize(&request, Permission::Public)?;
        let mut lists = self.0.revoker.lists();
        lists.mark_changed();
        let shutdown = self.0.shutdown.clone();
        let updates = stream::unfold(Some((lists, shutdown)), async |state| {
            let (mut lists, shutdown) = state?;
            let changed = tokio::select! {
                () = shutdown.cancelled() => false,
                changed = lists.changed() => changed.is_ok(),
            };
            if !changed {
                return Some((Err(Status::unavailable("the authority is stopping")), None));
            }
            let message = WatchRevocationListsResponse { lists: to_wire(&lists.borrow_and_update()) };
            Some((Ok(message), Some((lists, shutdown))))
        });
        Ok(Response::new(updates.boxed()))
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

fn to_wire(lists: &Lists) -> Vec<RevocationList> {
    lists
        .iter()
        .map(|list| {
            let row = list.row();
            RevocationList {
                issuer_key_id: row.issuer_key_id.clone(),
                crl: row.crl.clone(),
                this_update: row.this_update,
                next_update: row.next_update,
            }
        })
        .collect()
}
