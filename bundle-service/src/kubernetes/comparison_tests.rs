//! A replica that does not write statuses, beside an API server that has those of another one.

use std::sync::Mutex;

use axum::{
    Json, Router,
    extract::State,
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
const OBJECT: &str = "/apis/agent.kagenti.dev/v1alpha1/namespaces/team-a/authorizationpolicies/all";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/team-a/events";

/// What the API server holds: the one object, and the Events that were sent.
#[derive(Default)]
struct Held {
    stored: Value,
    events: Vec<Value>,
}

type Shown = Arc<Mutex<Held>>;

async fn stored(State(held): State<Shown>) -> Json<Value> {
    Json(held.lock().unwrap().stored.clone())
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
    async fn start() -> Self {
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
        replica.hear(&AuthorizationPolicyStatus::default());
        replica.comparison.shared.inventory().finish(0);
        let batch = replica.comparison.shared.inventory().take().unwrap();
        replica.comparison.catalog.apply(batch).await.unwrap();
        replica
    }

    /// The API server has the object with that status, and says so.
    fn hear(&self, status: &AuthorizationPolicyStatus) {
        let content = "package authbridge.ns.inbound.request\n\nallow := true\n";
        let stored = json!({
            "apiVersion": format!("{GROUP}/v1alpha1"),
            "kind": "AuthorizationPolicy",
            "metadata": { "namespace": "team-a", "name": "all", "uid": "u", "generation": 1 },
            "spec": { "scope": "namespace", "policies": [{ "path": "a.rego", "content": content }] },
            "status": status,
        });
        self.held.lock().unwrap().stored = stored.clone();
        self.comparison.shared.inventory().set(0, &serde_json::from_value(stored).unwrap());
    }

    /// The status that this replica would write.
    async fn own(&self) -> AuthorizationPolicyStatus {
        let all = self.comparison.shared.inventory().stored();
        let deviation = self.comparison.deviations(&all).await.pop().unwrap();
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
    let mut replica = Replica::start().await;
    let rolled_back =
        AuthorizationPolicyStatus { bundle_hash: Some("another".to_owned()), ..replica.own().await };
    replica.hear(&rolled_back);
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
    let own = replica.own().await;
    replica.hear(&own);
    replica.comparison.look().await;
    assert_eq!((replica.events().len(), replica.notes().len()), (1, 0));
}

#[tokio::test]
async fn is_silent_where_only_the_words_differ_or_another_version_is_meant() {
    let mut replica = Replica::start().await;
    let own = replica.own().await;
    let with = |change: fn(&mut Condition)| {
        let mut status = own.clone();
        status.conditions.iter_mut().for_each(change);
        status
    };
    let otherwise_said = with(|condition| condition.message = "in other words".to_owned());
    let mut earlier = with(|condition| condition.observed_generation = Some(0));
    earlier.bundle_hash = Some("another".to_owned());
    for status in [AuthorizationPolicyStatus::default(), otherwise_said, earlier] {
        replica.hear(&status);
        for _ in 0..3 {
            replica.comparison.look().await;
        }
        assert_eq!((replica.events().len(), replica.notes().len()), (0, 0), "{status:?}");
    }
}
