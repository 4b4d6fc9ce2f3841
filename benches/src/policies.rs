//! What the bundle service's way in takes: checking and compiling, a change for everybody, and many resources.

use std::{
    collections::BTreeMap,
    env, fs,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bundle_service::{
    catalog::Catalog,
    compile::{Policies, Settings},
    history::{History, HistoryLimits},
    policy::AuthorizationPolicy,
    source::{Batch, Change, Object, SourceOptions, directory},
};
use secplane_identity::{SpiffeId, TrustDomain};
use serde_json::json;
use tokio::task::spawn_blocking;

use crate::{Cli, figures::figure};

/// How many namespaces the resources and identities are spread over.
const NAMESPACES: usize = 500;
/// The folder of the resources, beside that of their history.
const MANIFESTS: &str = "manifests";
/// How many documents a file holds.
const DOCUMENTS: usize = 1_000;

const GLOBAL: &str = "package authbridge.inbound.request

import data.authbridge.ns.inbound.request as namespace
import data.authbridge.client.inbound.request as client

default allow := false

allow if {
	namespace.allow
	client.allow
	not blocked
}

blocked if input.peer.spiffe_id in {\"spiffe://example.org/ns/a/sa/b\"}

reason := \"a tier denies\" if not allow
";

const TENANT: &str = "package authbridge.TIER.inbound.request

default allow := false

allow if {
	startswith(caller, \"spiffe://example.org/ns/travel/sa/\")
	input.method in {\"GET\", \"POST\"}
	some prefix in [\"/a2a\", \"/mcp\"]
	startswith(input.path, prefix)
}

reason := \"the caller is no agent of this namespace\"

caller := input.peer.spiffe_id if {
	is_string(input.peer.spiffe_id)
} else := input.identity.subject if {
	is_string(input.identity.subject)
}
";

/// Parsing, checking and packing three tiers that changed, and the bundle of an identity, one after another.
pub(crate) async fn check_and_compile(name: &str, cli: &Cli) {
    let limit = Duration::from_secs(cli.seconds);
    let (compiled, elapsed) = spawn_blocking(move || {
        let mut policies = policies();
        let id = id(0, 0);
        let templates = templates();
        let begun = Instant::now();
        let mut compiled = 0_u64;
        while begun.elapsed() < limit {
            // Another text each time, so that nothing is found in a cache.
            let changes: Vec<Change> = templates.values().map(|object| changed(object, compiled)).collect();
            policies.apply(&changes);
            policies.take_journal();
            let bundle = policies.bundle(&id).unwrap();
            assert!(bundle.denied().is_none() && !bundle.bytes().is_empty());
            compiled += 1;
        }
        assert!(policies.refusals().is_empty());
        (compiled, begun.elapsed())
    })
    .await
    .unwrap();
    let rate = compiled as f64 / elapsed.as_secs_f64();
    let each = elapsed.as_secs_f64() * 1e6 / compiled as f64;
    figure(name, rate.round(), "1/s", json!({"each_us": each.round(), "cores": 1}));
}

/// From a change of the global policy until 10,000 identities in 500 namespaces have their new entity tags.
pub(crate) async fn global_change(name: &str, cli: &Cli) {
    let identities = 10_000.min(cli.size);
    let folder = tempfile::tempdir().unwrap();
    write_resources(folder.path(), NAMESPACES);
    let catalog = Catalog::new(settings());
    catalog.apply(read(folder.path())).await.unwrap();
    let mut receivers = Vec::new();
    for number in 0..identities {
        let id = id(number % NAMESPACES, number / NAMESPACES);
        let mut receiver = catalog.subscribe(&id).await.unwrap();
        let etag = receiver.borrow_and_update().etag();
        receivers.push((receiver, etag));
    }
    let templates = templates();
    let mut times = Vec::new();
    for round in 0..5 {
        let change = Batch { changes: vec![changed(&templates["global"], round)], ..Batch::default() };
        let begun = Instant::now();
        catalog.apply(change).await.unwrap();
        times.push(begun.elapsed());
        for (receiver, before) in &mut receivers {
            assert!(receiver.has_changed().unwrap());
            let now = receiver.borrow_and_update().etag();
            assert!(now != *before);
            *before = now;
        }
    }
    times.sort();
    let median = times[times.len() / 2];
    figure(
        name,
        (median.as_secs_f64() * 1e4).round() / 10.0,
        "ms",
        json!({
            "identities": identities,
            "namespaces": NAMESPACES,
            "worst_ms": times.last().map(|time| time.as_millis() as u64),
        }),
    );
}

/// From an empty process to ready by the number of resources, and what an identity takes in memory. Each start has a
/// process of its own: memory that another one gave back would be taken again and not be seen.
pub(crate) async fn resources_by_size(name: &str, cli: &Cli) {
    let this_program = env::current_exe().unwrap();
    for size in [100, 1_000, 10_000, 100_000].into_iter().filter(|size| *size <= cli.size) {
        let folder = tempfile::tempdir().unwrap();
        let manifests = folder.path().join(MANIFESTS);
        fs::create_dir(&manifests).unwrap();
        write_resources(&manifests, size);
        for start in ["first_start", "restart"] {
            let mut child = Command::new(&this_program);
            child.arg(format!("{name}_{size}_{start}")).arg("--start-with").arg(folder.path());
            let status = child.args(["--size", &size.to_string()]).status().unwrap();
            assert!(status.success(), "{status}");
        }
    }
}

/// One start of [`resources_by_size`], in this process.
pub(crate) async fn start_with(folder: &Path, name: &str, size: usize) {
    let begun = Instant::now();
    let data = folder.join("history");
    let history =
        History::open(&data, "secplane-system", HistoryLimits::default(), SystemTime::now()).unwrap();
    let catalog = Catalog::remembering(policies(), Some(history), Arc::new(SystemTime::now));
    catalog.apply(read(&folder.join(MANIFESTS))).await.unwrap();
    figure(name, begun.elapsed().as_secs_f64(), "s", json!({"resources": size}));
    assert!(catalog.is_ready() && catalog.refusals().is_empty());
    let empty = resident();
    for number in 0..size {
        drop(catalog.subscribe(&id(number % NAMESPACES, number / NAMESPACES)).await.unwrap());
    }
    let known = catalog.counts().1;
    let each = resident().saturating_sub(empty) as f64 / known as f64;
    let more = json!({"identities": known, "resident_mb": resident() / 1_000_000});
    figure(&format!("{name}_memory"), each.round(), "B/identity", more);
}

fn settings() -> Settings {
    Settings::new(TrustDomain::parse("example.org").unwrap())
}

fn policies() -> Policies {
    Policies::new(settings())
}

fn id(namespace: usize, client: usize) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://example.org/ns/team-{namespace}/sa/agent-{client}")).unwrap()
}

fn manifest(namespace: &str, name: &str, scope: &str, text: &str) -> String {
    let document = json!({
        "apiVersion": "agent.kagenti.dev/v1alpha1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"scope": scope, "policies": [{"path": "inbound/request.rego", "content": text}]},
    });
    format!("---\n{document}\n")
}

/// One resource of each tier, by its scope.
fn templates() -> BTreeMap<String, Object> {
    let folder = tempfile::tempdir().unwrap();
    let tenant = |tier: &str| TENANT.replace("TIER", tier);
    let all = [
        manifest("secplane-system", "global", "global", GLOBAL),
        manifest("team-0", "namespace", "namespace", &tenant("ns")),
        manifest("team-0", "agent-0", "client", &tenant("client")),
    ];
    fs::write(folder.path().join("all.yaml"), all.concat()).unwrap();
    let objects = directory::read(folder.path(), &SourceOptions::default()).unwrap().objects;
    assert_eq!(objects.len(), 3);
    objects.into_iter().map(|object| (object.scope.to_string(), object)).collect()
}

/// The resource with another text that means the same.
fn changed(object: &Object, number: u64) -> Change {
    let mut policy: AuthorizationPolicy = object.policy.as_ref().unwrap().as_ref().clone();
    policy.modules[0].content += &format!("\n# version {number}\n");
    Change::Set(Arc::new(Object { policy: Ok(Arc::new(policy)), ..object.clone() }))
}

/// So many resources: first a policy of each namespace, then clients of all of them.
fn write_resources(folder: &Path, size: usize) {
    let mut text = String::new();
    for number in 0..size {
        let namespace = format!("team-{}", number % NAMESPACES);
        text += &match number / NAMESPACES {
            0 => manifest(&namespace, "namespace", "namespace", &TENANT.replace("TIER", "ns")),
            client => {
                manifest(&namespace, &format!("agent-{client}"), "client", &TENANT.replace("TIER", "client"))
            }
        };
        if (number + 1) % DOCUMENTS == 0 || number + 1 == size {
            fs::write(folder.join(format!("{}.yaml", number / DOCUMENTS)), std::mem::take(&mut text))
                .unwrap();
        }
    }
}

fn read(folder: &Path) -> Batch {
    let manifests = directory::read(folder, &SourceOptions::default()).unwrap();
    assert!(manifests.refusals.is_empty(), "{:?}", manifests.refusals.first());
    Batch {
        changes: manifests.objects.into_iter().map(|object| Change::Set(Arc::new(object))).collect(),
        ..Batch::default()
    }
}

/// How much memory of this process is resident, in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
