use secplane_identity::PrivateKey;

use super::*;
use crate::{
    authority::CaKey,
    lifecycle::testing::{DAY, World},
    store::testing::REPLICA,
};

/// A CA whose key was brought from outside and is kept.
async fn brought(lifecycle: &Lifecycle) -> Arc<DomainCa> {
    let vault = &lifecycle.vault;
    let key = PrivateKey::generate().unwrap();
    let ca_key = CaKey::try_from(&key).unwrap();
    let ca = DomainCa::self_signed(&vault.trust_domain, ca_key, DAY * 30, vault.clock.now()).unwrap();
    vault.keys.keep(ca.key_id(), &key).await.unwrap();
    Arc::new(ca)
}

async fn take_in(lifecycle: &Arc<Lifecycle>, ca: &Arc<DomainCa>) -> Result<AuthorityRow, LifecycleError> {
    lifecycle.take_in(Arc::clone(ca), "file", Requester::local("test")).await
}

#[tokio::test]
async fn takes_a_ca_in_once_and_keeps_its_key() {
    let world = World::new();
    let store = world.store().await;
    let (_, ours) = world.start_replica(&store, REPLICA).await;
    let (_, theirs) = world.start_replica(&store, "00000000000000bb").await;
    let ca = brought(&ours).await;
    let first = take_in(&ours, &ca).await.unwrap();
    assert_eq!((first.key_id.as_str(), first.state), (ca.key_id(), AuthorityState::Prepared));
    for lifecycle in [&ours, &theirs] {
        assert_eq!(take_in(lifecycle, &ca).await.unwrap(), first);
    }
    assert!(world.key_file(&first.key_id).exists());

    let step = Step::Activate(first.key_id.clone());
    let command = Command { line: Line::Root, step, force: true, by: Requester::local("test") };
    let active = ours.take(command).await.unwrap();
    assert_eq!(take_in(&ours, &ca).await.unwrap(), active, "it signs by now");
    assert!(world.key_file(&first.key_id).exists());
}

#[tokio::test]
async fn keeps_the_key_of_a_ca_that_two_replicas_take_in_at_once() {
    let world = World::new();
    let store = world.store().await;
    let (_, ours) = world.start_replica(&store, REPLICA).await;
    let (_, theirs) = world.start_replica(&store, "00000000000000bb").await;
    let ca = brought(&ours).await;
    let (one, other) = tokio::join!(take_in(&ours, &ca), take_in(&theirs, &ca));
    assert_eq!(one.unwrap().key_id, other.unwrap().key_id);
    assert!(world.key_file(ca.key_id()).exists());
}

/// What was read is no longer so when the step is written.
#[tokio::test]
async fn destroys_no_key_that_is_on_record() {
    let world = World::new();
    let (_, lifecycle) = world.start().await;
    let row = lifecycle.standing().active(Line::Root).unwrap().clone();
    lifecycle.vault.destroy_unless_on_record(&row.key_id).await;
    assert!(world.key_file(&row.key_id).exists());
    let unused = lifecycle.vault.new_root(AuthorityState::Prepared).await.unwrap();
    lifecycle.vault.destroy_unless_on_record(&unused.key_id).await;
    assert!(!world.key_file(&unused.key_id).exists());
}
