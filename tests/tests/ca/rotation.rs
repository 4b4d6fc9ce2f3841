//! What the authority renews by itself while it serves: its issuing CA and its own certificate.

use std::time::Duration;

use secplane_identity::{revocation::KeyHash, x509::Certificate};
use secplane_proto::{
    secplane::ca::v1::{GetStatusRequest, GetStatusResponse, revoke_request::Target},
    spire::api::server::svid::v1::MintJwtsvidRequest,
};
use secplane_tests::{
    authority::{Ca, CaFolder, TRUST_DOMAIN},
    database::Database,
    entries::{entry_for_this_process, id},
    holder::{client_config, open},
    moved_clock::MovedClock,
    soon,
};

use super::traffic::{self, Traffic};

async fn status(ca: &Ca) -> GetStatusResponse {
    ca.admin().authority().get_status(GetStatusRequest {}).await.unwrap().into_inner()
}

/// How long everything lives at an authority whose clock is moved past the half of it. Stock TLS clients go by the
/// machine's clock: it must not be further behind than what is issued is dated back, which is 10 s.
const LIFE: Duration = Duration::from_secs(16);

/// An authority where everything lives that long.
async fn hasty(time: &MovedClock) -> Ca {
    let mut folder = CaFolder::new();
    folder.config.jwt.svid_validity = LIFE;
    let validity = &mut folder.config.validity;
    for lifetime in [
        &mut validity.issuing_ca,
        &mut validity.x509_svid,
        &mut validity.agent,
        &mut validity.server,
        &mut validity.client,
        &mut validity.longest,
    ] {
        *lifetime = LIFE;
    }
    folder.start_with_clock(time.clock()).await
}

async fn server_certificate(ca: &Ca) -> Certificate {
    let stream = open(ca.grpc_address(), client_config(&ca.bundle().await, None)).await.unwrap();
    Certificate::parse(&stream.get_ref().1.peer_certificates().unwrap()[0]).unwrap()
}

#[tokio::test]
async fn replaces_the_issuing_ca_without_anybody_noticing() {
    let time = MovedClock::default();
    let ca = hasty(&time).await;
    ca.admin().create_entry(entry_for_this_process("/a")).await;
    let mut svids = ca.workload().x509_svids().await.unwrap();
    let first = svids.next_svid().await;
    let before = status(&ca).await;
    let (holder, server) = (ca.admin().mint("/b", 0).await.unwrap(), server_certificate(&ca).await);
    let connected = ca.connect_as(&holder).await;
    connected.renew().await.unwrap();

    time.advance(LIFE / 2 + Duration::from_secs(1));
    let after = soon("another issuing CA", async {
        loop {
            let now = status(&ca).await;
            if now.issuing_ca_key_id != before.issuing_ca_key_id {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(after.root_fingerprints, before.root_fingerprints);
    assert_eq!(after.bundle_sequence, before.bundle_sequence);
    soon("another certificate of its own", async {
        while server_certificate(&ca).await.serial == server.serial {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    // What the old one signed is still good.
    holder.knock(ca.grpc_address(), &ca.bundle().await).await.unwrap();
    // A new list of revoked certificates may come before.
    soon("another SVID", async { while svids.next_svid().await == first {} }).await;

    let records = ca.admin().records().await.unwrap();
    let own = records.iter().filter(|record| record.requester == "ca-daemon").count();
    assert!(own < 10, "it issued itself {own} certificates in a moment");
}

/// Whoever reads revocation lists would refuse the authority until its certificate is half over.
#[tokio::test]
async fn replaces_its_own_certificate_once_it_is_revoked() {
    let by_each_name: [fn(&Certificate) -> Target; 3] = [
        |_| Target::SpiffeId(format!("spiffe://{TRUST_DOMAIN}/spire/server")),
        |server| Target::SerialNumber(server.serial.clone()),
        |server| Target::PublicKeySha256(KeyHash::of(&server.public_key_info).to_string()),
    ];
    let ca = Ca::start().await;
    for name in by_each_name {
        let revoked = server_certificate(&ca).await;
        assert_eq!(ca.admin().revoke_all(name(&revoked)).await.unwrap(), 1);
        let next = soon("another certificate of its own", async {
            loop {
                let next = server_certificate(&ca).await;
                if next.serial != revoked.serial {
                    return next;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        assert_ne!(next.public_key_info, revoked.public_key_info);
    }
}

/// Whoever trusts the root needs to know nothing of the issuing CAs below it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaces_issuing_cas_under_traffic_without_a_failure() {
    const WORKLOADS: usize = 3;
    const SUCCESSORS: usize = 2;
    // Renewed at half of it: a machine that pauses for less than the other half renews in time.
    const LEAF: Duration = Duration::from_secs(12);
    let ca = Ca::start_with(|config| {
        config.jwt.svid_validity = LEAF;
        let validity = &mut config.validity;
        // Replaced at half of it, so that every leaf has its whole life.
        validity.issuing_ca = LEAF * 2;
        for leaf in [
            &mut validity.x509_svid,
            &mut validity.agent,
            &mut validity.server,
            &mut validity.client,
            &mut validity.longest,
        ] {
            *leaf = LEAF;
        }
    })
    .await;
    let mut ids = Vec::new();
    for number in 0..WORKLOADS {
        let path = format!("/workload-{number}");
        ca.admin().create_entry(traffic::entry(&path)).await;
        ids.push(format!("spiffe://example.org{path}"));
    }
    let traffic = Traffic::begin(&ca.workload(), &ids).await;
    let (root, roots) = {
        let first = traffic.workloads[0].borrow();
        (first.root.clone(), first.trusted.clone())
    };
    let mut issuers = vec![status(&ca).await.issuing_ca_key_id];
    traffic.goes_on_below(&root).await;
    for _ in 0..SUCCESSORS {
        let next = soon("another issuing CA", async {
            loop {
                let now = status(&ca).await.issuing_ca_key_id;
                if !issuers.contains(&now) {
                    return now;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        for mut workload in traffic.workloads.clone() {
            let followed = workload.wait_for(|current| !issuers.contains(&current.issuer));
            soon("a workload has an SVID below another issuing CA", followed).await.unwrap();
        }
        traffic.goes_on_below(&root).await;
        issuers.push(next);
    }
    for workload in &traffic.workloads {
        assert_eq!(workload.borrow().trusted, roots, "nobody had to learn of another root");
    }
    traffic.end().await;
}

#[tokio::test]
async fn begins_with_a_new_issuing_ca_when_the_old_one_is_past_its_half() {
    let ca = Ca::start().await;
    let before = status(&ca).await;
    // Half of a day later.
    let time = MovedClock::default();
    time.advance(Duration::from_secs(12 * 3600 + 1));
    let ca = ca.stop().await.start_with_clock(time.clock()).await;
    let after = status(&ca).await;
    assert_ne!(after.issuing_ca_key_id, before.issuing_ca_key_id);
}

#[tokio::test]
async fn pauses_before_it_tries_again_what_failed() {
    let time = MovedClock::default();
    let ca = CaFolder::new().start_with_clock(time.clock()).await;
    let mut database = Database::open(ca.folder()).await;
    database.refuse_certificates().await;
    // Half of the life of its own certificate.
    time.advance(Duration::from_secs(1801));
    soon("a first try to renew its own certificate", async {
        while ca.metric("secplane_ca_database_errors_total").await < 1.0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    // As many writes of others, among which tries without a pause would be about as many.
    let mut minting = ca.admin().svid();
    for _ in 0..100 {
        let audience = vec!["one".to_owned()];
        let request = MintJwtsvidRequest { id: Some(id("/web")), audience, ttl: 0 };
        minting.mint_jwtsvid(request).await.unwrap();
    }
    let failures = ca.metric("secplane_ca_database_errors_total").await;
    assert!(failures < 20.0, "it tried {failures} times in a moment");
    database.close().await;
}
