//! What a verification found: one line a check, and a class.

use std::{fmt, sync::Arc, time::SystemTime};

use secplane_identity::{SpiffeId, x509::Certificate};
use serde::{Serialize, Serializer};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{Algorithm, Canonicalization, UncoveredMember};

/// The class of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// A signature is right, covers the card, and comes from a trusted signer whose certificate is in date.
    Valid,
    /// All is right but the date: the signer's certificate has expired.
    Expired,
    /// The signature is right, and the signer's certificate is revoked.
    Revoked,
    /// The signature is right, and the signer is not one to trust here.
    Untrusted,
    /// The signature is not right for what the card says, or does not cover it.
    Tampered,
    /// What was given is not a card, or its signature not one, that can be verified.
    Malformed,
    /// The card has no signature.
    Unsigned,
}

impl Outcome {
    /// The name: `valid`, `expired` and so on.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Untrusted => "untrusted",
            Self::Tampered => "tampered",
            Self::Malformed => "malformed",
            Self::Unsigned => "unsigned",
        }
    }

    /// How far a signature of this class got; the one that got furthest tells most about a card.
    pub(super) fn distance_from_valid(self) -> u8 {
        match self {
            Self::Valid => 0,
            Self::Expired => 1,
            Self::Revoked => 2,
            Self::Untrusted => 3,
            Self::Tampered => 4,
            Self::Malformed => 5,
            Self::Unsigned => 6,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The result of verifying a card. Serializes to JSON for programs.
#[derive(Debug, Clone, Serialize)]
pub struct Verification {
    /// The class: that of the signature that got furthest.
    pub outcome: Outcome,
    /// Why it is of that class.
    pub reason: String,
    /// The agent's name, as the card claims it.
    pub agent: Option<String>,
    /// Who signed the card; only when it is valid, and never when a key set says so.
    pub signer: Option<SpiffeId>,
    /// The key set whose key signed the card; only when it is valid and no certificate says who signed.
    pub key_set: Option<String>,
    /// The canonical form that the signature covers; only when the card is valid.
    pub canonicalization: Option<Canonicalization>,
    /// As of when the certificates were verified.
    #[serde(serialize_with = "rfc3339")]
    pub at: SystemTime,
    /// One report for each entry of `signatures`, in order.
    pub signatures: Vec<SignatureReport>,
    /// What the valid signature covers.
    #[serde(skip)]
    pub(super) covered: Option<Arc<Value>>,
}

impl Verification {
    /// Whether the card is valid.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.outcome == Outcome::Valid
    }

    /// The card without what the signature does not cover; only when it is valid. Who believes just this believes
    /// nothing that an attacker could have put in.
    #[must_use]
    pub fn covered_card(&self) -> Option<&Value> {
        self.covered.as_deref()
    }
}

/// What was found about one entry of `signatures`. Until its outcome is valid, what it says of the signer is a claim.
#[derive(Debug, Clone, Serialize)]
pub struct SignatureReport {
    /// Its place in `signatures`, from zero.
    pub index: usize,
    /// The class: that of the first check that failed.
    pub outcome: Outcome,
    /// Every check, in order, whether it was made or not.
    pub checks: Vec<Check>,
    /// The canonical form that matched.
    pub canonicalization: Option<Canonicalization>,
    /// The algorithm in the protected header.
    pub algorithm: Option<Algorithm>,
    /// The key ID in the protected header.
    pub key_id: Option<String>,
    /// Where the protected header says that keys are (`jku`). It is never fetched here.
    pub key_set_url: Option<String>,
    /// The key set that has the key, when there are no certificates.
    pub key_set: Option<String>,
    /// What the leaf certificate says.
    pub signer: Option<Signer>,
    /// Members of the card that this signature does not cover, those that say something first; at most
    /// [`MAX_UNCOVERED`](crate::MAX_UNCOVERED).
    pub uncovered: Vec<UncoveredMember>,
}

/// What the leaf certificate of a signature says.
#[derive(Debug, Clone, Serialize)]
pub struct Signer {
    /// The SPIFFE ID, when it names exactly one.
    pub spiffe_id: Option<SpiffeId>,
    /// The serial number in lower-case hex.
    pub serial: String,
    /// Start of its validity.
    #[serde(serialize_with = "rfc3339")]
    pub not_before: SystemTime,
    /// End of its validity.
    #[serde(serialize_with = "rfc3339")]
    pub not_after: SystemTime,
}

impl Signer {
    pub(super) fn of(leaf: &Certificate, id: Option<&SpiffeId>) -> Self {
        Self {
            spiffe_id: id.cloned(),
            serial: leaf.serial.clone(),
            not_before: leaf.not_before,
            not_after: leaf.not_after,
        }
    }
}

/// One check of a signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Which one.
    pub name: CheckName,
    /// How it ended.
    pub status: CheckStatus,
    /// What was found, or why it was not made.
    pub detail: String,
}

/// The checks, in the order in which they are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckName {
    /// The entry is a JWS whose header says nothing that is refused.
    Format,
    /// The header carries the signer's certificates (`x5c`) and they can be read.
    Certificates,
    /// Without certificates: a key set that the caller trusts has the key that the header names.
    KeySet,
    /// The leaf names exactly one URI, which is the SPIFFE ID of a workload.
    SpiffeId,
    /// The leaf is no CA certificate and may make digital signatures.
    KeyUsage,
    /// The algorithm is one of the leaf's key, and the key is strong enough.
    Algorithm,
    /// The signature is right for a canonical form of the card.
    Signature,
    /// The signature covers every member that says something.
    Coverage,
    /// The leaf is of the trust domain that the caller expects.
    TrustDomain,
    /// The leaf is of the SPIFFE ID that the caller expects.
    ExpectedId,
    /// The chain leads to a root of the trust domain that the leaf names, with only CA certificates above the leaf.
    Chain,
    /// No certificate of the chain is revoked.
    Revocation,
    /// The certificates are in date.
    Validity,
}

impl CheckName {
    /// All checks, in the order in which they are reported.
    pub const ALL: [Self; 13] = [
        Self::Format,
        Self::Certificates,
        Self::KeySet,
        Self::SpiffeId,
        Self::KeyUsage,
        Self::Algorithm,
        Self::Signature,
        Self::Coverage,
        Self::TrustDomain,
        Self::ExpectedId,
        Self::Chain,
        Self::Revocation,
        Self::Validity,
    ];

    /// The name: `format`, `key-usage` and so on.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Certificates => "certificates",
            Self::KeySet => "key-set",
            Self::SpiffeId => "spiffe-id",
            Self::KeyUsage => "key-usage",
            Self::Algorithm => "algorithm",
            Self::Signature => "signature",
            Self::Coverage => "coverage",
            Self::TrustDomain => "trust-domain",
            Self::ExpectedId => "expected-id",
            Self::Chain => "chain",
            Self::Revocation => "revocation",
            Self::Validity => "validity",
        }
    }
}

impl fmt::Display for CheckName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckStatus {
    /// It passed.
    Ok,
    /// It failed.
    Failed,
    /// It was not made: the detail says why.
    NotChecked,
}

impl CheckStatus {
    /// The words: `ok`, `failed`, `not checked`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::NotChecked => "not checked",
        }
    }
}

impl fmt::Display for CheckStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An instant as RFC 3339 text in UTC; as seconds when it is beyond the year 9999.
pub(super) fn timestamp(at: SystemTime) -> String {
    let seconds = match at.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |seconds| -seconds),
    };
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|instant| instant.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{seconds} seconds after 1970"))
}

fn rfc3339<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&timestamp(*at))
}
