//! `grpc.health.v1.Health`: whether to send calls here.

use secplane_tests::{
    authority::{Ca, CaFolder},
    database::Database,
    process::{CaProcess, Signal},
    soon,
};
use tonic::{Code, Streaming};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus::{self, NotServing, ServiceUnknown, Serving},
    health_client::HealthClient,
};

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

async fn next(states: &mut Streaming<HealthCheckResponse>) -> ServingStatus {
    soon("the state changes", states.message()).await.unwrap().unwrap().status()
}

async fn ends_with_unavailable(states: &mut Streaming<HealthCheckResponse>) {
    let end = soon("the stream ends", states.message()).await.unwrap_err();
    assert_eq!(end.code(), Code::Unavailable, "{end}");
}

#[tokio::test]
async fn follows_the_database() {
    let ca = Ca::start().await;
    let mut health = HealthClient::new(ca.connect_anonymously().await.channel());
    let mut states = health.watch(of("")).await.unwrap().into_inner();
    assert_eq!(next(&mut states).await, Serving);
    let mut database = Database::open(ca.folder()).await;
    database.run("ALTER TABLE replicas RENAME TO hidden").await;
    assert_eq!(next(&mut states).await, NotServing);
    for service in ["", "spire.api.server.svid.v1.SVID", "secplane.ca.v1.Authority"] {
        let now = health.check(of(service)).await.unwrap().into_inner();
        assert_eq!(now.status(), NotServing, "the services stand and fall together: `{service}`");
    }
    database.run("ALTER TABLE hidden RENAME TO replicas").await;
    database.close().await;
    assert_eq!(next(&mut states).await, Serving);
}

#[tokio::test]
async fn knows_its_own_services_alone() {
    let ca = Ca::start().await;
    let mut health = HealthClient::new(ca.admin().channel());
    for service in ["elsewhere", "spire.api.server.svid.v1", &"x".repeat(10_000)] {
        let refused = health.check(of(service)).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{refused}");
    }
    // As the protocol has it: the stream stays open, for the service may come.
    let mut states = health.watch(of("elsewhere")).await.unwrap().into_inner();
    assert_eq!(next(&mut states).await, ServiceUnknown);
}

/// Whoever watches sends no further calls here from the moment that the daemon is told to stop.
#[tokio::test]
async fn serves_no_more_when_the_daemon_is_told_to_stop_then_ends_the_watch() {
    let ca = Ca::start().await;
    let mut health = HealthClient::new(ca.connect_anonymously().await.channel());
    let mut known = health.watch(of("")).await.unwrap().into_inner();
    assert_eq!(next(&mut known).await, Serving);
    let mut unknown = health.watch(of("elsewhere")).await.unwrap().into_inner();
    assert_eq!(next(&mut unknown).await, ServiceUnknown);
    let stopping = tokio::spawn(ca.stop());
    assert_eq!(next(&mut known).await, NotServing);
    for states in [&mut known, &mut unknown] {
        ends_with_unavailable(states).await;
    }
    stopping.await.unwrap();
}

#[tokio::test]
async fn serves_no_more_once_the_process_has_sigterm() {
    let folder = CaFolder::new();
    let ca = CaProcess::start(&folder).await;
    let mut watched = Vec::new();
    for clients in [ca.connect(None).await, ca.admin()] {
        let mut health = HealthClient::new(clients.channel());
        let mut states = health.watch(of("secplane.ca.v1.Authority")).await.unwrap().into_inner();
        assert_eq!(next(&mut states).await, Serving);
        watched.push((health, states));
    }
    ca.signal(Signal::TERM);
    for (_, states) in &mut watched {
        assert_eq!(next(states).await, NotServing);
        ends_with_unavailable(states).await;
    }
    assert!(ca.wait().await.success());
}
