//! Keeping the bundles of foreign trust domains current: each is fetched again as often as it asks for.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use secplane_identity::{TrustBundleSet, TrustDomain};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Author, Before, Federation, FederationError, FetchError, Fetcher};

/// How often a bundle is fetched that does not say.
const DEFAULT: Duration = Duration::from_secs(300);
const OFTENEST: Duration = Duration::from_secs(60);
const SELDOMEST: Duration = Duration::from_secs(24 * 3600);
/// How many endpoints are asked at a time.
const AT_ONCE: usize = 8;

/// Fetches bundles, by command and by the clock.
pub struct Refresher {
    federation: Arc<Federation>,
    fetcher: Fetcher,
}

impl Refresher {
    /// Keeps the bundles of `federation` current.
    #[must_use]
    pub fn new(federation: Arc<Federation>, fetcher: Fetcher) -> Self {
        Self { federation, fetcher }
    }

    /// Fetches the bundle of a trust domain now, and keeps it if it differs.
    ///
    /// # Errors
    /// When there is no relationship with it, or its endpoint has no usable bundle.
    pub async fn refresh(&self, of: &TrustDomain, by: Author<'_>) -> Result<(), RefreshError> {
        let relationship =
            self.federation.relationship(of).ok_or_else(|| RefreshError::NoRelationship(of.to_string()))?;
        let mut known = TrustBundleSet::default();
        for bundle in self.federation.bundles() {
            known.insert(bundle.trust_bundle().clone());
        }
        let fetched = self.fetcher.fetch(&relationship, known).await?;
        let standing = self.federation.bundle(of);
        if standing.is_none_or(|standing| *standing.to_wire() != fetched) {
            self.federation.put_bundle(fetched, Before::Either, by).await?;
            tracing::info!(trust_domain = %of, "a foreign trust bundle was fetched and has changed");
        }
        Ok(())
    }

    /// Fetches every bundle when it is due, until `stop`. A fetch that fails is tried again at the next turn.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut changes = self.federation.changes();
        let mut due: HashMap<TrustDomain, Instant> = HashMap::new();
        loop {
            changes.borrow_and_update();
            let now = Instant::now();
            let relationships = self.federation.relationships();
            due.retain(|domain, _| relationships.iter().any(|kept| kept.trust_domain == *domain));
            for relationship in &relationships {
                due.entry(relationship.trust_domain.clone()).or_insert(now);
            }
            let turn: Vec<_> = due.iter().filter(|(_, at)| **at <= now).map(|(of, _)| of.clone()).collect();
            let refreshing = stream::iter(&turn).for_each_concurrent(AT_ONCE, async |of| {
                if let Err(error) = self.refresh(of, Author::Daemon).await {
                    tracing::warn!(trust_domain = %of, %error, "a foreign trust bundle could not be fetched");
                }
            });
            tokio::select! {
                () = stop.cancelled() => return,
                () = refreshing => {}
            }
            for of in turn {
                let next = Instant::now() + self.interval(&of);
                due.insert(of, next);
            }
            let next = due.values().min().copied();
            tokio::select! {
                () = stop.cancelled() => return,
                // The sender lives as long as the federation.
                _ = changes.changed() => {}
                () = async {
                    match next {
                        Some(at) => sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                } => {}
            }
        }
    }

    fn interval(&self, of: &TrustDomain) -> Duration {
        let hint = self.federation.bundle(of).map_or(0, |bundle| bundle.refresh_hint_seconds());
        if hint == 0 { DEFAULT } else { Duration::from_secs(hint).clamp(OFTENEST, SELDOMEST) }
    }
}

/// Why a bundle could not be refreshed.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// There is no relationship.
    #[error("no relationship with trust domain {0}")]
    NoRelationship(String),
    /// There is no bundle at the endpoint.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It cannot be kept.
    #[error(transparent)]
    Keep(#[from] FederationError),
}
