//! What was revoked, by which name, and the lists that tell everyone.

use std::sync::Arc;

use ca_daemon::authority::CrlUrl;
use rustls::{
    RootCertStore,
    client::danger::ServerCertVerifier,
    pki_types::{CertificateRevocationListDer, ServerName, UnixTime},
};
use secplane_identity::{
    PrivateKey,
    revocation::{KeyHash, RevocationList, SerialNumber},
    tls::crypto_provider,
    x509::Certificate,
};
use secplane_proto::{
    secplane::ca::v1::{CertificateKind, RevocationList as WireList, RevokeRequest, revoke_request::Target},
    spire::api::types,
};
use secplane_tests::{
    authority::{Ca, TRUST_DOMAIN},
    clients::Clients,
    entries::{entry, entry_for_this_process},
    holder::Holder,
    plain_http, requests, soon, workload,
};
use tonic::Code;
use x509_parser::prelude::{DistributionPointName, FromDer, GeneralName, ParsedExtension, X509Certificate};

async fn lets_in(ca: &Ca, holder: &Holder) -> bool {
    holder.knock(ca.grpc_address(), &ca.bundle().await).await.is_ok()
}

/// Whether the list of the holder's issuer names the holder's certificate.
fn names(lists: &[WireList], holder: &Holder) -> bool {
    let leaf = holder.leaf();
    let issuer = leaf.authority_key_id.unwrap();
    let list = lists.iter().find(|list| list.issuer_key_id == issuer).expect("every issuing CA has a list");
    RevocationList::parse(&list.crl).unwrap().contains(&leaf.serial.parse::<SerialNumber>().unwrap())
}

async fn until_named(clients: &Clients, holder: &Holder) -> Vec<WireList> {
    let mut lists = clients.watch_revocation_lists().await.unwrap();
    loop {
        let message = soon("the list with the revoked certificate", lists.message()).await.unwrap().unwrap();
        if names(&message.lists, holder) {
            return message.lists;
        }
    }
}

#[tokio::test]
async fn revokes_what_a_spiffe_id_was_issued_until_now() {
    let ca = Ca::start().await;
    let first = ca.admin().mint("/a", 0).await.unwrap();
    let second = ca.admin().mint("/a", 0).await.unwrap();
    let other = ca.admin().mint("/b", 0).await.unwrap();
    let id = || Target::SpiffeId(format!("spiffe://{TRUST_DOMAIN}/a"));
    assert_eq!(ca.admin().revoke_all(id()).await.unwrap(), 2);
    assert!(!lets_in(&ca, &first).await && !lets_in(&ca, &second).await && lets_in(&ca, &other).await);
    assert!(
        lets_in(&ca, &ca.admin().mint("/a", 0).await.unwrap()).await,
        "what comes later is another matter"
    );

    let lists = until_named(&ca.admin(), &first).await;
    assert!(names(&lists, &second) && !names(&lists, &other));
    assert_eq!(ca.admin().revoke_all(id()).await.unwrap(), 1, "the later one");
}

#[tokio::test]
async fn revokes_a_key_with_whatever_was_and_will_be_issued_for_it() {
    let ca = Ca::start().await;
    let key = PrivateKey::generate().unwrap();
    let request = |path: &str| requests::naming(&key, &[&format!("spiffe://{TRUST_DOMAIN}{path}")]);
    let first = Holder::new(key.clone(), ca.admin().mint_with(request("/a"), 0).await.unwrap());
    let second = Holder::new(key.clone(), ca.admin().mint_with(request("/b"), 0).await.unwrap());
    let hash = KeyHash::of(&first.leaf().public_key_info).to_string();
    assert_eq!(ca.admin().revoke_all(Target::PublicKeySha256(hash.to_uppercase())).await.unwrap(), 2);
    assert!(!lets_in(&ca, &first).await && !lets_in(&ca, &second).await);
    until_named(&ca.admin(), &second).await;

    let ca = ca.restart().await;
    let refusal = ca.admin().mint_with(request("/c"), 0).await.unwrap_err();
    assert_eq!(refusal.code(), Code::PermissionDenied, "{refusal}");
    assert!(refusal.message().contains(&hash), "{refusal}");
    assert!(!lets_in(&ca, &first).await);
}

#[tokio::test]
async fn says_what_cannot_be_revoked() {
    let ca = Ca::start().await;
    let too_long = "a".repeat(257);
    for (target, reason, code) in [
        (None, "", Code::InvalidArgument),
        (Some(Target::SerialNumber("0a1b".to_owned())), "", Code::NotFound),
        (Some(Target::SerialNumber("x".to_owned())), "", Code::InvalidArgument),
        (Some(Target::SpiffeId("spiffe://example.com/a".to_owned())), "", Code::InvalidArgument),
        (Some(Target::SpiffeId("a".to_owned())), "", Code::InvalidArgument),
        (Some(Target::PublicKeySha256("ab".to_owned())), "", Code::InvalidArgument),
        (Some(Target::SpiffeId("spiffe://example.org/a".to_owned())), &*too_long, Code::InvalidArgument),
    ] {
        let request = RevokeRequest { target, reason: reason.to_owned() };
        let refusal = ca.admin().revocations().revoke(request.clone()).await.unwrap_err();
        assert_eq!(refusal.code(), code, "{request:?}: {refusal}");
    }
    let nobody = ca.connect_anonymously().await;
    let refusal = nobody.revoke_all(Target::SpiffeId("spiffe://example.org/a".to_owned())).await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unauthenticated, "{refusal}");
}

#[tokio::test]
async fn shows_the_lists_to_everyone() {
    let ca = Ca::start().await;
    let clients = ca.connect_anonymously().await;
    let lists = clients.revocation_lists().await.unwrap();
    assert_eq!(lists.len(), 2, "of the root and of its issuing CA: {lists:?}");
    assert!(lists.iter().all(|list| list.this_update < list.next_update));
    let again = ca.restart().await;
    assert_eq!(again.admin().revocation_lists().await.unwrap(), lists, "a restart changes nothing");
}

#[tokio::test]
async fn ends_the_open_stream_of_a_revoked_caller() {
    let ca = Ca::start().await;
    let admin = types::Entry { admin: true, ..entry("/admin", &["uid:4711"]) };
    ca.admin().create_entry(admin).await;
    let holder = ca.admin().mint("/admin", 0).await.unwrap();
    let mut stream = ca.connect_as(&holder).await.watch_revocation_lists().await.unwrap();
    soon("the first lists", stream.message()).await.unwrap().unwrap();
    let mut of_another = ca.connect_anonymously().await.watch_revocation_lists().await.unwrap();
    soon("the first lists", of_another.message()).await.unwrap().unwrap();

    ca.admin().revoke(&holder).await.unwrap();
    let end = async { while let Ok(Some(_)) = stream.message().await {} };
    soon("the stream ends", end).await;
    let message = soon("the new list", of_another.message()).await.unwrap().unwrap();
    assert!(names(&message.lists, &holder), "others hear of it");
}

/// A verifier that is not ours reads the lists and refuses whom they name.
#[tokio::test]
async fn is_believed_by_an_independent_verifier() {
    let ca = Ca::start().await;
    let revoked = ca.admin().issue_server(&["localhost"]).await.unwrap();
    let other = ca.admin().issue_server(&["localhost"]).await.unwrap();
    ca.admin().revoke(&revoked).await.unwrap();
    let lists = until_named(&ca.admin(), &revoked).await;

    let mut roots = RootCertStore::empty();
    for root in ca.bundle().await.authorities() {
        roots.add(root.der.clone()).unwrap();
    }
    let crls = lists.into_iter().map(|list| CertificateRevocationListDer::from(list.crl));
    let verifier =
        rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), crypto_provider())
            .with_crls(crls)
            .only_check_end_entity_revocation()
            .enforce_revocation_expiration()
            .build()
            .unwrap();
    let verify = |holder: &Holder| {
        let name = ServerName::try_from("localhost").unwrap();
        verifier.verify_server_cert(&holder.chain()[0], &holder.chain()[1..], &name, &[], UnixTime::now())
    };
    verify(&other).unwrap();
    let refusal = verify(&revoked).unwrap_err();
    assert!(refusal.to_string().contains("Revoked"), "{refusal}");
}

#[tokio::test]
async fn gives_workloads_the_lists_and_every_new_one() {
    let ca = Ca::start().await;
    ca.admin().create_entry(entry_for_this_process("/a")).await;
    let mut svids = ca.workload().x509_svids().await.unwrap();
    let mut bundles = ca.workload().x509_bundles().await.unwrap();
    let first = svids.next().await;
    assert_eq!(first.crl, bundles.next().await.crl);
    let own = workload::holder(&first.svids[0]);
    let other = ca.admin().mint("/b", 0).await.unwrap();
    ca.admin().revoke(&other).await.unwrap();

    let serial: SerialNumber = other.leaf().serial.parse().unwrap();
    let is_named =
        |crl: &[Vec<u8>]| crl.iter().any(|der| RevocationList::parse(der).unwrap().contains(&serial));
    let second = svids.next().await;
    assert!(is_named(&second.crl));
    assert!(is_named(&bundles.next().await.crl));
    assert_eq!(workload::holder(&second.svids[0]).leaf().serial, own.leaf().serial, "its own SVID stays");
}

/// Where a certificate says that its issuer's list is, that list is, and is the issuer's own: up to the root.
#[tokio::test]
async fn are_where_certificates_say() {
    let ca = Ca::start_with(|config| {
        config.crl.url = Some(CrlUrl::parse("http://ca.example.org/crl/").unwrap());
    })
    .await;
    let svid = ca.admin().mint("/a", 0).await.unwrap();
    let bundle = ca.bundle().await;
    let mut issuers: Vec<_> = svid.chain()[1..].to_vec();
    issuers.extend(bundle.authorities().map(|root| root.der.clone()));
    for (certificate, issuer) in svid.chain().iter().zip(&issuers) {
        let url = distribution_point(certificate).expect("every certificate below a root has one");
        let path = url.strip_prefix("http://ca.example.org").unwrap();
        let response = plain_http::get(ca.operations_address(), path, &[]).await;
        assert_eq!(response.status, 200, "{url}");
        let list = RevocationList::parse(&response.bytes).unwrap();
        assert!(list.is_signed_by(&Certificate::parse(issuer).unwrap()), "{url}");
    }
    assert_eq!(issuers.len(), 2);
    assert!(distribution_point(&issuers[1]).is_none(), "a root is trusted or not; no list takes it back");
}

fn distribution_point(der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).unwrap();
    let points =
        certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::CRLDistributionPoints(points) => Some(points),
            _ => None,
        })?;
    match points.points.first()?.distribution_point.as_ref()? {
        DistributionPointName::FullName(names) => match names.first()? {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        },
        DistributionPointName::NameRelativeToCRLIssuer(_) => None,
    }
}

/// Who issued with it is trusted no longer; whoever asks from then on gets what another issuing CA signed.
#[tokio::test]
async fn name_an_issuing_ca_that_was_revoked() {
    let ca = Ca::start().await;
    ca.admin().create_entry(entry_for_this_process("/a")).await;
    let mut svids = ca.workload().x509_svids().await.unwrap();
    let own = workload::holder(&svids.next_svid().await);
    let before = ca.admin().mint("/b", 0).await.unwrap();
    let issuing = Certificate::parse(&before.chain()[1]).unwrap();

    let target = Target::SerialNumber(issuing.serial.clone());
    assert_eq!(ca.admin().revoke_all(target).await.unwrap(), 1);
    let record = ca.admin().record(issuing.serial.clone()).await.unwrap();
    assert!(record.revoked_at > 0 && record.kind() == CertificateKind::Ca, "{record:?}");
    let after = ca.admin().mint("/b", 0).await.unwrap();
    assert_ne!(after.leaf().authority_key_id, before.leaf().authority_key_id);
    let refusal = before.knock(ca.grpc_address(), &ca.bundle().await).await.unwrap_err();
    assert!(refusal.to_string().contains("alert"), "{refusal}");
    assert!(lets_in(&ca, &after).await);
    let next = soon("a workload has another SVID", async {
        loop {
            let next = workload::holder(&svids.next_svid().await);
            if next.leaf().authority_key_id != own.leaf().authority_key_id {
                return next;
            }
        }
    });
    assert!(lets_in(&ca, &next.await).await);

    let holder = Holder::new(before.key().clone(), vec![issuing.der.to_vec()]);
    until_named(&ca.admin(), &holder).await;
}
