//! Killed in the middle of issuing, the authority loses no certificate that somebody has.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use secplane_identity::PrivateKey;
use secplane_tests::{authority::CaFolder, clients::Clients, process::CaProcess, requests};
use tokio::sync::mpsc;

const ROUNDS: usize = 5;
const CLIENTS: usize = 16;
/// How many certificates have arrived when the authority is killed, in the first round; each round waits longer,
/// so that the blow falls on different moments.
const ISSUED_BEFORE_THE_BLOW: usize = 20;

/// Mints until the authority is gone. Each serial is noted as soon as the certificate has arrived.
async fn mint_until_the_end(admin: Clients, csr: Vec<u8>, received: Received, arrived: mpsc::Sender<()>) {
    while let Ok(chain) = admin.mint_with(csr.clone(), 0).await {
        let leaf = secplane_identity::x509::Certificate::parse(&chain[0]).unwrap();
        received.lock().unwrap().insert(leaf.serial);
        let _ = arrived.try_send(());
    }
}

type Received = Arc<Mutex<BTreeSet<String>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loses_no_certificate_that_a_client_received() {
    let folder = CaFolder::new();
    let received = Received::default();
    let key = PrivateKey::generate().unwrap();
    let csr = requests::naming(&key, &["spiffe://example.org/a"]);
    let mut root = None;
    for round in 0..ROUNDS {
        let ca = CaProcess::start(&folder).await;
        assert_eq!(*root.get_or_insert(ca.root_fingerprint), ca.root_fingerprint);
        let (arrived, mut arrivals) = mpsc::channel(CLIENTS * 4);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                // A connection for each, as if they were processes.
                let work =
                    mint_until_the_end(ca.admin(), csr.clone(), Arc::clone(&received), arrived.clone());
                tokio::spawn(work)
            })
            .collect();
        for _ in 0..ISSUED_BEFORE_THE_BLOW + round * 7 {
            secplane_tests::soon("a certificate arrives", arrivals.recv()).await.unwrap();
        }
        ca.kill().await;
        for client in clients {
            client.await.unwrap();
        }
    }

    let ca = CaProcess::start(&folder).await;
    let received = received.lock().unwrap().clone();
    assert!(received.len() >= ROUNDS * ISSUED_BEFORE_THE_BLOW);
    for serial in &received {
        let record = ca.admin().record(serial.clone()).await;
        assert!(record.is_ok(), "certificate {serial} was handed out and is not on record: {record:?}");
    }
    ca.terminate().await;
}
