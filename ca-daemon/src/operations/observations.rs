//! What is not counted as it happens but looked at when somebody asks: how many entries there are, when what expires.

use std::{fmt, sync::Arc};

use crate::{api::Services, instant::unix};

/// Looks at the parts of the daemon.
pub struct Observations(Arc<Services>);

impl Observations {
    /// Looks at the parts behind the services.
    #[must_use]
    pub fn new(services: Arc<Services>) -> Self {
        Self(services)
    }

    /// The services.
    pub(super) fn services(&self) -> &Services {
        &self.0
    }

    /// All metrics, as text.
    pub(super) async fn encode(&self) -> Result<String, fmt::Error> {
        let Services { metrics, registry, issuance, identity, .. } = self.0.as_ref();
        metrics.set_entries(registry.len());
        metrics.set_bundle_sequence(issuance.bundle().borrow().sequence());
        if let Some(expiry) = identity.current().expires_at() {
            metrics.set_server_expiry(expiry);
        }
        metrics.set_authorities([("issuing", "active", unix(issuance.issuing().validity().not_after))]);
        metrics.encode()
    }
}
