//! The gate: what it passes, an OPA of the target version activates.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::{
    Refusal,
    capabilities::{Capabilities, Feature, OpaVersion},
    check,
    syntax::{Language, Module},
};

/// A gate for one version of OPA. Cheap to copy.
#[derive(Debug, Clone, Copy)]
pub struct Gate {
    capabilities: &'static Capabilities,
    language: Language,
}

/// Gates for one version are the same.
impl PartialEq for Gate {
    fn eq(&self, other: &Self) -> bool {
        self.version() == other.version()
    }
}

impl Eq for Gate {}

impl Default for Gate {
    /// A gate for the oldest OPA that sidecars run: what it passes, the newer ones activate as well.
    fn default() -> Self {
        Self::new(OpaVersion::V1_18)
    }
}

impl Gate {
    /// A gate for OPA of that version.
    #[must_use]
    pub fn new(version: OpaVersion) -> Self {
        let capabilities = Capabilities::for_version(version);
        let language = Language {
            template_strings: capabilities.has_feature(Feature::TemplateStrings),
            keyword_not: capabilities.has_future_keyword("not"),
            not_with_all_keywords: version.imports_not_with_all_keywords(),
            keyword_and: capabilities.has_future_keyword("and"),
            keyword_or: capabilities.has_future_keyword("or"),
            rego_v2: capabilities.has_feature(Feature::RegoV2Import),
            sets_after_if: version.takes_sets_after_if(),
        };
        Self { capabilities, language }
    }

    /// A gate for the newest OPA that is known: it reads what was checked for any.
    #[must_use]
    pub fn newest() -> Self {
        let [.., newest] = OpaVersion::ALL;
        Self::new(newest)
    }

    /// The version.
    #[must_use]
    pub fn version(&self) -> OpaVersion {
        self.capabilities.version()
    }

    /// What that OPA can do.
    #[must_use]
    pub fn capabilities(&self) -> &'static Capabilities {
        self.capabilities
    }

    /// Reads a module, once for all checks. `file` is what refusals call it.
    ///
    /// # Errors
    /// When it is no module: with what is wrong, in the order of the text.
    pub fn parse(&self, file: &str, text: &[u8]) -> Result<Arc<Module>, Vec<Refusal>> {
        let is_builtin = |name: &str| self.capabilities.builtin(name).is_some();
        Module::read(file, text, self.language, &is_builtin).map(Arc::new)
    }

    /// Whether that OPA would activate these modules together: empty when nothing speaks against it. Refusals come in
    /// the order of the modules and of their texts.
    #[must_use]
    pub fn check(&self, modules: &[Arc<Module>]) -> Vec<Refusal> {
        check::check(modules, None, self.capabilities)
    }

    /// Whether [`check`](Self::check) would find nothing. Where there are faults it looks for no more of them than the
    /// first pass finds.
    #[must_use]
    pub fn accepts(&self, modules: &[Arc<Module>]) -> bool {
        check::accepts(modules, self.capabilities)
    }

    /// As [`check`](Self::check), beside faults that others found in the modules, by their places. The rules that they
    /// are in are taken for ones that may have any value, so nothing is told that follows from them.
    #[must_use]
    pub fn check_beside(&self, modules: &[Arc<Module>], faults: &[Refusal]) -> Vec<Refusal> {
        check::check_beside(modules, faults, self.capabilities)
    }

    /// As [`check`](Self::check), beside data documents: `data` is what lies at the root.
    #[must_use]
    pub fn check_with_data(&self, modules: &[Arc<Module>], data: &Json) -> Vec<Refusal> {
        check::check(modules, Some(data), self.capabilities)
    }
}
