//! Signing for an agent, in a real database.

use std::time::SystemTime;

use secplane_identity::{KeyKind, PrivateKey, SpiffeId};

use super::*;
use crate::{
    agents::{NotAnAgent, testing::agent},
    keys::{KeyStorage, KeyStore, RowMac, WrappingKey},
    store::testing,
};

const WRAPPING: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn hands_out_nothing_for_an_agent_that_another_replica_shut_out() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::open(folder.path(), Clock::system()).await;
    let settings = JwtSettings { issuer: None, lifetime: MINUTE, longest: MINUTE };
    let keys = KeyStore::open(KeyStorage::Memory, WrappingKey::parse(WRAPPING).unwrap(), KeyKind::EcP256)
        .await
        .unwrap();
    let lives = JwtLives::new(keys, "here".to_owned());
    let svids = JwtSvids::new(settings, lives, store.clone(), Clock::system());
    let key = JwtKey::new(&PrivateKey::generate().unwrap(), SystemTime::now() + MINUTE * 60).unwrap();
    svids.use_key(key);
    let here = Agents::load(store.clone(), RowMac::new(&[7; 32])).await.unwrap();
    let agent = here.admit(agent("/spire/agent/a"), Commit::default()).await.unwrap();
    let order = || JwtOrder {
        subject: JwtSubject {
            id: SpiffeId::parse("spiffe://example.org/a").unwrap(),
            audience: vec!["one".to_owned()],
            token_id: None,
        },
        lifetime: None,
        requester: Requester::local(agent.id.as_str()),
        entry_id: None,
    };
    svids.issue_for(&here, &agent, order()).await.unwrap();

    let there = Agents::load(store.clone(), RowMac::new(&[7; 32])).await.unwrap();
    there.ban(&agent.id, Commit::default()).await.unwrap();
    let recorded = store.audit_sizes().await.unwrap();
    assert_eq!(recorded[0].1, 1, "the first token");
    let refused = svids.issue_for(&here, &agent, order()).await;
    let is_banned =
        matches!(refused, Err(JwtIssueError::Agent(AgentsError::NotAnAgent(NotAnAgent::Banned(_)))));
    assert!(is_banned, "{refused:?}");
    assert_eq!(store.audit_sizes().await.unwrap(), recorded);
}
