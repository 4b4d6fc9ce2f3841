//! Certificates whose trust was taken away.

use futures_util::future::join_all;
use secplane_identity::{PrivateKey, x509::Certificate};
use secplane_proto::{
    secplane::ca::v1::RevokeCertificateRequest,
    spire::api::{
        server::{
            agent::v1::{BanAgentRequest, DeleteAgentRequest},
            bundle::v1::GetBundleRequest,
            svid::v1::{BatchNewX509svidRequest, NewX509svidParams},
        },
        types,
    },
};
use secplane_tests::{
    agents::Agent,
    authority::Ca,
    clients::Clients,
    entries::{entry, entry_for_this_process, id},
    holder::Holder,
    workload,
};
use tonic::Code;

async fn admin_svid(ca: &Ca) -> Holder {
    ca.admin().create_entry(types::Entry { admin: true, ..entry("/admin", &["uid:4711"]) }).await;
    ca.admin().mint("/admin", 0).await.unwrap()
}

/// Whoever was revoked gets no answer on a connection that they had, and no further connection.
async fn is_refused(ca: &Ca, clients: &Clients, holder: &Holder) {
    assert!(clients.renew().await.is_err());
    assert!(clients.mint("/a", 0).await.is_err());
    assert!(clients.bundle().get_bundle(GetBundleRequest::default()).await.is_err());
    let alert = holder.knock(ca.grpc_address(), &ca.bundle().await).await.unwrap_err();
    assert!(alert.to_string().contains("CertificateRevoked"), "{alert}");
}

#[tokio::test]
async fn refuses_a_revoked_certificate_at_once_and_after_a_restart() {
    let ca = Ca::start().await;
    let holder = admin_svid(&ca).await;
    let clients = ca.connect_as(&holder).await;
    clients.mint("/a", 0).await.unwrap();

    let record = ca.admin().revoke(&holder).await.unwrap();
    assert!(record.revoked_at > 0);
    assert_eq!(record.revocation_reason, "lost");
    is_refused(&ca, &clients, &holder).await;
    is_refused(&ca, &ca.connect_as(&holder).await, &holder).await;

    let ca = ca.restart().await;
    is_refused(&ca, &ca.connect_as(&holder).await, &holder).await;
    assert_eq!(ca.admin().record(holder.leaf().serial).await.unwrap().revoked_at, record.revoked_at);
}

#[tokio::test]
async fn refuses_every_renewal_of_a_revoked_certificate() {
    let ca = Ca::start().await;
    let first = admin_svid(&ca).await;
    let second = ca.connect_as(&first).await.renew().await.unwrap();
    let third = ca.connect_as(&second).await.renew().await.unwrap();
    let unrelated = ca.admin().mint("/admin", 0).await.unwrap();

    ca.admin().revoke(&second).await.unwrap();
    for holder in [&first, &second, &third] {
        is_refused(&ca, &ca.connect_as(holder).await, holder).await;
    }
    ca.connect_as(&unrelated).await.mint("/a", 0).await.unwrap();
}

#[tokio::test]
async fn lets_an_admin_revoke_the_certificate_that_they_use() {
    let ca = Ca::start().await;
    let holder = admin_svid(&ca).await;
    let clients = ca.connect_as(&holder).await;
    clients.revoke(&holder).await.unwrap();
    is_refused(&ca, &clients, &holder).await;
}

#[tokio::test]
async fn says_what_cannot_be_revoked() {
    let ca = Ca::start().await;
    let mut certificates = ca.admin().certificates();
    for (serial, reason, code) in [
        ("0a1b", "", Code::NotFound),
        ("", "", Code::InvalidArgument),
        ("x", "", Code::InvalidArgument),
        ("0a1b", &*"a".repeat(257), Code::InvalidArgument),
    ] {
        let request =
            RevokeCertificateRequest { serial_number: serial.to_owned(), reason: reason.to_owned() };
        let refusal = certificates.revoke_certificate(request).await.unwrap_err();
        assert_eq!(refusal.code(), code, "{refusal}");
    }
}

#[tokio::test]
async fn keeps_the_first_reason() {
    let ca = Ca::start().await;
    let holder = ca.admin().mint("/a", 0).await.unwrap();
    let first = ca.admin().revoke(&holder).await.unwrap();
    let request =
        RevokeCertificateRequest { serial_number: holder.leaf().serial, reason: "another".to_owned() };
    ca.admin().certificates().revoke_certificate(request).await.unwrap();
    assert_eq!(
        ca.admin().record(holder.leaf().serial).await.unwrap().revocation_reason,
        first.revocation_reason
    );
}

#[tokio::test]
async fn gives_a_workload_another_svid_for_a_revoked_one() {
    let ca = Ca::start().await;
    ca.admin().create_entry(entry_for_this_process("/a")).await;
    let mut svids = ca.workload().x509_svids().await.unwrap();
    let stolen = workload::holder(&svids.next_svid().await);
    ca.admin().revoke(&stolen).await.unwrap();
    let fresh = workload::holder(&svids.next_svid().await);
    assert_ne!(fresh.leaf().serial, stolen.leaf().serial);
    ca.connect_as(&fresh).await.renew().await.unwrap();
}

/// What an agent is given for a workload.
async fn svid_of_workload(ca: &Ca, agent: &Agent) -> Holder {
    let entry = ca.admin().create_entry(agent.entry("/workload")).await;
    let key = PrivateKey::generate().unwrap();
    let params = vec![NewX509svidParams { entry_id: entry.id, csr: key.bare_request().unwrap() }];
    let answer = agent.clients.svid().batch_new_x509svid(BatchNewX509svidRequest { params }).await.unwrap();
    let svid = answer.into_inner().results.remove(0).svid.unwrap();
    Holder::new(key, svid.cert_chain)
}

#[tokio::test]
async fn refuses_the_workloads_of_an_agent_that_was_shut_out() {
    let ca = Ca::start().await;
    let (banned, evicted) = (Agent::attest(&ca).await, Agent::attest(&ca).await);
    let spared = svid_of_workload(&ca, &Agent::attest(&ca).await).await;
    let mut refused = Vec::new();
    for agent in [&banned, &evicted] {
        let first = svid_of_workload(&ca, agent).await;
        // From here on the workload keeps its identity without the agent.
        let second = ca.connect_as(&first).await.renew().await.unwrap();
        let third = ca.connect_as(&second).await.renew().await.unwrap();
        for holder in [first, second, third] {
            refused.push((ca.connect_as(&holder).await, holder));
        }
    }
    for (clients, _) in &refused {
        clients.bundle().get_bundle(GetBundleRequest::default()).await.unwrap();
    }

    let request = BanAgentRequest { id: Some(id(&banned.path)) };
    ca.admin().agent().ban_agent(request).await.unwrap();
    let request = DeleteAgentRequest { id: Some(id(&evicted.path)) };
    ca.admin().agent().delete_agent(request).await.unwrap();
    for (clients, holder) in &refused {
        is_refused(&ca, clients, holder).await;
        let record = ca.admin().record(holder.leaf().serial).await.unwrap();
        assert!(record.revocation_reason.starts_with("the agent was"), "{record:?}");
    }

    // The same workload on another node is not harmed.
    assert_eq!(spared.leaf().uris, refused[0].1.leaf().uris);
    ca.connect_as(&spared).await.renew().await.unwrap();
}

/// What was asked for at the same moment comes before the ban, and is revoked by it, or after it, and is refused.
#[tokio::test]
async fn leaves_nothing_trusted_that_an_agent_was_given_while_it_was_banned() {
    let ca = Ca::start_with(|config| config.limits.signatures = 0).await;
    let agent = Agent::attest(&ca).await;
    let entry = ca.admin().create_entry(agent.entry("/workload")).await;
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
        ca.admin().agent().ban_agent(request).await.unwrap();
    };
    let (given, ()) = tokio::join!(join_all((0..8).map(|_| asks())), ban);

    assert!(agent.clients.new_svids(&[&entry.id]).await.is_err());
    for svid in given.into_iter().flatten() {
        let leaf = Certificate::parse(&svid.cert_chain[0]).unwrap();
        let record = ca.admin().record(leaf.serial).await.unwrap();
        assert!(record.revoked_at > 0, "{record:?}");
    }
}
