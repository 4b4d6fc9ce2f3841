//! Whether the daemon can do its work at this moment.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use secplane_identity::IdentitySource;
use tokio::sync::Mutex;

use crate::{instant::unix, issuance::Issuance};

/// How long an answer of the database is good for: whoever asks without end costs it nothing more.
const KEPT: Duration = Duration::from_secs(1);
/// How long the database may take to answer.
const DATABASE_WITHIN: Duration = Duration::from_secs(2);

/// Decides whether the daemon is ready.
pub struct Readiness {
    replica: String,
    issuance: Arc<Issuance>,
    identity: IdentitySource,
    database: Mutex<Option<(Instant, Option<String>)>>,
}

impl Readiness {
    /// Decides by these parts of the daemon, which is the replica of this ID.
    #[must_use]
    pub fn new(replica: String, issuance: Arc<Issuance>, identity: IdentitySource) -> Self {
        Self { replica, issuance, identity, database: Mutex::default() }
    }

    /// Why the daemon is not ready; nothing when it is.
    pub async fn missing(&self) -> Vec<String> {
        let now = self.issuance.clock().now();
        let mut missing = Vec::new();
        if let Some(reason) = self.database().await {
            missing.push(reason);
        }
        if self.issuance.issuing().validity().not_after <= now {
            missing.push("the issuing CA has expired and no new one could be made".to_owned());
        }
        if self.identity.current().expires_at().is_none_or(|expiry| expiry <= now) {
            missing.push("the server's certificate has expired and no new one could be issued".to_owned());
        }
        missing
    }

    /// Why the database takes no write; asked at most once in a while, by one at a time.
    async fn database(&self) -> Option<String> {
        let mut last = self.database.lock().await;
        if let Some((at, answer)) = last.as_ref()
            && at.elapsed() < KEPT
        {
            return answer.clone();
        }
        let now = unix(self.issuance.clock().now());
        let written = self.issuance.store().see_replica(&self.replica, now);
        let answer = match tokio::time::timeout(DATABASE_WITHIN, written).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => {
                tracing::warn!(%error, "not ready: the database fails");
                Some("the database fails; the log says why".to_owned())
            }
            Err(_) => Some(format!("the database does not answer within {} s", DATABASE_WITHIN.as_secs())),
        };
        *last = Some((Instant::now(), answer.clone()));
        answer
    }
}
