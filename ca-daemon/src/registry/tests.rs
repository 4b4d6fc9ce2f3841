//! Against a real database in a temporary folder.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, SystemTime},
};

use secplane_identity::SpiffeId;

use super::*;
use crate::{
    access::{Caller, LocalPeer},
    instant::Clock,
    keys::WrappingKey,
    store::{Notice, testing},
};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
pub(super) const PARENT: &str = "spiffe://example.org/spire/agent/local";

pub(super) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn mac() -> RowMac {
    WrappingKey::parse(KEY).unwrap().row_mac()
}

async fn open(folder: &Path) -> (Arc<Registry>, Store) {
    let store = testing::open(folder, Clock::of(now)).await;
    (over(&store).await, store)
}

/// A registry over a database that another one may use as well.
pub(crate) async fn over(store: &Store) -> Arc<Registry> {
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    Arc::new(Registry::load(trust_domain, store.clone(), mac()).await.unwrap())
}

pub(crate) fn admin() -> Caller {
    Caller::LocalAdmin(LocalPeer { pid: None, uid: 0, gid: 0 })
}

pub(super) fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

pub(super) fn selectors(values: &[&str]) -> BTreeSet<Selector> {
    values.iter().map(|value| Selector::new("unix", value).unwrap()).collect()
}

pub(crate) fn fields(path: &str, values: &[&str]) -> EntryFields {
    EntryFields {
        id: None,
        spiffe_id: id(&format!("spiffe://example.org{path}")),
        parent_id: id(PARENT),
        selectors: selectors(values).into(),
        x509_svid_ttl: None,
        jwt_svid_ttl: None,
        federates_with: SortedSet::default(),
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
    let created = registry.create(wanted, &admin(), now()).await.unwrap();
    registry.close().await;
    store.close().await;

    let (registry, _) = open(folder.path()).await;
    let found = registry.entry(created.id()).unwrap();
    assert_eq!(found.fields().dns_names, created.fields().dns_names);
    assert_eq!(found.fields().hint, "main");
    assert_eq!(found.fields().x509_svid_ttl, Some(Duration::from_secs(60)));
    assert_eq!(found.fields().expires_at, created.fields().expires_at);
    assert_eq!(found.created_at(), now());
    assert_eq!(registry.len(), 1);
}

#[tokio::test]
async fn matches_a_workload_that_has_every_selector() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, _) = open(folder.path()).await;
    registry.create(fields("/both", &["uid:1", "gid:1"]), &admin(), now()).await.unwrap();
    registry.create(fields("/one", &["uid:1"]), &admin(), now()).await.unwrap();
    let mut elsewhere = fields("/elsewhere", &["uid:1"]);
    elsewhere.parent_id = id("spiffe://example.org/spire/agent/other");
    registry.create(elsewhere, &admin(), now()).await.unwrap();
    let mut over = fields("/over", &["uid:1"]);
    over.expires_at = Some(now());
    registry.create(over, &admin(), now()).await.unwrap();

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
    let first = registry.create(fields("/a", &["uid:1"]), &admin(), now()).await.unwrap();
    match registry.create(fields("/a", &["uid:1"]), &admin(), now()).await {
        Err(RegistryError::Similar(existing)) => assert_eq!(existing.id(), first.id()),
        other => panic!("{other:?}"),
    }
    registry.create(fields("/a", &["uid:2"]), &admin(), now()).await.unwrap();
}

#[tokio::test]
async fn lets_one_of_many_equal_creations_win() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, _) = open(folder.path()).await;
    let by = admin();
    let attempts = (0..20).map(|_| registry.create(fields("/a", &["uid:1"]), &by, now()));
    let results = futures_util::future::join_all(attempts).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(registry.len(), 1);
}

#[tokio::test]
async fn finishes_a_change_whose_caller_went_away() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, store) = open(folder.path()).await;
    {
        let by = admin();
        let creation = registry.create(fields("/a", &["uid:1"]), &by, now());
        // Polled once, so that it has begun, then dropped.
        let mut creation = std::pin::pin!(creation);
        assert!(futures_util::poll!(&mut creation).is_pending());
    }
    registry.close().await;
    assert_eq!(registry.len(), 1);
    store.close().await;
    let (registry, _) = open(folder.path()).await;
    assert_eq!(registry.len(), 1, "index and database say the same");
}

#[tokio::test]
async fn bumps_the_revision_and_announces_each_change() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, _) = open(folder.path()).await;
    let mut changes = registry.changes();
    let entry = registry.create(fields("/a", &["uid:1"]), &admin(), now()).await.unwrap();
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    let updated = registry
        .update(
            entry.id(),
            |fields| {
                fields.admin = true;
                Ok(())
            },
            &admin(),
        )
        .await
        .unwrap();
    assert_eq!((entry.revision(), updated.revision()), (0, 1));
    assert!(registry.is_admin(&id("spiffe://example.org/a"), now()));
    assert!(changes.has_changed().unwrap());
    registry.delete(entry.id(), &admin()).await.unwrap();
    assert!(!registry.is_admin(&id("spiffe://example.org/a"), now()));
    assert!(matches!(registry.delete(entry.id(), &admin()).await, Err(RegistryError::NotFound(_))));
}

#[tokio::test]
async fn refuses_an_update_that_makes_two_entries_similar() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, _) = open(folder.path()).await;
    registry.create(fields("/a", &["uid:1"]), &admin(), now()).await.unwrap();
    let other = registry.create(fields("/a", &["uid:2"]), &admin(), now()).await.unwrap();
    let result = registry
        .update(
            other.id(),
            |fields| {
                fields.selectors = selectors(&["uid:1"]).into();
                Ok(())
            },
            &admin(),
        )
        .await;
    assert!(matches!(result, Err(RegistryError::Similar(_))));
    assert_eq!(registry.entry(other.id()).unwrap().fields().selectors, selectors(&["uid:2"]).into());
}

/// Whoever can write the database must not be able to register anything.
#[tokio::test]
async fn leaves_out_a_row_that_somebody_else_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, store) = open(folder.path()).await;
    let honest = registry.create(fields("/a", &["uid:1"]), &admin(), now()).await.unwrap();
    let victim = registry.create(fields("/b", &["uid:2"]), &admin(), now()).await.unwrap();
    let mut forged = encoding::seal(&victim, &mac());
    forged.body.extend([0x38, 0x01]); // admin = true
    store.write(Change::UpdateEntry { row: forged, old_revision: 0 }).await.unwrap();
    let mut moved = encoding::seal(&honest, &mac());
    moved.id = "copied".into();
    // Its own place is taken.
    moved.likeness = Some(vec![7; 32]);
    store.write(Change::CreateEntry(moved)).await.unwrap();
    store.close().await;

    let (registry, _) = open(folder.path()).await;
    assert!(registry.entry(honest.id()).is_some());
    assert!(registry.entry(victim.id()).is_none());
    assert_eq!(registry.refused().len(), 2);
    assert_eq!(registry.len(), 1);
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
    assert_eq!(refused(|f| f.selectors = SortedSet::default()), EntryError::NoSelectors);
    assert_eq!(refused(|f| f.hint = "x".repeat(MAX_HINT_BYTES + 1)), EntryError::Hint);
    assert_eq!(
        refused(|f| f.federates_with = [TrustDomain::parse("example.org").unwrap()].into()),
        EntryError::FederatesWithSelf
    );
}

#[tokio::test]
async fn lists_in_pages() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, _) = open(folder.path()).await;
    for number in 0..7 {
        let mut wanted = fields(&format!("/{number}"), &[&format!("uid:{number}"), "gid:1"]);
        wanted.id = Some(EntryId::parse(&format!("e{number}")).unwrap());
        wanted.downstream = number == 3;
        registry.create(wanted, &admin(), now()).await.unwrap();
    }
    let all = EntryFilter::default();
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = registry.list(&all, after.as_ref(), 3).await;
        let Some(last) = page.last() else { break };
        after = Some(last.id().clone());
        seen.extend(page.iter().map(|entry| entry.id().to_string()));
    }
    assert_eq!(seen, ["e0", "e1", "e2", "e3", "e4", "e5", "e6"]);

    let downstream = EntryFilter { downstream: Some(true), ..all.clone() };
    assert_eq!(registry.count(&downstream).await, 1);
    assert_eq!(registry.count(&all).await, 7);
}

#[tokio::test]
async fn lists_on_beyond_what_it_looks_at_in_one_go() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, _) = open(folder.path()).await;
    {
        let mut index = registry.write_index();
        for number in 0..2 * SLICE + 1 {
            let mut wanted = fields(&format!("/{number}"), &["uid:1"]);
            wanted.id = Some(EntryId::parse(&format!("{number:06}")).unwrap());
            wanted.downstream = number == 2 * SLICE;
            let entry = Entry::new(wanted, &TrustDomain::parse("example.org").unwrap(), now()).unwrap();
            index.insert(Arc::new(entry));
        }
    }
    let downstream = EntryFilter { downstream: Some(true), ..EntryFilter::default() };
    assert_eq!(registry.list(&downstream, None, 10).await.len(), 1);
    let below = EntryFilter { parent_id: Some(id(PARENT)), ..EntryFilter::default() };
    assert_eq!(registry.count(&below).await, 2 * SLICE + 1);
}

#[tokio::test]
async fn changes_one_entry_after_the_other_for_many_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, _) = open(folder.path()).await;
    let entry = registry.create(fields("/a", &["uid:1"]), &admin(), now()).await.unwrap();
    let by = admin();
    let add_one = |fields: &mut EntryFields| {
        let ttl = fields.x509_svid_ttl.unwrap_or_default();
        fields.x509_svid_ttl = Some(ttl + Duration::from_secs(1));
        Ok(())
    };
    let changes = (0..20).map(|_| registry.update(entry.id(), add_one, &by));
    for result in futures_util::future::join_all(changes).await {
        result.unwrap();
    }
    let changed = registry.entry(entry.id()).unwrap();
    assert_eq!(changed.fields().x509_svid_ttl, Some(Duration::from_secs(20)), "no change is lost");
    assert_eq!(changed.revision(), 20);
}

#[tokio::test]
async fn follows_what_another_replica_changes() {
    let folder = tempfile::tempdir().unwrap();
    let (here, store) = open(folder.path()).await;
    let there = over(&store).await;
    let kept = there.create(fields("/kept", &["uid:1"]), &admin(), now()).await.unwrap();
    let gone = there.create(fields("/gone", &["uid:1"]), &admin(), now()).await.unwrap();
    assert_eq!(here.len(), 0);
    here.refresh(&[kept.id().to_string(), gone.id().to_string(), "nobody".into()]).await.unwrap();
    assert_eq!(here.len(), 2);

    let promote = |fields: &mut EntryFields| {
        fields.admin = true;
        Ok(())
    };
    there.update(kept.id(), promote, &admin()).await.unwrap();
    there.delete(gone.id(), &admin()).await.unwrap();
    let new = there.create(fields("/new", &["uid:1"]), &admin(), now()).await.unwrap();
    let mut changes = here.changes();
    changes.mark_unchanged();
    here.refresh_all().await.unwrap();
    assert!(changes.has_changed().unwrap());
    assert_eq!(here.entry(kept.id()), there.entry(kept.id()));
    assert!(here.is_admin(&id("spiffe://example.org/kept"), now()));
    assert!(here.entry(gone.id()).is_none() && here.entry(new.id()).is_some());
}

#[tokio::test]
async fn lets_one_of_two_replicas_create_or_change_an_entry() {
    let folder = tempfile::tempdir().unwrap();
    let (here, store) = open(folder.path()).await;
    let there = over(&store).await;
    let mut wanted = fields("/a", &["uid:1"]);
    wanted.id = Some(EntryId::parse("chosen").unwrap());
    let first = there.create(wanted.clone(), &admin(), now()).await.unwrap();

    // Nothing told this one of it: the database does.
    let mut similar = wanted.clone();
    similar.id = None;
    match here.create(similar, &admin(), now()).await {
        Err(RegistryError::Similar(standing)) => assert_eq!(standing.id(), first.id()),
        other => panic!("{other:?}"),
    }
    assert!(here.entry(first.id()).is_some(), "what is in the way is known now");
    there.delete(first.id(), &admin()).await.unwrap();
    let mut same_id = fields("/b", &["uid:1"]);
    same_id.id = wanted.id;
    let second = there.create(same_id.clone(), &admin(), now()).await.unwrap();
    here.refresh(&["chosen".into()]).await.unwrap();

    let end = |fields: &mut EntryFields| {
        fields.expires_at = Some(now());
        Ok(())
    };
    there.update(second.id(), end, &admin()).await.unwrap();
    let lost = here.update(second.id(), end, &admin()).await;
    assert!(matches!(lost, Err(RegistryError::Raced(_))), "{lost:?}");
    assert_eq!(here.entry(second.id()).unwrap().revision(), 1, "it has been looked at again");
    here.update(second.id(), end, &admin()).await.unwrap();
}

#[tokio::test]
async fn says_which_forged_row_is_in_the_way_and_deletes_it() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, store) = open(folder.path()).await;
    let victim = registry.create(fields("/a", &["uid:1"]), &admin(), now()).await.unwrap();
    let mut forged = encoding::seal(&victim, &mac());
    forged.mac[0] ^= 1;
    store.write(Change::UpdateEntry { row: forged, old_revision: 0 }).await.unwrap();
    store.close().await;

    let (registry, _) = open(folder.path()).await;
    assert_eq!(registry.refused(), [victim.id().to_string()]);
    let blocked = registry.create(fields("/a", &["uid:1"]), &admin(), now()).await;
    assert!(matches!(&blocked, Err(RegistryError::Forged(id)) if id == victim.id().as_str()), "{blocked:?}");
    registry.delete(victim.id(), &admin()).await.unwrap();
    assert!(registry.refused().is_empty());
    registry.create(fields("/a", &["uid:1"]), &admin(), now()).await.unwrap();
}

fn is_unsure<T>(result: &Result<T, RegistryError>) -> bool {
    matches!(result, Err(RegistryError::Store(StoreError::Unsure(_))))
}

/// Its own notice does not tell a replica what it did itself.
#[tokio::test]
async fn looks_at_what_became_of_a_commit_whose_end_nobody_heard() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, store) = open(folder.path()).await;
    testing::leave_next_commit_unheard(&store);
    let mut wanted = fields("/a", &["uid:1"]);
    wanted.id = Some(EntryId::parse("chosen").unwrap());
    let chosen = wanted.id.clone().unwrap();
    let created = registry.create(wanted, &admin(), now()).await;
    assert!(is_unsure(&created), "{created:?}");
    assert!(registry.entry(&chosen).is_some(), "it stands in the database");

    testing::leave_next_commit_unheard(&store);
    let promote = |fields: &mut EntryFields| {
        fields.admin = true;
        Ok(())
    };
    let updated = registry.update(&chosen, promote, &admin()).await;
    assert!(is_unsure(&updated), "{updated:?}");
    assert_eq!(registry.entry(&chosen).unwrap().revision(), 1);

    testing::leave_next_commit_unheard(&store);
    let deleted = registry.delete(&chosen, &admin()).await;
    assert!(is_unsure(&deleted), "{deleted:?}");
    assert!(registry.entry(&chosen).is_none(), "what is deleted grants nothing");
    registry.create(fields("/a", &["uid:1"]), &admin(), now()).await.unwrap();
}

#[tokio::test]
async fn grants_nothing_by_an_entry_whose_state_nobody_knows() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, store) = open(folder.path()).await;
    let entry = registry.create(fields("/a", &["uid:1"]), &admin(), now()).await.unwrap();
    let (mut changes, mut notices) = (registry.changes(), store.changes());
    changes.mark_unchanged();
    testing::stop_reading(&store).await;
    testing::leave_next_commit_unheard(&store);
    let deleted = registry.delete(entry.id(), &admin()).await;
    assert!(is_unsure(&deleted), "{deleted:?}");
    assert!(registry.entry(entry.id()).is_none());
    assert!(changes.has_changed().unwrap(), "open streams hear of it");
    // The writer tells that it may have changed, the registry that it has yet to be read.
    let wanted = Notice::Entries(vec![entry.id().to_string()]);
    assert_eq!(testing::heard(&mut notices), [wanted.clone(), wanted]);
}
