//! `--insecure`: plain text for development, and that it says so.

use secplane_proto::{secplane::ca::v1::GetStatusRequest, spire::api::server::bundle::v1::GetBundleRequest};
use secplane_tests::{
    authority::{Ca, CaFolder},
    clients::Clients,
    process::{CaProcess, complaint, run},
};

#[tokio::test]
async fn serves_plain_text_on_loopback_and_says_so() {
    let folder = CaFolder::new();
    let ca = CaProcess::start_with(&folder, &["--insecure"]).await;
    let anybody = Clients::over_plain_text(ca.grpc_address);
    let answer = anybody.bundle().get_bundle(GetBundleRequest::default()).await.unwrap();
    assert_eq!(answer.metadata().get("x-secplane-insecure").unwrap(), "true");
    assert!(anybody.authority().get_status(GetStatusRequest {}).await.unwrap().into_inner().insecure);
    let refusal = anybody.mint("/spire/server", 0).await.err().unwrap();
    assert_eq!(refusal.metadata().get("x-secplane-insecure").unwrap(), "true", "refusals say it, too");

    let minted = anybody.mint("/a", 0).await.unwrap();
    let record = ca.admin().record(minted.leaf().serial).await.unwrap();
    assert!(record.requester.starts_with("insecure(127.0.0.1:"), "{}", record.requester);
    assert!(ca.log().contains("INSECURE"), "{}", ca.log());
    ca.terminate().await;
}

#[tokio::test]
async fn stays_on_loopback_unless_told_twice() {
    let mut folder = CaFolder::new();
    folder.config.listen = "0.0.0.0:0".parse().unwrap();
    let config = folder.write_config();
    let said = complaint(&run(&["serve", "--config", config.to_str().unwrap(), "--insecure"]).await);
    assert!(said.contains("not loopback") && said.contains("insecure_beyond_loopback"), "{said}");

    let flags = ["--insecure", "--insecure-beyond-loopback"];
    CaProcess::start_with(&folder, &flags).await.terminate().await;
}

#[tokio::test]
async fn is_off_by_default() {
    let ca = Ca::start().await;
    let plain = Clients::over_plain_text(ca.grpc_address());
    assert!(plain.bundle().get_bundle(GetBundleRequest::default()).await.is_err());
    let answer = ca.admin().bundle().get_bundle(GetBundleRequest::default()).await.unwrap();
    assert!(answer.metadata().get("x-secplane-insecure").is_none());
}
