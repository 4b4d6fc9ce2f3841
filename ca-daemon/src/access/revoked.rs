//! Which certificates were revoked and have not expired yet.

use std::{
    collections::HashSet,
    sync::{PoisonError, RwLock},
};

/// The serials of revoked certificates. Those that expired are left out: they are refused anyway.
#[derive(Debug, Default)]
pub struct RevokedSerials(RwLock<HashSet<String>>);

impl RevokedSerials {
    /// Begins with what the store holds.
    #[must_use]
    pub fn new(serials: impl IntoIterator<Item = String>) -> Self {
        Self(RwLock::new(serials.into_iter().collect()))
    }

    /// Adds serials.
    pub fn add(&self, serials: impl IntoIterator<Item = String>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).extend(serials);
    }

    /// Whether a certificate was revoked.
    #[must_use]
    pub fn contains(&self, serial: &str) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(serial)
    }
}
