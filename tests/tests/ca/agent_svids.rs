//! SVIDs for an agent's workloads.

use secplane_identity::PrivateKey;
use secplane_proto::spire::api::{
    server::svid::v1::{
        BatchNewWitsvidRequest, BatchNewX509svidRequest, NewJwtsvidRequest, NewX509svidParams,
    },
    types,
};
use secplane_tests::{
    agents::{Agent, entry_below},
    authority::Ca,
    holder::Holder,
    requests,
};
use tonic::Code;

fn params(entry_id: &str, csr: Vec<u8>) -> NewX509svidParams {
    NewX509svidParams { entry_id: entry_id.to_owned(), csr }
}

#[tokio::test]
async fn issues_what_entries_grant() {
    let ca = Ca::start().await;
    let agent = Agent::attest(&ca).await;
    let mut wanted = agent.entry("/a");
    wanted.dns_names = vec!["a.example.org".to_owned()];
    wanted.x509_svid_ttl = 60;
    wanted.hint = "main".to_owned();
    let entry = ca.admin().create_entry(wanted).await;

    let key = PrivateKey::generate().unwrap();
    let csr = requests::naming(&key, &["spiffe://example.org/a"]);
    let request = BatchNewX509svidRequest { params: vec![params(&entry.id, csr)] };
    let mut results = agent.clients.svid().batch_new_x509svid(request).await.unwrap().into_inner().results;
    let result = results.remove(0);
    assert_eq!(result.status.unwrap().code, 0);
    let svid = result.svid.unwrap();
    assert_eq!((svid.id, svid.hint.as_str()), (entry.spiffe_id, "main"));
    assert_eq!(svid.cert_chain.len(), 2, "leaf and issuing CA, never the root");
    let workload = Holder::new(key, svid.cert_chain);
    let leaf = workload.leaf();
    assert_eq!(
        (leaf.uris.as_slice(), leaf.dns_names.as_slice()),
        (["spiffe://example.org/a".to_owned()].as_slice(), ["a.example.org".to_owned()].as_slice())
    );
    let record = ca.admin().record(leaf.serial).await.unwrap();
    assert_eq!(record.entry_id, entry.id);
    assert_eq!(record.requester, format!("spiffe://example.org{}", agent.path));
    assert_eq!(record.not_after - record.issued_at, 60);
    workload.knock(ca.grpc_address(), &ca.bundle().await).await.unwrap();
}

#[tokio::test]
async fn gives_each_item_a_status_of_its_own_in_order() {
    let ca = Ca::start().await;
    let (agent, other) = (Agent::attest(&ca).await, Agent::attest(&ca).await);
    let mine = ca.admin().create_entry(agent.entry("/mine")).await;
    let theirs = ca.admin().create_entry(other.entry("/theirs")).await;
    let csr = || PrivateKey::generate().unwrap().bare_request().unwrap();
    let foreign_name = requests::filled(|params| {
        params.subject_alt_names =
            vec![rcgen::SanType::URI("spiffe://example.org/admin".try_into().unwrap())];
    });
    let items = vec![
        (params(&mine.id, csr()), Code::Ok, "OK"),
        (params(&theirs.id, csr()), Code::NotFound, "entry not found or not authorized"),
        (params("", csr()), Code::InvalidArgument, "missing entry ID"),
        (params(&mine.id, Vec::new()), Code::InvalidArgument, "missing CSR"),
        (params("nothing-of-that-name", csr()), Code::NotFound, "entry not found or not authorized"),
        (params("no/such/form", csr()), Code::NotFound, "entry not found or not authorized"),
        (params(&mine.id, b"nonsense".to_vec()), Code::InvalidArgument, "malformed CSR"),
        (params(&mine.id, foreign_name), Code::PermissionDenied, "was not granted"),
        (params(&mine.id, csr()), Code::Ok, "OK"),
    ];
    let request = BatchNewX509svidRequest { params: items.iter().map(|(item, ..)| item.clone()).collect() };
    let results = agent.clients.svid().batch_new_x509svid(request).await.unwrap().into_inner().results;
    assert_eq!(results.len(), items.len());
    for (result, (_, code, said)) in results.into_iter().zip(items) {
        let status = result.status.unwrap();
        assert_eq!(status.code, i32::from(code), "{status:?}");
        assert!(status.message.contains(said), "{status:?}");
        assert_eq!(result.svid.is_some(), code == Code::Ok);
    }
}

#[tokio::test]
async fn follows_entries_from_parent_to_parent() {
    let ca = Ca::start().await;
    let agent = Agent::attest(&ca).await;
    let between = ca.admin().create_entry(agent.entry("/between")).await;
    let below = ca.admin().create_entry(entry_below("/between", "/below")).await;
    let elsewhere = ca.admin().create_entry(entry_below("/elsewhere", "/not-mine")).await;
    let ids = [between.id.as_str(), &below.id, &elsewhere.id];
    let results = agent.clients.new_svids(&ids).await.unwrap();
    let codes: Vec<_> = results.iter().map(|result| result.status.as_ref().unwrap().code).collect();
    assert_eq!(codes, [Code::Ok, Code::Ok, Code::NotFound].map(i32::from));
}

#[tokio::test]
async fn issues_nothing_for_an_entry_that_is_over() {
    let ca = Ca::start().await;
    let agent = Agent::attest(&ca).await;
    let over = types::Entry { expires_at: 1, ..agent.entry("/over") };
    let over = ca.admin().create_entry(over).await;
    let gone = ca.admin().create_entry(agent.entry("/gone")).await;
    ca.admin().delete_entry(&gone).await;
    let results = agent.clients.new_svids(&[&over.id, &gone.id]).await.unwrap();
    for result in results {
        assert_eq!(result.status.unwrap().code, i32::from(Code::NotFound));
    }
}

#[tokio::test]
async fn issues_jwt_svids_for_entries_of_the_agent() {
    let ca = Ca::start().await;
    let (agent, other) = (Agent::attest(&ca).await, Agent::attest(&ca).await);
    let mine = ca.admin().create_entry(types::Entry { jwt_svid_ttl: 30, ..agent.entry("/mine") }).await;
    let theirs = ca.admin().create_entry(other.entry("/theirs")).await;
    let ask = async |entry_id: &str, audience: &[&str]| {
        let audience = audience.iter().map(|name| (*name).to_owned()).collect();
        agent.clients.svid().new_jwtsvid(NewJwtsvidRequest { entry_id: entry_id.to_owned(), audience }).await
    };
    let svid = ask(&mine.id, &["db"]).await.unwrap().into_inner().svid.unwrap();
    assert_eq!(svid.id, mine.spiffe_id);
    assert_eq!(svid.token.split('.').count(), 3);
    assert_eq!(svid.expires_at - svid.issued_at, 30);
    for (entry_id, audience, code, said) in [
        (theirs.id.as_str(), ["db"].as_slice(), Code::NotFound, "entry not found or not authorized"),
        ("", &["db"], Code::InvalidArgument, "missing entry ID"),
        (&mine.id, &[], Code::InvalidArgument, "audience"),
    ] {
        let refusal = ask(entry_id, audience).await.unwrap_err();
        assert_eq!(refusal.code(), code, "{refusal}");
        assert!(refusal.message().contains(said), "{refusal}");
    }
}

#[tokio::test]
async fn issues_to_attested_agents_alone() {
    let ca = Ca::start().await;
    let workload = ca.admin().mint("/spiffe-but-no-agent", 0).await.unwrap();
    for clients in [ca.admin(), ca.connect_as(&workload).await] {
        let refusal = clients.new_svids(&["any"]).await.unwrap_err();
        assert_eq!(refusal.code(), Code::PermissionDenied, "{refusal}");
        let refusal = clients.svid().batch_new_witsvid(BatchNewWitsvidRequest::default()).await.unwrap_err();
        assert_eq!(refusal.code(), Code::PermissionDenied, "{refusal}");
    }
}

#[tokio::test]
async fn fills_a_whole_batch_and_refuses_a_larger_one() {
    let ca = Ca::start().await;
    let agent = Agent::attest(&ca).await;
    let entry = ca.admin().create_entry(agent.entry("/a")).await;
    let csr = PrivateKey::generate().unwrap().bare_request().unwrap();
    let batch = |size: usize| BatchNewX509svidRequest { params: vec![params(&entry.id, csr.clone()); size] };
    let results = agent.clients.svid().batch_new_x509svid(batch(500)).await.unwrap().into_inner().results;
    let mut serials: Vec<_> = results
        .into_iter()
        .map(|result| {
            let chain = result.svid.expect("each is issued").cert_chain;
            secplane_identity::x509::Certificate::parse(&chain[0]).unwrap().serial
        })
        .collect();
    serials.sort();
    serials.dedup();
    assert_eq!(serials.len(), 500);

    let refusal = agent.clients.svid().batch_new_x509svid(batch(501)).await.unwrap_err();
    assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal}");
    let refusal = agent.clients.svid().batch_new_x509svid(batch(0)).await.unwrap_err();
    assert_eq!((refusal.code(), refusal.message()), (Code::InvalidArgument, "missing parameters"));
}

#[tokio::test]
async fn holds_an_agent_to_its_rate_and_no_other() {
    let ca = Ca::start_with(|config| config.limits.signatures = 10).await;
    let (busy, other) = (Agent::attest(&ca).await, Agent::attest(&ca).await);
    let refusal = busy.clients.new_svids(&["none"; 11]).await.unwrap_err();
    assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal}");
    let calls = (0..30).map(|_| busy.clients.new_svids(&["none"; 10]));
    let results = futures_util::future::join_all(calls).await;
    let refused: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    assert!(!refused.is_empty());
    assert!(refused.iter().all(|refusal| refusal.code() == Code::ResourceExhausted), "{refused:?}");
    other.clients.new_svids(&["none"; 10]).await.unwrap();
}
