//! Where AuthorizationPolicies come from. A source hands on whole objects, and what it refuses.
//!
//! | module | holds |
//! |---|---|
//! | [`manifests`] | a YAML text as objects |
//! | [`directory`] | a folder of such texts, read once |
//! | [`changes`] | what differs between two readings; the last good version of what can no longer be read |
//! | [`watch`] | a folder, read again whenever it changes |

pub mod changes;
pub mod directory;
pub mod manifests;
pub mod watch;

pub use changes::{Batch, Change};
pub use manifests::{Manifests, Object};

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
