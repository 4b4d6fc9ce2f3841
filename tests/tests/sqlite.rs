//! What only a database in a file can meet.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use ca_daemon::StartError;
use secplane_tests::authority::CaFolder;

#[tokio::test]
async fn refuses_a_database_that_is_none() {
    let folder = CaFolder::new();
    fs::create_dir(&folder.config.data_dir).unwrap();
    fs::write(folder.database(), "something else ".repeat(100)).unwrap();
    let refusal = folder.refusal().await;
    assert!(matches!(refusal, StartError::Store(_)), "{refusal}");
    assert!(refusal.to_string().contains("ca.db"), "{refusal}");
}
