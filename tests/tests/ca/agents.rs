//! Attesting nodes with join tokens, and what admins do with them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures_util::future::{join, join_all};
use rstest::rstest;
use secplane_identity::{
    PrivateKey,
    revocation::{RevocationList, SerialNumber},
};
use secplane_proto::{
    secplane::ca::v1::{AuditOutcome, WatchRevocationListsResponse},
    spire::api::{
        server::{
            agent::v1::{
                BanAgentRequest, CountAgentsRequest, CreateJoinTokenRequest, DeleteAgentRequest,
                GetAgentRequest, ListAgentsRequest, PostStatusRequest, count_agents_request,
                list_agents_request,
            },
            entry::v1::ListEntriesRequest,
        },
        types::{self, permission_denied_details::Reason},
    },
};
use secplane_tests::{
    agents::{Agent, reason},
    audit_log::AuditLog,
    authority::{Ca, CaFolder},
    clients::Clients,
    database::Database,
    entries::{id, unix},
    holder::Holder,
    requests, soon,
};
use tonic::{Code, Streaming};

fn key() -> PrivateKey {
    PrivateKey::generate().unwrap()
}

#[tokio::test]
async fn attests_a_node_that_brings_a_token() {
    let ca = Ca::start().await;
    let token = ca.admin().join_token().await;
    let agent = ca.connect_anonymously().await.attest(&token, &key()).await.unwrap();
    assert_eq!(agent.leaf().uris, [format!("spiffe://example.org/spire/agent/join_token/{token}")]);

    let shown =
        GetAgentRequest { id: Some(id(&format!("/spire/agent/join_token/{token}"))), output_mask: None };
    let shown = ca.admin().agent().get_agent(shown).await.unwrap().into_inner();
    assert_eq!(shown.attestation_type, "join_token");
    let serial = u128::from_str_radix(&agent.leaf().serial, 16).unwrap();
    assert_eq!(shown.x509svid_serial_number, serial.to_string());
    assert!(!shown.banned && !shown.can_reattest && shown.selectors.is_empty());
    assert!(ca.admin().record(agent.leaf().serial).await.is_ok(), "it is on record");
}

#[tokio::test]
async fn attests_no_second_node_with_the_same_token() {
    let ca = Ca::start().await;
    let token = ca.admin().join_token().await;
    let anyone = ca.connect_anonymously().await;
    anyone.attest(&token, &key()).await.unwrap();
    let refusal = anyone.attest(&token, &key()).await.err().unwrap();
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
    assert!(refusal.message().contains("does not exist or has already been used"), "{refusal}");
}

#[tokio::test]
async fn answers_the_same_node_alike_when_the_answer_was_lost() {
    let ca = Ca::start().await;
    let token = ca.admin().join_token().await;
    let key = key();
    let first = ca.connect_anonymously().await.attest(&token, &key).await.unwrap();
    let ca = ca.restart().await;
    let again = ca.connect_anonymously().await.attest(&token, &key).await.unwrap();
    assert_eq!(again.chain(), first.chain());

    // Once it has gone on, it does not need the token any more.
    let agent = Agent::of(&ca, again).await;
    agent.clients.renew_agent().await.unwrap();
    let refusal = ca.connect_anonymously().await.attest(&token, &key).await.err().unwrap();
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
}

#[tokio::test]
async fn lets_one_of_many_win_a_race_for_a_token() {
    let ca = Ca::start_with(|config| config.limits.failed_attestations = 0).await;
    let token = ca.admin().join_token().await;
    let anyone = ca.connect_anonymously().await;
    let attempts = (0..16).map(|_| async { anyone.attest(&token, &key()).await });
    let results = join_all(attempts).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    let mut database = Database::open(ca.folder()).await;
    let issued = database.certificates().await;
    // The server's own certificate is the other one.
    assert_eq!(issued, 2, "what a loser was signed is neither on record nor handed out");
}

#[tokio::test]
async fn keeps_no_token_in_the_database() {
    let ca = Ca::start().await;
    let request = CreateJoinTokenRequest {
        ttl: 600,
        token: "a-token-that-nobody-must-find".to_owned(),
        agent_id: Some(id("/nodes/one")),
    };
    ca.admin().agent().create_join_token(request).await.unwrap();
    let folder = ca.stop().await;
    for file in std::fs::read_dir(&folder.config.data_dir).unwrap() {
        let path = file.unwrap().path();
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let found = bytes.windows(15).any(|window| window == b"a-token-that-no");
        assert!(!found, "the token stands in {}", path.display());
    }
}

#[tokio::test]
async fn gives_the_agent_the_further_id_of_its_token() {
    let ca = Ca::start().await;
    let request = CreateJoinTokenRequest { ttl: 600, token: String::new(), agent_id: Some(id("/nodes/one")) };
    let token = ca.admin().agent().create_join_token(request).await.unwrap().into_inner().value;
    let key = key();
    for _ in 0..2 {
        ca.connect_anonymously().await.attest(&token, &key).await.unwrap();
    }
    let entries = ca.admin().entry().list_entries(ListEntriesRequest::default()).await.unwrap().into_inner();
    let [entry] = entries.entries.as_slice() else { panic!("{entries:?}") };
    let agent = format!("/spire/agent/join_token/{token}");
    assert_eq!(entry.spiffe_id, Some(id("/nodes/one")));
    assert_eq!(entry.parent_id, Some(id(&agent)));
    let selector =
        types::Selector { r#type: "spiffe_id".to_owned(), value: format!("spiffe://example.org{agent}") };
    assert_eq!(entry.selectors, [selector]);
}

#[rstest]
#[case(0, "", None, "ttl is required")]
#[case(-1, "", None, "ttl is required")]
#[case(i32::MAX, "", None, "longer than")]
#[case(60, "short", None, "16 to 128")]
#[case(60, "with/a/slash/in/it", None, "letters")]
#[case(60, "", Some("/spire/agent/x"), "invalid agent ID")]
#[case(60, "", Some(""), "invalid agent ID")]
#[tokio::test]
async fn refuses_tokens_that_make_no_sense(
    #[case] ttl: i32,
    #[case] token: &str,
    #[case] agent_id: Option<&str>,
    #[case] said: &str,
) {
    let ca = Ca::start().await;
    let request = CreateJoinTokenRequest { ttl, token: token.to_owned(), agent_id: agent_id.map(id) };
    let refusal = ca.admin().agent().create_join_token(request).await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
    assert!(refusal.message().contains(said), "{refusal}");
}

#[tokio::test]
async fn refuses_to_create_a_token_twice() {
    let ca = Ca::start().await;
    let request = CreateJoinTokenRequest { ttl: 600, token: "0123456789abcdef".to_owned(), agent_id: None };
    ca.admin().agent().create_join_token(request.clone()).await.unwrap();
    let refusal = ca.admin().agent().create_join_token(request).await.unwrap_err();
    assert_eq!(refusal.code(), Code::AlreadyExists, "{refusal}");
}

#[tokio::test]
async fn refuses_an_expired_token() {
    let start = SystemTime::now();
    let passed = Arc::new(AtomicU64::new(0));
    let clock = {
        let passed = Arc::clone(&passed);
        ca_daemon::instant::Clock::of(move || start + Duration::from_secs(passed.load(Ordering::Relaxed)))
    };
    let ca = CaFolder::new().start_with_clock(clock).await;
    let (used, unused) = (ca.admin().join_token().await, ca.admin().join_token().await);
    let key = key();
    ca.connect_anonymously().await.attest(&used, &key).await.unwrap();
    passed.store(601, Ordering::Relaxed);
    for token in [used, unused] {
        let refusal = ca.connect_anonymously().await.attest(&token, &key).await.err().unwrap();
        assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
        assert!(refusal.message().contains("join token expired"), "{refusal}");
    }
}

#[rstest]
#[case("x509pop", b"{}", "supported: `join_token`")]
#[case("", b"x", "missing attestation data type")]
#[case("join_token", b"", "missing attestation data payload")]
#[case("join_token", b"\xff\xfe0123456789abcdef", "not text")]
#[case("join_token", &[b'a'; 20_000], "too large")]
#[case("join_token", b"short", "16 to 128")]
#[case("join_token", b"0123456789abcdef", "does not exist")]
#[tokio::test]
async fn refuses_evidence_that_proves_nothing(
    #[case] kind: &str,
    #[case] payload: &[u8],
    #[case] said: &str,
) {
    let ca = Ca::start().await;
    let anyone = ca.connect_anonymously().await;
    let refusal = anyone.attest_with(kind, payload, key().bare_request().unwrap()).await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
    assert!(refusal.message().contains(said), "{refusal}");
}

/// Anybody may attest, and what they send is read before anything of it is looked at.
#[tokio::test]
async fn reads_no_long_evidence() {
    let ca = Ca::start().await;
    let csr = key().bare_request().unwrap();
    let refusal = ca.admin().attest_with("join_token", &[b'a'; 65 * 1024], csr.clone()).await.unwrap_err();
    assert_eq!(refusal.code(), Code::OutOfRange, "{refusal}");
    let anyone = ca.connect_anonymously().await;
    anyone.attest_with("join_token", &[b'a'; 65 * 1024], csr).await.unwrap_err();
    anyone.attest(&ca.admin().join_token().await, &key()).await.unwrap();
}

#[tokio::test]
async fn spends_no_token_on_a_bad_request() {
    let ca = Ca::start().await;
    let token = ca.admin().join_token().await;
    let anyone = ca.connect_anonymously().await;
    let foreign_name = requests::naming(&key(), &["spiffe://example.org/spire/agent/join_token/another"]);
    for (csr, code) in [
        (Vec::new(), Code::InvalidArgument),
        (b"no request".to_vec(), Code::InvalidArgument),
        (foreign_name, Code::PermissionDenied),
    ] {
        let refusal = anyone.attest_with("join_token", token.as_bytes(), csr).await.unwrap_err();
        assert_eq!(refusal.code(), code, "{refusal}");
    }
    anyone.attest(&token, &key()).await.unwrap();
}

#[tokio::test]
async fn bans_and_evicts_agents_at_once() {
    let ca = Ca::start().await;
    let (banned, evicted) = (Agent::attest(&ca).await, Agent::attest(&ca).await);
    for agent in [&banned, &evicted] {
        agent.clients.new_svids(&["none"]).await.unwrap();
    }
    let request = BanAgentRequest { id: Some(id(&banned.path)) };
    ca.admin().agent().ban_agent(request.clone()).await.unwrap();
    ca.admin().agent().ban_agent(request).await.unwrap();
    let request = DeleteAgentRequest { id: Some(id(&evicted.path)) };
    ca.admin().agent().delete_agent(request.clone()).await.unwrap();
    let refusal = ca.admin().agent().delete_agent(request).await.unwrap_err();
    assert_eq!((refusal.code(), refusal.message()), (Code::NotFound, "agent not found"));

    // Its certificates are revoked, so that whoever follows the lists refuses it, too.
    let lists = ca.admin().watch_revocation_lists().await.unwrap();
    for agent in [&banned, &evicted] {
        let record = ca.admin().record(agent.holder.leaf().serial).await.unwrap();
        assert!(record.revoked_at > 0, "{record:?}");
        let end = soon("the connection ends", agent.clients.new_svids(&["none"])).await;
        assert!(end.is_err());
        let alert = agent.holder.knock(ca.grpc_address(), &ca.bundle().await).await.unwrap_err();
        assert!(alert.to_string().contains("CertificateRevoked"), "{alert}");
    }
    soon("both are on the list", until_listed(lists, &[&banned.holder, &evicted.holder])).await;
    // A node that was evicted may prove itself again.
    Agent::attest(&ca).await.clients.new_svids(&["none"]).await.unwrap();
}

async fn until_listed(mut lists: Streaming<WatchRevocationListsResponse>, holders: &[&Holder]) {
    loop {
        let message = lists.message().await.unwrap().unwrap();
        let parsed: Vec<_> =
            message.lists.iter().map(|list| RevocationList::parse(&list.crl).unwrap()).collect();
        let is_listed = |holder: &&Holder| {
            let serial: SerialNumber = holder.leaf().serial.parse().unwrap();
            parsed.iter().any(|list| list.contains(&serial))
        };
        if holders.iter().all(is_listed) {
            return;
        }
    }
}

/// An open sync of an agent ends when the agent is shut out.
#[tokio::test]
async fn ends_the_open_streams_of_a_banned_agent() {
    let ca = Ca::start().await;
    let agent = Agent::attest(&ca).await;
    let mut lists = agent.clients.watch_revocation_lists().await.unwrap();
    soon("the first lists", lists.message()).await.unwrap().unwrap();
    ca.admin().agent().ban_agent(BanAgentRequest { id: Some(id(&agent.path)) }).await.unwrap();
    soon("the stream ends", async { while let Ok(Some(_)) = lists.message().await {} }).await;
}

#[tokio::test]
async fn attests_no_banned_agent_until_it_is_evicted() {
    let ca = Ca::start().await;
    let token = ca.admin().join_token().await;
    let anyone = ca.connect_anonymously().await;
    let key = key();
    anyone.attest(&token, &key).await.unwrap();
    let agent = id(&format!("/spire/agent/join_token/{token}"));
    ca.admin().agent().ban_agent(BanAgentRequest { id: Some(agent.clone()) }).await.unwrap();
    let refusal = anyone.attest(&token, &key).await.err().unwrap();
    assert_eq!((refusal.code(), reason(&refusal)), (Code::PermissionDenied, Reason::AgentBanned));

    // A spent token opens nothing again.
    ca.admin().agent().delete_agent(DeleteAgentRequest { id: Some(agent) }).await.unwrap();
    let refusal = anyone.attest(&token, &key).await.err().unwrap();
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
}

#[tokio::test]
async fn lists_agents_in_pages_and_by_what_they_are() {
    let ca = Ca::start().await;
    let mut paths = Vec::new();
    for _ in 0..5 {
        paths.push(Agent::attest(&ca).await.path);
    }
    paths.sort();
    let request = BanAgentRequest { id: Some(id(&paths[2])) };
    ca.admin().agent().ban_agent(request).await.unwrap();

    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListAgentsRequest { page_size: 2, page_token, ..Default::default() };
        let page = ca.admin().agent().list_agents(request).await.unwrap().into_inner();
        assert!(page.agents.len() <= 2);
        found.extend(page.agents.into_iter().map(|agent| agent.id.unwrap().path));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(found, paths);

    let filter = list_agents_request::Filter { by_banned: Some(true), ..Default::default() };
    let output_mask = Some(types::AgentMask { banned: true, ..Default::default() });
    let request = ListAgentsRequest { filter: Some(filter), output_mask, ..Default::default() };
    let banned = ca.admin().agent().list_agents(request).await.unwrap().into_inner().agents;
    let only_this = types::Agent { id: Some(id(&paths[2])), banned: true, ..Default::default() };
    assert_eq!(banned, [only_this]);

    for (filter, expected) in [
        (count_agents_request::Filter::default(), 5),
        (count_agents_request::Filter { by_banned: Some(false), ..Default::default() }, 4),
        (count_agents_request::Filter { by_attestation_type: "x509pop".to_owned(), ..Default::default() }, 0),
        (
            count_agents_request::Filter {
                by_expires_before: "2020-01-01T00:00:00Z".to_owned(),
                ..Default::default()
            },
            0,
        ),
    ] {
        let request = CountAgentsRequest { filter: Some(filter) };
        assert_eq!(ca.admin().agent().count_agents(request).await.unwrap().into_inner().count, expected);
    }
}

#[rstest]
#[case::unknown_match(17, vec![unix("uid:1")])]
#[case::no_selectors(0, Vec::new())]
#[case::no_selector(0, vec![unix("")])]
#[tokio::test]
async fn refuses_a_filter_that_makes_no_sense(#[case] how: i32, #[case] selectors: Vec<types::Selector>) {
    let ca = Ca::start().await;
    let by_selector_match = Some(types::SelectorMatch { selectors, r#match: how });
    let filter = list_agents_request::Filter { by_selector_match, ..Default::default() };
    let request = ListAgentsRequest { filter: Some(filter), ..Default::default() };
    let refusal = ca.admin().agent().list_agents(request).await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
}

#[tokio::test]
async fn keeps_what_an_agent_says_of_itself() {
    let ca = Ca::start().await;
    let agent = Agent::attest(&ca).await;
    let status = PostStatusRequest { current_bundle_serial: 1, agent_version: "1.15.0".to_owned() };
    agent.clients.agent().post_status(status).await.unwrap();
    let ca = ca.restart().await;
    let request = GetAgentRequest { id: Some(id(&agent.path)), output_mask: None };
    let shown = ca.admin().agent().get_agent(request).await.unwrap().into_inner();
    assert_eq!(shown.agent_version, "1.15.0");
    let status = PostStatusRequest { agent_version: "v".repeat(256), ..Default::default() };
    let refusal = ca.connect_as(&agent.holder).await.agent().post_status(status).await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
}

#[tokio::test]
async fn leaves_admins_calls_to_admins() {
    let ca = Ca::start().await;
    let agent = Agent::attest(&ca).await;
    for clients in [&agent.clients, &ca.connect_anonymously().await] {
        let mut calls = clients.agent();
        let one = Some(id(&agent.path));
        for refusal in [
            calls.create_join_token(CreateJoinTokenRequest { ttl: 60, ..Default::default() }).await.err(),
            calls.list_agents(ListAgentsRequest::default()).await.err(),
            calls.count_agents(CountAgentsRequest::default()).await.err(),
            calls.get_agent(GetAgentRequest { id: one.clone(), output_mask: None }).await.err(),
            calls.ban_agent(BanAgentRequest { id: one.clone() }).await.err(),
            calls.delete_agent(DeleteAgentRequest { id: one }).await.err(),
        ] {
            let code = refusal.unwrap().code();
            assert!(matches!(code, Code::PermissionDenied | Code::Unauthenticated), "{code:?}");
        }
    }
}

#[tokio::test]
async fn holds_back_who_guesses_tokens_and_nobody_who_brings_one() {
    let ca = Ca::start_with(|config| config.limits.failed_attestations = 2).await;
    let mut tokens = Vec::new();
    for _ in 0..4 {
        tokens.push(ca.admin().join_token().await);
    }
    // Everybody comes from one address.
    let anyone = ca.connect_anonymously().await;
    let codes = guess(&anyone, "0123456789abcdef").await;
    assert_eq!(codes, [Code::InvalidArgument, Code::ResourceExhausted]);

    // Honest nodes join while it goes on, and ask again with their key when the answer was lost.
    for token in &tokens {
        let own = key();
        let (_, node) = join(guess(&anyone, "0123456789abcdef"), anyone.attest(token, &own)).await;
        let again = anyone.attest(token, &own).await.unwrap();
        assert_eq!(again.chain(), node.unwrap().chain());
    }

    // A token that another node used is as good as a guess: it stands in that agent's SPIFFE ID.
    let codes = guess(&anyone, &tokens[0]).await;
    assert!(codes.contains(&Code::ResourceExhausted), "{codes:?}");
}

/// Brings a token of somebody else more often than two times a second, however long each takes, and answers as what it
/// is refused.
async fn guess(anyone: &Clients, token: &str) -> Vec<Code> {
    let own = key();
    let mut outcomes = Vec::new();
    for _ in 0..3 {
        // As many calls as a stranger may have at once.
        outcomes.extend(join_all((0..8).map(|_| anyone.attest(token, &own))).await);
    }
    // What the others owe takes seconds to run off.
    outcomes.push(anyone.attest(token, &own).await);
    let mut codes: Vec<_> = outcomes.into_iter().map(|outcome| outcome.err().unwrap().code()).collect();
    codes.sort_by_key(|code| *code as i32);
    codes.dedup();
    codes
}

#[tokio::test]
async fn tells_the_audit_log_and_never_the_token() {
    let ca = Ca::start().await;
    let token = ca.admin().join_token().await;
    let anyone = ca.connect_anonymously().await;
    let agent = Agent::of(&ca, anyone.attest(&token, &key()).await.unwrap()).await;
    anyone.attest("0123456789abcdef", &key()).await.err().unwrap();
    let renewed = agent.clients.renew_agent().await.unwrap();
    let one = Some(id(&agent.path));
    ca.admin().agent().ban_agent(BanAgentRequest { id: one.clone() }).await.unwrap();
    ca.admin().agent().delete_agent(DeleteAgentRequest { id: one }).await.unwrap();

    let ca = ca.restart().await;
    let log = AuditLog::read(&ca.admin()).await;
    log.verify(&[]).unwrap();
    let whole = format!("spiffe://example.org{}", agent.path);
    let attested = log.one("agent.attest", &whole, AuditOutcome::Done);
    assert!(attested.actor.starts_with("anonymous("), "{attested:?}");
    assert_eq!(attested.details["serial"], agent.holder.leaf().serial);
    let created = &log.of("token.create")[0];
    assert_eq!(created.target, attested.details["token_sha256"]);
    assert!(!created.details.values().chain([&created.target]).any(|text| text.contains(&token)));
    assert_eq!(log.one("agent.attest", "join_token", AuditOutcome::Denied).actor, "anonymous");
    let renewal = log.one("agent.renew", &whole, AuditOutcome::Done);
    assert_eq!((renewal.actor, renewal.details["serial"].clone()), (whole.clone(), renewed.leaf().serial));
    for action in ["agent.ban", "agent.evict"] {
        assert!(log.one(action, &whole, AuditOutcome::Done).actor.starts_with("admin-socket("));
    }
}
