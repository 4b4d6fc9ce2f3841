//! One writer for all: changes that arrive while a commit is under way share the next one.
//!
//! A durable commit costs the same for one change as for a hundred, so this is what lets the authority record
//! every certificate before it hands it out.

use std::sync::Arc;

use sqlx::{SqliteConnection, SqlitePool};
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    task::JoinHandle,
};

use super::{
    StoreError,
    authorities::{AuthorityRow, TrustDomainRow},
    certificates::{CertificateRecord, Revocation},
    entries::EntryRow,
};

/// How many changes may wait for the writer; further callers wait for a place.
const QUEUE: usize = 4096;
/// How many changes one transaction takes at the most.
const BATCH: usize = 512;

/// One change of the database. Each is atomic by itself.
#[derive(Debug, Clone)]
pub enum Change {
    /// Records certificates; all of them or none.
    Issue(Vec<CertificateRecord>),
    /// Marks a certificate and its renewals as revoked.
    Revoke(Revocation),
    /// Adds an entry, or replaces the one of that ID.
    PutEntry(EntryRow),
    /// Removes an entry.
    DeleteEntry(String),
    /// Begins a trust domain with its first root.
    Begin(TrustDomainRow, AuthorityRow),
    /// Makes an issuing CA the active one; the one before becomes old.
    ActivateIssuing(AuthorityRow),
}

struct Job {
    change: Change,
    done: oneshot::Sender<Result<(), StoreError>>,
}

/// Where changes are handed in. Cheap to clone.
#[derive(Clone)]
pub(super) struct Writer {
    jobs: Arc<Mutex<Option<mpsc::Sender<Job>>>>,
    sender: mpsc::WeakSender<Job>,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Writer {
    pub(super) fn start(pool: SqlitePool) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let weak = sender.downgrade();
        let task = tokio::spawn(commit_all(pool, receiver));
        Self {
            jobs: Arc::new(Mutex::new(Some(sender))),
            sender: weak,
            task: Arc::new(Mutex::new(Some(task))),
        }
    }

    pub(super) async fn write(&self, change: Change) -> Result<(), StoreError> {
        let (done, result) = oneshot::channel();
        let sender = self.sender.upgrade().ok_or(StoreError::Closed)?;
        sender.send(Job { change, done }).await.map_err(|_| StoreError::Closed)?;
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

async fn commit_all(pool: SqlitePool, mut receiver: mpsc::Receiver<Job>) {
    let mut jobs = Vec::with_capacity(BATCH);
    while receiver.recv_many(&mut jobs, BATCH).await > 0 {
        if let Err(error) = commit_together(&pool, &jobs).await {
            tracing::debug!(%error, "a shared commit failed; each change gets its own");
            commit_one_by_one(&pool, &mut jobs).await;
        } else {
            for job in jobs.drain(..) {
                // A caller that went away no longer waits; its change stands all the same.
                let _ = job.done.send(Ok(()));
            }
        }
    }
    pool.close().await;
}

async fn commit_together(pool: &SqlitePool, jobs: &[Job]) -> Result<(), StoreError> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    for job in jobs {
        apply(&mut transaction, &job.change).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// After a shared commit was refused: whoever caused it is told, and the others are not harmed.
async fn commit_one_by_one(pool: &SqlitePool, jobs: &mut Vec<Job>) {
    for job in jobs.drain(..) {
        let result = commit_together(pool, std::slice::from_ref(&job)).await;
        let _ = job.done.send(result);
    }
}

async fn apply(connection: &mut SqliteConnection, change: &Change) -> Result<(), StoreError> {
    match change {
        Change::Issue(records) => {
            for record in records {
                record.insert(connection).await?;
            }
            Ok(())
        }
        Change::Revoke(revocation) => revocation.apply(connection).await,
        Change::PutEntry(row) => row.put(connection).await,
        Change::DeleteEntry(id) => EntryRow::delete(connection, id).await,
        Change::Begin(trust_domain, root) => {
            trust_domain.insert(connection).await?;
            root.insert(connection).await
        }
        Change::ActivateIssuing(row) => {
            AuthorityRow::retire_issuing(connection).await?;
            row.insert(connection).await
        }
    }
}
