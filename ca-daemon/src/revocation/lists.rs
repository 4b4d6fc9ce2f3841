//! The revocation lists of the issuing CAs: whether one is due, what is on it, and whether the one at hand is genuine.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use secplane_identity::{
    revocation::{RevocationList, SerialNumber},
    x509::Certificate,
};

use crate::{
    authority::{BACKDATE, CrlReason, RevokedCertificate},
    instant::{from_unix, unix},
    store::{RevocationListRow, RevokedRow},
};

/// The most entries of one list: with it a list stays below [`MAX_OWN_LIST_BYTES`], as an entry has at most 52 bytes.
///
/// [`MAX_OWN_LIST_BYTES`]: secplane_identity::revocation::MAX_OWN_LIST_BYTES
pub(crate) const MAX_ENTRIES: usize = 900_000;

/// The current lists of all issuing CAs. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lists(Arc<BTreeMap<String, Arc<CurrentList>>>);

impl Lists {
    pub(super) fn new(lists: impl IntoIterator<Item = Arc<CurrentList>>) -> Self {
        Self(Arc::new(lists.into_iter().map(|list| (list.row.issuer_key_id.clone(), list)).collect()))
    }

    /// The list of an issuer, by the lower-case hex of its subject key identifier.
    #[must_use]
    pub fn of_issuer(&self, key_id: &str) -> Option<&Arc<CurrentList>> {
        self.0.get(key_id)
    }

    /// The lists in the order of their issuers' key IDs.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<CurrentList>> {
        self.0.values()
    }
}

/// The list that an issuer has now, known to be its own.
#[derive(Debug)]
pub struct CurrentList {
    row: RevocationListRow,
    list: RevocationList,
}

/// Equal bytes say the same.
impl PartialEq for CurrentList {
    fn eq(&self, other: &Self) -> bool {
        self.row == other.row
    }
}

impl CurrentList {
    /// Reads the list of a row.
    ///
    /// # Errors
    /// When the row is not what the issuer signed: whoever can write the database could offer an empty list.
    pub(super) fn open(row: RevocationListRow, issuer: &Certificate) -> Result<Self, ForgedList> {
        let list = RevocationList::parse_own(&row.crl).map_err(|error| ForgedList(error.to_string()))?;
        if !list.is_signed_by(issuer) {
            return Err(ForgedList("its signature is not the issuer's".to_owned()));
        }
        let number = u64::try_from(row.number).unwrap_or_default();
        let says_what_the_row_says = SerialNumber::from_bytes(&number.to_be_bytes()) == Some(list.number())
            && unix(list.this_update()) == row.this_update
            && unix(list.next_update()) == row.next_update;
        if !says_what_the_row_says {
            return Err(ForgedList("it is not the list that the row speaks of".to_owned()));
        }
        Ok(Self { row, list })
    }

    /// Whose list it is, its number, its bytes and its times.
    #[must_use]
    pub fn row(&self) -> &RevocationListRow {
        &self.row
    }

    /// The earliest end of a certificate that the next list still has to name: one leaves the lists only after it was
    /// on one that was made when it had expired (RFC 5280, section 3.3).
    pub(super) fn keeps_from(&self) -> i64 {
        self.row.this_update
    }

    /// When the next list is made at the latest: well before this one is over.
    pub(super) fn due_at(&self) -> SystemTime {
        let validity = self.row.next_update.saturating_sub(self.row.this_update);
        from_unix(self.row.this_update) + Duration::from_secs(u64::try_from(validity / 2).unwrap_or(0))
    }

    /// Whether a new list has to be made: a revoked certificate is not on this one, or it is half over.
    pub(super) fn is_due(&self, revoked: &[&RevokedRow], now: SystemTime) -> bool {
        let is_missing = |row: &&RevokedRow| {
            row.serial.parse::<SerialNumber>().is_ok_and(|serial| !self.list.contains(&serial))
        };
        self.due_at() <= now || revoked.iter().any(is_missing)
    }

    /// The serial numbers on the list that are not among the revoked certificates.
    pub(super) fn not_among(&self, revoked: &[&RevokedRow]) -> Vec<SerialNumber> {
        let known: HashSet<SerialNumber> = revoked.iter().filter_map(|row| row.serial.parse().ok()).collect();
        let mut unknown: Vec<_> =
            self.list.serials().filter(|serial| !known.contains(serial)).copied().collect();
        unknown.sort();
        unknown
    }
}

/// The entries of a list that is said to be made at `this_update`, in the order of their serial numbers.
///
/// A list is dated back, for those whose clocks are behind, and so is what it tells: nothing on it may be later than it
/// is itself, also not what a replica revoked whose clock is ahead.
pub(super) fn entries<'a>(
    revoked: impl IntoIterator<Item = &'a RevokedRow>,
    has_revoked_key: impl Fn(&RevokedRow) -> bool,
    this_update: SystemTime,
) -> Vec<RevokedCertificate> {
    let since = |row: &RevokedRow| {
        from_unix(row.revoked_at).checked_sub(BACKDATE).map_or(this_update, |at| at.min(this_update))
    };
    let mut entries: Vec<_> = revoked
        .into_iter()
        .filter_map(|row| {
            Some(RevokedCertificate {
                serial: u128::from_str_radix(&row.serial, 16).ok()?,
                revoked_at: since(row),
                reason: if has_revoked_key(row) { CrlReason::KeyCompromise } else { CrlReason::Unspecified },
            })
        })
        .collect();
    entries.sort_by_key(|entry| entry.serial);
    entries.dedup_by_key(|entry| entry.serial);
    entries
}

/// The list of a row was not signed by its issuer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the revocation list in the database is not genuine: {0}; somebody changed the database")]
pub(super) struct ForgedList(String);

#[cfg(test)]
mod tests {
    use secplane_identity::{KeyKind, PrivateKey, TrustDomain, revocation::MAX_LIST_BYTES};

    use super::*;
    use crate::authority::{CaKey, DomainCa, ListSigner, RevocationList as Meant};

    /// What others read has a limit that nobody who revokes may run into.
    #[test]
    fn opens_a_list_of_its_own_that_is_longer_than_others_read() {
        let day = Duration::from_secs(86_400);
        let (made, trust_domain) = (1_800_000_000, TrustDomain::parse("example.org").unwrap());
        let key = PrivateKey::generate_kind(KeyKind::EcP256).unwrap();
        let key = || CaKey::try_from(&key).unwrap();
        let root = DomainCa::self_signed(&trust_domain, key(), day * 365, from_unix(made)).unwrap();
        let entry = |serial| RevokedCertificate {
            serial: (1_u128 << 126) + serial,
            revoked_at: from_unix(made),
            reason: CrlReason::Unspecified,
        };
        let list = Meant {
            number: 7,
            this_update: from_unix(made),
            next_update: from_unix(made) + day,
            revoked: (0..125_000).map(entry).collect(),
        };
        let issuer = root.certificate().clone();
        let crl = ListSigner::new(&trust_domain, &issuer.der, key()).unwrap().sign(&list).unwrap().to_vec();
        assert!(crl.len() > MAX_LIST_BYTES, "{} bytes", crl.len());
        let row = RevocationListRow {
            issuer_key_id: root.key_id().to_owned(),
            number: 7,
            crl,
            this_update: made,
            next_update: made + 86_400,
        };
        let current = CurrentList::open(row, &issuer).unwrap();
        assert_eq!(current.list.serials().len(), 125_000);
    }

    #[test]
    fn tells_of_nothing_that_is_later_than_the_list() {
        let made = 1_800_000_000;
        let row = |serial: &str, revoked_at| RevokedRow {
            serial: serial.to_owned(),
            issuer_key_id: "aa".to_owned(),
            not_after: made + 3600,
            revoked_at,
            key_sha256: None,
        };
        let this_update = from_unix(made) - BACKDATE;
        // Long ago, right now, and by a clock that is ahead.
        let rows = [row("1", made - 3600), row("2", made), row("3", made + 300)];
        let entries = entries(&rows, |_| false, this_update);
        let dates: Vec<_> = entries.iter().map(|entry| entry.revoked_at).collect();
        assert_eq!(dates, [this_update - Duration::from_secs(3600), this_update, this_update]);
    }
}
