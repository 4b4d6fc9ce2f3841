//! Commits whose end nobody heard: the connection broke, or the time was up, while the database was committing.
//!
//! Such a commit may have been made all the same, and this daemon does not heed the notice that it sends to others. So
//! what it may have changed is read again here, as if another replica had changed it; but not before the database is
//! done with it, or what is read might be overtaken.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::store::{change::Change, database::Pools, listen::Listener, notices::Notice};

/// How long the writer, and with it everybody who waits for it, is kept by one try to find out.
const LONGEST_TRY: Duration = Duration::from_secs(5);
/// How long after a try that failed the next one is made.
const RETRY: Duration = Duration::from_secs(1);

/// What is to be read again.
pub(super) struct Unsure {
    followers: Listener,
    notices: Vec<Notice>,
    /// When the next try is due, after one that failed.
    try_at: Option<Instant>,
}

impl Unsure {
    pub(super) fn new(followers: Listener) -> Self {
        Self { followers, notices: Vec::new(), try_at: None }
    }

    /// It is not known whether these changes were made.
    pub(super) fn add(&mut self, changes: &[&Change]) {
        self.notices.extend(changes.iter().filter_map(|change| change.notice()));
    }

    /// When [`Unsure::settle`] has something to do although nobody commits.
    pub(super) fn due(&self) -> Option<Instant> {
        self.try_at
    }

    /// Has everything read again that may have been changed, as soon as the writer can begin something new. Then what
    /// it was about before has come to an end: on the same connection one thing follows the other, and another
    /// connection to PostgreSQL is good only once the server has let go of the one before (see `be_the_only`).
    pub(super) async fn settle(&mut self, pools: &Pools) {
        if self.notices.is_empty() || self.try_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        match timeout(LONGEST_TRY, pools.begin()).await {
            Ok(Ok(nothing)) => {
                drop(nothing);
                self.try_at = None;
                self.notices.drain(..).for_each(|notice| self.followers.tell(notice));
            }
            Ok(Err(_)) | Err(_) => {
                tracing::error!(
                    "how a commit ended is not known; it is looked at as soon as the database answers"
                );
                self.try_at = Some(Instant::now() + RETRY);
            }
        }
    }
}
