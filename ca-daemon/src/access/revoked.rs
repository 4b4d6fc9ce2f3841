//! Which certificates were revoked and have not expired yet.

use std::collections::HashSet;

use tokio::sync::watch;

/// The serials of revoked certificates. Those that expired are left out: they are refused anyway.
#[derive(Debug, Default)]
pub struct RevokedSerials(watch::Sender<HashSet<String>>);

impl RevokedSerials {
    /// Begins with what the store holds.
    #[must_use]
    pub fn new(serials: impl IntoIterator<Item = String>) -> Self {
        Self(watch::Sender::new(serials.into_iter().collect()))
    }

    /// Adds serials.
    pub fn add(&self, serials: impl IntoIterator<Item = String>) {
        self.0.send_modify(|revoked| revoked.extend(serials));
    }

    /// Whether a certificate was revoked.
    #[must_use]
    pub fn contains(&self, serial: &str) -> bool {
        self.0.borrow().contains(serial)
    }

    /// A receiver that sees every revocation from now on.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<HashSet<String>> {
        self.0.subscribe()
    }
}
