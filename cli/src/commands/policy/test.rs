//! `secctl policy test`: the tests that travel in resources, and those that lie beside them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bundle_service::{
    compile::{Archive, Policies, Settings},
    policy_tests::{NamedModule, Outcome, TestEnd, TestReport, TestRequest, Tester},
    source::Manifests,
};
use clap::Args;
use secplane_identity::{SpiffeId, TrustDomain};
use serde::Serialize;

use super::{Service, ServiceOptions, changes, compiled, read_manifests, tester};
use crate::{
    failure::{Failure, Kind},
    files,
    output::{Output, Report, rows, visible},
};

/// What the first line of a file of tests begins with.
const IDENTITY: &str = "# identity: ";
/// The largest file of tests.
const MAX_TEST_BYTES: usize = 1024 * 1024;
/// How deep folders are looked into.
const MAX_DEPTH: usize = 16;
/// How long one test of a file may take: its author runs it.
const ONE_MS: u64 = 5000;

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// The folder, read with everything below it
    #[arg(value_name = "DIR", default_value = "./policies")]
    policies: PathBuf,
    #[command(flatten)]
    service: ServiceOptions,
    /// The trust domain of the identities that the policies are for; that of --config or example.org otherwise
    #[arg(long, value_name = "NAME")]
    trust_domain: Option<TrustDomain>,
    /// Name the lines that no test went through
    #[arg(long)]
    uncovered: bool,
}

pub(super) fn test(output: Output, args: &TestArgs) -> Result<(), Failure> {
    let what = || format!("test the policies in `{}`", args.policies.display());
    let service = args.service.load()?;
    let manifests = read_manifests(&args.policies, &service)?;
    let settings = service.settings_in(args.trust_domain.as_ref())?;
    let tester = tester()?;
    let mut suites: Vec<Suite> = traveling(&manifests, settings)
        .into_iter()
        .map(|(name, request)| Suite::run(&tester, name, &request, args.uncovered))
        .collect();
    for path in test_files(&args.policies, 0)? {
        let request = beside(&manifests, &path, &service)?;
        suites.push(Suite::run(&tester, path.display().to_string(), &request, args.uncovered));
    }
    let tested = TestedPolicies::of(suites);
    let (tests, failed) = (tested.tests, tested.failed);
    output.report(&tested)?;
    match (tests, failed) {
        (0, _) => Err(Failure::new(Kind::CheckFailed, what(), "there is no test").remedy(
            "add a module whose path ends in `_test.rego` to a resource, or such a file beside the manifests",
        )),
        (_, 0) => Ok(()),
        _ => Err(Failure::new(Kind::CheckFailed, what(), format_args!("failed: {failed}"))),
    }
}

/// The tests in resources, a suite for each tier, as the service runs them before it publishes.
fn traveling(manifests: &Manifests, settings: Settings) -> Vec<(String, TestRequest)> {
    let mut policies = Policies::new(settings).for_one_alone();
    policies.apply(&changes(manifests));
    policies.tests().into_iter().map(|(tier, request)| (tier.to_string(), request)).collect()
}

/// Every `*_test.rego` below a folder.
fn test_files(folder: &Path, depth: usize) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error| Failure::from_io(format!("read `{}`", folder.display()), &error);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() && depth < MAX_DEPTH {
            found.extend(test_files(&path, depth + 1)?);
        } else if name.ends_with("_test.rego") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// A file of tests with the bundle of the identity that its first line names.
fn beside(manifests: &Manifests, path: &Path, service: &Service) -> Result<TestRequest, Failure> {
    let what = || format!("read the tests in `{}`", path.display());
    let text = files::read_text(path, MAX_TEST_BYTES)?;
    let id = text.lines().next().and_then(|line| line.strip_prefix(IDENTITY)).ok_or_else(|| {
        Failure::refused(what(), "its first line does not say whose bundle it tests")
            .remedy("begin it with `# identity: spiffe://…`")
    })?;
    let id = SpiffeId::parse(id.trim()).map_err(|error| Failure::refused(what(), error))?;
    let bundle: Archive = compiled(manifests, &id, service)?;
    let data = bundle.documents();
    let named = |name: String, text: String| NamedModule { name, text };
    Ok(TestRequest {
        modules: bundle.modules.into_iter().map(|module| named(module.name, module.text)).collect(),
        tests: vec![named(path.display().to_string(), text)],
        data,
        one_ms: ONE_MS,
    })
}

#[derive(Serialize)]
struct TestedPolicies {
    tests: usize,
    failed: usize,
    suites: Vec<Suite>,
}

#[derive(Serialize)]
struct Suite {
    /// The tier, or the file.
    name: String,
    outcomes: Vec<Outcome>,
    /// Why nothing could be run.
    error: Option<String>,
    /// The share of lines that the tests went through.
    covered_percent: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    uncovered: Vec<Uncovered>,
}

#[derive(Serialize)]
struct Uncovered {
    module: String,
    lines: Vec<u32>,
}

impl Suite {
    fn run(tester: &impl Tester, name: String, request: &TestRequest, uncovered: bool) -> Self {
        let (report, error) = match tester.run(request) {
            Ok(report) => (report, None),
            Err(failure) => (TestReport::default(), Some(failure.to_string())),
        };
        let missed = report.coverage.iter().filter(|module| uncovered && !module.not_covered.is_empty());
        let missed = missed.map(|module| Uncovered {
            module: module.module.clone(),
            lines: module.not_covered.iter().copied().collect(),
        });
        let percent = (report.covered_percent() * 10.0).round() / 10.0;
        Self { name, uncovered: missed.collect(), covered_percent: percent, outcomes: report.outcomes, error }
    }
}

impl TestedPolicies {
    fn of(suites: Vec<Suite>) -> Self {
        let outcomes = || suites.iter().flat_map(|suite| &suite.outcomes);
        let failed =
            outcomes().filter(|outcome| matches!(outcome.result, TestEnd::Failed | TestEnd::Error(_)));
        let failed = failed.count() + suites.iter().filter(|suite| suite.error.is_some()).count();
        Self { tests: outcomes().count(), failed, suites }
    }
}

impl Report for TestedPolicies {
    fn table(&self) -> String {
        let suites = rows(
            ["TESTS OF", "PASSED", "FAILED", "SKIPPED", "COVERED"],
            self.suites.iter().map(|suite| {
                let count = |wanted: fn(&TestEnd) -> bool| {
                    suite.outcomes.iter().filter(|outcome| wanted(&outcome.result)).count().to_string()
                };
                [
                    suite.name.clone(),
                    count(|end| *end == TestEnd::Passed),
                    count(|end| matches!(end, TestEnd::Failed | TestEnd::Error(_))),
                    count(|end| *end == TestEnd::Skipped),
                    format!("{:.0} %", suite.covered_percent),
                ]
            }),
            "no tests",
        );
        let failures = self.suites.iter().flat_map(|suite| {
            let error = suite.error.iter().map(|why| format!("{}: {why}", suite.name));
            let failed = suite.outcomes.iter().filter_map(|outcome| {
                let why = match &outcome.result {
                    TestEnd::Failed => "it is not true",
                    TestEnd::Error(why) => why,
                    TestEnd::Passed | TestEnd::Skipped => return None,
                };
                Some(format!("{}:{}: {} failed: {why}", outcome.module, outcome.line, outcome.test))
            });
            error.chain(failed).collect::<Vec<_>>()
        });
        let missed = self.suites.iter().flat_map(|suite| &suite.uncovered).map(|missed| {
            let lines: Vec<String> = missed.lines.iter().map(ToString::to_string).collect();
            format!("{}: not covered: {}", missed.module, lines.join(", "))
        });
        let more: Vec<String> = failures.chain(missed).map(|line| visible(&line)).collect();
        std::iter::once(suites).chain(more).collect::<Vec<_>>().join("\n")
    }
}
