//! Following what other replicas change: whoever keeps something in memory is told to read it again.

use std::{sync::Arc, time::Duration};

use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

use crate::{
    agents::Agents,
    federation::{Federation, FederationError},
    registry::{Registry, RegistryError},
    store::{Notice, StoreError},
};

/// How long to wait when the database fails, before everything is read again.
const RETRY: Duration = Duration::from_secs(1);

/// Who is told.
pub(crate) struct Followers {
    pub(crate) registry: Arc<Registry>,
    pub(crate) agents: Arc<Agents>,
    pub(crate) federation: Arc<Federation>,
}

impl Followers {
    /// Passes notices on until `stop`. They must have been received since before the first of the followers was loaded.
    pub(crate) async fn run(self, mut notices: broadcast::Receiver<Notice>, stop: CancellationToken) {
        loop {
            let notice = tokio::select! {
                () = stop.cancelled() => return,
                received = notices.recv() => match received {
                    Ok(notice) => notice,
                    Err(RecvError::Lagged(_)) => Notice::Everything,
                    Err(RecvError::Closed) => return,
                },
            };
            if let Err(error) = self.tell(&notice).await {
                tracing::error!(%error, "what another replica changed could not be read; everything is read again");
                if !self.tell_everything(&stop).await {
                    return;
                }
            }
        }
    }

    /// Until it succeeds: what another replica withdrew must not go on being granted here. Whether it did.
    async fn tell_everything(&self, stop: &CancellationToken) -> bool {
        loop {
            tokio::select! {
                () = stop.cancelled() => return false,
                () = tokio::time::sleep(RETRY) => {}
            }
            match self.tell(&Notice::Everything).await {
                Ok(()) => return true,
                Err(error) => tracing::error!(%error, "what other replicas changed could not be read"),
            }
        }
    }

    async fn tell(&self, notice: &Notice) -> Result<(), FollowError> {
        self.registry.follow(notice).await?;
        self.agents.follow(notice).await?;
        self.federation.follow(notice).await?;
        Ok(())
    }
}

/// Why a change could not be followed.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Agents(#[from] StoreError),
    #[error(transparent)]
    Federation(#[from] FederationError),
}
