//! `secplane.ca.v1.TrustBundle`.

use std::sync::Arc;

use futures_util::{StreamExt, stream, stream::BoxStream};
use secplane_proto::secplane::ca::v1::{
    WatchTrustBundleRequest, WatchTrustBundleResponse, trust_bundle_server::TrustBundle,
};
use tonic::{Request, Response, Status};

use super::services::Services;
use crate::{access::Permission, bundle_message::to_wire};

pub(super) struct TrustBundleApi(pub(super) Arc<Services>);

#[tonic::async_trait]
impl TrustBundle for TrustBundleApi {
    type WatchTrustBundleStream = BoxStream<'static, Result<WatchTrustBundleResponse, Status>>;

    async fn watch_trust_bundle(
        &self,
        request: Request<WatchTrustBundleRequest>,
    ) -> Result<Response<Self::WatchTrustBundleStream>, Status> {
        self.0.authorize(&request, Permission::Public)?;
        let mut bundles = self.0.issuance.bundle();
        bundles.mark_changed();
        let shutdown = self.0.shutdown.clone();
        let updates = stream::unfold(Some((bundles, shutdown)), async |state| {
            let (mut bundles, shutdown) = state?;
            let changed = tokio::select! {
                () = shutdown.cancelled() => false,
                changed = bundles.changed() => changed.is_ok(),
            };
            if !changed {
                return Some((Err(Status::unavailable("the authority is stopping")), None));
            }
            let bundle = to_wire(&bundles.borrow_and_update());
            Some((Ok(WatchTrustBundleResponse { bundle: Some(bundle) }), Some((bundles, shutdown))))
        });
        Ok(Response::new(updates.boxed()))
    }
}
