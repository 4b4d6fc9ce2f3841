//! What only a database in a file can meet.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use ca_daemon::{
    StartError,
    operations::{backup, doctor},
};
use secplane_tests::authority::{Ca, CaFolder};

#[tokio::test]
async fn refuses_a_database_that_is_none() {
    let folder = CaFolder::new();
    fs::create_dir(&folder.config.data_dir).unwrap();
    fs::write(folder.database(), "something else ".repeat(100)).unwrap();
    let refusal = folder.refusal().await;
    assert!(matches!(refusal, StartError::Store(_)), "{refusal}");
    assert!(refusal.to_string().contains("ca.db"), "{refusal}");
}

/// A disk that lies: it is seen, and no backup is made of it that would look like one.
#[tokio::test]
async fn sees_a_damaged_database_and_makes_no_backup_of_it() {
    let folder = Ca::start().await.stop().await;
    let mut bytes = fs::read(folder.database()).unwrap();
    // Past the schema and the first pages: the trees of tables and indexes.
    let end = bytes.len();
    bytes[3 * 4096..end].chunks_mut(4096).for_each(|page| page[..64].fill(0xff));
    fs::write(folder.database(), bytes).unwrap();

    let report = doctor::examine(&folder.config).await;
    assert_eq!(report.verdict(), doctor::Verdict::Fail, "{report}");
    let key = std::sync::Arc::new(folder.config.wrapping_key.read().unwrap());
    let out = folder.path().join("ca.backup");
    backup::write(&folder.config, key, &out).await.unwrap_err();
    assert!(!out.exists());
}
