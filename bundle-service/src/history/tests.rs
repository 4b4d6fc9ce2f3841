//! What a restart brings back, what it does not, and what an administrator can do about it.

use std::{fs, sync::Arc, time::Duration};

use rstest::rstest;
use secplane_identity::{SpiffeId, TrustDomain};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::{
    catalog::Catalog,
    compile::{Archive, Policies, Settings, choice::Choice},
    source::{Batch, Change, SourceOptions, manifests::FileContent},
};

const GOOD: &str =
    "package authbridge.ns.inbound.request\n\ndefault allow := false\n\nallow if input.n == N\n";
const BROKEN: &str = "package authbridge.ns.inbound.request\n\nallow if {\n";

fn version(number: u32) -> String {
    GOOD.replace('N', &number.to_string())
}

fn change(file: &str, namespace: &str, name: &str, content: &str) -> Change {
    let manifest = json!({
        "apiVersion": "agent.kagenti.dev/v1alpha1",
        "kind": "AuthorizationPolicy",
        "metadata": { "namespace": namespace, "name": name },
        "spec": { "scope": "namespace", "policies": [{ "path": "inbound/request.rego", "content": content }] },
    });
    let content = FileContent::read(file, manifest.to_string().as_bytes(), &SourceOptions::default());
    Change::Set(Arc::new(content.objects.into_iter().next().unwrap()))
}

fn batch(changes: Vec<Change>) -> Batch {
    Batch { changes, ..Batch::default() }
}

fn key(namespace: &str, name: &str) -> ResourceKey {
    ResourceKey::new(namespace, name)
}

/// A service that is started again and again on one folder.
struct Restarted {
    folder: TempDir,
    limits: HistoryLimits,
    now: SystemTime,
}

impl Restarted {
    fn new() -> Self {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        Self { folder: tempfile::tempdir().unwrap(), limits: HistoryLimits::default(), now }
    }

    fn open(&self) -> (History, Opened) {
        let path = self.folder.path().join("history");
        History::open(&path, "secplane-system", self.limits.clone(), self.now).unwrap()
    }

    /// Starts, and takes in all that the source has.
    async fn start(&self, changes: Vec<Change>) -> Catalog {
        self.start_with(batch(changes)).await
    }

    async fn start_with(&self, batch: Batch) -> Catalog {
        let settings = Settings::new(TrustDomain::parse("example.org").unwrap());
        let now = self.now;
        let catalog = Catalog::remembering(Policies::new(settings), Some(self.open()), Arc::new(move || now));
        catalog.apply(batch).await.unwrap();
        catalog
    }

    fn file(&self, namespace: &str) -> PathBuf {
        self.folder.path().join(format!("history/{namespace}.jsonl"))
    }
}

/// The text that an identity of the namespace decides by.
async fn served(catalog: &Catalog, namespace: &str) -> String {
    let id = SpiffeId::parse(&format!("spiffe://example.org/ns/{namespace}/sa/agent")).unwrap();
    let bundle = catalog.subscribe(&id).await.unwrap().borrow().clone();
    let archive = Archive::read(&bundle.bytes()).unwrap();
    let own = archive.modules.into_iter().filter(|module| module.name.starts_with("/authbridge/ns/"));
    own.map(|module| module.text).collect()
}

fn codes(catalog: &Catalog) -> Vec<String> {
    catalog.refusals().into_iter().map(|refusal| refusal.code).collect()
}

async fn choose(catalog: &Catalog, name: &str, choice: Choice) {
    let name = key("a", name);
    catalog
        .with_state(move |state, now| {
            let touched = state.policies.choose(&[(name.clone(), choice)], "user 0: test").unwrap();
            assert!(state.keep_choices(&[name], "user 0: test", now));
            ((), touched)
        })
        .await
        .unwrap();
}

async fn kept(catalog: &Catalog, name: &str, number: u32) -> StoredVersion {
    let name = key("a", name);
    let text = version(number);
    catalog
        .with_state(move |state, _| {
            let history = state.history.as_ref().unwrap();
            let all = history.of_resource(&name).unwrap();
            let digits =
                all.iter().flat_map(|published| &published.members).map(|member| member.version.to_string());
            let versions = digits.map(|digits| history.version(&name, &digits).unwrap());
            let found = versions.into_iter().find(|version| version.policy.modules[0].content == text);
            (found.unwrap(), BTreeSet::new())
        })
        .await
        .unwrap()
}

#[tokio::test]
async fn a_broken_policy_falls_back_after_a_restart() {
    let service = Restarted::new();
    let good = change("a.yaml", "a", "p", &version(1));
    drop(service.start(vec![good]).await);
    let catalog = service.start(vec![change("a.yaml", "a", "p", BROKEN)]).await;
    assert_eq!(served(&catalog, "a").await, version(1));
    assert_eq!(codes(&catalog), ["rego_parse_error"], "and its author is told");
}

/// Without a history nobody knows what was meant.
#[tokio::test]
async fn a_broken_policy_denies_after_a_restart_that_remembers_nothing() {
    let service = Restarted::new();
    drop(service.start(vec![change("a.yaml", "a", "p", &version(1))]).await);
    fs::remove_file(service.file("a")).unwrap();
    let catalog = service.start(vec![change("a.yaml", "a", "p", BROKEN)]).await;
    assert!(served(&catalog, "a").await.contains("is not usable and denies"));
}

#[tokio::test]
async fn what_was_refused_before_a_restart_is_left_out_after_it() {
    let service = Restarted::new();
    let (good, broken) = (change("a.yaml", "a", "p", &version(1)), change("b.yaml", "a", "q", BROKEN));
    let catalog = service.start(vec![good.clone()]).await;
    catalog.apply(batch(vec![broken.clone()])).await.unwrap();
    assert_eq!(served(&catalog, "a").await, version(1));
    drop(catalog);
    let catalog = service.start(vec![good, broken]).await;
    assert_eq!(served(&catalog, "a").await, version(1), "as it was before");
}

#[tokio::test]
async fn a_tier_that_denied_denies_after_a_restart() {
    let service = Restarted::new();
    let both = vec![change("a.yaml", "a", "p", &version(1)), change("b.yaml", "a", "q", BROKEN)];
    let catalog = service.start(both.clone()).await;
    assert!(served(&catalog, "a").await.contains("denies"));
    drop(catalog);
    let catalog = service.start(both).await;
    assert!(served(&catalog, "a").await.contains("denies"));
}

#[tokio::test]
async fn what_is_gone_when_the_service_starts_is_gone() {
    let service = Restarted::new();
    drop(service.start(vec![change("a.yaml", "a", "p", &version(1))]).await);
    let catalog = service.start(vec![]).await;
    assert_eq!(served(&catalog, "a").await, "");
    drop(catalog);
    let catalog = service.start(vec![change("a.yaml", "a", "p", BROKEN)]).await;
    assert!(served(&catalog, "a").await.contains("denies"), "what was deleted is nobody's last good version");
}

#[tokio::test]
async fn what_lies_in_a_file_that_cannot_be_read_stays_until_it_can() {
    let service = Restarted::new();
    drop(service.start(vec![change("a.yaml", "a", "p", &version(1))]).await);
    let torn = Batch { unreadable: vec!["a.yaml".to_owned()], ..Batch::default() };
    let catalog = service.start_with(torn.clone()).await;
    assert_eq!(served(&catalog, "a").await, version(1));
    assert_eq!(codes(&catalog), ["unreadable"]);
    catalog.apply(torn).await.unwrap();
    assert_eq!(served(&catalog, "a").await, version(1));
    catalog.apply(Batch::default()).await.unwrap();
    assert_eq!(served(&catalog, "a").await, "", "the file can be read, and the resource is not in it");
}

#[tokio::test]
async fn a_start_without_a_change_writes_nothing() {
    let service = Restarted::new();
    let all = || vec![change("a.yaml", "a", "p", &version(1)), change("b.yaml", "b", "p", &version(2))];
    drop(service.start(all()).await);
    let before = fs::read(service.file("a")).unwrap();
    drop(service.start(all()).await);
    assert_eq!(fs::read(service.file("a")).unwrap(), before);
}

#[tokio::test]
async fn files_are_for_their_owner_alone_and_for_one_process() {
    let service = Restarted::new();
    let catalog = service.start(vec![change("a.yaml", "a", "p", &version(1))]).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&service.folder.path().join("history")), mode(&service.file("a"))), (0o700, 0o600));
    let path = service.folder.path().join("history");
    let second = History::open(&path, "secplane-system", HistoryLimits::default(), service.now);
    assert!(matches!(second, Err(HistoryError::InUse(_))), "{second:?}");
    drop(catalog);
}

/// Damages one line of a file: whichever byte it is, the sum no longer fits.
fn damage(path: &Path, containing: &str) {
    let text = fs::read_to_string(path).unwrap();
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let line = lines.iter_mut().rev().find(|line| line.contains(containing)).unwrap();
    *line = line.replacen("\"at\":18", "\"at\":19", 1).replacen("input.n", "input.m", 1);
    fs::write(path, lines.join("\n")).unwrap();
}

#[rstest]
#[case::the_content("\"record\":\"content\"")]
#[case::the_publication("\"record\":\"published\"")]
#[tokio::test]
async fn a_damaged_record_is_named_and_not_believed(#[case] containing: &str) {
    let service = Restarted::new();
    let all = |a: &str, b: &str| vec![change("a.yaml", "a", "p", a), change("b.yaml", "b", "p", b)];
    drop(service.start(all(&version(1), &version(1))).await);
    damage(&service.file("a"), containing);
    let catalog = service.start(all(BROKEN, BROKEN)).await;
    assert!(served(&catalog, "a").await.contains("denies"), "nothing sure is known of it");
    assert_eq!(served(&catalog, "b").await, version(1), "another's file is another's");
    let damaged: Vec<Refusal> =
        catalog.refusals().into_iter().filter(|refusal| refusal.code == "history_damaged").collect();
    assert!(!damaged.is_empty());
    assert_eq!(damaged[0].file.as_deref(), Some("history/a.jsonl"));
    assert!(damaged[0].to_string().contains("a"), "{}", damaged[0]);
    assert!(service.file("a").with_extension("damaged").exists(), "it can still be looked at");
}

/// An older version is not taken for the last: it may have allowed what the newer one forbade.
#[tokio::test]
async fn an_older_version_does_not_stand_in_for_a_damaged_one() {
    let service = Restarted::new();
    let catalog = service.start(vec![change("a.yaml", "a", "p", &version(1))]).await;
    catalog.apply(batch(vec![change("a.yaml", "a", "p", &version(2))])).await.unwrap();
    drop(catalog);
    damage(&service.file("a"), "\"record\":\"published\"");
    let catalog = service.start(vec![change("a.yaml", "a", "p", BROKEN)]).await;
    assert!(served(&catalog, "a").await.contains("denies"));
}

#[tokio::test]
async fn a_damaged_record_of_one_tier_leaves_the_others_of_its_namespace() {
    let service = Restarted::new();
    let client = |content: &str| {
        let text = content.replace(".ns.", ".client.");
        let Change::Set(object) = change("c.yaml", "a", "agent", &text) else { unreachable!() };
        let mut object = object.as_ref().clone();
        let mut policy = object.policy.as_ref().unwrap().as_ref().clone();
        (object.scope, policy.scope) = (crate::policy::Scope::Client, crate::policy::Scope::Client);
        object.policy = Ok(Arc::new(policy));
        Change::Set(Arc::new(object))
    };
    drop(service.start(vec![change("a.yaml", "a", "p", &version(1)), client(&version(1))]).await);
    damage(&service.file("a"), "\"tier\":\"client/a/agent\"");
    let catalog = service.start(vec![change("a.yaml", "a", "p", BROKEN), client(BROKEN)]).await;
    assert_eq!(served(&catalog, "a").await, version(1));
    let id = SpiffeId::parse("spiffe://example.org/ns/a/sa/agent").unwrap();
    let bundle = catalog.subscribe(&id).await.unwrap().borrow().clone();
    assert!(
        bundle.denied().is_some_and(|reason| reason.contains("client policy a/agent")),
        "{:?}",
        bundle.denied()
    );
}

/// The process ended while it wrote: nothing that came of that was served.
#[tokio::test]
async fn a_write_that_was_cut_short_is_as_if_it_had_not_begun() {
    let service = Restarted::new();
    let catalog = service.start(vec![change("a.yaml", "a", "p", &version(1))]).await;
    let whole = fs::read(service.file("a")).unwrap();
    catalog.apply(batch(vec![change("a.yaml", "a", "p", &version(2))])).await.unwrap();
    drop(catalog);
    let more = fs::read(service.file("a")).unwrap();
    for cut in (whole.len() + 1..more.len() - 2).step_by(37) {
        fs::write(service.file("a"), &more[..cut]).unwrap();
        let catalog = service.start(vec![change("a.yaml", "a", "p", BROKEN)]).await;
        let served = served(&catalog, "a").await;
        assert!(served == version(1) || served == version(2), "cut at {cut}: {served}");
        assert_eq!(codes(&catalog), ["rego_parse_error"], "cut at {cut}");
    }
}

#[tokio::test]
async fn keeps_so_many_publications_and_what_is_in_force() {
    let limits = HistoryLimits { publications: 3, ..HistoryLimits::default() };
    let service = Restarted { limits, ..Restarted::new() };
    let catalog =
        service.start(vec![change("b.yaml", "a", "stays", "package authbridge.ns.lib\n\nx := 1\n")]).await;
    for number in 0..400 {
        catalog.apply(batch(vec![change("a.yaml", "a", "p", &version(number))])).await.unwrap();
    }
    let lines =
        |path: &Path| fs::read_to_string(path).unwrap().lines().filter(|line| !line.is_empty()).count();
    assert!(lines(&service.file("a")) < 2 * 8 + 256 + 4, "{}", lines(&service.file("a")));
    drop(catalog);
    let (history, opened) = service.open();
    let good = opened.remembered.resources[&key("a", "p")].good.clone().unwrap();
    assert_eq!(good.policy.modules[0].content, version(399));
    assert!(opened.remembered.resources.contains_key(&key("a", "stays")));
    let published = history.of_tier(&TierKey::Namespace("a".to_owned())).unwrap();
    assert_eq!(published.last().unwrap().number, 401, "numbers go on");
}

#[tokio::test]
async fn nobody_goes_back_to_a_publication_that_denied() {
    let service = Restarted::new();
    let catalog = service.start(vec![change("a.yaml", "a", "p", BROKEN)]).await;
    catalog.apply(batch(vec![change("a.yaml", "a", "p", &version(2))])).await.unwrap();
    drop(catalog);
    let (history, _) = service.open();
    let tier = TierKey::Namespace("a".to_owned());
    let refused = history.standing(&tier, 1).unwrap_err().to_string();
    assert!(refused.contains("the nearest that did not is 2"), "{refused}");
    assert_eq!(history.standing(&tier, 2).unwrap().len(), 1);
    assert!(history.standing(&tier, 3).unwrap_err().to_string().contains("not in the history"));
}

#[tokio::test]
async fn forgets_a_namespace_in_which_nothing_has_been_in_force_for_long() {
    let service = Restarted::new();
    drop(service.start(vec![change("a.yaml", "a", "p", &version(1))]).await);
    drop(service.start(vec![]).await);
    assert!(service.file("a").exists());
    let later = Restarted { now: service.now + Duration::from_secs(31 * 24 * 3600), ..service };
    drop(later.start(vec![]).await);
    assert!(!later.file("a").exists());
}

#[tokio::test]
async fn a_rollback_stands_until_the_resource_changes() {
    let service = Restarted::new();
    let newest = change("a.yaml", "a", "p", &version(2));
    let catalog = service.start(vec![change("a.yaml", "a", "p", &version(1))]).await;
    catalog.apply(batch(vec![newest.clone()])).await.unwrap();
    let earlier = kept(&catalog, "p", 1).await;
    choose(&catalog, "p", Choice::Version(earlier)).await;
    assert_eq!(served(&catalog, "a").await, version(1));
    assert_eq!(codes(&catalog), ["pinned"]);
    drop(catalog);

    let catalog = service.start(vec![newest.clone()]).await;
    assert_eq!(served(&catalog, "a").await, version(1), "also after a restart");
    catalog.apply(batch(vec![change("a.yaml", "a", "p", &version(3))])).await.unwrap();
    assert_eq!(served(&catalog, "a").await, version(3));
    assert_eq!(codes(&catalog), [""; 0]);
    catalog.apply(batch(vec![newest.clone()])).await.unwrap();
    drop(catalog);
    let catalog = service.start(vec![newest]).await;
    assert_eq!(served(&catalog, "a").await, version(2), "what ended does not come back");
}

#[tokio::test]
async fn a_resource_that_changed_while_the_service_was_down_is_released() {
    let service = Restarted::new();
    let catalog = service.start(vec![change("a.yaml", "a", "p", &version(1))]).await;
    catalog.apply(batch(vec![change("a.yaml", "a", "p", &version(2))])).await.unwrap();
    let earlier = kept(&catalog, "p", 1).await;
    choose(&catalog, "p", Choice::Version(earlier)).await;
    drop(catalog);
    let catalog = service.start(vec![change("a.yaml", "a", "p", &version(3))]).await;
    assert_eq!(served(&catalog, "a").await, version(3));
    assert_eq!(codes(&catalog), [""; 0]);
}

#[tokio::test]
async fn a_release_lets_the_newest_count_again() {
    let service = Restarted::new();
    let catalog = service.start(vec![change("a.yaml", "a", "p", &version(1))]).await;
    catalog.apply(batch(vec![change("a.yaml", "a", "p", &version(2))])).await.unwrap();
    let earlier = kept(&catalog, "p", 1).await;
    choose(&catalog, "p", Choice::Version(earlier)).await;
    choose(&catalog, "p", Choice::Newest).await;
    assert_eq!(served(&catalog, "a").await, version(2));
    choose(&catalog, "p", Choice::LeftOut).await;
    assert_eq!(served(&catalog, "a").await, "");
}

/// Of a version that does not stand today nothing comes, not even for a moment.
#[tokio::test]
async fn a_rollback_to_what_does_not_fit_changes_nothing() {
    let service = Restarted::new();
    let helper = "package authbridge.ns.inbound.request\n\nallow(x) := x\n";
    let plain = "package authbridge.ns.other\n\nx := 1\n";
    let catalog = service.start(vec![change("a.yaml", "a", "p", &version(1))]).await;
    catalog.apply(batch(vec![change("a.yaml", "a", "p", plain)])).await.unwrap();
    catalog.apply(batch(vec![change("b.yaml", "a", "q", &version(5))])).await.unwrap();
    let before = served(&catalog, "a").await;
    let clashing = kept(&catalog, "p", 1).await;
    let refused = catalog
        .with_state(move |state, _| {
            let choice = [(key("a", "p"), Choice::Version(clashing))];
            (state.policies.choose(&choice, "user 0: test").unwrap_err(), BTreeSet::new())
        })
        .await
        .unwrap();
    assert_eq!(refused[0].code, "rego_type_error", "{refused:?}");
    assert_eq!(served(&catalog, "a").await, before);
    assert_eq!(codes(&catalog), [""; 0], "the newest version is as good as it was");
    assert!(!helper.is_empty());
}

#[tokio::test]
async fn the_commit_of_a_version_is_kept() {
    let service = Restarted::new();
    let Change::Set(object) = change("git:a.yaml", "a", "p", &version(1)) else { unreachable!() };
    let of_commit = |commit: &str| {
        Change::Set(Arc::new(crate::source::Object {
            commit: Some(commit.into()),
            ..object.as_ref().clone()
        }))
    };
    let told = async |catalog: &Catalog| {
        let of = |state: &mut crate::catalog::State, _| {
            let published = state.history.as_ref().unwrap().of_resource(&key("a", "p")).unwrap();
            (published, BTreeSet::new())
        };
        let published = catalog.with_state(of).await.unwrap();
        let members = published.into_iter().flat_map(|published| published.members);
        members
            .map(|member| (member.origin.to_string(), member.commit.unwrap().to_string()))
            .collect::<Vec<_>>()
    };
    let expected = [("git:a.yaml".to_owned(), "url@1".to_owned())];
    let catalog = service.start(vec![of_commit("url@1")]).await;
    assert_eq!(told(&catalog).await, expected);
    let version = kept(&catalog, "p", 1).await;
    assert_eq!(version.commit.as_deref(), Some("url@1"));
    drop(catalog);
    let before = fs::read(service.file("a")).unwrap();
    let catalog = service.start(vec![of_commit("url@2")]).await;
    assert_eq!(told(&catalog).await, expected, "the same version in another commit changes nothing");
    assert_eq!(fs::read(service.file("a")).unwrap(), before);
    drop(catalog);
    let remembered = service.open().1.remembered;
    let good = remembered.resources[&key("a", "p")].good.clone().unwrap();
    assert_eq!(good.commit.as_deref(), Some("url@1"));
}

#[tokio::test]
async fn tells_what_came_into_force_and_why() {
    let service = Restarted::new();
    let catalog = service.start(vec![change("a.yaml", "a", "p", &version(1))]).await;
    catalog.apply(batch(vec![change("a.yaml", "a", "p", &version(2))])).await.unwrap();
    catalog
        .apply(batch(vec![change("b.yaml", "a", "q", "package authbridge.ns.lib\n\nx := 1\n")]))
        .await
        .unwrap();
    catalog.apply(batch(vec![Change::Gone(key("a", "p"))])).await.unwrap();
    let (of_tier, of_resource) = catalog
        .with_state(|state, _| {
            let history = state.history.as_ref().unwrap();
            let tier = history.of_tier(&TierKey::Namespace("a".to_owned())).unwrap();
            ((tier, history.of_resource(&key("a", "p")).unwrap()), BTreeSet::new())
        })
        .await
        .unwrap();
    let causes: Vec<&str> =
        of_tier.iter().flat_map(|published| &published.causes).map(String::as_str).collect();
    assert_eq!(causes, ["a/p is new", "a/p changed", "a/q is new", "a/p is gone"]);
    assert_eq!(of_tier.iter().map(|published| published.number).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(of_tier[0].members[0].origin.as_ref(), "a.yaml");
    let numbers: Vec<u64> = of_resource.iter().map(|published| published.number).collect();
    assert_eq!(numbers, [1, 2, 4], "only what changed the resource");
    assert!(of_resource[2].members.is_empty());
}

/// The same version is in force no more when a neighbour makes its tier deny, and is again when that is over.
#[tokio::test]
async fn tells_of_a_resource_that_its_tier_denied() {
    let global = |condition: &str| {
        let content = format!("package authbridge.inbound.request\n\nallow if {condition}\n");
        let manifest = json!({
            "apiVersion": "agent.kagenti.dev/v1alpha1",
            "kind": "AuthorizationPolicy",
            "metadata": { "namespace": "secplane-system", "name": "g" },
            "spec": { "scope": "global", "policies": [{ "path": "a.rego", "content": content }] },
        });
        let content = FileContent::read("g.yaml", manifest.to_string().as_bytes(), &SourceOptions::default());
        Change::Set(Arc::new(content.objects.into_iter().next().unwrap()))
    };
    let (number, text) = ("data.authbridge.ns.helper == 1", "lower(data.authbridge.ns.helper) == \"a\"");
    let service = Restarted::new();
    let neighbour = change("b.yaml", "a", "q", "package authbridge.ns\n\nhelper := 1\n");
    let catalog =
        service.start(vec![global(number), change("a.yaml", "a", "p", &version(1)), neighbour]).await;
    for condition in [text, number] {
        catalog.apply(batch(vec![global(condition)])).await.unwrap();
    }
    drop(catalog);
    for name in ["p", "q"] {
        let told = service.open().0.of_resource(&key("a", name)).unwrap();
        let denied: Vec<bool> = told.iter().map(|published| published.denied.is_some()).collect();
        assert_eq!(denied, [false, true, false], "{name}");
    }
}
