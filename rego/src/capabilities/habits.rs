//! How the compilers of OPA's versions differ beyond what their capabilities tell.
//!
//! Each was found by asking the compiler of that version about what the one of another accepts.

use super::OpaVersion;

impl OpaVersion {
    /// Whether `import future.keywords` brings `not` with the others.
    #[must_use]
    pub fn imports_not_with_all_keywords(self) -> bool {
        self >= Self::V1_20
    }

    /// Whether a set may stand after `if` when it is negated, in parentheses, or `set()`, so that it is no body.
    #[must_use]
    pub fn takes_sets_after_if(self) -> bool {
        self >= Self::V1_20
    }

    /// Whether an undeclared variable with the name of a built-in function is a variable like any other. Before, its
    /// type is that of the function.
    #[must_use]
    pub fn frees_names_of_functions(self) -> bool {
        self >= Self::V1_19
    }

    /// Whether the rule indices have a place for a comparison with any value. Before, some end the program.
    #[must_use]
    pub fn indexes_any_value(self) -> bool {
        self >= Self::V1_19
    }

    /// Whether the types of a statement are those of what its `with` puts in the place of documents.
    #[must_use]
    pub fn types_replacements(self) -> bool {
        self >= Self::V1_20
    }

    /// Whether the steps of a rule's name behind a variable tell it from what a reference asks for, when rules are looked
    /// through for recursion.
    #[must_use]
    pub fn tells_rules_apart_behind_variables(self) -> bool {
        self >= Self::V1_21
    }

    /// Whether one may look for something in what is known to hold nothing.
    #[must_use]
    pub fn looks_into_nothing(self) -> bool {
        self != Self::V1_21
    }

    /// Whether one may look for an array, object or set in an array that is known to hold nothing.
    #[must_use]
    pub fn looks_for_anything_in_nothing(self) -> bool {
        self >= Self::V1_22
    }

    /// Whether a variable that equals a reference of which not everything is known may be anything. Before, it is what
    /// is known of the reference, and nothing equals a reference of which nothing is.
    #[must_use]
    pub fn forgets_what_is_partly_unknown(self) -> bool {
        self >= Self::V1_22
    }

    /// Whether rules that do not depend on one another are always looked at in the same order. Before, what is accepted
    /// may be refused the next time.
    #[must_use]
    pub fn looks_at_rules_in_order(self) -> bool {
        self >= Self::V1_19
    }

    /// Whether a template string may stand in the key of an object. Before, it ends the program.
    #[must_use]
    pub fn hashes_template_strings(self) -> bool {
        self >= Self::V1_21
    }
}
