//! What agents report of the trust bundle, and what waits for it.

use std::time::Duration;

use secplane_identity::PrivateKey;
use secplane_proto::spire::api::server::{
    agent::v1::{BanAgentRequest, PostStatusRequest},
    bundle::v1::GetBundleRequest,
};
use secplane_tests::{
    authority::Ca,
    clients::Clients,
    entries::id,
    holder::{Holder, client_config},
    soon,
};
use tonic::Code;

use super::root_rotation::{activate, active, bundle, hasty, prepare, revoke, taint, when_safe};

/// As [`secplane_tests::agents::Agent::attest`], while there are two roots.
async fn attest(ca: &Ca) -> Holder {
    let token = ca.admin().join_token().await;
    let clients = Clients::over_tls(ca.grpc_address(), client_config(&bundle(ca).await, None));
    clients.attest(&token, &PrivateKey::generate().unwrap()).await.unwrap()
}

fn path_of(agent: &Holder) -> String {
    agent.leaf().uris[0].strip_prefix("spiffe://example.org").unwrap().to_owned()
}

/// The words of the refusal, once nothing but agents is in the way.
async fn when_agents_alone_are_in_the_way(admin: &Clients, root: &str) -> String {
    let refused = async {
        loop {
            let refused = revoke(admin, root, false).await.unwrap_err();
            assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
            if refused.message().contains("have not reported") {
                return refused.message().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    soon("nothing below the root is valid any more", refused).await
}

#[tokio::test]
async fn keep_the_root_until_every_live_agent_has_the_bundle() {
    let ca = Ca::start_with(|config| {
        hasty(config);
        config.rotation.revoke_after_agents = true;
        // The agents outlive everything that is below the root that goes.
        config.validity.issuing_ca = Duration::from_secs(7200);
        config.validity.longest = Duration::from_secs(3600);
        config.validity.agent = Duration::from_secs(3600);
    })
    .await;
    let admin = ca.admin();
    let old = active(&admin).await;
    let next = prepare(&admin).await;
    activate(&admin, &next, true).await.unwrap();
    let (live, banned) = (attest(&ca).await, attest(&ca).await);
    when_safe("taint", async || taint(&admin, &old).await).await;

    let refused = when_agents_alone_are_in_the_way(&admin, &old).await;
    for agent in [&live, &banned] {
        assert!(refused.contains(&agent.leaf().uris[0]), "{refused}");
    }
    admin.agent().ban_agent(BanAgentRequest { id: Some(id(&path_of(&banned))) }).await.unwrap();
    let refused = revoke(&admin, &old, false).await.unwrap_err();
    assert!(!refused.message().contains(&banned.leaf().uris[0]), "{refused}");

    let trusted = bundle(&ca).await;
    let agent = Clients::over_tls(ca.grpc_address(), client_config(&trusted, Some(&live)));
    let report = async |current_bundle_serial: u64| {
        let status = PostStatusRequest { current_bundle_serial, agent_version: String::new() };
        agent.agent().post_status(status).await.unwrap();
    };
    let current = sequence(&admin).await;
    report(current - 1).await;
    let refused = revoke(&admin, &old, false).await.unwrap_err();
    assert!(refused.message().contains(&live.leaf().uris[0]), "the bundle before: {refused}");
    report(current).await;
    revoke(&admin, &old, false).await.unwrap();
}

async fn sequence(admin: &Clients) -> u64 {
    let request = GetBundleRequest::default();
    admin.bundle().get_bundle(request).await.unwrap().into_inner().sequence_number
}
