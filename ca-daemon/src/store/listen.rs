//! Hears what other replicas change (`LISTEN` of PostgreSQL) and tells it within this daemon.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::{
    sync::{Mutex, broadcast},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    notices::{CHANNEL, Notice, from_payload},
    open::CONNECT_TIMEOUT,
};

/// How many notices wait for whoever is slow; one that lags behind learns that it missed some.
const WAITING: usize = 1024;
const RETRY: Duration = Duration::from_millis(500);

/// How long a connection may say nothing. One that broke off without a word is as silent as one that has nothing to say.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// After so long without a notice, it is asked whether it is still there.
    pub silence: Duration,
    /// After so long without an answer, it is given up for another one.
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { silence: Duration::from_secs(20), answer: Duration::from_secs(5) }
    }
}

/// Where notices arrive. Cheap to clone.
#[derive(Clone)]
pub(super) struct Listener {
    notices: broadcast::Sender<Notice>,
    stop: CancellationToken,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Listener {
    /// Where nobody else writes.
    pub(super) fn silent() -> Self {
        Self {
            notices: broadcast::Sender::new(WAITING),
            stop: CancellationToken::new(),
            task: Arc::default(),
        }
    }

    pub(super) fn start(options: PgConnectOptions, replica: String, patience: Patience) -> Self {
        let listener = Self::silent();
        let (notices, stop) = (listener.notices.clone(), listener.stop.clone());
        let task = tokio::spawn(listen_until(stop, options, replica, notices, patience));
        Self { task: Arc::new(Mutex::new(Some(task))), ..listener }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// Tells this daemon alone.
    pub(super) fn tell(&self, notice: Notice) {
        // Nobody may be listening yet, or any more: that is no failure.
        let _ = self.notices.send(notice);
    }

    pub(super) async fn close(&self) {
        self.stop.cancel();
        if let Some(task) = self.task.lock().await.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the listener for other replicas' changes failed");
        }
    }
}

/// What was sent while the connection was away is lost, so every new connection begins with the notice that
/// anything may have changed.
///
/// None of them is one of the readers': a dead one comes back only when the kernel gives it up, minutes later. Until
/// then it would take the place of a reader, and whoever closes the readers would wait for it.
async fn listen_until(
    stop: CancellationToken,
    options: PgConnectOptions,
    replica: String,
    notices: broadcast::Sender<Notice>,
    patience: Patience,
) {
    while !stop.is_cancelled() {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(CONNECT_TIMEOUT)
            .connect_lazy_with(options.clone());
        match stop.run_until_cancelled(listen(&pool, &replica, &notices, patience)).await {
            Some(Ok(never)) => match never {},
            Some(Err(error)) => {
                tracing::warn!(%error, "other replicas' changes cannot be heard; trying again");
                stop.run_until_cancelled(sleep(RETRY)).await;
            }
            None => {
                // It is closed before the daemon ends, unless it is dead.
                let _ = timeout(patience.answer, pool.close()).await;
            }
        }
    }
}

async fn listen(
    pool: &PgPool,
    replica: &str,
    notices: &broadcast::Sender<Notice>,
    patience: Patience,
) -> Result<Infallible, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.eager_reconnect(false);
    within(patience.answer, listener.listen(CHANNEL)).await?;
    // Nobody may be listening yet, or any more: that is no failure.
    let _ = notices.send(Notice::Everything);
    loop {
        match timeout(patience.silence, listener.try_recv()).await {
            Ok(heard) => {
                let heard = heard?.ok_or(sqlx::Error::PoolClosed)?;
                if let Some(notice) = from_payload(replica, heard.payload()) {
                    let _ = notices.send(notice);
                }
            }
            // Notices that come before the answer are kept for the next look.
            Err(_) => {
                within(patience.answer, sqlx::query("SELECT 1").execute(&mut listener)).await?;
            }
        }
    }
}

async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    timeout(limit, answer).await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
}
