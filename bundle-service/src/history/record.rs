//! One record of the history and the line that holds it: its SHA-256, a space, and JSON.

use std::sync::Arc;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use crate::{
    compile::{
        publication::{PassedTests, Publication},
        resource::StoredVersion,
    },
    digest::Digest,
    policy::{AuthorizationPolicy, ResourceKey},
    tiers::TierKey,
};

/// The longest line: a resource is read up to 4 MiB, and its escapes may take as much again.
pub(super) const MAX_LINE_BYTES: usize = 16 * 1024 * 1024;

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub(super) enum Record {
    /// The content of a version, once.
    Content {
        /// What identifies it.
        version: Digest,
        /// The content.
        policy: Arc<AuthorizationPolicy>,
    },
    /// A tier came into force.
    Published(Published),
    /// An administrator chose a version.
    Pinned {
        /// When, in seconds since 1970.
        at: u64,
        /// Of which resource.
        resource: ResourceKey,
        /// Which; none leaves the resource out.
        to: Option<PinnedVersion>,
        /// What the resource was then.
        of: Digest,
        /// Who, and why.
        by: String,
    },
    /// The choice ended.
    Released {
        /// When, in seconds since 1970.
        at: u64,
        /// Of which resource.
        resource: ResourceKey,
        /// Why.
        by: String,
    },
}

/// A tier as it came into force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// When, in seconds since 1970.
    pub at: u64,
    /// The tier.
    pub tier: TierKey,
    /// 1 for the first that the tier ever had, and so on.
    pub number: u64,
    /// What identifies its content; none when no resource was left in it.
    pub digest: Option<Digest>,
    /// Why it denied, when it was broken.
    pub denied: Option<String>,
    /// The versions in force, or of a tier that denied those that stood last.
    pub members: Vec<Member>,
    /// The tests that it passed, if it has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tests: Option<PassedTests>,
    /// What led to it.
    pub causes: Vec<String>,
}

/// One resource of a tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub resource: ResourceKey,
    /// Which version of it.
    pub version: Digest,
    /// Where that was read: a file of a source.
    pub origin: Arc<str>,
    /// The commit that the file was first read in, where its source has commits: `<url>@<hash>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Arc<str>>,
}

/// A version that an administrator chose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PinnedVersion {
    pub(super) version: Digest,
    pub(super) tier: TierKey,
    pub(super) origin: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) commit: Option<Arc<str>>,
}

impl PinnedVersion {
    pub(super) fn of(version: &StoredVersion) -> Self {
        Self {
            version: version.hash,
            tier: version.tier.clone(),
            origin: Arc::clone(&version.origin),
            commit: version.commit.clone(),
        }
    }
}

impl Published {
    pub(super) fn of(publication: &Publication, number: u64, at: u64) -> Self {
        let member = |version: &StoredVersion| Member {
            resource: version.policy.key.clone(),
            version: version.hash,
            origin: Arc::clone(&version.origin),
            commit: version.commit.clone(),
        };
        Self {
            at,
            tier: publication.tier.clone(),
            number,
            digest: publication.digest,
            denied: publication.denied.clone(),
            members: publication.members.iter().map(member).collect(),
            tests: publication.tests,
            causes: publication.causes.clone(),
        }
    }
}

impl Record {
    /// Appends the line. An empty one follows, so that a damaged line end takes one record and not two.
    pub(super) fn write(&self, to: &mut Vec<u8>) {
        // These types have no map with keys that are not text and no value that JSON lacks.
        let json = serde_json::to_string(self).unwrap_or_default();
        to.extend_from_slice(sum(json.as_bytes()).as_bytes());
        to.push(b' ');
        to.extend_from_slice(json.as_bytes());
        to.extend_from_slice(b"\n\n");
    }

    /// Reads a line; `None` when it is damaged.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let (found, json) = line.split_at_checked(64)?;
        let json = json.strip_prefix(b" ")?;
        if found != sum(json).as_bytes() {
            return None;
        }
        let record: Self = serde_json::from_slice(json).ok()?;
        match &record {
            // A sum says that the line is as it was written, and this that it was written right.
            Self::Content { version, policy }
                if policy.version() != *version || !policy.faults().is_empty() =>
            {
                None
            }
            _ => Some(record),
        }
    }
}

fn sum(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

/// What a damaged line seems to be about: what it says of itself need not be true, but it is a hint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hint {
    pub(super) tier: Option<TierKey>,
    pub(super) resource: Option<ResourceKey>,
}

impl Hint {
    pub(super) fn of(line: &[u8]) -> Self {
        let text = String::from_utf8_lossy(line);
        let after = |key: &str| {
            let (_, rest) = text.split_once(&format!("\"{key}\":\""))?;
            rest.split_once('"').map(|(value, _)| value.to_owned())
        };
        let tier = after("tier").and_then(|text| text.parse().ok());
        let resource = after("key").or_else(|| after("resource")).and_then(|text| text.parse().ok());
        Self { resource: resource.filter(|_| tier.is_none()), tier }
    }
}
