//! What is counted, in the exposition format that Prometheus reads.

use std::{fmt, sync::atomic::Ordering};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use secplane_identity::serve::ReachedLimits;

use crate::source::SourceKind;

/// The metrics of the service.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// Answers on the bundle listener.
    pub(crate) requests: Family<Answer, Counter>,
    /// Long polls that wait now.
    pub(crate) held_polls: Gauge,
    /// Resources that are known.
    pub(crate) policies: Gauge,
    /// Refusals and warnings that stand now.
    pub(crate) refusals: Gauge,
    /// Identities with a bundle.
    pub(crate) identities: Gauge,
    /// Batches of changes taken in.
    pub(crate) updates: Counter,
    /// 1 for a folder or a repository that cannot be read now.
    pub(crate) source_failing: Family<OfSource, Gauge>,
    /// Revocation lists that should have been replaced.
    pub(crate) stale_revocation_lists: Gauge,
    /// Times that there was no place for a connection.
    limits_reached: Family<OfLimit, Counter>,
}

/// The label of what is of one source.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfSource {
    /// The source.
    pub(crate) source: String,
}

/// The label of what is of one limit on connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfLimit {
    limit: &'static str,
}

/// The labels of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) code: u16,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("bundle_service");
        let metrics = Self {
            requests: Family::default(),
            held_polls: Gauge::default(),
            policies: Gauge::default(),
            refusals: Gauge::default(),
            identities: Gauge::default(),
            updates: Counter::default(),
            source_failing: Family::default(),
            stale_revocation_lists: Gauge::default(),
            limits_reached: Family::default(),
            registry: Registry::default(),
        };
        registry.register(
            "http_requests",
            "Answers on the bundle listener by status",
            metrics.requests.clone(),
        );
        registry.register("held_polls", "Long polls that wait for a change", metrics.held_polls.clone());
        registry.register(
            "policies",
            "AuthorizationPolicy resources that are known",
            metrics.policies.clone(),
        );
        registry.register("refusals", "Refusals and warnings that stand", metrics.refusals.clone());
        registry.register(
            "identities",
            "Identities that have asked for a bundle",
            metrics.identities.clone(),
        );
        registry.register("updates", "Batches of changes from the sources", metrics.updates.clone());
        registry.register(
            "source_failing",
            "1 for a folder or a repository that cannot be read now",
            metrics.source_failing.clone(),
        );
        registry.register(
            "stale_revocation_lists",
            "Revocation lists that are out of date without a newer one",
            metrics.stale_revocation_lists.clone(),
        );
        registry.register(
            "connection_limits_reached",
            "Times that there was no place for a connection, by limit",
            metrics.limits_reached.clone(),
        );
        Self { registry, ..metrics }
    }

    /// Of one source, whether it cannot be read.
    pub(crate) fn failing(&self, kind: SourceKind) -> Gauge {
        let label = OfSource { source: kind.name().to_owned() };
        self.source_failing.get_or_create(&label).clone()
    }

    /// How often limits on connections were reached, which are counted where connections are accepted.
    pub(crate) fn set_limits_reached(&self, reached: &ReachedLimits) {
        for (limit, times) in reached.counts() {
            let limit = OfLimit { limit: limit.name() };
            self.limits_reached.get_or_create(&limit).inner().store(times, Ordering::Relaxed);
        }
    }

    /// All of them as text.
    pub(crate) fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Counts one while it lives.
#[derive(Debug)]
pub(crate) struct Held<'a>(&'a Gauge);

impl<'a> Held<'a> {
    pub(crate) fn count(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
