//! Issuing into a real database, by a clock that the test moves.

use futures_util::future::join_all;
use secplane_identity::PrivateKey;

use super::*;
use crate::{
    agents::{Agent, Agents, AgentsError, NotAnAgent, testing::agent},
    founding::FoundingError,
    lifecycle::testing::{HOUR, World},
    rotation::Rotation,
    store::{CertificateFilter, Page, Revocation, RevocationTarget},
};

fn order(name: &str) -> Order {
    let key = PrivateKey::generate().unwrap();
    Order {
        request: CertificateRequest::parse(&key.bare_request().unwrap()).unwrap(),
        subject: Subject::Client { common_name: name.into(), dns_names: vec![], ip_addresses: vec![] },
        lifetime: None,
        requester: Requester::local("test"),
        entry_id: None,
        renews: None,
    }
}

#[tokio::test]
async fn finds_the_same_root_again() {
    let world = World::new();
    let store = world.store().await;
    let first = world.found(&store, "example.org").await.unwrap();
    let second = world.found(&store, "example.org").await.unwrap();
    assert!(first.is_new && !second.is_new);
    assert_eq!(first.domain_ca().root_fingerprint(), second.domain_ca().root_fingerprint());
    assert_eq!(first.issuing.key_id(), second.issuing.key_id());
    let other = world.found(&store, "other.org").await;
    assert!(matches!(other, Err(FoundingError::OtherTrustDomain { .. })));
}

#[tokio::test]
async fn makes_a_new_issuing_ca_when_the_old_one_is_half_over_or_its_key_is_lost() {
    let world = World::new();
    let store = world.store().await;
    let first = world.found(&store, "example.org").await.unwrap();
    world.advance(HOUR * 13);
    let second = world.found(&store, "example.org").await.unwrap();
    assert_ne!(first.issuing.key_id(), second.issuing.key_id());
    std::fs::remove_file(world.key_file(second.issuing.key_id())).unwrap();
    let third = world.found(&store, "example.org").await.unwrap();
    assert_ne!(second.issuing.key_id(), third.issuing.key_id());
    std::fs::remove_file(world.key_file(third.domain_ca().key_id())).unwrap();
    let fourth = world.found(&store, "example.org").await.unwrap();
    assert_eq!(third.issuing.key_id(), fourth.issuing.key_id(), "what is valid goes on");
    assert_eq!(third.domain_ca().root_fingerprint(), fourth.domain_ca().root_fingerprint());
    world.advance(HOUR * 25);
    assert!(world.found(&store, "example.org").await.is_err(), "a lost root is not made anew in silence");
}

#[tokio::test]
async fn has_recorded_what_it_hands_out() {
    let world = World::new();
    let issuance = world.issuance().await;
    let orders = (0..100).map(|number| issuance.issue(order(&format!("c{number}"))));
    let issued = join_all(orders).await;
    for signed in issued {
        let signed = signed.unwrap();
        let record = issuance.record(&signed.serial).await.unwrap();
        assert_eq!(record.certificate, signed.chain[0].to_vec());
        assert_eq!(record.requester, "test");
        assert_eq!(record.not_after, unix(signed.not_after()));
    }
    let everything = CertificateFilter::default();
    let page = Page { before: None, size: 500 };
    assert_eq!(issuance.store().list_certificates(&everything, page).await.unwrap().len(), 100);
}

#[tokio::test]
async fn hands_out_nothing_that_it_cannot_record() {
    let world = World::new();
    let issuance = world.issuance().await;
    issuance.store().clone().close().await;
    let refused = issuance.issue(order("a")).await;
    assert!(matches!(refused, Err(IssueError::Store(StoreError::Closed))));
}

/// All of them are let in before the ban is on disk. What comes first is revoked by the ban, what comes later is refused.
#[tokio::test]
async fn leaves_nothing_trusted_that_an_agent_asks_for_while_it_is_banned() {
    let world = World::new();
    let issuance = world.issuance().await;
    let agents = Agents::load(issuance.store().clone(), RowMac::new(&[7; 32])).await.unwrap();
    let agent = agents.admit(agent("/spire/agent/a"), Commit::default()).await.unwrap();
    let ask = || async {
        let order = Order { requester: Requester::local(agent.id.as_str()), ..order("workload") };
        let (mut results, commit) = issuance.prepare_all(vec![order]).await;
        agents.commit_for(&agent, commit).await?;
        Ok::<_, AgentsError>(results.remove(0).unwrap().serial)
    };
    let mut given = vec![ask().await.unwrap()];
    let target = RevocationTarget::Requester(agent.id.to_string());
    let revocation = Revocation { target, at: unix(world.now()), reason: "banned".to_owned() };
    let with = Commit { changes: vec![Change::Revoke(revocation)], events: Vec::new() };
    let (asked, banned) = tokio::join!(join_all((0..16).map(|_| ask())), agents.ban(&agent.id, with));
    banned.unwrap();

    for answer in asked.into_iter().chain([ask().await]) {
        match answer {
            Ok(serial) => given.push(serial),
            Err(AgentsError::NotAnAgent(NotAnAgent::Banned(_))) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    for serial in given {
        assert!(issuance.record(&serial).await.unwrap().revoked_at.is_some(), "{serial} is trusted");
    }
}

/// How many were issued, and how many refused, by the metrics.
fn counted(issuance: &Issuance) -> [usize; 2] {
    let text = issuance.store().metrics().encode().unwrap();
    ["issued", "refused"].map(|result| {
        let prefix = format!(r#"secplane_ca_certificates_total{{kind="client",result="{result}"}} "#);
        let count = text.lines().find_map(|line| line.strip_prefix(&prefix));
        count.map_or(0, |count| count.parse().unwrap())
    })
}

#[tokio::test]
async fn counts_once_what_is_recorded_or_refused_at_the_second_try() {
    let world = World::new();
    let issuance = world.issuance().await;
    let mac = || RowMac::new(&[7; 32]);
    let here = Agents::load(issuance.store().clone(), mac()).await.unwrap();
    let agent = here.admit(agent("/spire/agent/a"), Commit::default()).await.unwrap();
    let there = Agents::load(issuance.store().clone(), mac()).await.unwrap();
    let ask = || async {
        let (_, commit) = issuance.prepare_all(vec![order("workload")]).await;
        here.commit_for(&agent, commit).await
    };
    let before = counted(&issuance);
    let newer = |agent: &Agent| {
        Ok(Some(Agent { version: "2".to_owned(), revision: agent.revision + 1, ..agent.clone() }))
    };
    there.change(&agent.id, Commit::default(), newer).await.unwrap();
    ask().await.unwrap();
    let recorded = counted(&issuance);
    assert_eq!(recorded, [before[0] + 1, before[1]]);

    there.ban(&agent.id, Commit::default()).await.unwrap();
    let refused = ask().await;
    assert!(matches!(refused, Err(AgentsError::NotAnAgent(NotAnAgent::Banned(_)))), "{refused:?}");
    assert_eq!(counted(&issuance), [recorded[0], recorded[1] + 1]);
}

#[tokio::test]
async fn rotates_the_server_certificate_and_the_issuing_ca_by_the_clock() {
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    let (rotation, source) = Rotation::start(Arc::clone(&issuance), lifecycle, Vec::new()).await.unwrap();
    let first = source.current();
    let first_issuing = issuance.issuing().key_id().to_owned();
    let shutdown = tokio_util::sync::CancellationToken::new();
    let task = tokio::spawn(rotation.run(shutdown.clone()));

    let mut follower = source.clone();
    world.advance(HOUR / 2 + Duration::from_secs(1));
    let second = follower.changed().await;
    let serial = |snapshot: &secplane_identity::IdentitySnapshot| {
        snapshot.identity.as_ref().unwrap().leaf().serial.clone()
    };
    assert_ne!(serial(&first), serial(&second));
    assert_eq!(issuance.issuing().key_id(), first_issuing);

    world.advance(HOUR * 12);
    while issuance.issuing().key_id() == first_issuing {
        follower.changed().await;
    }
    shutdown.cancel();
    task.await.unwrap();
}
