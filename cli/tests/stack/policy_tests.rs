//! Tests that travel with a policy, in a service that runs.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::json;

use crate::home::{Home, LONG, Running, copy, policies, secctl};

const TEST: &str = "package authbridge.ns.limits_test\n\nimport data.authbridge.ns.limits\n\n\
                    test_few_calls if limits.most < 10\n";

/// Writes the policy `limits` of a namespace.
fn write(home: &Home, namespace: &str, most: u32, test: Option<&str>) {
    let module = format!("package authbridge.ns.limits\n\nmost := {most}\n");
    let mut parts = vec![json!({"path": "limits.rego", "content": module})];
    parts.extend(test.map(|test| json!({"path": "limits_test.rego", "content": test})));
    let manifest = json!({
        "apiVersion": "agent.kagenti.dev/v1alpha1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "limits", "namespace": namespace},
        "spec": {"scope": "namespace", "policies": parts},
    });
    let file = home.path("policies").join(format!("{namespace}.yaml"));
    fs::write(file, manifest.to_string()).unwrap();
}

/// How many versions of that policy came into force, once they are at least so many.
fn versions(home: &Home, namespace: &str, least: usize) -> usize {
    let resource = format!("{namespace}/limits");
    let given_up = Instant::now() + LONG;
    loop {
        let history = home.ok(&["bundle", "history", "--resource", &resource]);
        let number = history["entries"].as_array().unwrap().len();
        if number >= least {
            return number;
        }
        assert!(Instant::now() < given_up, "of {resource} less than {least} versions came into force");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn keep_out_a_change_that_fails_them() {
    let home = Home::new();
    copy(&policies(), &home.path("policies"));
    write(&home, "tested", 3, Some(TEST));
    write(&home, "untested", 3, None);
    let stack =
        Running::start_command(secctl().current_dir(home.0.path()).args(["dev", "--policies", "policies"]));
    assert_eq!(versions(&home, "tested", 1), 1);

    write(&home, "tested", 30, Some(TEST));
    // Whoever has read this has read the one before.
    write(&home, "untested", 30, None);
    assert_eq!(versions(&home, "untested", 2), 2);
    assert_eq!(versions(&home, "tested", 1), 1, "what fails its test does not come into force");

    write(&home, "tested", 4, Some(TEST));
    assert_eq!(versions(&home, "tested", 2), 2);
    assert!(stack.end(Signal::TERM).success());
}
