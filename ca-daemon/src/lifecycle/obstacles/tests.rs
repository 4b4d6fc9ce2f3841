use std::{sync::Arc, time::Duration};

use rstest::rstest;
use secplane_identity::{PrivateKey, SpiffeId};

use super::*;
use crate::{
    authority::{CertificateRequest, JwtSubject, Lifetimes, Subject},
    issuance::{Order, Requester},
    jwt_svids::{JwtOrder, JwtSettings},
    lifecycle::{
        Command, LifecycleSettings, Step,
        testing::{DAY, HOUR, SETTINGS, World},
    },
    store::testing::REPLICA,
};

const MINUTE: Duration = Duration::from_secs(60);

async fn take(lifecycle: &Arc<Lifecycle>, step: Step, force: bool) -> Result<String, LifecycleError> {
    let command = Command { line: Line::Jwt, step, force, by: Requester::local("test") };
    Ok(lifecycle.take(command).await?.key_id)
}

/// Signs a token of this life, if it is the longest that may be asked for.
async fn sign(lifecycle: &Lifecycle, life: Duration) {
    lifecycle.jwt_svids.set_settings(JwtSettings { issuer: None, lifetime: MINUTE, longest: life });
    let id = SpiffeId::parse("spiffe://example.org/a").unwrap();
    let order = JwtOrder {
        subject: JwtSubject { id, audience: vec!["b".to_owned()], token_id: None },
        lifetime: Some(life),
        requester: Requester::local("test"),
        entry_id: None,
    };
    lifecycle.jwt_svids.issue(order).await.unwrap();
}

/// Lets another key sign, and answers the one before, which is tainted.
async fn replace_key(lifecycle: &Arc<Lifecycle>) -> String {
    let old = lifecycle.standing().active(Line::Jwt).unwrap().key_id.clone();
    let next = take(lifecycle, Step::Prepare, false).await.unwrap();
    take(lifecycle, Step::Activate(next), true).await.unwrap();
    take(lifecycle, Step::Taint(old.clone()), false).await.unwrap();
    old
}

/// Tokens of two hours are about when nobody may ask for more than a minute any more; or at the replica that is asked to
/// revoke their key nobody ever might.
#[rstest]
#[case::lowered_since(true)]
#[case::at_another_replica(false)]
#[tokio::test]
async fn keeps_a_jwt_key_while_its_longest_token_lives(#[case] signed_here: bool) {
    let world = World::new();
    let store = world.store().await;
    let (_, ours) = world.start_replica(&store, REPLICA).await;
    let (_, theirs) = world.start_replica(&store, "00000000000000bb").await;
    sign(if signed_here { &ours } else { &theirs }, HOUR * 2).await;
    let lowered = LifecycleSettings { longest_jwt_svid: MINUTE, ..SETTINGS };
    ours.set_settings(lowered, *ours.vault.lifetimes.load_full());

    let (old, end) = (replace_key(&ours).await, world.now() + HOUR * 2);
    world.advance(HOUR);
    let refused = take(&ours, Step::Revoke(old.clone()), false).await.unwrap_err();
    assert_eq!(refused.wait_until(), Some(end), "{refused}");
    world.advance(HOUR + Duration::from_secs(1));
    take(&ours, Step::Revoke(old), false).await.unwrap();
    assert!(
        ours.vault.keys.names_beginning_with("jwt-").await.unwrap().is_empty(),
        "nothing is noted for it"
    );
}

/// No token outlives its key.
#[tokio::test]
async fn waits_no_longer_than_until_the_key_ends() {
    let world = World::new();
    let (_, lifecycle) = world.start().await;
    let end = lifecycle.standing().active(Line::Jwt).unwrap().not_after;
    world.advance(DAY * 29);
    sign(&lifecycle, DAY * 10).await;
    let old = replace_key(&lifecycle).await;
    let refused = take(&lifecycle, Step::Revoke(old), false).await.unwrap_err();
    assert_eq!(refused.wait_until(), Some(from_unix(end)), "{refused}");
}

/// The certificate that is out says until when it is valid, whatever may be asked for by now.
#[tokio::test]
async fn keeps_a_root_by_the_certificates_that_are_out() {
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    let take_root = async |step: Step, force: bool| {
        let command = Command { line: Line::Root, step, force, by: Requester::local("test") };
        lifecycle.take(command).await.map(|row| row.key_id)
    };
    let old = lifecycle.standing().active(Line::Root).unwrap().key_id.clone();
    let key = PrivateKey::generate().unwrap();
    let order = Order {
        request: CertificateRequest::parse(&key.bare_request().unwrap()).unwrap(),
        subject: Subject::Client {
            common_name: "a".to_owned(),
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
        },
        lifetime: Some(HOUR * 5),
        requester: Requester::local("test"),
        entry_id: None,
        renews: None,
    };
    let out = issuance.issue(order).await.unwrap();
    let lowered = Lifetimes { x509_svid: MINUTE, server: MINUTE, client: MINUTE, longest: MINUTE };
    issuance.set_lifetimes(lowered);
    let next = take_root(Step::Prepare, false).await.unwrap();
    take_root(Step::Activate(next), true).await.unwrap();
    take_root(Step::Taint(old.clone()), false).await.unwrap();
    world.advance(HOUR * 4);
    let refused = take_root(Step::Revoke(old.clone()), false).await.unwrap_err();
    assert_eq!(refused.wait_until(), Some(out.not_after()), "{refused}");
    world.advance(HOUR + Duration::from_secs(1));
    take_root(Step::Revoke(old), false).await.unwrap();
}
