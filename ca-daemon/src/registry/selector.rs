//! What attestation says of a process or a node, one fact at a time.

use std::fmt;

use super::EntryError;

/// The longest selector, type and value together, in bytes.
const MAX_BYTES: usize = 4096;

/// One attested fact: a type and a value, shown as `unix:uid:1000`.
///
/// It is kept as it is shown: a type holds no `:`, so the text splits in one way only.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Selector(Box<str>);

impl Selector {
    /// Joins a type (no `:` in it) and a value.
    ///
    /// # Errors
    /// When either is empty or the whole too long.
    pub fn new(kind: &str, value: &str) -> Result<Self, EntryError> {
        if kind.is_empty() || kind.contains(':') {
            return Err(EntryError::Selector("its type must not be empty nor contain `:`"));
        }
        if value.is_empty() {
            return Err(EntryError::Selector("its value must not be empty"));
        }
        if kind.len() + value.len() > MAX_BYTES {
            return Err(EntryError::Selector("it is longer than 4096 bytes"));
        }
        Ok(Self(format!("{kind}:{value}").into()))
    }

    /// `unix`, `k8s`, …
    #[must_use]
    pub fn kind(&self) -> &str {
        self.parts().0
    }

    /// `uid:1000`, …
    #[must_use]
    pub fn value(&self) -> &str {
        self.parts().1
    }

    /// `unix:uid:1000`, …
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once(':').unwrap_or((&self.0, ""))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("", "uid:1")]
    #[case("unix:uid", "1")]
    #[case("unix", "")]
    fn rejects_what_is_no_fact(#[case] kind: &str, #[case] value: &str) {
        assert!(matches!(Selector::new(kind, value), Err(EntryError::Selector(_))));
    }

    proptest! {
        #[test]
        fn gives_back_what_it_was_made_of(kind in "[^:]{1,20}", value in "\\PC{1,40}") {
            let selector = Selector::new(&kind, &value).unwrap();
            prop_assert_eq!((selector.kind(), selector.value()), (kind.as_str(), value.as_str()));
            prop_assert_eq!(selector.to_string(), format!("{kind}:{value}"));
        }
    }
}
