//! What one replica does to trust, the others heed: on streams that are open, in what they publish and issue.

use std::time::{Duration, SystemTime};

use ca_daemon::authority::verify_jwt_svid;
use secplane_identity::{TrustBundle, TrustBundleSet, x509::Certificate};
use secplane_proto::{
    secplane::ca::v1::WatchTrustBundleRequest,
    spire::api::server::{
        bundle::v1::GetBundleRequest,
        localauthority::v1::{
            ActivateJwtAuthorityRequest, ActivateX509AuthorityRequest, GetJwtAuthorityStateRequest,
            GetX509AuthorityStateRequest, PrepareJwtAuthorityRequest, PrepareX509AuthorityRequest,
            RevokeJwtAuthorityRequest, RevokeX509AuthorityRequest, TaintJwtAuthorityRequest,
            TaintX509AuthorityRequest,
        },
        svid::v1::MintJwtsvidRequest,
    },
};
use secplane_tests::{
    authority::{Ca, CaFolder},
    clients::Clients,
    entries::{entry_for_this_process, id},
    holder::{Holder, client_config, open},
    moved_clock::MovedClock,
    plain_http::get,
    soon,
    workload::holder,
};
use tonic::{Code, Request, Streaming, metadata::MetadataValue};

use super::{two, two_that_must_be_told, until};

/// A request for a step that is taken at once.
fn forced<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("secplane-force", MetadataValue::from_static("true"));
    request
}

/// Waits until a stream fails. What was on its way may come before.
async fn is_cut_off<T>(mut stream: Streaming<T>) {
    soon("the end of a stream", async {
        while let Ok(message) = stream.message().await {
            assert!(message.is_some(), "it ended as if nothing had happened");
        }
    })
    .await;
}

#[tokio::test]
async fn end_the_open_streams_of_whoever_was_revoked_elsewhere() {
    let (one, other) = two_that_must_be_told().await;
    let (revoked, spared) =
        (one.admin().mint("/revoked", 0).await.unwrap(), one.admin().mint("/spared", 0).await.unwrap());
    let bundle = other.bundle().await;
    let clients = [other.connect_as(&revoked).await, other.connect_as(&spared).await];
    let watch = async |clients: &Clients| {
        let bundles = clients.trust_bundle().watch_trust_bundle(WatchTrustBundleRequest {}).await;
        let mut bundles = bundles.unwrap().into_inner();
        bundles.message().await.unwrap().unwrap();
        bundles
    };
    let (ends, mut goes_on) = (watch(&clients[0]).await, watch(&clients[1]).await);
    let mut lists = clients[0].watch_revocation_lists().await.unwrap();
    lists.message().await.unwrap().unwrap();

    one.admin().revoke(&revoked).await.unwrap();
    is_cut_off(ends).await;
    is_cut_off(lists).await;
    let alert = revoked.knock(other.grpc_address(), &bundle).await.unwrap_err();
    assert!(alert.to_string().contains("CertificateRevoked"), "{alert}");

    // Others are not harmed: what happens next still reaches them on the stream that they had.
    let prepare = PrepareX509AuthorityRequest {};
    one.admin().local_authority().prepare_x509_authority(prepare).await.unwrap();
    soon("the next trust bundle", async {
        while goes_on.message().await.unwrap().unwrap().bundle.unwrap().x509_authorities.len() != 2 {}
    })
    .await;
}

/// What a replica publishes to whoever polls it.
async fn published(ca: &Ca) -> TrustBundle {
    let answer = get(ca.operations_address(), "/bundle", &[]).await;
    TrustBundle::from_spiffe_json(ca.folder().config.trust_domain.clone(), &answer.body).unwrap()
}

async fn published_jwt_keys(ca: &Ca) -> Vec<String> {
    published(ca).await.jwt_authorities().iter().map(|key| key.key_id.clone()).collect()
}

/// Whom a JWT-SVID that one replica mints names to whoever has the keys that another one publishes.
async fn minted_and_verified(minting: &Ca, publishing: &Ca) -> Option<String> {
    let audience = vec!["one".to_owned()];
    let request = MintJwtsvidRequest { id: Some(id("/web")), audience, ttl: 0 };
    let svid = minting.admin().svid().mint_jwtsvid(request).await.unwrap().into_inner().svid.unwrap();
    let bundles: TrustBundleSet = published(publishing).await.into();
    let verified = verify_jwt_svid(&svid.token, &bundles, "one", SystemTime::now()).ok()?;
    Some(verified.id.to_string())
}

#[tokio::test]
async fn publish_and_sign_with_one_set_of_jwt_keys() {
    let first = CaFolder::new();
    let others = [CaFolder::replica_of(&first), CaFolder::replica_of(&first)];
    let mut replicas = vec![first.start().await];
    for folder in others {
        replicas.push(folder.start().await);
    }
    let mut steps = replicas[0].admin().local_authority();
    let states = steps.get_jwt_authority_state(GetJwtAuthorityStateRequest {}).await.unwrap().into_inner();
    let old = states.active.unwrap().authority_id;
    for minting in &replicas {
        assert_eq!(published_jwt_keys(minting).await, [old.as_str()], "however many replicas there are");
        for publishing in &replicas {
            let verified = minted_and_verified(minting, publishing).await;
            assert_eq!(verified.as_deref(), Some("spiffe://example.org/web"));
        }
    }

    let prepared = steps.prepare_jwt_authority(PrepareJwtAuthorityRequest {}).await.unwrap().into_inner();
    let next = prepared.prepared_authority.unwrap().authority_id;
    steps
        .activate_jwt_authority(forced(ActivateJwtAuthorityRequest { authority_id: next.clone() }))
        .await
        .unwrap();
    steps.revoke_jwt_authority(forced(RevokeJwtAuthorityRequest { authority_id: old })).await.unwrap();
    for replica in &replicas {
        until("the next key alone, at every replica", async || {
            (published_jwt_keys(replica).await == [next.as_str()]).then_some(())
        })
        .await;
        until("a JWT-SVID that the next key signed", async || {
            minted_and_verified(replica, &replicas[0]).await
        })
        .await;
    }
}

/// One replica grants tokens of ten hours, the other one none longer than an hour: it takes no key from under those.
#[tokio::test]
async fn keep_a_jwt_key_while_the_tokens_of_another_live() {
    const HOUR: Duration = Duration::from_secs(3600);
    let time = MovedClock::default();
    let first = CaFolder::new();
    let mut second = CaFolder::replica_of(&first);
    second.config.validity.longest = HOUR;
    let one = first.start_with_clock(time.clock()).await;
    let other = second.start_with_clock(time.clock()).await;
    let ttl = 10 * 3600;
    let request = MintJwtsvidRequest { id: Some(id("/web")), audience: vec!["one".to_owned()], ttl };
    one.admin().svid().mint_jwtsvid(request).await.unwrap();

    let mut steps = other.admin().local_authority();
    let states = steps.get_jwt_authority_state(GetJwtAuthorityStateRequest {}).await.unwrap().into_inner();
    let old = states.active.unwrap().authority_id;
    let prepared = steps.prepare_jwt_authority(PrepareJwtAuthorityRequest {}).await.unwrap().into_inner();
    let next = prepared.prepared_authority.unwrap().authority_id;
    steps.activate_jwt_authority(forced(ActivateJwtAuthorityRequest { authority_id: next })).await.unwrap();
    steps.taint_jwt_authority(TaintJwtAuthorityRequest { authority_id: old.clone() }).await.unwrap();

    time.advance(HOUR * 9);
    let revoke = RevokeJwtAuthorityRequest { authority_id: old };
    let refused = steps.revoke_jwt_authority(revoke.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains("may be valid until"), "{refused}");
    time.advance(HOUR * 2);
    steps.revoke_jwt_authority(revoke).await.unwrap();
}

/// The key ID of the root above a certificate that came with that of its issuing CA.
fn root_above(holder: &Holder) -> Option<String> {
    Certificate::parse(holder.chain().last()?).ok()?.authority_key_id
}

/// The key IDs of the roots that a replica answers.
async fn roots(ca: &Ca) -> Vec<String> {
    let bundle = ca.admin().bundle().get_bundle(GetBundleRequest::default()).await.unwrap().into_inner();
    let roots = bundle.x509_authorities.iter().map(|root| Certificate::parse(&root.asn1).unwrap());
    roots.filter_map(|root| root.subject_key_id).collect()
}

#[tokio::test]
async fn follow_a_root_that_one_of_them_rotates() {
    let (one, other) = two().await;
    let created = one.admin().create_entry(entry_for_this_process("/a")).await;
    until("the entry at the other replica", async || other.admin().get_entry(&created.id).await.ok()).await;
    let mut svids = other.workload().x509_svids().await.unwrap();
    svids.next_svid().await;
    let mut steps = one.admin().local_authority();
    let states = steps.get_x509_authority_state(GetX509AuthorityStateRequest {}).await.unwrap().into_inner();
    let old = states.active.unwrap().authority_id;

    let prepared = steps.prepare_x509_authority(PrepareX509AuthorityRequest {}).await.unwrap().into_inner();
    let next = prepared.prepared_authority.unwrap().authority_id;
    until("both roots at the other replica", async || {
        let trusted = roots(&other).await;
        (trusted.contains(&old) && trusted.contains(&next)).then_some(())
    })
    .await;

    let activate = ActivateX509AuthorityRequest { authority_id: next.clone() };
    steps.activate_x509_authority(forced(activate)).await.unwrap();
    let theirs = until("an issuing CA of the other replica below the next root", async || {
        let minted = other.admin().mint("/b", 0).await.unwrap();
        (root_above(&minted).as_ref() == Some(&next)).then_some(minted)
    })
    .await;
    let ours = one.admin().mint("/b", 0).await.unwrap();
    assert_eq!(root_above(&ours).as_ref(), Some(&next));
    assert_ne!(ours.leaf().authority_key_id, theirs.leaf().authority_key_id, "each has its own issuing CA");

    // It is not refused: no replica signs below the old one any more.
    let taint = TaintX509AuthorityRequest { authority_id: old.clone() };
    steps.taint_x509_authority(taint).await.unwrap();
    soon("an SVID below the next root, on the stream of the other replica", async {
        while root_above(&holder(&svids.next_svid().await)).as_ref() != Some(&next) {}
    })
    .await;
    let revoke = RevokeX509AuthorityRequest { authority_id: old };
    steps.revoke_x509_authority(forced(revoke)).await.unwrap();
    until("the next root alone at the other replica", async || {
        (roots(&other).await == [next.as_str()]).then_some(())
    })
    .await;
    let bundle = published(&other).await;
    for replica in [&one, &other] {
        until("a server below the next root", async || {
            open(replica.grpc_address(), client_config(&bundle, None)).await.ok()
        })
        .await;
    }
    let clients = Clients::over_tls(one.grpc_address(), client_config(&bundle, Some(&theirs)));
    clients.renew().await.unwrap();
}
