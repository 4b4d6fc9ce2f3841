//! The life of roots and JWT keys: by command, by age, across restarts, and under traffic.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use ca_daemon::{config::Config, instant::Clock};
use rstest::rstest;
use secplane_identity::TrustBundle;
use secplane_proto::{
    secplane::ca::v1::{
        AuthorityKind, AuthorityRecord, AuthorityState, ListAuthoritiesRequest, WatchTrustBundleRequest,
    },
    spire::api::{
        server::{
            bundle::v1::GetBundleRequest,
            localauthority::v1::{
                ActivateJwtAuthorityRequest, ActivateX509AuthorityRequest, GetJwtAuthorityStateRequest,
                GetWitAuthorityStateRequest, GetX509AuthorityStateRequest, PrepareJwtAuthorityRequest,
                PrepareX509AuthorityRequest, RevokeJwtAuthorityRequest, RevokeX509AuthorityRequest,
                TaintJwtAuthorityRequest, TaintX509AuthorityRequest, TaintX509UpstreamAuthorityRequest,
            },
        },
        types,
    },
    workload::X509svid,
};
use secplane_tests::{
    authority::{Ca, CaFolder},
    clients::Clients,
    entries::entry_for_this_process,
    holder::client_config,
    soon,
    workload::holder,
};
use tonic::{Code, Request, Status, metadata::MetadataValue};

use super::traffic::{self, Traffic};

/// A request that an admin insists on, or not.
pub(super) fn asking<T>(message: T, force: bool) -> Request<T> {
    let mut request = Request::new(message);
    if force {
        request.metadata_mut().insert("secplane-force", MetadataValue::from_static("true"));
    }
    request
}

pub(super) async fn prepare(clients: &Clients) -> String {
    let request = asking(PrepareX509AuthorityRequest {}, false);
    let prepared = clients.local_authority().prepare_x509_authority(request).await.unwrap();
    prepared.into_inner().prepared_authority.unwrap().authority_id
}

pub(super) async fn activate(clients: &Clients, id: &str, force: bool) -> Result<(), Status> {
    let request = asking(ActivateX509AuthorityRequest { authority_id: id.to_owned() }, force);
    clients.local_authority().activate_x509_authority(request).await.map(drop)
}

pub(super) async fn taint(clients: &Clients, id: &str) -> Result<(), Status> {
    let request = asking(TaintX509AuthorityRequest { authority_id: id.to_owned() }, false);
    clients.local_authority().taint_x509_authority(request).await.map(drop)
}

pub(super) async fn revoke(clients: &Clients, id: &str, force: bool) -> Result<(), Status> {
    let request = asking(RevokeX509AuthorityRequest { authority_id: id.to_owned() }, force);
    clients.local_authority().revoke_x509_authority(request).await.map(drop)
}

pub(super) async fn active(clients: &Clients) -> String {
    let states = clients.local_authority().get_x509_authority_state(GetX509AuthorityStateRequest {}).await;
    states.unwrap().into_inner().active.unwrap().authority_id
}

async fn authorities(clients: &Clients, kind: AuthorityKind) -> Vec<AuthorityRecord> {
    let listed = clients.authority().list_authorities(ListAuthoritiesRequest::default()).await.unwrap();
    let mut listed = listed.into_inner().authorities;
    listed.retain(|authority| authority.kind() == kind);
    listed
}

async fn wire_bundle(clients: &Clients) -> types::Bundle {
    clients.bundle().get_bundle(GetBundleRequest::default()).await.unwrap().into_inner()
}

pub(super) async fn bundle(ca: &Ca) -> TrustBundle {
    let roots = wire_bundle(&ca.admin()).await.x509_authorities;
    TrustBundle::new(ca.folder().config.trust_domain.clone(), roots.iter().map(|root| &root.asn1)).unwrap()
}

/// The key ID of the root above an SVID.
fn root_of(svid: &X509svid) -> String {
    let issuing = secplane_identity::x509::Certificate::parse(&holder(svid).chain()[1]).unwrap();
    issuing.authority_key_id.unwrap()
}

/// Takes a step as soon as it is not refused for safety any more.
pub(super) async fn when_safe(what: &str, step: impl AsyncFn() -> Result<(), Status>) {
    let safe = async {
        loop {
            match step().await {
                Ok(()) => return,
                Err(status) if status.code() == Code::FailedPrecondition => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(status) => panic!("{what}: {status}"),
            }
        }
    };
    soon(what, safe).await;
}

/// Certificates live for seconds, and followers are given one.
pub(super) fn hasty(config: &mut Config) {
    config.rotation.publish_ahead = Duration::from_secs(1);
    config.jwt.svid_validity = Duration::from_secs(8);
    let validity = &mut config.validity;
    validity.issuing_ca = Duration::from_secs(60);
    validity.agent = Duration::from_secs(8);
    for leaf in [&mut validity.x509_svid, &mut validity.server, &mut validity.client, &mut validity.longest] {
        *leaf = Duration::from_secs(8);
    }
}

/// The headline: whoever follows the Workload API never sees a verification fail, whatever the root does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotates_the_root_under_traffic_without_a_failure() {
    const WORKLOADS: usize = 4;
    const ROTATIONS: usize = 3;
    // Renewed at half of it: a machine that pauses for less than the other half renews in time.
    const LEAF: Duration = Duration::from_secs(12);
    let ca = Ca::start_with(|config| {
        hasty(config);
        let validity = &mut config.validity;
        (validity.x509_svid, validity.longest) = (LEAF, LEAF);
    })
    .await;
    let admin = ca.admin();
    let mut ids = Vec::new();
    for number in 0..WORKLOADS {
        let path = format!("/workload-{number}");
        admin.create_entry(traffic::entry(&path)).await;
        ids.push(format!("spiffe://example.org{path}"));
    }
    let traffic = Traffic::begin(&ca.workload(), &ids).await;
    let mut old = active(&admin).await;
    traffic.goes_on_below(&old).await;

    for _ in 0..ROTATIONS {
        let next = prepare(&admin).await;
        for mut workload in traffic.workloads.clone() {
            let trusted = workload.wait_for(|current| current.trusted.contains(&next));
            soon("a workload trusts the prepared root", trusted).await.unwrap();
        }
        traffic.goes_on_below(&old).await;
        when_safe("activate", async || activate(&admin, &next, false).await).await;
        when_safe("taint", async || taint(&admin, &old).await).await;
        for mut workload in traffic.workloads.clone() {
            let replaced = workload.wait_for(|current| current.root == next);
            soon("a workload has an SVID below the new root", replaced).await.unwrap();
        }
        traffic.goes_on_below(&next).await;
        when_safe("revoke", async || revoke(&admin, &old, false).await).await;
        for mut workload in traffic.workloads.clone() {
            let gone = workload.wait_for(|current| current.trusted == [next.as_str()]);
            soon("a workload no longer trusts the old root", gone).await.unwrap();
        }
        traffic.goes_on_below(&next).await;
        old = next;
    }
    traffic.end().await;
}

/// Long before its SVID, of an hour, would be renewed.
#[tokio::test]
async fn replaces_what_is_below_a_tainted_root_at_once() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    admin.create_entry(entry_for_this_process("/a")).await;
    let mut svids = ca.workload().x509_svids().await.unwrap();
    let old = active(&admin).await;
    assert_eq!(root_of(&svids.next_svid().await), old);
    let next = prepare(&admin).await;
    activate(&admin, &next, true).await.unwrap();
    when_safe("taint", async || taint(&admin, &old).await).await;
    soon("an SVID below the new root", async { while root_of(&svids.next_svid().await) != next {} }).await;
}

#[tokio::test]
async fn refuses_what_would_leave_somebody_without_trust() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    let old = active(&admin).await;
    let held = admin.mint("/held", 0).await.unwrap();
    let before = SystemTime::now();
    let next = prepare(&admin).await;
    let after = SystemTime::now();

    let refused = activate(&admin, &next, false).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("has not been in the trust bundle for long enough"), "{refused}");
    let until: u64 = refused.metadata().get("secplane-retry-at").unwrap().to_str().unwrap().parse().unwrap();
    let until = SystemTime::UNIX_EPOCH + Duration::from_secs(until);
    // In whole seconds, the rest of one cut off.
    let (hint, cut) = (Duration::from_secs(300), Duration::from_secs(1));
    assert!(
        (before + hint - cut..=after + hint).contains(&until),
        "{until:?}: not the bundle's refresh hint"
    );
    activate(&admin, &next, true).await.unwrap();

    let refused = revoke(&admin, &old, false).await.unwrap_err();
    assert_eq!(refused.code(), Code::Internal);
    assert_eq!(
        refused.message(),
        "failed to revoke X.509 authority: it is not possible to revoke an untainted root CA"
    );
    taint(&admin, &old).await.unwrap();
    let mut tainted = wire_bundle(&admin).await.x509_authorities;
    assert_eq!(tainted.len(), 2, "it is still trusted");
    tainted.retain(|root| root.tainted);
    assert_eq!(tainted.len(), 1, "followers are told");
    let tainted = secplane_identity::x509::Certificate::parse(&tainted[0].asn1).unwrap();
    assert_eq!(tainted.subject_key_id.as_ref(), Some(&old));
    let refused = revoke(&admin, &old, false).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("neither expired nor revoked"), "{refused}");

    // Both are let in, until the root goes.
    held.knock(ca.grpc_address(), &bundle(&ca).await).await.unwrap();
    revoke(&admin, &old, true).await.unwrap();
    assert_eq!(wire_bundle(&admin).await.x509_authorities.len(), 1);
    let shut_out = async {
        while held.knock(ca.grpc_address(), &bundle(&ca).await).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("the holder is refused", shut_out).await;
}

#[rstest]
#[case("", Code::InvalidArgument, "no authority ID provided")]
#[case("nobody", Code::InvalidArgument, "unexpected authority ID")]
#[tokio::test]
async fn refuses_ids_that_are_not_meant(#[case] id: &str, #[case] code: Code, #[case] text: &str) {
    let ca = Ca::start().await;
    let mut clients = ca.admin().local_authority();
    let authority_id = id.to_owned();
    let refusals = [
        clients
            .activate_x509_authority(ActivateX509AuthorityRequest { authority_id: authority_id.clone() })
            .await
            .unwrap_err(),
        clients
            .taint_x509_authority(TaintX509AuthorityRequest { authority_id: authority_id.clone() })
            .await
            .unwrap_err(),
        clients
            .revoke_x509_authority(RevokeX509AuthorityRequest { authority_id: authority_id.clone() })
            .await
            .unwrap_err(),
        clients
            .activate_jwt_authority(ActivateJwtAuthorityRequest { authority_id: authority_id.clone() })
            .await
            .unwrap_err(),
        clients
            .taint_jwt_authority(TaintJwtAuthorityRequest { authority_id: authority_id.clone() })
            .await
            .unwrap_err(),
        clients.revoke_jwt_authority(RevokeJwtAuthorityRequest { authority_id }).await.unwrap_err(),
    ];
    for refused in refusals {
        assert_eq!((refused.code(), refused.message()), (code, text));
    }
}

#[tokio::test]
async fn keeps_the_order_of_steps() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    let first = active(&admin).await;
    let said = |refused: Result<(), Status>| {
        let status = refused.unwrap_err();
        (status.code(), status.message().to_owned())
    };
    let invalid = |text: &str| (Code::InvalidArgument, text.to_owned());
    assert_eq!(said(activate(&admin, &first, true).await), invalid("unexpected authority ID"));
    assert_eq!(said(taint(&admin, &first).await), invalid("unable to taint current local authority"));
    assert_eq!(said(revoke(&admin, &first, true).await), invalid("unable to revoke current local authority"));
    let next = prepare(&admin).await;
    assert_eq!(prepare(&admin).await, next);
    assert_eq!(said(taint(&admin, &next).await), invalid("only Old local authorities can be tainted"));
    assert_eq!(said(revoke(&admin, &next, true).await), invalid("only Old local authority can be revoked"));
    activate(&admin, &next, true).await.unwrap();
    assert_eq!(
        said(activate(&admin, &first, true).await),
        (Code::Internal, "only Prepared authorities can be activated".to_owned())
    );
    let upstream = TaintX509UpstreamAuthorityRequest { subject_key_id: first };
    let refused = admin.local_authority().taint_x509_upstream_authority(upstream).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let refused =
        admin.local_authority().get_wit_authority_state(GetWitAuthorityStateRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
}

#[tokio::test]
async fn lets_only_admins_take_steps() {
    let ca = Ca::start().await;
    let nobody = ca.connect_anonymously().await;
    let refused =
        nobody.local_authority().prepare_x509_authority(PrepareX509AuthorityRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let workload = ca.admin().mint("/a", 0).await.unwrap();
    let workload = ca.connect_as(&workload).await;
    for refused in [
        workload.local_authority().prepare_x509_authority(PrepareX509AuthorityRequest {}).await.map(drop),
        workload.authority().list_authorities(ListAuthoritiesRequest::default()).await.map(drop),
    ] {
        assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    }
    assert_eq!(authorities(&ca.admin(), AuthorityKind::Root).await.len(), 1);
}

#[tokio::test]
async fn ends_connections_below_a_revoked_root() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    let held = admin.mint("/held", 0).await.unwrap();
    let connected = ca.connect_as(&held).await;
    let watching = connected.trust_bundle().watch_trust_bundle(WatchTrustBundleRequest {}).await.unwrap();
    let mut watching = watching.into_inner();
    let old = active(&admin).await;
    let next = prepare(&admin).await;
    activate(&admin, &next, true).await.unwrap();
    taint(&admin, &old).await.unwrap();
    revoke(&admin, &old, true).await.unwrap();
    let ended = async {
        let mut last = 0;
        while let Ok(Some(message)) = watching.message().await {
            let sequence = message.bundle.unwrap().sequence_number;
            assert!(sequence > last, "each change has a number of its own");
            last = sequence;
        }
    };
    soon("the connection ends", ended).await;
}

#[tokio::test]
async fn goes_on_after_a_restart_in_every_state() {
    let mut ca = CaFolder::new().start().await;
    ca.admin().create_entry(entry_for_this_process("/a")).await;
    let first = active(&ca.admin()).await;
    let next = prepare(&ca.admin()).await;
    ca = ca.stop().await.start().await;
    assert_eq!(wire_bundle(&ca.admin()).await.x509_authorities.len(), 2);
    activate(&ca.admin(), &next, true).await.unwrap();
    ca = ca.stop().await.start().await;
    assert_eq!(active(&ca.admin()).await, next);
    let svid = ca.workload().x509_svids().await.unwrap().next_svid().await;
    assert_eq!(root_of(&svid), next);
    taint(&ca.admin(), &first).await.unwrap();
    ca = ca.stop().await.start().await;
    assert!(wire_bundle(&ca.admin()).await.x509_authorities.iter().any(|root| root.tainted));
    revoke(&ca.admin(), &first, true).await.unwrap();
    ca = ca.stop().await.start().await;
    let roots = wire_bundle(&ca.admin()).await.x509_authorities;
    assert_eq!(roots.len(), 1);
    secplane_tests::holder::open(ca.grpc_address(), client_config(&bundle(&ca).await, None)).await.unwrap();
}

#[tokio::test]
async fn rotates_the_jwt_key_by_command() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    let mut clients = admin.local_authority();
    let states = clients.get_jwt_authority_state(GetJwtAuthorityStateRequest {}).await.unwrap().into_inner();
    let first = states.active.unwrap().authority_id;
    let prepared = clients.prepare_jwt_authority(PrepareJwtAuthorityRequest {}).await.unwrap();
    let next = prepared.into_inner().prepared_authority.unwrap().authority_id;
    let keys = wire_bundle(&admin).await.jwt_authorities;
    let ids: Vec<_> = keys.iter().map(|key| key.key_id.clone()).collect();
    assert_eq!(ids.len(), 2);
    assert!(ids.contains(&first) && ids.contains(&next));
    let request = |force| asking(ActivateJwtAuthorityRequest { authority_id: next.clone() }, force);
    let refused = clients.activate_jwt_authority(request(false)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    clients.activate_jwt_authority(request(true)).await.unwrap();
    let request = RevokeJwtAuthorityRequest { authority_id: first.clone() };
    let refused = clients.revoke_jwt_authority(request).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::Internal, "failed to revoke JWT authority: it is not possible to revoke an untainted key")
    );
    clients.taint_jwt_authority(TaintJwtAuthorityRequest { authority_id: first.clone() }).await.unwrap();
    let request = |force| asking(RevokeJwtAuthorityRequest { authority_id: first.clone() }, force);
    let refused = clients.revoke_jwt_authority(request(false)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "tokens of its may be valid: {refused}");
    clients.revoke_jwt_authority(request(true)).await.unwrap();
    let keys = wire_bundle(&admin).await.jwt_authorities;
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].key_id, next);
}

#[tokio::test]
async fn rotates_by_age_on_its_own() {
    const YEAR: u64 = 31_557_600;
    let passed = Arc::new(AtomicU64::new(0));
    let (start, seconds) = (SystemTime::now(), Arc::clone(&passed));
    let clock = Clock::of(move || start + Duration::from_secs(seconds.load(Ordering::SeqCst)));
    let ca = CaFolder::new().start_with_clock(clock).await;
    let admin = ca.admin();
    let first = active(&admin).await;
    let listed = authorities(&admin, AuthorityKind::Root).await;
    assert_eq!(listed[0].next_step, "prepare");

    passed.store(5 * YEAR + 1, Ordering::SeqCst);
    let prepared = soon("a root is prepared at half of the life", async {
        loop {
            let listed = authorities(&admin, AuthorityKind::Root).await;
            if let Some(found) = listed.iter().find(|root| root.state() == AuthorityState::Prepared) {
                return found.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(prepared.next_step, "activate");
    passed.store(5 * YEAR * 5 / 3 + 1, Ordering::SeqCst);
    soon("it is activated well before the old one expires", async {
        while active(&admin).await == first {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(active(&admin).await, prepared.authority_id);
    assert_eq!(wire_bundle(&admin).await.x509_authorities.len(), 2, "the old one stays until it expires");
    passed.store(10 * YEAR + 2, Ordering::SeqCst);
    soon("the old one is forgotten", async {
        while authorities(&admin, AuthorityKind::Root).await.iter().any(|root| root.authority_id == first) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
