//! Faults that a real API server cannot be made to show when a test wants them: a place in the history that is gone
//! (410), a line that breaks off, a list that breaks off between its pages. The server here answers from a script; how a
//! real one behaves, `tests/interop/scenarios/kubernetes-*.sh` try.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Query, State},
    response::{IntoResponse, Response},
    routing::get,
};
use http::StatusCode;
use kube::Config;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use super::*;
use crate::{policy::ResourceKey, source::Change};

const GROUP: &str = "agent.kagenti.dev";
const PATH: &str = "/apis/agent.kagenti.dev/v1alpha1/authorizationpolicies";

/// What the server answers next to a list and to a watch. When a script is at its end, lists fail and watches are
/// silent.
#[derive(Debug, Default)]
struct Script {
    lists: VecDeque<Result<Value, StatusCode>>,
    watches: VecDeque<String>,
}

type Shown = Arc<Mutex<Script>>;

async fn answer(State(script): State<Shown>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let mut script = script.lock().unwrap();
    if query.contains_key("watch") {
        return match script.watches.pop_front() {
            Some(lines) => {
                Body::from_stream(futures_util::stream::iter([Ok::<_, Infallible>(lines)])).into_response()
            }
            None => Body::from_stream(futures_util::stream::pending::<Result<String, Infallible>>())
                .into_response(),
        };
    }
    match script.lists.pop_front() {
        Some(Ok(list)) => Json(list).into_response(),
        Some(Err(status)) => failure(status),
        None => failure(StatusCode::SERVICE_UNAVAILABLE),
    }
}

fn failure(status: StatusCode) -> Response {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "as the script says",
        "code": status.as_u16(),
    });
    (status, Json(body)).into_response()
}

fn object(name: &str, generation: i64, version: u32) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "kind": "AuthorizationPolicy",
        "metadata": {
            "namespace": "team-a", "name": name, "uid": name, "generation": generation,
            "resourceVersion": version.to_string(),
        },
        "spec": { "policies": [{ "path": "a.rego", "content": generation.to_string() }] },
    })
}

fn list(version: u32, following: &str, items: &[Value]) -> Result<Value, StatusCode> {
    Ok(json!({
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "kind": "AuthorizationPolicyList",
        "metadata": { "resourceVersion": version.to_string(), "continue": following },
        "items": items,
    }))
}

fn event(kind: &str, object: &Value) -> String {
    json!({ "type": kind, "object": object }).to_string() + "\n"
}

/// A source that follows a server with a script.
struct Followed {
    batches: mpsc::Receiver<Batch>,
    shared: Arc<Shared>,
    ending: CancellationToken,
    tasks: [JoinHandle<()>; 2],
}

impl Followed {
    async fn start(lists: Vec<Result<Value, StatusCode>>, watches: Vec<String>) -> Self {
        let script = Arc::new(Mutex::new(Script { lists: lists.into(), watches: watches.into() }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().route(PATH, get(answer)).with_state(script);
        let ending = CancellationToken::new();
        let served = axum::serve(listener, app);
        let stop = ending.clone();
        let server = tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                served = served => served.unwrap(),
            }
        });
        let client = Client::try_from(Config::new(address.parse().unwrap())).unwrap();
        let groups = vec![GROUP.to_owned()];
        let shared = Shared::new(&groups, false);
        let source = KubernetesSource::new(client, groups, Arc::clone(&shared));
        let (sender, batches) = mpsc::channel(1);
        let following = tokio::spawn(source.follow(sender, ending.clone()));
        Self { batches, shared, ending, tasks: [following, server] }
    }

    /// The next batch: name and generation, or `-` before what is gone.
    async fn next(&mut self) -> Vec<String> {
        let batch = timeout(Duration::from_secs(20), self.batches.recv()).await.unwrap().unwrap();
        let say = |change: Change| match change {
            Change::Set(object) => format!("{}:{}", object.key.name, object.generation.unwrap()),
            Change::Gone(key) => format!("-{}", key.name),
        };
        batch.changes.into_iter().map(say).collect()
    }

    async fn stop(self) {
        self.ending.cancel();
        for task in self.tasks {
            timeout(Duration::from_secs(20), task).await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn lists_anew_when_its_place_in_the_history_is_gone() {
    let gone = json!({ "kind": "Status", "status": "Failure", "reason": "Expired", "message": "too old", "code": 410 });
    let lists = vec![
        list(10, "", &[object("one", 1, 5), object("two", 1, 6)]),
        list(20, "", &[object("one", 2, 15), object("three", 1, 16)]),
    ];
    let mut followed = Followed::start(lists, vec![event("ERROR", &gone)]).await;
    assert_eq!(followed.next().await, ["one:1", "two:1"]);
    assert_eq!(followed.next().await, ["one:2", "three:1", "-two"]);
    followed.stop().await;
}

#[tokio::test]
async fn goes_on_after_a_line_that_breaks_off() {
    let torn = &event("MODIFIED", &object("one", 2, 11))[..60];
    let whole = event("MODIFIED", &object("one", 3, 12));
    let lists = vec![list(10, "", &[object("one", 1, 5)])];
    let mut followed = Followed::start(lists, vec![torn.to_owned(), whole]).await;
    let mut seen = followed.next().await;
    // The two may come in one batch.
    if seen != ["one:3"] {
        seen = followed.next().await;
    }
    assert_eq!(seen, ["one:3"]);
    followed.stop().await;
}

#[tokio::test]
async fn a_list_that_breaks_off_between_its_pages_begins_again() {
    let lists = vec![
        list(10, "more", &[object("one", 1, 5)]),
        Err(StatusCode::INTERNAL_SERVER_ERROR),
        list(10, "more", &[object("one", 1, 5)]),
        list(10, "", &[object("two", 1, 6)]),
    ];
    let mut followed = Followed::start(lists, Vec::new()).await;
    assert_eq!(followed.next().await, ["one:1", "two:1"], "nothing before the whole list");
    assert_eq!(followed.shared.inventory().unread(), []);
    followed.stop().await;
}

const ONE: &str = "/apis/agent.kagenti.dev/v1alpha1/namespaces/team-a/authorizationpolicies/one";

fn two_groups() -> Vec<String> {
    vec!["first.example.org".to_owned(), GROUP.to_owned()]
}

/// A source whose second group's object was in use until the first one's came, and was not kept.
async fn taken_over(shared: &Arc<Shared>, app: Router) -> (KubernetesSource, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let client = Client::try_from(Config::new(address.parse().unwrap())).unwrap();
    let stored: DynamicObject = serde_json::from_value(object("one", 1, 5)).unwrap();
    for group in [1, 0] {
        let mut inventory = shared.inventory();
        inventory.begin(group);
        inventory.set(group, &stored);
        inventory.finish(group);
    }
    assert!(shared.inventory().take().is_some());
    assert_eq!(shared.inventory().unread().len(), 1);
    (KubernetesSource::new(client, two_groups(), Arc::clone(shared)), server)
}

/// Answers with what an object was, and after its watch has brought what it is.
async fn answer_late(State((shared, gone)): State<(Arc<Shared>, bool)>) -> Response {
    let newer: DynamicObject = serde_json::from_value(object("one", 3, 12)).unwrap();
    shared.inventory().set(1, &newer);
    if !gone {
        return Json(object("one", 2, 11)).into_response();
    }
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "message": "not found",
        "code": 404,
    });
    (StatusCode::NOT_FOUND, Json(status)).into_response()
}

#[rstest]
#[case::an_older_version(false)]
#[case::that_it_was_gone(true)]
#[tokio::test]
async fn what_was_heard_while_reading_is_newer_than_what_was_read(#[case] gone: bool) {
    let shared = Shared::new(&two_groups(), false);
    let app = Router::new().route(ONE, get(answer_late)).with_state((Arc::clone(&shared), gone));
    let (source, server) = taken_over(&shared, app).await;
    source.read_again().await;
    server.abort();
    assert_eq!(shared.inventory().unread(), []);
    shared.inventory().gone(0, &ResourceKey::new("team-a", "one"));
    let batch = shared.inventory().take().unwrap();
    let generation = match batch.changes.as_slice() {
        [Change::Set(object)] => object.generation,
        _ => None,
    };
    assert_eq!(generation, Some(3), "{:?}", batch.changes);
}

/// Fails the first time.
async fn answer_the_second_time(State(asked): State<Arc<AtomicUsize>>) -> Response {
    match asked.fetch_add(1, Ordering::SeqCst) {
        0 => failure(StatusCode::FORBIDDEN),
        _ => Json(object("one", 2, 11)).into_response(),
    }
}

/// Nothing else is heard meanwhile: no notification, no list.
#[tokio::test]
async fn what_cannot_be_read_stays_in_use_and_is_read_again() {
    let shared = Shared::new(&two_groups(), false);
    let asked = Arc::new(AtomicUsize::new(0));
    let app = Router::new().route(ONE, get(answer_the_second_time)).with_state(Arc::clone(&asked));
    let (source, server) = taken_over(&shared, app).await;
    shared.inventory().gone(0, &ResourceKey::new("team-a", "one"));
    shared.changed.notify_one();
    let (sender, mut batches) = mpsc::channel(1);
    let sending = tokio::spawn(async move { source.send(&sender).await });
    let batch = timeout(Duration::from_secs(20), batches.recv()).await.unwrap().unwrap();
    assert!(
        matches!(batch.changes.as_slice(), [Change::Set(object)] if object.generation == Some(2)),
        "{:?}",
        batch.changes
    );
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    sending.abort();
    server.abort();
}

#[tokio::test]
async fn says_why_it_cannot_list() {
    let mut followed = Followed::start(vec![Err(StatusCode::FORBIDDEN)], Vec::new()).await;
    let health = super::super::SourceHealth(Arc::clone(&followed.shared));
    let said = async {
        while !health.missing()[0].contains("as the script says") {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), said).await.unwrap();
    assert!(followed.batches.try_recv().is_err());
    followed.stop().await;
}
