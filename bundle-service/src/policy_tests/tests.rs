//! What tests come to, in this process. How the child is held is tested with the real program.

use rstest::rstest;
use serde_json::json;

use super::{worker::report, *};

fn request(tested: &str, tests: &str) -> TestRequest {
    let module = |name: &str, text: &str| NamedModule { name: name.to_owned(), text: text.to_owned() };
    TestRequest {
        modules: vec![module("tested", tested)],
        tests: vec![module("tests", tests)],
        data: json!({"known": 1}),
        one_ms: 1000,
    }
}

const TESTED: &str = "package a\n\nallow if input.x == data.known\n\nallow if {\n\tinput.y == 2\n}\n";

#[rstest]
#[case(
    "test_a if allow_with_one\n\nallow_with_one if data.a.allow with input as {\"x\": 1}",
    TestEnd::Passed,
    3
)]
#[case("\n\ntest_a if data.a.allow with input as {\"x\": 2}", TestEnd::Failed, 5)]
#[case("todo_test_a if false", TestEnd::Skipped, 3)]
fn tells_how_a_test_ended_and_where(#[case] tests: &str, #[case] result: TestEnd, #[case] line: u32) {
    let report = report(&request(TESTED, &format!("package t\n\n{tests}\n"))).unwrap();
    assert_eq!(report.outcomes.len(), 1);
    assert_eq!((&report.outcomes[0].result, report.outcomes[0].line), (&result, line));
}

#[test]
fn tells_what_the_tests_went_through() {
    let tests = "package t\n\ntest_a if data.a.allow with input as {\"x\": 1}\n";
    let report = report(&request(TESTED, tests)).unwrap();
    assert_eq!(report.coverage.len(), 1, "of what is tested, not of the tests");
    assert!(report.coverage[0].covered.contains(&3), "{:?}", report.coverage);
    assert!(report.covered_percent() > 0.0);
}

#[rstest]
#[case::not_rego("package t\n\ntest_a if {")]
#[case::a_function_that_is_missing("package t\n\ntest_a if crypto.x509.parse_certificates(\"x\")")]
fn says_why_tests_cannot_be_run(#[case] tests: &str) {
    assert!(report(&request(TESTED, tests)).is_err());
}
