//! The webhook's HTTP: one address, bounded in bytes, in questions at once and in time.
//!
//! A question that cannot be answered in time gets an error, never a yes: the API server then goes by its
//! `failurePolicy`.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::post,
};
use http::StatusCode;
use kube::core::{
    DynamicObject,
    admission::{AdmissionRequest, AdmissionResponse, AdmissionReview},
};
use serde_json::json;
use tokio::{sync::Semaphore, time::timeout};

use super::review::{Question, answer, question};
use crate::catalog::Catalog;

/// The largest question: an object and its old version, of at most 1.5 MiB each in the database, and what is around
/// them.
const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;
/// How long an answer may take altogether. The API server waits for 10 s, unless it is told otherwise.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// How long the question itself may take to arrive, so that who sends slowly keeps nobody else waiting for long.
const ARRIVES_WITHIN: Duration = Duration::from_secs(3);
/// How many questions are read at once, which bounds the memory they take, and how many are worked on. The others wait,
/// as long as their time lasts.
const READ_AT_ONCE: usize = 16;
const WORKED_ON_AT_ONCE: usize = 4;

/// What the handler needs.
#[derive(Debug, Clone)]
struct Webhook {
    catalog: Catalog,
    groups: Arc<[String]>,
    readers: Arc<Semaphore>,
    workers: Arc<Semaphore>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the request's body has more than {MAX_BODY_BYTES} bytes, or broke off")]
    Body,
    #[error("the request's body is no AdmissionReview of admission.k8s.io/v1: {0}")]
    Malformed(String),
    #[error(
        "the policies have not been read yet, so this one cannot be checked against them; try again in a moment"
    )]
    NotReady,
    #[error(
        "the request took longer than {} s to arrive, or the answer longer than {} s",
        ARRIVES_WITHIN.as_secs(),
        ANSWER_WITHIN.as_secs()
    )]
    Late,
    #[error("only POST of an AdmissionReview to /validate is answered here")]
    NotFound,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Body => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::NotReady => StatusCode::SERVICE_UNAVAILABLE,
            Self::Late => StatusCode::GATEWAY_TIMEOUT,
            Self::NotFound => StatusCode::NOT_FOUND,
        };
        (status, Json(json!({ "error": { "message": self.to_string() } }))).into_response()
    }
}

/// The router of the webhook's listener.
pub(crate) fn router(catalog: Catalog, groups: &[String]) -> Router {
    let webhook = Webhook {
        catalog,
        groups: groups.into(),
        readers: Arc::new(Semaphore::new(READ_AT_ONCE)),
        workers: Arc::new(Semaphore::new(WORKED_ON_AT_ONCE)),
    };
    Router::new()
        .route("/validate", post(validate))
        .fallback(async || Failure::NotFound)
        .method_not_allowed_fallback(async || Failure::NotFound)
        .with_state(webhook)
}

async fn validate(State(webhook): State<Webhook>, request: Request) -> Response {
    match timeout(ANSWER_WITHIN, webhook.validate(request.into_body())).await {
        Ok(Ok(response)) => Json(response.into_review()).into_response(),
        Ok(Err(failure)) => failure.into_response(),
        Err(_) => Failure::Late.into_response(),
    }
}

impl Webhook {
    async fn validate(&self, body: Body) -> Result<AdmissionResponse, Failure> {
        // Neither is ever closed.
        let reader = self.readers.acquire().await.map_err(|_| Failure::NotReady)?;
        let body = timeout(ARRIVES_WITHIN, to_bytes(body, MAX_BODY_BYTES)).await;
        let body = body.map_err(|_| Failure::Late)?.map_err(|_| Failure::Body)?;
        // Held to the end of the checking, which a caller who hangs up does not stop.
        let worker = Arc::clone(&self.workers).acquire_owned().await.map_err(|_| Failure::NotReady)?;
        drop(reader);
        let review: AdmissionReview<DynamicObject> =
            serde_json::from_slice(&body).map_err(|error| Failure::Malformed(error.to_string()))?;
        let request: AdmissionRequest<DynamicObject> =
            review.try_into().map_err(|_| Failure::Malformed("it has no request".to_owned()))?;
        let Question::Judge(object) = question(&request, &self.groups) else {
            return Ok(AdmissionResponse::from(&request));
        };
        if !self.catalog.is_ready() {
            return Err(Failure::NotReady);
        }
        let key = object.key.clone();
        let catalog = self.catalog.clone();
        let judged = tokio::spawn(async move {
            let judged = catalog.preview(*object).await;
            drop(worker);
            judged
        });
        let found = judged.await.map_err(|_| Failure::NotReady)?.map_err(|_| Failure::NotReady)?;
        let response = answer(&request, found);
        tracing::info!(resource = %key, allowed = response.allowed, dry_run = request.dry_run, "policy reviewed");
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use http_body_util::BodyExt;
    use rstest::rstest;
    use secplane_identity::TrustDomain;
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;
    use crate::{compile::Settings, kubernetes::webhook::review::tests::review, source::Batch};

    const GOOD: &str = "package authbridge.ns.inbound.request\n\nallow := true\n";
    const BAD: &str = "package authbridge.ns.inbound.request\n\nallow := )\n";
    const BEYOND: &str = "package authbridge.inbound.request\n\nallow := true\n";

    async fn ready() -> Catalog {
        let catalog = Catalog::new(Settings::new(TrustDomain::parse("example.org").unwrap()));
        catalog.apply(Batch::default()).await.unwrap();
        catalog
    }

    async fn ask(catalog: Catalog, method: Method, path: &str, body: String) -> (StatusCode, Value) {
        let groups = ["agent.kagenti.dev".to_owned()];
        let request = http::Request::builder().method(method).uri(path).body(Body::from(body)).unwrap();
        let response = router(catalog, &groups).oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn validate(catalog: Catalog, content: &str) -> Value {
        let spec = json!({ "scope": "namespace", "policies": [{ "path": "a.rego", "content": content }] });
        let body = review("CREATE", &spec, &Value::Null).to_string();
        let (status, answer) = ask(catalog, Method::POST, "/validate", body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["response"].clone()
    }

    #[tokio::test]
    async fn says_yes_and_no_as_the_compiler_would() {
        let catalog = ready().await;
        assert_eq!(validate(catalog.clone(), GOOD).await["allowed"], true);
        let refused = validate(catalog.clone(), BAD).await;
        assert_eq!(refused["allowed"], false);
        let message = refused["status"]["message"].as_str().unwrap();
        assert!(message.starts_with("a.rego:3:"), "{message}");
        let refused = validate(catalog.clone(), BEYOND).await;
        assert!(refused["status"]["message"].as_str().unwrap().contains("(confinement)"), "{refused}");
        assert_eq!(catalog.counts().0, 0, "nothing was stored");
    }

    #[tokio::test]
    async fn gives_no_answer_before_it_knows_the_policies() {
        let catalog = Catalog::new(Settings::new(TrustDomain::parse("example.org").unwrap()));
        let spec = json!({ "policies": [{ "path": "a.rego", "content": GOOD }] });
        let body = review("CREATE", &spec, &Value::Null).to_string();
        let (status, _) = ask(catalog, Method::POST, "/validate", body).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[rstest]
    #[case(Method::POST, "/validate", "{".to_owned(), StatusCode::BAD_REQUEST)]
    #[case(Method::POST, "/validate", "{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\"}".to_owned(), StatusCode::BAD_REQUEST)]
    #[case(Method::POST, "/validate", "x".repeat(MAX_BODY_BYTES + 1), StatusCode::PAYLOAD_TOO_LARGE)]
    #[case(Method::GET, "/validate", String::new(), StatusCode::NOT_FOUND)]
    #[case(Method::POST, "/", String::new(), StatusCode::NOT_FOUND)]
    #[tokio::test]
    async fn refuses_what_is_no_question(
        #[case] method: Method,
        #[case] path: &str,
        #[case] body: String,
        #[case] expected: StatusCode,
    ) {
        let (status, answer) = ask(ready().await, method, path, body).await;
        assert_eq!(status, expected, "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_that_never_end_are_given_up_and_keep_nobody_waiting_for_long() {
        let groups = ["agent.kagenti.dev".to_owned()];
        let router = router(ready().await, &groups);
        let endless =
            || Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
        let post = |body: Body| http::Request::post("/validate").body(body).unwrap();
        let slow: Vec<_> =
            (0..READ_AT_ONCE).map(|_| tokio::spawn(router.clone().oneshot(post(endless())))).collect();
        tokio::task::yield_now().await;
        let good = json!({ "policies": [{ "path": "a.rego", "content": GOOD.replace(".ns.", ".client.") }] });
        let body = review("CREATE", &good, &Value::Null).to_string();
        let answered = router.oneshot(post(Body::from(body))).await.unwrap();
        assert_eq!(answered.status(), StatusCode::OK);
        for slow in slow {
            assert_eq!(slow.await.unwrap().unwrap().status(), StatusCode::GATEWAY_TIMEOUT);
        }
    }
}
