//! Hears what other replicas change (`LISTEN` of PostgreSQL) and tells it within this daemon.

use std::{sync::Arc, time::Duration};

use sqlx::{PgPool, postgres::PgListener};
use tokio::{
    sync::{Mutex, broadcast},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::notices::{CHANNEL, Notice, from_payload};

/// How many notices wait for whoever is slow; one that lags behind learns that it missed some.
const WAITING: usize = 1024;
const RETRY: Duration = Duration::from_millis(500);

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

    pub(super) fn start(pool: PgPool, replica: String) -> Self {
        let listener = Self::silent();
        let (notices, stop) = (listener.notices.clone(), listener.stop.clone());
        let task = tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = listen_for_ever(pool, replica, notices) => {}
            }
        });
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
async fn listen_for_ever(pool: PgPool, replica: String, notices: broadcast::Sender<Notice>) {
    loop {
        match listen(&pool, &replica, &notices).await {
            Ok(never) => match never {},
            Err(error) => {
                tracing::warn!(%error, "other replicas' changes cannot be heard; trying again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn listen(
    pool: &PgPool,
    replica: &str,
    notices: &broadcast::Sender<Notice>,
) -> Result<std::convert::Infallible, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    // Nobody may be listening yet, or any more: that is no failure.
    let _ = notices.send(Notice::Everything);
    loop {
        let heard = listener.try_recv().await?.ok_or(sqlx::Error::PoolClosed)?;
        if let Some(notice) = from_payload(replica, heard.payload()) {
            let _ = notices.send(notice);
        }
    }
}
