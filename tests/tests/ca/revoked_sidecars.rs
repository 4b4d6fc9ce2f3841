//! From the authority to the bundle service: a sidecar whose certificate is revoked gets no bundle any more.

use hyper::StatusCode;
use secplane_tests::{
    authority::CaFolder,
    moved_clock::stopped,
    sidecars::{Bundles, Sidecar},
    soon,
};

/// The authority's clock stands still: it never looks for what is revoked, so what the bundle service hears was pushed.
#[tokio::test]
async fn ends_the_poll_of_a_revoked_sidecar_and_refuses_the_next() {
    let ca = CaFolder::new().start_with_clock(stopped()).await;
    let service = Bundles::start(&ca.admin(), &ca.workload()).await;
    let trusted = ca.bundle().await;
    let holder = ca.admin().mint("/ns/travel/sa/booking", 0).await.unwrap();
    let other = ca.admin().mint("/ns/travel/sa/booking", 0).await.unwrap();
    let mut sidecar = Sidecar::connect(&trusted, &service, &holder).await;
    let mut stays = Sidecar::connect(&trusted, &service, &other).await;
    let first = sidecar.pull(None).await.unwrap();
    assert_eq!(first.status(), StatusCode::OK);
    let etag = first.headers()["etag"].to_str().unwrap().to_owned();

    let held = tokio::spawn(async move {
        let outcome = sidecar.pull(Some(&etag)).await;
        (outcome, sidecar)
    });
    ca.admin().revoke(&holder).await.unwrap();
    let (outcome, sidecar) = soon("the held poll ends", held).await.unwrap();
    assert!(outcome.is_err(), "{outcome:?}");
    soon("the connection ends", sidecar.ended()).await;

    let again = holder.knock(service.address(), &trusted).await.unwrap_err();
    assert!(again.to_string().contains("CertificateRevoked"), "{again}");
    assert_eq!(stays.pull(None).await.unwrap().status(), StatusCode::OK, "others are not harmed");
}
