//! What `ca-daemon doctor` sees.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    time::{Duration, SystemTime},
};

use ca_daemon::{
    instant::Clock,
    operations::doctor::{Finding, Verdict, examine},
};
use secplane_tests::{
    authority::{Ca, CaFolder},
    database::Database,
    process::run,
};

const YEAR: Duration = Duration::from_secs(31_557_600);

async fn findings(folder: &CaFolder) -> Vec<Finding> {
    examine(&folder.config).await.findings().to_vec()
}

/// What a check found, the worst of it.
async fn finding(folder: &CaFolder, check: &str) -> Finding {
    let findings = findings(folder).await;
    let of_check = findings.iter().filter(|finding| finding.check == check);
    of_check
        .max_by_key(|finding| finding.verdict)
        .unwrap_or_else(|| panic!("no {check}: {findings:?}"))
        .clone()
}

#[tokio::test]
async fn finds_nothing_wrong_with_an_authority_that_is_well() {
    let ca = Ca::start().await;
    // How much room there is, is not the authority's doing.
    let unwell = |findings: Vec<Finding>| {
        findings.into_iter().filter(|f| f.verdict != Verdict::Ok && f.check != "disk").collect::<Vec<_>>()
    };
    assert_eq!(unwell(findings(ca.folder()).await), []);
    assert!(finding(ca.folder(), "daemon").await.message.contains("running for"));
    assert!(finding(ca.folder(), "root").await.message.contains("expires in"));
    let lists = finding(ca.folder(), "revocation").await.message;
    assert!(lists.starts_with("the lists have ") && !lists.contains(" 0 bytes"), "{lists}");
    let folder = ca.stop().await;
    assert_eq!(unwell(findings(&folder).await), []);
    assert_eq!(finding(&folder, "daemon").await.message, "it is not running");
}

#[tokio::test]
async fn sees_what_others_may_read() {
    let folder = Ca::start().await.stop().await;
    let replica = folder.config.data_dir.join("replica");
    fs::set_permissions(&replica, fs::Permissions::from_mode(0o640)).unwrap();
    let found = finding(&folder, "permissions").await;
    assert_eq!(found.verdict, Verdict::Fail);
    assert!(found.message.contains(&format!("chmod go= {}", replica.display())), "{}", found.message);
}

#[tokio::test]
async fn sees_authorities_that_expired() {
    let past = SystemTime::now() - 15 * YEAR;
    let folder = CaFolder::new().start_with_clock(Clock::of(move || past)).await.stop().await;
    let found = finding(&folder, "root").await;
    assert_eq!(found.verdict, Verdict::Fail);
    assert!(found.message.contains("expired"), "{}", found.message);
}

#[tokio::test]
async fn sees_a_clock_that_is_behind_the_records() {
    let future = SystemTime::now() + YEAR;
    let folder = CaFolder::new().start_with_clock(Clock::of(move || future)).await.stop().await;
    let found = finding(&folder, "clock").await;
    assert_eq!(found.verdict, Verdict::Fail);
    assert!(found.message.contains("behind the newest certificate"), "{}", found.message);
}

#[tokio::test]
async fn sees_a_database_of_a_newer_version() {
    let folder = Ca::start().await.stop().await;
    let mut database = Database::open(&folder).await;
    database.run("UPDATE _sqlx_migrations SET version = 9999 WHERE version = 1").await;
    database.close().await;
    assert_eq!(finding(&folder, "schema").await.verdict, Verdict::Fail);
}

#[tokio::test]
async fn sees_a_missing_wrapping_key() {
    let folder = Ca::start().await.stop().await;
    fs::remove_file(folder.path().join("wrapping.key")).unwrap();
    assert_eq!(finding(&folder, "wrapping key").await.verdict, Verdict::Fail);
}

#[tokio::test]
async fn says_it_to_programs_too() {
    let folder = Ca::start().await.stop().await;
    let config = folder.write_config();
    fs::set_permissions(&folder.config.data_dir, fs::Permissions::from_mode(0o755)).unwrap();
    let said = run(&["doctor", "--config", config.to_str().unwrap(), "--output", "json"]).await;
    assert_eq!(said.status.code(), Some(2), "{said:?}");
    let report: Vec<serde_json::Value> = serde_json::from_slice(&said.stdout).unwrap();
    assert!(report.iter().any(|found| found["check"] == "permissions" && found["verdict"] == "fail"));

    fs::write(&config, "trust_domain: example.org\ndata_dir: \"/var/lib/a b\"\nwrapping_key: {env: KEY}\n")
        .unwrap();
    let said = run(&["doctor", "--config", config.to_str().unwrap()]).await;
    assert_eq!(said.status.code(), Some(2));
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(text.starts_with("fail  configuration") && text.contains("admin_socket"), "{text}");
}
