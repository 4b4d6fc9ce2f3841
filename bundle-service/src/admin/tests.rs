//! Going back to what one identity had, and what that is not meant for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use secplane_identity::{SpiffeId, TrustDomain};
use serde_json::json;
use tempfile::TempDir;

use super::{
    AdminFailure, Administered, answers,
    wire::{ChoiceAnswer, HistoryEntry, SnapshotAnswer, Target},
};
use crate::{
    catalog::Catalog,
    compile::{Policies, Settings},
    history::{History, HistoryLimits},
    source::{Batch, Change, SourceOptions, manifests::FileContent},
    tiers::TierKey,
};

const ALLOW: &str = "package authbridge.client.inbound.request\n\nallow := true\n";
const DENY: &str = "package authbridge.client.inbound.request\n\nallow := false\n";
const SHARED: &str = "package authbridge.ns.lib\n\nx := 1\n";

fn id(account: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://example.org/ns/a/sa/{account}")).unwrap()
}

/// A catalog with a history of its own.
struct Kept {
    administered: Administered,
    /// What its clock says, in seconds since 1970.
    now: Arc<AtomicU64>,
    _folder: TempDir,
}

impl Kept {
    fn new() -> Self {
        Self::ending_after(None)
    }

    fn ending_after(bundle_lifetime: Option<Duration>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history");
        let now = Arc::new(AtomicU64::new(1_800_000_000));
        let seconds = Arc::clone(&now);
        let clock = move || UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::Relaxed));
        let history = History::open(&path, "secplane-system", HistoryLimits::default(), clock()).unwrap();
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        let settings = Settings { bundle_lifetime, ..Settings::new(trust_domain) };
        let catalog = Catalog::remembering(Policies::new(settings), Some(history), Arc::new(clock));
        Self { administered: Administered { catalog, judged: None }, now, _folder: folder }
    }

    /// Lets time pass, and gives bundles that are about to end a new end.
    async fn pass(&self, time: Duration) {
        self.now.fetch_add(time.as_secs(), Ordering::Relaxed);
        self.administered.catalog.renew().await.unwrap();
    }

    async fn entries(&self, account: &str) -> Vec<HistoryEntry> {
        let of = Target::Identity(id(account));
        answers::history(&self.administered.catalog, of).await.unwrap().entries
    }

    async fn snapshot(&self, of: Target, at: &str) -> SnapshotAnswer {
        answers::snapshot(&self.administered.catalog, of, at.to_owned()).await.unwrap()
    }

    async fn set(&self, name: &str, scope: &str, content: &str) {
        let manifest = json!({
            "apiVersion": "agent.kagenti.dev/v1alpha1",
            "kind": "AuthorizationPolicy",
            "metadata": { "namespace": "a", "name": name },
            "spec": { "scope": scope, "policies": [{ "path": "a.rego", "content": content }] },
        });
        let read = FileContent::read("a.yaml", manifest.to_string().as_bytes(), &SourceOptions::default());
        let changes = read.objects.into_iter().map(|object| Change::Set(Arc::new(object))).collect();
        self.administered.catalog.apply(Batch { changes, ..Batch::default() }).await.unwrap();
    }

    async fn revision(&self, account: &str) -> String {
        let bundle = self.administered.catalog.subscribe(&id(account)).await.unwrap();
        bundle.borrow().revision()
    }

    async fn roll_back(&self, id: SpiffeId, to: &str) -> Result<ChoiceAnswer, AdminFailure> {
        let by = "user 0: test".to_owned();
        answers::rollback(&self.administered, Target::Identity(id), to.to_owned(), by).await
    }

    async fn release(&self, id: SpiffeId) -> Result<ChoiceAnswer, AdminFailure> {
        answers::release(&self.administered, Target::Identity(id), "user 0: test".to_owned()).await
    }
}

#[tokio::test]
async fn brings_one_identity_back_and_nobody_else() {
    let kept = Kept::new();
    kept.set("p", "namespace", SHARED).await;
    kept.set("other", "client", ALLOW).await;
    kept.set("agent", "client", ALLOW).await;
    let (first, other) = (kept.revision("agent").await, kept.revision("other").await);
    kept.set("agent", "client", DENY).await;
    let second = kept.revision("agent").await;
    assert_ne!(first, second);
    for point in [&first[..12], "1"] {
        let answer = kept.roll_back(id("agent"), point).await.unwrap();
        assert_eq!(answer.tiers, ["client/a/agent".parse::<TierKey>().unwrap()]);
        assert!(answer.durable);
        assert_eq!(
            (kept.revision("agent").await, kept.revision("other").await),
            (first.clone(), other.clone())
        );
        kept.release(id("agent")).await.unwrap();
        assert_eq!(kept.revision("agent").await, second);
    }
    assert!(matches!(kept.roll_back(id("agent"), "9").await, Err(AdminFailure::NotFound(_))));
    assert!(matches!(kept.roll_back(id("agent"), "000000").await, Err(AdminFailure::NotFound(_))));
}

/// Before its client policy came there was none.
#[tokio::test]
async fn leaves_out_what_an_identity_did_not_have_yet() {
    let kept = Kept::new();
    kept.set("p", "namespace", SHARED).await;
    let before = kept.revision("agent").await;
    kept.set("agent", "client", ALLOW).await;
    let answer = kept.roll_back(id("agent"), &before).await.unwrap();
    assert!(answer.pins.len() == 1 && answer.pins[0].to.is_none(), "{answer:?}");
    assert_eq!(kept.revision("agent").await, before);
}

#[tokio::test]
async fn names_what_an_identity_shares_when_it_has_nothing_of_its_own() {
    let kept = Kept::new();
    kept.set("p", "namespace", SHARED).await;
    let elsewhere = SpiffeId::parse("spiffe://other.org/ns/a/sa/agent").unwrap();
    for (id, shared) in
        [(id("agent"), "`--tier global` or `--tier namespace/a`"), (elsewhere, "meant: `--tier global`")]
    {
        for refused in [kept.roll_back(id.clone(), "1").await, kept.release(id.clone()).await] {
            let message = refused.unwrap_err().to_string();
            assert!(message.ends_with(shared) && message.contains(id.as_str()), "{message}");
        }
    }
}

#[tokio::test]
async fn refuses_to_move_a_resource_between_tiers_for_one_identity() {
    let kept = Kept::new();
    kept.set("agent", "client", ALLOW).await;
    kept.set("agent", "client", DENY).await;
    // The namespace would get it once it is correct.
    kept.set("agent", "namespace", "package authbridge.ns.lib\n\nx := {\n").await;
    let before = kept.revision("agent").await;
    let message = kept.roll_back(id("agent"), "1").await.unwrap_err().to_string();
    assert!(message.contains("namespace/a") && message.contains("--resource a/agent"), "{message}");
    assert_eq!(kept.revision("agent").await, before);
}

/// A bundle that is made again for its end alone is another revision of what was decided before.
#[tokio::test]
async fn tells_what_was_decided_apart_from_when_a_bundle_ends() {
    let hour = Duration::from_secs(3600);
    let kept = Kept::ending_after(Some(hour));
    kept.set("agent", "client", ALLOW).await;
    let first = kept.revision("agent").await;
    kept.pass(hour).await;
    let renewed = kept.revision("agent").await;
    assert_ne!(first, renewed);
    let entries = kept.entries("agent").await;
    assert_eq!(entries.len(), 1, "nothing else was decided: {entries:?}");
    let served = entries[0].served.clone().unwrap();
    assert_eq!(served.revision.to_string(), renewed, "what is served now");
    let decided = entries[0].revision.unwrap().to_string();
    assert!(decided != first && decided != renewed, "{decided}");

    let of = || Target::Identity(id("agent"));
    let [before, after, plain] = [
        kept.snapshot(of(), &first).await,
        kept.snapshot(of(), &renewed).await,
        kept.snapshot(of(), &decided).await,
    ];
    assert_eq!((&before.resources, &after.resources), (&plain.resources, &plain.resources));
    assert_eq!((after.not_after, plain.not_after), (Some(served.not_after), None));
    assert!(before.not_after < after.not_after, "{before:?}");

    kept.set("agent", "client", DENY).await;
    let last = kept.entries("agent").await.pop().unwrap();
    assert_ne!(last.revision, entries[0].revision);
    let earlier = kept.snapshot(of(), &first[..12]).await;
    assert_eq!(earlier.resources, plain.resources, "what was there when that was served");
    // Back to any of them is back to what was decided.
    for point in [&first, &renewed, &decided] {
        kept.roll_back(id("agent"), point).await.unwrap();
        assert_eq!(kept.entries("agent").await.pop().unwrap().revision, entries[0].revision);
        kept.release(id("agent")).await.unwrap();
        assert_eq!(kept.entries("agent").await.pop().unwrap().revision, last.revision);
    }
    assert!(matches!(kept.roll_back(id("agent"), "000000").await, Err(AdminFailure::NotFound(_))));
}

/// Bundles get a new end only now and then.
#[tokio::test]
async fn names_the_bundle_that_is_served_and_none_that_would_be() {
    let hour = Duration::from_secs(3600);
    let kept = Kept::ending_after(Some(hour));
    kept.set("agent", "client", ALLOW).await;
    let first = kept.revision("agent").await;
    let served = async || kept.entries("agent").await.pop().unwrap().served.unwrap().revision.to_string();
    assert_eq!(served().await, first);
    kept.now.fetch_add(hour.as_secs(), Ordering::Relaxed);
    assert_eq!(served().await, first, "nobody was served another one yet");
    kept.administered.catalog.renew().await.unwrap();
    let renewed = kept.revision("agent").await;
    assert_ne!(renewed, first);
    assert_eq!(served().await, renewed);
}

/// What is listed of a tier that denies stood last, and was not in force.
#[tokio::test]
async fn tells_that_a_tier_denied_and_brings_nothing_of_that_back() {
    let kept = Kept::new();
    kept.set("agent", "client", "package authbridge.client.inbound.request\n\nallow if {\n").await;
    let denying = kept.entries("agent").await.pop().unwrap().revision.unwrap().to_string();
    kept.set("agent", "client", ALLOW).await;
    let tier: TierKey = "client/a/agent".parse().unwrap();
    for (of, at) in [(Target::Tier(tier.clone()), "1"), (Target::Identity(id("agent")), denying.as_str())] {
        let snapshot = kept.snapshot(of, at).await;
        let [denied] = snapshot.denied.as_slice() else { panic!("{snapshot:?}") };
        assert!(denied.tier == tier && denied.reason.contains("a/agent"), "{denied:?}");
    }
    assert_eq!(kept.snapshot(Target::Tier(tier.clone()), "2").await.denied, []);
    let before = kept.revision("agent").await;
    let message = kept.roll_back(id("agent"), &denying).await.unwrap_err().to_string();
    assert!(message.contains("denied everything"), "{message}");
    assert_eq!(kept.revision("agent").await, before);
}
