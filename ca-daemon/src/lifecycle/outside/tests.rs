use std::{collections::BTreeSet, sync::Arc, time::Duration};

use rcgen::{Issuer, KeyPair};
use rustls_pki_types::CertificateDer;
use secplane_identity::{PrivateKey, x509::Certificate};

use super::*;
use crate::{
    authority::{CaKey, DomainCa},
    issuance::{Issuance, Requester},
    lifecycle::{
        Command, Lifecycle, Step,
        testing::{DAY, World},
    },
};

/// An outside root that certifies any number of CAs.
struct Outside {
    root: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Outside {
    fn new(world: &World, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let of_root = world.ca_params(name, DAY * 1000);
        let root = of_root.self_signed(&key).unwrap().der().clone();
        Self { root, issuer: Issuer::new(of_root, key) }
    }

    fn id(&self) -> String {
        Certificate::parse(&self.root).unwrap().subject_key_id.unwrap()
    }

    /// Certifies a new CA and has it sign from then on. Answers its ID.
    async fn next(&self, world: &World, lifecycle: &Arc<Lifecycle>, ca: &OfOurs<'_>) -> String {
        let taken = self.take_in(world, lifecycle, ca).await.unwrap();
        take(lifecycle, Step::Activate(taken.clone()), true).await.unwrap();
        taken
    }

    async fn take_in(
        &self,
        world: &World,
        lifecycle: &Arc<Lifecycle>,
        ca: &OfOurs<'_>,
    ) -> Result<String, LifecycleError> {
        let (vault, key) = (&lifecycle.vault, PrivateKey::generate().unwrap());
        let own = world.ca_params(ca.name, ca.lifetime);
        let own = own.signed_by(&key.signing_pair().unwrap(), &self.issuer).unwrap().der().clone();
        let above: Vec<_> = [self].into_iter().chain(ca.beside).map(|outside| outside.root.clone()).collect();
        let ca_key = CaKey::try_from(&key).unwrap();
        let ca = DomainCa::restore(&vault.trust_domain, &own, &above, ca_key).unwrap();
        vault.keys.keep(ca.key_id(), &key).await.unwrap();
        Ok(lifecycle.take_in(Arc::new(ca), "file", Requester::local("test")).await?.key_id)
    }
}

/// A CA of ours below an outside root, and perhaps below another one beside it.
struct OfOurs<'a> {
    name: &'a str,
    lifetime: Duration,
    beside: Option<&'a Outside>,
}

impl<'a> OfOurs<'a> {
    fn named(name: &'a str) -> Self {
        Self { name, lifetime: DAY * 100, beside: None }
    }
}

async fn take(lifecycle: &Arc<Lifecycle>, step: Step, force: bool) -> Result<(), LifecycleError> {
    let command = Command { line: Line::Root, step, force, by: Requester::local("test") };
    lifecycle.take(command).await.map(drop)
}

/// The outside roots among these that are trusted, and those of them that are published as tainted.
fn published(issuance: &Issuance, all: &[&Outside]) -> (BTreeSet<String>, BTreeSet<String>) {
    let bundle = Arc::clone(&issuance.bundle().borrow());
    let among = |roots: Vec<&Certificate>| {
        let is_there = |outside: &&&Outside| roots.iter().any(|root| root.der == outside.root);
        all.iter().filter(is_there).map(|outside| outside.id()).collect()
    };
    (among(bundle.authorities().collect()), among(bundle.tainted_roots().collect()))
}

fn these<const N: usize>(all: [&Outside; N]) -> BTreeSet<String> {
    all.map(Outside::id).into()
}

/// The outside CA certified the next one while the one before lives: both are trusted through one root.
#[tokio::test]
async fn lets_two_generations_live_below_one_root() {
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    let outside = Outside::new(&world, "the root");
    let short = OfOurs { lifetime: DAY * 10, ..OfOurs::named("first") };
    let first = outside.next(&world, &lifecycle, &short).await;
    let signed_by_first = issuance.issuing().key_id().to_owned();
    let second = outside.next(&world, &lifecycle, &OfOurs::named("second")).await;
    assert_eq!(lifecycle.domain_ca().key_id(), second);
    let trusted = || published(&issuance, &[&outside]);
    assert_eq!(trusted(), (these([&outside]), these([])));
    assert_eq!(
        issuance.bundle().borrow().authorities().len(),
        2,
        "the outside root once, and our own of before"
    );
    assert!(!issuance.is_withdrawn(&signed_by_first));

    // The first cannot be taken away by itself, which would take the root from under the second.
    for step in [Step::Taint(first.clone()), Step::Revoke(first.clone())] {
        let refused = take(&lifecycle, step, true).await.unwrap_err();
        assert!(matches!(&refused, LifecycleError::Upstream(roots) if *roots == [outside.id()]), "{refused}");
    }
    for step in [Step::TaintUpstream(outside.id()), Step::RevokeUpstream(outside.id())] {
        let refused = take(&lifecycle, step, true).await.unwrap_err();
        assert!(matches!(refused, LifecycleError::Step(StepError::UpstreamOfActive)), "{refused}");
    }
    assert_eq!(trusted(), (these([&outside]), these([])));
    assert!(!issuance.is_withdrawn(&signed_by_first));

    // It goes when it ends, and the root stays for the second.
    world.advance(DAY * 11);
    lifecycle.keep_up().await.unwrap();
    assert!(lifecycle.standing().row(&first).is_none());
    assert_eq!(trusted(), (these([&outside]), these([])));
    assert_eq!(lifecycle.standing().row(issuance.issuing().key_id()).unwrap().issuer_key_id, second);
}

/// The one before had both roots, as in a move from one to the other; what signs is below the second alone.
#[tokio::test]
async fn leaves_the_root_of_what_signs_good_when_a_ca_that_shares_it_goes() {
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    let (going, staying) = (Outside::new(&world, "going"), Outside::new(&world, "staying"));
    let moving = OfOurs { beside: Some(&staying), ..OfOurs::named("moving") };
    going.next(&world, &lifecycle, &moving).await;
    let withdrawn = issuance.issuing().key_id().to_owned();
    staying.next(&world, &lifecycle, &OfOurs::named("moved")).await;
    let trusted = || published(&issuance, &[&going, &staying]);
    assert_eq!(trusted(), (these([&going, &staying]), these([])));

    take(&lifecycle, Step::TaintUpstream(going.id()), false).await.unwrap();
    assert_eq!(trusted(), (these([&going, &staying]), these([&going])));
    assert!(issuance.is_withdrawn(&withdrawn));
    assert!(!issuance.is_withdrawn(issuance.issuing().key_id()));
    take(&lifecycle, Step::RevokeUpstream(going.id()), true).await.unwrap();
    assert_eq!(trusted(), (these([&staying]), these([])));
}

#[tokio::test]
async fn takes_in_nothing_below_a_root_that_is_tainted() {
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    let (going, staying) = (Outside::new(&world, "going"), Outside::new(&world, "staying"));
    going.next(&world, &lifecycle, &OfOurs::named("first")).await;
    staying.next(&world, &lifecycle, &OfOurs::named("second")).await;
    take(&lifecycle, Step::TaintUpstream(going.id()), false).await.unwrap();

    let refused = going.take_in(&world, &lifecycle, &OfOurs::named("third")).await.unwrap_err();
    assert!(
        matches!(&refused, LifecycleError::TaintedUpstream(roots) if *roots == [going.id()]),
        "{refused}"
    );
    let tainted = published(&issuance, &[&going, &staying]).1;
    assert_eq!(tainted, these([&going]), "it is not called good again");
    staying.take_in(&world, &lifecycle, &OfOurs::named("fourth")).await.unwrap();
    take(&lifecycle, Step::RevokeUpstream(going.id()), true).await.unwrap();
    going.take_in(&world, &lifecycle, &OfOurs::named("fifth")).await.unwrap();
}
