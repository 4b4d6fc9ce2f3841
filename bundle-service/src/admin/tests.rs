//! Going back to what one identity had, and what that is not meant for.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use secplane_identity::{SpiffeId, TrustDomain};
use serde_json::json;
use tempfile::TempDir;

use super::{
    AdminFailure, Administered, answers,
    wire::{ChoiceAnswer, Target},
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
    _folder: TempDir,
}

impl Kept {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history");
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let history = History::open(&path, "secplane-system", HistoryLimits::default(), now).unwrap();
        let settings = Settings::new(TrustDomain::parse("example.org").unwrap());
        let catalog = Catalog::remembering(Policies::new(settings), Some(history), Arc::new(move || now));
        Self { administered: Administered { catalog, judged: None }, _folder: folder }
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
