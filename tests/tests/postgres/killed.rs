//! One of two replicas is killed in the middle of its work.

use std::collections::BTreeSet;

use secplane_tests::{
    authority::CaFolder,
    clients::Clients,
    holder::{Holder, client_config},
    process::CaProcess,
    soon,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;

const CALLERS: usize = 8;
/// How many answers the replica has given when it is killed.
const BEFORE: usize = 100;
/// How many answers each caller wants of the other replica afterwards.
const AFTER: usize = 5;

/// A caller that renews its certificate again and again, and notes the serial number of each that it received.
struct Caller {
    holder: Holder,
    received: Vec<String>,
}

impl Caller {
    async fn enroll(ca: &CaProcess, common_name: &str) -> Self {
        let holder = ca.admin().issue_client(common_name, 0).await.unwrap();
        Self { received: vec![holder.leaf().serial], holder }
    }

    async fn renew(&mut self, clients: &Clients) -> Result<(), Status> {
        self.holder = clients.renew().await?;
        self.received.push(self.holder.leaf().serial);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loses_nothing_and_its_callers_carry_on_elsewhere() {
    let folder = CaFolder::new();
    let second = CaFolder::replica_of(&folder);
    let (first, survivor) = (CaProcess::start(&folder).await, CaProcess::start(&second).await);
    let (bundle, elsewhere) = (survivor.bundle().await, survivor.grpc_address);
    let struck = CancellationToken::new();
    let (answers, mut answered) = watch::channel(0_usize);
    let mut callers = Vec::new();
    for number in 0..CALLERS {
        let mut caller = Caller::enroll(&first, &format!("caller-{number}")).await;
        let here = first.connect(Some(&caller.holder)).await;
        let (struck, answers, bundle) = (struck.clone(), answers.clone(), bundle.clone());
        callers.push(tokio::spawn(async move {
            // Only the blow ends this, so it falls while every caller is at work.
            let end = loop {
                match caller.renew(&here).await {
                    Ok(()) => answers.send_modify(|count| *count += 1),
                    Err(status) => break status,
                }
            };
            assert!(struck.is_cancelled(), "a renewal failed before anything was killed: {end}");
            // What the killed one gave it last lets it in.
            let there = Clients::over_tls(elsewhere, client_config(&bundle, Some(&caller.holder)));
            for _ in 0..AFTER {
                caller.renew(&there).await.unwrap();
            }
            caller.received
        }));
    }
    soon("the answers of one replica", answered.wait_for(|count| *count >= BEFORE)).await.unwrap();
    struck.cancel();
    first.kill().await;

    let admin = survivor.admin();
    let mut known = BTreeSet::new();
    for (number, caller) in callers.into_iter().enumerate() {
        for serial in caller.await.unwrap() {
            let record = admin.record(serial.clone()).await;
            let record = record.unwrap_or_else(|error| panic!("{serial} is not on record: {error}"));
            assert_eq!(record.common_name, format!("caller-{number}"));
            assert!(known.insert(serial.clone()), "serial {serial} was given twice");
        }
    }
    assert!(known.len() >= BEFORE + CALLERS * (1 + AFTER), "{} certificates", known.len());

    // And it comes back under its own ID.
    CaProcess::start(&folder).await.terminate().await;
    survivor.terminate().await;
}
