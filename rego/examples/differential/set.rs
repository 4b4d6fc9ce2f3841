//! What is compiled together, as the oracle reads and writes it.

use serde::{Deserialize, Serialize};

/// Modules that are compiled together, and what OPA makes of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Set {
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    pub(crate) modules: Vec<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) verdict: Option<Verdict>,
}

/// One module. What is not UTF-8 is not generated: OPA's reader refuses it before its parser sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Text {
    pub(crate) file: String,
    #[serde(default)]
    pub(crate) text: String,
}

/// What is wrong; nothing when OPA activates the set.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) errors: Vec<Finding>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Finding {
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) line: u32,
    pub(crate) message: String,
}

impl Set {
    pub(crate) fn of(name: String, texts: Vec<String>) -> Self {
        let number = |(index, text)| Text { file: format!("test-{index}.rego"), text };
        Self { name, modules: texts.into_iter().enumerate().map(number).collect(), ..Self::default() }
    }
}
