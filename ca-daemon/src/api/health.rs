//! `grpc.health.v1.Health`, for anybody: it says no more than whether to send calls here. A daemon that was told to stop
//! says so first, and ends the streams after it.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream, stream::BoxStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server::Health,
};

use super::services::Services;

/// How often a watched state is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The longest name of a service that is looked up, in bytes.
const MAX_SERVICE_BYTES: usize = 256;

pub(super) struct HealthApi(pub(super) Arc<Services>);

impl HealthApi {
    /// The state of the daemon as a whole, or of one of its services: they stand and fall together.
    fn check_name(service: &str) -> Result<(), Status> {
        let is_ours = |method: &&str| method.split('/').nth(1) == Some(service);
        if service.is_empty()
            || service.len() <= MAX_SERVICE_BYTES && secplane_proto::METHODS.iter().any(is_ours)
        {
            Ok(())
        } else {
            Err(Status::not_found("no service of this name"))
        }
    }
}

async fn status(services: &Services) -> ServingStatus {
    let missing = tokio::select! {
        biased;
        () = services.shutdown.cancelled() => return ServingStatus::NotServing,
        missing = services.readiness.missing() => missing,
    };
    match missing.is_empty() {
        true => ServingStatus::Serving,
        false => ServingStatus::NotServing,
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for HealthApi {
    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        Self::check_name(&request.get_ref().service)?;
        Ok(Response::new(answer(status(&self.0).await)))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let ended = stream::once(stopped(self.0.shutdown.clone()));
        if Self::check_name(&request.get_ref().service).is_err() {
            // The protocol wants the stream to stay open, for the service may come; here none comes.
            let unknown = stream::iter([Ok(answer(ServingStatus::ServiceUnknown))]);
            return Ok(Response::new(unknown.chain(ended).boxed()));
        }
        let first: (Arc<Services>, Option<ServingStatus>) = (Arc::clone(&self.0), None);
        let states = stream::unfold(first, async |(services, last)| {
            loop {
                if last == Some(ServingStatus::NotServing) && services.shutdown.is_cancelled() {
                    return None;
                }
                if last.is_some() {
                    tokio::select! {
                        () = services.shutdown.cancelled() => {}
                        () = tokio::time::sleep(LOOK_EVERY) => {}
                    }
                }
                let now = status(&services).await;
                if last != Some(now) {
                    return Some((Ok(answer(now)), (services, Some(now))));
                }
            }
        });
        Ok(Response::new(states.chain(ended).boxed()))
    }
}

async fn stopped(shutdown: CancellationToken) -> Result<HealthCheckResponse, Status> {
    shutdown.cancelled().await;
    Err(Status::unavailable("the authority is stopping"))
}
