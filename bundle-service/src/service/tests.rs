use std::sync::{OnceLock, mpsc};

use futures_util::{StreamExt, stream};
use secplane_identity::SpiffeId;
use tokio::{
    join,
    sync::{oneshot, watch},
    time::timeout,
};

use super::*;
use crate::{
    compile::Bundle,
    policy_tests::{TestFailure, TestReport, TestRequest, Tester},
    source::{Change, SourceOptions, manifests::FileContent},
};

/// This runtime has one thread. If that waited for who has the policies, nobody would tell them to let go.
#[tokio::test]
async fn takes_in_without_waiting_for_others_on_the_runtime() {
    let catalog = Catalog::new(Settings::new(TrustDomain::parse("example.org").unwrap()));
    let bundles = Bundles { catalog, metrics: Arc::new(Metrics::new()), size_limit: 1 };
    // Which of the two has them first is not known, so it is tried often.
    for _ in 0..100 {
        let (entered, has_entered) = oneshot::channel();
        let (let_go, told) = mpsc::channel();
        let holding = bundles.catalog.with_state(move |_, _| {
            entered.send(()).unwrap();
            (told.recv_timeout(Duration::from_secs(20)).is_ok(), BTreeSet::new())
        });
        let telling = async {
            has_entered.await.unwrap();
            let_go.send(()).is_ok()
        };
        let (taken_in, held, told) = join!(take_in(&bundles, Batch::default()), holding, telling);
        assert!(taken_in.is_ok() && held.unwrap() && told);
    }
}

/// Has no child to run tests in, until an identity was denied for it.
#[derive(Debug, Default)]
struct Late(OnceLock<watch::Receiver<Arc<Bundle>>>);

impl Tester for Late {
    fn run(&self, _: &TestRequest) -> Result<TestReport, TestFailure> {
        match self.0.get().is_some_and(|served| served.borrow().denied().is_some()) {
            true => Ok(TestReport::default()),
            false => Err(TestFailure::Start("no child".to_owned())),
        }
    }
}

/// A policy of the namespace `team-a` with a test.
fn tested_policy() -> Batch {
    let manifest = r#"
apiVersion: agent.kagenti.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: p, namespace: team-a}
spec:
  scope: namespace
  policies:
  - path: a.rego
    content: "package authbridge.ns.a\n\nx := 1\n"
  - path: a_test.rego
    content: "package authbridge.ns.a_test\n\ntest_x if true\n"
"#;
    let content = FileContent::read("a.yaml", manifest.as_bytes(), &SourceOptions::default());
    let changes = content.objects.into_iter().map(|object| Change::Set(Arc::new(object))).collect();
    Batch { changes, ..Batch::default() }
}

/// Nobody who changes something all the time keeps what waits from its turn.
#[tokio::test]
async fn tries_again_while_one_change_follows_another() {
    let late = Arc::new(Late::default());
    let settings = Settings::new(TrustDomain::parse("example.org").unwrap());
    let policies = Policies::new(settings).with_tester(Arc::clone(&late) as Arc<dyn Tester>);
    let catalog = Catalog::remembering(policies, None, Arc::new(SystemTime::now));
    let id = SpiffeId::parse("spiffe://example.org/ns/team-a/sa/agent").unwrap();
    let mut served = catalog.subscribe(&id).await.unwrap();
    late.0.set(served.clone()).unwrap();
    let before = served.borrow().etag();

    let batches = stream::iter([tested_policy()]).chain(stream::repeat_with(Batch::default));
    let bundles = Bundles { catalog, metrics: Arc::new(Metrics::new()), size_limit: 1 };
    let applying = tokio::spawn(apply(bundles, Batches::of_one(batches), None));
    let comes = served.wait_for(|bundle| bundle.denied().is_none() && bundle.etag() != before);
    let came = timeout(Duration::from_secs(60), comes).await.unwrap();
    assert!(came.is_ok(), "nobody applies any more");
    applying.abort();
}
