//! What the service manager is told of the daemon (sd_notify(3)). Where none listens, nothing happens.

use std::{convert::Infallible, time::Duration};

use sd_notify::NotifyState;

/// Everything listens.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is being read again; [`ready`] ends it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        // systemd wants to know which reload this answers (Type=notify-reload).
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "the monotonic clock cannot be read"),
    }
}

/// The daemon has begun to stop.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells the watchdog that the daemon lives, twice as often as it wants to hear it; waits for ever without one.
///
/// It runs on the async runtime: when that no longer moves, the watchdog hears nothing. A database that fails is no
/// reason to be killed, for a new process would find the same database; `/ready` tells that.
pub(super) async fn watchdog() -> Infallible {
    let Some(within) = sd_notify::watchdog_enabled().filter(|within| !within.is_zero()) else {
        return std::future::pending().await;
    };
    let mut beat = tokio::time::interval((within / 2).max(Duration::from_millis(1)));
    loop {
        beat.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager could not be told: {}", describe(state));
    }
}

fn describe(state: &[NotifyState<'_>]) -> String {
    state.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
