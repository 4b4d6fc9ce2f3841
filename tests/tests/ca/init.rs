//! `ca-daemon init`, and the PEM files that it writes for programs without SPIFFE.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    server::WebPkiClientVerifier,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use secplane_identity::{tls::crypto_provider, x509::Certificate};
use secplane_tests::{
    authority::CaFolder,
    process::{CaProcess, command, complaint, run},
    soon,
};

async fn init(folder: &CaFolder, arguments: &[&str]) -> std::process::Output {
    let config = folder.write_config();
    let mut all = vec!["init", "--config", config.to_str().unwrap()];
    all.extend(arguments);
    run(&all).await
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn chain(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path).unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn makes_the_authority_that_serve_finds() {
    let folder = CaFolder::new();
    let output = init(&folder, &[]).await;
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let ca = folder.start().await;
    assert!(said.contains(&ca.root_fingerprint().to_string()), "{said}");
}

#[tokio::test]
async fn changes_nothing_the_second_time() {
    let folder = CaFolder::new();
    let first = init(&folder, &[]).await;
    let second = init(&folder, &[]).await;
    assert!(first.status.success() && second.status.success());
    assert_eq!(first.stdout, second.stdout);
}

#[tokio::test]
async fn leaves_an_authority_that_serves_alone() {
    let folder = CaFolder::new();
    let ca = CaProcess::start(&folder).await;
    let said = complaint(&init(&folder, &[]).await);
    assert!(said.contains("in use by another ca-daemon"), "{said}");
    ca.admin().mint("/a", 0).await.unwrap();
    ca.terminate().await;
}

#[tokio::test]
async fn takes_the_lifetimes_of_its_flags() {
    let folder = CaFolder::new();
    let pem = folder.path().join("pem");
    let output = init(
        &folder,
        &[
            "--root-validity",
            "30d",
            "--issuing-ca-validity",
            "12h",
            "--server-validity",
            "2h",
            "--client-validity",
            "10m",
            "--pem-dir",
            pem.to_str().unwrap(),
        ],
    )
    .await;
    // The longest lifetime is longer than this issuing CA's: that is a contradiction, and it is said.
    let said = complaint(&output);
    assert!(said.contains("validity.longest"), "{said}");

    let mut folder = folder;
    folder.config.validity.longest = Duration::from_secs(12 * 3600);
    let flags = ["--root-validity", "30d", "--issuing-ca-validity", "12h", "--server-validity", "2h"];
    let flags = [&flags[..], &["--client-validity", "10m", "--pem-dir", pem.to_str().unwrap()]].concat();
    let output = init(&folder, &flags).await;
    assert!(output.status.success(), "{output:?}");
    for (file, position, lifetime) in [
        ("ca.pem", 0, 30 * 24 * 3600),
        ("server.pem", 1, 12 * 3600),
        ("server.pem", 0, 2 * 3600),
        ("client.pem", 0, 600),
    ] {
        let certificate = Certificate::parse(&chain(&pem.join(file))[position]).unwrap();
        let life = certificate.not_after.duration_since(certificate.not_before).unwrap();
        assert_eq!(life, Duration::from_secs(lifetime + 10), "{file}");
    }
}

#[tokio::test]
async fn writes_files_that_rustls_takes() {
    let folder = CaFolder::new();
    let pem = folder.path().join("pem");
    let arguments = ["--pem-dir", pem.to_str().unwrap(), "--server-name", "a.example.org"];
    let arguments = [&arguments[..], &["--server-name", "10.0.0.1", "--client-name", "alice"]].concat();
    let output = init(&folder, &arguments).await;
    assert!(output.status.success(), "{output:?}");

    assert_eq!(mode(&pem), 0o700);
    for (file, expected) in [
        ("ca.pem", 0o644),
        ("server.pem", 0o644),
        ("client.pem", 0o644),
        ("server-key.pem", 0o600),
        ("client-key.pem", 0o600),
    ] {
        assert_eq!(mode(&pem.join(file)), expected, "{file}");
        assert!(String::from_utf8_lossy(&output.stdout).contains(file));
    }
    let client = Certificate::parse(&chain(&pem.join("client.pem"))[0]).unwrap();
    assert_eq!(client.common_name.as_deref(), Some("alice"));

    for name in ["a.example.org", "10.0.0.1"] {
        shake_hands(&pem, name).unwrap();
    }
    let refusal = shake_hands(&pem, "b.example.org").unwrap_err();
    assert!(matches!(refusal, rustls::Error::InvalidCertificate(_)), "{refusal}");
}

/// A mutual TLS handshake of stock rustls with the files of a folder, in memory.
fn shake_hands(pem: &Path, server_name: &str) -> Result<(), rustls::Error> {
    let key = |name: &str| PrivateKeyDer::from_pem_file(pem.join(name)).unwrap();
    let mut roots = RootCertStore::empty();
    for root in chain(&pem.join("ca.pem")) {
        roots.add(root).unwrap();
    }
    let roots = Arc::new(roots);
    let provider = crypto_provider();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
        .build()
        .unwrap();
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain(&pem.join("server.pem")), key("server-key.pem"))?;
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain(&pem.join("client.pem")), key("client-key.pem"))?;
    let name = ServerName::try_from(server_name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

#[tokio::test]
async fn refuses_a_server_name_that_is_none() {
    let folder = CaFolder::new();
    let pem = folder.path().join("pem");
    let said = complaint(&init(&folder, &["--pem-dir", pem.to_str().unwrap(), "--server-name", "a b"]).await);
    assert!(said.contains("a b"), "{said}");
    assert!(!pem.join("server-key.pem").exists());
}

#[tokio::test]
async fn writes_a_wrapping_key_once() {
    let folder = CaFolder::new();
    let path = folder.path().join("new.key");
    let arguments = ["wrapping-key", "--out", path.to_str().unwrap()];
    assert!(run(&arguments).await.status.success());
    assert_eq!(mode(&path), 0o600);
    let first = fs::read(&path).unwrap();
    let said = complaint(&run(&arguments).await);
    assert!(said.contains("new.key"), "{said}");
    assert_eq!(fs::read(&path).unwrap(), first);
}

#[tokio::test]
async fn takes_the_wrapping_key_from_the_environment() {
    let folder = CaFolder::new();
    let key = fs::read_to_string(folder.path().join("wrapping.key")).unwrap();
    let mut config = folder.config.clone();
    config.wrapping_key = ca_daemon::keys::WrappingKeySource::Env("CA_DAEMON_WRAPPING_KEY".to_owned());
    let path = folder.path().join("env.yaml");
    fs::write(&path, serde_saphyr::to_string(&config).unwrap()).unwrap();
    let path = path.to_str().unwrap();

    let said = complaint(&run(&["init", "--config", path]).await);
    assert!(said.contains("CA_DAEMON_WRAPPING_KEY"), "{said}");
    let init = command(&["init", "--config", path]).env("CA_DAEMON_WRAPPING_KEY", key.trim()).output();
    let output = soon("ca-daemon ends", init).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    // The same key as in the file: the authority opens with it.
    folder.start().await;
}
