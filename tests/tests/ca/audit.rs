//! The audit log: what is in it, what is not, and what it proves.

mod authorities;
mod grants;
mod kills;
mod refusals;
mod secrets;
mod tampering;

use std::time::Duration;

use ca_daemon::audit::{verify_consistency, verify_inclusion};
use prost::Message;
use secplane_identity::PrivateKey;
use secplane_proto::{
    secplane::ca::v1::{
        AuditOutcome, AuditRecord, ListAuditEntriesRequest, ProveConsistencyRequest, ProveInclusionRequest,
        TailAuditEntriesRequest,
    },
    spire::api::types,
};
use secplane_tests::{
    audit_log::AuditLog, authority::Ca, clients::Clients, entries::entry, process, requests, soon,
};
use tonic::Code;

const ADMIN: &str = "admin-socket(uid=";

fn is_local_admin(record: &AuditRecord) -> bool {
    record.actor.starts_with(ADMIN) && record.address.is_empty()
}

/// An admin who calls over TLS.
async fn remote_admin(ca: &Ca) -> Clients {
    ca.admin().create_entry(types::Entry { admin: true, ..entry("/admin", &["uid:4711"]) }).await;
    ca.connect_as(&ca.admin().mint("/admin", 0).await.unwrap()).await
}

fn is_remote_admin(record: &AuditRecord) -> bool {
    record.actor == "spiffe://example.org/admin" && record.address.starts_with("127.0.0.1:")
}

fn hashes(proof: Vec<Vec<u8>>) -> Vec<[u8; 32]> {
    proof.into_iter().map(|hash| hash.try_into().unwrap()).collect()
}

#[tokio::test]
async fn records_who_did_what_to_what() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    let registered = admin.create_entry(entry("/workload", &["uid:4711"])).await;
    let svid = admin.mint("/workload", 0).await.unwrap();
    let server = admin.issue_server(&["db.example.org"]).await.unwrap();
    let client = admin.issue_client("backup", 0).await.unwrap();
    let renewed = ca.connect_as(&client).await.renew().await.unwrap();
    admin.revoke(&renewed).await.unwrap();
    admin.delete_entry(&registered).await;
    let refused = ca.connect_as(&svid).await.mint("/other", 0).await;
    assert_eq!(refused.err().unwrap().code(), Code::PermissionDenied);

    // Started again, so that what was recorded at the stop is seen too.
    let ca = ca.restart().await;
    let log = AuditLog::read(&ca.admin()).await;
    log.verify(&[]).unwrap();
    let by_admin = |action, target: &str| {
        let record = log.one(action, target, AuditOutcome::Done);
        assert!(record.actor.starts_with(ADMIN), "{record:?}");
        assert_eq!(record.address, "");
        record
    };
    by_admin("entry.create", &registered.id);
    by_admin("entry.delete", &registered.id);
    let minted = by_admin("certificate.issue", &svid.leaf().serial);
    assert!(
        minted.details.values().any(|value| value.contains("spiffe://example.org/workload")),
        "{minted:?}"
    );
    by_admin("certificate.issue", &server.leaf().serial);
    by_admin("certificate.issue", &client.leaf().serial);
    by_admin("certificate.revoke", &renewed.leaf().serial);

    let renewal = log.one("certificate.renew", &renewed.leaf().serial, AuditOutcome::Done);
    assert_eq!(renewal.actor, format!("certificate({})", client.leaf().serial));
    assert!(renewal.address.starts_with("127.0.0.1:"), "{renewal:?}");

    let denied = log.one("call.deny", "/spire.api.server.svid.v1.SVID/MintX509SVID", AuditOutcome::Denied);
    assert_eq!(denied.actor, "spiffe://example.org/workload");
    assert!(denied.address.starts_with("127.0.0.1:"), "{denied:?}");
    assert!(denied.details["reason"].contains("`admin`"), "{denied:?}");

    let connected = log.of("connection.authenticate");
    let of = |actor: &str| connected.iter().filter(|record| record.actor == actor).count();
    assert_eq!(of("spiffe://example.org/workload"), 1, "one connection, one record: {connected:#?}");
    assert_eq!(of(&renewal.actor), 1);
    assert!(connected.iter().any(|record| record.actor.starts_with(ADMIN)), "{connected:#?}");
    assert_eq!(log.of("daemon.start").len(), 2);
    assert_eq!(log.of("daemon.stop").len(), 1);
}

#[tokio::test]
async fn records_refused_requests() {
    let ca = Ca::start().await;
    let key = PrivateKey::generate().unwrap();
    let csr = requests::naming(&key, &["spiffe://other.org/a"]);
    ca.admin().mint_with(csr, 0).await.unwrap_err();
    let log = AuditLog::read(&ca.admin()).await;
    let failed: Vec<_> =
        log.of("certificate.issue").into_iter().filter(|r| r.outcome() == AuditOutcome::Failed).collect();
    assert_eq!(failed.len(), 1, "{:#?}", log.records());
    assert!(failed[0].actor.starts_with(ADMIN), "{failed:?}");
    assert!(failed[0].details.contains_key("reason"), "{failed:?}");
}

#[tokio::test]
async fn records_a_peer_that_is_refused() {
    let (ca, other) = (Ca::start().await, Ca::start().await);
    let stranger = other.admin().mint("/stranger", 0).await.unwrap();
    let clients = ca.connect_as(&stranger).await;
    clients.mint("/a", 0).await.err().unwrap();
    let ca = ca.restart().await;
    let log = AuditLog::read(&ca.admin()).await;
    let refused = log.one("connection.authenticate", "grpc", AuditOutcome::Denied);
    assert_eq!(refused.actor, "unauthenticated");
    assert!(refused.address.starts_with("127.0.0.1:"), "{refused:?}");
    assert!(!refused.details["reason"].is_empty(), "{refused:?}");
}

#[tokio::test]
async fn records_a_workload_that_gets_no_identity() {
    let ca = Ca::start_with(|config| config.workload_api.hold = Duration::ZERO).await;
    let end = ca.workload().x509_svids().await.unwrap().end().await;
    assert_eq!(end.code(), Code::PermissionDenied);
    let ca = ca.restart().await;
    let log = AuditLog::read(&ca.admin()).await;
    let denied = log.one("call.deny", "/SpiffeWorkloadAPI/FetchX509SVID", AuditOutcome::Denied);
    assert!(denied.actor.starts_with("process(uid="), "{denied:?}");
    assert_eq!(denied.details["reason"], "no identity issued");
}

/// The program that writes a backup is another process than the daemon.
#[tokio::test]
async fn records_a_backup() {
    let ca = Ca::start().await;
    let (config, out) = (ca.folder().write_config(), ca.folder().path().join("ca.backup"));
    let (config, out) = (config.to_str().unwrap(), out.to_str().unwrap());
    let made = process::run(&["backup", "--config", config, "--out", out]).await;
    assert!(made.status.success(), "{made:?}");
    let record = AuditLog::read(&ca.admin()).await.one("backup.write", out, AuditOutcome::Done);
    assert!(record.actor.starts_with(ADMIN), "{record:?}");
}

/// Whoever may not administer can be denied as often as they like: it must not fill the disk.
#[tokio::test]
async fn counts_denied_calls_instead_of_recording_each() {
    const CALLS: usize = 200;
    let ca = Ca::start().await;
    let anybody = ca.connect_anonymously().await;
    for _ in 0..CALLS {
        anybody.mint("/a", 0).await.err().unwrap();
    }
    let ca = ca.restart().await;
    let denied = AuditLog::read(&ca.admin()).await.of("call.deny");
    assert!(denied.len() <= 2 + CALLS / 50, "{} records", denied.len());
    let told: usize =
        denied.iter().map(|record| record.details.get("count").map_or(1, |c| c.parse().unwrap())).sum();
    assert_eq!(told, CALLS);
    assert!(denied.iter().all(|record| record.actor == "anonymous"), "{denied:?}");
}

#[tokio::test]
async fn proves_each_entry_and_each_growth() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    let early = AuditLog::read(&admin).await.checkpoint();
    for n in 0..20 {
        admin.create_entry(entry(&format!("/{n}"), &["uid:4711"])).await;
    }
    let log = AuditLog::read(&admin).await;
    let late = log.checkpoint();
    for entry in &log.entries {
        let request =
            ProveInclusionRequest { index: entry.index, tree_size: late.size, ..Default::default() };
        let proof = admin.audit().prove_inclusion(request).await.unwrap().into_inner();
        assert_eq!(proof.entry.as_ref(), Some(entry));
        let found = verify_inclusion(&entry.leaf, entry.index, &hashes(proof.hashes), &late);
        assert_eq!(found, Ok(()), "entry {}", entry.index);
    }
    let request = ProveConsistencyRequest { old_size: early.size, new_size: late.size, ..Default::default() };
    let proof = admin.audit().prove_consistency(request).await.unwrap().into_inner();
    assert_eq!(verify_consistency(&early, &late, &hashes(proof.hashes)), Ok(()));

    let beyond = ProveInclusionRequest { index: late.size, tree_size: late.size, ..Default::default() };
    assert_eq!(admin.audit().prove_inclusion(beyond).await.unwrap_err().code(), Code::NotFound);
    let shrunk = ProveConsistencyRequest { old_size: late.size, new_size: 1, ..Default::default() };
    assert_eq!(admin.audit().prove_consistency(shrunk).await.unwrap_err().code(), Code::FailedPrecondition);
    let unknown = ListAuditEntriesRequest { log_id: "nobody".into(), ..Default::default() };
    assert_eq!(admin.audit().list_entries(unknown).await.unwrap_err().code(), Code::NotFound);
    let negative = ListAuditEntriesRequest { page_size: -1, ..Default::default() };
    assert_eq!(admin.audit().list_entries(negative).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn shows_entries_as_they_are_written_until_it_stops() {
    let ca = Ca::start().await;
    let request = TailAuditEntriesRequest { last: 0 };
    let mut tail = ca.admin().audit().tail_entries(request).await.unwrap().into_inner();
    let id = ca.admin().create_entry(entry("/tailed", &["uid:4711"])).await.id;
    soon("the entry is shown", async {
        loop {
            let shown = tail.message().await.unwrap().unwrap();
            let mut records =
                shown.entries.iter().map(|entry| AuditRecord::decode(entry.leaf.as_slice()).unwrap());
            if records.any(|record| record.action == "entry.create" && record.target == id) {
                break;
            }
        }
    })
    .await;
    let stopping = tokio::spawn(ca.stop());
    let end = soon("the stream ends", async {
        loop {
            if let Err(status) = tail.message().await {
                return status;
            }
        }
    })
    .await;
    assert_eq!(end.code(), Code::Unavailable);
    stopping.await.unwrap();
}

#[tokio::test]
async fn shows_entries_no_longer_than_it_is_granted() {
    let ca = Ca::start().await;
    let granted = ca.admin().create_entry(types::Entry { admin: true, ..entry("/admin", &["uid:1"]) }).await;
    let remote = ca.connect_as(&ca.admin().mint("/admin", 0).await.unwrap()).await;
    let request = TailAuditEntriesRequest { last: 1 };
    let mut tail = remote.audit().tail_entries(request).await.unwrap().into_inner();
    let shown = soon("what was there is shown", tail.message()).await.unwrap().unwrap();
    assert!(!shown.entries.is_empty());
    ca.admin().delete_entry(&granted).await;
    let end = soon("the stream ends", async {
        loop {
            match tail.message().await {
                Ok(shown) => assert!(shown.is_some(), "it says why it ends"),
                Err(status) => return status,
            }
        }
    })
    .await;
    assert_eq!(end.code(), Code::PermissionDenied);
}
