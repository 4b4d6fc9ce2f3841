//! `spire.api.server.debug.v1.Debug`, for the local admin alone.

use std::sync::Arc;

use secplane_proto::spire::api::{
    server::debug::v1::{GetInfoRequest, GetInfoResponse, debug_server::Debug, get_info_response::Cert},
    types,
};
use tonic::{Request, Response, Status};

use super::services::Services;
use crate::{access::Permission, agents::AgentFilter, instant::unix};

pub(super) struct DebugApi(pub(super) Arc<Services>);

#[tonic::async_trait]
impl Debug for DebugApi {
    async fn get_info(&self, request: Request<GetInfoRequest>) -> Result<Response<GetInfoResponse>, Status> {
        self.0.authorize(&request, Permission::LocalAdmin)?;
        let now = self.0.issuance.clock().now();
        let uptime = now.duration_since(self.0.started_at).unwrap_or_default();
        Ok(Response::new(GetInfoResponse {
            svid_chain: self.chain(),
            uptime: number(uptime.as_secs()),
            agents_count: number(self.0.agents.count(&AgentFilter::default())),
            federated_bundles_count: number(self.0.federation.bundles().len()),
            entries_count: number(self.0.registry.len()),
        }))
    }
}

impl DebugApi {
    /// The server's own certificate and what it chains through.
    fn chain(&self) -> Vec<Cert> {
        let snapshot = self.0.identity.current();
        let Some(identity) = &snapshot.identity else { return Vec::new() };
        identity
            .chain()
            .iter()
            .filter_map(|der| secplane_identity::x509::Certificate::parse(der).ok())
            .map(|certificate| Cert {
                id: certificate.spiffe_id().ok().map(|id| types::Spiffeid {
                    trust_domain: id.trust_domain().to_string(),
                    path: id.path().to_owned(),
                }),
                expires_at: unix(certificate.not_after),
                subject: certificate.subject,
            })
            .collect()
    }
}

/// A number in the form of the wire; one that is too large counts as the largest.
fn number(value: impl TryInto<i32>) -> i32 {
    value.try_into().unwrap_or(i32::MAX)
}
