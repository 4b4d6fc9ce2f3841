//! What this authority has revoked and what has not expired yet, in memory: every call asks it.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use secplane_identity::{
    Revocations,
    revocation::{KeyHash, Revocable, SerialNumber},
};
use tokio::sync::watch;

use crate::instant::unix;

/// A certificate that was revoked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RevokedCertificate {
    /// End of its validity, in Unix seconds. After it nothing needs to be remembered.
    pub not_after: i64,
    /// Lower-case hex of its issuer's subject key identifier.
    pub issuer_key_id: String,
    /// Its serial number.
    pub serial: SerialNumber,
}

/// The revoked certificates and keys of this authority. What was added once is trusted never again while the daemon
/// runs, whatever the database says later.
#[derive(Debug, Default)]
pub struct Revoked {
    current: watch::Sender<Arc<Revocations>>,
    /// The certificates by the end of their validity, so that they can be forgotten in that order.
    ends: Mutex<BinaryHeap<Reverse<RevokedCertificate>>>,
}

impl Revoked {
    /// Adds certificates and keys, and forgets the certificates that have expired at `now`. Answers how many of the
    /// certificates are news.
    ///
    /// Whoever watches hears of it only when something changed.
    pub fn add(
        &self,
        certificates: impl IntoIterator<Item = RevokedCertificate>,
        keys: impl IntoIterator<Item = KeyHash>,
        now: SystemTime,
    ) -> usize {
        let now = unix(now);
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let mut revocations = Revocations::clone(&self.current.borrow());
        let mut has_changed = false;
        let mut news = 0;
        for certificate in certificates {
            let is_alive = certificate.not_after >= now;
            if is_alive && revocations.revoke_serial(&certificate.issuer_key_id, certificate.serial) {
                ends.push(Reverse(certificate));
                has_changed = true;
                news += 1;
            }
        }
        for key in keys {
            has_changed |= revocations.revoke_key(key);
        }
        while let Some(Reverse(first)) = ends.peek()
            && first.not_after < now
        {
            revocations.forget_serial(&first.issuer_key_id, &first.serial);
            ends.pop();
            has_changed = true;
        }
        if has_changed {
            self.current.send_replace(Arc::new(revocations));
        }
        news
    }

    /// Whether a certificate was revoked, by its serial number or its key.
    #[must_use]
    pub fn contains(&self, names: &Revocable) -> bool {
        self.current.borrow().contains(names)
    }

    /// Whether a public key was revoked.
    #[must_use]
    pub fn contains_key(&self, key: &KeyHash) -> bool {
        self.current.borrow().contains_key(key)
    }

    /// A receiver that has what is revoked now and sees every change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<Revocations>> {
        self.current.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn certificate(serial: u8, not_after: i64) -> RevokedCertificate {
        let serial = SerialNumber::from_bytes(&[serial]).unwrap();
        RevokedCertificate { not_after, issuer_key_id: "aa".to_owned(), serial }
    }

    fn names(serial: u8) -> Revocable {
        Revocable {
            issuer_key_id: Some("aa".to_owned()),
            serial: SerialNumber::from_bytes(&[serial]),
            key: KeyHash::of(b"a key"),
        }
    }

    #[test]
    fn forgets_a_certificate_once_it_has_expired() {
        let revoked = Revoked::default();
        revoked.add([certificate(1, 100), certificate(2, 200)], [], at(50));
        assert!(revoked.contains(&names(1)) && revoked.contains(&names(2)));
        revoked.add([], [], at(100));
        assert!(revoked.contains(&names(1)), "the end of the validity belongs to it");
        revoked.add([certificate(1, 100)], [], at(101));
        assert!(!revoked.contains(&names(1)) && revoked.contains(&names(2)));
    }

    #[test]
    fn keeps_a_key_for_ever() {
        let revoked = Revoked::default();
        revoked.add([], [KeyHash::of(b"a key")], at(0));
        revoked.add([], [], at(1_000_000));
        assert!(revoked.contains(&names(7)) && revoked.contains_key(&KeyHash::of(b"a key")));
    }

    #[test]
    fn wakes_watchers_for_news_alone() {
        let revoked = Revoked::default();
        let mut changes = revoked.changes();
        assert_eq!(revoked.add([certificate(1, 100)], [], at(0)), 1);
        assert!(changes.has_changed().unwrap());
        changes.borrow_and_update();
        assert_eq!(revoked.add([certificate(1, 100)], [], at(0)), 0);
        assert!(!changes.has_changed().unwrap());
        revoked.add([], [], at(101));
        assert!(changes.has_changed().unwrap());
    }
}
