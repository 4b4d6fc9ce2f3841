//! All services together, and who is calling them.

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use http::Extensions;
use secplane_identity::{
    IdentitySource,
    serve::{Connection, OpenConnections, ReachedLimits},
};
use secplane_proto::{
    secplane::ca::v1::{
        audit_server::AuditServer, authority_server::AuthorityServer,
        certificates_server::CertificatesServer, revocations_server::RevocationsServer,
        trust_bundle_server::TrustBundleServer,
    },
    spire::api::server::{
        agent::v1::agent_server::AgentServer, bundle::v1::bundle_server::BundleServer,
        debug::v1::debug_server::DebugServer, entry::v1::entry_server::EntryServer,
        localauthority::v1::local_authority_server::LocalAuthorityServer,
        logger::v1::logger_server::LoggerServer, svid::v1::svid_server::SvidServer,
        trustdomain::v1::trust_domain_server::TrustDomainServer,
    },
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, service::Routes, transport::server::TcpConnectInfo};
use tonic_health::pb::health_server::HealthServer;

use super::{
    agent::AgentApi,
    agent_cards::AgentCardsApi,
    audit::AuditApi,
    authority::AuthorityApi,
    bundle::BundleApi,
    certificates::CertificatesApi,
    debug::DebugApi,
    denials::{self, Callers},
    entry::EntryApi,
    health::HealthApi,
    local_authority::LocalAuthorityApi,
    logger::LoggerApi,
    reflection::{Admission, with_reflection},
    refusal::ToStatus,
    revocations::RevocationsApi,
    svid::SvidApi,
    trust_bundle::TrustBundleApi,
    trust_domain::TrustDomainApi,
    unix_socket::AcceptedUnix,
};
use crate::{
    Config,
    access::{Access, Caller, Denied, LocalPeer, Permission},
    agents::{Agent, Agents, NotAnAgent, Standing},
    attest::JoinTokenAttestor,
    federation::{Federation, Refresher},
    issuance::Issuance,
    jwt_svids::JwtSvids,
    keys::KeyStore,
    lifecycle::Lifecycle,
    limits::{Limits, OverLimit},
    operations::{Metrics, Readiness, calls, metrics::DenialReason},
    registry::Registry,
    revocation::Revoker,
    witness::Witness,
};

/// The largest message, in bytes, that services take whose requests hold no more than a certificate request and some
/// evidence. A message is read before it is known who may send it.
const SMALL: usize = 64 * 1024;

/// What every service works with.
pub struct Services {
    /// Issues.
    pub issuance: Arc<Issuance>,
    /// Revokes.
    pub revoker: Arc<Revoker>,
    /// Where the private keys live.
    pub keys: KeyStore,
    /// Signs JWT-SVIDs.
    pub jwt_svids: Arc<JwtSvids>,
    /// The entries.
    pub registry: Arc<Registry>,
    /// The foreign trust domains.
    pub federation: Arc<Federation>,
    /// Fetches their bundles.
    pub refresher: Arc<Refresher>,
    /// The attested nodes.
    pub agents: Arc<Agents>,
    /// Lets nodes prove themselves with join tokens.
    pub join_tokens: JoinTokenAttestor,
    /// Who may do what.
    pub access: Access,
    /// How much of it.
    pub limits: Limits,
    /// The life of the authorities.
    pub lifecycle: Arc<Lifecycle>,
    /// When the daemon started.
    pub started_at: SystemTime,
    /// Takes note of denied calls.
    pub witness: Witness,
    /// Whether it runs with `--insecure`.
    pub insecure: bool,
    /// The configuration as it is in effect.
    pub settings: Arc<ArcSwap<Config>>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How many connections over TLS are open.
    pub connections: OpenConnections,
    /// How often there was no place for one over TCP.
    pub reached: ReachedLimits,
    /// Whether the daemon can do its work.
    pub readiness: Arc<Readiness>,
    /// The server's own identity.
    pub identity: IdentitySource,
    /// Ends streams when the daemon stops.
    pub shutdown: CancellationToken,
}

impl Services {
    /// The gRPC routes.
    #[must_use]
    pub fn routes(self: &Arc<Self>) -> Routes {
        let routes = Routes::new(SvidServer::new(SvidApi(Arc::clone(self))))
            .add_service(EntryServer::new(EntryApi(Arc::clone(self))))
            .add_service(BundleServer::new(BundleApi(Arc::clone(self))))
            .add_service(AgentServer::new(AgentApi(Arc::clone(self))).max_decoding_message_size(SMALL))
            .add_service(CertificatesServer::new(CertificatesApi(Arc::clone(self))))
            .add_service(AuthorityServer::new(AuthorityApi(Arc::clone(self))))
            .add_service(
                RevocationsServer::new(RevocationsApi(Arc::clone(self))).max_decoding_message_size(SMALL),
            )
            .add_service(LocalAuthorityServer::new(LocalAuthorityApi(Arc::clone(self))))
            .add_service(
                TrustBundleServer::new(TrustBundleApi(Arc::clone(self))).max_decoding_message_size(SMALL),
            )
            .add_service(TrustDomainServer::new(TrustDomainApi(Arc::clone(self))))
            .add_service(DebugServer::new(DebugApi(Arc::clone(self))))
            .add_service(LoggerServer::new(LoggerApi(Arc::clone(self))))
            .add_service(AgentCardsApi::server(Arc::clone(self)))
            .add_service(HealthServer::new(HealthApi(Arc::clone(self))))
            .add_service(AuditServer::new(AuditApi::new(Arc::clone(self))));
        let routes = self.described(routes);
        let witnessed =
            denials::witnessed(routes, self.witness.clone(), Callers::OfServices { insecure: self.insecure });
        Routes::from(calls::observed(witnessed.into_axum_router(), Arc::clone(&self.metrics)))
    }

    /// With reflection for whoever has an identity here: who has none may call next to nothing.
    fn described(self: &Arc<Self>, routes: Routes) -> Routes {
        let services = Arc::clone(self);
        let descriptors = [secplane_proto::SERVER_DESCRIPTORS, tonic_health::pb::FILE_DESCRIPTOR_SET];
        let admit = move |extensions: &Extensions| -> Result<Admission, Status> {
            let caller = services.caller_behind(extensions)?;
            services.permit(&caller, Permission::Authenticated)?;
            Ok(Box::new(()))
        };
        with_reflection(routes, &descriptors, admit, self.shutdown.clone())
    }

    /// The caller of a request, once they may do what needs `permission`.
    pub(super) fn authorize<T>(
        &self,
        request: &Request<T>,
        permission: Permission,
    ) -> Result<Caller, Status> {
        let caller = self.caller(request)?;
        self.permit(&caller, permission)?;
        Ok(caller)
    }

    /// Goes on if a caller may do what needs `permission` at this moment. What lasts asks again and again: a right can
    /// be taken back.
    pub(super) fn permit(&self, caller: &Caller, permission: Permission) -> Result<(), Status> {
        self.access.authorize(caller, permission, self.issuance.clock().now()).map_err(|denied| {
            tracing::warn!(%caller, %denied, "a call is denied");
            self.metrics.denied(denied.reason());
            denied.to_status()
        })
    }

    /// The caller of a request, whatever they may do.
    pub(super) fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        self.caller_behind(request.extensions())
    }

    fn caller_behind(&self, extensions: &Extensions) -> Result<Caller, Status> {
        Origin::of(extensions)
            .caller(self.insecure)
            .ok_or_else(|| Status::unauthenticated("the connection does not say who is calling"))
    }

    /// The agent that a caller is, once they may act as one.
    pub(super) async fn agent(&self, caller: &Caller) -> Result<Arc<Agent>, Status> {
        let now = self.issuance.clock().now();
        let mut found = self.access.agent(caller, now);
        // It may have been attested or renewed by another replica a moment ago.
        if let Err(Denied::NotAnAgent(NotAnAgent::NotAttested(id) | NotAnAgent::NotActive { id, .. })) =
            &found
        {
            self.agents.reload(id).await.map_err(|error| error.to_status())?;
            found = self.access.agent(caller, now);
        }
        let (agent, standing) = found.map_err(|denied| {
            tracing::warn!(%caller, %denied, "a call is denied");
            self.metrics.denied(denied.reason());
            denied.to_status()
        })?;
        match (standing, caller.holder()) {
            (Standing::FirstUse, Some(holder)) => {
                self.agents.settle(&agent.id, &holder.serial).await.map_err(|error| error.to_status())
            }
            _ => Ok(agent),
        }
    }

    /// Lets admins and attested agents on.
    pub(super) async fn authorize_admin_or_agent<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let caller = self.caller(request)?;
        match &caller {
            Caller::Svid { id, .. } if id.path().starts_with("/spire/agent/") => {
                self.agent(&caller).await.map(drop)
            }
            _ => self.authorize(request, Permission::Admin).map(drop),
        }
    }

    /// Goes on if the caller keeps to their limit.
    pub(super) fn within_limit(&self, outcome: Result<(), OverLimit>) -> Result<(), Status> {
        outcome.map_err(|over| {
            self.metrics.denied(DenialReason::Limited);
            over.to_status()
        })
    }
}

/// Where a request came from. Kept beside the request it costs little; the caller is made of it when they are needed.
pub(super) struct Origin {
    connection: Option<Connection>,
    local: Option<AcceptedUnix>,
    address: Option<SocketAddr>,
}

impl Origin {
    pub(super) fn of(extensions: &Extensions) -> Self {
        Self {
            connection: extensions.get().cloned(),
            local: extensions.get().cloned(),
            address: extensions.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr),
        }
    }

    /// The process on this machine.
    pub(super) fn local_peer(&self) -> Option<LocalPeer> {
        self.local.as_ref().and_then(AcceptedUnix::peer)
    }

    /// Who is there; `None` when that cannot be told.
    pub(super) fn caller(&self, insecure: bool) -> Option<Caller> {
        match (&self.connection, &self.local) {
            (Some(connection), _) => Some(Caller::of(connection)),
            (None, Some(_)) => self.local_peer().map(Caller::LocalAdmin),
            (None, None) => insecure.then_some(Caller::Insecure { address: self.address }),
        }
    }
}
