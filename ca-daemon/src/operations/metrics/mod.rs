//! What is counted and measured, in the exposition format that Prometheus reads (OpenMetrics 1.0).
//!
//! Names follow the Prometheus conventions: a prefix, base units, `_total` on counters. Every label has a set of
//! values that no caller can make grow. docs/operations.md describes each metric; a test compares the page with
//! what is registered here.

mod labels;
mod process;

use std::{
    fmt,
    sync::atomic::Ordering,
    time::{Duration, Instant, SystemTime},
};

use prometheus_client::{
    encoding::text::encode,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Registry, Unit},
};
use secplane_identity::serve::ReachedLimits;

use labels::{
    AuthorityLabels, Build, Call, Denial, Issued, KindLabel, LimitLabel, ListenerLabel, MethodLabel,
    TableLabel, known_method, known_word,
};
pub use labels::{DenialReason, Listener, Result as IssueResult};

/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of one daemon. Made once and handed, behind an `Arc`, to whatever counts.
pub struct Metrics {
    registry: Registry,
    certificates: Family<Issued, Counter>,
    signing: Family<KindLabel, Histogram, fn() -> Histogram>,
    commits: Histogram,
    commit_changes: Histogram,
    database_errors: Counter,
    connections: Family<ListenerLabel, Gauge>,
    limits_reached: Family<LimitLabel, Counter>,
    calls: Family<Call, Counter>,
    call_duration: Family<MethodLabel, Histogram, fn() -> Histogram>,
    denied: Family<Denial, Counter>,
    entries: Gauge,
    agents: Gauge,
    refused_rows: Family<TableLabel, Gauge>,
    authority_expiry: Family<AuthorityLabels, Gauge>,
    renewal_failing: Gauge,
    bundle_sequence: Gauge,
    audit_size: Gauge,
    audit_checkpoint: Gauge,
    server_expiry: Gauge,
}

/// From 50 µs to about 13 s, each bucket twice as wide as the one before.
fn latency() -> Histogram {
    Histogram::new(exponential_buckets(0.000_05, 2.0, 19))
}

/// From 1 to 1,024.
fn batch() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 11))
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Begins counting.
    #[must_use]
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            certificates: Family::default(),
            signing: Family::new_with_constructor(latency),
            commits: latency(),
            commit_changes: batch(),
            database_errors: Counter::default(),
            connections: Family::default(),
            limits_reached: Family::default(),
            calls: Family::default(),
            call_duration: Family::new_with_constructor(latency),
            denied: Family::default(),
            entries: Gauge::default(),
            agents: Gauge::default(),
            refused_rows: Family::default(),
            authority_expiry: Family::default(),
            renewal_failing: Gauge::default(),
            bundle_sequence: Gauge::default(),
            audit_size: Gauge::default(),
            audit_checkpoint: Gauge::default(),
            server_expiry: Gauge::default(),
        };
        metrics.registry = metrics.register();
        metrics
    }

    fn register(&self) -> Registry {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(process::Process));
        let ours = registry.sub_registry_with_prefix("secplane_ca");
        ours.register("build", "The program that runs", Info::new(Build::THIS));
        ours.register(
            "certificates",
            "Certificates and tokens that were asked for, by kind and result",
            self.certificates.clone(),
        );
        ours.register_with_unit(
            "signing_duration",
            "Time that one signature took, with the check of the request",
            Unit::Seconds,
            self.signing.clone(),
        );
        ours.register_with_unit(
            "database_commit_duration",
            "Time that one durable commit took",
            Unit::Seconds,
            self.commits.clone(),
        );
        ours.register(
            "database_commit_changes",
            "Changes that shared one durable commit",
            self.commit_changes.clone(),
        );
        ours.register(
            "database_errors",
            "Statements and commits that the database failed",
            self.database_errors.clone(),
        );
        ours.register("connections", "Connections that are open, by listener", self.connections.clone());
        ours.register(
            "connection_limits_reached",
            "Times that there was no place for a connection, by limit",
            self.limits_reached.clone(),
        );
        ours.register(
            "grpc_calls",
            "gRPC calls that have ended, by method and status code",
            self.calls.clone(),
        );
        ours.register_with_unit(
            "grpc_call_duration",
            "Time from the request's header to the end of the answer",
            Unit::Seconds,
            self.call_duration.clone(),
        );
        ours.register("denied_calls", "Calls that were denied, by reason", self.denied.clone());
        ours.register("entries", "Registration entries", self.entries.clone());
        ours.register("agents", "Attested agents", self.agents.clone());
        ours.register(
            "refused_rows",
            "Rows of the database that are not trusted, by table",
            self.refused_rows.clone(),
        );
        ours.register_with_unit(
            "authority_expiry_timestamp",
            "When the earliest authority of a kind and state expires, in Unix time",
            Unit::Seconds,
            self.authority_expiry.clone(),
        );
        ours.register(
            "renewal_failing",
            "Whether the authorities or the server's certificate could not be renewed at the last try",
            self.renewal_failing.clone(),
        );
        ours.register_with_unit(
            "server_certificate_expiry_timestamp",
            "When the server's own certificate expires, in Unix time",
            Unit::Seconds,
            self.server_expiry.clone(),
        );
        ours.register(
            "bundle_sequence",
            "The sequence number of the trust bundle",
            self.bundle_sequence.clone(),
        );
        ours.register("audit_log_entries", "Entries of this replica's audit log", self.audit_size.clone());
        ours.register_with_unit(
            "audit_checkpoint_timestamp",
            "When the audit log's latest checkpoint was signed, in Unix time",
            Unit::Seconds,
            self.audit_checkpoint.clone(),
        );
        registry
    }

    /// Everything, as text.
    ///
    /// # Errors
    /// Never: text always takes more.
    pub fn encode(&self) -> std::result::Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// A certificate or token of a kind, such as `x509-svid` or `jwt-svid`, was issued, refused or failed.
    pub fn issued(&self, kind: &str, result: IssueResult) {
        let kind = known_word(kind, labels::KINDS);
        self.certificates.get_or_create(&Issued { kind, result }).inc();
    }

    /// A signature of a kind was made.
    pub fn signed(&self, kind: &str, took: Duration) {
        let kind = known_word(kind, labels::KINDS);
        self.signing.get_or_create(&KindLabel { kind }).observe(took.as_secs_f64());
    }

    /// A transaction with this many changes became durable.
    pub fn committed(&self, changes: usize, took: Duration) {
        self.commits.observe(took.as_secs_f64());
        self.commit_changes.observe(u32::try_from(changes).map_or(f64::MAX, f64::from));
    }

    /// The database failed a statement or a commit.
    pub fn database_failed(&self) {
        self.database_errors.inc();
    }

    /// A connection was accepted; it counts until the answer is dropped.
    #[must_use]
    pub fn connected(&self, listener: Listener) -> OpenConnection {
        let gauge = self.connections.get_or_create_owned(&ListenerLabel { listener });
        gauge.inc();
        OpenConnection(gauge)
    }

    /// How many connections a listener has that counts them itself.
    pub fn set_connections(&self, listener: Listener, number: usize) {
        self.connections.get_or_create(&ListenerLabel { listener }).set(gauge(number));
    }

    /// How often limits on connections were reached, which are counted where connections are accepted.
    pub fn set_limits_reached(&self, reached: &ReachedLimits) {
        for (limit, times) in reached.counts() {
            let limit = LimitLabel { limit: limit.name() };
            self.limits_reached.get_or_create(&limit).inner().store(times, Ordering::Relaxed);
        }
    }

    /// A gRPC call of a method (the request's path) ended with a status code.
    pub fn called(&self, path: &str, code: tonic::Code, began: Instant) {
        let method = known_method(path);
        self.calls.get_or_create(&Call { method, code: labels::code(code) }).inc();
        self.call_duration.get_or_create(&MethodLabel { method }).observe(began.elapsed().as_secs_f64());
    }

    /// A call was denied.
    pub fn denied(&self, reason: DenialReason) {
        self.denied.get_or_create(&Denial { reason }).inc();
    }

    /// How many entries there are.
    pub fn set_entries(&self, number: usize) {
        self.entries.set(gauge(number));
    }

    /// How many agents there are.
    pub fn set_agents(&self, number: usize) {
        self.agents.set(gauge(number));
    }

    /// How many rows of a table are not trusted.
    pub fn set_refused_rows(&self, table: &str, number: usize) {
        let table = known_word(table, labels::TABLES);
        self.refused_rows.get_or_create(&TableLabel { table }).set(gauge(number));
    }

    /// Which authorities there are: kind, state and expiry in Unix seconds. Of several with one kind and state the
    /// earliest is shown; a kind and state without any disappears.
    pub fn set_authorities<'a>(&self, authorities: impl IntoIterator<Item = (&'a str, &'a str, i64)>) {
        self.authority_expiry.clear();
        for (kind, state, not_after) in authorities {
            let kind = known_word(kind, labels::AUTHORITY_KINDS);
            let state = known_word(state, labels::AUTHORITY_STATES);
            let earliest = self.authority_expiry.get_or_create_owned(&AuthorityLabels { kind, state });
            if earliest.get() == 0 || not_after < earliest.get() {
                earliest.set(not_after);
            }
        }
    }

    /// Whether the authorities or the server's certificate could not be renewed at the last try.
    pub fn set_renewal_failing(&self, is_failing: bool) {
        self.renewal_failing.set(i64::from(is_failing));
    }

    /// When the server's own certificate expires.
    pub fn set_server_expiry(&self, at: SystemTime) {
        self.server_expiry.set(crate::instant::unix(at));
    }

    /// The trust bundle's sequence number.
    pub fn set_bundle_sequence(&self, sequence: u64) {
        self.bundle_sequence.set(i64::try_from(sequence).unwrap_or(i64::MAX));
    }

    /// How long the audit log is, and when it was signed, if it was just now.
    pub fn set_audit_log(&self, entries: u64, signed_at: Option<SystemTime>) {
        self.audit_size.set(i64::try_from(entries).unwrap_or(i64::MAX));
        if let Some(at) = signed_at {
            self.audit_checkpoint.set(crate::instant::unix(at));
        }
    }
}

fn gauge(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Counts one connection while it lives.
#[derive(Debug)]
pub struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests;
