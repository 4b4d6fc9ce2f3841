//! Killed in the middle of its work, again and again, the authority loses nothing that it has answered, and its audit
//! log has neither a gap nor a fork.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use ca_daemon::audit::{Checkpoint, Frontier, PublicKey, leaf_hash};
use prost::Message;
use secplane_identity::{PrivateKey, x509::Certificate};
use secplane_proto::secplane::ca::v1::{AuditRecord, RevokeCertificateRequest};
use secplane_tests::{
    authority::CaFolder,
    clients::Clients,
    database::{AuditedLog, Database},
    entries::entry,
    process::CaProcess,
    requests,
};
use tokio::sync::mpsc;

const ROUNDS: usize = 200;
const CALLERS: usize = 8;

/// What the authority has answered.
#[derive(Default)]
struct Answered {
    issued: BTreeSet<String>,
    revoked: BTreeSet<String>,
    entries: BTreeSet<String>,
}

type Shared = Arc<Mutex<Answered>>;

/// Issues, revokes and registers until the authority is gone. Each answer is noted as soon as it is there.
async fn work_until_the_end(
    admin: Clients,
    csr: Vec<u8>,
    answered: Shared,
    name: String,
    arrived: mpsc::Sender<()>,
) {
    for number in 0.. {
        let Ok(chain) = admin.mint_with(csr.clone(), 0).await else { return };
        let serial = Certificate::parse(&chain[0]).unwrap().serial;
        assert!(answered.lock().unwrap().issued.insert(serial.clone()), "serial {serial} was given twice");
        let _ = arrived.try_send(());

        if number % 3 == 0 {
            let request =
                RevokeCertificateRequest { serial_number: serial.clone(), reason: "tried out".to_owned() };
            let Ok(_) = admin.certificates().revoke_certificate(request).await else { return };
            answered.lock().unwrap().revoked.insert(serial);
            let _ = arrived.try_send(());
        }
        let wanted = entry(&format!("/{name}/{number}"), &["uid:4711"]);
        let Some(created) = admin.try_create_entry(wanted).await else { return };
        answered.lock().unwrap().entries.insert(created.id);
        let _ = arrived.try_send(());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loses_nothing_that_it_answered_over_many_kills() {
    let folder = CaFolder::new();
    let answered = Shared::default();
    let csr = requests::naming(&PrivateKey::generate().unwrap(), &["spiffe://example.org/a"]);
    let mut root = None;
    let mut checkpoints = Vec::new();
    for round in 0..ROUNDS {
        let ca = CaProcess::start(&folder).await;
        assert_eq!(*root.get_or_insert(ca.root_fingerprint), ca.root_fingerprint);
        let (arrived, mut arrivals) = mpsc::channel(CALLERS * 4);
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let name = format!("{round}-{caller}");
                // A connection for each, as if they were processes.
                let work =
                    work_until_the_end(ca.admin(), csr.clone(), Arc::clone(&answered), name, arrived.clone());
                tokio::spawn(work)
            })
            .collect();
        drop(arrived);
        // Each round waits for another number of answers, so that the blow falls on different moments.
        for _ in 0..3 + round % 29 {
            secplane_tests::soon("an answer arrives", arrivals.recv()).await.unwrap();
        }
        ca.kill().await;
        for caller in callers {
            caller.await.unwrap();
        }
        checkpoints.push(audit_log(&folder).await.checkpoint);
    }

    let ca = CaProcess::start(&folder).await;
    let answered = std::mem::take(&mut *answered.lock().unwrap());
    for serial in &answered.issued {
        let record = ca.admin().record(serial.clone()).await;
        let record = record.unwrap_or_else(|error| panic!("certificate {serial} is not on record: {error}"));
        assert!(!answered.revoked.contains(serial) || record.revoked_at > 0, "{serial} is revoked no more");
    }
    for id in &answered.entries {
        assert!(ca.admin().get_entry(id).await.is_ok(), "entry {id} is lost");
    }
    ca.terminate().await;

    let log = audit_log(&folder).await;
    let told = verified(&log, &checkpoints);
    for serial in &answered.issued {
        assert!(
            told.contains(&("certificate.issue".to_owned(), serial.clone())),
            "{serial} is not in the log"
        );
    }
    for serial in &answered.revoked {
        assert!(
            told.contains(&("certificate.revoke".to_owned(), serial.clone())),
            "{serial} is not in the log"
        );
    }
}

async fn audit_log(folder: &CaFolder) -> AuditedLog {
    let mut database = Database::open(folder).await;
    let log = database.audit_log().await;
    database.close().await;
    log
}

/// Checks the log against its own last checkpoint and against every earlier one, and answers what it tells.
fn verified(log: &AuditedLog, earlier: &[String]) -> BTreeSet<(String, String)> {
    let key = PublicKey::from_bytes(&log.public_key).unwrap();
    let mut checkpoints: Vec<_> = earlier
        .iter()
        .chain([&log.checkpoint])
        .map(|text| Checkpoint::verify(text, &key).unwrap().checkpoint)
        .collect();
    checkpoints.sort_by_key(|checkpoint| checkpoint.size);
    let mut checkpoints = checkpoints.into_iter().peekable();

    let mut tree = Frontier::default();
    let mut told = BTreeSet::new();
    for (expected, (position, leaf)) in (0..).zip(&log.entries) {
        assert_eq!(*position, expected, "the log has a gap");
        while let Some(checkpoint) = checkpoints.next_if(|checkpoint| checkpoint.size == tree.size()) {
            assert_eq!(checkpoint.root, tree.root(), "the log forked before entry {expected}");
        }
        tree.append(leaf_hash(leaf), &mut Vec::new());
        let record = AuditRecord::decode(leaf.as_slice()).unwrap();
        let is_issuance = record.action == "certificate.issue";
        let is_new = told.insert((record.action, record.target));
        assert!(is_new || !is_issuance, "entry {expected} issues a serial for the second time");
    }
    for checkpoint in checkpoints {
        assert_eq!((checkpoint.size, checkpoint.root), (tree.size(), tree.root()), "the log was cut");
    }
    told
}
