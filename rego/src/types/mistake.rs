//! What the type checker complains about.

use crate::syntax::Offset;

/// Something that no value can make true, or that leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The rule, by its number in the program.
    pub rule: usize,
    /// Where in the text of that rule's module.
    pub at: Offset,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub suggestion: Option<String>,
    /// Whether it is no mistake of types, but more than is looked through.
    pub is_excess: bool,
}

/// A mistake of the rule that is being checked.
#[derive(Debug)]
pub(super) struct Complaint {
    pub(super) at: Offset,
    pub(super) message: String,
    pub(super) suggestion: Option<String>,
    /// Whether the reason may be that something inside is wrong, of which there is a complaint already.
    pub(super) may_follow: bool,
}

impl Complaint {
    pub(super) fn new(at: Offset, message: String) -> Self {
        Self { at, message, suggestion: None, may_follow: false }
    }

    pub(super) fn suggest(self, suggestion: impl Into<String>) -> Self {
        Self { suggestion: Some(suggestion.into()), ..self }
    }
}
