//! Backups: made while the authority serves, restored elsewhere, refused when they are not whole.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use ca_daemon::{
    config::DatabaseConfig,
    keys::{WrappingKey, WrappingKeySource, generate_wrapping_key},
    operations::backup::{self, BackupError, BackupFormError},
};
use secplane_identity::{PrivateKey, TrustDomain};
use secplane_proto::{
    secplane::ca::v1::{AuditOutcome, ListLogsRequest},
    spire::api::server::{bundle::v1::GetBundleRequest, entry::v1::GetEntryRequest},
};
use secplane_tests::{
    audit_log::AuditLog,
    authority::{Ca, CaFolder},
    clients::Clients,
    database::Database,
    entries,
    process::{complaint, run},
    requests, soon,
};

fn key_of(folder: &CaFolder) -> Arc<WrappingKey> {
    Arc::new(folder.config.wrapping_key.read().unwrap())
}

/// An empty folder for an authority with the wrapping key of another.
fn beside(source: &CaFolder) -> CaFolder {
    let mut folder = CaFolder::new();
    folder.config.wrapping_key = source.config.wrapping_key.clone();
    folder
}

async fn back_up(folder: &CaFolder) -> PathBuf {
    let out = folder.path().join("ca.backup");
    backup::write(&folder.config, key_of(folder), &out).await.unwrap();
    out
}

async fn restore(folder: &CaFolder, from: &Path) -> Result<backup::Manifest, BackupError> {
    backup::restore(&folder.config, key_of(folder), from, false).await
}

async fn sequence_of(ca: &Ca) -> u64 {
    let bundle = ca.admin().bundle().get_bundle(GetBundleRequest::default()).await.unwrap();
    bundle.into_inner().sequence_number
}

/// Mints until told to stop. Each serial is noted once the certificate has arrived.
async fn mint(admin: Clients, csr: Vec<u8>, received: Arc<Mutex<BTreeSet<String>>>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let chain = admin.mint_with(csr.clone(), 0).await.unwrap();
        let leaf = secplane_identity::x509::Certificate::parse(&chain[0]).unwrap();
        received.lock().unwrap().insert(leaf.serial);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_every_certificate_that_was_handed_out_before_it_was_begun() {
    let ca = Ca::start().await;
    let entry = ca.admin().create_entry(entries::entry("/a", &["unix:uid:1"])).await;
    let (received, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
    let csr = requests::naming(&PrivateKey::generate().unwrap(), &["spiffe://example.org/a"]);
    let load: Vec<_> = (0..8)
        .map(|_| tokio::spawn(mint(ca.admin(), csr.clone(), Arc::clone(&received), Arc::clone(&stop))))
        .collect();
    soon("some certificates", async {
        while received.lock().unwrap().len() < 100 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    })
    .await;

    let under_load = async {
        loop {
            let before = received.lock().unwrap().clone();
            let file = back_up(ca.folder()).await;
            if received.lock().unwrap().len() > before.len() {
                return (before, file);
            }
            fs::remove_file(file).unwrap();
        }
    };
    let (before, file) = soon("a backup while certificates are handed out", under_load).await;
    stop.store(true, Ordering::Relaxed);
    for client in load {
        client.await.unwrap();
    }

    let folder = beside(ca.folder());
    restore(&folder, &file).await.unwrap();
    let root = ca.root_fingerprint();
    let sequence = sequence_of(&ca).await;
    let restored = folder.start().await;
    assert_eq!(restored.root_fingerprint(), root);
    // The lost authority may have gone on fast: clients take no bundle and no list that goes back.
    assert!(sequence_of(&restored).await >= sequence + 1000);
    let mut database = Database::open(restored.folder()).await;
    assert!(database.number("SELECT max(number) FROM revocation_lists").await > 1000);
    database.close().await;
    for serial in &before {
        let record = restored.admin().record(serial.clone()).await;
        assert!(record.is_ok(), "certificate {serial} is not in the backup: {record:?}");
    }
    let wanted = GetEntryRequest { id: entry.id.clone(), output_mask: None };
    assert_eq!(restored.admin().entry().get_entry(wanted).await.unwrap().into_inner(), entry);
    restored.admin().mint("/b", 0).await.unwrap();
}

/// Two daemons that continue one log would make it prove two histories.
#[tokio::test]
async fn begins_an_audit_log_of_its_own() {
    let ca = Ca::start().await;
    let file = back_up(ca.folder()).await;
    let folder = beside(ca.folder());
    restore(&folder, &file).await.unwrap();
    let restored = folder.start().await;
    let replica = |ca: &Ca| fs::read_to_string(ca.folder().config.data_dir.join("replica")).unwrap();
    assert_ne!(replica(&restored), replica(&ca));
    let mut database = Database::open(restored.folder()).await;
    assert_eq!(database.number("SELECT count(*) FROM audit_logs").await, 2);
    assert_eq!(database.number("SELECT count(DISTINCT public_key) FROM audit_logs").await, 2);
    database.close().await;
    // The one that was lost may come back.
    ca.restart().await.admin().mint("/a", 0).await.unwrap();
}

/// The log of the authority that was lost cannot tell of it.
#[tokio::test]
async fn tells_the_new_audit_log_what_it_was_restored_from() {
    let source = Ca::start().await.stop().await;
    let file = back_up(&source).await;
    let folder = beside(&source);
    let manifest = restore(&folder, &file).await.unwrap();
    // Told once, however often the daemon starts.
    let restored = folder.start().await.restart().await;
    let admin = restored.admin();
    let log = AuditLog::read(&admin).await;
    let record = log.one("backup.restore", file.to_str().unwrap(), AuditOutcome::Done);
    assert_eq!(log.records()[0], record, "nothing stands before it");
    assert_eq!(record.actor, "ca-daemon");
    assert_eq!(record.details["created_at"], manifest.created_at.to_string());
    let logs = admin.audit().list_logs(ListLogsRequest {}).await.unwrap().into_inner().logs;
    let lost = logs.iter().find(|other| other.log_id != log.id()).unwrap();
    let checkpoint: Vec<_> = lost.checkpoint.lines().take(3).collect();
    assert_eq!(record.details["checkpoints"], checkpoint.join(" "));
    assert!(checkpoint[0].ends_with(&lost.log_id), "{checkpoint:?}");
}

#[tokio::test]
async fn refuses_what_is_not_whole_and_leaves_nothing_behind() {
    let source = Ca::start().await.stop().await;
    let file = back_up(&source).await;
    let sealed = fs::read(&file).unwrap();
    let folder = beside(&source);
    let damaged = folder.path().join("damaged.backup");
    let cut = sealed[..sealed.len() - 1].to_vec();
    let mut edited = sealed.clone();
    edited[sealed.len() / 2] ^= 1;
    for content in [cut, edited, [sealed, b"x".to_vec()].concat()] {
        fs::write(&damaged, content).unwrap();
        let refused = backup::verify(key_of(&folder), &damaged).await.unwrap_err();
        assert!(matches!(refused, BackupError::Form(BackupFormError::Cipher)), "{refused}");
        restore(&folder, &damaged).await.unwrap_err();
        assert!(!folder.config.data_dir.exists(), "something was restored");
    }
    restore(&folder, &file).await.unwrap();
}

#[tokio::test]
async fn opens_with_its_own_key_alone() {
    let source = Ca::start().await.stop().await;
    let own = source.path().join("backup.key");
    generate_wrapping_key(&own).unwrap();
    let own = Arc::new(WrappingKeySource::File(own).read().unwrap());
    let file = source.path().join("ca.backup");
    backup::write(&source.config, Arc::clone(&own), &file).await.unwrap();

    let folder = beside(&source);
    let refused = restore(&folder, &file).await.unwrap_err();
    assert!(matches!(refused, BackupError::Form(BackupFormError::OtherKey)), "{refused}");
    let manifest = backup::verify(Arc::clone(&own), &file).await.unwrap();
    assert_eq!(manifest.trust_domain, "example.org");
    backup::restore(&folder.config, own, &file, false).await.unwrap();
    folder.start().await.admin().mint("/a", 0).await.unwrap();
}

#[tokio::test]
async fn replaces_an_authority_only_by_force_and_keeps_it() {
    let source = Ca::start().await.stop().await;
    let file = back_up(&source).await;
    let other = Ca::start().await;
    let root = other.root_fingerprint();
    let mut folder = other.stop().await;
    folder.config.wrapping_key = source.config.wrapping_key.clone();

    let refused = restore(&folder, &file).await.unwrap_err();
    assert!(matches!(refused, BackupError::NotEmpty(_)), "{refused}");
    assert!(refused.to_string().contains("--force"), "{refused}");

    backup::restore(&folder.config, key_of(&folder), &file, true).await.unwrap();
    let kept = fs::read_dir(folder.path()).unwrap().any(|file| {
        let name = file.unwrap().file_name();
        name.to_string_lossy().starts_with("data.before-restore-")
    });
    assert!(kept, "the old data folder is gone");
    assert_ne!(folder.start().await.root_fingerprint(), root);
}

#[tokio::test]
async fn refuses_to_restore_under_a_running_daemon_or_for_another_trust_domain() {
    let source = Ca::start().await.stop().await;
    let file = back_up(&source).await;
    let running = Ca::start().await;
    let refused = backup::restore(&running.folder().config, key_of(&source), &file, true).await.unwrap_err();
    assert!(refused.to_string().contains("in use"), "{refused}");
    running.admin().mint("/a", 0).await.unwrap();

    let mut folder = beside(&source);
    folder.config.trust_domain = TrustDomain::parse("example.net").unwrap();
    let refused = restore(&folder, &file).await.unwrap_err().to_string();
    assert!(refused.contains("example.org") && refused.contains("example.net"), "{refused}");
}

#[tokio::test]
async fn refuses_a_backup_of_the_other_kind_of_database() {
    let source = Ca::start().await.stop().await;
    let file = back_up(&source).await;
    let mut folder = beside(&source);
    folder.config.database = match &source.config.database {
        DatabaseConfig::Postgres(_) => DatabaseConfig::default(),
        DatabaseConfig::Sqlite(_) => DatabaseConfig::Postgres(ca_daemon::config::PostgresConfig {
            url: "postgres://nobody@localhost/none".to_owned(),
            password: None,
        }),
    };
    let refused = restore(&folder, &file).await.unwrap_err().to_string();
    assert!(refused.contains("SQLite") && refused.contains("PostgreSQL"), "{refused}");
}

#[tokio::test]
async fn is_made_checked_and_restored_by_commands() {
    let ca = Ca::start().await;
    let config = ca.folder().write_config();
    let config = config.to_str().unwrap();
    let file = ca.folder().path().join("ca.backup");
    let name = file.to_str().unwrap();
    let made = run(&["backup", "--config", config, "--out", name]).await;
    assert!(made.status.success(), "{made:?}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(complaint(&run(&["backup", "--config", config, "--out", name]).await).contains("exists already"));
    let checked = run(&["backup", "--config", config, "--verify", name]).await;
    assert!(
        String::from_utf8_lossy(&checked.stdout).contains("trust domain      example.org"),
        "{checked:?}"
    );
    let leftovers = fs::read_dir(&ca.folder().config.data_dir).unwrap().filter_map(|file| {
        let name = file.unwrap().file_name().into_string().unwrap();
        name.starts_with("backup-").then_some(name)
    });
    assert_eq!(leftovers.collect::<Vec<_>>(), Vec::<String>::new());

    let folder = beside(ca.folder());
    let config = folder.write_config();
    let restored = run(&["restore", "--config", config.to_str().unwrap(), "--from", name]).await;
    assert!(restored.status.success(), "{restored:?}");
    assert_eq!(folder.start().await.root_fingerprint(), ca.root_fingerprint());
}
