//! What an OPA of a certain version can do: its built-in functions, language features and keywords.
//!
//! A policy is legal or not by the OPA of the sidecar that loads it, so the gate asks here and nowhere else. The
//! table beside this file is generated from OPA's own capabilities by `tests/interop/go/capabilities`, which says
//! how to run it.

mod habits;
pub(crate) mod signature;
mod table;
mod version;

use std::{collections::BTreeMap, sync::Arc};

pub use version::{OpaVersion, UnknownVersion};

use crate::types::Function;

/// What an OPA of one version can do.
#[derive(Debug)]
pub struct Capabilities {
    version: OpaVersion,
    builtins: BTreeMap<&'static str, &'static Builtin>,
    features: Vec<&'static str>,
    future_keywords: Vec<&'static str>,
}

/// A built-in function.
#[derive(Debug)]
pub struct Builtin {
    /// Its whole name, such as `io.jwt.decode`.
    pub name: &'static str,
    /// The types of its arguments and of its result.
    pub declaration: Arc<Function>,
    /// The operator that stands for it: `+` for `plus`. Two functions may share one: `in` has one with a key.
    pub infix: Option<&'static str>,
    /// Whether a call may have several results, as `walk` does.
    pub is_relation: bool,
    /// Whether v1 refuses calls of it.
    pub is_deprecated: bool,
    /// Whether equal arguments may give different results.
    pub is_nondeterministic: bool,
    versions: Versions,
}

/// From the first to the last, both included.
#[derive(Debug, Clone, Copy)]
struct Versions {
    first: OpaVersion,
    last: OpaVersion,
}

impl Versions {
    fn include(self, version: OpaVersion) -> bool {
        (self.first..=self.last).contains(&version)
    }
}

/// A feature of the language that came, or was named, after capabilities did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// `import rego.v1` and the rules of v1.
    RegoV1,
    /// The rules of v2.
    RegoV2,
    /// `import rego.v2`.
    RegoV2Import,
    /// Keywords as steps of a reference: `input.if`.
    KeywordsInRefs,
    /// `$"…"`
    TemplateStrings,
}

impl Feature {
    fn name(self) -> &'static str {
        match self {
            Self::RegoV1 => "rego_v1",
            Self::RegoV2 => "rego_v2",
            Self::RegoV2Import => "rego_v2_import",
            Self::KeywordsInRefs => "keywords_in_refs",
            Self::TemplateStrings => "template_strings",
        }
    }
}

impl Capabilities {
    /// What OPA can do at that version, at its newest patch.
    #[must_use]
    pub fn for_version(version: OpaVersion) -> &'static Self {
        table::of(version)
    }

    /// The version.
    #[must_use]
    pub fn version(&self) -> OpaVersion {
        self.version
    }

    /// The built-in function of that whole name.
    #[must_use]
    pub fn builtin(&self, name: &str) -> Option<&'static Builtin> {
        self.builtins.get(name).copied()
    }

    /// All built-in functions, sorted by name.
    pub fn builtins(&self) -> impl Iterator<Item = &'static Builtin> {
        self.builtins.values().copied()
    }

    /// Whether it has that feature.
    #[must_use]
    pub fn has_feature(&self, feature: Feature) -> bool {
        self.features.contains(&feature.name())
    }

    /// Whether `import future.keywords.NAME` brings a keyword.
    #[must_use]
    pub fn has_future_keyword(&self, name: &str) -> bool {
        self.future_keywords.contains(&name)
    }

    /// The keywords that `import future.keywords.NAME` brings, sorted.
    pub fn future_keywords(&self) -> impl Iterator<Item = &'static str> {
        self.future_keywords.iter().copied()
    }

    /// The oldest version that has a built-in function of that name.
    #[must_use]
    pub fn first_with_builtin(name: &str) -> Option<OpaVersion> {
        table::builtins().iter().filter(|builtin| builtin.name == name).map(|b| b.versions.first).min()
    }

    /// The oldest version that has that keyword of the future.
    #[must_use]
    pub fn first_with_future_keyword(name: &str) -> Option<OpaVersion> {
        OpaVersion::ALL.into_iter().find(|version| Self::for_version(*version).has_future_keyword(name))
    }

    /// The oldest version that has that feature.
    #[must_use]
    pub fn first_with_feature(feature: Feature) -> Option<OpaVersion> {
        OpaVersion::ALL.into_iter().find(|version| Self::for_version(*version).has_feature(feature))
    }
}

impl Builtin {
    /// How many arguments it takes at least.
    #[must_use]
    pub fn arity(&self) -> usize {
        self.declaration.arguments.len()
    }

    /// Whether any number of arguments may follow.
    #[must_use]
    pub fn is_variadic(&self) -> bool {
        self.declaration.variadic.is_some()
    }

    /// Whether it returns nothing, so that it can only stand alone.
    #[must_use]
    pub fn is_void(&self) -> bool {
        self.declaration.result.is_none()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(OpaVersion::V1_18, 205)]
    #[case(OpaVersion::V1_19, 206)]
    #[case(OpaVersion::V1_20, 206)]
    #[case(OpaVersion::V1_21, 206)]
    #[case(OpaVersion::V1_22, 206)]
    fn knows_every_builtin_of_a_version(#[case] version: OpaVersion, #[case] count: usize) {
        assert_eq!(Capabilities::for_version(version).builtins().count(), count);
    }

    #[test]
    fn describes_builtins() {
        let capabilities = Capabilities::for_version(OpaVersion::V1_18);
        let plus = capabilities.builtin("plus").unwrap();
        assert_eq!((plus.arity(), plus.infix), (2, Some("+")));
        let print = capabilities.builtin("print").unwrap();
        assert!(print.is_void() && print.is_variadic());
        let walk = capabilities.builtin("walk").unwrap();
        assert!(walk.is_relation && !walk.is_deprecated && !walk.is_void());
        assert!(capabilities.builtin("any").unwrap().is_deprecated);
        assert!(capabilities.builtin("http.send").unwrap().is_nondeterministic);
        assert_eq!(capabilities.builtin("opa.runtime").unwrap().arity(), 0);
        assert!(capabilities.builtin("nothing").is_none());
    }

    #[test]
    fn follows_signatures_through_versions() {
        let result = |version| {
            let union = Capabilities::for_version(version).builtin("object.union").unwrap();
            union.declaration.result.as_ref().unwrap().to_string()
        };
        assert_eq!(result(OpaVersion::V1_18), "any");
        assert_eq!(result(OpaVersion::V1_19), "object[any: any]");
    }

    #[test]
    fn says_what_came_when() {
        let (old, new) = (OpaVersion::V1_18, OpaVersion::V1_22);
        assert!(Capabilities::for_version(old).builtin("strings.split_n").is_none());
        assert_eq!(Capabilities::first_with_builtin("strings.split_n"), Some(OpaVersion::V1_19));
        assert_eq!(Capabilities::first_with_builtin("json.match_schema"), Some(old));
        assert_eq!(Capabilities::first_with_builtin("nothing"), None);

        assert_eq!(Capabilities::for_version(old).future_keywords().collect::<Vec<_>>(), ["not"]);
        assert_eq!(
            Capabilities::for_version(new).future_keywords().collect::<Vec<_>>(),
            ["and", "not", "or"]
        );
        assert_eq!(Capabilities::first_with_future_keyword("or"), Some(OpaVersion::V1_20));

        assert!(Capabilities::for_version(old).has_feature(Feature::TemplateStrings));
        assert!(!Capabilities::for_version(old).has_feature(Feature::RegoV2));
        assert_eq!(Capabilities::first_with_feature(Feature::RegoV2Import), Some(new));
    }
}
