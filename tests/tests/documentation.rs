//! What the documentation says is what the programs do.

use std::{env, fs, path::PathBuf};

use ca_daemon::audit::Action;
use secplane_configuration::{from_yaml, markdown};

/// Set it to write the page anew.
const UPDATE: &str = "UPDATE_DOCUMENTATION";

fn documentation(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

fn configuration_page() -> String {
    let ca_daemon = markdown::<ca_daemon::Config>(ca_daemon::config::ENV_PREFIX);
    let bundle_service = markdown::<bundle_service::Config>(bundle_service::config::ENV_PREFIX);
    format!(
        "# Configuration

Made from the configuration types; `{UPDATE}=1 cargo test -p secplane-tests --test documentation` writes it anew.

Each daemon reads a YAML file, `serve --config FILE`. An environment variable overrides the key beside it, and
`config print --config FILE` shows the result. An unknown key is an error. Lifetimes are text such as `90s`, `1h`,
`30d`. The files in [examples/](examples/) hold the least that each needs.

## ca-daemon

{ca_daemon}
## bundle-service

{bundle_service}"
    )
}

#[test]
fn describes_every_key_of_the_configuration() {
    let page = configuration_page();
    let path = documentation("configuration.md");
    if env::var_os(UPDATE).is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/configuration.md is out of date; run this test with {UPDATE}=1");
}

#[test]
fn gives_examples_that_load() {
    let read = |name: &str| fs::read_to_string(documentation("examples").join(name)).unwrap();
    from_yaml::<ca_daemon::Config>(&read("ca-daemon.yaml")).unwrap().check().unwrap();
    for name in ["bundle-service.yaml", "bundle-service-sources.yaml", "bundle-service-kubernetes.yaml"] {
        from_yaml::<bundle_service::Config>(&read(name)).unwrap().check().unwrap();
    }
}

#[test]
fn links_to_pages_that_are_there() {
    let root = documentation("..");
    for page in [
        "README.md",
        "docs/architecture.md",
        "docs/threat-model.md",
        "docs/lessons.md",
        "docs/operations.md",
        "docs/rotation.md",
        "docs/upstream.md",
        "docs/kubernetes.md",
        "docs/decisions/README.md",
    ] {
        let text = fs::read_to_string(root.join(page)).unwrap();
        let folder = root.join(page).parent().unwrap().to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !target.contains("://") && !target.starts_with('#') {
                assert!(folder.join(target).exists(), "{page} links to {target}, which is not there");
            }
        }
    }
}

/// docs/audit.md names exactly the actions that there are. A name that begins with a dot belongs to those before it.
#[test]
fn names_every_action_of_the_audit_log() {
    let page = fs::read_to_string(documentation("audit.md")).unwrap();
    let (_, section) = page.split_once("\n## What is recorded\n").unwrap();
    let mut documented = Vec::new();
    for row in section.lines().take_while(|line| !line.starts_with("## ")) {
        let Some(names) = row.strip_prefix("| `").and_then(|rest| rest.split('|').next()) else { continue };
        let mut group = "";
        for name in names.split('`').step_by(2).filter(|name| !name.is_empty()) {
            match name.strip_prefix('.') {
                Some(step) => documented.push(format!("{group}.{step}")),
                None => {
                    group = name.split_once('.').unwrap().0;
                    documented.push(name.to_owned());
                }
            }
        }
    }
    documented.sort_unstable();
    let mut actions: Vec<_> = Action::ALL.iter().map(|action| action.as_str().to_owned()).collect();
    actions.sort_unstable();
    assert_eq!(documented, actions);
}

/// Each lesson stands with tests that are there, and that are run.
#[test]
fn names_tests_for_every_lesson() {
    let root = documentation("..");
    let page = fs::read_to_string(documentation("lessons.md")).unwrap();
    let mut lessons = 0;
    for row in page.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let mut file = String::new();
        let mut tests = 0;
        for name in row.rsplit('|').nth(1).unwrap().split('`').skip(1).step_by(2) {
            if name.ends_with(".rs") {
                file = fs::read_to_string(root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
                continue;
            }
            let test = file.split_once(&format!("fn {name}(")).map(|(before, _)| before);
            let attributes = test.and_then(|before| before.rsplit("\n\n").next());
            let is_test = attributes.is_some_and(|text| text.contains("test]") || text.contains("test("));
            assert!(is_test, "there is no test `{name}`, which a lesson names: {row}");
            assert!(!attributes.unwrap().contains("#[ignore"), "`{name}` is not run");
            tests += 1;
        }
        assert!(tests > 0, "a lesson without a test: {row}");
        lessons += 1;
    }
    assert!(lessons >= 14, "{lessons} lessons");
}
