//! Authorities and revocation lists, page by page: each of them once, in the order of the whole.

use secplane_proto::secplane::ca::v1::{
    ListAuthoritiesRequest, ListRevocationListsRequest, WatchRevocationListsRequest,
};
use secplane_tests::{authority::Ca, soon};
use tonic::Code;

#[tokio::test]
async fn hold_every_authority_once() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    let list = async |page_size, page_token: &str| {
        let request = ListAuthoritiesRequest { page_size, page_token: page_token.to_owned() };
        admin.authority().list_authorities(request).await.map(tonic::Response::into_inner)
    };
    let whole = list(0, "").await.unwrap();
    assert!(whole.next_page_token.is_empty() && whole.authorities.len() >= 3, "{whole:?}");
    let mut found = Vec::new();
    let mut token = String::new();
    for _ in &whole.authorities {
        let page = list(1, &token).await.unwrap();
        assert_eq!(page.authorities.len(), 1);
        found.extend(page.authorities.into_iter().map(|authority| authority.authority_id));
        token = page.next_page_token;
    }
    assert!(token.is_empty(), "the last page says so");
    let ids: Vec<_> = whole.authorities.into_iter().map(|authority| authority.authority_id).collect();
    assert_eq!(found, ids);

    let gone = list(1, "00").await.unwrap_err();
    assert_eq!(gone.code(), Code::Aborted, "{gone}");
    let negative = list(-1, "").await.unwrap_err();
    assert_eq!(negative.code(), Code::InvalidArgument, "{negative}");
}

#[tokio::test]
async fn hold_every_revocation_list_once() {
    let ca = Ca::start().await;
    let clients = ca.connect_anonymously().await;
    let whole = clients.revocation_lists().await.unwrap();
    assert_eq!(whole.len(), 2, "of the root and of its issuing CA");
    let mut request = ListRevocationListsRequest { page_size: 1, ..Default::default() };
    let mut found = Vec::new();
    for _ in &whole {
        let page = clients.revocations().list_revocation_lists(request.clone()).await.unwrap().into_inner();
        assert_eq!(page.lists.len(), 1);
        found.extend(page.lists);
        request.page_token = page.next_page_token;
    }
    assert!(request.page_token.is_empty(), "the last page says so");
    assert_eq!(found, whole);
    let negative = ListRevocationListsRequest { page_size: -1, ..Default::default() };
    let refused = clients.revocations().list_revocation_lists(negative).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");

    let split = WatchRevocationListsRequest { split: true };
    let mut watch = clients.revocations().watch_revocation_lists(split).await.unwrap().into_inner();
    let first = soon("the lists", watch.message()).await.unwrap().unwrap();
    assert!(!first.more, "they are short");
    assert_eq!(first.lists, whole);
    let revoked = ca.admin().mint("/a", 0).await.unwrap();
    ca.admin().revoke(&revoked).await.unwrap();
    let next = soon("the new lists", watch.message()).await.unwrap().unwrap();
    assert_eq!(next.lists.len(), 2, "all of them after each change");
    assert_ne!(next.lists, whole);
}
