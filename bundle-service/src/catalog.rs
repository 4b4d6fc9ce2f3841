//! The current bundle of each identity, and who waits for the next one.
//!
//! Compiling takes processor time, so it happens on the threads for blocking work, one batch of changes after another.
//! An identity is compiled for when it first asks, and from then on whenever one of its own tiers changes.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use secplane_identity::SpiffeId;
use tokio::{sync::watch, task::spawn_blocking};

use crate::{
    compile::{Bundle, Policies, Settings, Verdict},
    policy::ResourceKey,
    refusal::Refusal,
    source::{Batch, Change, Object},
};

/// How many identities are remembered before those that nobody waits for are forgotten.
const MAX_IDENTITIES: usize = 50_000;

/// The bundles of all identities. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    policies: Mutex<Policies>,
    /// Written only by who holds the policies, so that no change falls between compiling and publishing.
    published: RwLock<HashMap<SpiffeId, watch::Sender<Arc<Bundle>>>>,
    /// What the source refuses and is no resource's own fault.
    source_refusals: Mutex<Vec<Refusal>>,
    ready: AtomicBool,
}

/// The catalog's work was interrupted: the process is ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bundle was not compiled: the service is ending")]
pub struct Interrupted;

impl Catalog {
    /// A catalog without resources, which is not ready.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(Inner {
            policies: Mutex::new(Policies::new(settings)),
            published: RwLock::default(),
            source_refusals: Mutex::default(),
            ready: AtomicBool::new(false),
        }))
    }

    /// Takes a batch in, and publishes the bundles that it changes. After the first one the catalog is ready. Returns
    /// the resources whose verdict may be another one now.
    ///
    /// # Errors
    /// When the process is ending.
    pub async fn apply(&self, batch: Batch) -> Result<BTreeSet<ResourceKey>, Interrupted> {
        let inner = Arc::clone(&self.0);
        spawn_blocking(move || inner.apply(batch)).await.map_err(|_| Interrupted)
    }

    /// The bundle of an identity, now and as it changes.
    ///
    /// # Errors
    /// When the process is ending.
    pub async fn subscribe(&self, id: &SpiffeId) -> Result<watch::Receiver<Arc<Bundle>>, Interrupted> {
        if let Some(sender) = self.0.published.read().unwrap_or_else(PoisonError::into_inner).get(id) {
            return Ok(sender.subscribe());
        }
        let (inner, id) = (Arc::clone(&self.0), id.clone());
        spawn_blocking(move || inner.subscribe(&id)).await.map_err(|_| Interrupted)
    }

    /// Whether a first batch has been taken in.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Acquire)
    }

    /// All that is refused now.
    #[must_use]
    pub fn refusals(&self) -> Vec<Refusal> {
        let mut refusals = self.0.source_refusals.lock().unwrap_or_else(PoisonError::into_inner).clone();
        refusals.extend(self.0.policies().refusals());
        refusals
    }

    /// What became of resources, in the order of the keys; nothing of those that are not there.
    ///
    /// # Errors
    /// When the process is ending.
    pub async fn verdicts(
        &self,
        keys: BTreeSet<ResourceKey>,
    ) -> Result<Vec<(ResourceKey, Verdict)>, Interrupted> {
        let inner = Arc::clone(&self.0);
        let of = move || {
            let policies = inner.policies();
            let verdict = |key: ResourceKey| policies.verdict(&key).map(|verdict| (key, verdict));
            keys.into_iter().filter_map(verdict).collect()
        };
        spawn_blocking(of).await.map_err(|_| Interrupted)
    }

    /// All that would be refused of an object, and the warnings, were it the newest version of its resource. Changes
    /// nothing.
    ///
    /// # Errors
    /// When the process is ending.
    pub async fn preview(&self, object: Object) -> Result<Vec<Refusal>, Interrupted> {
        let inner = Arc::clone(&self.0);
        let judge = move || {
            let preview = inner.policies().preview(object);
            preview.judge()
        };
        spawn_blocking(judge).await.map_err(|_| Interrupted)
    }

    /// How many resources there are, and identities with a bundle.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let resources = self.0.policies().resources();
        (resources, self.0.published.read().unwrap_or_else(PoisonError::into_inner).len())
    }
}

impl Inner {
    fn policies(&self) -> std::sync::MutexGuard<'_, Policies> {
        // A panic while compiling leaves the tiers as they were or rebuilt, never half of one.
        self.policies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, Batch { changes, refusals }: Batch) -> BTreeSet<ResourceKey> {
        *self.source_refusals.lock().unwrap_or_else(PoisonError::into_inner) = refusals;
        let mut policies = self.policies();
        for change in &changes {
            match change {
                Change::Set(object) => {
                    tracing::info!(resource = %object.key, file = object.file, "policy read")
                }
                Change::Gone(key) => tracing::info!(resource = %key, "policy gone"),
            }
        }
        let touched = policies.apply(&changes);
        let published = self.published.read().unwrap_or_else(PoisonError::into_inner);
        for (id, sender) in published.iter() {
            if !touched.iter().any(|tier| policies.concerns(tier, id)) {
                continue;
            }
            match policies.bundle(id) {
                Ok(bundle) => {
                    sender.send_if_modified(|current| {
                        let changed = current.revision() != bundle.revision();
                        if changed {
                            *current = bundle;
                        }
                        changed
                    });
                }
                Err(refusals) => stays(id, &refusals),
            }
        }
        self.ready.store(true, Ordering::Release);
        let judged = changes.iter().map(Change::key).chain(policies.members_of(&touched));
        judged.cloned().collect()
    }

    fn subscribe(&self, id: &SpiffeId) -> watch::Receiver<Arc<Bundle>> {
        let mut policies = self.policies();
        let mut published = self.published.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = published.get(id) {
            return sender.subscribe();
        }
        if published.len() >= MAX_IDENTITIES {
            published.retain(|_, sender| sender.receiver_count() > 0);
        }
        let bundle = policies.bundle(id).unwrap_or_else(|refusals| {
            stays(id, &refusals);
            policies.denied(&refusals)
        });
        let (sender, receiver) = watch::channel(bundle);
        published.insert(id.clone(), sender);
        receiver
    }
}

fn stays(id: &SpiffeId, refusals: &[Refusal]) {
    let first = refusals.first().map(ToString::to_string).unwrap_or_default();
    tracing::warn!(%id, refusal = first, "the tiers of this identity do not fit together; it keeps its last bundle, or is denied");
}

#[cfg(test)]
mod tests {
    use secplane_identity::TrustDomain;

    use super::*;
    use crate::source::{SourceOptions, manifests::FileContent};

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
        Batch { changes: documents.iter().flat_map(read).collect(), refusals: Vec::new() }
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
    async fn identities_with_equal_tiers_share_one_bundle() {
        let catalog = catalog();
        catalog.apply(batch(&[("team-a", "p", "namespace", NS)])).await.unwrap();
        let one = catalog.subscribe(&id("team-a", "x")).await.unwrap().borrow().clone();
        let two = catalog.subscribe(&id("team-a", "y")).await.unwrap().borrow().clone();
        assert!(Arc::ptr_eq(&one, &two));
        let other = catalog.subscribe(&id("team-b", "x")).await.unwrap().borrow().clone();
        assert_ne!(one.revision(), other.revision());
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
}
