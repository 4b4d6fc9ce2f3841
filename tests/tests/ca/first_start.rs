//! What a first start makes, and what every later one finds again.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use secplane_identity::PrivateKey;
use secplane_proto::spire::api::server::entry::v1::GetEntryRequest;
use secplane_tests::{
    authority::{Ca, CaFolder},
    database::Database,
    entries::entry,
    process::CaProcess,
};

#[tokio::test]
async fn keeps_root_entries_and_records() {
    let ca = Ca::start().await;
    let entry = ca.admin().create_entry(entry("/a", &["uid:4711"])).await;
    let holder = ca.admin().mint("/a", 0).await.unwrap();
    let root = ca.root_fingerprint();
    let record = ca.admin().record(holder.leaf().serial).await.unwrap();

    let ca = ca.restart().await;
    assert_eq!(ca.root_fingerprint(), root);
    let request = GetEntryRequest { id: entry.id.clone(), output_mask: None };
    assert_eq!(ca.admin().entry().get_entry(request).await.unwrap().into_inner(), entry);
    assert_eq!(ca.admin().record(holder.leaf().serial).await.unwrap(), record);
}

#[tokio::test]
async fn lets_certificates_of_before_a_restart_in() {
    let ca = Ca::start().await;
    let holder = ca.admin().mint("/a", 0).await.unwrap();
    let ca = ca.restart().await;
    holder.knock(ca.grpc_address(), &ca.bundle().await).await.unwrap();
}

#[tokio::test]
async fn says_the_same_fingerprint_at_every_start() {
    let folder = CaFolder::new();
    let first = CaProcess::start(&folder).await;
    let said = first.root_fingerprint;
    assert!(first.log().contains(&said.to_string()), "it is logged, too");
    first.terminate().await;

    let second = CaProcess::start(&folder).await;
    assert_eq!(second.root_fingerprint, said);
    second.terminate().await;
    assert_eq!(folder.start().await.bundle().await.authorities().len(), 1);
}

#[tokio::test]
async fn leaves_no_private_key_in_the_clear() {
    let ca = Ca::start().await;
    ca.admin().mint("/a", 0).await.unwrap();
    let folder = ca.stop().await;

    let files = files_below(&folder.config.data_dir);
    for file in &files {
        let content = fs::read(file).unwrap();
        assert!(!holds_private_key(&content), "{} holds a private key", file.display());
    }
    // Where several replicas share the keys, they are in the database.
    let mut database = Database::open(&folder).await;
    let secrets = database.secrets().await;
    database.close().await;
    assert!(!secrets.iter().any(|secret| holds_private_key(secret)), "the database holds a private key");
    let is_key = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "key");
    assert!(files.iter().any(is_key) || !secrets.is_empty(), "the keys are kept somewhere");
    let key = PrivateKey::generate().unwrap();
    assert!(
        holds_private_key(key.pkcs8_der()) && holds_private_key(key.to_pem().as_bytes()),
        "the search works"
    );
}

/// Looks for the beginning of an unencrypted P-256 key: PKCS#8 (RFC 5958), SEC 1 (RFC 5915), or PEM.
fn holds_private_key(content: &[u8]) -> bool {
    const PKCS8: &[u8] = b"\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01";
    const SEC1: &[u8] = b"\x02\x01\x01\x04\x20";
    const PEM: &[u8] = b"PRIVATE KEY";
    [PKCS8, SEC1, PEM].iter().any(|needle| content.windows(needle.len()).any(|window| window == *needle))
}

#[tokio::test]
async fn leaves_nothing_that_others_can_read() {
    let ca = Ca::start().await;
    ca.admin().mint("/a", 0).await.unwrap();
    let data_dir = &ca.folder().config.data_dir;
    for path in files_below(data_dir).iter().chain([data_dir]) {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for found in fs::read_dir(folder).unwrap() {
        let path = found.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}
