//! Template strings.

use super::{
    super::{
        ast::{ExpressionId, ExpressionKind, Part, TermId, Value},
        names::Name,
        position::Offset,
        token::Kind,
    },
    Parser,
};
use crate::capabilities::{Capabilities, Feature};

impl Parser<'_> {
    /// A template string, up to its last part, which stays the current token.
    pub(super) fn template(&mut self, at: Offset) -> Option<TermId> {
        if !self.language.template_strings {
            self.error(at.0, "template strings are newer than the OPA that this is checked for");
            self.suggest_version(Capabilities::first_with_feature(Feature::TemplateStrings));
            return None;
        }
        let before = self.open_parts.len();
        let whole = self.template_parts();
        let parts = self.tree.add_parts(self.open_parts.get(before..).unwrap_or_default());
        self.open_parts.truncate(before);
        whole?;
        self.term(Value::Template(parts), at)
    }

    fn template_parts(&mut self) -> Option<()> {
        loop {
            let (kind, name, at) = (self.kind, self.token().name, self.offset());
            if name != Name::EMPTY {
                let text = self.leaf(Value::String(name), at);
                self.open_parts.push(Part::Term(text));
            }
            if matches!(kind, Kind::TemplateEnd | Kind::NextTemplateEnd) {
                return Some(());
            }
            self.advance();
            let Some(expression) = self.literal() else {
                self.error(
                    self.token().start,
                    "an expression is expected between the braces of a template string",
                );
                return None;
            };
            self.check_template_expression(expression)?;
            let part = match self.tree.expression(expression).kind {
                ExpressionKind::Term(term) if self.tree.is_scalar(term) => Part::Term(term),
                _ => Part::Expression(expression),
            };
            self.open_parts.push(part);
            // The lexer makes the closing brace the next part.
            if !matches!(self.kind, Kind::NextTemplatePart | Kind::NextTemplateEnd) {
                self.unexpected("`}` of the template string");
                return None;
            }
        }
    }

    fn check_template_expression(&mut self, id: ExpressionId) -> Option<()> {
        let expression = self.tree.expression(id);
        let what = match expression.kind {
            _ if expression.negated => "`not`",
            ExpressionKind::Call(call) if self.tree.calls(call, Name::UNIFY) => "`=`",
            ExpressionKind::Call(call) if self.tree.calls(call, Name::ASSIGN) => "`:=`",
            ExpressionKind::Every { .. } => "`every`",
            ExpressionKind::Some(_) => "`some`",
            _ => return Some(()),
        };
        self.error(expression.at.0, format!("{what} cannot stand in a template string"));
        None
    }
}
