//! All services together, and who is calling them.

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use http::Extensions;
use secplane_identity::{IdentitySource, serve::Connection};
use secplane_proto::{
    secplane::ca::v1::{
        audit_server::AuditServer, authority_server::AuthorityServer,
        certificates_server::CertificatesServer, revocations_server::RevocationsServer,
        trust_bundle_server::TrustBundleServer,
    },
    spire::api::server::{
        bundle::v1::bundle_server::BundleServer, debug::v1::debug_server::DebugServer,
        entry::v1::entry_server::EntryServer,
        localauthority::v1::local_authority_server::LocalAuthorityServer,
        logger::v1::logger_server::LoggerServer, svid::v1::svid_server::SvidServer,
    },
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, service::Routes, transport::server::TcpConnectInfo};
use tonic_health::pb::health_server::HealthServer;

use super::{
    audit::AuditApi, authority::AuthorityApi, bundle::BundleApi, certificates::CertificatesApi,
    debug::DebugApi, denials, entry::EntryApi, health::HealthApi, local_authority::LocalAuthorityApi,
    logger::LoggerApi, refusal::ToStatus, revocations::RevocationsApi, svid::SvidApi,
    trust_bundle::TrustBundleApi, unix_socket::AcceptedUnix,
};
use crate::{
    Config,
    access::{Access, Caller, Permission},
    issuance::Issuance,
    jwt_svids::JwtSvids,
    keys::KeyStore,
    lifecycle::Lifecycle,
    operations::{Metrics, Readiness, calls},
    registry::Registry,
    revocation::Revoker,
    witness::Witness,
};

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
    /// Who may do what.
    pub access: Access,
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
            .add_service(CertificatesServer::new(CertificatesApi(Arc::clone(self))))
            .add_service(AuthorityServer::new(AuthorityApi(Arc::clone(self))))
            .add_service(RevocationsServer::new(RevocationsApi(Arc::clone(self))))
            .add_service(LocalAuthorityServer::new(LocalAuthorityApi(Arc::clone(self))))
            .add_service(TrustBundleServer::new(TrustBundleApi(Arc::clone(self))))
            .add_service(DebugServer::new(DebugApi(Arc::clone(self))))
            .add_service(LoggerServer::new(LoggerApi(Arc::clone(self))))
            .add_service(HealthServer::new(HealthApi(Arc::clone(self))))
            .add_service(AuditServer::new(AuditApi::new(Arc::clone(self))));
        let witnessed = denials::witnessed(routes, self.witness.clone(), self.insecure);
        Routes::from(calls::observed(witnessed.into_axum_router(), Arc::clone(&self.metrics)))
    }

    /// The caller of a request, once they may do what needs `permission`.
    pub(super) fn authorize<T>(
        &self,
        request: &Request<T>,
        permission: Permission,
    ) -> Result<Caller, Status> {
        let caller = caller_of(request, self.insecure)
            .ok_or_else(|| Status::unauthenticated("the connection does not say who is calling"))?;
        self.access.authorize(&caller, permission, self.issuance.clock().now()).map_err(|denied| {
            tracing::warn!(%caller, %denied, "a call is denied");
            self.metrics.denied(denied.reason());
            denied.to_status()
        })?;
        Ok(caller)
    }
}

/// Who sent a request, by the connection that it came over; `None` when that cannot be told.
pub fn caller_of<T>(request: &Request<T>, insecure: bool) -> Option<Caller> {
    Origin::of(request.extensions()).caller(insecure)
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

    /// Who is there; `None` when that cannot be told.
    pub(super) fn caller(&self, insecure: bool) -> Option<Caller> {
        match (&self.connection, &self.local) {
            (Some(connection), _) => Some(Caller::of(connection)),
            (None, Some(local)) => local.peer().map(Caller::LocalAdmin),
            (None, None) => insecure.then_some(Caller::Insecure { address: self.address }),
        }
    }
}
