//! Running the tests that a tier's resources bring, before the tier is published.

use std::time::Instant;

use secplane_rego::evaluate::REVISION;
use serde_json::{Map, Value, json};

use super::{
    Policies,
    documents::merged,
    misfits::is_unjudged,
    parts::Parts,
    publication::PassedTests,
    tested::Tested,
    tier::{ParsedModule, completed},
};
use crate::{
    digest::Digest,
    policy::ResourceKey,
    policy_tests::{
        NamedModule, Outcome, TestEnd, TestFailure, TestLimits, TestReport, TestRequest, TestSummary,
    },
    refusal::Refusal,
    tiers::{TierKey, TierKind},
};

/// How long one test may take.
const ONE_MS: u64 = 1000;
/// What evaluates tests comes with the release.
const RELEASE: &str = env!("CARGO_PKG_VERSION");
/// The code of refusals of what did not end within its limits.
const LIMITS: &str = "test_limits";
/// That of refusals of what was not tested: for lack of time, or of a child.
const BUDGET: &str = "test_budget";
const START: &str = "test_start";

impl Policies {
    /// The tests that each tier's resources bring, ready to run, for tiers that have some.
    #[must_use]
    pub fn tests(&self) -> Vec<(TierKey, TestRequest)> {
        let of_tier = |tier: &TierKey| {
            let parts = self.last_parts(tier);
            (!parts.tests.is_empty()).then(|| (tier.clone(), request(tier.kind(), &parts)))
        };
        self.members.keys().filter_map(of_tier).collect()
    }

    /// What last stood in a tier.
    fn last_parts(&self, tier: &TierKey) -> Parts {
        let resources = self.members(tier).filter_map(|key| self.resources.get(key));
        let standing = resources.filter_map(|resource| resource.last_in(tier));
        let parts = Parts::together(standing.map(|version| version.parts.as_ref()));
        if tier.kind() == TierKind::Global { completed(parts) } else { parts }
    }

    /// Whether the tests of what stands in a tier did not end, and are not run again yet.
    pub(super) fn are_tests_put_off(&self, tier: &TierKey) -> bool {
        let content = self.content_of_tests(tier.kind(), &self.last_parts(tier));
        self.postponed.refusals(&content, self.now).is_some()
    }

    /// What the tests among parts say against them. The same content is tested once.
    pub(super) fn failed_tests(&mut self, kind: TierKind, parts: &Parts) -> Vec<Refusal> {
        let Some(tester) = self.tester.clone().filter(|_| !parts.tests.is_empty()) else { return Vec::new() };
        let request = request(kind, parts);
        let content = identify(&request, tester.limits());
        if let Some(known) = self.tested.get(&content) {
            return known.refusals.clone();
        }
        if let Some(refusals) = self.postponed.refusals(&content, self.now) {
            return refusals;
        }
        if self.deferred || self.left.is_spent() {
            self.unrun = true;
            return vec![unrun(self.deferred)];
        }
        let began = Instant::now();
        let ended = tester.run(&request);
        self.left.spend(began.elapsed());
        let (refusals, summary) = match ended {
            Ok(report) => {
                tracing::info!(
                    tests = report.outcomes.len(),
                    covered = report.covered_percent(),
                    "policies tested"
                );
                (failures(&report, &parts.tests), Some(report.summary()))
            }
            Err(failure @ TestFailure::Limits(_)) => {
                let advice = "make the tests smaller; the same are tried again after a pause";
                let refusals = vec![Refusal::new(LIMITS, failure.to_string()).suggest(advice)];
                self.left.overrun();
                self.postponed.put_off(content, refusals.clone(), self.now);
                return refusals;
            }
            // That there is no child is no property of the content: it is tried again soon.
            Err(failure @ TestFailure::Start(_)) => {
                self.unrun = true;
                let advice = "it is no fault of the policy: wait, it is tried again";
                return vec![Refusal::new(START, failure.to_string()).suggest(advice)];
            }
            Err(failure) => (vec![Refusal::new("test", failure.to_string())], None),
        };
        self.tested.remember(content, Tested { refusals: refusals.clone(), summary });
        refusals
    }

    /// Remembers of parts whose tests were run apart that they passed.
    pub(super) fn remember_passed(&mut self, kind: TierKind, parts: &Parts, summary: TestSummary) {
        self.tested.remember(self.content_of_tests(kind, parts), Tested::passed(summary));
    }

    fn content_of_tests(&self, kind: TierKind, parts: &Parts) -> Digest {
        identify(&request(kind, parts), self.tester.as_ref().and_then(|tester| tester.limits()))
    }

    /// The tests of parts that stand together, if they have run and passed.
    pub(super) fn passed_tests(&self, kind: TierKind, parts: &Parts) -> Option<PassedTests> {
        if parts.tests.is_empty() {
            return None;
        }
        let content = self.content_of_tests(kind, parts);
        let known = self.tested.get(&content)?;
        let summary = known.summary.filter(|_| known.refusals.is_empty())?;
        Some(PassedTests { content, summary })
    }
}

/// Whether a refusal says no more than that nothing is known yet.
pub(super) fn is_untested(refusal: &Refusal) -> bool {
    [LIMITS, BUDGET, START].contains(&refusal.code.as_str()) || is_unjudged(refusal)
}

/// Whether a refusal says that there was no time to test or to look.
pub(super) fn is_out_of_time(refusal: &Refusal) -> bool {
    refusal.code == BUDGET || is_unjudged(refusal)
}

/// Whether a refusal says that tests did not end.
pub(super) fn is_overrun(refusal: &Refusal) -> bool {
    refusal.code == LIMITS
}

/// What is refused because the tests of another resource do not end, whether with it or without it.
pub(super) fn overrun(owner: &ResourceKey) -> Refusal {
    let message = format!(
        "it was not tested: the tests of {owner} do not end within their limits, and do not without it either"
    );
    Refusal::new(LIMITS, message)
        .suggest("make the tests of that one smaller; nothing is wrong with this one")
}

fn unrun(at_a_start: bool) -> Refusal {
    let message = match at_a_start {
        true => "its tests were not run yet: the service has just started, and did not wait for them",
        false => {
            "its tests were not run: those of its namespace have had all the time that they have for now"
        }
    };
    Refusal::new(BUDGET, message)
        .suggest("correct what is refused beside it because its tests do not end, or wait: it is tried again")
}

/// What tests of a tier see: the tier, its documents, and no other tier.
fn request(kind: TierKind, parts: &Parts) -> TestRequest {
    let named = |modules: &[ParsedModule]| {
        let named = |part: &ParsedModule| NamedModule {
            name: part.module.file().to_string(),
            text: part.module.text().to_owned(),
        };
        modules.iter().map(named).collect()
    };
    TestRequest {
        modules: named(&parts.modules),
        tests: named(&parts.tests),
        data: data(kind, parts),
        one_ms: ONE_MS,
    }
}

fn data(kind: TierKind, parts: &Parts) -> Value {
    let documents = merged(&parts.documents).and_then(|text| serde_json::from_str(&text).ok());
    let mut data: Value = documents.unwrap_or_else(|| Value::Object(Map::new()));
    for name in kind.root().iter().rev() {
        data = json!({ *name: data });
    }
    data["authbridge"]["settings"] = json!({ "require_client_policy": false, "require_fresh_bundle": false });
    data["authbridge"]["identity"] = json!({});
    data
}

/// What identifies all that decides what tests come to. It is kept on disk.
fn identify(request: &TestRequest, limits: Option<TestLimits>) -> Digest {
    let (modules, limit) = (request.modules.len().to_string(), request.one_ms.to_string());
    // Another engine may come to something else, and so may a child that has less.
    let engine = format!("{RELEASE} {REVISION}");
    let limits = limits.map(|limits| format!("{} ms, {} bytes", limits.all.as_millis(), limits.memory));
    let head = [engine, limit, limits.unwrap_or_default(), modules, request.data.to_string()];
    let modules = request.modules.iter().chain(&request.tests);
    let texts = modules.flat_map(|module| [module.name.as_bytes(), module.text.as_bytes()]);
    Digest::of(&head.iter().map(String::as_bytes).chain(texts).collect::<Vec<_>>())
}

/// A refusal for each test that failed, where it is.
fn failures(report: &TestReport, tests: &[ParsedModule]) -> Vec<Refusal> {
    let refusal = |outcome: &Outcome| {
        let why = match &outcome.result {
            TestEnd::Passed | TestEnd::Skipped => return None,
            TestEnd::Failed => "fails".to_owned(),
            TestEnd::Error(why) => format!("cannot be evaluated: {why}"),
        };
        let refusal = Refusal::new("test", format!("the test `{}` {why}", outcome.test))
            .suggest("correct the policy or its test; until then what was in force stays so");
        let part = tests.iter().find(|part| part.module.file().as_ref() == outcome.module);
        let refusal = match part {
            Some(ParsedModule { owner: Some(owner), path, .. }) => refusal.of(owner).in_module(path),
            _ => refusal,
        };
        let line = usize::try_from(outcome.line).ok().and_then(|line| line.checked_sub(1));
        let source = part.zip(line).and_then(|(part, line)| part.module.text().lines().nth(line));
        let source_line = source.unwrap_or_default().to_owned();
        Some(Refusal { line: outcome.line, source_line, ..refusal })
    };
    report.outcomes.iter().filter_map(refusal).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_contents_apart_by_all_that_goes_into_tests() {
        let module = |text: &str| NamedModule { name: "a".to_owned(), text: text.to_owned() };
        let request = || TestRequest {
            modules: vec![module("x")],
            tests: vec![module("y")],
            data: json!({}),
            one_ms: 1,
        };
        let others = [
            TestRequest { modules: vec![module("z")], ..request() },
            TestRequest { modules: vec![module("x"), module("y")], tests: Vec::new(), ..request() },
            TestRequest { tests: vec![module("z")], ..request() },
            TestRequest { data: json!({"a": 1}), ..request() },
            TestRequest { one_ms: 2, ..request() },
        ];
        let limits = TestLimits::default();
        let identity = identify(&request(), Some(limits));
        assert_eq!(identify(&request(), Some(limits)), identity);
        assert!(others.iter().all(|other| identify(other, Some(limits)) != identity));
        let others = [
            None,
            Some(TestLimits { all: limits.all * 2, ..limits }),
            Some(TestLimits { memory: limits.memory / 2, ..limits }),
        ];
        assert!(others.into_iter().all(|other| identify(&request(), other) != identity));
    }
}
