//! What neither the log nor the lines on standard error ever hold, whatever is asked of the daemon.

use std::fs;

use ca_daemon::keys::generate_wrapping_key;
use secplane_identity::PrivateKey;
use secplane_proto::{
    secplane::ca::v1::{RekeyRequest, rekey_request::NewWrappingKey, revoke_request::Target},
    spire::api::{
        server::{
            agent::v1::{
                AgentX509svidParams, BanAgentRequest, CreateJoinTokenRequest, DeleteAgentRequest,
                GetAgentRequest, RenewAgentRequest,
            },
            entry::v1::{BatchDeleteEntryRequest, BatchUpdateEntryRequest},
            localauthority::v1::{ActivateJwtAuthorityRequest, PrepareJwtAuthorityRequest},
            svid::v1::{MintJwtsvidRequest, NewJwtsvidRequest},
        },
        types,
    },
    workload::ValidateJwtsvidRequest,
};
use secplane_tests::{
    agents::entry_below,
    audit_log::AuditLog,
    authority::CaFolder,
    clients::Clients,
    database::Database,
    entries::{entry_for_this_process, id},
    process::CaProcess,
    requests,
    workload::{self, Workload},
};
use tonic::Code;

use super::super::root_rotation::asking;

/// A join token that nobody made.
const GUESSED: &str = "a-token-that-somebody-guessed";

/// Whether these bytes stand in an entry.
pub(super) fn holds(log: &AuditLog, needle: &[u8]) -> bool {
    log.entries.iter().any(|entry| stands_in(&entry.leaf, needle))
}

fn stands_in(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|window| window == needle)
}

/// The forms in which a P-256 key could come to light.
fn forms_of(key: &PrivateKey) -> Vec<Vec<u8>> {
    // In PKCS#8 these bytes are of the scalar, whatever surrounds it.
    let scalar = &key.pkcs8_der()[40..64];
    let hex: String = scalar.iter().map(|byte| format!("{byte:02x}")).collect();
    let shown = format!("{scalar:?}").trim_matches(['[', ']']).to_owned();
    let base64 = key.to_pem().lines().nth(2).unwrap().to_owned();
    vec![scalar.to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes(), shown.into(), base64.into()]
}

/// What was handed out in a run of all kinds of calls, and must stand nowhere else.
#[derive(Default)]
struct Handed {
    keys: Vec<PrivateKey>,
    jwts: Vec<String>,
    join_tokens: Vec<String>,
    /// It becomes a part of the agent's SPIFFE ID, as other agents and libraries expect it.
    used_join_token: String,
    serial: String,
}

impl Handed {
    /// The texts that must stand nowhere.
    fn secrets(&self) -> Vec<Vec<u8>> {
        let mut secrets = vec![b"PRIVATE KEY".to_vec()];
        secrets.extend(self.keys.iter().flat_map(forms_of));
        // The header says nothing; the claims and the signature are what somebody would steal.
        let parts = self.jwts.iter().flat_map(|token| token.split('.').skip(1));
        secrets.extend(
            parts.chain(self.join_tokens.iter().map(String::as_str)).map(|text| text.as_bytes().to_vec()),
        );
        secrets
    }
}

/// What a workload of this machine asks for.
async fn be_a_workload(workload: &Workload, handed: &mut Handed) {
    let svid = workload.x509_svids().await.unwrap().next_svid().await;
    let holder = workload::holder(&svid);
    handed.serial = holder.leaf().serial;
    handed.keys.push(holder.key().clone());
    for svid in workload.jwt_svids(&["one"], "").await.unwrap() {
        for audience in ["one", "another"] {
            let request = ValidateJwtsvidRequest { audience: audience.to_owned(), svid: svid.svid.clone() };
            let validated = workload.client().validate_jwtsvid(workload::asking(request)).await;
            assert_eq!(validated.is_ok(), audience == "one");
        }
        handed.jwts.push(svid.svid);
    }
}

/// What a node agent asks for, beside somebody who is none.
async fn be_an_agent(ca: &CaProcess, handed: &mut Handed) {
    let (admin, anybody) = (ca.admin(), ca.connect(None).await);
    let (used, key) = (admin.join_token().await, PrivateKey::generate().unwrap());
    let agent = anybody.attest(&used, &key).await.unwrap();
    for token in [used.as_str(), GUESSED] {
        anybody.attest(token, &PrivateKey::generate().unwrap()).await.err().unwrap();
    }
    let misused = admin.join_token().await;
    let elsewhere = format!("spiffe://example.net/spire/agent/join_token/{misused}");
    for uri in ["spiffe://example.org/somebody-else", elsewhere.as_str()] {
        let csr = requests::naming(&PrivateKey::generate().unwrap(), &[uri]);
        let refusal = anybody.attest_with("join_token", misused.as_bytes(), csr).await.unwrap_err();
        assert_eq!(refusal.code(), Code::PermissionDenied, "{refusal}");
    }
    let mixed_up = admin.join_token().await;
    let csr = PrivateKey::generate().unwrap().bare_request().unwrap();
    anybody.attest_with(&mixed_up, b"join_token", csr).await.unwrap_err();
    handed.join_tokens.push(mixed_up);
    anybody.mint("/a", 0).await.err().unwrap();
    let entry = entry_below(&format!("/spire/agent/join_token/{used}"), "/node");
    let entry_id = admin.create_entry(entry).await.id;
    let clients = ca.connect(Some(&agent)).await;
    let request = NewJwtsvidRequest { entry_id, audience: vec!["one".to_owned()] };
    handed.jwts.push(clients.svid().new_jwtsvid(request).await.unwrap().into_inner().svid.unwrap().token);
    clients.renew_agent().await.unwrap();
    let unused = admin.join_token().await;
    let csr = requests::naming(&PrivateKey::generate().unwrap(), &[&agent_by(&unused)]);
    let renewal = RenewAgentRequest { params: Some(AgentX509svidParams { csr }) };
    clients.agent().renew_agent(renewal).await.unwrap_err();
    handed.join_tokens.push(unused);
    handed.keys.push(key);
    handed.used_join_token = used;
    handed.join_tokens.extend([admin.join_token().await, misused, GUESSED.to_owned()]);
}

/// The SPIFFE ID of the agent that a token makes.
fn agent_by(token: &str) -> String {
    format!("spiffe://example.org/spire/agent/join_token/{token}")
}

/// An admin names agents that have yet to join, and so their tokens, in every call that takes a SPIFFE ID: with the right
/// trust domain and with a wrong one.
async fn name_an_agent_that_has_not_joined(admin: &Clients, handed: &mut Handed) {
    let unused = admin.join_token().await;
    let path = format!("/spire/agent/join_token/{unused}");
    let elsewhere = types::Spiffeid { trust_domain: "example.net".to_owned(), path: path.clone() };
    for named in [id(&path), elsewhere] {
        let named = || Some(named.clone());
        let mut calls = admin.agent();
        calls.get_agent(GetAgentRequest { id: named(), output_mask: None }).await.unwrap_err();
        calls.ban_agent(BanAgentRequest { id: named() }).await.unwrap_err();
        calls.delete_agent(DeleteAgentRequest { id: named() }).await.unwrap_err();
        let alias = CreateJoinTokenRequest { ttl: 60, agent_id: named(), ..Default::default() };
        calls.create_join_token(alias).await.unwrap_err();
        let mint = MintJwtsvidRequest { id: named(), audience: vec!["one".to_owned()], ..Default::default() };
        admin.svid().mint_jwtsvid(mint).await.unwrap_err();
        let whose = types::Entry { spiffe_id: named(), ..entry_below(&path, "/") };
        admin.try_create_entry(whose).await;
    }
    for uri in [agent_by(&unused), agent_by(&unused).replace("example.org", "example.net")] {
        let csr = requests::naming(&PrivateKey::generate().unwrap(), &[&uri]);
        admin.mint_with(csr, 0).await.unwrap_err();
        let is_own = uri.starts_with("spiffe://example.org/");
        assert_eq!(admin.revoke_all(Target::SpiffeId(uri)).await.is_ok(), is_own);
    }

    // This is how a node's entries are made before it joins.
    let selector = types::Selector { r#type: "spiffe_id".to_owned(), value: agent_by(&unused) };
    let below = types::Entry { selectors: vec![selector], ..entry_below(&path, "/later") };
    let made = admin.create_entry(below).await;
    let update = types::Entry { hint: "h".to_owned(), ..made.clone() };
    let update = BatchUpdateEntryRequest { entries: vec![update], ..Default::default() };
    admin.entry().batch_update_entry(update).await.unwrap();
    admin.entry().batch_delete_entry(BatchDeleteEntryRequest { ids: vec![made.id] }).await.unwrap();
    handed.join_tokens.push(unused);
}

/// What an admin asks for.
async fn be_an_admin(admin: &Clients, new_wrapping_key: &str, handed: &mut Handed) {
    let mint = MintJwtsvidRequest {
        id: Some(id("/minted")),
        audience: vec!["one".to_owned()],
        ..Default::default()
    };
    handed.jwts.push(admin.svid().mint_jwtsvid(mint).await.unwrap().into_inner().svid.unwrap().token);
    handed.keys.push(admin.mint("/minted", 0).await.unwrap().key().clone());
    let mut steps = admin.local_authority();
    let prepared = steps.prepare_jwt_authority(PrepareJwtAuthorityRequest {}).await.unwrap().into_inner();
    let authority_id = prepared.prepared_authority.unwrap().authority_id;
    steps.activate_jwt_authority(asking(ActivateJwtAuthorityRequest { authority_id }, true)).await.unwrap();
    let new_wrapping_key = Some(NewWrappingKey::File(new_wrapping_key.to_owned()));
    admin.authority().rekey(RekeyRequest { new_wrapping_key }).await.unwrap();
}

#[tokio::test]
async fn stand_in_no_entry_and_in_no_log_line() {
    let mut folder = CaFolder::new();
    folder.config.log.filter = "info,ca_daemon=trace,secplane_identity=trace".to_owned();
    let new_key = folder.path().join("new.key");
    generate_wrapping_key(&new_key).unwrap();
    let ca = CaProcess::start(&folder).await;
    let admin = ca.admin();
    let mut handed = Handed::default();
    admin.create_entry(entry_for_this_process("/workload")).await;
    be_a_workload(&Workload::at(&folder.config.workload_api_socket()), &mut handed).await;
    be_an_agent(&ca, &mut handed).await;
    name_an_agent_that_has_not_joined(&admin, &mut handed).await;
    be_an_admin(&admin, new_key.to_str().unwrap(), &mut handed).await;
    ca.terminate().await;

    let mut database = Database::open(&folder).await;
    let rows = database.audit_log().await.entries.into_iter().flat_map(|(_, leaf)| leaf).collect::<Vec<u8>>();
    database.close().await;
    let lines = fs::read(folder.path().join("ca.log")).unwrap();
    let agent = format!("/spire/agent/join_token/{}", handed.used_join_token);
    assert!(stands_in(&rows, handed.serial.as_bytes()), "the search finds what is there");
    assert!(stands_in(&lines, agent.as_bytes()), "the search finds what is there");
    for text in [&rows, &lines] {
        assert!(stands_in(text, b"/spire/agent/join_token/<sha256:"), "what was tried is told");
    }

    let mut secrets = handed.secrets();
    for file in ["wrapping.key", "new.key"] {
        secrets.push(fs::read_to_string(folder.path().join(file)).unwrap().trim().into());
    }
    assert!(handed.jwts.len() == 3 && handed.keys.len() == 3, "each kind of call was made");
    for (place, text) in [("an entry", &rows), ("a log line", &lines)] {
        for secret in &secrets {
            let shown = String::from_utf8_lossy(secret);
            assert!(!stands_in(text, secret), "{place} holds {shown}");
        }
        let beside_the_id = String::from_utf8_lossy(text).replace(&agent, "");
        assert!(!beside_the_id.contains(&handed.used_join_token), "{place} holds a join token that was used");
    }
}
