//! What is not counted as it happens but looked at when somebody asks: how many entries there are, when what expires.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Mutex, time::timeout};

use super::metrics::Listener;
use crate::{
    agents::AgentFilter,
    api::Services,
    instant::unix,
    lifecycle::row::is_ours,
    store::{AuthorityFilter, AuthorityRow, AuthorityState},
};

/// How old what was read of the database may be: whoever asks without end costs it nothing more.
const KEPT: Duration = Duration::from_secs(5);
/// How long the database may take; then the metrics show what was read before.
const DATABASE_WITHIN: Duration = Duration::from_secs(2);

/// Looks at the parts of the daemon.
pub struct Observations {
    services: Arc<Services>,
    read_at: Mutex<Option<Instant>>,
}

impl Observations {
    /// Looks at the parts behind the services.
    #[must_use]
    pub fn new(services: Arc<Services>) -> Self {
        Self { services, read_at: Mutex::default() }
    }

    /// The services.
    pub(super) fn services(&self) -> &Services {
        &self.services
    }

    /// All metrics, as text.
    pub(super) async fn encode(&self) -> Result<String, fmt::Error> {
        let Services {
            metrics, registry, agents, issuance, identity, connections, reached, insecure, ..
        } = self.services.as_ref();
        metrics.set_agents(agents.count(&AgentFilter::default()));
        metrics.set_entries(registry.len());
        self.count_refused_rows();
        metrics.set_bundle_sequence(issuance.bundle().borrow().sequence());
        if let Some(expiry) = identity.current().expires_at() {
            metrics.set_server_expiry(expiry);
        }
        // Without TLS they are counted where they are accepted.
        if !insecure {
            metrics.set_connections(Listener::Grpc, connections.number());
        }
        metrics.set_limits_reached(reached);
        self.read_authorities().await;
        metrics.encode()
    }

    /// Rows that count for nothing because this authority did not write them. Those of authorities are counted where
    /// these are read.
    fn count_refused_rows(&self) {
        let Services { metrics, registry, agents, revoker, federation, .. } = self.services.as_ref();
        let federated = federation.refused();
        for (table, rows) in [
            ("entries", registry.refused().len()),
            ("agents", agents.refused()),
            ("join_tokens", agents.refused_tokens()),
            ("revoked_keys", revoker.refused_rows()),
            ("federation_relationships", federated.relationships),
            ("federated_bundles", federated.bundles),
        ] {
            metrics.set_refused_rows(table, rows);
        }
    }

    /// When which authority expires. Of those that no longer sign, only what is still valid matters.
    async fn read_authorities(&self) {
        let mut read_at = self.read_at.lock().await;
        if read_at.is_some_and(|at| at.elapsed() < KEPT) {
            return;
        }
        let Services { metrics, issuance, lifecycle, .. } = self.services.as_ref();
        let filter = AuthorityFilter::default();
        match timeout(DATABASE_WITHIN, issuance.store().authorities(&filter)).await {
            Ok(Ok(authorities)) => {
                let now = unix(issuance.clock().now());
                let mac = &lifecycle.vault().mac;
                let (ours, refused): (Vec<_>, Vec<_>) = authorities.iter().partition(|row| is_ours(row, mac));
                metrics.set_refused_rows("authorities", refused.len());
                let current = ours
                    .into_iter()
                    .filter(|row| row.state == AuthorityState::Active || row.not_after > now)
                    .map(|row| (row.kind.as_str(), state(row), row.not_after));
                metrics.set_authorities(current);
                *read_at = Some(Instant::now());
            }
            Ok(Err(error)) => tracing::warn!(%error, "the authorities cannot be read for the metrics"),
            Err(_) => tracing::warn!("the authorities cannot be read for the metrics: the database is slow"),
        }
    }
}

/// The state of an authority, of which tainted is one here: it is trusted still, and to be replaced.
fn state(row: &AuthorityRow) -> &'static str {
    match row.state {
        AuthorityState::Revoked => AuthorityState::Revoked.as_str(),
        _ if row.tainted => "tainted",
        state => state.as_str(),
    }
}
