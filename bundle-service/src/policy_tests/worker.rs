//! What the child process does: it limits itself, reads the modules, runs the tests, and says what came of them.

use std::io::{self, Read, Write};

use rustix::process::{Resource, Rlimit, setrlimit};
use secplane_rego::{
    Gate,
    evaluate::{Evaluator, Limits, TestResult},
};
use serde::{Deserialize, Serialize};

use super::{Coverage, NamedModule, Outcome, TestEnd, TestReport, TestRequest};

/// The largest request and the largest report.
pub(super) const MAX_MESSAGE_BYTES: u64 = 64 * 1024 * 1024;

/// What the child says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Report(TestReport),
    Load(String),
}

/// The child's whole life: a request on standard input, an answer on standard output. The limits are those of
/// `SECONDS` and `BYTES` on its command line.
///
/// # Errors
/// When the pipes fail or the limits cannot be set; then nothing has been run.
pub fn run(seconds: u64, bytes: u64) -> io::Result<()> {
    let limit = |resource, most| setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    limit(Resource::As, bytes)?;
    limit(Resource::Cpu, seconds.max(1))?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    let mut request = Vec::new();
    io::stdin().lock().take(MAX_MESSAGE_BYTES).read_to_end(&mut request)?;
    let answer = match serde_json::from_slice(&request) {
        Ok(request) => report(&request).map_or_else(Answer::Load, Answer::Report),
        Err(error) => Answer::Load(error.to_string()),
    };
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, &answer)?;
    stdout.flush()
}

/// Runs the tests in this process.
///
/// # Errors
/// When the modules cannot be loaded.
pub fn report(request: &TestRequest) -> Result<TestReport, String> {
    // They passed the gate of the version that they are for.
    let gate = Gate::newest();
    let parse = |module: &NamedModule| {
        gate.parse(&module.name, module.text.as_bytes())
            .map_err(|refusals| refusals.first().map(ToString::to_string).unwrap_or_default())
    };
    let modules: Vec<_> =
        request.modules.iter().chain(&request.tests).map(parse).collect::<Result<_, _>>()?;
    let limits = Limits { time: std::time::Duration::from_millis(request.one_ms) };
    let mut evaluator = Evaluator::new(&modules, &request.data, limits).map_err(|error| error.to_string())?;
    if let Some(missing) = evaluator.missing_builtins().first() {
        return Err(format!(
            "the function `{missing}` cannot be evaluated here, so that no tests can go with what calls it"
        ));
    }
    evaluator.cover();
    let outcomes = evaluator.run_tests().into_iter().map(|outcome| Outcome {
        test: outcome.name,
        module: outcome.location.file.to_string(),
        line: outcome.location.line,
        result: match outcome.result {
            TestResult::Passed => TestEnd::Passed,
            TestResult::Failed => TestEnd::Failed,
            TestResult::Skipped => TestEnd::Skipped,
            TestResult::Error(why) => TestEnd::Error(why),
        },
    });
    let outcomes = outcomes.collect();
    let is_tested = |name: &str| request.modules.iter().any(|module| module.name == name);
    let coverage = evaluator.coverage().into_iter().filter(|(name, ..)| is_tested(name));
    let coverage = coverage.map(|(module, covered, not_covered)| Coverage { module, covered, not_covered });
    Ok(TestReport { outcomes, coverage: coverage.collect() })
}
