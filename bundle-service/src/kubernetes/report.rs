//! Tells authors what became of their resources: writes statuses, and Events when something turns.
//!
//! Only the holder of the lease writes. It writes when what should stand there differs from what the API server said
//! last, so that nothing is written twice; one that somebody undoes again and again is left alone for a while, so that
//! two controllers that disagree do not keep the API server busy.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    core::DynamicObject,
};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    MANAGER, event,
    inventory::{Entry, Shared, StoredKey},
    lease::Leadership,
    object,
    status::{AuthorizationPolicyStatus, Fingerprint, now, of_passed_over, of_verdict},
};
use crate::{
    catalog::Catalog,
    compile::Verdict,
    policy::ResourceKey,
    source::{SourceKind, precedence::passed_over_by},
};

/// How long changes are gathered before statuses are written.
const GATHER: Duration = Duration::from_millis(100);
/// How often every status is compared without a sign of change.
const SWEEP: Duration = Duration::from_secs(120);
/// How long to wait for a sign of change before looking whether the lease still holds.
const LOOK: Duration = Duration::from_secs(5);
/// How often the same is written when somebody undoes it, until that long after the last time.
const SAME_AGAIN: u32 = 3;
const SAME_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// How many objects are looked at together: their statuses are in memory at once.
const CHUNK: usize = 256;
/// How many calls are made at once.
const AT_ONCE: usize = 8;
/// How long one call may take.
const CALL_WITHIN: Duration = Duration::from_secs(10);
/// The pause after a write that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// Writes statuses.
pub(crate) struct Reporter {
    client: Client,
    shared: Arc<Shared>,
    catalog: Catalog,
    leadership: Leadership,
    /// The name of this replica, as it stands in Events.
    replica: String,
    /// What was written a short while ago.
    written: BTreeMap<StoredKey, Written>,
}

/// A status that was written.
struct Written {
    uid: String,
    fingerprint: Fingerprint,
    at: Instant,
    times: u32,
}

/// A status that should stand on an object, and does not.
struct Due {
    at: StoredKey,
    entry: Entry,
    status: AuthorizationPolicyStatus,
}

impl Reporter {
    pub(crate) fn new(
        client: Client,
        shared: Arc<Shared>,
        catalog: Catalog,
        leadership: Leadership,
        replica: String,
    ) -> Self {
        Self { client, shared, catalog, leadership, replica, written: BTreeMap::new() }
    }

    /// Writes until `shutdown`.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.report() => {}
        }
    }

    async fn report(&mut self) {
        loop {
            self.leadership.held().await;
            // What another replica wrote, or left out, is not known.
            let mut swept = None;
            while self.leadership.is_held() {
                let sweep = swept.is_none_or(|at: Instant| at.elapsed() >= SWEEP);
                if sweep {
                    swept = Some(Instant::now());
                }
                let unsettled = self.shared.inventory().unsettled(sweep);
                let unsettled: Vec<StoredKey> = unsettled.into_iter().collect();
                for chunk in unsettled.chunks(CHUNK) {
                    if !self.settle(chunk).await {
                        sleep(AFTER_FAILURE).await;
                    }
                }
                let shared = Arc::clone(&self.shared);
                let _ = timeout(LOOK, shared.unsettled.notified()).await;
                sleep(GATHER).await;
            }
        }
    }

    /// Writes what is due of these. False when something could not be written; it is tried again.
    async fn settle(&mut self, unsettled: &[StoredKey]) -> bool {
        self.written.retain(|_, written| written.at.elapsed() < SAME_AGAIN_AFTER);
        let keys: BTreeSet<ResourceKey> = unsettled.iter().map(|at| at.key.clone()).collect();
        let Ok(verdicts) = self.catalog.verdicts(keys).await else { return true };
        let verdicts: BTreeMap<ResourceKey, Verdict> = verdicts.into_iter().collect();
        let due: Vec<Due> = unsettled.iter().filter_map(|at| self.due(at, &verdicts)).collect();
        let this = &*self;
        let done: Vec<(StoredKey, Option<Written>)> = stream::iter(due)
            .map(|due| async move { (due.at.clone(), this.write(due).await) })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let mut all = true;
        for (at, written) in done {
            match written {
                Some(written) => {
                    let before = self.written.remove(&at).filter(|before| before.is_as(&written));
                    let times = before.map_or(0, |before| before.times) + 1;
                    self.written.insert(at, Written { times, ..written });
                }
                None => {
                    all = false;
                    self.shared.inventory().unsettle(at);
                }
            }
        }
        all
    }

    /// The status that an object should have, when it has another one.
    fn due(&self, at: &StoredKey, verdicts: &BTreeMap<ResourceKey, Verdict>) -> Option<Due> {
        let entry = self.shared.inventory().entry(at)?;
        let status = status(&at.key, &entry, verdicts.get(&at.key))?;
        let due = Written::of(&entry, &status);
        let undone =
            self.written.get(at).is_some_and(|written| written.is_as(&due) && written.times >= SAME_AGAIN);
        (entry.status != due.fingerprint && !undone).then(|| Due { at: at.clone(), entry, status })
    }

    async fn write(&self, due: Due) -> Option<Written> {
        // Between one call and the next the lease may have run out.
        if !self.leadership.is_held() {
            return None;
        }
        let resource = due.at.key.clone();
        let written = Written::of(&due.entry, &due.status);
        match timeout(CALL_WITHIN, self.write_one(due)).await {
            Ok(Ok(())) => Some(written),
            Ok(Err(error)) => {
                tracing::warn!(%resource, %error, "the status cannot be written; trying again");
                None
            }
            Err(_) => {
                tracing::warn!(%resource, "writing the status takes too long; trying again");
                None
            }
        }
    }

    async fn write_one(&self, Due { at, entry, status }: Due) -> Result<(), kube::Error> {
        let resource = object::api_resource(&entry.group);
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &at.key.namespace, &resource);
        let Some(current) = api.get_opt(&at.key.name).await? else { return Ok(()) };
        // Of another version there will be another verdict.
        if current.metadata.uid.as_ref() != Some(&entry.uid)
            || current.metadata.generation != Some(entry.generation)
        {
            return Ok(());
        }
        let before = object::status_of(&current).unwrap_or_default();
        let status = status.timed(&before, &now());
        let patch = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": { "name": at.key.name, "uid": entry.uid },
            "status": status,
        });
        let parameters = PatchParams::apply(MANAGER).force();
        let written = match api.patch_status(&at.key.name, &parameters, &Patch::Apply(&patch)).await {
            // It went in the meantime.
            Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => return Ok(()),
            written => written?,
        };
        self.shared.inventory().written(&at, object::fingerprint(&written));
        if let Some(notice) = event::notice(&before, &status)
            && let Err(error) = event::record(&self.client, &at, &entry, &notice, &self.replica).await
        {
            tracing::warn!(resource = %at.key, %error, "the Event cannot be recorded; the status says the same");
        }
        Ok(())
    }
}

/// The status that an object should have, as far as that is known.
pub(super) fn status(
    key: &ResourceKey,
    entry: &Entry,
    verdict: Option<&Verdict>,
) -> Option<AuthorizationPolicyStatus> {
    if let Some(why) = &entry.passed_over {
        return Some(of_passed_over(entry.generation, why));
    }
    let verdict = verdict?;
    if !verdict.file.starts_with(SourceKind::Kubernetes.label()) {
        // What counts is in another source, and its verdict is not this object's.
        return Some(of_passed_over(entry.generation, &passed_over_by(key, &verdict.file)));
    }
    // A verdict on another version says nothing; that on this one comes.
    (verdict.generation == Some(entry.generation)).then(|| of_verdict(entry.generation, verdict))
}

impl Written {
    fn of(entry: &Entry, status: &AuthorizationPolicyStatus) -> Self {
        Self { uid: entry.uid.clone(), fingerprint: status.fingerprint(), at: Instant::now(), times: 0 }
    }

    /// Whether it is the same status of the same object.
    fn is_as(&self, other: &Self) -> bool {
        (&self.uid, self.fingerprint) == (&other.uid, other.fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use axum::{body::Body, extract::ConnectInfo};
    use http::{Request, StatusCode};
    use kube::Config;
    use secplane_identity::TrustDomain;
    use tokio::sync::watch;
    use tower::ServiceExt as _;

    use super::*;
    use crate::{
        admin::{self, Administered, socket::LocalUser},
        compile::{Policies, Settings, Standing},
        history::{History, HistoryLimits},
        kubernetes::status::{ACCEPTED, Condition},
        source::Batch,
        tiers::TierKey,
    };

    const GROUP: &str = "agent.kagenti.dev";

    /// An object, with the status that it has.
    fn stored(generation: i64, status: &AuthorizationPolicyStatus) -> DynamicObject {
        let content = format!("package authbridge.ns.inbound.request\n\n# {generation}\nallow := true\n");
        serde_json::from_value(json!({
            "metadata": { "namespace": "team-a", "name": "all", "uid": "u", "generation": generation },
            "spec": { "scope": "namespace", "policies": [{ "path": "a.rego", "content": content }] },
            "status": status,
        }))
        .unwrap()
    }

    fn at() -> StoredKey {
        StoredKey { key: ResourceKey::new("team-a", "all"), group: 0 }
    }

    fn settings() -> Settings {
        Settings::new(TrustDomain::parse("example.org").unwrap())
    }

    /// A reporter of one object, which calls nobody.
    struct Reported(Reporter);

    impl Reported {
        async fn start() -> Self {
            Self::start_with(Catalog::new(settings())).await
        }

        async fn start_with(catalog: Catalog) -> Self {
            let client = Client::try_from(Config::new("http://127.0.0.1:9".parse().unwrap())).unwrap();
            let shared = Shared::new(&[GROUP.to_owned()], false);
            let leadership = Leadership::of(watch::channel(None).1);
            let reported = Self(Reporter::new(client, shared, catalog, leadership, "r".to_owned()));
            reported.listed(1, &AuthorizationPolicyStatus::default());
            reported.0.shared.inventory().finish(0);
            reported.compile().await;
            reported
        }

        fn listed(&self, generation: i64, status: &AuthorizationPolicyStatus) {
            self.0.shared.inventory().set(0, &stored(generation, status));
        }

        async fn compile(&self) {
            let batch: Batch = self.0.shared.inventory().take().unwrap();
            self.0.catalog.apply(batch).await.unwrap();
        }

        async fn due(&self) -> Option<AuthorizationPolicyStatus> {
            let verdicts = self.0.catalog.verdicts(BTreeSet::from([at().key])).await.unwrap();
            self.0.due(&at(), &verdicts.into_iter().collect()).map(|due| due.status)
        }
    }

    #[tokio::test]
    async fn a_status_is_due_until_it_stands_there() {
        let reported = Reported::start().await;
        let status = reported.due().await.unwrap();
        assert_eq!(status.condition(ACCEPTED).unwrap().status, "True");
        reported.listed(1, &status.timed(&Default::default(), &now()));
        assert_eq!(reported.due().await, None);
    }

    #[tokio::test]
    async fn a_verdict_on_another_version_is_not_reported() {
        let reported = Reported::start().await;
        reported.listed(2, &AuthorizationPolicyStatus::default());
        assert_eq!(reported.due().await, None, "what the compiler says is about the first version");
        reported.compile().await;
        assert_eq!(reported.due().await.unwrap().condition(ACCEPTED).unwrap().observed_generation, Some(2));
    }

    #[tokio::test]
    async fn who_undoes_a_status_again_and_again_is_left_alone() {
        let mut reported = Reported::start().await;
        let status = reported.due().await.unwrap();
        let entry = reported.0.shared.inventory().entry(&at()).unwrap();
        let written = |times| Written { times, ..Written::of(&entry, &status) };
        reported.0.written.insert(at(), written(SAME_AGAIN - 1));
        assert!(reported.due().await.is_some());
        reported.0.written.insert(at(), written(SAME_AGAIN));
        assert_eq!(reported.due().await, None);
        // Of an object that took the place of that one, nothing was written yet.
        let other = Written { uid: "another".to_owned(), ..written(SAME_AGAIN) };
        reported.0.written.insert(at(), other);
        assert!(reported.due().await.is_some());
    }

    #[tokio::test]
    async fn a_status_is_due_as_soon_as_an_administrator_chose() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history");
        let history = History::open(&path, "secplane-system", HistoryLimits::default(), UNIX_EPOCH).unwrap();
        let catalog = Catalog::remembering(Policies::new(settings()), Some(history), Arc::new(|| UNIX_EPOCH));
        let reported = Reported::start_with(catalog.clone()).await;
        reported.listed(2, &AuthorizationPolicyStatus::default());
        reported.compile().await;
        let shared = Arc::clone(&reported.0.shared);
        let admin = admin::router(Administered { catalog, judged: Some(Arc::clone(&shared)) });
        let choose = async |path: &str, body: serde_json::Value| {
            shared.inventory().unsettled(false);
            let request = Request::post(path).header("content-type", "application/json");
            let request = request.extension(ConnectInfo(LocalUser(Some(0))));
            let answer = admin.clone().oneshot(request.body(Body::from(body.to_string())).unwrap()).await;
            assert_eq!(answer.unwrap().status(), StatusCode::OK);
            assert!(shared.inventory().unsettled(false).contains(&at()), "the reporter is told");
            reported.due().await.unwrap().condition("Published").unwrap().reason.clone()
        };
        let of = "namespace/team-a";
        let back = json!({ "of": of, "to": "1", "reason": "incident-17" });
        assert_eq!(choose("/v1/rollback", back).await, "RolledBack");
        assert_eq!(choose("/v1/release", json!({ "of": of, "reason": "over" })).await, "Published");
    }

    fn entry(passed_over: Option<&str>) -> Entry {
        Entry {
            group: "agent.kagenti.dev".to_owned(),
            uid: "u".to_owned(),
            generation: 3,
            status: Fingerprint::default(),
            passed_over: passed_over.map(str::to_owned),
        }
    }

    fn said(entry: &Entry, file: &str, generation: Option<i64>) -> Option<Condition> {
        let standing = Standing::Newest { tier: TierKey::Global, hash: [1; 32] };
        let (refusals, warnings) = (Vec::new(), Vec::new());
        let verdict = Verdict { file: file.into(), generation, refusals, warnings, standing, tests: None };
        let status = status(&ResourceKey::new("team-a", "p"), entry, Some(&verdict))?;
        status.condition("Published").cloned()
    }

    #[test]
    fn an_object_is_told_what_is_its_own() {
        let own = "kubernetes:authorizationpolicies.agent.kagenti.dev";
        assert_eq!(said(&entry(None), own, Some(3)).unwrap().status, "True");
        assert_eq!(said(&entry(None), own, Some(2)), None, "a verdict on an earlier version");
        let elsewhere = said(&entry(None), "git:p.yaml", None).unwrap();
        assert_eq!((elsewhere.status.as_str(), elsewhere.reason.as_str()), ("False", "Duplicate"));
        assert!(elsewhere.message.contains("git:p.yaml"), "{}", elsewhere.message);
        let group = said(&entry(Some("another group")), own, Some(3)).unwrap();
        assert_eq!(group.message, "another group");
    }
}
