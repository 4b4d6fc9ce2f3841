//! How soon others heed what was done at an authority: another replica on the same PostgreSQL, the bundle service.

use std::time::{Duration, Instant};

use secplane_proto::{
    secplane::ca::v1::WatchTrustBundleRequest,
    spire::api::{
        server::entry::v1::{ListEntriesRequest, list_entries_request::Filter},
        types,
    },
};
use secplane_tests::{
    sidecars::{Bundles, Sidecar},
    workload::Workload,
};
use serde_json::json;

use crate::{Cli, agent::Agent, figures::figure, server::Server};

/// How often it is measured.
const ROUNDS: usize = 50;

/// From the answer to `RevokeCertificate` at one replica until a stream that the certificate's holder has open at the
/// other one ends.
pub(crate) async fn revocation(name: &str) {
    let [one, other] = Server::start_two().await;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let holder = one.process.admin().mint(&format!("/watcher-{round}"), 0).await.unwrap();
        let clients = other.process.connect(Some(&holder)).await;
        let stream = clients.trust_bundle().watch_trust_bundle(WatchTrustBundleRequest {}).await;
        let mut stream = stream.unwrap().into_inner();
        stream.message().await.unwrap().expect("the bundle comes first");
        let ended = tokio::spawn(async move {
            while let Ok(Some(_)) = stream.message().await {}
            Instant::now()
        });
        one.process.admin().revoke(&holder).await.unwrap();
        let answered = Instant::now();
        times.push(ended.await.unwrap().saturating_duration_since(answered));
    }
    print(name, times);
}

/// From the answer to `RevokeCertificate` until the bundle service, in this process, ends the connection of the
/// certificate's holder and with it their held poll.
pub(crate) async fn revoked_sidecar(name: &str, cli: &Cli) {
    let authority = Server::start(cli.postgres).await;
    let admin = authority.process.admin();
    let workload = Workload::at(&authority.folder.config.workload_api_socket());
    let service = Bundles::start(&admin, &workload).await;
    let trusted = authority.process.bundle().await;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let holder = admin.mint(&format!("/ns/travel/sa/sidecar-{round}"), 0).await.unwrap();
        let mut sidecar = Sidecar::connect(&trusted, &service, &holder).await;
        let bundle = sidecar.pull(None).await.unwrap();
        let etag = bundle.headers()["etag"].to_str().unwrap().to_owned();
        let ended = tokio::spawn(async move {
            sidecar.pull(Some(&etag)).await.expect_err("the poll is held until the connection ends");
            Instant::now()
        });
        admin.revoke(&holder).await.unwrap();
        let answered = Instant::now();
        times.push(ended.await.unwrap().saturating_duration_since(answered));
    }
    print(name, times);
}

/// From the answer to `BatchCreateEntry` at one replica until `ListEntries` at the other one has the entry. It is asked
/// again and again, so a call's time is the finest that can be told.
pub(crate) async fn entry(name: &str) {
    let [one, other] = Server::start_two().await;
    let agent = Agent::attest(&one).await;
    let (creating, mut listing) = (one.process.admin(), other.process.admin().entry());
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let entry = agent.entry(round);
        let filter = Filter { by_spiffe_id: entry.spiffe_id.clone(), ..Default::default() };
        let request = ListEntriesRequest { filter: Some(filter), ..Default::default() };
        creating.create_entry(entry).await;
        let answered = Instant::now();
        while listing.list_entries(request.clone()).await.unwrap().into_inner().entries.is_empty() {}
        times.push(answered.elapsed());
    }
    print(name, times);
}

/// Waits until a replica has so many entries.
pub(crate) async fn until_it_lists(replica: &Server, count: usize) {
    let mut listing = replica.process.admin().entry();
    let output_mask = Some(types::EntryMask::default());
    let request = ListEntriesRequest { output_mask, page_size: 500, ..Default::default() };
    while listing.list_entries(request.clone()).await.unwrap().into_inner().entries.len() < count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn print(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let ms = |time: Duration| (time.as_secs_f64() * 1e5).round() / 100.0;
    let worst = times.last().copied().unwrap_or_default();
    figure(name, ms(times[times.len() / 2]), "ms", json!({"rounds": times.len(), "worst_ms": ms(worst)}));
}
