//! What the log tells of roots, issuing CAs, JWT keys and the wrapping key.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use ca_daemon::keys::{WrappingKeySource, generate_wrapping_key};
use secplane_proto::{
    secplane::ca::v1::{
        AuditOutcome, AuditRecord, AuthorityKind, AuthorityRecord, AuthorityState, ListAuthoritiesRequest,
        RekeyRequest, rekey_request::NewWrappingKey,
    },
    spire::api::server::localauthority::v1::{
        ActivateJwtAuthorityRequest, ActivateX509AuthorityRequest, PrepareJwtAuthorityRequest,
        PrepareX509AuthorityRequest, RevokeJwtAuthorityRequest, RevokeX509AuthorityRequest,
        TaintJwtAuthorityRequest, TaintX509AuthorityRequest,
    },
};
use secplane_tests::{
    audit_log::AuditLog,
    authority::{Ca, CaFolder},
    moved_clock::MovedClock,
    soon,
};

use super::super::root_rotation::asking;
use super::{is_local_admin, is_remote_admin, remote_admin, secrets::holds};

const YEAR: Duration = Duration::from_secs(31_557_600);

async fn authorities(ca: &Ca, kind: AuthorityKind) -> Vec<AuthorityRecord> {
    let listed = ca.admin().authority().list_authorities(ListAuthoritiesRequest::default()).await.unwrap();
    let mut listed = listed.into_inner().authorities;
    listed.retain(|authority| authority.kind() == kind);
    listed
}

/// The ID of the only one of its kind.
async fn only(ca: &Ca, kind: AuthorityKind) -> String {
    let listed = authorities(ca, kind).await;
    let [one] = listed.as_slice() else { panic!("{listed:?}") };
    one.authority_id.clone()
}

fn is_daemon(record: &AuditRecord) -> bool {
    record.actor == "ca-daemon" && record.address.is_empty()
}

/// Each step stands in the log once: what came too early as failed, then what was forced.
fn tells_each_step(log: &AuditLog, kind: &str, first: &str, next: &str, is_by: fn(&AuditRecord) -> bool) {
    use AuditOutcome::{Done, Failed};
    for (action, target, outcome, forced) in [
        ("authority.prepare", next, Done, false),
        ("authority.activate", next, Failed, false),
        ("authority.activate", next, Done, true),
        ("authority.taint", first, Done, false),
        ("authority.revoke", first, Failed, false),
        ("authority.revoke", first, Done, true),
    ] {
        let record = log.one(action, target, outcome);
        assert!(is_by(&record), "{record:?}");
        assert_eq!(record.details["kind"], kind, "{record:?}");
        assert_eq!(record.details.contains_key("forced"), forced, "{record:?}");
        assert_eq!(record.details.contains_key("reason"), outcome == Failed, "{record:?}");
    }
}

#[tokio::test]
async fn records_what_an_authority_begins_with() {
    let ca = Ca::start().await;
    let root = only(&ca, AuthorityKind::Root).await;
    let jwt = only(&ca, AuthorityKind::Jwt).await;
    let issuing = only(&ca, AuthorityKind::Issuing).await;

    let log = AuditLog::read(&ca.admin()).await;
    let began = log.of("authority.activate");
    assert!(began.iter().all(is_daemon), "{began:#?}");
    let began: BTreeSet<_> =
        began.iter().map(|record| (record.details["kind"].as_str(), record.target.as_str())).collect();
    assert_eq!(began, BTreeSet::from([("root", root.as_str()), ("jwt", jwt.as_str())]));
    let first = log.one("authority.rotate", &issuing, AuditOutcome::Done);
    assert!(is_daemon(&first), "{first:?}");
    assert_eq!((first.details["kind"].as_str(), &first.details["root"]), ("issuing", &root));
}

#[tokio::test]
async fn records_each_step_in_the_life_of_a_root() {
    let ca = Ca::start().await;
    let first = only(&ca, AuthorityKind::Root).await;
    ca.admin().mint("/held", 0).await.unwrap();
    let mut steps = ca.admin().local_authority();
    let prepared = steps.prepare_x509_authority(PrepareX509AuthorityRequest {}).await.unwrap().into_inner();
    let next = prepared.prepared_authority.unwrap().authority_id;
    let activate = |force| asking(ActivateX509AuthorityRequest { authority_id: next.clone() }, force);
    steps.activate_x509_authority(activate(false)).await.unwrap_err();
    steps.activate_x509_authority(activate(true)).await.unwrap();
    steps.taint_x509_authority(TaintX509AuthorityRequest { authority_id: first.clone() }).await.unwrap();
    let revoke = |force| asking(RevokeX509AuthorityRequest { authority_id: first.clone() }, force);
    steps.revoke_x509_authority(revoke(false)).await.unwrap_err();
    steps.revoke_x509_authority(revoke(true)).await.unwrap();

    let log = AuditLog::read(&ca.admin()).await;
    tells_each_step(&log, "root", &first, &next, is_local_admin);
    // The issuing CA below the new root.
    let below = log.of("authority.rotate").into_iter().filter(|record| record.details["root"] == next);
    assert_eq!(below.count(), 1, "{:#?}", log.of("authority.rotate"));
}

#[tokio::test]
async fn records_each_step_in_the_life_of_a_jwt_key() {
    let ca = Ca::start().await;
    let first = only(&ca, AuthorityKind::Jwt).await;
    let mut steps = remote_admin(&ca).await.local_authority();
    let prepared = steps.prepare_jwt_authority(PrepareJwtAuthorityRequest {}).await.unwrap().into_inner();
    let next = prepared.prepared_authority.unwrap().authority_id;
    let activate = |force| asking(ActivateJwtAuthorityRequest { authority_id: next.clone() }, force);
    steps.activate_jwt_authority(activate(false)).await.unwrap_err();
    steps.activate_jwt_authority(activate(true)).await.unwrap();
    steps.taint_jwt_authority(TaintJwtAuthorityRequest { authority_id: first.clone() }).await.unwrap();
    let revoke = |force| asking(RevokeJwtAuthorityRequest { authority_id: first.clone() }, force);
    steps.revoke_jwt_authority(revoke(false)).await.unwrap_err();
    steps.revoke_jwt_authority(revoke(true)).await.unwrap();

    let log = AuditLog::read(&ca.admin()).await;
    tells_each_step(&log, "jwt", &first, &next, is_remote_admin);
}

#[tokio::test]
async fn names_the_daemon_for_a_step_that_age_brought() {
    let time = MovedClock::default();
    let ca = CaFolder::new().start_with_clock(time.clock()).await;
    // A little more than half of the root's life.
    time.advance(YEAR * 5 + Duration::from_secs(1));
    let prepared = soon("a root is prepared", async {
        loop {
            let roots = authorities(&ca, AuthorityKind::Root).await;
            if let Some(found) = roots.into_iter().find(|root| root.state() == AuthorityState::Prepared) {
                return found.authority_id;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let log = AuditLog::read(&ca.admin()).await;
    let record = log.one("authority.prepare", &prepared, AuditOutcome::Done);
    assert!(is_daemon(&record), "{record:?}");
    assert_eq!(record.details["kind"], "root");
}

#[tokio::test]
async fn records_another_wrapping_key_by_its_name_alone() {
    let ca = Ca::start().await;
    let (old, new) = (ca.folder().path().join("wrapping.key"), ca.folder().path().join("new.key"));
    generate_wrapping_key(&new).unwrap();
    let name = |path: &Path| WrappingKeySource::File(path.to_owned()).read().unwrap().id().to_string();
    let file = NewWrappingKey::File(new.to_str().unwrap().to_owned());
    let request = RekeyRequest { new_wrapping_key: Some(file) };
    let sealed = ca.admin().authority().rekey(request.clone()).await.unwrap().into_inner().sealed;
    ca.admin().authority().rekey(request).await.unwrap_err();

    let log = AuditLog::read(&ca.admin()).await;
    let done = log.one("keys.rekey", &name(&new), AuditOutcome::Done);
    assert!(is_local_admin(&done), "{done:?}");
    assert_eq!((&done.details["from"], &done.details["sealed"]), (&name(&old), &sealed.to_string()));
    let again = log.one("keys.rekey", &name(&new), AuditOutcome::Failed);
    assert!(is_local_admin(&again) && again.details.contains_key("reason"), "{again:?}");
    for path in [old, new] {
        let key = fs::read_to_string(path).unwrap();
        assert!(!holds(&log, key.trim().as_bytes()));
    }
}
