//! What the log holds after the daemon was killed in the middle of its work.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use ca_daemon::audit::Checkpoint;
use secplane_identity::{PrivateKey, x509::Certificate};
use secplane_proto::{
    secplane::ca::v1::ListLogsRequest, spire::api::server::entry::v1::BatchCreateEntryRequest,
};
use secplane_tests::{
    audit_log::AuditLog, authority::CaFolder, clients::Clients, entries::entry, process::CaProcess, requests,
    soon,
};
use tokio::sync::mpsc;

const ROUNDS: usize = 6;
const CALLERS: usize = 8;

/// Issues, registers and is denied until the authority is gone; notes each serial that arrived.
async fn work_until_the_end(
    number: usize,
    admin: Clients,
    csr: Vec<u8>,
    received: Arc<Mutex<BTreeSet<String>>>,
    arrived: mpsc::Sender<()>,
) {
    for n in 0.. {
        let Ok(chain) = admin.mint_with(csr.clone(), 0).await else { return };
        let leaf = Certificate::parse(&chain[0]).unwrap();
        assert!(received.lock().unwrap().insert(leaf.serial), "a serial came twice");
        let _ = arrived.try_send(());
        let path = format!("/{number}/{n}/{}", tail_of(&chain[0]));
        let entries = vec![entry(&path, &["uid:4711"])];
        let request = BatchCreateEntryRequest { entries, output_mask: None };
        if admin.entry().batch_create_entry(request).await.is_err() {
            return;
        }
    }
}

/// Differs from one certificate to the next.
fn tail_of(der: &[u8]) -> String {
    der[der.len() - 6..].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn has_neither_gap_nor_fork_after_being_killed() {
    let folder = CaFolder::new();
    let received = Arc::new(Mutex::new(BTreeSet::new()));
    let key = PrivateKey::generate().unwrap();
    let csr = requests::naming(&key, &["spiffe://example.org/a"]);
    let mut kept: Vec<Checkpoint> = Vec::new();
    for round in 0..ROUNDS {
        let ca = CaProcess::start(&folder).await;
        let log = AuditLog::read(&ca.admin()).await;
        log.verify(&kept).unwrap();
        kept.push(log.checkpoint());
        let (arrived, mut arrivals) = mpsc::channel(CALLERS * 4);
        let callers: Vec<_> = (0..CALLERS)
            .map(|number| {
                let work = work_until_the_end(
                    number,
                    ca.admin(),
                    csr.clone(),
                    Arc::clone(&received),
                    arrived.clone(),
                );
                tokio::spawn(work)
            })
            .collect();
        for _ in 0..20 + round * 11 {
            soon("a certificate arrives", arrivals.recv()).await.unwrap();
        }
        ca.kill().await;
        for caller in callers {
            caller.await.unwrap();
        }
    }
    let ca = CaProcess::start(&folder).await;
    let log = AuditLog::read(&ca.admin()).await;
    log.verify(&kept).unwrap();
    let issued: Vec<_> = log.of("certificate.issue").into_iter().map(|record| record.target).collect();
    let distinct: BTreeSet<_> = issued.iter().cloned().collect();
    assert_eq!(distinct.len(), issued.len(), "no certificate is recorded twice");
    let received = received.lock().unwrap().clone();
    let missing: Vec<_> = received.difference(&distinct).collect();
    assert_eq!(missing, Vec::<&String>::new(), "handed out, and not in the log");
    let logs = ca.admin().audit().list_logs(ListLogsRequest {}).await.unwrap().into_inner().logs;
    assert_eq!(logs.len(), 1, "a replica that was killed continues its log");
    ca.terminate().await;
}
