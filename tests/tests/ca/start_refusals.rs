//! What a daemon finds in its way at the start: it says so, changes nothing, and starts once it is out of the way.

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::PathBuf,
};

use ca_daemon::{
    Config, StartError,
    api::SocketError,
    founding::FoundingError,
    keys::{WrappingKeyError, WrappingKeySource, generate_wrapping_key},
    store::StoreError,
};
use rstest::rstest;
use secplane_identity::TrustDomain;
use secplane_tests::{
    authority::{Ca, CaFolder},
    database::Database,
};

#[tokio::test]
async fn refuses_the_folder_of_another_trust_domain() {
    let ca = Ca::start().await;
    let root = ca.root_fingerprint();
    let mut folder = ca.stop().await;
    let own = folder.config.trust_domain.clone();
    folder.config.trust_domain = TrustDomain::parse("example.net").unwrap();

    let refusal = folder.refusal().await;
    assert!(matches!(refusal, StartError::Founding(FoundingError::OtherTrustDomain { .. })), "{refusal}");
    let said = refusal.to_string();
    assert!(said.contains("example.org") && said.contains("example.net"), "{said}");

    folder.config.trust_domain = own;
    assert_eq!(folder.start().await.root_fingerprint(), root);
}

/// Killed before the files were in their places: nothing is begun in the meantime that would be in the way.
#[tokio::test]
async fn refuses_a_folder_that_a_restore_left_half_done() {
    let folder = CaFolder::new();
    let waiting = folder.config.data_dir.join("restoring");
    fs::create_dir_all(waiting.join("keys")).unwrap();
    fs::write(waiting.join("keys/a.key"), "sealed").unwrap();
    let refusal = folder.refusal().await;
    assert!(matches!(&refusal, StartError::HalfRestored(files) if *files == waiting), "{refusal}");
    assert!(!folder.database().exists() && !folder.config.data_dir.join("keys").exists());

    // Killed when all of them were in their places, or refused before there was any.
    fs::remove_file(waiting.join("keys/a.key")).unwrap();
    folder.start().await.admin().mint("/a", 0).await.unwrap();
}

#[tokio::test]
async fn refuses_another_wrapping_key() {
    let ca = Ca::start().await;
    let root = ca.root_fingerprint();
    let mut folder = ca.stop().await;
    let other = folder.path().join("other.key");
    generate_wrapping_key(&other).unwrap();
    let own = std::mem::replace(&mut folder.config.wrapping_key, WrappingKeySource::File(other));

    let said = folder.refusal().await.to_string();
    assert!(said.contains("sealed under wrapping key"), "{said}");

    folder.config.wrapping_key = own;
    assert_eq!(folder.start().await.root_fingerprint(), root);
}

#[tokio::test]
async fn refuses_a_wrapping_key_that_others_can_read() {
    let folder = CaFolder::new();
    let WrappingKeySource::File(path) = &folder.config.wrapping_key else { unreachable!() };
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();

    let refusal = folder.refusal().await;
    let exposed = matches!(refusal, StartError::WrappingKey(WrappingKeyError::Exposed { mode: 0o644, .. }));
    assert!(exposed, "{refusal}");
    assert!(refusal.to_string().contains("chmod 600"), "{refusal}");
}

#[tokio::test]
async fn refuses_a_sealed_key_that_was_changed() {
    let folder = Ca::start().await.stop().await;
    if let Ok(keys) = fs::read_dir(folder.config.data_dir.join("keys")) {
        for file in keys {
            let path = file.unwrap().path();
            let mut sealed = fs::read(&path).unwrap();
            *sealed.last_mut().unwrap() ^= 1;
            fs::write(&path, sealed).unwrap();
        }
    }
    let mut database = Database::open(&folder).await;
    database.damage_secret("row-mac").await;
    database.close().await;
    let said = folder.refusal().await.to_string();
    assert!(said.contains("it was changed"), "{said}");
}

#[tokio::test]
async fn refuses_a_folder_that_is_in_use() {
    let ca = Ca::start().await;
    let mut second = CaFolder::new();
    second.config = ca.folder().config.clone();
    let refusal = second.refusal().await;
    assert!(matches!(refusal, StartError::InUse(_)), "{refusal}");
    ca.admin().mint("/a", 0).await.unwrap();
}

#[tokio::test]
async fn refuses_an_address_that_is_in_use() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let mut folder = CaFolder::new();
    folder.config.listen = taken.local_addr().unwrap();
    let refusal = folder.refusal().await;
    assert!(matches!(refusal, StartError::Listen { .. }), "{refusal}");

    // Another one: what was free a moment ago may be somebody else's by now.
    folder.config.listen.set_port(0);
    folder.start().await.admin().mint("/a", 0).await.unwrap();
}

#[tokio::test]
async fn refuses_a_database_of_a_newer_version() {
    let ca = Ca::start().await;
    let root = ca.root_fingerprint();
    let folder = ca.stop().await;
    let mut database = Database::open(&folder).await;
    database
        .run(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             SELECT 9999, 'of the future', success, checksum, 1 FROM _sqlx_migrations WHERE version = 1",
        )
        .await;
    database.close().await;

    let refusal = folder.refusal().await;
    assert!(matches!(refusal, StartError::Store(StoreError::Newer { found: 9999, .. })), "{refusal}");
    assert!(refusal.to_string().contains("written by a newer version"), "{refusal}");

    let mut database = Database::open(&folder).await;
    database.run("DELETE FROM _sqlx_migrations WHERE version = 9999").await;
    database.close().await;
    assert_eq!(folder.start().await.root_fingerprint(), root);
}

/// Each of the two sockets.
type Socket = fn(&mut Config) -> &mut Option<PathBuf>;

fn admin(config: &mut Config) -> &mut Option<PathBuf> {
    &mut config.admin_socket
}

fn workload_api(config: &mut Config) -> &mut Option<PathBuf> {
    &mut config.workload_api.socket
}

#[rstest]
#[tokio::test]
async fn refuses_a_socket_that_lives(#[values(admin, workload_api)] socket: Socket) {
    let mut folder = CaFolder::new();
    let path = folder.path().join("taken.sock");
    let listener = UnixListener::bind(&path).unwrap();
    *socket(&mut folder.config) = Some(path.clone());

    let refusal = folder.refusal().await;
    assert!(matches!(&refusal, StartError::Socket(SocketError::InUse(at)) if *at == path), "{refusal}");
    std::os::unix::net::UnixStream::connect(&path).expect("the other's socket is still there");
    drop(listener);
}

#[rstest]
#[tokio::test]
async fn leaves_what_is_no_socket_alone(#[values(admin, workload_api)] socket: Socket) {
    let mut folder = CaFolder::new();
    let path = folder.path().join("precious.txt");
    fs::write(&path, "mine").unwrap();
    *socket(&mut folder.config) = Some(path.clone());

    let refusal = folder.refusal().await;
    assert!(matches!(&refusal, StartError::Socket(SocketError::NotASocket(at)) if *at == path), "{refusal}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

#[rstest]
#[tokio::test]
async fn replaces_a_socket_that_is_dead(#[values(admin, workload_api)] socket: Socket) {
    let mut folder = CaFolder::new();
    let path = folder.path().join("left-behind.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a dead process leaves its socket behind");
    *socket(&mut folder.config) = Some(path);

    let ca = folder.start().await;
    ca.admin().mint("/a", 0).await.unwrap();
    assert_eq!(ca.workload().x509_svids().await.unwrap().end().await.message(), "no identity issued");
}
