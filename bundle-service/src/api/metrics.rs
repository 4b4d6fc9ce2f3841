//! What the service counts, in the form that Prometheus reads.

use std::fmt;

use http::StatusCode;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    code: u16,
}

/// The service's metrics.
pub struct Metrics {
    registry: Registry,
    requests: Family<Answer, Counter>,
    held: Gauge,
    refusals: Gauge,
}

impl Metrics {
    /// Begins counting.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("secplane_bundle_service");
        let requests = Family::<Answer, Counter>::default();
        registry.register("requests", "Requests for bundles, by HTTP status", requests.clone());
        let held = Gauge::default();
        registry.register("held_polls", "Long polls that are held at this moment", held.clone());
        let refusals = Gauge::default();
        registry.register(
            "policy_refusals",
            "Policies, or parts of policies, that are refused at this moment",
            refusals.clone(),
        );
        Self { registry, requests, held, refusals }
    }

    pub(super) fn answered(&self, status: StatusCode) {
        self.requests.get_or_create(&Answer { code: status.as_u16() }).inc();
    }

    /// Counts a held poll until the answer is dropped.
    pub(super) fn holding(&self) -> HeldPoll {
        self.held.inc();
        HeldPoll(self.held.clone())
    }

    /// Everything, as text.
    pub(super) fn text(&self, refusals: usize) -> Result<String, fmt::Error> {
        self.refusals.set(i64::try_from(refusals).unwrap_or(i64::MAX));
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// A poll that is held; dropped when it ends, however it ends.
pub(super) struct HeldPoll(Gauge);

impl Drop for HeldPoll {
    fn drop(&mut self) {
        self.0.dec();
    }
}
