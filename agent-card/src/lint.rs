//! Holding a card against the A2A 1.0 schema, and naming what would make verifiers disagree about it.

mod content;
mod structure;

use std::fmt;

use serde::Serialize;

use crate::{AgentCard, Change};

/// The most findings that are told; a card with more is told of these first.
pub const MAX_FINDINGS: usize = 256;

/// Something about a card that its author should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whether readers of the card fail over it.
    pub severity: Severity,
    /// What is broken.
    pub rule: Rule,
    /// Where: `skills[0].tags`; empty when it is the card as a whole.
    pub member: String,
    /// What it is, and what to do.
    pub message: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The card is not an A2A 1.0 AgentCard, or some reader cannot use it.
    Error,
    /// It is one, but readers or verifiers will not make the same of it.
    Warning,
}

/// What a card is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// A REQUIRED member is there.
    Required,
    /// A member is of its type.
    Type,
    /// A member is one that A2A 1.0 knows.
    Known,
    /// A member is not one that A2A 1.0 replaced.
    Current,
    /// A structure that holds one of several alternatives holds exactly one.
    Alternatives,
    /// A REQUIRED member says something.
    Content,
    /// A URL is absolute, and a secret does not go over it in the clear.
    Url,
    /// A value is one that the specification gives a meaning to.
    Value,
    /// What is referred to is there, once.
    Reference,
    /// All verifiers make the same of the card.
    Agreement,
}

impl AgentCard {
    /// Holds the card against the schema of A2A 1.0 and against its canonical forms. Signatures are not looked at:
    /// that is [`crate::verify`]'s work. Answers errors first, at most [`MAX_FINDINGS`].
    ///
    /// ```
    /// use secplane_agent_card::{AgentCard, Rule};
    ///
    /// let card = AgentCard::parse(br#"{"name":"Recipe Agent","description":"Cooks","url":"https://a.example",
    ///     "version":"1.0.0","capabilities":{},"defaultInputModes":["text/plain"],
    ///     "defaultOutputModes":["text/plain"],"skills":[]}"#)?;
    /// let findings = card.lint();
    /// assert_eq!(findings[0].rule, Rule::Required);
    /// assert_eq!(findings[0].member, "supportedInterfaces");
    /// assert!(findings.iter().any(|finding| finding.rule == Rule::Current && finding.member == "url"));
    /// # Ok::<(), secplane_agent_card::CardError>(())
    /// ```
    #[must_use]
    pub fn lint(&self) -> Vec<Finding> {
        let mut findings = Findings::default();
        structure::check(self.unsigned(), &mut findings);
        content::check(self.unsigned(), &mut findings);
        for difference in self.agreement().differences() {
            // What is unknown or of a wrong type was told, with more to the point.
            if !findings
                .0
                .iter()
                .any(|known| known.member == difference.member && explains(known.rule, difference.change))
            {
                findings.warn(Rule::Agreement, &difference.member, difference.to_string());
            }
        }
        findings.0.sort_by_key(|finding| finding.severity == Severity::Warning);
        findings.0.truncate(MAX_FINDINGS);
        findings.0
    }
}

fn explains(rule: Rule, change: Change) -> bool {
    match change {
        Change::DropsContent => matches!(rule, Rule::Known | Rule::Current),
        Change::CannotRead => matches!(rule, Rule::Type | Rule::Alternatives),
        Change::DropsEmpty | Change::Adds | Change::WritesOtherwise => false,
    }
}

/// The findings so far.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn fail(&mut self, rule: Rule, member: &str, message: impl Into<String>) {
        self.add(Severity::Error, rule, member, message.into());
    }

    fn warn(&mut self, rule: Rule, member: &str, message: impl Into<String>) {
        self.add(Severity::Warning, rule, member, message.into());
    }

    fn add(&mut self, severity: Severity, rule: Rule, member: &str, message: String) {
        // Twice as many as are told: errors found later still come first.
        if self.0.len() < 2 * MAX_FINDINGS {
            self.0.push(Finding { severity, rule, member: member.to_owned(), message });
        }
    }
}

impl Severity {
    /// The word: `error`, `warning`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Rule {
    /// The name: `required`, `type` and so on.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Type => "type",
            Self::Known => "known",
            Self::Current => "current",
            Self::Alternatives => "alternatives",
            Self::Content => "content",
            Self::Url => "url",
            Self::Value => "value",
            Self::Reference => "reference",
            Self::Agreement => "agreement",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests;
