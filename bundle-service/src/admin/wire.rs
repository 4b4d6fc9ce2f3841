//! What goes over the admin socket: JSON, the same types at both ends.

use std::{fmt, str::FromStr};

use secplane_identity::SpiffeId;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    digest::Digest,
    history::Published,
    policy::{AuthorizationPolicy, ResourceKey},
    tiers::TierKey,
};

/// The largest body in either direction: a tier of large resources at two points of time.
pub const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// What is looked at: `resource/<namespace>/<name>`, a tier as it is written, or a SPIFFE ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A resource.
    Resource(ResourceKey),
    /// A tier.
    Tier(TierKey),
    /// An identity: its tiers together.
    Identity(SpiffeId),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resource(key) => write!(f, "resource/{key}"),
            Self::Tier(tier) => tier.fmt(f),
            Self::Identity(id) => f.write_str(id.as_str()),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(key) = text.strip_prefix("resource/") {
            return key.parse().map(Self::Resource).map_err(|error| format!("{error}"));
        }
        if text.starts_with("spiffe://") {
            return SpiffeId::parse(text).map(Self::Identity).map_err(|error| error.to_string());
        }
        text.parse().map(Self::Tier).map_err(|error| format!("{error}"))
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// `GET /v1/history?of=TARGET`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryQuery {
    /// Of what.
    pub of: Target,
}

/// The answer to [`HistoryQuery`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryAnswer {
    /// What came into force, the oldest first.
    pub entries: Vec<HistoryEntry>,
    /// The choices that stand now.
    pub pins: Vec<StandingPin>,
    /// The machine, in a cluster the pod, of the replica that tells this of itself.
    #[serde(default)]
    pub replica: String,
}

/// One moment of the past.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// What came into force.
    #[serde(flatten)]
    pub published: Published,
    /// Of an identity, the revision of its bundle from then on, or where bundles end what all its revisions from then on
    /// have in common; none when too little is kept to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Digest>,
    /// Of an identity whose bundles end, the last bundle of that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served: Option<ServedRevision>,
}

/// A bundle that ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedRevision {
    /// The revision in its manifest.
    pub revision: Digest,
    /// Until when it may be used, in seconds since 1970.
    pub not_after: u64,
}

/// A version that an administrator chose instead of the newest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingPin {
    /// Of which resource.
    pub resource: ResourceKey,
    /// Which version; none when the resource is left out.
    pub to: Option<Digest>,
    /// Instead of which.
    pub instead_of: Digest,
    /// Who, and why.
    pub by: String,
}

/// `GET /v1/snapshot?of=TARGET&at=POINT`: what was in force, with its text.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotQuery {
    /// Of what.
    pub of: Target,
    /// Of a resource the first digits of a version, of a tier the number of a publication, of an identity a
    /// revision: one that was served, or what [`HistoryEntry::revision`] says.
    pub at: String,
}

/// The answer to [`SnapshotQuery`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotAnswer {
    /// The resources.
    pub resources: Vec<SnapshotResource>,
    /// Of a tier or an identity, the tiers that denied everything: what is listed of those stood last and was not in
    /// force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denied: Vec<DeniedTier>,
    /// When a bundle that ends was named by its own revision, until when it may be used, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<u64>,
}

/// A tier that denied everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeniedTier {
    /// Which.
    pub tier: TierKey,
    /// Why.
    pub reason: String,
}

/// A resource as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotResource {
    /// Its tier.
    pub tier: TierKey,
    /// Which version.
    pub version: Digest,
    /// Its fields.
    pub policy: AuthorizationPolicy,
}

/// `POST /v1/rollback`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// A resource or a tier; of an identity, the client tier that only it has.
    pub of: Target,
    /// As [`SnapshotQuery::at`]; of an identity also the number of a publication of its client tier.
    pub to: String,
    /// Why: kept in the history.
    pub reason: String,
}

/// `POST /v1/release`: the newest version counts again.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    /// As [`RollbackRequest::of`].
    pub of: Target,
    /// Why: kept in the history.
    pub reason: String,
}

/// What a rollback or a release came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChoiceAnswer {
    /// The tiers that were built anew.
    pub tiers: Vec<TierKey>,
    /// The choices that stand now, of those that were meant.
    pub pins: Vec<StandingPin>,
    /// Resources that were in force then and are in no source any more: they cannot come back.
    pub missing: Vec<ResourceKey>,
    /// Whether it is on disk: else a restart forgets it.
    pub durable: bool,
    /// The machine, in a cluster the pod, of the one replica that this holds for.
    #[serde(default)]
    pub replica: String,
}

/// Every refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// What is wrong.
    pub error: ErrorBody,
}

/// What is wrong, in short and in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// In short: `forbidden`, `malformed`, `not_found`, `refused`, `unavailable`.
    pub code: String,
    /// In words.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("resource/team-a/p", true)]
    #[case("global", true)]
    #[case("namespace/team-a", true)]
    #[case("client/team-a/agent", true)]
    #[case("spiffe://example.org/ns/a/sa/b", true)]
    #[case("resource/team-a", false)]
    #[case("resource/../x", false)]
    #[case("team-a/p", false)]
    #[case("spiffe://", false)]
    fn a_target_has_one_form(#[case] text: &str, #[case] valid: bool) {
        let target: Result<Target, _> = text.parse();
        assert_eq!(target.is_ok(), valid, "{target:?}");
        assert!(target.ok().is_none_or(|target| target.to_string() == text));
    }
}
