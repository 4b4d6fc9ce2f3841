//! Tests that travel with policies: `*_test.rego` in a resource runs before the resource is published.
//!
//! A tenant's test is a program of a stranger. It runs in a child process, this same program again with a hidden
//! subcommand, which has no environment and limits of time and memory from the kernel. What it does to itself there
//! comes to a refusal of its own tier's change.
//!
//! | module | holds |
//! |---|---|
//! | [`child`] | starting the child and waiting for it |
//! | [`worker`] | what the child does |

pub mod child;
pub mod worker;

use std::{collections::BTreeSet, fmt, time::Duration};

use serde::{Deserialize, Serialize};

pub use child::ChildTester;

/// The hidden subcommand of every program that runs tests.
pub const WORKER_COMMAND: &str = "policy-test-worker";

/// What tests may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TestLimits {
    /// One test.
    pub one: Duration,
    /// All tests of a tier together, from the start of the child to its end.
    pub all: Duration,
    /// The address space of the child, in bytes.
    pub memory: u64,
}

impl Default for TestLimits {
    fn default() -> Self {
        Self { one: Duration::from_secs(1), all: Duration::from_secs(5), memory: 512 * 1024 * 1024 }
    }
}

/// Modules and what is to be found out about them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestRequest {
    /// What is tested, by names that outcomes are told by.
    pub modules: Vec<NamedModule>,
    /// The tests.
    pub tests: Vec<NamedModule>,
    /// The documents that both see.
    pub data: serde_json::Value,
    /// How long one test may take, in milliseconds.
    pub one_ms: u64,
}

/// A module and its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedModule {
    /// How it is called here.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// What came of all tests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestReport {
    /// One for each test.
    pub outcomes: Vec<Outcome>,
    /// One for each module that is tested.
    pub coverage: Vec<Coverage>,
}

/// What came of one test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The whole name of the rule.
    pub test: String,
    /// The name of its module.
    pub module: String,
    /// Its line.
    pub line: u32,
    /// How it ended.
    pub result: TestEnd,
}

/// How a test ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestEnd {
    /// It is true.
    Passed,
    /// It is not.
    Failed,
    /// Its name begins with `todo_`.
    Skipped,
    /// It could not be evaluated, and why.
    Error(String),
}

/// What of a module the tests went through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// The name of the module.
    pub module: String,
    /// Lines that were evaluated.
    pub covered: BTreeSet<u32>,
    /// Lines that were not.
    pub not_covered: BTreeSet<u32>,
}

/// How much of what is tested the tests went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestSummary {
    /// How many tests passed.
    pub passed: usize,
    /// The share of lines that were evaluated, in whole percent, rounded down.
    pub covered_percent: u8,
}

impl TestReport {
    /// The report in short.
    #[must_use]
    pub fn summary(&self) -> TestSummary {
        let passed = self.outcomes.iter().filter(|outcome| outcome.result == TestEnd::Passed).count();
        // A share is between 0 and 100.
        TestSummary { passed, covered_percent: self.covered_percent() as u8 }
    }

    /// The share of lines that were evaluated, in percent; 100 when there is none.
    #[must_use]
    pub fn covered_percent(&self) -> f64 {
        let covered: usize = self.coverage.iter().map(|module| module.covered.len()).sum();
        let missed: usize = self.coverage.iter().map(|module| module.not_covered.len()).sum();
        match covered + missed {
            0 => 100.0,
            all => 100.0 * covered as f64 / all as f64,
        }
    }
}

/// Why there is no report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TestFailure {
    /// The child took too long, or too much memory.
    #[error("the tests did not end within their limits of time and memory ({0})")]
    Limits(String),
    /// The tests cannot be loaded.
    #[error("the tests cannot be run: {0}")]
    Load(String),
    /// There is no child.
    #[error("the tests cannot be run here: {0}")]
    Start(String),
}

/// What runs tests.
pub trait Tester: fmt::Debug + Send + Sync {
    /// Runs them to their end, which takes its time: never on the async runtime.
    ///
    /// # Errors
    /// When there is no report.
    fn run(&self, request: &TestRequest) -> Result<TestReport, TestFailure>;

    /// What it lets all tests of a request take together; `None` where it has no such limits.
    fn limits(&self) -> Option<TestLimits> {
        None
    }
}

#[cfg(test)]
mod tests;
