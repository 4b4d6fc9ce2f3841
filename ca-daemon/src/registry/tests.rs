//! Against a real database in a temporary folder.

use std::{path::Path, time::Duration};

use super::*;
use crate::{instant::Clock, keys::WrappingKey, store::testing};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const PARENT: &str = "spiffe://example.org/spire/agent/local";

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn mac() -> RowMac {
    WrappingKey::parse(KEY).unwrap().row_mac()
}

async fn open(folder: &Path) -> (Arc<Registry>, Store) {
    let store = testing::open(folder, Clock::of(now)).await;
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    (Arc::new(Registry::load(trust_domain, store.clone(), mac()).await.unwrap()), store)
}

fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

fn selectors(values: &[&str]) -> BTreeSet<Selector> {
    values.iter().map(|value| Selector::new("unix", value).unwrap()).collect()
}

fn fields(path: &str, values: &[&str]) -> EntryFields {
    EntryFields {
        id: None,
        spiffe_id: id(&format!("spiffe://example.org{path}")),
        parent_id: id(PARENT),
        selectors: selectors(values),
        x509_svid_ttl: None,
        jwt_svid_ttl: None,
        federates_with: BTreeSet::new(),
        admin: false,
        downstream: false,
        expires_at: None,
        dns_names: Vec::new(),
        store_svid: false,
        hint: String::new(),
        disable_x509_svid_prefetch: false,
        jwt_svid_include_jti: false,
    }
}

#[tokio::test]
async fn keeps_entries_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, store) = open(folder.path()).await;
    let mut wanted = fields("/a", &["uid:1"]);
    wanted.dns_names = vec![crate::authority::DnsName::parse("a.example.org").unwrap()];
    wanted.hint = "main".into();
    wanted.x509_svid_ttl = Some(Duration::from_secs(60));
    wanted.expires_at = Some(now() + Duration::from_secs(60));
    let created = registry.create(wanted, now()).await.unwrap();
    registry.close().await;
    store.close().await;

    let (registry, _) = open(folder.path()).await;
    let found = registry.entry(created.id()).unwrap();
    assert_eq!(found.fields().dns_names, created.fields().dns_names);
    assert_eq!(found.fields().hint, "main");
    assert_eq!(found.fields().x509_svid_ttl, Some(Duration::from_secs(60)));
    assert_eq!(found.fields().expires_at, created.fields().expires_at);
    assert_eq!(found.created_at(), now());
    assert_eq!(registry.count(&EntryFilter::default()), 1);
}

#[tokio::test]
async fn matches_a_workload_that_has_every_selector() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, _) = open(folder.path()).await;
    registry.create(fields("/both", &["uid:1", "gid:1"]), now()).await.unwrap();
    registry.create(fields("/one", &["uid:1"]), now()).await.unwrap();
    let mut elsewhere = fields("/elsewhere", &["uid:1"]);
    elsewhere.parent_id = id("spiffe://example.org/spire/agent/other");
    registry.create(elsewhere, now()).await.unwrap();
    let mut over = fields("/over", &["uid:1"]);
    over.expires_at = Some(now());
    registry.create(over, now()).await.unwrap();

    let matched = |values: &[&str]| {
        let mut paths: Vec<_> = registry
            .of_workload(&id(PARENT), &selectors(values), now())
            .iter()
            .map(|entry| entry.fields().spiffe_id.path().to_owned())
            .collect();
        paths.sort();
        paths
    };
    assert_eq!(matched(&["uid:1", "gid:1", "path:/bin/a"]), ["/both", "/one"]);
    assert_eq!(matched(&["uid:1"]), ["/one"]);
    assert_eq!(matched(&["gid:1"]), Vec::<String>::new());
}

#[tokio::test]
async fn refuses_a_similar_entry_and_shows_the_one_that_exists() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, _) = open(folder.path()).await;
    let first = registry.create(fields("/a", &["uid:1"]), now()).await.unwrap();
    match registry.create(fields("/a", &["uid:1"]), now()).await {
        Err(RegistryError::Similar(existing)) => assert_eq!(existing.id(), first.id()),
        other => panic!("{other:?}"),
    }
    registry.create(fields("/a", &["uid:2"]), now()).await.unwrap();
}

#[tokio::test]
async fn lets_one_of_many_equal_creations_win() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, _) = open(folder.path()).await;
    let attempts = (0..20).map(|_| registry.create(fields("/a", &["uid:1"]), now()));
    let results = futures_util::future::join_all(attempts).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(registry.count(&EntryFilter::default()), 1);
}

#[tokio::test]
async fn finishes_a_change_whose_caller_went_away() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, store) = open(folder.path()).await;
    {
        let creation = registry.create(fields("/a", &["uid:1"]), now());
        // Polled once, so that it has begun, then dropped.
        let mut creation = std::pin::pin!(creation);
        assert!(futures_util::poll!(&mut creation).is_pending());
    }
    registry.close().await;
    assert_eq!(registry.count(&EntryFilter::default()), 1);
    store.close().await;
    let (registry, _) = open(folder.path()).await;
    assert_eq!(registry.count(&EntryFilter::default()), 1, "index and database say the same");
}

#[tokio::test]
async fn bumps_the_revision_and_announces_each_change() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, _) = open(folder.path()).await;
    let mut changes = registry.changes();
    let entry = registry.create(fields("/a", &["uid:1"]), now()).await.unwrap();
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    let updated = registry
        .update(entry.id(), |fields| {
            fields.admin = true;
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!((entry.revision(), updated.revision()), (0, 1));
    assert!(registry.is_admin(&id("spiffe://example.org/a"), now()));
    assert!(changes.has_changed().unwrap());
    registry.delete(entry.id()).await.unwrap();
    assert!(!registry.is_admin(&id("spiffe://example.org/a"), now()));
    assert!(matches!(registry.delete(entry.id()).await, Err(RegistryError::NotFound(_))));
}

#[tokio::test]
async fn refuses_an_update_that_makes_two_entries_similar() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, _) = open(folder.path()).await;
    registry.create(fields("/a", &["uid:1"]), now()).await.unwrap();
    let other = registry.create(fields("/a", &["uid:2"]), now()).await.unwrap();
    let result = registry
        .update(other.id(), |fields| {
            fields.selectors = selectors(&["uid:1"]);
            Ok(())
        })
        .await;
    assert!(matches!(result, Err(RegistryError::Similar(_))));
    assert_eq!(registry.entry(other.id()).unwrap().fields().selectors, selectors(&["uid:2"]));
}

/// Whoever can write the database must not be able to register anything.
#[tokio::test]
async fn leaves_out_a_row_that_somebody_else_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, store) = open(folder.path()).await;
    let honest = registry.create(fields("/a", &["uid:1"]), now()).await.unwrap();
    let victim = registry.create(fields("/b", &["uid:2"]), now()).await.unwrap();
    let mut forged = encoding::seal(&victim, &mac());
    forged.body.extend([0x38, 0x01]); // admin = true
    let old_revision = forged.revision;
    store.write(Change::UpdateEntry { row: forged, old_revision }).await.unwrap();
    let mut moved = encoding::seal(&honest, &mac());
    moved.id = "copied".into();
    moved.likeness = None;
    store.write(Change::CreateEntry(moved)).await.unwrap();
    store.close().await;

    let (registry, _) = open(folder.path()).await;
    assert!(registry.entry(honest.id()).is_some());
    assert!(registry.entry(victim.id()).is_none());
    assert_eq!(registry.count(&EntryFilter::default()), 1);
}

#[test]
fn rejects_fields_that_break_a_rule() {
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    let refused = |change: fn(&mut EntryFields)| {
        let mut fields = fields("/a", &["uid:1"]);
        change(&mut fields);
        Entry::new(fields, &trust_domain, now()).unwrap_err()
    };
    assert!(matches!(refused(|f| f.spiffe_id = id("spiffe://other.org/a")), EntryError::ForeignId { .. }));
    assert!(matches!(refused(|f| f.parent_id = id("spiffe://other.org/a")), EntryError::ForeignId { .. }));
    assert!(matches!(
        refused(|f| f.spiffe_id = id("spiffe://example.org/spire/server")),
        EntryError::Reserved(_)
    ));
    assert_eq!(refused(|f| f.selectors.clear()), EntryError::NoSelectors);
    assert_eq!(refused(|f| f.hint = "x".repeat(MAX_HINT_BYTES + 1)), EntryError::Hint);
    assert_eq!(
        refused(|f| f.federates_with = [TrustDomain::parse("example.org").unwrap()].into()),
        EntryError::FederatesWithSelf
    );
}

#[tokio::test]
async fn lists_in_pages_and_filters() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, _) = open(folder.path()).await;
    for number in 0..7 {
        let mut wanted = fields(&format!("/{number}"), &[&format!("uid:{number}"), "gid:1"]);
        wanted.id = Some(EntryId::parse(&format!("e{number}")).unwrap());
        wanted.downstream = number == 3;
        registry.create(wanted, now()).await.unwrap();
    }
    let all = EntryFilter::default();
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = registry.list(&all, after.as_ref(), 3);
        let Some(last) = page.last() else { break };
        after = Some(last.id().clone());
        seen.extend(page.iter().map(|entry| entry.id().to_string()));
    }
    assert_eq!(seen, ["e0", "e1", "e2", "e3", "e4", "e5", "e6"]);

    let count = |how, values: &[&str]| {
        registry.count(&EntryFilter { selectors: Some((how, selectors(values))), ..all.clone() })
    };
    assert_eq!(count(Match::Exact, &["uid:1", "gid:1"]), 1);
    assert_eq!(count(Match::Exact, &["uid:1"]), 0);
    assert_eq!(count(Match::Superset, &["gid:1"]), 7);
    assert_eq!(count(Match::Subset, &["uid:1", "uid:2", "gid:1"]), 2);
    assert_eq!(count(Match::Any, &["uid:1", "uid:2"]), 2);
    assert_eq!(registry.count(&EntryFilter { downstream: Some(true), ..all.clone() }), 1);
}
