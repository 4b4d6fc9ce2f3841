//! Decisions and `test_` rules, evaluated under limits.
//!
//! The engine is not OPA: it lacks some functions ([`Evaluator::missing_builtins`]) and takes some negations for true
//! that OPA leaves undefined ([`warnings`] names them). It is good for tests and for looking
//! at a decision; what decides at a sidecar is the sidecar's OPA. A call of a built-in function is not interrupted
//! by the limit, so evaluate here only policies of people who may use the machine.

mod extensions;
mod revision;

use std::{
    collections::BTreeSet,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

pub use revision::REVISION;

use regorus::{Engine, utils::limits::ExecutionTimerConfig};
use serde::Serialize;
use serde_json::Value;

use crate::{
    Location, Module, Refusal,
    engine::{
        Together,
        isolate::isolated,
        module::{Meaning, Module as Read, Segment},
        negations,
        read::parser_limits,
    },
    syntax::ast::{self, ExpressionKind, TermId, Tree},
};

/// What an evaluation may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long one decision or one test may take.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { time: Duration::from_secs(5) }
    }
}

/// Modules and data, ready to decide.
pub struct Evaluator {
    engine: Engine,
    tests: Vec<Test>,
    missing: Vec<String>,
}

struct Test {
    path: Vec<String>,
    location: Location,
    skipped: bool,
}

/// How one `test_` rule went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TestOutcome {
    /// The whole name of the rule, `data` first.
    pub name: String,
    /// Where the rule is.
    pub location: Location,
    /// What came of it.
    pub result: TestResult,
    /// How long it took.
    pub duration: Duration,
}

/// What came of a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TestResult {
    /// It is true.
    Passed,
    /// It is undefined, or not true.
    Failed,
    /// Its name begins with `todo_`.
    Skipped,
    /// It could not be evaluated.
    Error(String),
}

/// Why there is no decision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// The modules or the data cannot be loaded.
    #[error("the policies cannot be loaded for evaluation: {0}")]
    Load(String),
    /// The path is not `data.…`.
    #[error("`{0}` is not the path of a decision; write it as `data.authbridge.inbound.request.allow`")]
    Path(String),
    /// The evaluation failed or ran into its limit.
    #[error("the decision cannot be evaluated: {0}")]
    Evaluate(String),
}

/// Evaluates one decision; `None` when it is undefined. For several, make an [`Evaluator`].
///
/// # Errors
/// As [`Evaluator::new`] and [`Evaluator::decide`].
pub fn evaluate(
    modules: &[Arc<Module>],
    data: &Value,
    decision: &str,
    input: &Value,
) -> Result<Option<Value>, EvaluationError> {
    Evaluator::new(modules, data, Limits::default())?.decide(decision, input)
}

/// Where the decision of an OPA may differ from one of [`evaluate`]: each a warning. An OPA activates modules that have
/// them. Modules that the engine cannot read have none.
#[must_use]
pub fn warnings(modules: &[Arc<Module>]) -> Vec<Refusal> {
    // The engine takes its time to read a module, and most have nothing that it could take otherwise.
    if !modules.iter().any(|module| negates_more_than_paths(module.tree())) {
        return Vec::new();
    }
    let read: Vec<Read> = modules.iter().filter_map(|module| read(module).ok()).collect();
    negations(&Together::new(&read.iter().collect::<Vec<_>>()))
}

/// Whether a `not` stands before anything but the name or the constant path of a document.
fn negates_more_than_paths(tree: &Tree) -> bool {
    tree.expressions().any(|expression| match expression.kind {
        ExpressionKind::Not { .. } => true,
        ExpressionKind::Term(term) => expression.negated && !is_path(tree, term),
        _ => expression.negated,
    })
}

fn is_path(tree: &Tree, term: TermId) -> bool {
    match tree.value(term) {
        ast::Value::Var(_) => true,
        ast::Value::Ref(path) => match tree.terms(path) {
            [first, steps @ ..] => {
                matches!(tree.value(*first), ast::Value::Var(_))
                    && steps.iter().all(|&step| matches!(tree.value(step), ast::Value::String(_)))
            }
            [] => false,
        },
        _ => false,
    }
}

/// Reads a module as the engine does, within the limits of its parser.
fn read(module: &Module) -> Result<Read, Refusal> {
    Read::parse(module.file(), module.text().as_bytes())
}

impl Evaluator {
    /// Loads modules and data. They should have passed the [`Gate`](crate::Gate): here errors are coarser.
    ///
    /// # Errors
    /// When the engine refuses a module or the data: some of what OPA takes is beyond it.
    pub fn new(modules: &[Arc<Module>], data: &Value, limits: Limits) -> Result<Self, EvaluationError> {
        let read: Vec<Read> = modules
            .iter()
            .map(|module| read(module))
            .collect::<Result<_, _>>()
            .map_err(|refusal| EvaluationError::Load(refusal.to_string()))?;
        let modules = &read.iter().collect::<Vec<_>>();
        let engine = isolated(|| load(modules, data, limits)).and_then(|loaded| loaded);
        let tests = modules.iter().flat_map(|module| tests_of(module)).collect();
        Ok(Self { engine: engine.map_err(EvaluationError::Load)?, tests, missing: missing(modules) })
    }

    /// Built-in functions that the modules use and this engine does not have: a rule that calls one fails here
    /// and may well hold at a sidecar.
    #[must_use]
    pub fn missing_builtins(&self) -> &[String] {
        &self.missing
    }

    /// From now on, remembers which lines are evaluated.
    pub fn cover(&mut self) {
        self.engine.set_enable_coverage(true);
    }

    /// Of each module, by its name, the lines that were evaluated since [`cover`](Self::cover), and those that were not.
    #[must_use]
    pub fn coverage(&self) -> Vec<(String, BTreeSet<u32>, BTreeSet<u32>)> {
        let files = self.engine.get_coverage_report().map(|report| report.files).unwrap_or_default();
        files.into_iter().map(|file| (file.path, file.covered, file.not_covered)).collect()
    }

    /// The value at a path such as `data.authbridge.inbound.request.allow`; `None` when it is undefined.
    ///
    /// # Errors
    /// When the path is not one, or the evaluation fails or takes too long.
    pub fn decide(&mut self, decision: &str, input: &Value) -> Result<Option<Value>, EvaluationError> {
        let path = decision_path(decision).ok_or_else(|| EvaluationError::Path(decision.to_owned()))?;
        let input = regorus::Value::from_json_str(&input.to_string())
            .map_err(|error| EvaluationError::Evaluate(format!("the input cannot be read: {error}")))?;
        self.engine.set_input(input);
        self.value(&path).map_err(EvaluationError::Evaluate)
    }

    /// Runs every `test_` rule, each once, in the order of the modules and their texts. The input is `{}` unless
    /// a test sets its own by `with`.
    pub fn run_tests(&mut self) -> Vec<TestOutcome> {
        let tests = std::mem::take(&mut self.tests);
        self.engine.set_input(regorus::Value::new_object());
        let outcomes = tests.iter().map(|test| self.run(test)).collect();
        self.tests = tests;
        outcomes
    }

    fn run(&mut self, test: &Test) -> TestOutcome {
        let started = Instant::now();
        let result = match test.skipped {
            true => TestResult::Skipped,
            false => match self.value(&test.path) {
                Ok(Some(Value::Bool(true))) => TestResult::Passed,
                Ok(_) => TestResult::Failed,
                Err(message) => TestResult::Error(message),
            },
        };
        let name = format!("data.{}", test.path.join("."));
        TestOutcome { name, location: test.location.clone(), result, duration: started.elapsed() }
    }

    fn value(&mut self, path: &[String]) -> Result<Option<Value>, String> {
        let engine = &mut self.engine;
        let query = query(path);
        let value = isolated(|| -> Result<_, String> {
            let results = engine.eval_query(query, false).map_err(|error| brief(&error.to_string()))?;
            let value = results.result.into_iter().next().and_then(|r| r.expressions.into_iter().next());
            value
                .map(|expression| expression.value)
                .filter(|value| *value != regorus::Value::Undefined)
                .map(|value| value.to_json_str().map_err(|error| error.to_string()))
                .transpose()
        })
        .and_then(|value| value)?;
        value.map(|json| serde_json::from_str(&json).map_err(|error| error.to_string())).transpose()
    }
}

impl std::fmt::Debug for Evaluator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Evaluator").field("tests", &self.tests.len()).finish_non_exhaustive()
    }
}

fn load(modules: &[&Read], data: &Value, limits: Limits) -> Result<Engine, String> {
    let mut engine = Engine::new();
    engine.set_policy_length_config(parser_limits());
    engine.set_execution_timer_config(ExecutionTimerConfig {
        limit: limits.time,
        check_interval: NonZeroU32::MIN.saturating_add(63),
    });
    // As OPA: a failing function makes its expression undefined.
    engine.set_strict_builtin_errors(false);
    extensions::add(&mut engine)?;
    for module in modules {
        let added = engine.add_policy(module.name.to_string(), module.text.to_string());
        added.map_err(|error| brief(&error.to_string()))?;
    }
    let data = regorus::Value::from_json_str(&data.to_string()).map_err(|error| error.to_string())?;
    engine.add_data(data).map_err(|error| error.to_string())?;
    Ok(engine)
}

fn tests_of(module: &Read) -> Vec<Test> {
    let mut tests: Vec<Test> = Vec::new();
    for rule in module.rules() {
        let Some(name) = rule.path.last().and_then(Segment::name) else { continue };
        let skipped = name.starts_with("todo_test_");
        let path: Option<Vec<String>> =
            module.full_path(rule).iter().map(|segment| segment.name().map(str::to_owned)).collect();
        let Some(path) = path.filter(|_| skipped || name.starts_with("test_")) else { continue };
        if tests.iter().all(|test| test.path != path) {
            let (line, column) = rule.position;
            let location = Location { file: module.name().clone(), line, column };
            tests.push(Test { path, location, skipped });
        }
    }
    tests
}

fn missing(modules: &[&Read]) -> Vec<String> {
    let mut missing = BTreeSet::new();
    for module in modules {
        for rule in module.rules() {
            let calls = rule.references.iter().filter(|reference| reference.arguments.is_some());
            missing.extend(calls.filter_map(|reference| match module.meaning(rule, reference) {
                Meaning::Builtin(name) if !engine_has(&name) => Some(name),
                _ => None,
            }));
        }
    }
    missing.into_iter().collect()
}

fn engine_has(name: &str) -> bool {
    // `print` and `walk` are built into the engine itself.
    matches!(name, "print" | "walk")
        || regorus::unstable::BUILTINS.contains_key(name)
        || extensions::has(name)
}

/// The names of `data.a.b` or `a/b`, without `data`.
fn decision_path(decision: &str) -> Option<Vec<String>> {
    let names = match decision.strip_prefix("data.") {
        Some(rest) => rest.split('.').map(str::to_owned).collect::<Vec<_>>(),
        None => decision.trim_start_matches('/').split('/').map(str::to_owned).collect(),
    };
    let plain = |name: &String| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
    };
    (names.len() <= 32 && names.iter().all(plain)).then_some(names)
}

fn query(path: &[String]) -> String {
    let steps = path.iter().map(|name| format!("[{}]", Value::from(name.as_str())));
    std::iter::once("data".to_owned()).chain(steps).collect()
}

/// The last line of a message that shows the source as well.
fn brief(message: &str) -> String {
    let place = message.rsplit_once("--> ").and_then(|(_, rest)| rest.lines().next());
    match (place, message.rsplit_once("error: ")) {
        (Some(place), Some((_, what))) => format!("{place}: {}", what.trim()),
        _ => message.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn parse(text: &str) -> Arc<Module> {
        use crate::{Gate, capabilities::OpaVersion};
        Gate::new(OpaVersion::V1_22).parse("t.rego", text.as_bytes()).unwrap()
    }

    #[rstest]
    #[case("data.a.allow", Some(json!(true)))]
    #[case("a/allow", Some(json!(true)))]
    #[case("/a/allow", Some(json!(true)))]
    #[case("data.a.missing", None)]
    #[case("data.a.never", None)]
    #[case("data.a.set", Some(json!([1, 2])))]
    fn decides(#[case] decision: &str, #[case] expected: Option<Value>) {
        let module = parse(
            "package a\ndefault allow := false\nallow if input.who == data.known\nnever if false\nset := {1, 2}",
        );
        let found = evaluate(&[module], &json!({"known": "me"}), decision, &json!({"who": "me"})).unwrap();
        assert_eq!(found, expected);
    }

    #[rstest]
    #[case("data")]
    #[case("data.a[1]")]
    #[case("data.a b")]
    #[case("")]
    fn refuses_what_is_no_path(#[case] decision: &str) {
        let module = parse("package a\nx := 1");
        let found = evaluate(&[module], &json!({}), decision, &json!({}));
        if decision == "data" {
            assert_eq!(found, Ok(None));
        } else {
            assert_eq!(found, Err(EvaluationError::Path(decision.to_owned())));
        }
    }

    #[test]
    fn runs_tests_each_once() {
        let module = parse(
            "package a_test\nimport data.a\n\
             test_yes if a.allow with input as {\"x\": 1}\n\
             test_no if a.allow\n\
             test_twice if false\ntest_twice if true\n\
             todo_test_later if true\n\
             test_value := \"x\"",
        );
        let policy = parse("package a\nallow if input.x == 1");
        let mut evaluator = Evaluator::new(&[policy, module], &json!({}), Limits::default()).unwrap();
        let outcomes = evaluator.run_tests();
        let found: Vec<_> = outcomes.iter().map(|o| (o.name.as_str(), &o.result, o.location.line)).collect();
        assert_eq!(
            found,
            [
                ("data.a_test.test_yes", &TestResult::Passed, 3),
                ("data.a_test.test_no", &TestResult::Failed, 4),
                ("data.a_test.test_twice", &TestResult::Passed, 5),
                ("data.a_test.todo_test_later", &TestResult::Skipped, 7),
                ("data.a_test.test_value", &TestResult::Failed, 8),
            ]
        );
    }

    #[test]
    fn ends_at_the_time_limit() {
        let module = parse(
            "package a\nxs := numbers.range(1, 2000)\nx if { some a in xs; some b in xs; some c in xs; a + b + c == 0 }",
        );
        let limits = Limits { time: Duration::from_millis(50) };
        let mut evaluator = Evaluator::new(&[module], &json!({}), limits).unwrap();
        let started = Instant::now();
        assert!(matches!(evaluator.decide("data.a.x", &json!({})), Err(EvaluationError::Evaluate(_))));
        // Without the limit it would take hours.
        assert!(started.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn a_panic_of_the_engine_is_an_error() {
        let module = parse("package a\nx := strings.count(input.a, \"\")");
        let found = evaluate(&[module], &json!({}), "data.a.x", &json!({"a": "b"}));
        assert!(matches!(found, Err(EvaluationError::Evaluate(_))), "{found:?}");
    }

    #[test]
    fn names_functions_that_it_lacks() {
        let module =
            parse("package a\nx := io.jwt.encode_sign({}, {}, input.t)\ny := count([1])\nz if print(1)");
        let evaluator = Evaluator::new(&[module], &json!({}), Limits::default()).unwrap();
        assert_eq!(evaluator.missing_builtins(), ["io.jwt.encode_sign"]);
    }
}
