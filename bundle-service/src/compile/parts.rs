//! What one version of a resource brings into its tier: modules, documents, and tests of both.
//!
//! The path says which it is: `*_test.rego` is a module of tests, which never goes into a bundle; `*.json.rego` is a
//! JSON document; every other path is a module of the policy.

use secplane_rego::Gate;

use super::{documents::Document, tier::ParsedModule};
use crate::{
    policy::{AuthorizationPolicy, ResourceKey},
    refusal::Refusal,
    tiers::TierKind,
};

/// The parts of one version, or of several together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parts {
    /// What decides.
    pub(crate) modules: Vec<ParsedModule>,
    /// What it decides by.
    pub(crate) documents: Vec<Document>,
    /// What must hold before it is published.
    pub(crate) tests: Vec<ParsedModule>,
}

impl Parts {
    /// Reads the parts of a policy for a tier of a kind.
    ///
    /// # Errors
    /// All that is wrong with any of them.
    pub(crate) fn read(
        gate: Gate,
        policy: &AuthorizationPolicy,
        kind: TierKind,
    ) -> Result<Self, Vec<Refusal>> {
        let (mut parts, mut refusals) = (Self::default(), Vec::new());
        for (index, part) in policy.modules.iter().enumerate() {
            if Document::is_one(&part.path) {
                match Document::read(&policy.key, part, kind) {
                    Ok(document) => parts.documents.push(document),
                    Err(refusal) => refusals.push(*refusal),
                }
                continue;
            }
            let is_test = is_test(&part.path);
            match ParsedModule::read(gate, &policy.key, index, part, kind, is_test) {
                Ok(module) if is_test => parts.tests.push(module),
                Ok(module) => parts.modules.push(module),
                Err(found) => refusals.extend(found),
            }
        }
        if refusals.is_empty() { Ok(parts) } else { Err(refusals) }
    }

    /// Several together, in their order.
    pub(crate) fn together<'a>(several: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        for parts in several {
            all.modules.extend(parts.modules.iter().cloned());
            all.documents.extend(parts.documents.iter().cloned());
            all.tests.extend(parts.tests.iter().cloned());
        }
        all
    }

    /// The same with the tests of one resource alone.
    pub(crate) fn with_tests_of(&self, owner: &ResourceKey) -> Self {
        let of_owner = self.tests.iter().filter(|test| test.owner.as_ref() == Some(owner));
        Self {
            modules: self.modules.clone(),
            documents: self.documents.clone(),
            tests: of_owner.cloned().collect(),
        }
    }

    /// Whether nothing of it goes into a bundle.
    pub(crate) fn is_empty(&self) -> bool {
        self.modules.is_empty() && self.documents.is_empty()
    }
}

/// Whether a path is that of a module of tests.
pub(super) fn is_test(path: &str) -> bool {
    path.ends_with("_test.rego")
}
