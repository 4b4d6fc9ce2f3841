//! How long the tokens of each key live, on record before the first of them is handed out.
//!
//! A key is revoked once its longest-lived token has ended. What the configuration allows by then proves nothing: it may
//! have allowed more while the key signed, here or at another replica. So each replica notes the longest life that it
//! gave to a token of a key, sealed beside the keys; under a name of its own, so that none overwrites another's note.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use crate::keys::{KeyStore, KeyStoreError};

/// What a replica notes of the tokens that it signs.
pub struct JwtLives {
    keys: KeyStore,
    replica: String,
    /// What was noted last: nothing is written for what it covers.
    noted: ArcSwap<Noted>,
    writing: Mutex<()>,
}

#[derive(Default)]
struct Noted {
    key_id: String,
    seconds: u64,
}

impl JwtLives {
    /// Notes beside `keys` what this replica signs.
    #[must_use]
    pub fn new(keys: KeyStore, replica: String) -> Self {
        Self { keys, replica, noted: ArcSwap::default(), writing: Mutex::default() }
    }

    /// Notes that a key signs tokens of this life. When this returns it is durable.
    pub(super) async fn note(&self, key_id: &str, life: Duration) -> Result<(), KeyStoreError> {
        let seconds = whole_seconds(life);
        let is_noted = || {
            let noted = self.noted.load();
            noted.key_id == key_id && seconds <= noted.seconds
        };
        if is_noted() {
            return Ok(());
        }
        let _one_at_a_time = self.writing.lock().await;
        if is_noted() {
            return Ok(());
        }
        let name = format!("{}{}", prefix(key_id), self.replica);
        // From an earlier life of this replica.
        let before = self.keys.load_secret(&name).await?.map_or(0, |note| seconds_of(&note));
        if before < seconds {
            self.keys.keep_secret(&name, &seconds.to_be_bytes()).await?;
        }
        self.noted.store(Arc::new(Noted { key_id: key_id.to_owned(), seconds: seconds.max(before) }));
        Ok(())
    }
}

/// The longest life of a token of a key, as far as any replica has noted it.
pub(crate) async fn longest_life(keys: &KeyStore, key_id: &str) -> Result<Duration, KeyStoreError> {
    let mut longest = 0;
    for name in keys.names_beginning_with(&prefix(key_id)).await? {
        let note = keys.load_secret(&name).await?;
        longest = longest.max(note.map_or(0, |note| seconds_of(&note)));
    }
    Ok(Duration::from_secs(longest))
}

/// Forgets what was noted of a key that is no more.
pub(crate) async fn forget_lives(keys: &KeyStore, key_id: &str) -> Result<(), KeyStoreError> {
    for name in keys.names_beginning_with(&prefix(key_id)).await? {
        keys.forget(&name).await?;
    }
    Ok(())
}

fn prefix(key_id: &str) -> String {
    format!("jwt-{key_id}-")
}

/// Times in tokens are whole seconds; what is noted is never less than what is signed.
fn whole_seconds(life: Duration) -> u64 {
    life.as_secs().saturating_add(u64::from(life.subsec_nanos() > 0))
}

/// A note that cannot be read sets no bound: then the key stays until it ends.
fn seconds_of(note: &[u8]) -> u64 {
    note.try_into().map_or(u64::MAX, u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use secplane_identity::KeyKind;

    use super::*;
    use crate::keys::{KeyStorage, WrappingKey};

    const WRAPPING: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const MINUTE: Duration = Duration::from_secs(60);

    async fn keys() -> KeyStore {
        let wrapping = WrappingKey::parse(WRAPPING).unwrap();
        KeyStore::open(KeyStorage::Memory, wrapping, KeyKind::EcP256).await.unwrap()
    }

    #[tokio::test]
    async fn remembers_the_longest_life_of_all_replicas_and_starts() {
        let keys = keys().await;
        assert_eq!(longest_life(&keys, "0a").await.unwrap(), Duration::ZERO);
        for (replica, life) in
            [("one", MINUTE * 3), ("other", MINUTE * 5), ("other", MINUTE), ("one", MINUTE)]
        {
            // Each time as after another start.
            JwtLives::new(keys.clone(), replica.to_owned()).note("0a", life).await.unwrap();
        }
        assert_eq!(longest_life(&keys, "0a").await.unwrap(), MINUTE * 5);
        assert_eq!(longest_life(&keys, "0b").await.unwrap(), Duration::ZERO, "of another key");
        forget_lives(&keys, "0a").await.unwrap();
        assert!(keys.names_beginning_with("jwt-").await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn notes_each_key_and_each_longer_life() {
        let keys = keys().await;
        let lives = JwtLives::new(keys.clone(), "one".to_owned());
        for (key_id, life) in [("0a", MINUTE), ("0b", MINUTE), ("0a", MINUTE * 2), ("0a", MINUTE)] {
            lives.note(key_id, life).await.unwrap();
        }
        lives.note("0b", MINUTE + Duration::from_millis(1)).await.unwrap();
        assert_eq!(longest_life(&keys, "0a").await.unwrap(), MINUTE * 2);
        assert_eq!(
            longest_life(&keys, "0b").await.unwrap(),
            Duration::from_secs(61),
            "no less than was signed"
        );
    }

    #[tokio::test]
    async fn takes_an_unreadable_note_for_no_bound() {
        let keys = keys().await;
        keys.keep_secret("jwt-0a-one", b"?").await.unwrap();
        assert_eq!(longest_life(&keys, "0a").await.unwrap(), Duration::from_secs(u64::MAX));
    }
}
