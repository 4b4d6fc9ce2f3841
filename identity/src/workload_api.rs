//! An [`IdentitySource`] that follows a SPIFFE Workload API: the identity rotates as the API pushes a new one.

use std::{pin::Pin, time::Duration};

use futures_util::{Stream, StreamExt};
use rustls_pki_types::CertificateDer;
use spiffe::{WorkloadApiClient, WorkloadApiError, X509Context};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    IdentityPublisher, IdentitySnapshot, IdentitySource, PrivateKey, SpiffeId, TrustBundle, TrustBundleSet,
    TrustDomain, X509Identity, private_key::PrivateKeyError, source::IdentityError, spiffe_id::SpiffeIdError,
    trust_bundle::TrustBundleError,
};

const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(30);

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
/// When the API goes away the last identity stays, and the task tries again with growing pauses.
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
    let task = tokio::spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = keep_following(&options, stream, &publisher) => {}
        }
    });
    Ok((source, task))
}

type Contexts = Pin<Box<dyn Stream<Item = Result<X509Context, WorkloadApiError>> + Send>>;

async fn first_snapshot(
    options: &WorkloadApiOptions,
    last_failure: &mut Option<WorkloadApiFailure>,
) -> (Contexts, IdentitySnapshot) {
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
) -> Result<(Contexts, IdentitySnapshot), WorkloadApiFailure> {
    let mut stream = open(options).await?;
    match stream.next().await {
        Some(Ok(context)) => {
            let snapshot = snapshot(&context, options)?;
            Ok((stream, snapshot))
        }
        Some(Err(error)) => Err(WorkloadApiFailure::call(options, error)),
        None => Err(WorkloadApiFailure::Closed { endpoint: options.endpoint.clone() }),
    }
}

async fn open(options: &WorkloadApiOptions) -> Result<Contexts, WorkloadApiFailure> {
    let client = WorkloadApiClient::connect_to(&options.endpoint)
        .await
        .map_err(|error| WorkloadApiFailure::call(options, error))?;
    let stream =
        client.stream_x509_contexts().await.map_err(|error| WorkloadApiFailure::call(options, error))?;
    Ok(Box::pin(stream))
}

async fn keep_following(options: &WorkloadApiOptions, mut stream: Contexts, publisher: &IdentityPublisher) {
    let mut pause = FIRST_RETRY;
    loop {
        let failure = loop {
            match stream.next().await {
                Some(Ok(context)) => match snapshot(&context, options) {
                    Ok(snapshot) => {
                        publisher.publish(snapshot);
                        pause = FIRST_RETRY;
                    }
                    Err(failure) => tracing::warn!(%failure, "an update of the Workload API is not usable"),
                },
                Some(Err(error)) => break WorkloadApiFailure::call(options, error),
                None => break WorkloadApiFailure::Closed { endpoint: options.endpoint.clone() },
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

fn snapshot(
    context: &X509Context,
    options: &WorkloadApiOptions,
) -> Result<IdentitySnapshot, WorkloadApiFailure> {
    let svid = match &options.spiffe_id {
        None => context.default_svid(),
        Some(wanted) => context.svids().iter().find(|svid| svid.spiffe_id().to_string() == wanted.as_str()),
    }
    .ok_or_else(|| WorkloadApiFailure::NoSuchIdentity { wanted: options.spiffe_id.clone() })?;
    let chain = svid
        .cert_chain()
        .iter()
        .map(|certificate| CertificateDer::from(certificate.as_bytes().to_vec()))
        .collect();
    let key = PrivateKey::from_pkcs8(svid.private_key().as_bytes().to_vec())?;
    let identity = X509Identity::new(chain, key)?;
    let mut bundles = TrustBundleSet::default();
    for (trust_domain, bundle) in context.bundle_set().iter() {
        let roots = bundle.authorities().iter().map(spiffe::cert::Certificate::as_bytes);
        bundles.insert(TrustBundle::new(TrustDomain::parse(trust_domain.as_ref())?, roots)?);
    }
    Ok(IdentitySnapshot { identity: Some(identity), bundles })
}

/// Why there is no identity from the Workload API.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadApiFailure {
    /// It cannot be reached, or it refuses.
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
    /// It gives identities, but not the wanted one.
    #[error("the Workload API does not give this workload the identity {}", .wanted.as_ref().map_or("it needs", SpiffeId::as_str))]
    NoSuchIdentity {
        /// The wanted one; `None` for any.
        wanted: Option<SpiffeId>,
    },
    /// What it gave is no identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// What it gave has no usable key.
    #[error(transparent)]
    Key(#[from] PrivateKeyError),
    /// What it gave has no usable bundle.
    #[error(transparent)]
    Bundle(#[from] TrustBundleError),
    /// What it gave has no canonical trust domain.
    #[error(transparent)]
    TrustDomain(#[from] SpiffeIdError),
}

impl WorkloadApiFailure {
    fn call(options: &WorkloadApiOptions, error: WorkloadApiError) -> Self {
        Self::Call { endpoint: options.endpoint.clone(), reason: error.to_string() }
    }
}
