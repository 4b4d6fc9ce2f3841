//! Where the wrapping key comes from: a file, a systemd credential, the environment.

use std::{fs, path::PathBuf};

use ca_daemon::keys::{WrappingKeySource, generate_wrapping_key};
use rstest::rstest;
use secplane_proto::secplane::ca::v1::{RekeyRequest, rekey_request::NewWrappingKey};
use secplane_tests::{
    authority::CaFolder,
    process::{CaProcess, command, complaint},
    soon,
};

const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
const VARIABLE: &str = "KEY_OF_THIS_TEST";

/// A folder as systemd makes it for a service with `LoadCredential=`, empty.
fn credentials(folder: &CaFolder) -> PathBuf {
    let credentials = folder.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    credentials
}

/// What a start is refused with.
async fn refusal(folder: &CaFolder, environment: &[(&str, &str)]) -> String {
    let config = folder.write_config();
    let mut serve = command(&["serve", "--config", config.to_str().unwrap()]);
    // Whatever started this test may have credentials of its own.
    serve.env_remove(CREDENTIALS).envs(environment.iter().copied());
    complaint(&soon("ca-daemon ends", serve.output()).await.unwrap())
}

#[tokio::test]
async fn opens_the_same_authority_wherever_it_is_kept() {
    let mut folder = CaFolder::new();
    let file = folder.path().join("wrapping.key");
    let key = fs::read_to_string(&file).unwrap();
    let ca = CaProcess::start(&folder).await;
    let root = ca.root_fingerprint;
    ca.terminate().await;

    let credentials = credentials(&folder);
    fs::rename(file, credentials.join("wrapping-key")).unwrap();
    let credential = WrappingKeySource::Credential("wrapping-key".to_owned());
    for (source, name, value) in [
        (credential, CREDENTIALS, credentials.to_str().unwrap()),
        (WrappingKeySource::Env(VARIABLE.to_owned()), VARIABLE, key.trim()),
    ] {
        folder.config.wrapping_key = source;
        let ca = CaProcess::start_in(&folder, &[], &[(name, value)]).await;
        assert_eq!(ca.root_fingerprint, root);
        ca.admin().mint("/a", 0).await.unwrap();
        ca.terminate().await;
    }
}

#[tokio::test]
async fn is_replaced_by_one_of_another_place() {
    let mut folder = CaFolder::new();
    let credentials = credentials(&folder);
    generate_wrapping_key(&credentials.join("next")).unwrap();
    let last = folder.path().join("last.key");
    generate_wrapping_key(&last).unwrap();
    let last = fs::read_to_string(last).unwrap();
    let environment = [(CREDENTIALS, credentials.to_str().unwrap()), (VARIABLE, last.trim())];
    let ca = CaProcess::start_in(&folder, &[], &environment).await;
    let root = ca.root_fingerprint;
    for new in [NewWrappingKey::Credential("next".to_owned()), NewWrappingKey::Env(VARIABLE.to_owned())] {
        let request = RekeyRequest { new_wrapping_key: Some(new) };
        ca.admin().authority().rekey(request).await.unwrap();
    }
    ca.terminate().await;

    let file = folder.path().join("wrapping.key");
    for source in [WrappingKeySource::File(file), WrappingKeySource::Credential("next".to_owned())] {
        folder.config.wrapping_key = source;
        let said = refusal(&folder, &environment).await;
        assert!(said.contains("sealed under wrapping key"), "an old one opens nothing: {said}");
    }
    folder.config.wrapping_key = WrappingKeySource::Env(VARIABLE.to_owned());
    let ca = CaProcess::start_in(&folder, &[], &environment).await;
    assert_eq!(ca.root_fingerprint, root);
    ca.terminate().await;
}

#[rstest]
#[case::gone("gone", "gone cannot be read")]
#[case::of_another_folder("../wrapping.key", "is not the name of a systemd credential")]
#[case::that_others_can_read("open", "can be read by others")]
#[case::that_is_none("words", "neither base64 nor hex")]
#[tokio::test]
async fn is_no_credential(#[case] name: &str, #[case] expected: &str) {
    use std::os::unix::fs::PermissionsExt;
    let mut folder = CaFolder::new();
    let credentials = credentials(&folder);
    fs::copy(folder.path().join("wrapping.key"), credentials.join("open")).unwrap();
    fs::write(credentials.join("words"), "open sesame").unwrap();
    for (name, mode) in [("open", 0o644), ("words", 0o600)] {
        fs::set_permissions(credentials.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    folder.config.wrapping_key = WrappingKeySource::Credential(name.to_owned());
    let said = refusal(&folder, &[(CREDENTIALS, credentials.to_str().unwrap())]).await;
    assert!(said.contains(expected) && !said.contains("sesame"), "{said}");
}

#[tokio::test]
async fn is_missed_where_it_should_be() {
    let mut folder = CaFolder::new();
    folder.config.wrapping_key = WrappingKeySource::Credential("wrapping-key".to_owned());
    let said = refusal(&folder, &[]).await;
    assert!(said.contains(CREDENTIALS) && said.contains("LoadCredential="), "{said}");
    folder.config.wrapping_key = WrappingKeySource::Env(VARIABLE.to_owned());
    let said = refusal(&folder, &[]).await;
    assert!(said.contains(VARIABLE), "{said}");
    let said = refusal(&folder, &[(VARIABLE, "open sesame")]).await;
    assert!(said.contains("neither base64 nor hex") && !said.contains("sesame"), "{said}");
}
