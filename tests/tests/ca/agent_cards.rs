//! The authority verifies cards for whoever has an identity here.

use secplane_agent_card::{AgentCard, MAX_CARD_BYTES, SignOptions, sign};
use secplane_identity::X509Identity;
use secplane_proto::secplane::ca::v1::{VerifyAgentCardRequest, VerifyAgentCardResponse};
use secplane_tests::{authority::Ca, clients::Clients, holder::Holder};
use tonic::{Code, Status};

const SIGNER: &str = "spiffe://example.org/agent";

fn signed_by(holder: &Holder) -> Vec<u8> {
    let identity = X509Identity::new(holder.chain().to_vec(), holder.key().clone()).unwrap();
    let card = AgentCard::parse(br#"{"name":"Agent","version":"1"}"#).unwrap();
    sign(&card, &identity, &SignOptions::default()).unwrap().to_json().to_string().into_bytes()
}

async fn verify(
    clients: &Clients,
    request: VerifyAgentCardRequest,
) -> Result<VerifyAgentCardResponse, Status> {
    clients.agent_cards().verify(request).await.map(tonic::Response::into_inner)
}

/// The class of a card.
async fn class(clients: &Clients, request: VerifyAgentCardRequest) -> String {
    verify(clients, request).await.unwrap().outcome
}

#[tokio::test]
async fn verifies_for_whoever_has_an_identity() {
    let ca = Ca::start().await;
    let holder = ca.admin().mint("/agent", 0).await.unwrap();
    let card = signed_by(&holder);
    let server = ca.admin().issue_server(&["a.example.org"]).await.unwrap();
    for clients in [ca.admin(), ca.connect_as(&holder).await, ca.connect_as(&server).await] {
        let request = VerifyAgentCardRequest { card: card.clone(), ..Default::default() };
        let answer = verify(&clients, request).await.unwrap();
        assert_eq!((answer.outcome.as_str(), answer.signer.as_str()), ("valid", SIGNER), "{answer:?}");
        assert_eq!(answer.canonicalization, "raw");
        let covered: serde_json::Value = serde_json::from_slice(&answer.covered_card).unwrap();
        assert_eq!(covered, serde_json::json!({"name": "Agent", "version": "1"}));
        let revocation = answer.signatures[0].checks.iter().find(|check| check.name == "revocation").unwrap();
        assert_eq!(revocation.status, "ok", "{revocation:?}");
    }
    let anybody = ca.connect_anonymously().await;
    let refusal = verify(&anybody, VerifyAgentCardRequest { card, ..Default::default() }).await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unauthenticated, "{refusal}");
}

#[tokio::test]
async fn answers_every_class() {
    let (ca, foreign) = (Ca::start().await, Ca::start().await);
    let admin = ca.admin();
    let holder = admin.mint("/agent", 0).await.unwrap();
    let request = || VerifyAgentCardRequest { card: signed_by(&holder), ..Default::default() };
    let with = |change: fn(&mut VerifyAgentCardRequest)| {
        let mut request = request();
        change(&mut request);
        request
    };
    assert_eq!(class(&admin, with(|request| request.expected_id = SIGNER.to_owned())).await, "valid");
    let other = with(|request| request.expected_id = "spiffe://example.org/other".to_owned());
    assert_eq!(class(&admin, other).await, "untrusted");
    assert_eq!(class(&admin, with(|request| request.trust_domain = "a.org".to_owned())).await, "untrusted");
    assert_eq!(class(&admin, with(|request| request.at = Some(4_000_000_000))).await, "expired");
    assert_eq!(class(&admin, with(|request| request.card = b"{}".to_vec())).await, "unsigned");
    assert_eq!(class(&admin, with(|request| request.card = b"{".to_vec())).await, "malformed");
    let changed = String::from_utf8(signed_by(&holder)).unwrap().replace("Agent", "Other").into_bytes();
    let changed = VerifyAgentCardRequest { card: changed, ..Default::default() };
    assert_eq!(class(&admin, changed).await, "tampered");
    let stranger = foreign.admin().mint("/agent", 0).await.unwrap();
    let strange = VerifyAgentCardRequest { card: signed_by(&stranger), ..Default::default() };
    assert_eq!(class(&admin, strange).await, "untrusted");
    admin.revoke(&holder).await.unwrap();
    assert_eq!(class(&admin, request()).await, "revoked");
}

#[tokio::test]
async fn refuses_what_makes_no_sense() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    let bad: [fn(&mut VerifyAgentCardRequest); 4] = [
        |request| request.expected_id = "example.org/agent".to_owned(),
        |request| request.trust_domain = "EXAMPLE".to_owned(),
        |request| request.canonicalization = "json".to_owned(),
        |request| request.at = Some(-1),
    ];
    for change in bad {
        let mut request = VerifyAgentCardRequest::default();
        change(&mut request);
        assert_eq!(verify(&admin, request).await.unwrap_err().code(), Code::InvalidArgument);
    }
    let large = VerifyAgentCardRequest { card: vec![b' '; MAX_CARD_BYTES + 64 * 1024], ..Default::default() };
    assert_eq!(verify(&admin, large).await.unwrap_err().code(), Code::OutOfRange);
}
