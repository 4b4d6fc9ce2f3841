//! Health, metrics and the bundle over plain HTTP, and the services that only the local admin may call.

use secplane_identity::PrivateKey;
use secplane_proto::{
    secplane::ca::v1::IssueIstioCaRequest,
    spire::api::{
        server::{
            bundle::v1::BatchCreateFederatedBundleRequest,
            debug::v1::{GetInfoRequest, debug_client::DebugClient},
            localauthority::v1::{
                ActivateJwtAuthorityRequest, GetJwtAuthorityStateRequest, PrepareJwtAuthorityRequest,
                TaintJwtAuthorityRequest,
            },
            logger::v1::{GetLoggerRequest, logger_client::LoggerClient},
            svid::v1::{MintJwtsvidRequest, NewDownstreamX509caRequest},
        },
        types::{self, LogLevel},
    },
};
use secplane_tests::{
    audit_log::AuditLog,
    authority::{Ca, CaFolder, TRUST_DOMAIN},
    database::Database,
    entries::{entry, id},
    plain_http::get,
    process::CaProcess,
};
use tonic::Code;

use super::root_rotation::asking;

#[tokio::test]
async fn is_live_and_ready() {
    let ca = Ca::start().await;
    let address = ca.operations_address();
    assert_eq!(get(address, "/live", &[]).await.status, 200);
    let ready = get(address, "/ready", &[]).await;
    assert_eq!((ready.status, ready.json()["ready"].as_bool()), (200, Some(true)), "{ready:?}");
    assert_eq!(get(address, "/elsewhere", &[]).await.status, 404);
}

#[tokio::test]
async fn is_not_ready_without_its_database() {
    let ca = Ca::start().await;
    let mut database = Database::open(ca.folder()).await;
    database.run("ALTER TABLE replicas RENAME TO hidden").await;
    let ready = get(ca.operations_address(), "/ready", &[]).await;
    assert_eq!(ready.status, 503);
    assert!(ready.json()["missing"][0].as_str().unwrap().contains("database"), "{ready:?}");
    assert_eq!(get(ca.operations_address(), "/live", &[]).await.status, 200, "a restart would not help");
    database.run("ALTER TABLE hidden RENAME TO replicas").await;
    database.close().await;
}

#[tokio::test]
async fn counts_what_happens() {
    let ca = Ca::start().await;
    ca.admin().mint("/a", 0).await.unwrap();
    let denied = ca.connect_anonymously().await.mint("/a", 0).await.err().unwrap();
    assert_eq!(denied.code(), Code::Unauthenticated);

    let metrics = get(ca.operations_address(), "/metrics", &[]).await;
    assert!(metrics.header("content-type").starts_with("application/openmetrics-text"));
    for line in [
        r#"secplane_ca_grpc_calls_total{method="/spire.api.server.svid.v1.SVID/MintX509SVID",code="OK"} 1"#,
        r#"secplane_ca_grpc_calls_total{method="/spire.api.server.svid.v1.SVID/MintX509SVID",code="UNAUTHENTICATED"} 1"#,
        r#"secplane_ca_denied_calls_total{reason="unauthenticated"} 1"#,
        "secplane_ca_entries 0",
        "secplane_ca_bundle_sequence 1",
    ] {
        assert!(metrics.body.lines().any(|found| found == line), "no `{line}` in\n{}", metrics.body);
    }
}

#[tokio::test]
async fn tells_tokens_and_authorities_apart() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    let mint = |audience: &str| MintJwtsvidRequest {
        id: Some(id("/a")),
        audience: vec![audience.to_owned()],
        ttl: 0,
    };
    admin.svid().mint_jwtsvid(mint("db")).await.unwrap();
    admin.svid().mint_jwtsvid(mint("")).await.unwrap_err();
    let csr = PrivateKey::generate().unwrap().bare_request().unwrap();
    admin.authority().issue_istio_ca(IssueIstioCaRequest { csr: csr.clone(), ttl: 3600 }).await.unwrap();
    admin.create_entry(types::Entry { downstream: true, ..entry("/nested", &["uid:4711"]) }).await;
    let nested = ca.connect_as(&admin.mint("/nested", 0).await.unwrap()).await;
    let wanted = NewDownstreamX509caRequest { csr, preferred_ttl: 600 };
    nested.svid().new_downstream_x509ca(wanted).await.unwrap();
    let keys = admin.local_authority();
    let first = keys.clone().get_jwt_authority_state(GetJwtAuthorityStateRequest {}).await.unwrap();
    let first = first.into_inner().active.unwrap().authority_id;
    let next = keys.clone().prepare_jwt_authority(PrepareJwtAuthorityRequest {}).await.unwrap();
    let next = next.into_inner().prepared_authority.unwrap().authority_id;
    let activate = ActivateJwtAuthorityRequest { authority_id: next };
    keys.clone().activate_jwt_authority(asking(activate, true)).await.unwrap();
    let taint = TaintJwtAuthorityRequest { authority_id: first };
    keys.clone().taint_jwt_authority(asking(taint, false)).await.unwrap();

    let metrics = get(ca.operations_address(), "/metrics", &[]).await.body;
    for line in [
        r#"secplane_ca_certificates_total{kind="jwt-svid",result="issued"} 1"#,
        r#"secplane_ca_certificates_total{kind="jwt-svid",result="refused"} 1"#,
        r#"secplane_ca_signing_duration_seconds_count{kind="jwt-svid"} 1"#,
        r#"secplane_ca_authority_expiry_timestamp_seconds{kind="mesh",state="active"} "#,
        r#"secplane_ca_authority_expiry_timestamp_seconds{kind="downstream",state="active"} "#,
        r#"secplane_ca_authority_expiry_timestamp_seconds{kind="jwt",state="active"} "#,
        r#"secplane_ca_authority_expiry_timestamp_seconds{kind="jwt",state="tainted"} "#,
    ] {
        assert!(metrics.lines().any(|found| found.starts_with(line)), "no `{line}` in\n{metrics}");
    }
    assert!(!metrics.contains(r#"kind="other""#) && !metrics.contains(r#"state="other""#), "{metrics}");
}

#[tokio::test]
async fn serves_the_bundle_to_whoever_polls_it() {
    let ca = Ca::start().await;
    let bundle = get(ca.operations_address(), "/bundle", &[]).await;
    assert_eq!((bundle.status, bundle.header("content-type")), (200, "application/json"));
    let trust_domain = ca.folder().config.trust_domain.clone();
    let read = secplane_identity::TrustBundle::from_spiffe_json(trust_domain, &bundle.body).unwrap();
    assert_eq!(read.to_pem(), ca.bundle().await.to_pem());
    assert!(bundle.header("cache-control").starts_with("max-age="));

    let tag = bundle.header("etag").to_owned();
    assert_eq!(tag, format!("\"{}\"", read.sequence()));
    let again = get(ca.operations_address(), "/bundle", &[("if-none-match", &tag)]).await;
    assert_eq!((again.status, again.body.as_str(), again.header("etag")), (304, "", tag.as_str()));
}

#[tokio::test]
async fn serves_the_revocation_list_of_each_issuer() {
    let ca = Ca::start().await;
    let lists = ca.admin().revocation_lists().await.unwrap();
    let list = lists.first().expect("every issuing CA has a list");
    let path = format!("/crl/{}.crl", list.issuer_key_id);
    let served = get(ca.operations_address(), &path, &[]).await;
    assert_eq!((served.status, served.header("content-type")), (200, "application/pkix-crl"));
    assert_eq!(served.bytes, list.crl);
    let known = [("if-none-match", served.header("etag"))];
    assert_eq!(get(ca.operations_address(), &path, &known).await.status, 304);
    assert_eq!(get(ca.operations_address(), "/crl/00.crl", &[]).await.status, 404);
}

#[tokio::test]
async fn says_its_health_to_anybody() {
    let ca = Ca::start().await;
    for clients in [ca.admin(), ca.connect_anonymously().await] {
        clients.call("/grpc.health.v1.Health/Check").await.unwrap();
    }
}

#[tokio::test]
async fn shows_itself_to_the_local_admin_alone() {
    let ca = Ca::start().await;
    let info = DebugClient::new(ca.admin().channel()).get_info(GetInfoRequest {}).await.unwrap().into_inner();
    let id = info.svid_chain[0].id.clone().unwrap();
    assert_eq!((id.trust_domain.as_str(), id.path.as_str()), (TRUST_DOMAIN, "/spire/server"));
    assert_eq!(info.svid_chain.len(), 2, "the leaf and the issuing CA");

    let admin = ca.admin().mint("/admin", 0).await.unwrap();
    let over_tls = ca.connect_as(&admin).await.channel();
    let refused = DebugClient::new(over_tls.clone()).get_info(GetInfoRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let refused = LoggerClient::new(over_tls).get_logger(GetLoggerRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn shows_how_much_it_holds() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    admin.create_entry(entry("/a", &["uid:1"])).await;
    let bundle = |name: &str| types::Bundle { trust_domain: name.to_owned(), ..Default::default() };
    let bundle = vec![bundle("a.net"), bundle("b.net")];
    let create = BatchCreateFederatedBundleRequest { bundle, output_mask: None };
    admin.bundle().batch_create_federated_bundle(create).await.unwrap();
    let info = DebugClient::new(admin.channel()).get_info(GetInfoRequest {}).await.unwrap().into_inner();
    assert_eq!((info.entries_count, info.federated_bundles_count), (1, 2));
}

#[tokio::test]
async fn changes_what_it_logs() {
    use secplane_proto::spire::api::server::logger::v1::{ResetLogLevelRequest, SetLogLevelRequest};
    let folder = CaFolder::new();
    let ca = CaProcess::start(&folder).await;
    let mut logger = LoggerClient::new(ca.admin().channel());
    let level =
        |logger: secplane_proto::spire::api::types::Logger| (logger.current_level(), logger.launch_level());
    let set = SetLogLevelRequest { new_level: LogLevel::Debug.into() };
    let now = level(logger.set_log_level(set).await.unwrap().into_inner());
    assert_eq!(now, (LogLevel::Debug, LogLevel::Info));
    let now = level(logger.get_logger(GetLoggerRequest {}).await.unwrap().into_inner());
    assert_eq!(now, (LogLevel::Debug, LogLevel::Info));
    let now = level(logger.reset_log_level(ResetLogLevelRequest {}).await.unwrap().into_inner());
    assert_eq!(now, (LogLevel::Info, LogLevel::Info));
    let refused = logger.set_log_level(SetLogLevelRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);

    let log = AuditLog::read(&ca.admin()).await;
    ca.terminate().await;
    let changes = log.of("configuration.reload");
    let filters: Vec<_> = changes.iter().map(|record| record.details["filter"].as_str()).collect();
    assert_eq!(filters, ["info,ca_daemon=debug,secplane_identity=debug", "info"], "{changes:#?}");
    assert!(changes.iter().all(|record| record.target == "log.filter"), "{changes:#?}");
}
