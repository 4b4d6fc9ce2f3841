//! `--config`: policies are checked, built and tried as the bundle service of that configuration would take them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{fs, process::Command};

use rstest::rstest;
use tempfile::TempDir;

const WEB: &str = "spiffe://example.org/ns/demo/sa/web";
const ALLOW: &str = "allow := true";

fn secctl(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(assert_cmd::cargo::cargo_bin!("secctl")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A policy demo/web whose client ID is `agent`, the service's configuration with a line of its own, and an input.
struct Folder(TempDir);

impl Folder {
    fn new(scope: &str, rule: &str, line: &str) -> Self {
        let tier = match scope {
            "global" => "authbridge",
            "namespace" => "authbridge.ns",
            _ => "authbridge.client",
        };
        let folder = Self(tempfile::tempdir().unwrap());
        fs::create_dir(folder.path("policies")).unwrap();
        let manifest = format!(
            "apiVersion: agent.kagenti.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: web, namespace: \
             demo}}\nspec:\n  scope: {scope}\n  clientID: agent\n  policies:\n    - path: inbound/request.rego\n      \
             content: |\n        package {tier}.inbound.request\n\n        {rule}\n"
        );
        fs::write(folder.path("policies/web.yaml"), manifest).unwrap();
        let source = if line.starts_with("source:") { "" } else { "source: {directory: /nowhere}" };
        let config = format!("workload_api: unix:/a\n{source}\n{line}\n");
        fs::write(folder.path("service.yaml"), config).unwrap();
        fs::write(folder.path("input.json"), "{}").unwrap();
        folder
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// The exit status of `policy check`, and what it prints.
    fn check(&self, more: &[&str]) -> (i32, String) {
        let policies = self.path("policies");
        let check: [&str; 3] = ["policy", "check", &policies];
        let (status, stdout, stderr) = secctl(&[&check[..], more].concat());
        (status, format!("{stdout}{stderr}"))
    }

    /// Whether the identity's bundle allows the request.
    fn allows(&self, id: &str, more: &[&str]) -> bool {
        let (policies, input) = (self.path("policies"), self.path("input.json"));
        let whose: [&str; 6] = ["policy", "eval", "--policies", &policies, "--spiffe-id", id];
        let what: [&str; 4] = ["--decision", "inbound/request", "--input", &input];
        let (status, stdout, stderr) = secctl(&[&whose[..], &what[..], more].concat());
        assert_eq!(status, 0, "{stderr}");
        stdout.starts_with("allow")
    }
}

#[test]
fn takes_global_policies_of_the_configured_namespace() {
    let folder = Folder::new("global", ALLOW, "system_namespace: demo");
    let (status, printed) = folder.check(&[]);
    assert!(status == 7 && printed.contains("secplane-system"), "{printed}");
    let (status, printed) = folder.check(&["--config", &folder.path("service.yaml")]);
    assert!(status == 0 && printed.contains("none refused"), "{printed}");
}

#[test]
fn checks_for_the_configured_opa_unless_another_is_given() {
    let rule = "import future.keywords.and\n\n        allow if input.a and input.b";
    let folder = Folder::new("client", rule, "opa_version: v1.20");
    let config = folder.path("service.yaml");
    let (status, printed) = folder.check(&["--config", &config]);
    assert_eq!(status, 0, "{printed}");
    let (status, printed) = folder.check(&["--config", &config, "--opa-version", "1.18"]);
    assert_eq!(status, 7, "1.18 has no such keyword: {printed}");
    let (status, printed) = folder.check(&[]);
    assert_eq!(status, 7, "it is the default: {printed}");
}

#[rstest]
#[case::another_path(
    "client",
    "path_template: '/k8s/{service_account}/in/{namespace}'",
    "spiffe://example.org/k8s/web/in/demo",
    false
)]
#[case::the_client_id("client", "client_selector: clientID", "spiffe://example.org/ns/demo/sa/agent", false)]
#[case::a_client_policy_is_required("namespace", "require_client_policy: true", WEB, true)]
#[case::another_trust_domain("namespace", "trust_domain: example.com", WEB, true)]
#[case::another_group(
    "namespace",
    "source: {directory: /nowhere, api_groups: [agent.rossoctl.dev]}",
    WEB,
    true
)]
fn decides_as_the_service_is_configured(
    #[case] scope: &str,
    #[case] line: &str,
    #[case] id: &str,
    #[case] by_default: bool,
) {
    let folder = Folder::new(scope, ALLOW, line);
    assert_eq!(folder.allows(id, &[]), by_default);
    assert_eq!(folder.allows(id, &["--config", &folder.path("service.yaml")]), !by_default);
}

#[test]
fn builds_as_the_service_is_configured() {
    let folder = Folder::new("namespace", ALLOW, "envoy_adapter: true\nbundle_lifetime: 24h");
    let (policies, bundle, config) =
        (folder.path("policies"), folder.path("web.tar.gz"), folder.path("service.yaml"));
    let roots = |more: &[&str]| {
        let build: [&str; 8] =
            ["bundle", "build", "--policies", &policies, "--spiffe-id", WEB, "--out", &bundle];
        let (status, _, stderr) = secctl(&[&build[..], more].concat());
        assert_eq!(status, 0, "{stderr}");
        let (_, stdout, _) = secctl(&["--output", "json", "bundle", "inspect", &bundle]);
        serde_json::from_str::<serde_json::Value>(&stdout).unwrap()["roots"].clone()
    };
    assert_eq!(roots(&[]), serde_json::json!(["authbridge"]));
    assert_eq!(roots(&["--config", &config]), serde_json::json!(["authbridge", "envoy"]));
    assert!(folder.allows(WEB, &["--config", &config]), "it has no end that would be over");
}

#[test]
fn refuses_a_configuration_that_the_service_would_refuse() {
    let folder = Folder::new("client", ALLOW, "system_namespace: ''");
    let (status, printed) = folder.check(&["--config", &folder.path("service.yaml")]);
    assert!(status == 6 && printed.contains("system_namespace"), "{printed}");
    let (status, printed) = folder.check(&["--config", "/nonexistent/service.yaml"]);
    assert!(status == 5 && printed.contains("/nonexistent/service.yaml"), "{printed}");
}
