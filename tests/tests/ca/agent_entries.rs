//! Which entries an agent is told of, and how it follows them.

use secplane_proto::spire::api::{
    server::bundle::v1::GetFederatedBundleRequest,
    server::entry::v1::{
        BatchCreateEntryRequest, GetAuthorizedEntriesRequest, SyncAuthorizedEntriesRequest,
        SyncAuthorizedEntriesResponse,
    },
    types::{self, EntryMask},
};
use secplane_tests::{
    agents::{Agent, entry_below},
    authority::Ca,
    soon,
};
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};

/// One sync under way.
struct Sync {
    requests: mpsc::Sender<SyncAuthorizedEntriesRequest>,
    answers: Streaming<SyncAuthorizedEntriesResponse>,
}

impl Sync {
    async fn begin(agent: &Agent, first: SyncAuthorizedEntriesRequest) -> Result<Self, Status> {
        let (requests, receiver) = mpsc::channel(4);
        requests.send(first).await.unwrap();
        let receiver = futures_util::stream::unfold(receiver, async |mut receiver| {
            receiver.recv().await.map(|request| (request, receiver))
        });
        let answers = agent.clients.entry().sync_authorized_entries(receiver).await?.into_inner();
        Ok(Self { requests, answers })
    }

    async fn next(&mut self) -> Result<Option<SyncAuthorizedEntriesResponse>, Status> {
        soon("an answer of the sync", self.answers.message()).await
    }

    async fn ask(&mut self, ids: Vec<String>) {
        let request = SyncAuthorizedEntriesRequest { ids, output_mask: None };
        self.requests.send(request).await.unwrap();
    }
}

async fn create_many(ca: &Ca, agent: &Agent, count: usize) -> Vec<types::Entry> {
    let mut created = Vec::new();
    let all: Vec<_> = (0..count).map(|n| agent.entry(&format!("/many/{n}"))).collect();
    for chunk in all.chunks(500) {
        let request = BatchCreateEntryRequest { entries: chunk.to_vec(), output_mask: None };
        let results = ca.admin().entry().batch_create_entry(request).await.unwrap().into_inner().results;
        created.extend(results.into_iter().map(|result| result.entry.unwrap()));
    }
    created.sort_by(|a, b| a.id.cmp(&b.id));
    created
}

#[tokio::test]
async fn tells_an_agent_its_entries_and_no_others() {
    let ca = Ca::start().await;
    let (agent, other) = (Agent::attest(&ca).await, Agent::attest(&ca).await);
    let mut mine = vec![
        ca.admin().create_entry(agent.entry("/mine")).await,
        ca.admin().create_entry(entry_below("/mine", "/below")).await,
    ];
    mine.sort_by(|a, b| a.id.cmp(&b.id));
    ca.admin().create_entry(other.entry("/theirs")).await;
    let over = types::Entry { expires_at: 1, ..agent.entry("/over") };
    ca.admin().create_entry(over).await;

    let request = GetAuthorizedEntriesRequest { output_mask: None };
    let all = agent.clients.entry().get_authorized_entries(request).await.unwrap().into_inner().entries;
    assert_eq!(all, mine);
    let mask = EntryMask { spiffe_id: true, ..Default::default() };
    let request = GetAuthorizedEntriesRequest { output_mask: Some(mask) };
    let masked = agent.clients.entry().get_authorized_entries(request).await.unwrap().into_inner().entries;
    assert_eq!(
        masked[0],
        types::Entry { id: mine[0].id.clone(), spiffe_id: mine[0].spiffe_id.clone(), ..Default::default() }
    );

    let mut sync = Sync::begin(&agent, SyncAuthorizedEntriesRequest::default()).await.unwrap();
    let first = sync.next().await.unwrap().unwrap();
    assert_eq!((first.entries, first.entry_revisions.len(), first.more), (mine, 0, false));
    assert!(sync.next().await.unwrap().is_none(), "a short sync is over");
}

#[tokio::test]
async fn pages_revisions_and_then_what_is_asked_for() {
    let ca = Ca::start().await;
    let agent = Agent::attest(&ca).await;
    let created = create_many(&ca, &agent, 1200).await;
    let mut sync = Sync::begin(&agent, SyncAuthorizedEntriesRequest::default()).await.unwrap();
    let mut revisions = Vec::new();
    for (length, more) in [(500, true), (500, true), (200, false)] {
        let page = sync.next().await.unwrap().unwrap();
        assert_eq!((page.entry_revisions.len(), page.more, page.entries.len()), (length, more, 0));
        revisions.extend(page.entry_revisions);
    }
    let expected: Vec<_> =
        created.iter().map(|entry| (&entry.id, entry.revision_number, entry.created_at)).collect();
    let told: Vec<_> = revisions.iter().map(|r| (&r.id, r.revision_number, r.created_at)).collect();
    assert_eq!(told, expected);

    sync.ask(vec![created[7].id.clone(), "nobody".to_owned(), created[3].id.clone()]).await;
    let page = sync.next().await.unwrap().unwrap();
    assert_eq!(
        (page.entries.as_slice(), page.more),
        ([created[7].clone(), created[3].clone()].as_slice(), false)
    );

    sync.ask(created.iter().map(|entry| entry.id.clone()).collect()).await;
    let mut entries = Vec::new();
    loop {
        let page = sync.next().await.unwrap().unwrap();
        assert!(page.entries.len() <= 500);
        entries.extend(page.entries);
        if !page.more {
            break;
        }
    }
    assert_eq!(entries, created);
    let Sync { requests, mut answers } = sync;
    drop(requests);
    assert!(soon("the sync ends", answers.message()).await.unwrap().is_none());
}

#[tokio::test]
async fn refuses_a_sync_that_begins_wrongly() {
    let ca = Ca::start().await;
    let agent = Agent::attest(&ca).await;
    let mask = EntryMask { spiffe_id: true, ..Default::default() };
    for (first, said) in [
        (
            SyncAuthorizedEntriesRequest { ids: vec!["a".to_owned()], output_mask: None },
            "specifying IDs on initial request is not supported",
        ),
        (
            SyncAuthorizedEntriesRequest { ids: Vec::new(), output_mask: Some(mask) },
            "revision number cannot be masked",
        ),
    ] {
        let mut sync = Sync::begin(&agent, first).await.unwrap();
        let refusal = sync.next().await.unwrap_err();
        assert_eq!((refusal.code(), refusal.message()), (Code::InvalidArgument, said));
    }
}

#[tokio::test]
async fn ends_the_sync_of_an_agent_that_is_evicted() {
    let ca = Ca::start().await;
    let agent = Agent::attest(&ca).await;
    create_many(&ca, &agent, 501).await;
    let mut sync = Sync::begin(&agent, SyncAuthorizedEntriesRequest::default()).await.unwrap();
    while sync.next().await.unwrap().unwrap().more {}
    let request = secplane_proto::spire::api::server::agent::v1::DeleteAgentRequest {
        id: Some(secplane_tests::entries::id(&agent.path)),
    };
    ca.admin().agent().delete_agent(request).await.unwrap();
    // Its SVID is revoked with it, so the connection ends under the sync, whatever the agent asks.
    let end = sync.next().await;
    assert!(end.is_err(), "{end:?}");
}

#[tokio::test]
async fn tells_entries_to_attested_agents_alone() {
    let ca = Ca::start().await;
    let workload = ca.admin().mint("/a", 0).await.unwrap();
    for clients in [ca.admin(), ca.connect_as(&workload).await] {
        let request = GetAuthorizedEntriesRequest::default();
        let refusal = clients.entry().get_authorized_entries(request).await.unwrap_err();
        assert_eq!(refusal.code(), Code::PermissionDenied, "{refusal}");
    }
}

#[tokio::test]
async fn lets_agents_read_federated_bundles() {
    let ca = Ca::start().await;
    let agent = Agent::attest(&ca).await;
    let request = GetFederatedBundleRequest { trust_domain: "other.example".to_owned(), output_mask: None };
    let refusal = agent.clients.bundle().get_federated_bundle(request).await.unwrap_err();
    assert_eq!(refusal.code(), Code::NotFound, "there is none, but it may ask: {refusal}");
}
