use secplane_identity::PrivateKey;

use super::*;
use crate::{
    lifecycle::testing::{DAY, HOUR, World, revoke_what_was_given, workload_of},
    store::{Change, StoreError},
};

fn order(lifecycle: &Lifecycle, name: &str) -> OrderForAnother {
    let csr = PrivateKey::generate().unwrap().bare_request().unwrap();
    let request = CertificateRequest::parse_for_ca(&csr, &lifecycle.vault.trust_domain).unwrap();
    OrderForAnother { whose: CaOfAnother::Downstream, request, lifetime: HOUR, by: Requester::local(name) }
}

#[tokio::test]
async fn bounds_how_many_cas_one_downstream_authority_has() {
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    let validity = Validity::starting(world.now(), HOUR, None);
    let row = |number: usize| {
        let (kind, state, id) = (AuthorityKind::Downstream, AuthorityState::Active, format!("{number:x}"));
        let row = lifecycle.vault.row_of_another(kind, state, id, Vec::new(), validity);
        lifecycle.vault.add(AuthorityRow { replica: "a".into(), ..row })
    };
    let changes = (1..MOST_DOWNSTREAM).map(row).collect();
    issuance.store().commit(Commit { changes, events: Vec::new() }).await.unwrap();

    lifecycle.sign_for_another(order(&lifecycle, "a")).await.expect("the last one");
    let refused = lifecycle.sign_for_another(order(&lifecycle, "a")).await.unwrap_err();
    assert!(matches!(refused, LifecycleError::TooMany(_)), "{refused}");
    lifecycle.sign_for_another(order(&lifecycle, "b")).await.expect("others are not concerned");
    world.advance(DAY / 8);
    lifecycle.sign_for_another(order(&lifecycle, "a")).await.expect("the earlier ones have ended");
}

#[tokio::test]
async fn counts_no_ca_that_somebody_wrote_into_the_database() {
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    let validity = Validity::starting(world.now(), HOUR, None);
    let planted = |number: usize| {
        let (kind, state, id) = (AuthorityKind::Downstream, AuthorityState::Active, format!("{number:x}"));
        let row = lifecycle.vault.row_of_another(kind, state, id, Vec::new(), validity);
        Change::AddAuthority(AuthorityRow { replica: "a".into(), mac: Some(vec![0; 32]), ..row })
    };
    let changes = (0..MOST_DOWNSTREAM).map(planted).collect();
    issuance.store().commit(Commit { changes, events: Vec::new() }).await.unwrap();
    lifecycle.sign_for_another(order(&lifecycle, "a")).await.expect("it has none");
}

/// It was let in before the ban, and would have a CA that nobody who bans an agent looks for.
#[tokio::test]
async fn signs_no_ca_for_a_workload_whose_agent_another_replica_has_banned() {
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    let agent = "spiffe://example.org/spire/agent/a";
    let by = workload_of(&issuance, agent).await;
    let asked = |by: &Requester| OrderForAnother { by: by.clone(), ..order(&lifecycle, "nobody") };
    lifecycle.sign_for_another(asked(&by)).await.unwrap();
    revoke_what_was_given(&issuance, agent).await;
    let refused = lifecycle.sign_for_another(asked(&by)).await.unwrap_err();
    assert!(matches!(refused, LifecycleError::Store(StoreError::Refused(_))), "{refused}");

    let filter = AuthorityFilter { kind: Some(AuthorityKind::Downstream), ..AuthorityFilter::default() };
    assert_eq!(issuance.store().authorities(&filter).await.unwrap().len(), 1, "the one of before");
}
