//! What an agent is given at one replica while another one bans it.

use futures_util::future::join_all;
use secplane_identity::x509::Certificate;
use secplane_proto::spire::api::server::agent::v1::BanAgentRequest;
use secplane_tests::{
    agents::Agent,
    authority::{Ca, CaFolder},
    entries::id,
};

use super::until;

/// Several times: what is recorded at the same moment as the ban is not known beforehand.
const ROUNDS: usize = 10;

/// It comes before the ban, and is revoked by it, or after it, and is refused.
#[tokio::test]
async fn leave_nothing_trusted_that_an_agent_was_given_elsewhere_while_it_was_banned() {
    let mut first = CaFolder::new();
    first.config.limits.signatures = 0;
    let mut second = CaFolder::replica_of(&first);
    second.config.limits.signatures = 0;
    let (one, other) = (first.start().await, second.start().await);
    for _ in 0..ROUNDS {
        bans_while_it_asks(&one, &other).await;
    }
}

async fn bans_while_it_asks(one: &Ca, other: &Ca) {
    let agent = Agent::attest(one).await;
    let entry = one.admin().create_entry(agent.entry("/workload")).await;
    let asks = || async {
        let mut given = Vec::new();
        while let Ok(results) = agent.clients.new_svids(&[&entry.id]).await {
            given.extend(results.into_iter().filter_map(|result| result.svid));
        }
        given
    };
    let ban = async {
        agent.clients.new_svids(&[&entry.id]).await.unwrap();
        let request = BanAgentRequest { id: Some(id(&agent.path)) };
        // The other replica has yet to hear of the agent.
        until("the ban", async || other.admin().agent().ban_agent(request.clone()).await.ok()).await;
    };
    let (given, ()) = tokio::join!(join_all((0..8).map(|_| asks())), ban);

    assert!(agent.clients.new_svids(&[&entry.id]).await.is_err());
    for svid in given.into_iter().flatten() {
        let leaf = Certificate::parse(&svid.cert_chain[0]).unwrap();
        let record = other.admin().record(leaf.serial).await.unwrap();
        assert!(record.revoked_at > 0, "{record:?}");
    }
}
