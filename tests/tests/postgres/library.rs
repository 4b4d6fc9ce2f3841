//! The library's own tests of what stands on a database, each once more on PostgreSQL.
//!
//! Where `SECPLANE_UNIT_TESTS_ON` names a server, each of them makes a database of its own there instead of a file. Their
//! program is the library's, so cargo builds and runs it.

use std::{env, ffi::OsString, fs, path::Path};

use secplane_tests::postgres;
use sqlx::{Connection, PgConnection};
use tokio::process::Command;

/// What stands on the database.
const MODULES: &[&str] = &[
    "agents::",
    "federation::",
    "founding::",
    "issuance::",
    "jwt_svids::",
    "keys::store::",
    "lifecycle::",
    "pruning::",
    "registry::",
    "revocation::",
    "rotation::",
    "store::",
];
/// Only SQLite's first schema had certificates without the hash of their key.
const OF_A_FILE: &str = "revocation::tests::knows_the_keys_of_the_first_schema";
/// How many of them open a database at the least: so that they do not pass on files unnoticed.
const DATABASES: i64 = 50;

#[tokio::test]
async fn passes_on_postgres_as_in_a_file() {
    let server = postgres::new_database();
    // A test is `<target>/<profile>/deps/<name>-<hash>`.
    let itself = env::current_exe().unwrap();
    let profile = itself.parent().and_then(|deps| deps.parent()).unwrap();
    let mut tests = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    // The whole workspace: so cargo chooses the same features as for the other tests, and builds nothing twice.
    tests.args(["test", "--quiet", "--locked", "--workspace", "--lib"]);
    if profile.ends_with("release") {
        tests.arg("--release");
    }
    tests.arg("--target-dir").arg(profile.parent().unwrap());
    tests.arg("--").args(MODULES).args(["--skip", OF_A_FILE]);
    tests.env("SECPLANE_UNIT_TESTS_ON", &server).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = tests.kill_on_drop(true).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));

    let mut connection = PgConnection::connect(&server).await.unwrap();
    let made: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_database WHERE datname LIKE 'unit%'")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert!(made >= DATABASES, "{made} databases were made: {said}");
    connection.close().await.unwrap();
}

/// The tests of a module that is not listed run on files alone, and nothing tells of it.
#[test]
fn lists_every_module_whose_tests_open_a_database() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ca-daemon/src");
    let mut folders = vec![sources.clone()];
    let mut found = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let opens_one = ["store::testing", "lifecycle::testing", "testing::open", "World::new"];
            if !opens_one.iter().any(|name| text.contains(name)) {
                continue;
            }
            found += 1;
            let file = path.strip_prefix(&sources).unwrap().with_extension("");
            let module: String = file.iter().map(|part| format!("{}::", part.to_string_lossy())).collect();
            assert!(
                MODULES.iter().any(|listed| module.starts_with(listed)),
                "{module} is in none of MODULES"
            );
        }
    }
    assert!(found > MODULES.len(), "{found} files");
}
