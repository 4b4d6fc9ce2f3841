use std::time::SystemTime;

use secplane_identity::PrivateKey;

use super::*;
use crate::{
    authority::{CaKey, DomainCa},
    lifecycle::{
        Command, Step,
        testing::{DAY, World, revoke_what_was_given, workload_of},
    },
    store::{Commit, StoreError},
};

fn by(name: &str) -> Requester {
    Requester::local(name)
}

fn keys(beginning: &str, count: usize) -> Vec<JwtAuthority> {
    let public_key_info = PrivateKey::generate().unwrap().public_key_info().unwrap();
    let key = |number: usize| JwtAuthority {
        key_id: format!("{beginning}{number}"),
        public_key_info: public_key_info.clone(),
        expires_at: None,
        tainted: false,
    };
    (0..count).map(key).collect()
}

fn root(now: SystemTime) -> Certificate {
    let key = CaKey::try_from(&PrivateKey::generate().unwrap()).unwrap();
    let trust_domain = secplane_identity::TrustDomain::parse("example.org").unwrap();
    DomainCa::self_signed(&trust_domain, key, DAY * 2, now).unwrap().certificate().clone()
}

fn of_keys(jwt_keys: Vec<JwtAuthority>) -> ForeignAuthorities {
    ForeignAuthorities { roots: Vec::new(), jwt_keys }
}

#[tokio::test]
async fn refuses_more_than_one_caller_may_publish() {
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    let all = keys("a", MOST_OF_ONE);
    lifecycle.publish_foreign(of_keys(all.clone()), by("a")).await.unwrap();
    let refused = lifecycle.publish_foreign(of_keys(keys("b", 1)), by("a")).await.unwrap_err();
    assert!(matches!(refused, LifecycleError::TooMany(_)), "{refused}");
    assert!(refused.to_string().contains("64 JWT keys of a"), "{refused}");
    lifecycle.publish_foreign(of_keys(all), by("a")).await.expect("nothing new");
    lifecycle.publish_foreign(of_keys(keys("b", 1)), by("b")).await.unwrap();
    assert_eq!(issuance.bundle().borrow().jwt_authorities().len(), 1 + MOST_OF_ONE + 1);

    let roots = (0..=MOST_OF_ONE).map(|_| root(world.now())).collect();
    let foreign = ForeignAuthorities { roots, jwt_keys: Vec::new() };
    let refused = lifecycle.publish_foreign(foreign, by("a")).await.unwrap_err();
    assert!(matches!(refused, LifecycleError::TooMany(_)), "{refused}");
    assert_eq!(issuance.bundle().borrow().authorities().len(), 1, "all or nothing");
}

#[tokio::test]
async fn leaves_half_of_the_bundle_to_ours() {
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    for name in ["a", "b"] {
        lifecycle.publish_foreign(of_keys(keys(name, MOST_OF_ONE)), by(name)).await.unwrap();
    }
    let refused = lifecycle.publish_foreign(of_keys(keys("c", 1)), by("c")).await.unwrap_err();
    assert!(matches!(refused, LifecycleError::TooMany(_)), "{refused}");
    assert_eq!(issuance.bundle().borrow().jwt_authorities().len(), 1 + MOST_OF_OTHERS);

    // What is revoked makes room.
    let step = Step::Revoke("a0".into());
    let command = Command { line: Line::Jwt, step, force: true, by: by("test") };
    lifecycle.take(command).await.unwrap();
    lifecycle.publish_foreign(of_keys(keys("c", 1)), by("c")).await.unwrap();
}

/// More stands in the database than a bundle can hold, and it is older than anything of ours.
#[tokio::test]
async fn goes_on_with_ours_whatever_others_have_there() {
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    let ours = lifecycle.standing().active(Line::Jwt).unwrap().key_id.clone();
    let our_root = issuance.bundle().borrow().authorities().next().unwrap().der.clone();
    let keys = keys("a", MAX_AUTHORITIES + 1).into_iter().map(|key| lifecycle.row_of_key(key).unwrap());
    let roots = (0..=MAX_AUTHORITIES).map(|_| lifecycle.row_of_root(&root(world.now())).unwrap());
    let changes =
        keys.chain(roots).map(|row| lifecycle.vault.add(AuthorityRow { created_at: 0, ..row })).collect();
    issuance.store().commit(Commit { changes, events: Vec::new() }).await.unwrap();

    lifecycle.keep_up().await.unwrap();
    for line in [Line::Root, Line::Jwt] {
        let command = Command { line, step: Step::Prepare, force: false, by: by("test") };
        lifecycle.take(command).await.unwrap();
    }
    let holds_ours = |issuance: &crate::issuance::Issuance| {
        let bundle = issuance.bundle().borrow().clone();
        assert_eq!(
            (bundle.authorities().len(), bundle.jwt_authorities().len()),
            (MAX_AUTHORITIES, MAX_AUTHORITIES)
        );
        assert!(
            bundle.jwt_authority(&ours).is_some() && bundle.authorities().any(|root| root.der == our_root)
        );
    };
    holds_ours(&issuance);
    let prepared = lifecycle.standing().succession(Line::Jwt).prepared().unwrap().key_id.clone();
    assert!(issuance.bundle().borrow().jwt_authority(&prepared).is_some());

    issuance.store().clone().close().await;
    let (issuance, _lifecycle) = world.start().await;
    holds_ours(&issuance);
}

/// It was let in before the ban. With its key it could speak for everybody.
#[tokio::test]
async fn publishes_no_key_of_a_workload_whose_agent_another_replica_has_banned() {
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    let agent = "spiffe://example.org/spire/agent/a";
    let workload = workload_of(&issuance, agent).await;
    lifecycle.publish_foreign(of_keys(keys("a", 1)), workload.clone()).await.unwrap();
    revoke_what_was_given(&issuance, agent).await;
    let refused = lifecycle.publish_foreign(of_keys(keys("b", 1)), workload).await.unwrap_err();
    assert!(matches!(refused, LifecycleError::Store(StoreError::Refused(_))), "{refused}");
    let bundle = issuance.bundle().borrow().clone();
    assert!(bundle.jwt_authority("a0").is_some() && bundle.jwt_authority("b0").is_none());
}
