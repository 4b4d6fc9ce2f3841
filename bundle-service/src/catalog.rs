//! The current bundle of each identity, and who waits for the next one.
//!
//! Compiling takes processor time, so it happens on the threads for blocking work, one batch of changes after another.
//! An identity is compiled for when it first asks, and from then on whenever one of its own tiers changes.

mod published;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use secplane_identity::SpiffeId;
use tokio::{sync::watch, task::spawn_blocking};

use self::published::Published;
use crate::{
    compile::{Bundle, Policies, Settings, Verdict, publication::Journal},
    history::{History, HistoryError, Opened},
    policy::ResourceKey,
    refusal::Refusal,
    source::{Batch, Change, Object},
    tiers::TierKey,
};

/// For how long one namespace after another has its turn before others are heard again.
const TURNS: Duration = Duration::from_secs(1);

/// For how long a start goes on at most, after a first batch was taken in, while what never stood waits for its tests.
const LONGEST_START: Duration = Duration::from_secs(5 * 60);

/// What tells the time.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The bundles of all identities. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalog(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// Written only by who holds the state, so that no change falls between compiling and publishing; and for moments
    /// only, as it is read on the async runtime.
    published: RwLock<Published>,
    /// What the source refuses and is no resource's own fault.
    source_refusals: Mutex<Vec<Refusal>>,
    ready: AtomicBool,
    /// When a first batch had been taken in, and whether tiers that never stood wait for their tests since.
    started: OnceLock<Instant>,
    starting: AtomicBool,
    clock: Clock,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog").field("ready", &self.ready).finish_non_exhaustive()
    }
}

/// What came of a batch, or of trying again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The resources whose verdict may be another one now.
    pub judged: BTreeSet<ResourceKey>,
    /// All that is refused now, with what is wrong with the history.
    pub refusals: Vec<Refusal>,
    /// How many resources there are.
    pub resources: usize,
    /// How many identities have a bundle.
    pub identities: usize,
}

/// The policies, and what remembers them.
pub(crate) struct State {
    pub(crate) policies: Policies,
    pub(crate) history: Option<History>,
    /// What is damaged in the history, or failed when it was last written.
    history_faults: Vec<Refusal>,
    write_fault: Option<Refusal>,
}

/// The catalog's work was interrupted: the process is ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bundle was not compiled: the service is ending")]
pub struct Interrupted;

impl Catalog {
    /// A catalog without resources, which is not ready and remembers nothing beyond this process.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self::remembering(Policies::new(settings), None, Arc::new(SystemTime::now))
    }

    /// A catalog without resources, which is not ready. What its history holds stands in for resources that are
    /// broken when they are first read.
    #[must_use]
    pub fn remembering(policies: Policies, history: Option<(History, Opened)>, clock: Clock) -> Self {
        let mut policies = policies;
        let (history, history_faults) = match history {
            Some((history, Opened { remembered, damages })) => {
                policies.restore(remembered);
                (Some(history), damages)
            }
            None => (None, Vec::new()),
        };
        Self(Arc::new(Inner {
            state: Mutex::new(State { policies, history, history_faults, write_fault: None }),
            published: RwLock::default(),
            source_refusals: Mutex::default(),
            ready: AtomicBool::new(false),
            started: OnceLock::new(),
            starting: AtomicBool::new(true),
            clock,
        }))
    }

    /// Takes a batch in, and publishes the bundles that it changes. After the first one the catalog is ready.
    ///
    /// # Errors
    /// When the process is ending.
    pub async fn apply(&self, batch: Batch) -> Result<Applied, Interrupted> {
        let inner = Arc::clone(&self.0);
        spawn_blocking(move || inner.apply(batch)).await.map_err(|_| Interrupted)
    }

    /// Tries the tiers again of which something was not tested to its end, one namespace after another for a moment, and
    /// publishes what changes by that. `None` when there is none whose time has come.
    ///
    /// # Errors
    /// When the process is ending.
    pub async fn try_again(&self) -> Result<Option<Applied>, Interrupted> {
        let inner = Arc::clone(&self.0);
        spawn_blocking(move || inner.try_again(TURNS)).await.map_err(|_| Interrupted)
    }

    /// Gives bundles that are about to end a new end.
    ///
    /// # Errors
    /// When the process is ending.
    pub async fn renew(&self) -> Result<(), Interrupted> {
        let inner = Arc::clone(&self.0);
        spawn_blocking(move || inner.renew()).await.map_err(|_| Interrupted)
    }

    /// Does something with the policies and their history, and publishes what changed by it.
    ///
    /// # Errors
    /// When the process is ending.
    pub(crate) async fn with_state<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut State, SystemTime) -> (T, BTreeSet<TierKey>) + Send + 'static,
    ) -> Result<T, Interrupted> {
        let inner = Arc::clone(&self.0);
        spawn_blocking(move || inner.with_state(work)).await.map_err(|_| Interrupted)
    }

    /// The bundle of an identity, now and as it changes.
    ///
    /// # Errors
    /// When the process is ending.
    pub async fn subscribe(&self, id: &SpiffeId) -> Result<watch::Receiver<Arc<Bundle>>, Interrupted> {
        if let Some(receiver) = self.0.published().receiver(id) {
            return Ok(receiver);
        }
        let (inner, id) = (Arc::clone(&self.0), id.clone());
        spawn_blocking(move || inner.subscribe(&id)).await.map_err(|_| Interrupted)
    }

    /// The bundle that an identity is served now; `None` when it has not asked since the start.
    pub(crate) fn served(&self, id: &SpiffeId) -> Option<Arc<Bundle>> {
        let receiver = self.0.published().receiver(id)?;
        let bundle = receiver.borrow().clone();
        Some(bundle)
    }

    /// Whether a first batch has been taken in.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Acquire)
    }

    /// Whether the start is not over: tiers that never stood deny until their tests have run, and have their turns without
    /// a pause. That ends when none of them waits, or after five minutes.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        self.is_ready() && self.0.starting.load(Ordering::Acquire)
    }

    /// All that is refused now, with what is wrong with the history. Waits for the change that is being made, so never
    /// on a runtime that others need.
    #[must_use]
    pub fn refusals(&self) -> Vec<Refusal> {
        let state = self.0.state();
        self.0.refusals(&state)
    }

    /// What became of resources, in the order of the keys; nothing of those that are not there.
    ///
    /// # Errors
    /// When the process is ending.
    pub async fn verdicts(
        &self,
        keys: BTreeSet<ResourceKey>,
    ) -> Result<Vec<(ResourceKey, Verdict)>, Interrupted> {
        let inner = Arc::clone(&self.0);
        let of = move || {
            let state = inner.state();
            let verdict = |key: ResourceKey| state.policies.verdict(&key).map(|verdict| (key, verdict));
            keys.into_iter().filter_map(verdict).collect()
        };
        spawn_blocking(of).await.map_err(|_| Interrupted)
    }

    /// All that would be refused of an object, and the warnings, were it the newest version of its resource. Changes
    /// nothing.
    ///
    /// # Errors
    /// When the process is ending.
    pub async fn preview(&self, object: Object) -> Result<Vec<Refusal>, Interrupted> {
        let inner = Arc::clone(&self.0);
        let judge = move || {
            let preview = inner.state().policies.preview(object);
            preview.judge()
        };
        spawn_blocking(judge).await.map_err(|_| Interrupted)
    }

    /// How many resources there are, and identities with a bundle. Waits as [`Catalog::refusals`] does.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let resources = self.0.state().policies.resources();
        (resources, self.0.published().len())
    }
}

impl State {
    /// Puts on disk what happened, before anybody is served by it. A disk that fails holds no change up: a stricter
    /// policy must come into force even then. It is said among the refusals until a write succeeds.
    pub(crate) fn record(&mut self, at: SystemTime) {
        let journal = self.policies.take_journal();
        let Some(history) = &mut self.history else { return };
        if journal == Journal::default() {
            return;
        }
        let mut written = history.publish(&journal.publications, at);
        for key in &journal.released {
            let released = history.release(key, "the resource changed", at);
            written = written.and(released);
        }
        self.note(written);
    }

    /// Puts on disk what was chosen of resources. False when it is only known to this process.
    pub(crate) fn keep_choices(&mut self, resources: &[ResourceKey], by: &str, at: SystemTime) -> bool {
        let Some(history) = &mut self.history else { return false };
        let mut written = Ok(());
        for key in resources {
            let kept = match self.policies.pin(key) {
                Some(pin) => history.pin(key, &pin, at),
                None => history.release(key, by, at),
            };
            written = written.and(kept);
        }
        let durable = written.is_ok();
        self.note(written);
        durable
    }

    /// Remembers whether a write to the history succeeded.
    pub(crate) fn note(&mut self, written: Result<(), HistoryError>) {
        self.write_fault = written.err().map(|error| {
            tracing::error!(%error, "what came into force is not on disk");
            let message =
                format!("what came into force is not on disk, and a restart will not know of it: {error}");
            Refusal::new("history", message).warning()
        });
    }
}

impl Inner {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic while compiling leaves the tiers as they were or rebuilt, never half of one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn published(&self) -> std::sync::RwLockReadGuard<'_, Published> {
        self.published.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusals(&self, state: &State) -> Vec<Refusal> {
        let mut refusals = self.source_refusals.lock().unwrap_or_else(PoisonError::into_inner).clone();
        refusals.extend(state.history_faults.iter().chain(&state.write_fault).cloned());
        refusals.extend(state.policies.refusals());
        refusals
    }

    fn apply(&self, Batch { changes, refusals, unreadable }: Batch) -> Applied {
        *self.source_refusals.lock().unwrap_or_else(PoisonError::into_inner) = refusals;
        for change in &changes {
            match change {
                Change::Set(object) => {
                    tracing::debug!(resource = %object.key, file = object.file, "policy read")
                }
                Change::Gone(key) => tracing::debug!(resource = %key, "policy gone"),
            }
        }
        tracing::info!(changes = changes.len(), "policies read");
        let mut state = self.state();
        let judged = self.change(&mut state, |state, _| {
            let touched = state.policies.take_in(&changes, &unreadable);
            let judged = changes.iter().map(Change::key).chain(state.policies.members_of(&touched));
            (judged.cloned().collect(), touched)
        });
        self.note_start(&state);
        self.ready.store(true, Ordering::Release);
        self.applied(&state, judged)
    }

    fn applied(&self, state: &State, judged: BTreeSet<ResourceKey>) -> Applied {
        let (resources, identities) = (state.policies.resources(), self.published().len());
        Applied { judged, refusals: self.refusals(state), resources, identities }
    }

    /// Gives namespaces their turns, one at least, and others while so much time is not over.
    fn try_again(&self, turns: Duration) -> Option<Applied> {
        let (began, mut state) = (Instant::now(), self.state());
        state.policies.set_time((self.clock)());
        let (mut had, mut judged) = (BTreeSet::new(), BTreeSet::new());
        while had.is_empty() || began.elapsed() < turns {
            let tiers = state.policies.to_try_again();
            let namespace = tiers.first().map(|tier| tier.namespace().map(str::to_owned));
            // Nobody has a second turn before the others are heard.
            if namespace.is_none_or(|namespace| !had.insert(namespace)) {
                break;
            }
            let tried: BTreeSet<ResourceKey> = self.change(&mut state, |state, _| {
                let touched = state.policies.try_again(&tiers);
                (state.policies.members_of(&touched).cloned().collect(), touched)
            });
            judged.extend(tried);
        }
        if self.ready.load(Ordering::Acquire) {
            self.note_start(&state);
        }
        (!had.is_empty()).then(|| self.applied(&state, judged))
    }

    /// Notes whether the start is over. What is over stays so.
    fn note_start(&self, state: &State) {
        let started = self.started.get_or_init(Instant::now);
        if started.elapsed() >= LONGEST_START || !state.policies.awaits_first_tests() {
            self.starting.store(false, Ordering::Release);
        }
    }

    fn renew(&self) {
        let mut state = self.state();
        state.policies.set_time((self.clock)());
        self.publish(&mut state.policies, None);
    }

    fn with_state<T>(&self, work: impl FnOnce(&mut State, SystemTime) -> (T, BTreeSet<TierKey>)) -> T {
        self.change(&mut self.state(), work)
    }

    fn change<T>(
        &self,
        state: &mut State,
        work: impl FnOnce(&mut State, SystemTime) -> (T, BTreeSet<TierKey>),
    ) -> T {
        let now = (self.clock)();
        state.policies.set_time(now);
        let (done, touched) = work(state, now);
        state.record(now);
        self.publish(&mut state.policies, Some(&touched));
        done
    }

    /// Publishes bundles that have changed: of those whom these tiers concern, or of everybody.
    fn publish(&self, policies: &mut Policies, touched: Option<&BTreeSet<TierKey>>) {
        let published = self.published();
        for (id, sender) in published.iter() {
            let concerns = |touched: &BTreeSet<TierKey>| {
                touched.contains(&TierKey::Global)
                    || policies.tier_keys_of(id).iter().any(|tier| touched.contains(tier))
            };
            if !touched.is_none_or(concerns) {
                continue;
            }
            match policies.bundle(id) {
                Ok(bundle) => {
                    sender.send_if_modified(|current| {
                        let changed = current.etag() != bundle.etag();
                        if changed {
                            *current = bundle;
                        }
                        changed
                    });
                }
                Err(refusals) => stays(id, &refusals),
            }
        }
    }

    fn subscribe(&self, id: &SpiffeId) -> watch::Receiver<Arc<Bundle>> {
        let mut state = self.state();
        state.policies.set_time((self.clock)());
        if let Some(receiver) = self.published().receiver(id) {
            return receiver;
        }
        let bundle = state.policies.bundle(id).unwrap_or_else(|refusals| {
            stays(id, &refusals);
            state.policies.denied(id, &refusals)
        });
        self.published.write().unwrap_or_else(PoisonError::into_inner).insert(id, bundle)
    }
}

fn stays(id: &SpiffeId, refusals: &[Refusal]) {
    let first = refusals.first().map(ToString::to_string).unwrap_or_default();
    tracing::warn!(%id, refusal = first, "the tiers of this identity do not fit together; it keeps its last bundle, or is denied");
}

#[cfg(test)]
mod tests;
