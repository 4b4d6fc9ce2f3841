//! Where AuthorizationPolicies come from. A source hands on whole objects, and what it refuses.
//!
//! | module | holds |
//! |---|---|
//! | [`manifests`] | a YAML or JSON text as objects |
//! | [`directory`] | a folder of such texts, read once |
//! | [`changes`] | what differs between two readings; the last good version of what can no longer be read |
//! | [`watch`] | a folder, read again whenever it changes |
//! | [`git`] | a Git repository at one ref, asked for again and again |
//! | [`precedence`] | several sources as one: which counts where two have a resource of one name |
//! | [`reach`] | whether a source can be read at the moment |
//!
//! A third source, an API server, is in [`kubernetes`](crate::kubernetes).

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub mod changes;
pub mod directory;
pub mod git;
pub mod manifests;
pub mod precedence;
pub mod reach;
pub mod watch;

pub use changes::{Batch, Change};
pub use manifests::{Manifests, Object};

/// The kinds of source that a service can have, one of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// A folder of manifests.
    Directory,
    /// A Git repository.
    Git,
    /// A Kubernetes API server.
    Kubernetes,
}

impl SourceKind {
    /// All of them, in the order in which they take precedence unless the configuration says otherwise: what is nearest
    /// to whoever runs the service comes first, and what most people can write to comes last.
    pub const ALL: [Self; 3] = [Self::Directory, Self::Git, Self::Kubernetes];

    /// Its name, as the configuration has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.label().trim_end_matches(':')
    }

    /// What the names of its files begin with, so that it can be told where an object was found.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Directory => "directory:",
            Self::Git => "git:",
            Self::Kubernetes => "kubernetes:",
        }
    }
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How manifests are recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceOptions {
    /// The API groups of the resource; documents of other groups are none of ours.
    pub api_groups: Vec<String>,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self { api_groups: vec!["agent.kagenti.dev".to_owned(), "agent.rossoctl.dev".to_owned()] }
    }
}
