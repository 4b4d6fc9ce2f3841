//! What is measured: one function a figure. Those of the authority start a daemon of their own in an empty folder.

use std::{
    slice,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use secplane_identity::PrivateKey;
use secplane_proto::spire::api::{
    server::{
        entry::v1::{BatchCreateEntryRequest, ListEntriesRequest},
        svid::v1::{BatchNewX509svidRequest, MintJwtsvidRequest, NewX509svidParams},
    },
    types,
};
use secplane_tests::{authority::TRUST_DOMAIN, clients::Clients};
use serde_json::json;

use crate::{
    Cli,
    agent::Agent,
    cards, gate,
    load::{Load, closed_loop},
    policies, propagation,
    server::Server,
};

const CALLERS: usize = 16;
/// How many connections the callers share, all of one agent or of one admin.
const CONNECTIONS: usize = 4;

/// Every figure.
pub(crate) fn names() -> Vec<&'static str> {
    vec![
        "issue_x509_svid_16",
        "issue_x509_svid_batch100",
        "mint_jwt_svid_16",
        "create_entry_16",
        "agentcard_verify_1core",
        "entries_by_size",
        "start_by_records",
        "gate_by_size",
        "check_and_compile_3_tiers_per_s",
        "global_change_10k_identities_ms",
        "resources_by_size",
        "revocation_reaches_sidecar_ms",
        // Those of two replicas, which need PostgreSQL, come last: where there is none, the others have been taken.
        "issue_x509_svid_16_two_replicas",
        "revocation_reaches_streams_ms",
        "entry_reaches_replica_ms",
    ]
}

/// Measures one of [`names`].
pub(crate) async fn measure(name: &str, cli: &Cli) {
    match name {
        "issue_x509_svid_16" => issue(name, cli, &[Server::start(cli.postgres).await], 1).await,
        "issue_x509_svid_batch100" => issue(name, cli, &[Server::start(cli.postgres).await], 100).await,
        "mint_jwt_svid_16" => mint_jwt(name, cli).await,
        "create_entry_16" => create_entries(name, cli).await,
        "agentcard_verify_1core" => cards::verify_on_one_core(name, cli).await,
        "entries_by_size" => entries_by_size(name, cli).await,
        "start_by_records" => start_by_records(name, cli).await,
        "gate_by_size" => gate::by_size(name).await,
        "check_and_compile_3_tiers_per_s" => policies::check_and_compile(name, cli).await,
        "global_change_10k_identities_ms" => policies::global_change(name, cli).await,
        "resources_by_size" => policies::resources_by_size(name, cli).await,
        "revocation_reaches_sidecar_ms" => propagation::revoked_sidecar(name, cli).await,
        "issue_x509_svid_16_two_replicas" => issue(name, cli, &Server::start_two().await, 1).await,
        "revocation_reaches_streams_ms" => propagation::revocation(name).await,
        "entry_reaches_replica_ms" => propagation::entry(name).await,
        other => unreachable!("`{other}` is not among the names"),
    }
}

/// `BatchNewX509SVID` over mTLS by an attested agent, `batch` SVIDs a call; the connections are spread over the replicas.
async fn issue(name: &str, cli: &Cli, replicas: &[Server], batch: usize) {
    let agent = Agent::attest(&replicas[0]).await;
    let entries = agent.register(&replicas[0], 100).await;
    for replica in replicas {
        propagation::until_it_lists(replica, entries.len()).await;
    }
    let connections: Vec<_> =
        replicas.iter().cycle().take(CONNECTIONS).map(|replica| agent.connect_to(replica)).collect();
    let callers = (0..CALLERS).map(|caller| {
        let params: Vec<_> = (0..batch)
            .map(|number| NewX509svidParams {
                entry_id: entries[(caller * 7 + number) % entries.len()].clone(),
                csr: PrivateKey::generate().unwrap().bare_request().unwrap(),
            })
            .collect();
        let client = connections[caller % CONNECTIONS].svid();
        move || {
            let (mut client, params) = (client.clone(), params.clone());
            async move {
                let request = BatchNewX509svidRequest { params };
                let answer = client.batch_new_x509svid(request).await.unwrap().into_inner();
                assert!(
                    answer.results.iter().all(|result| result.svid.is_some()),
                    "{:?}",
                    answer.results[0].status
                );
            }
        }
    });
    measure_load(name, cli, replicas, callers.collect(), batch).await;
}

/// `MintJWTSVID` over mTLS by an admin.
async fn mint_jwt(name: &str, cli: &Cli) {
    let server = Server::start(cli.postgres).await;
    let admin = admin(&server).await;
    let callers = (0..CALLERS).map(|caller| {
        let client = admin[caller % CONNECTIONS].svid();
        let id =
            types::Spiffeid { trust_domain: TRUST_DOMAIN.to_owned(), path: format!("/workload-{caller}") };
        move || {
            let (mut client, id) = (client.clone(), id.clone());
            async move {
                let audience = vec!["spiffe://example.org/api".to_owned()];
                let request = MintJwtsvidRequest { id: Some(id), audience, ttl: 0 };
                client.mint_jwtsvid(request).await.unwrap();
            }
        }
    });
    measure_load(name, cli, slice::from_ref(&server), callers.collect(), 1).await;
}

/// `BatchCreateEntry` over mTLS by an admin, one entry a call, four times in a row on the same database: whether the rate
/// stays flat. The figure itself is the slowest.
async fn create_entries(name: &str, cli: &Cli) {
    let server = Server::start(cli.postgres).await;
    let agent = Arc::new(Agent::attest(&server).await);
    let admin = admin(&server).await;
    let next = Arc::new(AtomicUsize::new(0));
    let mut rates = serde_json::Map::new();
    let mut slowest = f64::INFINITY;
    for part in ["first", "second", "third", "fourth"] {
        let callers = (0..CALLERS).map(|caller| {
            let client = admin[caller % CONNECTIONS].entry();
            let (agent, next) = (Arc::clone(&agent), Arc::clone(&next));
            move || {
                let (mut client, entry) = (client.clone(), agent.entry(next.fetch_add(1, Ordering::Relaxed)));
                async move {
                    let request = BatchCreateEntryRequest { entries: vec![entry], output_mask: None };
                    let answer = client.batch_create_entry(request).await.unwrap().into_inner();
                    assert!(answer.results[0].entry.is_some(), "{:?}", answer.results[0].status);
                }
            }
        });
        let callers = callers.collect();
        let rate = measure_load(&format!("{name}_{part}"), cli, slice::from_ref(&server), callers, 1).await;
        slowest = slowest.min(rate);
        rates.insert(part.to_owned(), json!(rate));
    }
    figure(name, slowest, "1/s", rates.into());
}

/// The curve of start-up time, list latency and memory over the number of entries.
async fn entries_by_size(name: &str, cli: &Cli) {
    let mut server = Server::start(cli.postgres).await;
    let agent = Agent::attest(&server).await;
    let empty = server.resident();
    let mut have = 0;
    for size in sizes(cli.size) {
        while have < size {
            let until = size.min(have + 500 * CALLERS);
            let steps = (have..until).step_by(500).map(|from| {
                let entries = (from..until.min(from + 500)).map(|number| agent.entry(number)).collect();
                let mut client = server.process.admin().entry();
                async move {
                    let mask = types::EntryMask::default();
                    let request = BatchCreateEntryRequest { entries, output_mask: Some(mask) };
                    let answer = client.batch_create_entry(request).await.unwrap().into_inner();
                    assert!(answer.results.iter().all(|result| result.entry.is_some()));
                }
            });
            futures_util::future::join_all(steps).await;
            have = until;
        }
        let Server { process, folder } = server;
        process.terminate().await;
        let begun = Instant::now();
        server = Server::start_in(folder).await;
        figure(&format!("{name}_{size}_start"), begun.elapsed().as_secs_f64(), "s", json!({}));
        let mut client = server.process.admin().entry();
        let mut fastest = Duration::MAX;
        for _ in 0..5 {
            let begun = Instant::now();
            let request = ListEntriesRequest { page_size: 100, ..Default::default() };
            assert_eq!(client.list_entries(request).await.unwrap().into_inner().entries.len(), 100.min(size));
            fastest = fastest.min(begun.elapsed());
        }
        figure(&format!("{name}_{size}_first_page"), fastest.as_secs_f64() * 1e3, "ms", json!({}));
        let an_entry = server.resident().saturating_sub(empty) as f64 / size as f64;
        figure(&format!("{name}_{size}_memory"), an_entry, "B/entry", json!({"resident": server.resident()}));
    }
}

/// The curve of start-up time over the number of certificates on record.
async fn start_by_records(name: &str, cli: &Cli) {
    let mut server = Server::start(cli.postgres).await;
    let mut have = 0;
    for size in sizes(cli.size) {
        let agent = Agent::attest(&server).await;
        let entries = agent.register(&server, 1).await;
        let csr = PrivateKey::generate().unwrap().bare_request().unwrap();
        while have < size {
            let calls = (0..CALLERS).map(|_| {
                let mut client = agent.connect().svid();
                let params =
                    vec![NewX509svidParams { entry_id: entries[0].clone(), csr: csr.clone() }; 100.min(size)];
                async move { client.batch_new_x509svid(BatchNewX509svidRequest { params }).await.unwrap() }
            });
            futures_util::future::join_all(calls).await;
            have += CALLERS * 100.min(size);
        }
        let Server { process, folder } = server;
        process.terminate().await;
        let begun = Instant::now();
        server = Server::start_in(folder).await;
        figure(&format!("{name}_{size}"), begun.elapsed().as_secs_f64(), "s", json!({"records": have}));
    }
}

fn sizes(largest: usize) -> Vec<usize> {
    [1_000, 10_000, 100_000, 1_000_000].into_iter().filter(|size| *size <= largest).collect()
}

/// Connections that present the SVID of an admin.
async fn admin(server: &Server) -> Vec<Clients> {
    let clients = server.process.admin();
    let admin = types::Entry {
        spiffe_id: Some(types::Spiffeid { trust_domain: TRUST_DOMAIN.to_owned(), path: "/admin".to_owned() }),
        parent_id: Some(types::Spiffeid {
            trust_domain: TRUST_DOMAIN.to_owned(),
            path: "/spire/server".to_owned(),
        }),
        selectors: vec![types::Selector { r#type: "bench".to_owned(), value: "admin".to_owned() }],
        admin: true,
        ..Default::default()
    };
    clients.create_entry(admin).await;
    let holder = clients.mint("/admin", 0).await.unwrap();
    let agent = Agent::attest(server).await;
    (0..CONNECTIONS).map(|_| agent.connect_as(&holder)).collect()
}

/// CPU time and memory are those of all servers together. Answers the operations a second.
async fn measure_load<C, F>(name: &str, cli: &Cli, servers: &[Server], callers: Vec<C>, each: usize) -> f64
where
    C: FnMut() -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let cpu = || servers.iter().map(Server::cpu).sum::<Duration>();
    let before = cpu();
    let begun = Instant::now();
    let load = closed_loop(callers, Duration::from_secs(cli.seconds)).await;
    let busy = cpu() - before;
    // The warm-up is in the CPU time, so it is taken of all calls, counted by their rate.
    let rate = load.rate() * each as f64;
    let operations = rate * begun.elapsed().as_secs_f64();
    let resident = servers.iter().map(Server::resident).sum();
    print(name, &load, rate.round(), busy.as_secs_f64() * 1e6 / operations, resident);
    rate.round()
}

fn print(name: &str, load: &Load, rate: f64, cpu: f64, resident: u64) {
    figure(
        name,
        rate,
        "1/s",
        json!({
            "server_cpu_us": (cpu * 10.0).round() / 10.0,
            "p50_ms": load.percentile(0.5).as_secs_f64() * 1e3,
            "p99_ms": load.percentile(0.99).as_secs_f64() * 1e3,
            "calls": load.calls(),
            "resident_mb": resident / 1_000_000,
        }),
    );
}

pub(crate) fn figure(name: &str, value: f64, unit: &str, more: serde_json::Value) {
    let mut line = json!({"name": name, "value": value, "unit": unit});
    if let (Some(line), serde_json::Value::Object(more)) = (line.as_object_mut(), more) {
        line.extend(more);
    }
    println!("{line}");
}
