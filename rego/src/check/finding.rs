//! What a stage finds: a refusal whose place is not looked up yet.

use crate::{Code, Refusal, refusal::with_short_names, syntax::Offset};

use super::program::Program;

/// Something that OPA refuses. Finding a line and a column takes a look at the text, so that is left to the few that
/// are told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// The number of the module.
    pub(super) module: usize,
    pub(super) at: Offset,
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) suggestion: Option<String>,
}

impl Finding {
    /// The same with advice.
    pub(super) fn suggest(self, suggestion: impl Into<String>) -> Self {
        Self { suggestion: Some(suggestion.into()), ..self }
    }

    /// The refusal, with its line and column.
    pub(super) fn refusal(self, program: &Program) -> Option<Refusal> {
        let module = program.modules.get(self.module)?;
        let refusal = module.refuse(self.at, self.code, self.message);
        Some(Refusal { suggestion: self.suggestion.map(with_short_names), ..refusal })
    }
}
