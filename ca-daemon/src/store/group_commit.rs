//! One writer for all: changes that arrive while a commit is under way share the next one.
//!
//! A durable commit costs about the same for one change as for a hundred, so this is what lets the authority record
//! every certificate before it hands it out.

mod outrun;
mod unsure;

#[cfg(test)]
use std::sync::atomic::{AtomicBool, Ordering};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{Mutex, mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

use self::unsure::Unsure;
use super::{
    Conflict, StoreError,
    audit::AuditTail,
    change::{Change, apply, tell_others},
    database::Pools,
    listen::Listener,
};
use crate::{
    audit::{Event, LogKey},
    instant::Clock,
    operations::{Metrics, metrics::IssueResult},
};

/// How many commits may wait for the writer; further callers wait for a place.
const QUEUE: usize = 4096;
/// How many commits one transaction takes at the most.
const BATCH: usize = 512;
/// How often everybody who is ready may run, and hand in what they have, before a transaction begins. Who waits for
/// nothing but the processor costs nobody time, and a transaction costs about the same for one as for ten.
const TURNS: usize = 2;
/// How long one transaction may take before its connection counts as lost.
const LONGEST_TRANSACTION: Duration = Duration::from_secs(60);
/// How often a transaction is begun at the most that the database ends because another replica's was in its way.
const TRIES: usize = 5;
/// How long entries of the audit log may stand without a signed checkpoint.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);

/// What belongs together: it becomes durable as a whole or not at all.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// What is changed.
    pub changes: Vec<Change>,
    /// What the audit log says of it.
    pub events: Vec<Event>,
}

impl Commit {
    /// Counts the certificates that it records.
    pub(crate) fn count(&self, result: IssueResult, metrics: &Metrics) {
        for change in &self.changes {
            if let Change::Issue(records) = change {
                records.iter().for_each(|record| metrics.issued(record.kind.as_str(), result));
            }
        }
    }

    fn holds_agent(&self) -> bool {
        self.changes.iter().any(|change| matches!(change, Change::HoldAgent { .. }))
    }
}

/// What became of a commit that did not fail.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is durable.
    Made,
    /// Somebody else has changed a row that it names: it is given back, to be made of what stands there now.
    Outrun(Commit),
}

enum Job {
    Commit(Commit, oneshot::Sender<Result<Outcome, StoreError>>),
    OpenLog(LogKey, oneshot::Sender<Result<(), StoreError>>),
    SignLog(oneshot::Sender<Result<(), StoreError>>),
}

/// Where commits are handed in. Cheap to clone.
#[derive(Clone)]
pub(super) struct Writer {
    jobs: Arc<Mutex<Option<mpsc::Sender<Job>>>>,
    sender: mpsc::WeakSender<Job>,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
    /// A test has the end of the next commit go unheard.
    #[cfg(test)]
    pub(super) unheard: Arc<AtomicBool>,
}

impl Writer {
    /// Writes by `pools`. `followers` are told of what was changed when it is not known whether it was.
    pub(super) fn start(
        pools: Pools,
        replica: String,
        followers: Listener,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let weak = sender.downgrade();
        let committer = Committer {
            pools,
            replica,
            clock,
            log: None,
            unsure: Unsure::new(followers),
            is_committing: false,
            metrics,
            #[cfg(test)]
            unheard: Arc::default(),
        };
        #[cfg(test)]
        let unheard = Arc::clone(&committer.unheard);
        let task = tokio::spawn(committer.commit_all(receiver));
        Self {
            #[cfg(test)]
            unheard,
            jobs: Arc::new(Mutex::new(Some(sender))),
            sender: weak,
            task: Arc::new(Mutex::new(Some(task))),
        }
    }

    pub(super) async fn commit(&self, commit: Commit) -> Result<Outcome, StoreError> {
        self.hand_in(|done| Job::Commit(commit, done)).await
    }

    /// Begins or continues this replica's audit log.
    pub(super) async fn open_log(&self, key: LogKey) -> Result<(), StoreError> {
        self.hand_in(|done| Job::OpenLog(key, done)).await
    }

    /// Signs a checkpoint of everything that was handed in before, if there is none yet.
    pub(super) async fn sign_log(&self) -> Result<(), StoreError> {
        self.hand_in(Job::SignLog).await
    }

    async fn hand_in<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Job,
    ) -> Result<T, StoreError> {
        let (done, result) = oneshot::channel();
        let sender = self.sender.upgrade().ok_or(StoreError::Closed)?;
        sender.send(job(done)).await.map_err(|_| StoreError::Closed)?;
        drop(sender);
        result.await.map_err(|_| StoreError::Closed)?
    }

    /// Takes no further changes and waits for those that were accepted.
    pub(super) async fn close(&self) {
        drop(self.jobs.lock().await.take());
        if let Some(task) = self.task.lock().await.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the database writer failed");
        }
    }
}

/// Takes in what others hand in during the next [`TURNS`].
async fn gather(receiver: &mut mpsc::Receiver<Job>, jobs: &mut Vec<Job>) {
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
        while jobs.len() < BATCH
            && let Ok(job) = receiver.try_recv()
        {
            jobs.push(job);
        }
    }
}

/// The one who writes.
struct Committer {
    pools: Pools,
    replica: String,
    clock: Clock,
    log: Option<AuditLog>,
    unsure: Unsure,
    /// The database was told to commit and has not answered.
    is_committing: bool,
    metrics: Arc<Metrics>,
    #[cfg(test)]
    unheard: Arc<AtomicBool>,
}

struct AuditLog {
    key: LogKey,
    /// `None` after a commit whose end is not known: then the database says where the log ends.
    tail: Option<AuditTail>,
    /// When the next checkpoint is due, if entries stand without one.
    sign_at: Option<Instant>,
}

type Pending = (Commit, oneshot::Sender<Result<Outcome, StoreError>>);

impl Committer {
    async fn commit_all(mut self, mut receiver: mpsc::Receiver<Job>) {
        let mut jobs = Vec::with_capacity(BATCH);
        loop {
            let to_sign = self.log.as_ref().and_then(|log| log.sign_at);
            let received = match to_sign.into_iter().chain(self.unsure.due()).min() {
                Some(due) => timeout_at(due, receiver.recv_many(&mut jobs, BATCH)).await,
                None => Ok(receiver.recv_many(&mut jobs, BATCH).await),
            };
            match received {
                Ok(0) => break,
                Ok(_) => {
                    gather(&mut receiver, &mut jobs).await;
                    self.carry_out(&mut jobs).await;
                }
                Err(_) => {
                    self.unsure.settle(&self.pools).await;
                    self.sign_when_idle().await;
                }
            }
        }
        self.sign_when_idle().await;
        self.pools.close().await;
    }

    async fn carry_out(&mut self, jobs: &mut Vec<Job>) {
        let mut batch: Vec<Pending> = Vec::with_capacity(jobs.len());
        let mut to_be_signed = Vec::new();
        for job in jobs.drain(..) {
            match job {
                Job::Commit(commit, done) => batch.push((commit, done)),
                Job::SignLog(done) => to_be_signed.push(done),
                Job::OpenLog(key, done) => {
                    let result = self.open_log(key).await;
                    let _ = done.send(result);
                }
            }
        }
        let (together, behind) = outrun::part(batch);
        self.carry_out_together(together).await;
        // They look again at once, and find what has outrun them.
        behind.into_iter().for_each(|pending| self.tell(pending, Err(Conflict::Changed.into())));
        self.unsure.settle(&self.pools).await;
        if !to_be_signed.is_empty() {
            // What could not be signed now is signed later; until then the checkpoint before it stands.
            self.sign_when_idle().await;
            to_be_signed.into_iter().for_each(|done| drop(done.send(Ok(()))));
        }
    }

    /// What the database refuses or fails to do is halved and tried again, so that whoever is in the way is found in a
    /// few steps, and the others are not harmed and still share. After any other failure nothing is tried twice: it may
    /// have been made, or the database is out of reach for all of them.
    async fn carry_out_together(&mut self, batch: Vec<Pending>) {
        if batch.is_empty() {
            return;
        }
        // The next one is the last: changes keep their order.
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            let together: Vec<_> = part.iter().map(|(commit, _)| commit).collect();
            match self.commit_among_others(&together).await {
                Err(error) if part.len() > 1 && is_undone(&error) => {
                    tracing::debug!(%error, "a shared commit failed; its halves are tried apart");
                    let later = part.split_off(part.len() / 2);
                    parts.extend([later, part]);
                }
                result => self.tell_all(part, result).await,
            }
        }
    }

    /// One durable transaction, begun anew while another replica's is in its way: of two that wait for each other the
    /// database ends one, with all that it had made, and the other one goes on.
    async fn commit_among_others(&mut self, commits: &[&Commit]) -> Result<(), StoreError> {
        for _ in 1..TRIES {
            match self.commit(commits).await {
                Err(error) if was_in_the_way(&error) => {
                    tracing::debug!(%error, "another transaction was in the way; it is tried again");
                }
                result => return result,
            }
        }
        self.commit(commits).await
    }

    async fn tell_all(&mut self, mut part: Vec<Pending>, result: Result<(), StoreError>) {
        if matches!(result, Err(StoreError::Unsure(_))) {
            // Whoever is told looks at the database next.
            self.unsure.settle(&self.pools).await;
        }
        let Some(last) = part.pop() else { return };
        for pending in part {
            self.tell(pending, result.as_ref().copied().map_err(shared));
        }
        self.tell(last, result);
    }

    fn tell(&self, (commit, done): Pending, result: Result<(), StoreError>) {
        self.count(&commit, &result);
        let outcome = match result {
            Ok(()) => Ok(Outcome::Made),
            Err(StoreError::Conflict(Conflict::Changed)) => Ok(Outcome::Outrun(commit)),
            Err(error) => Err(error),
        };
        // A caller that went away no longer waits; its change stands all the same.
        let _ = done.send(outcome);
    }

    /// Certificates count as issued once they are on record. What an agent asked for and somebody has outrun is not
    /// refused yet: whoever handed it in looks again, and counts it when they give up.
    fn count(&self, commit: &Commit, result: &Result<(), StoreError>) {
        let result = match result {
            Ok(()) => IssueResult::Issued,
            Err(StoreError::Conflict(Conflict::Changed)) if commit.holds_agent() => return,
            Err(StoreError::Refused(_) | StoreError::Conflict(_)) => IssueResult::Refused,
            Err(_) => IssueResult::Failed,
        };
        commit.count(result, &self.metrics);
    }

    async fn open_log(&mut self, key: LogKey) -> Result<(), StoreError> {
        let tail = AuditTail::open(&self.pools, &self.replica, &key, self.clock.now()).await?;
        self.metrics.set_audit_log(tail.size(), None);
        self.log = Some(AuditLog { key, tail: Some(tail), sign_at: None });
        Ok(())
    }

    /// One durable transaction.
    async fn commit(&mut self, commits: &[&Commit]) -> Result<(), StoreError> {
        let events: Vec<_> = commits.iter().flat_map(|commit| &commit.events).collect();
        let changes: Vec<_> = commits.iter().flat_map(|commit| &commit.changes).collect();
        let began = Instant::now();
        let result = match timeout(LONGEST_TRANSACTION, self.transact(&changes, &events)).await {
            Ok(result) => result,
            Err(_) => {
                let error = StoreError::Sql(sqlx::Error::PoolTimedOut);
                Err(if self.is_committing { error.unsure() } else { error })
            }
        };
        match &result {
            Ok(()) => self.metrics.committed(commits.len(), began.elapsed()),
            Err(StoreError::Sql(_)) => self.metrics.database_failed(),
            Err(StoreError::Unsure(_)) => {
                self.metrics.database_failed();
                self.unsure.add(&changes);
            }
            // Refused, not failed.
            Err(_) => {}
        }
        if let (Err(error), Some(log)) = (&result, &mut self.log)
            && !is_refusal(error)
        {
            // Whether it was committed after all may not be known.
            log.tail = None;
        }
        result
    }

    async fn transact(&mut self, changes: &[&Change], events: &[&Event]) -> Result<(), StoreError> {
        self.is_committing = false;
        let now = self.clock.now();
        let mut tail = match &mut self.log {
            Some(log) if !events.is_empty() => Some(log.tail(&self.pools, &self.replica, now).await?),
            Some(_) => None,
            None if events.is_empty() => None,
            None => return Err(no_log(&self.replica)),
        };
        let mut transaction = self.pools.begin().await?;
        apply(&mut transaction, changes).await?;
        if let (Some(tail), Some(log)) = (&mut tail, &self.log) {
            tail.append(events, now);
            if log.sign_at.is_some_and(|due| due <= Instant::now()) {
                tail.sign(&log.key, now)?;
            }
            tail.write(&mut transaction).await?;
        }
        tell_others(&self.replica, &mut transaction, changes).await?;
        self.is_committing = true;
        let committed = transaction.commit().await;
        #[cfg(test)]
        let committed = committed.and_then(|()| match self.unheard.swap(false, Ordering::Relaxed) {
            true => Err(StoreError::Sql(sqlx::Error::WorkerCrashed)),
            false => Ok(()),
        });
        committed.map_err(StoreError::unsure)?;
        if let (Some(tail), Some(log)) = (tail, &mut self.log) {
            self.metrics.set_audit_log(tail.size(), tail.is_signed().then_some(now));
            log.has_become(tail);
        }
        Ok(())
    }

    /// Entries do not stand for long without a checkpoint that covers them.
    async fn sign_when_idle(&mut self) {
        let Some(log) = &mut self.log else { return };
        if log.sign_at.take().is_none() {
            return;
        }
        let now = self.clock.now();
        if let Err(error) = log.sign(&self.pools, &self.replica, now).await {
            self.metrics.database_failed();
            tracing::error!(%error, "the audit log could not be signed; it is tried again");
            log.tail = None;
            log.sign_at = Some(Instant::now() + CHECKPOINT_EVERY);
        } else if let Some(tail) = &log.tail {
            self.metrics.set_audit_log(tail.size(), Some(now));
        }
    }
}

impl AuditLog {
    /// The end of the log as it is on disk.
    async fn tail(&mut self, pools: &Pools, replica: &str, now: SystemTime) -> Result<AuditTail, StoreError> {
        match &self.tail {
            Some(tail) => Ok(tail.clone()),
            None => AuditTail::open(pools, replica, &self.key, now).await,
        }
    }

    fn has_become(&mut self, tail: AuditTail) {
        self.sign_at = match self.sign_at {
            _ if tail.is_signed() => None,
            Some(due) => Some(due),
            None => Some(Instant::now() + CHECKPOINT_EVERY),
        };
        self.tail = Some(tail);
    }

    async fn sign(&mut self, pools: &Pools, replica: &str, now: SystemTime) -> Result<(), StoreError> {
        let mut tail = self.tail(pools, replica, now).await?;
        tail.sign(&self.key, now)?;
        let mut transaction = pools.begin().await?;
        tail.write(&mut transaction).await?;
        transaction.commit().await?;
        self.has_become(tail);
        Ok(())
    }
}

/// What was refused was not committed, and the log ends where it did.
fn is_refusal(error: &StoreError) -> bool {
    matches!(error, StoreError::Conflict(_) | StoreError::Refused(_))
}

/// Whether nothing was made for certain: the database answered that a statement failed. A commit that failed is
/// [`StoreError::Unsure`].
fn is_undone(error: &StoreError) -> bool {
    is_refusal(error) || matches!(error, StoreError::Sql(sqlx::Error::Database(_)))
}

/// Whether PostgreSQL ended a transaction, before it was told to commit, for the sake of another one: a deadlock, or a
/// failure to order the two.
fn was_in_the_way(error: &StoreError) -> bool {
    let StoreError::Sql(sqlx::Error::Database(error)) = error else { return false };
    matches!(error.code().as_deref(), Some("40P01" | "40001"))
}

/// The error of a commit that several share, for one more of them.
fn shared(error: &StoreError) -> StoreError {
    match error {
        StoreError::AuditLog { log_id, reason } => {
            StoreError::AuditLog { log_id: log_id.clone(), reason: reason.clone() }
        }
        // The driver's errors cannot be copied. This one says what it is given, and nothing else.
        StoreError::Sql(error) => StoreError::Sql(sqlx::Error::InvalidArgument(error.to_string())),
        StoreError::Unsure(error) => shared(error).unsure(),
        other => StoreError::Sql(sqlx::Error::InvalidArgument(other.to_string())),
    }
}

fn no_log(replica: &str) -> StoreError {
    StoreError::AuditLog { log_id: replica.to_owned(), reason: "it has not been opened".to_owned() }
}

#[cfg(test)]
mod tests;
