//! What the log proves against somebody who edits the database.

use ca_daemon::audit::{Checkpoint, Finding};
use secplane_tests::{
    audit_log::AuditLog,
    authority::{Ca, CaFolder},
    database::Database,
};

/// An authority with some history, stopped, and the checkpoint that an auditor kept.
async fn history() -> (CaFolder, Checkpoint) {
    let ca = Ca::start().await;
    for n in 0..10 {
        ca.admin().mint(&format!("/{n}"), 0).await.unwrap();
    }
    let kept = AuditLog::read(&ca.admin()).await.checkpoint();
    assert!(kept.size > 10);
    (ca.stop().await, kept)
}

/// Changes the database behind the authority's back, and says what an auditor finds then.
async fn findings_after(change: impl AsyncFnOnce(&mut Database)) -> Vec<Finding> {
    let (folder, kept) = history().await;
    let mut database = Database::open(&folder).await;
    change(&mut database).await;
    database.close().await;
    let ca = folder.start().await;
    AuditLog::read(&ca.admin()).await.verify(&[kept]).unwrap_err()
}

#[tokio::test]
async fn holds_to_a_checkpoint_from_before() {
    let (folder, kept) = history().await;
    let ca = folder.start().await;
    ca.admin().mint("/later", 0).await.unwrap();
    let log = AuditLog::read(&ca.admin()).await;
    let verified = log.verify(std::slice::from_ref(&kept)).unwrap();
    assert!(verified.size > kept.size);
    assert_eq!(verified.signed, verified.size);
}

/// One letter of an old entry, which stays a record.
#[tokio::test]
async fn detects_an_edited_byte() {
    let edit = |leaf: &mut Vec<u8>| *leaf.last_mut().unwrap() ^= 1;
    let found = findings_after(async |database| database.edit_audit_entry(5, edit).await).await;
    let Some(Finding::Changed { entries }) = found.first() else { panic!("{found:?}") };
    assert!(entries.contains(&5), "{found:?}");
}

#[tokio::test]
async fn names_an_entry_that_was_made_garbage() {
    let edit = |leaf: &mut Vec<u8>| *leaf = vec![0xff];
    let found = findings_after(async |database| database.edit_audit_entry(5, edit).await).await;
    assert_eq!(found, [Finding::Unreadable { index: 5 }]);
}

#[tokio::test]
async fn detects_a_deleted_row() {
    let found = findings_after(async |database| {
        database.run("DELETE FROM audit_entries WHERE position = 5").await;
    });
    assert_eq!(found.await, [Finding::Missing { entries: 5..6 }]);
}

#[tokio::test]
async fn detects_swapped_rows() {
    let found = findings_after(async |database| {
        database.run("UPDATE audit_entries SET position = -1 WHERE position = 5").await;
        database.run("UPDATE audit_entries SET position = 5 WHERE position = 7").await;
        database.run("UPDATE audit_entries SET position = 7 WHERE position = -1").await;
    });
    assert_eq!(found.await, [Finding::Swapped { one: 5, other: 7 }]);
}

/// Two authorities from one folder: each signs what it saw, and an auditor of both sees the fork.
#[tokio::test]
async fn detects_a_fork() {
    let (folder, _) = history().await;
    let fork = CaFolder::copy_of(&folder);

    let one = folder.start().await;
    one.admin().mint("/one", 0).await.unwrap();
    let seen = AuditLog::read(&one.admin()).await;
    seen.verify(&[]).unwrap();

    let other = fork.start().await;
    for n in 0..10 {
        other.admin().mint(&format!("/other/{n}"), 0).await.unwrap();
    }
    let log = AuditLog::read(&other.admin()).await;
    log.verify(&[]).unwrap();
    assert_eq!(log.id(), seen.id());
    let (old, new) = (seen.checkpoint().size, log.checkpoint().size);
    assert_eq!(log.verify(&[seen.checkpoint()]), Err(vec![Finding::Forked { old, new }]));
}

/// Whoever edits an old entry and the end of the log with it does not get the lie signed.
#[tokio::test]
async fn does_not_go_on_from_an_end_that_was_forged() {
    let (folder, _) = history().await;
    let mut database = Database::open(&folder).await;
    database.edit_audit_frontier(|frontier| *frontier.last_mut().unwrap() ^= 1).await;
    database.close().await;
    assert!(folder.refusal().await.to_string().contains("somebody changed the database"));
}

/// As after a crash, the newest entries are not signed. Then the daemon looks at what was signed last: an edited entry
/// does not get a new signature.
#[tokio::test]
async fn goes_on_only_from_what_was_signed() {
    let ca = Ca::start().await;
    for n in 0..5 {
        ca.admin().mint(&format!("/{n}"), 0).await.unwrap();
    }
    let old = AuditLog::read(&ca.admin()).await;
    ca.admin().mint("/later", 0).await.unwrap();
    let folder = ca.stop().await;

    let mut database = Database::open(&folder).await;
    database.put_audit_checkpoint(old.checkpoint_text()).await;
    database.close().await;
    let ca = folder.start().await;
    AuditLog::read(&ca.admin()).await.verify(&[old.checkpoint()]).unwrap();
    let folder = ca.stop().await;

    let mut database = Database::open(&folder).await;
    database.put_audit_checkpoint(old.checkpoint_text()).await;
    database.edit_audit_entry(3, |leaf| *leaf.last_mut().unwrap() ^= 1).await;
    database.close().await;
    assert!(folder.refusal().await.to_string().contains("somebody changed the database"));
}

#[tokio::test]
async fn does_not_go_on_from_a_log_that_was_cut_off() {
    let (folder, _) = history().await;
    let mut database = Database::open(&folder).await;
    database.run("DELETE FROM audit_entries WHERE position > 5").await;
    database.close().await;
    assert!(folder.refusal().await.to_string().contains("somebody changed the database"));
}
