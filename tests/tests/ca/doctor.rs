//! What `ca-daemon doctor` sees.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::Path,
    time::{Duration, SystemTime},
};

use ca_daemon::{
    instant::Clock,
    operations::doctor::{Finding, Verdict, examine},
};
use rstest::rstest;
use secplane_proto::spire::api::server::localauthority::v1::{
    PrepareJwtAuthorityRequest, PrepareX509AuthorityRequest,
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
    let looked_at: Vec<_> = findings(&folder).await.into_iter().map(|finding| finding.check).collect();
    for check in [
        "configuration",
        "wrapping key",
        "permissions",
        "disk",
        "schema",
        "root",
        "issuing CA",
        "JWT key",
        "revocation",
        "clock",
        "daemon",
    ] {
        assert!(looked_at.contains(&check), "nobody looked at the {check}: {looked_at:?}");
    }
    assert_eq!(finding(&folder, "daemon").await.message, "it is not running");
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[rstest]
#[case::the_folder("", 0o750, 0o700)]
#[case::a_file("replica", 0o640, 0o600)]
#[tokio::test]
async fn sees_what_others_may_read(#[case] name: &str, #[case] open: u32, #[case] closed: u32) {
    let folder = Ca::start().await.stop().await;
    let data_dir = &folder.config.data_dir;
    let path = if name.is_empty() { data_dir.clone() } else { data_dir.join(name) };
    set_mode(&path, open);
    let found = finding(&folder, "permissions").await;
    assert_eq!(found.verdict, Verdict::Fail);
    assert!(found.message.contains(&format!("chmod go= {}", path.display())), "{}", found.message);
    set_mode(&path, closed);
    assert_eq!(finding(&folder, "permissions").await.verdict, Verdict::Ok);
}

#[tokio::test]
async fn sees_a_wrapping_key_that_others_may_read() {
    let folder = Ca::start().await.stop().await;
    let key = folder.path().join("wrapping.key");
    set_mode(&key, 0o640);
    let found = finding(&folder, "wrapping key").await;
    assert_eq!(found.verdict, Verdict::Fail);
    assert!(found.message.contains(&format!("chmod 600 {}", key.display())), "{}", found.message);
    set_mode(&key, 0o600);
    assert_eq!(finding(&folder, "wrapping key").await.verdict, Verdict::Ok);
}

#[tokio::test]
async fn sees_authorities_that_expired() {
    let past = SystemTime::now() - 15 * YEAR;
    let folder = CaFolder::new().start_with_clock(Clock::of(move || past)).await.stop().await;
    let found = finding(&folder, "root").await;
    assert_eq!(found.verdict, Verdict::Fail);
    assert!(found.message.contains("expired"), "{}", found.message);
}

/// Makes every authority that signs a thousand times as old, so that hardly any of its life is left.
async fn age(folder: &CaFolder) {
    let mut database = Database::open(folder).await;
    database
        .run(
            "UPDATE authorities SET not_before = not_after - (not_after - not_before) * 1000
             WHERE state = 'active'",
        )
        .await;
    database.close().await;
}

#[tokio::test]
async fn sees_authorities_that_have_no_successor_near_their_end() {
    let folder = Ca::start().await.stop().await;
    age(&folder).await;
    for (check, remedy) in [
        ("root", "rotate it with `secctl ca`"),
        ("issuing CA", "its log says why not"),
        ("JWT key", "its log says why not"),
    ] {
        let found = finding(&folder, check).await;
        assert_eq!(found.verdict, Verdict::Warn, "{found:?}");
        let message = found.message;
        assert!(message.contains("has no successor yet") && message.contains(remedy), "{message}");
    }
}

#[tokio::test]
async fn is_content_with_a_successor_that_is_prepared() {
    let ca = Ca::start().await;
    let mut steps = ca.admin().local_authority();
    steps.prepare_x509_authority(PrepareX509AuthorityRequest {}).await.unwrap();
    steps.prepare_jwt_authority(PrepareJwtAuthorityRequest {}).await.unwrap();
    let folder = ca.stop().await;
    age(&folder).await;
    for check in ["root", "JWT key"] {
        let found = finding(&folder, check).await;
        assert_eq!(found.verdict, Verdict::Ok, "{found:?}");
        assert!(found.message.contains("its successor is prepared"), "{}", found.message);
    }
}

#[tokio::test]
async fn sees_a_clock_that_is_behind_the_records() {
    let future = SystemTime::now() + YEAR;
    let folder = CaFolder::new().start_with_clock(Clock::of(move || future)).await.stop().await;
    let found = finding(&folder, "clock").await;
    assert_eq!(found.verdict, Verdict::Fail);
    let message = found.message;
    assert!(message.contains("behind the newest certificate") && message.contains("NTP"), "{message}");
}

#[tokio::test]
async fn sees_a_database_of_a_newer_version() {
    let folder = Ca::start().await.stop().await;
    let mut database = Database::open(&folder).await;
    database.run("UPDATE _sqlx_migrations SET version = 9999 WHERE version = 1").await;
    database.close().await;
    let found = finding(&folder, "schema").await;
    assert_eq!(found.verdict, Verdict::Fail);
    assert!(found.message.contains("run the version that wrote it"), "{}", found.message);
}

#[tokio::test]
async fn sees_a_database_that_the_next_start_changes() {
    let folder = Ca::start().await.stop().await;
    let mut database = Database::open(&folder).await;
    let newest = "DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)";
    database.run(newest).await;
    database.close().await;
    let found = finding(&folder, "schema").await;
    assert_eq!(found.verdict, Verdict::Warn);
    assert!(found.message.contains("make a backup first"), "{}", found.message);
}

#[tokio::test]
async fn expects_no_database_before_the_first_start() {
    let folder = CaFolder::new();
    let found = finding(&folder, "database").await;
    assert_eq!(found.verdict, Verdict::Warn, "{found:?}");
    assert!(found.message.contains("the first start"), "{}", found.message);
}

#[tokio::test]
async fn sees_a_daemon_that_runs_and_is_not_ready() {
    let ca = Ca::start().await;
    let mut database = Database::open(ca.folder()).await;
    database.run("ALTER TABLE replicas RENAME TO hidden").await;
    let found = finding(ca.folder(), "daemon").await;
    assert_eq!(found.verdict, Verdict::Fail, "{found:?}");
    assert!(found.message.contains("`/ready`"), "{}", found.message);
    database.run("ALTER TABLE hidden RENAME TO replicas").await;
    database.close().await;
}

#[tokio::test]
async fn sees_a_socket_that_nobody_answers_on() {
    let folder = Ca::start().await.stop().await;
    // A process that is killed leaves its socket behind.
    drop(UnixListener::bind(folder.config.admin_socket()).unwrap());
    let found = finding(&folder, "daemon").await;
    assert_eq!(found.verdict, Verdict::Warn, "{found:?}");
    assert!(found.message.contains("look at its log"), "{}", found.message);
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
