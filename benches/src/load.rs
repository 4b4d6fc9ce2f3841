//! Callers in a closed loop: each makes its next call when the one before was answered.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

/// What a load measured.
pub(crate) struct Load {
    /// How long each call took, the shortest first.
    latencies: Vec<Duration>,
    /// From the first call to the last answer.
    pub(crate) took: Duration,
}

impl Load {
    /// How many calls were answered.
    pub(crate) fn calls(&self) -> usize {
        self.latencies.len()
    }

    /// Calls a second.
    pub(crate) fn rate(&self) -> f64 {
        self.calls() as f64 / self.took.as_secs_f64()
    }

    /// The latency that this share of the calls stayed below.
    pub(crate) fn percentile(&self, share: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        let position = (last as f64 * share).round() as usize;
        self.latencies.get(position).copied().unwrap_or_default()
    }
}

/// Lets each of `callers` call for as long as `duration`. The first twentieth of it warms up and is not counted.
pub(crate) async fn closed_loop<C, F>(callers: Vec<C>, duration: Duration) -> Load
where
    C: FnMut() -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let warm_at = Instant::now() + duration / 20;
    let end_at = warm_at + duration;
    let mut tasks = JoinSet::new();
    for mut call in callers {
        tasks.spawn(async move {
            let mut latencies = Vec::with_capacity(100_000);
            loop {
                let begun = Instant::now();
                if begun >= end_at {
                    return latencies;
                }
                call().await;
                if begun >= warm_at {
                    latencies.push(begun.elapsed());
                }
            }
        });
    }
    let mut latencies = Vec::new();
    while let Some(result) = tasks.join_next().await {
        latencies.extend(result.expect("a caller does not fail"));
    }
    latencies.sort_unstable();
    Load { latencies, took: Instant::now() - warm_at }
}
