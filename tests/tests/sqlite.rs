//! What only a database in a file can meet.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use ca_daemon::{
    StartError,
    keys::WrappingKeySource,
    operations::{
        backup::{self, BackupError, KeysError},
        doctor,
    },
};
use secplane_tests::{
    audit_log::AuditLog,
    authority::{Ca, CaFolder},
    entries::entry,
    soon,
};
use sqlx::{
    AssertSqlSafe, Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

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
    let key = Arc::new(folder.config.wrapping_key.read().unwrap());
    let out = folder.path().join("ca.backup");
    backup::write(&folder.config, key, &out).await.unwrap_err();
    assert!(!out.exists());
}

/// The database of a daemon that does not run, as one that has no journal beside it.
async fn open(folder: &CaFolder) -> SqliteConnection {
    let options =
        SqliteConnectOptions::new().filename(folder.database()).journal_mode(SqliteJournalMode::Delete);
    SqliteConnection::connect_with(&options).await.unwrap()
}

/// The ID of the only root's key.
async fn root_of(database: &mut SqliteConnection) -> String {
    let root = "SELECT key_id FROM authorities WHERE kind = 'root'";
    sqlx::query_scalar(root).fetch_one(database).await.unwrap()
}

/// As when a root is revoked between the copy of the database, which shows it active, and that of the keys.
#[tokio::test]
async fn backs_up_a_key_that_is_destroyed_while_the_database_is_copied() {
    let ca = Ca::start().await;
    let fingerprint = ca.root_fingerprint();
    let folder = ca.stop().await;
    let data_dir = &folder.config.data_dir;
    let key = Arc::new(folder.config.wrapping_key.read().unwrap());
    let out = folder.path().join("ca.backup");
    let mut database = open(&folder).await;
    let root = root_of(&mut database).await;
    // Nobody reads it before this is over: the copy has to wait.
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut database).await.unwrap();
    let meanwhile = async {
        let has_begun = || {
            let mut files = fs::read_dir(data_dir).unwrap().flatten();
            files.any(|file| file.file_name().to_string_lossy().starts_with("backup-"))
        };
        soon("the copy of the database begins", async {
            while !has_begun() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        fs::remove_file(data_dir.join("keys").join(format!("{root}.key"))).unwrap();
        sqlx::query("COMMIT").execute(&mut database).await.unwrap();
        database.close().await.unwrap();
    };
    let (made, ()) = tokio::join!(backup::write(&folder.config, Arc::clone(&key), &out), meanwhile);
    made.unwrap();

    let mut restored = CaFolder::new();
    restored.config.wrapping_key = folder.config.wrapping_key.clone();
    backup::restore(&restored.config, key, &out, false).await.unwrap();
    assert_eq!(restored.start().await.root_fingerprint(), fingerprint);
}

/// What would be restored from it would not start.
#[tokio::test]
async fn makes_no_backup_without_the_private_keys() {
    let folder = Ca::start().await.stop().await;
    let key = Arc::new(folder.config.wrapping_key.read().unwrap());
    let out = folder.path().join("ca.backup");
    let keys = folder.config.data_dir.join("keys");
    let aside = folder.path().join("aside");
    fs::rename(&keys, &aside).unwrap();
    let refused = backup::write(&folder.config, Arc::clone(&key), &out).await.unwrap_err();
    assert!(matches!(refused, BackupError::Keys(KeysError::None(_))), "{refused}");
    fs::rename(&aside, &keys).unwrap();

    let mut database = open(&folder).await;
    let root = root_of(&mut database).await;
    database.close().await.unwrap();
    let key_of_root = keys.join(format!("{root}.key"));
    fs::rename(&key_of_root, &aside).unwrap();
    let refused = backup::write(&folder.config, Arc::clone(&key), &out).await.unwrap_err();
    assert!(matches!(&refused, BackupError::Keys(KeysError::Missing(of)) if *of == root), "{refused}");
    assert!(!out.exists());

    fs::rename(&aside, &key_of_root).unwrap();
    backup::write(&folder.config, Arc::clone(&key), &out).await.unwrap();
    backup::verify(key, &out).await.unwrap();
}

/// A start that made another root would have nobody trust it, and the old root's key would be gone.
#[tokio::test]
async fn begins_no_other_authority_when_the_database_is_lost() {
    let ca = Ca::start().await;
    let root = ca.root_fingerprint();
    let folder = ca.stop().await;
    let keys = || {
        let entries = fs::read_dir(folder.config.data_dir.join("keys")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = keys();
    fs::rename(folder.database(), folder.path().join("kept.db")).unwrap();
    for _ in 0..2 {
        // Missing, then as the first attempt left it.
        let refusal = folder.refusal().await.to_string();
        assert!(refusal.contains("its database is empty"), "{refusal}");
        assert_eq!(keys(), before);
    }

    // Elsewhere, where no connection of the attempts is about to end.
    let whole = CaFolder::copy_of(&folder);
    for name in ["ca.db", "ca.db-wal", "ca.db-shm"] {
        let _ = fs::remove_file(whole.config.data_dir.join(name));
    }
    fs::rename(whole.path().join("kept.db"), whole.database()).unwrap();
    assert_eq!(whole.start().await.root_fingerprint(), root);
}

/// What the database of the first schema holds.
const ROOT: &str = "7f02f101678e895aa87734ffcc4a786e3321a12d8fda4a90fce0c962bdce8c7d";
const WEB: &str = "1c4bb230faf4e553e17b89590998c625";
const ALICE: &str = "7b498bae4c685f6615393752e47f7d9c";
const BOB: &str = "fe2d25f9dd5da09d0ac94b99c0ad1507";

/// A data folder as an authority of the first schema left it.
async fn first_schema() -> CaFolder {
    let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("first-schema");
    let mut folder = CaFolder::new();
    let keys = folder.config.data_dir.join("keys");
    fs::create_dir_all(&keys).unwrap();
    for key in fs::read_dir(stored.join("keys")).unwrap() {
        let key = key.unwrap();
        fs::copy(key.path(), keys.join(key.file_name())).unwrap();
    }
    let wrapping_key = folder.path().join("first-wrapping.key");
    fs::copy(stored.join("wrapping.key"), &wrapping_key).unwrap();
    // A checkout does not keep modes.
    fs::set_permissions(&wrapping_key, fs::Permissions::from_mode(0o600)).unwrap();
    folder.config.wrapping_key = WrappingKeySource::File(wrapping_key);

    let options = SqliteConnectOptions::new().filename(folder.database()).create_if_missing(true);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let sql = fs::read_to_string(stored.join("ca.sql")).unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    folder
}

#[tokio::test]
async fn carries_a_database_of_the_first_schema_on() {
    let mut ca = first_schema().await.start().await;
    let mut kept = Vec::new();
    // Once as an authority that finds the first schema, once as one that has migrated already.
    for _ in 0..2 {
        assert_eq!(ca.root_fingerprint().to_string(), ROOT);
        let web = ca.admin().get_entry(WEB).await.unwrap();
        assert_eq!((web.dns_names, web.x509_svid_ttl), (vec!["web.example.org".to_owned()], 1800));
        assert_eq!(ca.admin().record(ALICE.to_owned()).await.unwrap().revoked_at, 0);
        assert_eq!(ca.admin().record(BOB.to_owned()).await.unwrap().revocation_reason, "lost");
        let similar = entry("/web", &["uid:4711"]);
        let found = ca.admin().try_create_entry(similar).await.unwrap();
        assert_eq!(found.id, WEB, "a similar entry is answered, not created");
        let issued = ca.admin().mint("/b", 0).await.unwrap();
        issued.knock(ca.grpc_address(), &ca.bundle().await).await.unwrap();
        let log = AuditLog::read(&ca.admin()).await;
        let issues = log.of("certificate.issue");
        assert!(issues.iter().any(|record| record.target == issued.leaf().serial), "{issues:?}");
        log.verify(&kept).unwrap();
        kept.push(log.checkpoint());
        ca = ca.restart().await;
    }
}
