use secplane_identity::TrustDomain;

use super::*;
use crate::{
    policy_tests::{TestFailure, TestReport, TestRequest, Tester},
    source::{SourceOptions, manifests::FileContent},
};

fn batch(documents: &[(&str, &str, &str, &str)]) -> Batch {
    let read = |(namespace, name, scope, content): &(&str, &str, &str, &str)| {
        let text = format!(
            "apiVersion: agent.kagenti.dev/v1alpha1\nkind: AuthorizationPolicy\n\
             metadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{scope: {scope}, policies: [{{path: a.rego, content: '{content}'}}]}}\n"
        );
        let content = FileContent::read("a.yaml", text.as_bytes(), &SourceOptions::default());
        content.objects.into_iter().map(|object| Change::Set(Arc::new(object))).collect::<Vec<_>>()
    };
    Batch { changes: documents.iter().flat_map(read).collect(), ..Batch::default() }
}

fn id(namespace: &str, account: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://example.org/ns/{namespace}/sa/{account}")).unwrap()
}

fn catalog() -> Catalog {
    Catalog::new(Settings::new(TrustDomain::parse("example.org").unwrap()))
}

const NS: &str = "package authbridge.ns.inbound.request\n\n\nallow := true";

#[tokio::test]
async fn a_change_wakes_only_whom_it_concerns() {
    let catalog = catalog();
    assert!(!catalog.is_ready());
    catalog.apply(Batch::default()).await.unwrap();
    assert!(catalog.is_ready());
    let mut a = catalog.subscribe(&id("team-a", "x")).await.unwrap();
    let mut other = catalog.subscribe(&id("team-b", "x")).await.unwrap();
    catalog.apply(batch(&[("team-a", "p", "namespace", NS)])).await.unwrap();
    assert!(a.has_changed().unwrap());
    assert!(!other.has_changed().unwrap());
    a.mark_unchanged();

    catalog
        .apply(batch(&[(
            "team-a",
            "y",
            "client",
            "package authbridge.client.inbound.request\n\n\nallow := true",
        )]))
        .await
        .unwrap();
    assert!(!a.has_changed().unwrap(), "another client of the namespace");
    other.mark_unchanged();
}

#[tokio::test]
async fn says_what_came_of_a_batch() {
    let catalog = catalog();
    catalog.subscribe(&id("team-a", "x")).await.unwrap();
    let broken = "package authbridge.inbound.request\n\n\nallow := true";
    let documents = [("team-a", "p", "namespace", NS), ("team-b", "q", "namespace", broken)];
    let applied = catalog.apply(batch(&documents)).await.unwrap();
    let key = |(namespace, name, ..): (&str, &str, &str, &str)| ResourceKey::new(namespace, name);
    assert_eq!(applied.judged, BTreeSet::from(documents.map(key)));
    assert_eq!((applied.resources, applied.identities), (2, 1));
    assert_eq!(applied.refusals[0].code, "confinement", "{:?}", applied.refusals);
    assert_eq!(applied.refusals, catalog.refusals());
}

/// Cannot run tests until it is told that it can.
#[derive(Debug, Default)]
struct Late(AtomicBool);

impl Tester for Late {
    fn run(&self, _: &TestRequest) -> Result<TestReport, TestFailure> {
        match self.0.load(Ordering::Relaxed) {
            true => Ok(TestReport::default()),
            false => Err(TestFailure::Start("no child".to_owned())),
        }
    }
}

#[tokio::test]
async fn tries_again_without_a_change_and_tells_who_waits() {
    let policies = Policies::new(Settings::new(TrustDomain::parse("example.org").unwrap()));
    let late = Arc::new(Late::default());
    let policies = policies.with_tester(Arc::clone(&late) as Arc<dyn Tester>);
    let catalog = Catalog::remembering(policies, None, Arc::new(SystemTime::now));
    let mut receiver = catalog.subscribe(&id("team-a", "x")).await.unwrap();
    let test =
        format!("{NS}'}}, {{path: a_test.rego, content: 'package authbridge.ns.a_test\n\n\ntest_a if true");
    let applied = catalog.apply(batch(&[("team-a", "p", "namespace", &test)])).await.unwrap();
    assert_eq!(applied.refusals[0].code, "test_start", "{:?}", applied.refusals);
    receiver.mark_unchanged();
    late.0.store(true, Ordering::Relaxed);
    let tried = catalog.try_again().await.unwrap().unwrap();
    assert_eq!((tried.refusals, tried.judged), (Vec::new(), applied.judged));
    assert!(receiver.has_changed().unwrap());
    assert_eq!(catalog.try_again().await.unwrap(), None);
}

/// Runs no tests, and remembers whose they were.
#[derive(Debug, Default)]
struct Childless(Mutex<Vec<String>>);

impl Tester for Childless {
    fn run(&self, request: &TestRequest) -> Result<TestReport, TestFailure> {
        let namespace = request.tests[0].name.split('/').next().unwrap().to_owned();
        self.0.lock().unwrap().push(namespace);
        Err(TestFailure::Start("no child".to_owned()))
    }
}

#[tokio::test]
async fn gives_each_namespace_one_turn_while_there_is_time() {
    let childless = Arc::new(Childless::default());
    let policies = Policies::new(Settings::new(TrustDomain::parse("example.org").unwrap()));
    let policies = policies.with_tester(Arc::clone(&childless) as Arc<dyn Tester>);
    let catalog = Catalog::remembering(policies, None, Arc::new(SystemTime::now));
    let test =
        format!("{NS}'}}, {{path: a_test.rego, content: 'package authbridge.ns.a_test\n\n\ntest_a if true");
    let namespaces = ["team-a", "team-b", "team-c"];
    let waiting = namespaces.map(|namespace| (namespace, "p", "namespace", test.as_str()));
    catalog.apply(batch(&waiting)).await.unwrap();
    let turns = |time: Duration| {
        childless.0.lock().unwrap().clear();
        let judged = catalog.0.try_again(time).unwrap().judged.len();
        let mut whose = childless.0.lock().unwrap().clone();
        whose.dedup();
        assert_eq!(judged, whose.len());
        whose
    };
    assert_eq!(turns(Duration::MAX), namespaces, "each once, whatever time there is");
    assert_eq!(turns(Duration::ZERO), ["team-a"], "one has its turn in any case");
    assert_eq!(turns(Duration::ZERO), ["team-b"]);
}

#[tokio::test]
async fn identities_with_equal_tiers_share_them() {
    let catalog = catalog();
    catalog.apply(batch(&[("team-a", "p", "namespace", NS)])).await.unwrap();
    let one = catalog.subscribe(&id("team-a", "x")).await.unwrap().borrow().clone();
    let two = catalog.subscribe(&id("team-a", "y")).await.unwrap().borrow().clone();
    assert!(one.shares_tiers(&two));
    assert_ne!(one.revision(), two.revision(), "each says whose it is");
    let other = catalog.subscribe(&id("team-b", "x")).await.unwrap().borrow().clone();
    assert!(!one.shares_tiers(&other));
}

#[tokio::test]
async fn what_is_refused_wakes_nobody() {
    let catalog = catalog();
    catalog.apply(batch(&[("team-a", "p", "namespace", NS)])).await.unwrap();
    let receiver = catalog.subscribe(&id("team-a", "x")).await.unwrap();
    let broken =
        batch(&[("team-a", "p", "namespace", "package authbridge.inbound.request\n\n\nallow := true")]);
    catalog.apply(broken).await.unwrap();
    assert!(!receiver.has_changed().unwrap(), "the last good version stays");
    assert_eq!(catalog.refusals()[0].code, "confinement");
}
