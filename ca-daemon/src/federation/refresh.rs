//! Keeping the bundles of foreign trust domains current: each is fetched again as often as it asks for.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt, stream};
use secplane_identity::{TrustBundleSet, TrustDomain};
use tokio_util::sync::CancellationToken;

use super::{Author, Before, Duty, Federation, FederationError, FetchError, Fetcher, duty::Told};

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
    duty: Duty,
}

/// When what is to be fetched, and whether by this replica.
#[derive(Default)]
pub(super) struct Turns {
    pub(super) due: HashMap<TrustDomain, SystemTime>,
    /// What could not be fetched when it was tried last.
    failed: HashSet<TrustDomain>,
    told: Option<Told>,
}

impl Refresher {
    /// Keeps the bundles of `federation` current.
    #[must_use]
    pub fn new(federation: Arc<Federation>, fetcher: Fetcher, duty: Duty) -> Self {
        Self { federation, fetcher, duty }
    }

    /// Fetches the bundle of a trust domain now, whichever replica is asked, and keeps it if it differs.
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

    /// Fetches every bundle when it is due, until `stop`. A fetch that fails is tried again when it is next due. Of
    /// several replicas one does it, and lets the others do it when it can fetch nothing; they hear of what has changed.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut changes = self.federation.changes();
        let mut turns = Turns::default();
        loop {
            changes.borrow_and_update();
            let next = tokio::select! {
                () = stop.cancelled() => return,
                next = self.turn(&mut turns) => next,
            };
            tokio::select! {
                () = stop.cancelled() => return,
                // The sender lives as long as the federation.
                _ = changes.changed() => {}
                () = async {
                    match next {
                        Some(at) => self.duty.clock().wait_until(at).await,
                        None => std::future::pending().await,
                    }
                } => {}
            }
        }
    }

    /// Fetches what is due, if that is this replica's to do, and answers when to look again.
    pub(super) async fn turn(&self, turns: &mut Turns) -> Option<SystemTime> {
        let clock = self.duty.clock();
        let relationships = self.federation.relationships();
        let is_kept = |domain: &TrustDomain| relationships.iter().any(|kept| kept.trust_domain == *domain);
        turns.due.retain(|domain, _| is_kept(domain));
        turns.failed.retain(is_kept);
        for relationship in &relationships {
            turns.due.entry(relationship.trust_domain.clone()).or_insert_with(|| clock.now());
        }
        if turns.due.is_empty() {
            return None;
        }
        let told = self.duty.ask(turns.told).await;
        turns.told = Some(told);
        if !told.is_ours {
            // What is due stays due: whoever comes to do it does it at once.
            return Some(told.ends());
        }
        let now = clock.now();
        let due: Vec<_> = turns.due.iter().filter(|(_, at)| **at <= now).map(|(of, _)| of.clone()).collect();
        let tried = stream::iter(due.clone())
            .map(async |of| {
                let fetched = self.refresh(&of, Author::Daemon).await;
                (of, fetched)
            })
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        for (of, fetched) in tried {
            match fetched {
                Ok(()) => drop(turns.failed.remove(&of)),
                Err(error) => {
                    tracing::warn!(trust_domain = %of, %error, "a foreign trust bundle could not be fetched");
                    turns.failed.insert(of);
                }
            }
        }
        // One endpoint that is down says nothing of the way out.
        let can_fetch = turns.due.keys().any(|of| !turns.failed.contains(of));
        let told = match due.is_empty() {
            true => told,
            false => self.duty.after_fetching(told, can_fetch).await,
        };
        turns.told = Some(told);
        for of in due {
            let next = clock.now() + self.interval(&of);
            turns.due.insert(of, next);
        }
        turns.due.values().min().map(|next| told.ends().min(*next))
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
