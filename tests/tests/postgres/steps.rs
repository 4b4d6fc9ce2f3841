//! What age brings: each replica sees that a step is due, and it is taken once.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use secplane_proto::{
    secplane::ca::v1::{
        AuditOutcome, AuthorityKind, AuthorityRecord, AuthorityState, ListAuthoritiesRequest,
    },
    spire::api::types::Entry,
};
use secplane_tests::{
    audit_log::AuditLog,
    authority::{Ca, CaFolder},
    entries::entry,
    moved_clock::MovedClock,
};

use super::until;

/// As long as humantime counts it; a root lives for ten.
const YEAR: Duration = Duration::from_secs(31_557_600);

async fn authorities(ca: &Ca) -> Vec<AuthorityRecord> {
    ca.admin()
        .authority()
        .list_authorities(ListAuthoritiesRequest::default())
        .await
        .unwrap()
        .into_inner()
        .authorities
}

async fn number(ca: &Ca, kind: AuthorityKind, state: AuthorityState) -> usize {
    let all = authorities(ca).await;
    all.iter().filter(|found| (found.kind(), found.state()) == (kind, state)).count()
}

/// Waits until every replica has done all that was due at an instant. The last of it is the certificate of its own
/// server, below an issuing CA of its own.
async fn until_all_have_done_what_was_due(replicas: &[Ca; 2], at: SystemTime) {
    let at = i64::try_from(at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()).unwrap();
    until("another server certificate of every replica", async || {
        let issuing = authorities(&replicas[0]).await;
        let records = replicas[0].admin().records().await.unwrap();
        let renewed: BTreeSet<_> = records
            .iter()
            .filter(|record| record.requester == "ca-daemon" && record.issued_at >= at)
            .filter_map(|record| issuing.iter().find(|ca| ca.authority_id == record.issuer_key_id))
            .map(|ca| &ca.replica)
            .collect();
        (renewed.len() == replicas.len()).then_some(())
    })
    .await;
}

/// How often an action was done, by the logs of both replicas.
fn done(logs: &[AuditLog; 2], action: &str, kind: &str) -> usize {
    logs.iter()
        .flat_map(|log| log.of(action))
        .filter(|record| record.outcome() == AuditOutcome::Done)
        .filter(|record| record.details.get("kind").is_some_and(|found| found == kind))
        .count()
}

#[tokio::test]
async fn are_taken_once_however_many_see_that_they_are_due() {
    let time = MovedClock::default();
    let first = CaFolder::new();
    let second = CaFolder::replica_of(&first);
    let replicas = [first.start_with_clock(time.clock()).await, second.start_with_clock(time.clock()).await];

    // Past half of the root's life both see at once that it needs a successor, and that the JWT key has expired.
    time.advance(YEAR * 5 + Duration::from_secs(60));
    until_all_have_done_what_was_due(&replicas, time.now() - Duration::from_secs(60)).await;
    for replica in &replicas {
        assert_eq!(number(replica, AuthorityKind::Root, AuthorityState::Prepared).await, 1);
        assert_eq!(number(replica, AuthorityKind::Root, AuthorityState::Active).await, 1);
        assert_eq!(number(replica, AuthorityKind::Jwt, AuthorityState::Active).await, 1);
    }

    // At five sixths of it the successor takes its place.
    time.advance(YEAR * 10 / 3);
    until_all_have_done_what_was_due(&replicas, time.now() - Duration::from_secs(60)).await;
    for replica in &replicas {
        assert_eq!(number(replica, AuthorityKind::Root, AuthorityState::Prepared).await, 0);
        assert_eq!(number(replica, AuthorityKind::Root, AuthorityState::Active).await, 1);
        assert_eq!(number(replica, AuthorityKind::Root, AuthorityState::Old).await, 1);
    }

    let logs = [AuditLog::read(&replicas[0].admin()).await, AuditLog::read(&replicas[1].admin()).await];
    assert_eq!((done(&logs, "authority.prepare", "root"), done(&logs, "authority.prepare", "jwt")), (1, 2));
    // The first of each was activated when the authority began.
    assert_eq!((done(&logs, "authority.activate", "root"), done(&logs, "authority.activate", "jwt")), (2, 3));
}

#[tokio::test]
async fn clear_away_once_what_has_expired() {
    let time = MovedClock::default();
    let first = CaFolder::new();
    let second = CaFolder::replica_of(&first);
    let replicas = [first.start_with_clock(time.clock()).await, second.start_with_clock(time.clock()).await];
    let in_an_hour = time.now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() + 3600;
    let ending = Entry { expires_at: in_an_hour.try_into().unwrap(), ..entry("/ending", &["uid:1"]) };
    let ending = replicas[0].admin().create_entry(ending).await;
    let staying = replicas[1].admin().create_entry(entry("/staying", &["uid:1"])).await;

    time.advance(Duration::from_secs(3600 + 600));
    for replica in &replicas {
        until("the entry to go", async || replica.admin().get_entry(&ending.id).await.err()).await;
        replica.admin().get_entry(&staying.id).await.unwrap();
    }
    let logs = [AuditLog::read(&replicas[0].admin()).await, AuditLog::read(&replicas[1].admin()).await];
    let deleted: Vec<_> = logs.iter().flat_map(|log| log.of("entry.delete")).collect();
    assert_eq!(deleted.len(), 1);
    assert_eq!((deleted[0].actor.as_str(), &deleted[0].target), ("ca-daemon", &ending.id));
    assert_eq!(deleted[0].details["reason"], "expired");
}
