//! Registration entries: created, read, changed and deleted one by one.

use rstest::rstest;
use secplane_proto::spire::api::{
    server::entry::v1::{
        BatchCreateEntryRequest, BatchDeleteEntryRequest, BatchUpdateEntryRequest, CountEntriesRequest,
        GetEntryRequest,
    },
    types,
};
use secplane_tests::{
    authority::Ca,
    clients::Clients,
    entries::{entry, id, unix},
};
use tonic::{Code, Status};

/// One item of a batch, as its own result.
fn item<T>(status: Option<types::Status>, value: T) -> Result<T, Status> {
    let status = status.unwrap();
    match Code::from(status.code) {
        Code::Ok => Ok(value),
        code => Err(Status::new(code, status.message)),
    }
}

async fn create(admin: &Clients, entries: Vec<types::Entry>) -> Vec<Result<types::Entry, Status>> {
    let request = BatchCreateEntryRequest { entries, output_mask: None };
    let results = admin.entry().batch_create_entry(request).await.unwrap().into_inner().results;
    results.into_iter().map(|result| item(result.status, result.entry.unwrap_or_default())).collect()
}

async fn update(
    admin: &Clients,
    entry: types::Entry,
    input_mask: Option<types::EntryMask>,
) -> Result<types::Entry, Status> {
    let request = BatchUpdateEntryRequest { entries: vec![entry], input_mask, output_mask: None };
    let result = admin.entry().batch_update_entry(request).await.unwrap().into_inner().results.remove(0);
    item(result.status, result.entry.unwrap_or_default())
}

async fn get(admin: &Clients, id: &str) -> Result<types::Entry, Status> {
    let request = GetEntryRequest { id: id.to_owned(), output_mask: None };
    Ok(admin.entry().get_entry(request).await?.into_inner())
}

fn full_entry() -> types::Entry {
    types::Entry {
        id: "chosen-id.1".to_owned(),
        x509_svid_ttl: 120,
        jwt_svid_ttl: 60,
        federates_with: vec!["example.net".to_owned()],
        admin: true,
        downstream: true,
        expires_at: 4_000_000_000,
        dns_names: vec!["a.example.org".to_owned()],
        store_svid: true,
        hint: "main".to_owned(),
        additional_attributes: Some(types::entry::AdditionalAttributes {
            disable_x509_svid_prefetch: true,
            jwt_svid_include_jti: true,
        }),
        ..entry("/a", &["uid:1", "gid:2"])
    }
}

/// In one order, whatever the order on the wire.
fn sorted(mut entry: types::Entry) -> types::Entry {
    entry.selectors.sort_by(|a, b| a.value.cmp(&b.value));
    entry
}

#[tokio::test]
async fn keeps_every_field() {
    let ca = Ca::start().await;
    let created = ca.admin().create_entry(full_entry()).await;
    assert_eq!(created.revision_number, 0);
    assert!(created.created_at > 1_700_000_000);
    let expected = types::Entry { created_at: created.created_at, ..full_entry() };
    assert_eq!(sorted(created), sorted(expected.clone()));
    let ca = ca.restart().await;
    assert_eq!(sorted(get(&ca.admin(), "chosen-id.1").await.unwrap()), sorted(expected));
}

#[tokio::test]
async fn gives_each_entry_an_id() {
    let ca = Ca::start().await;
    let first = ca.admin().create_entry(entry("/a", &["uid:1"])).await;
    let second = ca.admin().create_entry(entry("/a", &["uid:2"])).await;
    assert!(!first.id.is_empty());
    assert_ne!(first.id, second.id);
}

#[tokio::test]
async fn answers_each_item_of_a_batch_by_itself() {
    let ca = Ca::start().await;
    let good = entry("/a", &["uid:1"]);
    let bad = entry("/b", &[]);
    let results = create(&ca.admin(), vec![good.clone(), bad, good, entry("/c", &["uid:1"])]).await;
    assert_eq!(results[0].as_ref().unwrap().spiffe_id, Some(id("/a")));
    assert_eq!(results[1].as_ref().unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(results[2].as_ref().unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(results[3].as_ref().unwrap().spiffe_id, Some(id("/c")));
}

#[tokio::test]
async fn shows_the_similar_entry_that_exists() {
    let ca = Ca::start().await;
    let first = ca.admin().create_entry(entry("/a", &["uid:1", "gid:2"])).await;
    // The same selectors in another order, and other fields: still the same workload.
    let again = types::Entry { hint: "other".to_owned(), ..entry("/a", &["gid:2", "uid:1"]) };
    let request = BatchCreateEntryRequest { entries: vec![again], output_mask: None };
    let result = ca.admin().entry().batch_create_entry(request).await.unwrap().into_inner().results.remove(0);
    let status = result.status.unwrap();
    assert_eq!(Code::from(status.code), Code::AlreadyExists);
    assert_eq!(status.message, "similar entry already exists");
    assert_eq!(result.entry.unwrap(), first);
}

#[tokio::test]
async fn refuses_an_id_that_is_taken() {
    let ca = Ca::start().await;
    let chosen = |path| types::Entry { id: "mine".to_owned(), ..entry(path, &["uid:1"]) };
    let results = create(&ca.admin(), vec![chosen("/a"), chosen("/b")]).await;
    assert_eq!(results[1].as_ref().unwrap_err().code(), Code::AlreadyExists);
}

#[rstest]
#[case::no_selectors(entry("/a", &[]), "selector list is empty")]
#[case::empty_selector(entry("/a", &[""]), "selector")]
#[case::selector_without_type(
    types::Entry { selectors: vec![types::Selector { value: "uid:1".to_owned(), ..unix("") }; 1]
        .into_iter().map(|s| types::Selector { r#type: String::new(), ..s }).collect(), ..entry("/a", &[]) },
    "selector"
)]
#[case::long_selector(entry("/a", &[&"a".repeat(5000)]), "4096")]
#[case::no_spiffe_id(types::Entry { spiffe_id: None, ..entry("/a", &["uid:1"]) }, "SPIFFE ID")]
#[case::no_parent_id(types::Entry { parent_id: None, ..entry("/a", &["uid:1"]) }, "parent ID")]
#[case::no_path(entry("", &["uid:1"]), "SPIFFE ID")]
#[case::bad_path(entry("/a/./b", &["uid:1"]), "SPIFFE ID")]
#[case::reserved(entry("/spire/agent/a", &["uid:1"]), "/spire")]
#[case::foreign(
    types::Entry {
        spiffe_id: Some(types::Spiffeid { trust_domain: "example.net".to_owned(), path: "/a".to_owned() }),
        ..entry("/a", &["uid:1"])
    },
    "not a member"
)]
#[case::foreign_parent(
    types::Entry {
        parent_id: Some(types::Spiffeid { trust_domain: "example.net".to_owned(), path: "/a".to_owned() }),
        ..entry("/a", &["uid:1"])
    },
    "not a member"
)]
#[case::negative_ttl(types::Entry { x509_svid_ttl: -1, ..entry("/a", &["uid:1"]) }, "x509_svid_ttl")]
#[case::negative_jwt_ttl(types::Entry { jwt_svid_ttl: -1, ..entry("/a", &["uid:1"]) }, "jwt_svid_ttl")]
#[case::negative_end(types::Entry { expires_at: -1, ..entry("/a", &["uid:1"]) }, "expires_at")]
#[case::bad_dns_name(
    types::Entry { dns_names: vec!["a b".to_owned()], ..entry("/a", &["uid:1"]) },
    "a b"
)]
#[case::bad_id(types::Entry { id: "a/b".to_owned(), ..entry("/a", &["uid:1"]) }, "entry ID")]
#[case::long_id(types::Entry { id: "a".repeat(256), ..entry("/a", &["uid:1"]) }, "255")]
#[case::long_hint(types::Entry { hint: "a".repeat(1025), ..entry("/a", &["uid:1"]) }, "1024")]
#[case::federates_with_itself(
    types::Entry { federates_with: vec!["example.org".to_owned()], ..entry("/a", &["uid:1"]) },
    "its own trust domain"
)]
#[case::too_many_selectors(
    types::Entry { selectors: (0..300).map(|n| unix(&format!("uid:{n}"))).collect(), ..entry("/a", &[]) },
    "more than 256"
)]
#[tokio::test]
async fn refuses_a_bad_entry(#[case] bad: types::Entry, #[case] said: &str) {
    let ca = Ca::start().await;
    let good = ca.admin().create_entry(entry("/good", &["uid:1"])).await;
    let refusal = create(&ca.admin(), vec![bad.clone()]).await.remove(0).unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
    assert!(refusal.message().contains(said), "{refusal}");

    if bad.id.is_empty() {
        let changed = types::Entry { id: good.id.clone(), ..bad };
        let refusal = update(&ca.admin(), changed, None).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
    }
    assert_eq!(get(&ca.admin(), &good.id).await.unwrap(), good);
}

#[tokio::test]
async fn changes_only_what_the_mask_names() {
    let ca = Ca::start().await;
    let created = ca.admin().create_entry(full_entry()).await;
    let change = types::Entry { id: created.id.clone(), hint: "new".to_owned(), ..Default::default() };
    let mask = types::EntryMask { hint: true, ..Default::default() };
    let changed = update(&ca.admin(), change, Some(mask)).await.unwrap();
    assert_eq!(changed, types::Entry { hint: "new".to_owned(), revision_number: 1, ..created.clone() });

    // Without a mask everything is replaced: what the message leaves out is gone.
    let bare = types::Entry { id: created.id.clone(), ..entry("/a", &["uid:1"]) };
    let replaced = update(&ca.admin(), bare.clone(), None).await.unwrap();
    assert_eq!(replaced.revision_number, 2);
    assert!(!replaced.admin && replaced.dns_names.is_empty() && replaced.hint.is_empty());
    let ca = ca.restart().await;
    assert_eq!(get(&ca.admin(), &created.id).await.unwrap(), replaced);
}

#[tokio::test]
async fn shows_only_what_the_mask_names() {
    let ca = Ca::start().await;
    let created = ca.admin().create_entry(full_entry()).await;
    let output_mask = Some(types::EntryMask { spiffe_id: true, ..Default::default() });
    let request = GetEntryRequest { id: created.id.clone(), output_mask };
    let shown = ca.admin().entry().get_entry(request).await.unwrap().into_inner();
    let expected = types::Entry { id: created.id, spiffe_id: created.spiffe_id, ..Default::default() };
    assert_eq!(shown, expected);
}

/// Masks, each of one field, with what copies that field.
macro_rules! each_of {
    ($($field:ident),+) => {
        [$((
            types::EntryMask { $field: true, ..Default::default() },
            (|from: &types::Entry, to: &mut types::Entry| to.$field.clone_from(&from.$field))
                as fn(&types::Entry, &mut types::Entry),
        )),+]
    };
}

#[tokio::test]
async fn shows_and_takes_each_field_by_its_own_mask() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    let mut standing = admin.create_entry(full_entry()).await;
    let shown = async |id: &str, mask| {
        let request = GetEntryRequest { id: id.to_owned(), output_mask: Some(mask) };
        admin.entry().get_entry(request).await.unwrap().into_inner()
    };
    // In every field other than what stands.
    let other = types::Entry {
        id: standing.id.clone(),
        parent_id: Some(id("/other/parent")),
        x509_svid_ttl: 30,
        jwt_svid_ttl: 20,
        federates_with: vec!["b.net".to_owned()],
        expires_at: 4_100_000_000,
        dns_names: vec!["b.example.org".to_owned()],
        hint: "other".to_owned(),
        additional_attributes: Some(types::entry::AdditionalAttributes::default()),
        ..entry("/b", &["uid:3"])
    };
    for (mask, copy) in each_of!(
        spiffe_id,
        parent_id,
        selectors,
        x509_svid_ttl,
        federates_with,
        admin,
        downstream,
        expires_at,
        dns_names,
        store_svid,
        jwt_svid_ttl,
        hint,
        additional_attributes
    ) {
        let mut expected = types::Entry { id: standing.id.clone(), ..Default::default() };
        copy(&standing, &mut expected);
        assert_eq!(shown(&standing.id, mask).await, expected);

        let before = standing.clone();
        copy(&other, &mut standing);
        assert_ne!(standing, before, "{mask:?}");
        standing.revision_number += 1;
        assert_eq!(update(&admin, other.clone(), Some(mask)).await.unwrap(), standing);
    }
    for (mask, copy) in each_of!(revision_number, created_at) {
        let mut expected = types::Entry { id: standing.id.clone(), ..Default::default() };
        copy(&standing, &mut expected);
        assert_eq!(shown(&standing.id, mask).await, expected);
        assert_ne!(expected, types::Entry { id: standing.id.clone(), ..Default::default() });
    }
}

#[tokio::test]
async fn makes_no_entry_similar_to_another_by_a_change() {
    let ca = Ca::start().await;
    ca.admin().create_entry(entry("/a", &["uid:1"])).await;
    let second = ca.admin().create_entry(entry("/b", &["uid:1"])).await;
    let change = types::Entry { id: second.id.clone(), ..entry("/a", &["uid:1"]) };
    let refusal = update(&ca.admin(), change, None).await.unwrap_err();
    assert_eq!(refusal.code(), Code::AlreadyExists, "{refusal}");
    assert_eq!(get(&ca.admin(), &second.id).await.unwrap(), second);
}

#[tokio::test]
async fn deletes_for_good() {
    let ca = Ca::start().await;
    let first = ca.admin().create_entry(entry("/a", &["uid:1"])).await;
    let request =
        BatchDeleteEntryRequest { ids: vec![first.id.clone(), "nobody".to_owned(), "a/b".to_owned()] };
    let results = ca.admin().entry().batch_delete_entry(request).await.unwrap().into_inner().results;
    let codes: Vec<_> =
        results.iter().map(|result| Code::from(result.status.clone().unwrap().code)).collect();
    assert_eq!(codes, [Code::Ok, Code::NotFound, Code::InvalidArgument]);
    assert_eq!(results[1].id, "nobody");

    let ca = ca.restart().await;
    assert_eq!(get(&ca.admin(), &first.id).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(update(&ca.admin(), first, None).await.unwrap_err().code(), Code::NotFound);
    ca.admin().create_entry(entry("/a", &["uid:1"])).await;
}

#[tokio::test]
async fn refuses_a_batch_that_is_too_large_as_a_whole() {
    let ca = Ca::start().await;
    let mut client = ca.admin().entry();
    let entries: Vec<_> = (0..501).map(|n| entry(&format!("/{n}"), &["uid:1"])).collect();
    let ids = entries.iter().map(|_| "id".to_owned()).collect();
    let create = BatchCreateEntryRequest { entries: entries.clone(), output_mask: None };
    let update = BatchUpdateEntryRequest { entries, ..Default::default() };
    for refusal in [
        client.batch_create_entry(create).await.unwrap_err(),
        client.batch_update_entry(update).await.unwrap_err(),
        client.batch_delete_entry(BatchDeleteEntryRequest { ids }).await.unwrap_err(),
    ] {
        assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal}");
        assert!(refusal.message().contains("500"), "{refusal}");
    }
    let count = client.count_entries(CountEntriesRequest::default()).await.unwrap().into_inner().count;
    assert_eq!(count, 0);
}

#[tokio::test]
async fn lets_only_one_of_many_create_the_same_entry() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    let attempts: Vec<_> = (0..20)
        .map(|_| {
            let admin = admin.clone();
            tokio::spawn(async move { create(&admin, vec![entry("/a", &["uid:1"])]).await.remove(0).is_ok() })
        })
        .collect();
    let mut created = 0;
    for attempt in attempts {
        created += usize::from(attempt.await.unwrap());
    }
    assert_eq!(created, 1);
    let count = admin.entry().count_entries(CountEntriesRequest::default()).await.unwrap().into_inner().count;
    assert_eq!(count, 1);
}
