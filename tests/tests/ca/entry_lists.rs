//! Lists of registration entries: pages and filters.

use std::collections::BTreeSet;

use rstest::rstest;
use secplane_proto::spire::api::{
    server::entry::v1::{
        BatchCreateEntryRequest, CountEntriesRequest, ListEntriesRequest, count_entries_request,
        list_entries_request::Filter,
    },
    types::{
        self, FederatesWithMatch, SelectorMatch, federates_with_match::MatchBehavior as DomainMatch,
        selector_match::MatchBehavior,
    },
};
use secplane_tests::{
    authority::Ca,
    clients::Clients,
    entries::{entry, id, unix},
};
use tonic::Code;

async fn create_all(admin: &Clients, entries: Vec<types::Entry>) {
    for batch in entries.chunks(400) {
        let request = BatchCreateEntryRequest { entries: batch.to_vec(), output_mask: None };
        let results = admin.entry().batch_create_entry(request).await.unwrap().into_inner().results;
        assert!(results.iter().all(|result| result.status.as_ref().unwrap().code == 0));
    }
}

/// The paths of every entry that passes a filter, page by page.
async fn list(admin: &Clients, filter: Option<Filter>, page_size: i32) -> Vec<String> {
    let mut request = ListEntriesRequest { filter, page_size, ..Default::default() };
    let mut paths = Vec::new();
    loop {
        let page = admin.entry().list_entries(request.clone()).await.unwrap().into_inner();
        paths.extend(page.entries.into_iter().map(|entry| entry.spiffe_id.unwrap().path));
        if page.next_page_token.is_empty() {
            return paths;
        }
        request.page_token = page.next_page_token;
    }
}

#[rstest]
#[case::default_size(0)]
#[case::small(7)]
#[case::that_divides(300)]
#[case::larger_than_allowed(100_000)]
#[tokio::test]
async fn pages_through_1200_entries(#[case] page_size: i32) {
    let ca = Ca::start().await;
    let paths: BTreeSet<_> = (0..1200).map(|number| format!("/{number}")).collect();
    create_all(&ca.admin(), paths.iter().map(|path| entry(path, &["uid:1"])).collect()).await;
    let listed = list(&ca.admin(), None, page_size).await;
    assert_eq!(listed.len(), 1200, "none twice");
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), paths);
}

#[tokio::test]
async fn keeps_a_page_below_what_a_client_reads() {
    let ca = Ca::start().await;
    let selectors: Vec<_> = (0..250).map(|n| format!("path:/{n}/{}", "a".repeat(3900))).collect();
    let selectors: Vec<_> = selectors.iter().map(String::as_str).collect();
    for number in 0..6 {
        create_all(&ca.admin(), vec![entry(&format!("/{number}"), &selectors)]).await;
    }
    // Each entry has almost 1 MB; a client reads 4 MB at the most unless it is told otherwise.
    assert_eq!(list(&ca.admin(), None, 500).await.len(), 6);
}

#[tokio::test]
async fn goes_on_after_an_entry_that_is_gone() {
    let ca = Ca::start().await;
    let named = |name: &str| types::Entry { id: name.to_owned(), ..entry(&format!("/{name}"), &["uid:1"]) };
    create_all(&ca.admin(), vec![named("a"), named("b"), named("c")]).await;
    let request = ListEntriesRequest { page_size: 2, ..Default::default() };
    let first = ca.admin().entry().list_entries(request.clone()).await.unwrap().into_inner();
    ca.admin().delete_entry(&named("b")).await;
    let request = ListEntriesRequest { page_token: first.next_page_token, ..request };
    let second = ca.admin().entry().list_entries(request).await.unwrap().into_inner();
    assert_eq!(second.entries.len(), 1);
    assert_eq!(second.entries[0].id, "c");
}

/// Whoever asks for page after page sees what stands all the while, each once, whatever others do meanwhile.
#[tokio::test]
async fn shows_what_stands_once_while_others_come_and_go() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    let named = |name: &str| types::Entry { id: name.to_owned(), ..entry(&format!("/{name}"), &["uid:1"]) };
    let standing = ["b", "d", "f", "h"];
    create_all(&admin, standing.map(named).to_vec()).await;
    let mut request = ListEntriesRequest { page_size: 1, ..Default::default() };
    let mut seen = Vec::new();
    for round in 0.. {
        let page = admin.entry().list_entries(request.clone()).await.unwrap().into_inner();
        seen.extend(page.entries.into_iter().map(|entry| entry.id));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
        // One behind the page, and for a while one ahead of it.
        let behind = named(&format!("a{round}"));
        create_all(&admin, vec![behind.clone()]).await;
        if round < 3 {
            create_all(&admin, vec![named(&format!("g{round}"))]).await;
        } else {
            admin.delete_entry(&behind).await;
        }
    }
    seen.retain(|id| standing.contains(&id.as_str()));
    assert_eq!(seen, standing);
}

fn by_selectors(how: MatchBehavior, selectors: &[&str]) -> Filter {
    let selectors = selectors.iter().map(|value| unix(value)).collect();
    Filter { by_selectors: Some(SelectorMatch { selectors, r#match: how.into() }), ..Default::default() }
}

fn by_trust_domains(how: DomainMatch, trust_domains: &[&str]) -> Filter {
    let trust_domains = trust_domains.iter().map(|name| (*name).to_owned()).collect();
    let by_federates_with = Some(FederatesWithMatch { trust_domains, r#match: how.into() });
    Filter { by_federates_with, ..Default::default() }
}

#[rstest]
#[case::exact(by_selectors(MatchBehavior::MatchExact, &["uid:1", "gid:1"]), &["/both"])]
#[case::subset(by_selectors(MatchBehavior::MatchSubset, &["uid:1", "gid:1"]), &["/both", "/gid", "/uid"])]
#[case::superset(by_selectors(MatchBehavior::MatchSuperset, &["uid:1"]), &["/both", "/three", "/uid"])]
#[case::any(by_selectors(MatchBehavior::MatchAny, &["gid:1", "path:/x"]), &["/both", "/gid", "/three"])]
#[case::no_such(by_selectors(MatchBehavior::MatchAny, &["uid:2"]), &[])]
#[case::exact_domains(by_trust_domains(DomainMatch::MatchExact, &["a.net"]), &["/gid"])]
#[case::subset_of_domains(by_trust_domains(DomainMatch::MatchSubset, &["a.net", "b.net"]), &["/both", "/gid"])]
#[case::superset_of_domains(by_trust_domains(DomainMatch::MatchSuperset, &["b.net"]), &["/both"])]
#[case::any_domain(by_trust_domains(DomainMatch::MatchAny, &["a.net", "c.net"]), &["/both", "/gid"])]
#[case::spiffe_id(Filter { by_spiffe_id: Some(id("/uid")), ..Default::default() }, &["/uid"])]
#[case::parent(Filter { by_parent_id: Some(id("/other/parent")), ..Default::default() }, &["/three"])]
#[case::hint(Filter { by_hint: Some("h".to_owned()), ..Default::default() }, &["/uid"])]
#[case::downstream(Filter { by_downstream: Some(true), ..Default::default() }, &["/gid"])]
#[case::not_downstream(Filter { by_downstream: Some(false), ..Default::default() }, &["/both", "/three", "/uid"])]
#[case::all_at_once(
    Filter { by_hint: Some("h".to_owned()), ..by_selectors(MatchBehavior::MatchAny, &["gid:1"]) },
    &[]
)]
#[tokio::test]
async fn filters(#[case] filter: Filter, #[case] expected: &[&str]) {
    let ca = Ca::start().await;
    let domains = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let entries = vec![
        types::Entry { hint: "h".to_owned(), ..entry("/uid", &["uid:1"]) },
        types::Entry { downstream: true, federates_with: domains(&["a.net"]), ..entry("/gid", &["gid:1"]) },
        types::Entry { federates_with: domains(&["a.net", "b.net"]), ..entry("/both", &["uid:1", "gid:1"]) },
        types::Entry {
            parent_id: Some(id("/other/parent")),
            ..entry("/three", &["uid:1", "gid:1", "path:/x"])
        },
    ];
    create_all(&ca.admin(), entries).await;

    let mut listed = list(&ca.admin(), Some(filter.clone()), 2).await;
    listed.sort();
    assert_eq!(listed, expected);

    let filter = count_entries_request::Filter {
        by_spiffe_id: filter.by_spiffe_id,
        by_parent_id: filter.by_parent_id,
        by_selectors: filter.by_selectors,
        by_federates_with: filter.by_federates_with,
        by_hint: filter.by_hint,
        by_downstream: filter.by_downstream,
    };
    let request = CountEntriesRequest { filter: Some(filter) };
    let count = ca.admin().entry().count_entries(request).await.unwrap().into_inner().count;
    assert_eq!(usize::try_from(count).unwrap(), expected.len());
}

#[rstest]
#[case::negative_page(ListEntriesRequest { page_size: -1, ..Default::default() })]
#[case::foreign_token(ListEntriesRequest { page_token: "a/b".to_owned(), ..Default::default() })]
#[case::no_selectors(ListEntriesRequest {
    filter: Some(by_selectors(MatchBehavior::MatchExact, &[])),
    ..Default::default()
})]
#[case::no_trust_domains(ListEntriesRequest {
    filter: Some(by_trust_domains(DomainMatch::MatchExact, &[])),
    ..Default::default()
})]
#[case::unknown_match(ListEntriesRequest {
    filter: Some(Filter {
        by_selectors: Some(SelectorMatch { selectors: vec![unix("uid:1")], r#match: 17 }),
        ..Default::default()
    }),
    ..Default::default()
})]
#[case::bad_id(ListEntriesRequest {
    filter: Some(Filter { by_spiffe_id: Some(id("no/slash")), ..Default::default() }),
    ..Default::default()
})]
#[tokio::test]
async fn refuses_a_list_that_makes_no_sense(#[case] request: ListEntriesRequest) {
    let ca = Ca::start().await;
    let refusal = ca.admin().entry().list_entries(request).await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
}
