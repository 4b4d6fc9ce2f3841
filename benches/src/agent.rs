//! A node agent, attested with a join token, and workload entries below it.

use std::net::SocketAddr;

use secplane_identity::{PrivateKey, TrustBundle};
use secplane_proto::spire::api::{
    server::{
        agent::v1::{
            AgentX509svidParams, AttestAgentRequest, CreateJoinTokenRequest, agent_client::AgentClient,
            attest_agent_request, attest_agent_response,
        },
        entry::v1::BatchCreateEntryRequest,
    },
    types,
};
use secplane_tests::{
    authority::TRUST_DOMAIN,
    clients::Clients,
    holder::{Holder, client_config},
};

use crate::server::Server;

/// An attested agent.
pub(crate) struct Agent {
    holder: Holder,
    bundle: TrustBundle,
    address: SocketAddr,
    id: types::Spiffeid,
}

impl Agent {
    /// Attests one at a server.
    pub(crate) async fn attest(server: &Server) -> Self {
        let admin = server.process.admin();
        let bundle = server.process.bundle().await;
        let token = AgentClient::new(admin.channel())
            .create_join_token(CreateJoinTokenRequest { ttl: 600, ..Default::default() })
            .await
            .unwrap()
            .into_inner();

        let key = PrivateKey::generate().unwrap();
        let params = attest_agent_request::Params {
            data: Some(types::AttestationData {
                r#type: "join_token".to_owned(),
                payload: token.value.into_bytes(),
            }),
            params: Some(AgentX509svidParams { csr: key.bare_request().unwrap() }),
        };
        let request = AttestAgentRequest { step: Some(attest_agent_request::Step::Params(params)) };
        let address = server.process.grpc_address;
        let anonymous = Clients::over_tls(address, client_config(&bundle, None));
        let mut answers = AgentClient::new(anonymous.channel())
            .attest_agent(tokio_stream::once(request))
            .await
            .unwrap()
            .into_inner();
        let answer = answers.message().await.unwrap().unwrap();
        let Some(attest_agent_response::Step::Result(result)) = answer.step else {
            unreachable!("a join token is not answered with a challenge")
        };
        let svid = result.svid.unwrap();
        Self { holder: Holder::new(key, svid.cert_chain), bundle, address, id: svid.id.unwrap() }
    }

    /// A connection of its own.
    pub(crate) fn connect(&self) -> Clients {
        self.connect_as(&self.holder)
    }

    /// A connection of its own to another replica.
    pub(crate) fn connect_to(&self, server: &Server) -> Clients {
        Clients::over_tls(server.process.grpc_address, client_config(&self.bundle, Some(&self.holder)))
    }

    /// A connection of somebody else's, to the same server.
    pub(crate) fn connect_as(&self, holder: &Holder) -> Clients {
        Clients::over_tls(self.address, client_config(&self.bundle, Some(holder)))
    }

    /// Registers `count` workloads below it, and answers the IDs of their entries.
    pub(crate) async fn register(&self, server: &Server, count: usize) -> Vec<String> {
        let entries = (0..count).map(|number| self.entry(number)).collect();
        let request = BatchCreateEntryRequest { entries, output_mask: None };
        let answer = server.process.admin().entry().batch_create_entry(request).await.unwrap().into_inner();
        answer.results.into_iter().map(|result| result.entry.expect("it is created").id).collect()
    }

    /// An entry below it.
    pub(crate) fn entry(&self, number: usize) -> types::Entry {
        types::Entry {
            spiffe_id: Some(types::Spiffeid {
                trust_domain: TRUST_DOMAIN.to_owned(),
                path: format!("/ns/namespace-{}/sa/workload-{number}", number % 500),
            }),
            parent_id: Some(self.id.clone()),
            selectors: vec![
                types::Selector { r#type: "k8s".to_owned(), value: format!("ns:namespace-{}", number % 500) },
                types::Selector { r#type: "k8s".to_owned(), value: format!("sa:workload-{number}") },
            ],
            ..Default::default()
        }
    }
}
