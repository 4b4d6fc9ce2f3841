//! Health, metrics and the bundle over plain HTTP, and the services that only the local admin may call.

use secplane_proto::spire::api::{
    server::{
        debug::v1::{GetInfoRequest, debug_client::DebugClient},
        logger::v1::{GetLoggerRequest, logger_client::LoggerClient},
    },
    types::LogLevel,
};
use secplane_tests::{
    audit_log::AuditLog,
    authority::{Ca, CaFolder, TRUST_DOMAIN},
    database::Database,
    plain_http::get,
    process::CaProcess,
};
use tonic::Code;

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
