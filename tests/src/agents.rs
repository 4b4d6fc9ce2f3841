//! Node agents as they call the authority: proving themselves, and asking for their workloads' SVIDs.

use futures_util::stream;
use prost::Message;
use secplane_identity::PrivateKey;
use secplane_proto::{
    google::rpc,
    spire::api::{
        server::{
            agent::v1::{
                AgentX509svidParams, AttestAgentRequest, CreateJoinTokenRequest, RenewAgentRequest,
                attest_agent_request, attest_agent_response,
            },
            svid::v1::{BatchNewX509svidRequest, NewX509svidParams, batch_new_x509svid_response},
        },
        types::{self, permission_denied_details::Reason},
    },
};
use tonic::Status;

use crate::{
    authority::Ca,
    clients::Clients,
    entries::{self, unix},
    holder::Holder,
};

/// A node agent that proved itself.
pub struct Agent {
    /// Its certificate and key.
    pub holder: Holder,
    /// The path of its SPIFFE ID.
    pub path: String,
    /// Clients that present its certificate.
    pub clients: Clients,
}

impl Agent {
    /// Attests a new agent with a token of its own.
    ///
    /// # Panics
    /// When the authority refuses it.
    pub async fn attest(ca: &Ca) -> Self {
        let token = ca.admin().join_token().await;
        let holder =
            ca.connect_anonymously().await.attest(&token, &PrivateKey::generate().unwrap()).await.unwrap();
        Self::of(ca, holder).await
    }

    /// The agent that holds a certificate.
    ///
    /// # Panics
    /// When the certificate names no SPIFFE ID of the test's trust domain.
    pub async fn of(ca: &Ca, holder: Holder) -> Self {
        let path = holder.leaf().uris[0].strip_prefix("spiffe://example.org").unwrap().to_owned();
        let clients = ca.connect_as(&holder).await;
        Self { holder, path, clients }
    }

    /// An entry below this agent.
    #[must_use]
    pub fn entry(&self, path: &str) -> types::Entry {
        entry_below(&self.path, path)
    }
}

/// An entry below any parent.
#[must_use]
pub fn entry_below(parent: &str, path: &str) -> types::Entry {
    types::Entry {
        spiffe_id: Some(entries::id(path)),
        parent_id: Some(entries::id(parent)),
        selectors: vec![unix("uid:1")],
        ..Default::default()
    }
}

impl Clients {
    /// Creates a random join token.
    ///
    /// # Panics
    /// When the authority refuses it.
    pub async fn join_token(&self) -> String {
        let request = CreateJoinTokenRequest { ttl: 600, ..Default::default() };
        self.agent().create_join_token(request).await.unwrap().into_inner().value
    }

    /// Proves to be a node, with a join token and the key that the node will use.
    ///
    /// # Errors
    /// As the authority says.
    pub async fn attest(&self, token: &str, key: &PrivateKey) -> Result<Holder, Status> {
        let csr = key.bare_request().unwrap();
        self.attest_with("join_token", token.as_bytes(), csr)
            .await
            .map(|chain| Holder::new(key.clone(), chain))
    }

    /// Proves to be a node with any evidence, and answers the chain.
    ///
    /// # Errors
    /// As the authority says.
    pub async fn attest_with(
        &self,
        kind: &str,
        payload: &[u8],
        csr: Vec<u8>,
    ) -> Result<Vec<Vec<u8>>, Status> {
        let data = types::AttestationData { r#type: kind.to_owned(), payload: payload.to_vec() };
        let params =
            attest_agent_request::Params { data: Some(data), params: Some(AgentX509svidParams { csr }) };
        let request = AttestAgentRequest { step: Some(attest_agent_request::Step::Params(params)) };
        let mut answers = self.agent().attest_agent(stream::iter([request])).await?.into_inner();
        let answer = answers.message().await?.expect("an answer");
        let Some(attest_agent_response::Step::Result(result)) = answer.step else { panic!("{answer:?}") };
        assert!(!result.reattestable);
        Ok(result.svid.unwrap().cert_chain)
    }

    /// Renews an agent's SVID with a new key.
    ///
    /// # Errors
    /// As the authority says.
    pub async fn renew_agent(&self) -> Result<Holder, Status> {
        let key = PrivateKey::generate().unwrap();
        let params = Some(AgentX509svidParams { csr: key.bare_request().unwrap() });
        let renewed = self.agent().renew_agent(RenewAgentRequest { params }).await?.into_inner();
        Ok(Holder::new(key, renewed.svid.unwrap().cert_chain))
    }

    /// Asks for SVIDs of entries, each for a new key.
    ///
    /// # Errors
    /// As the authority says of the whole call.
    pub async fn new_svids(
        &self,
        entry_ids: &[&str],
    ) -> Result<Vec<batch_new_x509svid_response::Result>, Status> {
        let params = entry_ids
            .iter()
            .map(|id| NewX509svidParams {
                entry_id: (*id).to_owned(),
                csr: PrivateKey::generate().unwrap().bare_request().unwrap(),
            })
            .collect();
        let answer = self.svid().batch_new_x509svid(BatchNewX509svidRequest { params }).await?;
        Ok(answer.into_inner().results)
    }
}

/// The reason that agents act on, out of the details of a refusal.
///
/// # Panics
/// When the refusal has none.
#[must_use]
pub fn reason(refusal: &Status) -> Reason {
    let status = rpc::Status::decode(refusal.details()).unwrap();
    let details = &status.details[0];
    assert_eq!(details.type_url, "type.googleapis.com/spire.api.types.PermissionDeniedDetails");
    types::PermissionDeniedDetails::decode(details.value.as_slice()).unwrap().reason()
}
