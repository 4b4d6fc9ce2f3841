//! The configuration file, the environment over it, and what is refused.

use std::fs;

use ca_daemon::Config;
use rstest::rstest;
use secplane_tests::{
    authority::CaFolder,
    process::{command, complaint, run},
    soon,
};

#[rstest]
#[case::unknown_key("validitty: {}", "validitty")]
#[case::unknown_nested_key("validity: {x509_svidd: 1h}", "x509_svidd")]
#[case::not_a_duration("validity: {x509_svid: soon}", "soon")]
#[case::zero("validity: {x509_svid: 0s}", "validity.x509_svid")]
#[case::longer_than_its_issuer("validity: {server: 48h}", "validity.server")]
#[case::issuer_longer_than_the_root("validity: {root: 30h}", "validity.issuing_ca")]
#[case::not_a_name("server_names: [\"a b\"]", "server_names")]
#[case::no_path("workload_api: {agent_path: \"/a//b\"}", "workload_api.agent_path")]
#[case::insecure_beyond_loopback("insecure: true\nlisten: 0.0.0.0:0", "not loopback")]
#[case::not_yaml("insecure: [", "not YAML")]
#[case::no_connections("connections: {handshakes: 0}", "`handshakes`")]
#[case::more_connections_than_there_are("connections: {peers: 1000001}", "`peers` is 1000001")]
#[case::not_a_number_of_connections("connections: {plain: -1}", "connections.plain")]
#[case::not_a_filter("log: {filter: \"ca_daemon=loud\"}", "log.filter")]
#[tokio::test]
async fn refuses_a_bad_file(#[case] bad: &str, #[case] named: &str) {
    let folder = CaFolder::new();
    let text = format!(
        "trust_domain: example.org\ndata_dir: {}\nwrapping_key: {{file: {}}}\n{bad}\n",
        folder.config.data_dir.display(),
        folder.path().join("wrapping.key").display(),
    );
    let path = folder.path().join("bad.yaml");
    fs::write(&path, text).unwrap();
    let said = complaint(&run(&["serve", "--config", path.to_str().unwrap()]).await);
    assert!(said.contains(named) && !said.contains(".rs:"), "{said}");
    assert!(!folder.config.data_dir.exists(), "nothing was begun");
}

#[rstest]
#[case::no_trust_domain("data_dir: d\nwrapping_key: {env: KEY}\n", "trust_domain")]
#[case::bad_trust_domain(
    "trust_domain: Example.org\ndata_dir: d\nwrapping_key: {env: KEY}\n",
    "`trust_domain`"
)]
#[case::empty("", "mapping")]
#[tokio::test]
async fn refuses_a_file_that_lacks_the_basics(#[case] text: &str, #[case] named: &str) {
    let folder = CaFolder::new();
    let path = folder.path().join("bad.yaml");
    fs::write(&path, text).unwrap();
    let said = complaint(&run(&["config", "print", "--config", path.to_str().unwrap()]).await);
    assert!(said.contains(named), "{said}");
}

#[tokio::test]
async fn refuses_a_file_that_is_not_there() {
    let said = complaint(&run(&["serve", "--config", "/nowhere/ca.yaml"]).await);
    assert!(said.contains("/nowhere/ca.yaml"), "{said}");
}

#[tokio::test]
async fn prints_what_it_reads() {
    let folder = CaFolder::new();
    let path = folder.write_config();
    let printed = run(&["config", "print", "--config", path.to_str().unwrap()]).await.stdout;
    fs::write(&path, &printed).unwrap();
    assert_eq!(Config::load(&path).unwrap(), folder.config);
}

#[tokio::test]
async fn puts_the_environment_over_the_file() {
    let folder = CaFolder::new();
    let path = folder.write_config();
    let printed = command(&["config", "print", "--config", path.to_str().unwrap()])
        .env("CA_DAEMON_VALIDITY__X509_SVID", "17m")
        .env("CA_DAEMON_LISTEN", "127.0.0.1:4711")
        .env("CA_DAEMON_SERVER_NAMES", "[a.example.org, b.example.org]")
        .env("CA_DAEMON_INSECURE", "true")
        .output();
    fs::write(&path, soon("ca-daemon ends", printed).await.unwrap().stdout).unwrap();

    let mut expected = folder.config.clone();
    expected.validity.x509_svid = std::time::Duration::from_secs(17 * 60);
    expected.listen = "127.0.0.1:4711".parse().unwrap();
    expected.server_names = vec!["a.example.org".to_owned(), "b.example.org".to_owned()];
    expected.insecure = true;
    assert_eq!(Config::load(&path).unwrap(), expected);
}

#[tokio::test]
async fn refuses_a_bad_variable_by_name() {
    let folder = CaFolder::new();
    let path = folder.write_config();
    let refused = command(&["serve", "--config", path.to_str().unwrap()])
        .env("CA_DAEMON_VALIDITY__X509_SVIDD", "17m")
        .output();
    let said = complaint(&soon("ca-daemon ends", refused).await.unwrap()).to_lowercase();
    assert!(said.contains("x509_svidd"), "{said}");
}

/// Whoever keeps the wrapping key in the environment will call the variable so.
#[tokio::test]
async fn never_shows_a_wrapping_key_of_the_environment() {
    const KEY: &str = "fMHsVCBk7YMHXFW6tBvXJzTMNwtnLdcWVIdqL3Yf0eA=";
    let folder = CaFolder::new();
    let path = folder.path().join("ca.yaml");
    let data_dir = folder.config.data_dir.display();
    let text = format!(
        "trust_domain: example.org\ndata_dir: {data_dir}\nwrapping_key: {{env: CA_DAEMON_WRAPPING_KEY}}\n"
    );
    fs::write(&path, text).unwrap();
    let config = path.to_str().unwrap();
    let print = command(&["config", "print", "--config", config]).env("CA_DAEMON_WRAPPING_KEY", KEY).output();
    let printed = soon("ca-daemon ends", print).await.unwrap();
    let said = [printed.stdout, printed.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(!said.contains(KEY), "{said}");
    assert!(printed.status.success(), "the key may be kept under this name: {said}");
    assert!(said.contains("CA_DAEMON_WRAPPING_KEY"), "{said}");
}
