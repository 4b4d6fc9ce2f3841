//! Sealed secrets that end with the process: for tests and for an authority that is thrown away.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use super::SecretName;

#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<BTreeMap<SecretName, Vec<u8>>>);

impl Memory {
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<SecretName, Vec<u8>>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
