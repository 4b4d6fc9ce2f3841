//! The repository's `policies/` folder, under the compiler that serves it.
//!
//! No resource in it is refused; every folder has Rego tests, each true for the bundle of the identity that the
//! first line of its file names; and every `secctl policy eval` command in its pages answers what the page says.

use std::{
    collections::BTreeSet,
    fs, iter,
    path::{Path, PathBuf},
    sync::Arc,
};

use bundle_service::{
    compile::{self, Archive, Settings},
    policy::Scope,
    source::{Manifests, SourceOptions, directory},
};
use rstest::rstest;
use secplane_identity::SpiffeId;
use secplane_rego::{
    Gate, Module,
    evaluate::{Evaluator, Limits, TestResult},
};
use serde_json::{Value, json};

#[test]
fn refuses_no_resource() {
    assert_eq!(refused_resources(&shipped()), NO_FAULTS);
}

#[test]
fn passes_every_rego_test() {
    assert_eq!(failing_tests(&shipped()), NO_FAULTS);
}

#[test]
fn answers_as_the_pages_say() {
    assert_eq!(wrong_pages(&shipped()), NO_FAULTS);
}

const NO_FAULTS: [String; 0] = [];

/// The repository's own policies.
fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies")
}

/// What is refused in a folder of policies, for every identity that a resource in it is for.
fn refused_resources(policies: &Path) -> Vec<String> {
    let manifests = match directory::read(policies, &SourceOptions::default()) {
        Ok(manifests) => manifests,
        Err(error) => return vec![error.to_string()],
    };
    if manifests.objects.is_empty() {
        return vec![format!("{} has no resources", policies.display())];
    }
    let mut faults: BTreeSet<String> = manifests.refusals.iter().map(ToString::to_string).collect();
    for id in identities(&manifests) {
        match Decider::for_identity(policies, &id, None) {
            Ok(_) => {}
            Err(refused) => faults.extend(refused),
        }
    }
    faults.into_iter().collect()
}

/// One identity for each combination of tiers that the resources make.
fn identities(manifests: &Manifests) -> BTreeSet<String> {
    let of_resources = manifests.objects.iter().map(|object| match object.scope {
        Scope::Client => (object.key.namespace.as_str(), object.key.name.as_str()),
        Scope::Global | Scope::Namespace => (object.key.namespace.as_str(), "without-client-policy"),
    });
    of_resources
        .map(|(namespace, account)| format!("spiffe://example.org/ns/{namespace}/sa/{account}"))
        .collect()
}

/// Every folder without Rego tests, and every test file that is not all true.
fn failing_tests(policies: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    for folder in entries(policies).into_iter().filter(|path| path.is_dir()) {
        let files: Vec<PathBuf> = entries(&folder)
            .into_iter()
            .filter(|path| path.to_string_lossy().ends_with("_test.rego"))
            .collect();
        if files.is_empty() {
            faults.push(format!("{} has no *_test.rego", folder.display()));
        }
        for file in files {
            let found = failures(policies, &file).unwrap_or_else(|faults| faults);
            faults.extend(found.into_iter().map(|fault| format!("{}: {fault}", file.display())));
        }
    }
    faults
}

/// The tests of one file that are not true.
fn failures(policies: &Path, file: &Path) -> Result<Vec<String>, Vec<String>> {
    let text = fs::read_to_string(file).map_err(|error| vec![error.to_string()])?;
    let id = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("# identity: "))
        .ok_or_else(|| vec!["the first line is not `# identity: spiffe://…`".to_owned()])?;
    let tests = Gate::default().parse("test.rego", text.as_bytes());
    let tests = tests.map_err(|refusals| vec![refusals.iter().map(ToString::to_string).collect()])?;
    let outcomes = Decider::for_identity(policies, id, Some(tests))?.evaluator.run_tests();
    if outcomes.is_empty() {
        return Ok(vec!["it has no tests".to_owned()]);
    }
    let failed = outcomes.into_iter().filter(|outcome| outcome.result != TestResult::Passed);
    Ok(failed.map(|outcome| format!("{}: {:?}", outcome.name, outcome.result)).collect())
}

/// Every command in a page that does not answer what the page says, and pages without a command.
fn wrong_pages(policies: &Path) -> Vec<String> {
    let folders = entries(policies).into_iter().filter(|path| path.is_dir());
    let mut faults = Vec::new();
    for folder in iter::once(policies.to_owned()).chain(folders) {
        let page = folder.join("README.md");
        let text = fs::read_to_string(&page).unwrap_or_default();
        let commands = commands(&text);
        if commands.is_empty() {
            faults.push(format!("{} has no `secctl policy eval` command", page.display()));
        }
        for (promise, command) in commands {
            match answer(policies, &command) {
                Ok(answer) if Some(&answer) == promise.as_ref() => {}
                Ok(answer) => faults.push(format!("{}: `{command}` answers: {answer}", page.display())),
                Err(refused) => faults.extend(refused),
            }
        }
    }
    faults
}

/// The commands of a page, each with the comment above it that says what it answers.
fn commands(page: &str) -> Vec<(Option<String>, String)> {
    let page = page.replace("\\\n", " ");
    let lines: Vec<&str> = page.lines().collect();
    let found = lines.iter().enumerate().filter(|(_, line)| line.starts_with("secctl policy eval"));
    found
        .map(|(at, line)| {
            let above = at.checked_sub(1).and_then(|above| lines.get(above));
            let promise = above.and_then(|line| line.strip_prefix("# ")).map(str::to_owned);
            (promise, (*line).to_owned())
        })
        .collect()
}

/// What a command answers, in the words of the pages.
fn answer(policies: &Path, command: &str) -> Result<String, Vec<String>> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let option = |name: &str| {
        let at = words.iter().position(|word| *word == name);
        at.and_then(|at| words.get(at + 1).copied()).ok_or_else(|| vec![format!("`{command}` has no {name}")])
    };
    // The commands are for the folder that holds `policies/`.
    let input = policies.join("..").join(option("--input")?);
    let input = fs::read(&input).map_err(|error| vec![format!("{}: {error}", input.display())])?;
    let input: Value = serde_json::from_slice(&input).map_err(|error| vec![error.to_string()])?;
    let mut decider = Decider::for_identity(policies, option("--spiffe-id")?, None)?;
    decider.decide(option("--decision")?, &input).map_err(|error| vec![error])
}

/// The bundle of one identity, ready to decide.
struct Decider {
    evaluator: Evaluator,
}

impl Decider {
    /// Compiles the bundle from the whole folder, and loads what its archive holds, with a test file beside it.
    fn for_identity(policies: &Path, id: &str, tests: Option<Arc<Module>>) -> Result<Self, Vec<String>> {
        let id = SpiffeId::parse(id).map_err(|error| vec![format!("{id}: {error}")])?;
        let manifests =
            directory::read(policies, &SourceOptions::default()).map_err(|error| vec![error.to_string()])?;
        // A file of tests may be about what is not in every bundle.
        let settings = Settings { envoy_adapter: true, ..Settings::new(id.trust_domain().clone()) };
        let compiled = compile::compile(&manifests.objects, &id, &settings, None);
        if !compiled.refusals.is_empty() {
            return Err(compiled.refusals.iter().map(ToString::to_string).collect());
        }
        let archive = Archive::read(&compiled.bundle.bytes()).map_err(|error| vec![error.to_string()])?;
        let mut modules = archive
            .parsed(Gate::default())
            .map_err(|refusals| refusals.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        modules.extend(tests);
        let evaluator = Evaluator::new(&modules, &archive.documents(), Limits::default())
            .map_err(|error| vec![error.to_string()])?;
        match evaluator.missing_builtins() {
            [] => Ok(Self { evaluator }),
            missing => Err(vec![format!("{id}: these functions cannot be tested here: {missing:?}")]),
        }
    }

    fn decide(&mut self, decision: &str, input: &Value) -> Result<String, String> {
        let package = format!("data.authbridge.{}", decision.replace('/', "."));
        let mut value = |rule: &str| {
            self.evaluator.decide(&format!("{package}.{rule}"), input).map_err(|error| error.to_string())
        };
        match value("allow")? {
            Some(Value::Bool(true)) => Ok("allowed".to_owned()),
            Some(Value::Bool(false)) => match value("reason")? {
                Some(Value::String(reason)) => Ok(format!("denied: {reason}")),
                reason => Err(format!("{decision} denies with the reason {reason:?}")),
            },
            allow => Err(format!("{decision} decides {allow:?}")),
        }
    }
}

/// What lies in a folder, by name.
fn entries(folder: &Path) -> BTreeSet<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// A folder of policies with one namespace policy, a test of it and a page.
#[expect(clippy::unwrap_used, reason = "without a folder there is no test")]
fn small_folder(content: &str, test: &str, page: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let case = folder.path().join("policies/case");
    fs::create_dir_all(&case).unwrap();
    let resource = json!({
        "apiVersion": "agent.kagenti.dev/v1alpha1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "a", "namespace": "a"},
        "spec": {"scope": "namespace", "policies": [{"path": "inbound/request.rego", "content": content}]},
    });
    fs::write(case.join("a.yaml"), resource.to_string()).unwrap();
    fs::write(case.join("a_test.rego"), test).unwrap();
    fs::write(case.join("README.md"), page).unwrap();
    fs::write(case.join("input.json"), "{\"x\": 1}").unwrap();
    fs::write(folder.path().join("policies/README.md"), page).unwrap();
    folder
}

const ALLOW_ONE: &str =
    "package authbridge.ns.inbound.request\ndefault allow := false\nallow if input.x == 1";
const TEST_ONE: &str = "# identity: spiffe://example.org/ns/a/sa/b\npackage t\n\
                        test_one if data.authbridge.inbound.request.allow with input as {\"x\": 1}";
const PAGE_ONE: &str = "# allowed\nsecctl policy eval --policies policies \\\n  --spiffe-id spiffe://example.org/ns/a/sa/b \
                        --decision inbound/request --input policies/case/input.json";

#[test]
fn finds_no_fault_in_a_sound_folder() {
    let folder = small_folder(ALLOW_ONE, TEST_ONE, PAGE_ONE);
    let policies = folder.path().join("policies");
    assert_eq!(refused_resources(&policies), NO_FAULTS);
    assert_eq!(failing_tests(&policies), NO_FAULTS);
    assert_eq!(wrong_pages(&policies), NO_FAULTS);
}

#[rstest]
#[case::failing(&TEST_ONE.replace("as {\"x\": 1}", "as {\"x\": 2}"), "data.t.test_one: Failed")]
#[case::without_tests("# identity: spiffe://example.org/ns/a/sa/b\npackage t\nx := 1", "it has no tests")]
#[case::without_identity("package t\ntest_one := true", "the first line is not")]
#[case::of_another_identity(&TEST_ONE.replace("/ns/a/", "/ns/b/"), "data.t.test_one: Failed")]
#[case::skipped(&TEST_ONE.replace("test_one", "todo_test_one"), "Skipped")]
#[case::not_rego("# identity: spiffe://example.org/ns/a/sa/b\npackage", "rego_parse_error")]
fn names_a_test_file_that_proves_nothing(#[case] test: &str, #[case] fault: &str) {
    let folder = small_folder(ALLOW_ONE, test, PAGE_ONE);
    let faults = failing_tests(&folder.path().join("policies"));
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("a_test.rego: ") && faults[0].contains(fault), "{faults:?}");
}

#[test]
fn names_a_folder_without_tests() {
    let folder = small_folder(ALLOW_ONE, TEST_ONE, PAGE_ONE);
    fs::create_dir(folder.path().join("policies/other")).unwrap();
    let faults = failing_tests(&folder.path().join("policies"));
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("other has no *_test.rego"), "{faults:?}");
}

#[rstest]
#[case::not_rego("package authbridge.ns.inbound.request\nallow if {")]
#[case::of_another_tier("package authbridge.inbound.request\nallow := true")]
fn names_a_refused_resource(#[case] content: &str) {
    let folder = small_folder(content, TEST_ONE, PAGE_ONE);
    let policies = folder.path().join("policies");
    for faults in [refused_resources(&policies), failing_tests(&policies), wrong_pages(&policies)] {
        assert!(faults.iter().any(|fault| fault.contains("a/a")), "{faults:?}");
    }
}

#[rstest]
#[case::wrong(&PAGE_ONE.replace("# allowed", "# denied: x"), "answers: allowed")]
#[case::without_promise(&PAGE_ONE.replace("# allowed", ""), "answers: allowed")]
#[case::without_input(&PAGE_ONE.replace("input.json", "missing.json"), "missing.json")]
#[case::empty("", "no `secctl policy eval`")]
fn names_a_page_that_is_wrong(#[case] page: &str, #[case] fault: &str) {
    let folder = small_folder(ALLOW_ONE, TEST_ONE, page);
    let faults = wrong_pages(&folder.path().join("policies"));
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults.iter().all(|found| found.contains(fault)), "{faults:?}");
}
