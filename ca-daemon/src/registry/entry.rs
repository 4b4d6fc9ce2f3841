//! One registration entry and its rules.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use secplane_identity::{SpiffeId, TrustDomain};

use super::{Selector, SortedSet};
use crate::authority::{DnsName, NameError};

/// The longest entry ID in bytes.
const MAX_ID_BYTES: usize = 255;
/// The longest hint in bytes (SPIFFE Workload API, section 5.2.1).
pub const MAX_HINT_BYTES: usize = 1024;
/// The most selectors, DNS names or federated trust domains of one entry.
const MAX_LIST: usize = 256;

/// What names an entry: chosen by the caller or random. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(Arc<str>);

impl EntryId {
    /// Takes an ID of 1 to 255 letters, digits, `-`, `_`, `.`.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn parse(text: &str) -> Result<Self, EntryError> {
        if text.is_empty() {
            return Err(EntryError::NoId);
        }
        if text.len() > MAX_ID_BYTES {
            return Err(EntryError::Id("it must have 1 to 255 characters"));
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
            return Err(EntryError::Id("it may hold only letters, digits, `-`, `_` and `.`"));
        }
        Ok(Self(text.into()))
    }

    /// A random ID.
    ///
    /// # Errors
    /// When the system gives no randomness.
    fn random() -> Result<Self, EntryError> {
        let mut bytes = [0; 16];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| EntryError::Randomness)?;
        Ok(Self(hex::encode(bytes).into()))
    }

    /// The ID as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an admin says of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryFields {
    /// The ID that the admin chose for a new entry; `None` for a random one. [`Entry::id`] is what came of it.
    pub id: Option<EntryId>,
    /// Who the workload is.
    pub spiffe_id: SpiffeId,
    /// Who attests it: a node agent.
    pub parent_id: SpiffeId,
    /// What it must have, all of it.
    pub selectors: SortedSet<Selector>,
    /// Lifetime of its X.509-SVIDs; `None` for the default.
    pub x509_svid_ttl: Option<Duration>,
    /// Lifetime of its JWT-SVIDs; `None` for the default.
    pub jwt_svid_ttl: Option<Duration>,
    /// Foreign trust domains whose bundles it gets.
    pub federates_with: SortedSet<TrustDomain>,
    /// It may administer the authority.
    pub admin: bool,
    /// It may get a CA certificate.
    pub downstream: bool,
    /// When the entry ends.
    pub expires_at: Option<SystemTime>,
    /// DNS names in its X.509-SVIDs.
    pub dns_names: Vec<DnsName>,
    /// Its SVIDs are put into a store by the agent.
    pub store_svid: bool,
    /// Tells its identities apart, for the workload.
    pub hint: String,
    /// Agents need not fetch its X.509-SVID ahead of need.
    pub disable_x509_svid_prefetch: bool,
    /// Its JWT-SVIDs carry a `jti`.
    pub jwt_svid_include_jti: bool,
}

/// A registration entry that obeys the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    id: EntryId,
    fields: EntryFields,
    revision: i64,
    created_at: SystemTime,
}

impl Entry {
    /// Checks the fields and gives them an ID.
    pub(super) fn new(
        mut fields: EntryFields,
        trust_domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Self, EntryError> {
        fields.check(trust_domain)?;
        let id = match fields.id.take() {
            Some(id) => id,
            None => EntryId::random()?,
        };
        Ok(Self { id, fields, revision: 0, created_at: now })
    }

    /// Puts together what was kept.
    pub(super) fn restore(
        id: EntryId,
        mut fields: EntryFields,
        revision: i64,
        created_at: SystemTime,
        trust_domain: &TrustDomain,
    ) -> Result<Self, EntryError> {
        fields.check(trust_domain)?;
        fields.id = None;
        Ok(Self { id, fields, revision, created_at })
    }

    /// The same entry with other fields and the next revision.
    pub(super) fn changed(
        &self,
        change: impl FnOnce(&mut EntryFields) -> Result<(), EntryError>,
        trust_domain: &TrustDomain,
    ) -> Result<Self, EntryError> {
        let mut fields = self.fields.clone();
        change(&mut fields)?;
        fields.check(trust_domain)?;
        Ok(Self { id: self.id.clone(), fields, revision: self.revision + 1, created_at: self.created_at })
    }

    /// Holds its parent by an equal ID that others hold too.
    pub(super) fn hold_parent(&mut self, equal: SpiffeId) {
        debug_assert_eq!(self.fields.parent_id, equal);
        self.fields.parent_id = equal;
    }

    /// What names it.
    #[must_use]
    pub fn id(&self) -> &EntryId {
        &self.id
    }

    /// What it says.
    #[must_use]
    pub fn fields(&self) -> &EntryFields {
        &self.fields
    }

    /// Grows with each change, from 0.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// When it was created.
    #[must_use]
    pub fn created_at(&self) -> SystemTime {
        self.created_at
    }

    /// Whether its time is over.
    #[must_use]
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.fields.expires_at.is_some_and(|end| end <= now)
    }
}

impl EntryFields {
    /// The names of the fields in which another entry differs.
    pub(super) fn differences(&self, other: &Self) -> Vec<&'static str> {
        // Named one by one, so that a new field cannot be forgotten.
        let Self {
            id: _,
            spiffe_id,
            parent_id,
            selectors,
            x509_svid_ttl,
            jwt_svid_ttl,
            federates_with,
            admin,
            downstream,
            expires_at,
            dns_names,
            store_svid,
            hint,
            disable_x509_svid_prefetch,
            jwt_svid_include_jti,
        } = self;
        let compared = [
            ("spiffe_id", *spiffe_id == other.spiffe_id),
            ("parent_id", *parent_id == other.parent_id),
            ("selectors", *selectors == other.selectors),
            ("x509_svid_ttl", *x509_svid_ttl == other.x509_svid_ttl),
            ("jwt_svid_ttl", *jwt_svid_ttl == other.jwt_svid_ttl),
            ("federates_with", *federates_with == other.federates_with),
            ("admin", *admin == other.admin),
            ("downstream", *downstream == other.downstream),
            ("expires_at", *expires_at == other.expires_at),
            ("dns_names", *dns_names == other.dns_names),
            ("store_svid", *store_svid == other.store_svid),
            ("hint", *hint == other.hint),
            ("disable_x509_svid_prefetch", *disable_x509_svid_prefetch == other.disable_x509_svid_prefetch),
            ("jwt_svid_include_jti", *jwt_svid_include_jti == other.jwt_svid_include_jti),
        ];
        compared.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
    }

    fn check(&self, trust_domain: &TrustDomain) -> Result<(), EntryError> {
        for (role, id) in [("SPIFFE ID", &self.spiffe_id), ("parent ID", &self.parent_id)] {
            if id.trust_domain() != trust_domain {
                return Err(EntryError::ForeignId {
                    role,
                    id: id.clone(),
                    trust_domain: trust_domain.clone(),
                });
            }
        }
        if self.spiffe_id.is_reserved() {
            return Err(EntryError::Reserved(self.spiffe_id.clone()));
        }
        if self.selectors.is_empty() {
            return Err(EntryError::NoSelectors);
        }
        let lists = [self.selectors.len(), self.dns_names.len(), self.federates_with.len()];
        if lists.into_iter().any(|length| length > MAX_LIST) {
            return Err(EntryError::TooMany);
        }
        if self.federates_with.contains(trust_domain) {
            return Err(EntryError::FederatesWithSelf);
        }
        if self.hint.len() > MAX_HINT_BYTES {
            return Err(EntryError::Hint);
        }
        Ok(())
    }
}

/// Which rule an entry breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// No ID where one is needed.
    #[error("missing entry ID")]
    NoId,
    /// The ID is not one.
    #[error("invalid entry: the entry ID is not usable: {0}")]
    Id(&'static str),
    /// A SPIFFE ID is missing or not one.
    #[error("invalid entry: the {role} is not usable: {reason}")]
    SpiffeId {
        /// SPIFFE ID or parent ID.
        role: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A SPIFFE ID of another trust domain.
    #[error("invalid entry: the {role} {id} is not a member of trust domain {trust_domain}")]
    ForeignId {
        /// SPIFFE ID or parent ID.
        role: &'static str,
        /// The ID.
        id: SpiffeId,
        /// Ours.
        trust_domain: TrustDomain,
    },
    /// Below `/spire`.
    #[error(
        "invalid entry: {0} lies below /spire, which is kept for servers and agents; choose another path"
    )]
    Reserved(SpiffeId),
    /// No selector.
    #[error("invalid entry: selector list is empty; say what the workload must have, such as unix:uid:1000")]
    NoSelectors,
    /// A selector is not one.
    #[error("invalid entry: a selector is not usable: {0}")]
    Selector(&'static str),
    /// A list is too long.
    #[error("invalid entry: more than {MAX_LIST} selectors, DNS names or federated trust domains")]
    TooMany,
    /// It federates with its own trust domain.
    #[error("invalid entry: it federates with its own trust domain")]
    FederatesWithSelf,
    /// The hint is too long.
    #[error("invalid entry: the hint is longer than {MAX_HINT_BYTES} bytes")]
    Hint,
    /// A lifetime or an end is negative.
    #[error("invalid entry: {0} is negative")]
    Negative(&'static str),
    /// A DNS name is not one.
    #[error("invalid entry: {0}")]
    DnsName(#[from] NameError),
    /// A trust domain is not one.
    #[error("invalid entry: the federated trust domain is not usable: {0}")]
    TrustDomain(String),
    /// No randomness.
    #[error("the system gives no randomness")]
    Randomness,
}
