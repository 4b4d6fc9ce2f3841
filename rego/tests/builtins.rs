//! Built-in functions that the engine lacks or does otherwise, against what OPA answers: `tests/interop` runs the same
//! file with `opa test`.

use std::fs;

use secplane_rego::{
    Gate,
    evaluate::{Evaluator, Limits, TestResult},
};
use serde_json::json;

#[test]
fn answers_as_opa_does() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/builtins/builtins_test.rego");
    let gate = Gate::default();
    let module = gate.parse("builtins_test.rego", &fs::read(path).unwrap()).unwrap();
    assert_eq!(gate.check(std::slice::from_ref(&module)), []);
    let mut evaluator = Evaluator::new(&[module], &json!({}), Limits::default()).unwrap();
    assert_eq!(evaluator.missing_builtins(), [""; 0]);
    let outcomes = evaluator.run_tests();
    let others: Vec<_> = outcomes
        .iter()
        .filter(|outcome| outcome.result != TestResult::Passed)
        .map(|o| (&o.name, &o.result))
        .collect();
    assert!(others.is_empty(), "{others:#?}");
    assert!(outcomes.len() > 50, "only {} tests were found", outcomes.len());
}
