//! The library's own tests of what stands on a database, each once more on PostgreSQL.
//!
//! Where `SECPLANE_UNIT_TESTS_ON` names a server, each of them makes a database of its own there instead of a file. Their
//! program is the library's, so cargo builds and runs it.

use std::{env, ffi::OsString};

use secplane_tests::postgres;
use sqlx::{Connection, PgConnection};
use tokio::process::Command;

/// What stands on the database.
const MODULES: &[&str] = &[
    "agents::",
    "federation::",
    "issuance::",
    "keys::store::",
    "lifecycle::",
    "pruning::",
    "registry::",
    "revocation::",
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
