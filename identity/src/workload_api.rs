//! An [`IdentitySource`] that follows a SPIFFE Workload API: the identity rotates, and trust is taken back, as the API
//! pushes it.

mod endpoint;
mod response;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use secplane_proto::workload::{
    X509svidRequest, X509svidResponse, spiffe_workload_api_client::SpiffeWorkloadApiClient,
};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, Streaming, metadata::MetadataValue};

pub use endpoint::EndpointError;
pub use response::{MAX_FEDERATED_BUNDLES, MAX_SVIDS, ResponseError};

use self::response::Update;
use crate::{IdentityPublisher, IdentitySnapshot, IdentitySource, Revocations, SpiffeId};

const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// The largest message that is read, in bytes: revocation lists can be long.
const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// The metadata by which a client says how large a message it takes, in bytes. The Workload API of `ca-daemon` answers it
/// with every revocation list or not at all; others pass over it.
pub const LARGEST_MESSAGE: &str = "secplane-largest-message";

/// Which Workload API to follow, and as whom.
#[derive(Debug, Clone)]
pub struct WorkloadApiOptions {
    /// `unix:/path` or `tcp:ip:port`.
    pub endpoint: String,
    /// The identity to use; `None` for the default one, the first that the API answers.
    pub spiffe_id: Option<SpiffeId>,
    /// How long the first identity may take.
    pub first_within: Duration,
}

/// Waits for the first identity, then follows the API in a task until `shutdown`.
///
/// When the API goes away the last identity and the last revocation lists stay, and the task tries again with growing
/// pauses.
///
/// # Errors
/// When no usable identity came in time: with the last reason.
pub async fn follow(
    options: WorkloadApiOptions,
    shutdown: CancellationToken,
) -> Result<(IdentitySource, JoinHandle<()>), WorkloadApiFailure> {
    let mut last_failure = None;
    let first = timeout(options.first_within, first_snapshot(&options, &mut last_failure)).await;
    let Ok((stream, snapshot)) = first else {
        return Err(last_failure.unwrap_or_else(|| WorkloadApiFailure::Silent {
            endpoint: options.endpoint.clone(),
            waited: options.first_within,
        }));
    };
    let (publisher, source) = IdentitySource::channel(snapshot);
    let watched = source.clone();
    let task = tokio::spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = keep_following(&options, stream, &publisher) => {}
            () = report_stale_lists(watched) => {}
        }
    });
    Ok((source, task))
}

async fn first_snapshot(
    options: &WorkloadApiOptions,
    last_failure: &mut Option<WorkloadApiFailure>,
) -> (Streaming<X509svidResponse>, IdentitySnapshot) {
    let mut pause = FIRST_RETRY;
    loop {
        match open_and_read(options).await {
            Ok(first) => return first,
            Err(failure) => *last_failure = Some(failure),
        }
        sleep(pause).await;
        pause = (pause * 2).min(LAST_RETRY);
    }
}

async fn open_and_read(
    options: &WorkloadApiOptions,
) -> Result<(Streaming<X509svidResponse>, IdentitySnapshot), WorkloadApiFailure> {
    let mut stream = open(options).await?;
    let response = next(&mut stream, options).await?;
    let Update { identity, revocations } = read_off_the_runtime(response, options, Arc::default()).await;
    let (identity, bundles) = identity?;
    Ok((stream, IdentitySnapshot { identity: Some(identity), bundles, revocations }))
}

async fn open(options: &WorkloadApiOptions) -> Result<Streaming<X509svidResponse>, WorkloadApiFailure> {
    let channel = endpoint::connect(&options.endpoint).await?;
    let mut client = SpiffeWorkloadApiClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let mut request = Request::new(X509svidRequest {});
    // Without it the API refuses to answer (SPIFFE Workload Endpoint, section 4.1).
    request.metadata_mut().insert("workload.spiffe.io", MetadataValue::from_static("true"));
    request.metadata_mut().insert(LARGEST_MESSAGE, MetadataValue::from(MAX_MESSAGE_BYTES));
    let response =
        client.fetch_x509svid(request).await.map_err(|status| WorkloadApiFailure::call(options, &status))?;
    Ok(response.into_inner())
}

async fn next(
    stream: &mut Streaming<X509svidResponse>,
    options: &WorkloadApiOptions,
) -> Result<X509svidResponse, WorkloadApiFailure> {
    match stream.message().await {
        Ok(Some(response)) => Ok(response),
        Ok(None) => Err(WorkloadApiFailure::Closed { endpoint: options.endpoint.clone() }),
        Err(status) => Err(WorkloadApiFailure::call(options, &status)),
    }
}

async fn keep_following(
    options: &WorkloadApiOptions,
    mut stream: Streaming<X509svidResponse>,
    publisher: &IdentityPublisher,
) {
    let mut pause = FIRST_RETRY;
    loop {
        let failure = loop {
            let response = match next(&mut stream, options).await {
                Ok(response) => response,
                Err(failure) => break failure,
            };
            let held = Arc::clone(&publisher.current().revocations);
            let Update { identity, revocations } = read_off_the_runtime(response, options, held).await;
            match identity {
                Ok((identity, bundles)) => {
                    publisher.publish(IdentitySnapshot { identity: Some(identity), bundles, revocations });
                    pause = FIRST_RETRY;
                }
                Err(failure) => {
                    tracing::warn!(%failure, "an update of the Workload API is not usable; the last identity stays in use");
                    publisher.publish_revocations(revocations);
                }
            }
        };
        tracing::warn!(%failure, "the Workload API is away; the last identity stays in use");
        stream = loop {
            sleep(pause).await;
            pause = (pause * 2).min(LAST_RETRY);
            match open(options).await {
                Ok(stream) => break stream,
                Err(failure) => tracing::debug!(%failure, "the Workload API is still away"),
            }
        };
    }
}

/// Long revocation lists take a while to read.
async fn read_off_the_runtime(
    response: X509svidResponse,
    options: &WorkloadApiOptions,
    held: Arc<Revocations>,
) -> Update {
    let wanted = options.spiffe_id.clone();
    let kept = Arc::clone(&held);
    let work = move || Update::read(&response, wanted.as_ref(), &held, SystemTime::now());
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Update { identity: Err(ResponseError::Interrupted), revocations: kept })
}

/// Says so when a revocation list has outlived its time without a successor. It stays in use: what it names is still
/// revoked, and only what was revoked since is not known.
async fn report_stale_lists(mut source: IdentitySource) {
    loop {
        let now = SystemTime::now();
        let revocations = Arc::clone(&source.current().revocations);
        let mut next: Option<SystemTime> = None;
        for list in revocations.lists() {
            if list.next_update() <= now {
                tracing::warn!(
                    issuer = list.issuer_key_id(),
                    number = %list.number(),
                    "a revocation list is out of date and no newer one has come; it stays in use"
                );
            } else {
                next = Some(next.map_or(list.next_update(), |next| next.min(list.next_update())));
            }
        }
        let due = async {
            match next {
                Some(instant) => sleep(instant.duration_since(now).unwrap_or_default()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            _ = source.changed() => {}
        }
    }
}

/// Why there is no identity from the Workload API.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadApiFailure {
    /// The address is none, or nobody answers there.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// It refuses, or failed.
    #[error("the Workload API at {endpoint} gives no identity: {reason}")]
    Call {
        /// Where.
        endpoint: String,
        /// What it said.
        reason: String,
    },
    /// It answered nothing.
    #[error("the Workload API at {endpoint} gave no identity within {waited:?}")]
    Silent {
        /// Where.
        endpoint: String,
        /// How long.
        waited: Duration,
    },
    /// It ended the stream.
    #[error("the Workload API at {endpoint} ended the stream")]
    Closed {
        /// Where.
        endpoint: String,
    },
    /// What it gave cannot be used.
    #[error(transparent)]
    Response(#[from] ResponseError),
}

impl WorkloadApiFailure {
    fn call(options: &WorkloadApiOptions, status: &Status) -> Self {
        let reason = match status.message() {
            "" => status.code().to_string(),
            message => message.to_owned(),
        };
        Self::Call { endpoint: options.endpoint.clone(), reason }
    }
}

#[cfg(test)]
mod tests;
