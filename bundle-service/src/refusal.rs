//! What is refused of a manifest or a policy: which one, where, and what to do.

use std::fmt;

use serde::Serialize;

use crate::policy::ResourceKey;

/// Whether a refusal takes effect or only advises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// What is named does not take effect.
    Error,
    /// It takes effect; its author should look at it.
    Warning,
}

/// Why something is refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Refusal {
    /// Whether it takes effect.
    pub severity: Severity,
    /// The manifest file, relative to the directory that is read.
    pub file: Option<String>,
    /// The resource, as far as its name can be read.
    pub resource: Option<ResourceKey>,
    /// The path of the module in the resource.
    pub path: Option<String>,
    /// The line: of the module if `path` is given, else of the file. 0 when no single line is meant.
    pub line: u32,
    /// The column, from 1. 0 when no single column is meant.
    pub column: u32,
    /// A short name of the rule that is broken, such as `syntax` or `confinement`.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// The line of the module, when one is meant.
    pub source_line: String,
    /// What to do about it.
    pub suggestion: Option<String>,
}

impl Refusal {
    /// A refusal that names nothing yet.
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: None,
            resource: None,
            path: None,
            line: 0,
            column: 0,
            code: code.to_owned(),
            message: message.into(),
            source_line: String::new(),
            suggestion: None,
        }
    }

    pub(crate) fn warning(self) -> Self {
        Self { severity: Severity::Warning, ..self }
    }

    pub(crate) fn in_file(self, file: &str, line: u32, column: u32) -> Self {
        Self { file: Some(file.to_owned()), line, column, ..self }
    }

    pub(crate) fn of(self, resource: &ResourceKey) -> Self {
        Self { resource: Some(resource.clone()), ..self }
    }

    pub(crate) fn in_module(self, path: &str) -> Self {
        Self { path: Some(path.to_owned()), ..self }
    }

    pub(crate) fn suggest(self, suggestion: impl Into<String>) -> Self {
        Self { suggestion: Some(suggestion.into()), ..self }
    }

    /// A refusal of the Rego gate, as one of the module `path`.
    pub(crate) fn of_rego(refusal: secplane_rego::Refusal, path: &str) -> Self {
        Self {
            line: refusal.location.line,
            column: refusal.location.column,
            source_line: refusal.source_line,
            suggestion: refusal.suggestion,
            ..Self::new(&refusal.code.to_string(), refusal.message).in_module(path)
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let position = match (self.line, self.column) {
            (0, _) => String::new(),
            (line, 0) => format!(":{line}"),
            (line, column) => format!(":{line}:{column}"),
        };
        let mut places = Vec::new();
        match (&self.file, &self.path) {
            (Some(file), None) => places.push(format!("{file}{position}")),
            (Some(file), Some(_)) => places.push(file.clone()),
            (None, _) => {}
        }
        if let Some(resource) = &self.resource {
            places.push(resource.to_string());
        }
        if let Some(path) = &self.path {
            places.push(format!("{path}{position}"));
        }
        if !places.is_empty() {
            write!(f, "{}: ", places.join(": "))?;
        }
        write!(f, "{} ({})", self.message, self.code)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; {suggestion}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_one_line() {
        let key = ResourceKey::new("team-a", "agent");
        let refusal =
            Refusal::new("rego_parse_error", "expecting `]`").of(&key).in_module("inbound/request.rego");
        let refusal = Refusal { line: 3, column: 5, ..refusal }.suggest("close it");
        assert_eq!(
            refusal.to_string(),
            "team-a/agent: inbound/request.rego:3:5: expecting `]` (rego_parse_error); close it"
        );
        let refusal = Refusal::new("yaml", "not YAML").in_file("a.yaml", 2, 0);
        assert_eq!(refusal.to_string(), "a.yaml:2: not YAML (yaml)");
    }
}
