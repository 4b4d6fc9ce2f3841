//! Below a CA that may sign certificates and no revocation lists.

use ca_daemon::{
    authority::CrlUrl,
    operations::doctor::{Verdict, examine},
};
use rcgen::KeyUsagePurpose;
use secplane_identity::x509::Certificate;
use secplane_proto::secplane::ca::v1::{GetStatusRequest, revoke_request::Target};

use super::{
    below,
    outside::{CaCerts, Outside},
    verify,
};

/// The key usage of `ca-cert.pem` among Istio's samples.
#[tokio::test]
async fn signs_below_a_ca_that_may_sign_no_lists() {
    let outside = Outside::new();
    let mut files = CaCerts::below(&outside);
    files.signed_by(&outside, |params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]);
    let (mut folder, _) = below(&files);
    folder.config.crl.url = Some(CrlUrl::parse("http://ca.example.org/crl").unwrap());
    let ca = folder.start().await;
    let svid = ca.admin().mint("/a", 0).await.unwrap();
    verify(&svid, &outside.root).unwrap();
    ca.connect_as(&svid).await.renew().await.unwrap();
    let issuing = Certificate::parse(&svid.chain()[1]).unwrap();
    let lists = ca.admin().revocation_lists().await.unwrap();
    let issuers: Vec<_> = lists.iter().map(|list| Some(&list.issuer_key_id)).collect();
    assert_eq!(issuers, [issuing.subject_key_id.as_ref()], "its issuing CA has the only list");
    let status = ca.admin().authority().get_status(GetStatusRequest {}).await.unwrap().into_inner();
    assert!(status.ca_without_lists);
    let report = examine(&ca.folder().config).await;
    let warned = report.findings().iter().any(|finding| {
        finding.verdict == Verdict::Warn
            && finding.check == "revocation"
            && finding.message.contains("cRLSign")
    });
    assert!(warned, "{report}");

    // The authority itself refuses what is below an issuing CA that was revoked.
    ca.admin().revoke_all(Target::SerialNumber(issuing.serial)).await.unwrap();
    svid.knock(ca.grpc_address(), &ca.bundle().await).await.unwrap_err();
    verify(&ca.admin().mint("/a", 0).await.unwrap(), &outside.root).unwrap();
}
