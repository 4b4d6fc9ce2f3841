//! A replica that does not write statuses, beside an API server that has those of another one.

use std::sync::Mutex;

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::{get, post},
};
use kube::Config;
use secplane_identity::TrustDomain;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

use super::*;
use crate::{
    compile::Settings,
    kubernetes::status::{Condition, now},
};

const GROUP: &str = "agent.kagenti.dev";
const OBJECT: &str = "/apis/agent.kagenti.dev/v1alpha1/namespaces/{namespace}/authorizationpolicies/{name}";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/{namespace}/events";

/// What the API server holds: the objects by their namespaces and names, and the Events that were sent.
#[derive(Default)]
struct Held {
    stored: BTreeMap<(String, String), Value>,
    events: Vec<Value>,
}

/// The one object of tests that need no other.
const ALL: (&str, &str) = ("team-a", "all");

type Shown = Arc<Mutex<Held>>;

async fn stored(State(held): State<Shown>, Path(of): Path<(String, String)>) -> Json<Value> {
    Json(held.lock().unwrap().stored[&of].clone())
}

async fn record(State(held): State<Shown>, Json(event): Json<Value>) -> Json<Value> {
    held.lock().unwrap().events.push(event.clone());
    Json(event)
}

struct Replica {
    comparison: Comparison,
    held: Shown,
}

impl Replica {
    /// With objects in their namespaces, which have no status yet.
    async fn start(objects: &[(&str, &str)]) -> Self {
        let held = Shown::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new()
            .route(OBJECT, get(stored))
            .route(EVENTS, post(record))
            .with_state(Arc::clone(&held));
        // It ends with the runtime of the test.
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let client = Client::try_from(Config::new(address.parse().unwrap())).unwrap();
        let shared = Shared::new(&[GROUP.to_owned()], false);
        let catalog = Catalog::new(Settings::new(TrustDomain::parse("example.org").unwrap()));
        let leadership = Leadership::of(watch::channel(None).1);
        let comparison = Comparison::new(client, shared, catalog, leadership, "two".to_owned());
        let replica = Self { comparison, held };
        for object in objects {
            replica.hear(*object, &AuthorizationPolicyStatus::default());
        }
        replica.comparison.shared.inventory().finish(0);
        let batch = replica.comparison.shared.inventory().take().unwrap();
        replica.comparison.catalog.apply(batch).await.unwrap();
        replica
    }

    /// The API server has an object with that status, and says so.
    fn hear(&self, (namespace, name): (&str, &str), status: &AuthorizationPolicyStatus) {
        let content = format!("package authbridge.ns.{name}\n\nallow := true\n");
        let stored = json!({
            "apiVersion": format!("{GROUP}/v1alpha1"),
            "kind": "AuthorizationPolicy",
            "metadata": { "namespace": namespace, "name": name, "uid": "u", "generation": 1 },
            "spec": { "scope": "namespace", "policies": [{ "path": "a.rego", "content": content }] },
            "status": status,
        });
        let of = (namespace.to_owned(), name.to_owned());
        self.held.lock().unwrap().stored.insert(of, stored.clone());
        self.comparison.shared.inventory().set(0, &serde_json::from_value(stored).unwrap());
    }

    /// The status that this replica would write, where another one stands.
    async fn own(&self, (namespace, name): (&str, &str)) -> AuthorizationPolicyStatus {
        let at = StoredKey { key: ResourceKey::new(namespace, name), group: 0 };
        let deviation = self.comparison.deviations(&[at]).await.pop().unwrap();
        deviation.own.timed(&AuthorizationPolicyStatus::default(), &now())
    }

    fn events(&self) -> Vec<Value> {
        self.held.lock().unwrap().events.clone()
    }

    fn notes(&self) -> Vec<String> {
        crate::kubernetes::SourceHealth(Arc::clone(&self.comparison.shared)).notes()
    }
}

#[tokio::test]
async fn says_once_that_it_serves_something_else() {
    let mut replica = Replica::start(&[ALL]).await;
    let rolled_back =
        AuthorizationPolicyStatus { bundle_hash: Some("another".to_owned()), ..replica.own(ALL).await };
    replica.hear(ALL, &rolled_back);
    replica.comparison.look().await;
    assert_eq!((replica.events().len(), replica.notes().len()), (0, 0), "a status may be on its way");
    for _ in 0..3 {
        replica.comparison.look().await;
    }
    let [event]: [Value; 1] = replica.events().try_into().unwrap();
    assert_eq!((event["reason"].as_str(), event["type"].as_str()), (Some("ReplicasDiffer"), Some("Warning")));
    assert_eq!(event["regarding"]["name"], "all");
    let note = event["note"].as_str().unwrap();
    assert!(note.contains("not of two") && note.contains("this version is in the bundle of"), "{note}");
    let [line]: [String; 1] = replica.notes().try_into().unwrap();
    assert!(line.contains("team-a/all"), "{line}");

    // The others follow.
    let own = replica.own(ALL).await;
    replica.hear(ALL, &own);
    replica.comparison.look().await;
    assert_eq!((replica.events().len(), replica.notes().len()), (1, 0));
}

#[tokio::test]
async fn is_silent_where_only_the_words_differ_or_another_version_is_meant() {
    let mut replica = Replica::start(&[ALL]).await;
    let own = replica.own(ALL).await;
    let with = |change: fn(&mut Condition)| {
        let mut status = own.clone();
        status.conditions.iter_mut().for_each(change);
        status
    };
    let otherwise_said = with(|condition| condition.message = "in other words".to_owned());
    let mut earlier = with(|condition| condition.observed_generation = Some(0));
    earlier.bundle_hash = Some("another".to_owned());
    for status in [AuthorizationPolicyStatus::default(), otherwise_said, earlier] {
        replica.hear(ALL, &status);
        for _ in 0..3 {
            replica.comparison.look().await;
        }
        assert_eq!((replica.events().len(), replica.notes().len()), (0, 0), "{status:?}");
    }
}

#[tokio::test]
async fn asks_of_all_in_turn_and_first_of_one_in_each_tier() {
    let names: Vec<String> = (0..=MOST_ASKED).map(|number| format!("p{number:02}")).collect();
    let mut objects: Vec<(&str, &str)> = names.iter().map(|name| ("team-a", name.as_str())).collect();
    objects.push(("team-b", "p"));
    let mut replica = Replica::start(&objects).await;
    for object in &objects {
        let own = replica.own(*object).await;
        let status = AuthorizationPolicyStatus { bundle_hash: Some("another".to_owned()), ..own };
        replica.hear(*object, &status);
    }
    replica.comparison.look().await;
    let told = |replica: &Replica| -> BTreeSet<String> {
        let name = |event: &Value| event["regarding"]["name"].as_str().unwrap().to_owned();
        replica.events().iter().map(name).collect()
    };
    replica.comparison.look().await;
    assert_eq!((told(&replica).len(), replica.events().len()), (MOST_ASKED, MOST_ASKED));
    assert!(told(&replica).contains("p"), "the only one of its tier: {:?}", told(&replica));
    for _ in 0..3 {
        replica.comparison.look().await;
        assert_eq!((told(&replica).len(), replica.events().len()), (objects.len(), objects.len()));
        let [line]: [String; 1] = replica.notes().try_into().unwrap();
        assert!(line.contains(&objects.len().to_string()), "those not asked of again differ still: {line}");
    }
}
