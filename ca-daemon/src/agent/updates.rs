//! What one workload is told over one stream: at once, and again whenever it changes.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::SystemTime,
};

use futures_util::{Stream, stream};
use secplane_identity::{Revocations, TrustBundle};
use secplane_proto::workload::{X509BundlesResponse, X509svid, X509svidResponse};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use tonic::{Code, Status};

use super::{Agent, calls::OpenCall, room::Room};
use crate::{
    attest::AttestedProcess,
    federation::FederatedBundle,
    registry::{Entry, Selector},
    revocation::Lists,
};

/// The texts that clients of the Workload API look for.
pub(super) const NO_IDENTITY: &str = "no identity issued";
pub(super) const ATTESTATION_FAILED: &str = "workload attestation failed";

/// One workload's view of what concerns it, and what makes it look again.
pub(super) struct View {
    pub(super) agent: Arc<Agent>,
    process: Arc<AttestedProcess>,
    entries: watch::Receiver<u64>,
    pub(super) bundle: watch::Receiver<Arc<TrustBundle>>,
    pub(super) federation: watch::Receiver<u64>,
    revoked: watch::Receiver<Arc<Revocations>>,
    lists: watch::Receiver<Lists>,
    room: Room,
    held: Hold,
    withdrawn: watch::Receiver<Arc<HashSet<String>>>,
    _open: OpenCall,
}

/// How long a first answer waits for an entry.
struct Hold {
    until: Instant,
    /// Whether the entries were looked at once more when the time was over.
    has_looked_late: bool,
}

impl Hold {
    /// Waits for a change of the entries. Whether it is worth looking again.
    ///
    /// A change counts however late it is noticed: attesting a process takes a while, and what became known during it
    /// must not be passed over because the time is up by then. Changes that go on for ever hold up nobody.
    async fn wait(&mut self, entries: &mut watch::Receiver<u64>) -> bool {
        if Instant::now() < self.until && timeout_at(self.until, entries.changed()).await.is_ok() {
            return true;
        }
        let is_first = !std::mem::replace(&mut self.has_looked_late, true);
        // The sender lives as long as the agent.
        is_first && entries.has_changed().unwrap_or(false)
    }
}

/// A message and the instant at which it is out of date by itself.
pub(super) struct Answer<T> {
    pub(super) message: T,
    pub(super) until: Option<SystemTime>,
}

impl View {
    pub(super) fn new(agent: Arc<Agent>, process: Arc<AttestedProcess>, room: Room) -> Result<Self, Status> {
        let open = agent.begin_call(&process)?;
        let entries = agent.registry.changes();
        let bundle = agent.issuance.bundle();
        let federation = agent.federation.changes();
        let revoked = agent.issuance.revoked().changes();
        let lists = agent.revoker.lists();
        let withdrawn = agent.issuance.withdrawn();
        let held = Hold { until: Instant::now() + agent.hold(), has_looked_late: false };
        Ok(Self {
            agent,
            process,
            entries,
            bundle,
            federation,
            revoked,
            lists,
            room,
            withdrawn,
            held,
            _open: open,
        })
    }

    /// The X.509-SVIDs of the workload, as they are and as they become.
    pub(super) fn x509_svids(self) -> impl Stream<Item = Result<X509svidResponse, Status>> {
        self.updates(async |view: &mut Self| view.x509_svid_answer().await)
    }

    /// The trust bundles that the workload validates peers with.
    pub(super) fn x509_bundles(self) -> impl Stream<Item = Result<X509BundlesResponse, Status>> {
        self.updates(async |view: &mut Self| view.x509_bundles_answer().await)
    }

    /// The first answer at once; a further one only when it differs. Ends with the error that an answer is.
    pub(super) fn updates<T, F>(self, answer: F) -> impl Stream<Item = Result<T, Status>>
    where
        T: Clone + PartialEq,
        F: AsyncFn(&mut Self) -> Result<Answer<T>, Status>,
    {
        struct State<T, F> {
            view: View,
            answer: F,
            last: Option<T>,
            until: Option<SystemTime>,
        }
        let state = State { view: self, answer, last: None, until: None };
        stream::unfold(Some(state), async |state| {
            let mut state = state?;
            loop {
                if state.last.is_some()
                    && let Err(status) = state.view.wait(state.until).await
                {
                    return Some((Err(status), None));
                }
                match (state.answer)(&mut state.view).await {
                    Err(status) if state.last.is_none() && status.code() == Code::PermissionDenied => {
                        match state.view.hold().await {
                            Ok(true) => {}
                            Ok(false) => return Some((Err(status), None)),
                            Err(stopping) => return Some((Err(stopping), None)),
                        }
                    }
                    Err(status) => return Some((Err(status), None)),
                    Ok(Answer { message, until }) => {
                        state.until = until;
                        if state.last.as_ref() != Some(&message) {
                            state.last = Some(message.clone());
                            return Some((Ok(message), Some(state)));
                        }
                    }
                }
            }
        })
    }

    /// Waits for an entry of a workload that has none: one that was just started often asks before its entry has
    /// arrived. Whether it is worth looking again.
    pub(super) async fn hold(&mut self) -> Result<bool, Status> {
        tokio::select! {
            () = self.agent.shutdown.cancelled() => Err(stopping()),
            worth = self.held.wait(&mut self.entries) => Ok(worth),
        }
    }

    /// Waits for anything that could change an answer.
    ///
    /// A daemon that stops says "unavailable", for which clients come back; "permission denied" would make them
    /// give up.
    async fn wait(&mut self, until: Option<SystemTime>) -> Result<(), Status> {
        let clock = self.agent.issuance.clock().clone();
        let out_of_date = async {
            match until {
                Some(instant) => clock.wait_until(instant).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.agent.shutdown.cancelled() => Err(stopping()),
            () = out_of_date => Ok(()),
            // The senders live as long as the agent, so none ends before `shutdown`.
            _ = self.entries.changed() => Ok(()),
            _ = self.bundle.changed() => Ok(()),
            _ = self.federation.changed() => Ok(()),
            _ = self.revoked.changed() => Ok(()),
            _ = self.lists.changed() => Ok(()),
            _ = self.withdrawn.changed() => Ok(()),
        }
    }

    async fn x509_svid_answer(&mut self) -> Result<Answer<X509svidResponse>, Status> {
        let entries = self.entries_of_workload().await?;
        let bundle = concatenated(&self.bundle.borrow_and_update());
        let requester = self.requester();
        let mut svids = Vec::with_capacity(entries.len());
        let mut hints = BTreeSet::new();
        let mut until: Option<SystemTime> = None;
        for entry in &entries {
            let hint = entry.fields().hint.clone();
            if !hint.is_empty() && !hints.insert(hint.clone()) {
                // The older entry has the hint; a second identity under it could not be told apart.
                tracing::warn!(entry = %entry.id(), hint, "an identity is left out: its hint is taken");
                continue;
            }
            let svid = self.agent.svids.current(entry, &requester).await.map_err(|error| {
                tracing::error!(entry = %entry.id(), %error, "an X.509-SVID could not be issued");
                Status::unavailable(format!("no X.509-SVID could be issued for {}", entry.fields().spiffe_id))
            })?;
            let ends = [Some(svid.rotate_at), entry.fields().expires_at];
            until = ends.into_iter().flatten().chain(until).min();
            svids.push(X509svid {
                spiffe_id: entry.fields().spiffe_id.to_string(),
                x509_svid: svid.certificate.chain.iter().flat_map(|der| der.iter().copied()).collect(),
                x509_svid_key: svid.key.pkcs8_der().to_vec(),
                bundle: bundle.clone(),
                hint,
            });
        }
        let federated_bundles = self.federated_bundles(&entries);
        let message = X509svidResponse { svids, federated_bundles, crl: self.lists()? };
        Ok(Answer { message, until })
    }

    /// Who asks, for the record.
    pub(super) fn requester(&self) -> String {
        format!("workload(pid={},uid={})", self.process.pid(), self.process.uid())
    }

    async fn x509_bundles_answer(&mut self) -> Result<Answer<X509BundlesResponse>, Status> {
        let entries = self.entries_of_workload().await?;
        let until = entries.iter().filter_map(|entry| entry.fields().expires_at).min();
        let bundle = self.bundle.borrow_and_update().clone();
        let mut bundles = self.federated_bundles(&entries);
        bundles.insert(bundle.trust_domain().id(), concatenated(&bundle));
        Ok(Answer { message: X509BundlesResponse { bundles, crl: self.lists()? }, until })
    }

    /// The bundles of the foreign trust domains that any of the entries federates with.
    pub(super) fn foreign_bundles(&mut self, entries: &[Arc<Entry>]) -> Vec<Arc<FederatedBundle>> {
        self.federation.borrow_and_update();
        let domains: BTreeSet<_> =
            entries.iter().flat_map(|entry| entry.fields().federates_with.iter()).collect();
        domains.into_iter().filter_map(|domain| self.agent.federation.bundle(domain)).collect()
    }

    /// Their X.509 roots, as the Workload API wants them.
    fn federated_bundles(&mut self, entries: &[Arc<Entry>]) -> HashMap<String, Vec<u8>> {
        let foreign = self.foreign_bundles(entries).into_iter();
        foreign.map(|bundle| (bundle.trust_domain().id(), concatenated(bundle.trust_bundle()))).collect()
    }

    /// The entries that the workload's process matches now.
    pub(super) async fn entries_of_workload(&mut self) -> Result<Vec<Arc<Entry>>, Status> {
        // Before looking: a change that comes while we look makes us look again.
        self.entries.borrow_and_update();
        self.revoked.borrow_and_update();
        self.withdrawn.borrow_and_update();
        let selectors = self.attest().await?;
        let now = self.agent.issuance.clock().now();
        let entries = self.agent.registry.of_workload(&self.agent.id, &selectors, now);
        if entries.is_empty() {
            tracing::info!(pid = self.process.pid(), uid = self.process.uid(), "no entry fits a workload");
            return Err(Status::permission_denied(NO_IDENTITY));
        }
        Ok(entries)
    }

    /// The revocation lists as DER.
    fn lists(&mut self) -> Result<Vec<Vec<u8>>, Status> {
        let lists = self.lists.borrow_and_update();
        let rows = lists.iter().map(|list| list.row());
        self.room.fill(rows.map(|row| (row.issuer_key_id.as_str(), row.crl.as_slice())))
    }

    pub(super) async fn attest(&self) -> Result<BTreeSet<Selector>, Status> {
        let (agent, process) = (Arc::clone(&self.agent), Arc::clone(&self.process));
        let attested = tokio::task::spawn_blocking(move || {
            let hash = agent.registry.wants_executable_hash(&agent.id);
            process.selectors(hash.then_some(&agent.hashes))
        });
        match attested.await {
            Ok(Ok(selectors)) => Ok(selectors),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a workload could not be attested");
                Err(Status::unavailable(ATTESTATION_FAILED))
            }
            Err(_) => Err(Status::unavailable(ATTESTATION_FAILED)),
        }
    }
}

fn stopping() -> Status {
    Status::unavailable("the Workload API is stopping")
}

/// The roots one after another, as the Workload API wants them.
fn concatenated(bundle: &TrustBundle) -> Vec<u8> {
    bundle.authorities().flat_map(|root| root.der.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A hold that ends long after the test, or has ended already.
    fn hold(is_over: bool) -> Hold {
        let until = if is_over { Instant::now() } else { Instant::now() + Duration::from_secs(3600) };
        Hold { until, has_looked_late: false }
    }

    #[tokio::test]
    async fn looks_again_at_a_change() {
        let (entries, mut changes) = watch::channel(0);
        let mut hold = hold(false);
        let (worth, _) = tokio::join!(hold.wait(&mut changes), async { entries.send_replace(1) });
        assert!(worth);
    }

    #[tokio::test]
    async fn ends_when_nothing_came() {
        let (_entries, mut changes) = watch::channel(0);
        assert!(!hold(true).wait(&mut changes).await);
    }

    /// The change came while the workload was being attested, which took longer than the time that it is held for.
    #[tokio::test]
    async fn passes_over_no_change_that_came_in_time() {
        let (entries, mut changes) = watch::channel(0);
        let mut hold = hold(true);
        entries.send_replace(1);
        assert!(hold.wait(&mut changes).await);
        // And it ends, however often entries change.
        entries.send_replace(2);
        assert!(!hold.wait(&mut changes).await);
    }
}
