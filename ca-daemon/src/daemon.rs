//! The whole daemon: what is started in which order, and how it ends.

mod data_dir;
mod error;
mod serving;

use std::{future::Future, net::SocketAddr, path::Path, sync::Arc};

use arc_swap::ArcSwap;
use secplane_configuration::connections;
use secplane_identity::{
    Fingerprint, IdentityPublisher, IdentitySource, TrustDomain,
    serve::{ConnectionLimits, OpenConnections, ReachedLimits, plain},
};
use tokio::{net::TcpListener, sync::broadcast, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

pub(crate) use self::data_dir::{DataDirLock, take_data_dir};
pub use self::error::{RunError, StartError};
use self::serving::{
    Counted, listen_for_operations, serve_insecure, serve_operations, serve_tls, serve_unix,
};
use crate::{
    access::{Access, Caller, LocalPeer},
    agent::{self, Agent, WorkloadApi},
    agents::Agents,
    api::{Callers, Services, SocketLimits, UnixSocket, witnessed},
    attest::JoinTokenAttestor,
    audit::{Action, Event, LogKey},
    config::{Config, ConfigError},
    federation::{Duty, Federation, Fetcher, Refresher},
    following::Followers,
    founding::{Founded, found_below},
    instant::Clock,
    issuance::Issuance,
    jwt_svids::{JwtLives, JwtSvids},
    keys::{KeyStorageKind, KeyStore, RowMac},
    lifecycle::{Lifecycle, Vault},
    limits::Limits,
    operations::{
        Metrics, Readiness,
        backup::{half_restored, record_restore},
        calls,
        metrics::Listener,
    },
    pruning::Pruning,
    registry::Registry,
    replica::replica_id,
    revocation::{Revoker, Signers, Upkeep},
    rotation::Rotation,
    store::{Notice, Store},
    upstream,
    witness::{Recorder, Witness},
};

/// Whoever may open the admin socket may do everything: only its owner.
const ADMIN_SOCKET_MODE: u32 = 0o600;
/// Whoever opens it is trusted; the limit is for programs that forget to close.
const ADMIN_SOCKET_LIMITS: SocketLimits = SocketLimits { connections: 512, of_one_user: 512 };
/// Any user may ask who they are.
const WORKLOAD_SOCKET_MODE: u32 = 0o777;
/// Each workload has a connection; no user may take more than half of them.
const WORKLOAD_SOCKET_LIMITS: SocketLimits = SocketLimits { connections: 8192, of_one_user: 4096 };

/// A daemon that is bound and ready, but does not serve yet.
pub struct CaDaemon {
    config: Config,
    grpc: TcpListener,
    grpc_address: SocketAddr,
    admin: UnixSocket,
    workload: UnixSocket,
    operations: Option<(TcpListener, SocketAddr)>,
    root_fingerprint: Fingerprint,
    is_new: bool,
    services: Arc<Services>,
    recorder: Recorder,
    agent: Arc<Agent>,
    rotation: Rotation,
    upkeep: Upkeep,
    identity: IdentitySource,
    store: Store,
    notices: broadcast::Receiver<Notice>,
    shutdown: CancellationToken,
    /// Held for as long as the daemon lives.
    _lock: DataDirLock,
}

impl CaDaemon {
    /// Opens the data folder, makes or finds the authority, and binds every socket.
    ///
    /// # Errors
    /// Names what is in the way and what to do.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::start_with_clock(config, Clock::system()).await
    }

    /// As [`CaDaemon::start`], by another clock.
    ///
    /// # Errors
    /// As [`CaDaemon::start`].
    pub async fn start_with_clock(config: Config, clock: Clock) -> Result<Self, StartError> {
        config.check()?;
        let lock = take_data_dir(&config.data_dir)?;
        if let Some(files) = half_restored(&config.data_dir) {
            return Err(StartError::HalfRestored(files));
        }
        let replica = replica_id(&config.data_dir)
            .map_err(|source| StartError::DataDir { path: config.data_dir.clone(), source })?;
        let metrics = Arc::new(Metrics::new());
        let Kept { store, keys, row_mac } = open_store(&config, &replica, &clock, &metrics).await?;

        let vault = Vault {
            trust_domain: config.trust_domain.clone(),
            replica: replica.clone(),
            store: store.clone(),
            keys: keys.clone(),
            mac: row_mac.clone(),
            lifetimes: ArcSwap::from_pointee(config.authority_lifetimes()),
            crl_url: config.crl.url.clone(),
            clock: clock.clone(),
        };
        let Founded { issuing, bundle, authorities, is_new } =
            found_below(&vault, config.upstream_folder().map(Path::to_owned)).await?;
        let domain_ca = Arc::clone(&authorities.domain_ca);
        let root_fingerprint = domain_ca.root_fingerprint();
        let revoker =
            Revoker::open(config.trust_domain.clone(), store.clone(), row_mac.clone(), clock.clone()).await?;
        let signers = Signers::new(config.trust_domain.clone(), keys.clone());
        let upkeep = Upkeep::new(Arc::clone(&revoker), signers, config.crl.validity);
        upkeep.begin().await?;
        let issuance = Arc::new(Issuance::new(
            issuing,
            bundle,
            config.lifetimes(),
            Arc::clone(revoker.revoked()),
            store.clone(),
            row_mac.clone(),
            clock.clone(),
        ));
        let lives = JwtLives::new(keys.clone(), replica.clone());
        let jwt_svids = Arc::new(JwtSvids::new(config.jwt_settings(), lives, store.clone(), clock.clone()));
        // Before anything is loaded: what another replica changes from here on is followed.
        let notices = store.changes();
        let own = config.trust_domain.clone();
        let registry = Arc::new(Registry::load(own.clone(), store.clone(), row_mac.clone()).await?);
        let federation = Arc::new(Federation::load(own, store.clone(), row_mac.clone()).await?);
        let agents = Agents::load(store.clone(), row_mac).await?;
        let server_names = config
            .dns_names()
            .map_err(|error| ConfigError::Invalid { key: "server_names", reason: error.to_string() })?;
        let lifecycle = Lifecycle::new(
            vault,
            config.lifecycle(),
            Arc::clone(&issuance),
            Arc::clone(&jwt_svids),
            authorities,
        );
        if let Some(folder) = config.upstream_folder() {
            upstream::follow(&lifecycle, folder.to_owned()).await?;
        }
        let (rotation, identity) =
            Rotation::start(Arc::clone(&issuance), Arc::clone(&lifecycle), server_names).await?;

        // Before anybody connects: whoever was revoked in an earlier life of the daemon stays so.
        let revocations = Arc::clone(&revoker.revoked().changes().borrow());
        rotation.publisher().publish_revocations(revocations);

        let Listeners { grpc, grpc_address, admin, workload, operations } = listen(&config).await?;

        let shutdown = CancellationToken::new();
        let agent_id = config.agent_id().map_err(|error| ConfigError::Invalid {
            key: "workload_api.agent_path",
            reason: error.to_string(),
        })?;
        let settings = Arc::new(ArcSwap::from_pointee(config.clone()));
        let served_from = agent::Authority {
            registry: Arc::clone(&registry),
            federation: Arc::clone(&federation),
            issuance: Arc::clone(&issuance),
            revoker: Arc::clone(&revoker),
            jwt_svids: Arc::clone(&jwt_svids),
        };
        let agent =
            Agent::new(agent_id, served_from, config.keys.kind, Arc::clone(&settings), shutdown.clone());
        let fetcher = Fetcher::new(config.federation.web_roots.clone());
        let duty = Duty::new(store.replica().to_owned(), store.clone(), clock.clone());
        let refresher = Arc::new(Refresher::new(Arc::clone(&federation), fetcher, duty));
        let readiness = Arc::new(Readiness::new(replica, Arc::clone(&issuance), identity.clone()));
        let (witness, recorder) = Witness::new(store.clone());
        let services = Arc::new(Services {
            settings,
            metrics,
            connections: OpenConnections::default(),
            reached: ReachedLimits::set_in(connections::SECTION),
            readiness,
            identity: identity.clone(),
            witness,
            access: Access::new(Arc::clone(&registry), Arc::clone(&agents), Arc::clone(revoker.revoked())),
            limits: Limits::new(&config.limits),
            join_tokens: JoinTokenAttestor::new(
                Arc::clone(&agents),
                Arc::clone(&issuance),
                Arc::clone(&registry),
            ),
            agents,
            revoker,
            issuance,
            keys,
            jwt_svids,
            registry,
            federation,
            refresher,
            lifecycle,
            started_at: clock.now(),
            insecure: config.insecure,
            shutdown: shutdown.clone(),
        });
        tracing::info!(
            trust_domain = %config.trust_domain,
            root_sha256 = %root_fingerprint,
            first_start = is_new,
            grpc = %grpc_address,
            "the authority is ready"
        );
        if config.insecure {
            tracing::warn!(
                "INSECURE: gRPC on {grpc_address} has no TLS and every caller is an admin; for development only"
            );
        }
        Ok(Self {
            config,
            grpc,
            grpc_address,
            admin,
            workload,
            operations,
            root_fingerprint,
            is_new,
            services,
            recorder,
            agent,
            rotation,
            upkeep,
            identity,
            store,
            notices,
            shutdown,
            _lock: lock,
        })
    }

    /// Where gRPC listens.
    #[must_use]
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    /// The admin socket.
    #[must_use]
    pub fn admin_socket(&self) -> &Path {
        self.admin.path()
    }

    /// The Workload API's socket.
    #[must_use]
    pub fn workload_api_socket(&self) -> &Path {
        self.workload.path()
    }

    /// Where health and metrics are served; `None` when they are not.
    #[must_use]
    pub fn operations_address(&self) -> Option<SocketAddr> {
        self.operations.as_ref().map(|(_, address)| *address)
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.config.trust_domain
    }

    /// The SHA-256 of the root certificate.
    #[must_use]
    pub fn root_fingerprint(&self) -> Fingerprint {
        self.root_fingerprint
    }

    /// Whether this start made the root.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// The services, for work that needs no socket.
    #[must_use]
    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// Serves until `shutdown`, then lets calls in flight end and closes the database.
    ///
    /// # Errors
    /// When a listener fails. Everything else is stopped then, too.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), RunError> {
        let Self {
            config,
            grpc,
            admin,
            workload,
            operations,
            services,
            agent,
            rotation,
            upkeep,
            identity,
            store,
            recorder,
            notices,
            ..
        } = self;
        let stop = self.shutdown;
        store.record(started(&config, self.grpc_address)).await.map_err(RunError::Audit)?;
        let last_record = CancellationToken::new();
        let recording = tokio::spawn(recorder.run(last_record.clone()));
        let mut tasks = JoinSet::new();

        tasks.spawn(upkeep_task(upkeep, rotation.publisher(), stop.clone()));
        tasks.spawn(rotation_task(rotation, stop.clone()));
        let followers = Followers {
            registry: Arc::clone(&services.registry),
            agents: Arc::clone(&services.agents),
            federation: Arc::clone(&services.federation),
        };
        tasks.spawn(until_stopped(followers.run(notices, stop.clone()), stop.clone()));
        let pruning = Pruning {
            replica: store.replica().to_owned(),
            store: store.clone(),
            registry: Arc::clone(&services.registry),
            agents: Arc::clone(&services.agents),
            settings: Arc::clone(&services.settings),
            clock: services.issuance.clock().clone(),
        };
        tasks.spawn(until_stopped(pruning.run(stop.clone()), stop.clone()));
        let refreshing = Arc::clone(&services.refresher).run(stop.clone());
        tasks.spawn(until_stopped(refreshing, stop.clone()));
        let counted = |listener| Counted { metrics: Arc::clone(&services.metrics), listener };
        let seen = services.witness.clone();
        let admins = move |peer: LocalPeer| seen.connected(&Caller::LocalAdmin(peer), "admin-socket");
        tasks.spawn(serve_unix(admin, services.routes(), counted(Listener::Admin), stop.clone(), admins));
        let workload_routes = WorkloadApi::routes(agent);
        let workload_routes = witnessed(workload_routes, services.witness.clone(), Callers::Workloads);
        let workload_routes =
            calls::observed(workload_routes.into_axum_router(), Arc::clone(&services.metrics));
        let workload_routes = Routes::from(workload_routes);
        let seen = services.witness.clone();
        let workloads = move |peer: LocalPeer| seen.process_connected(&peer);
        tasks.spawn(serve_unix(
            workload,
            workload_routes,
            counted(Listener::Workload),
            stop.clone(),
            workloads,
        ));
        let quotas = config.connections.quotas();
        if let Some((listener, _)) = operations {
            let limits = plain::Limits {
                connections: quotas.plain,
                reached: services.reached.clone(),
                ..plain::Limits::default()
            };
            tasks.spawn(serve_operations(listener, Arc::clone(&services), limits, stop.clone()));
        }
        if config.insecure {
            tasks.spawn(serve_insecure(grpc, services.routes(), counted(Listener::Grpc), stop.clone()));
        } else {
            let limits = ConnectionLimits {
                open: services.connections.clone(),
                reached: services.reached.clone(),
                ..ConnectionLimits::of(&quotas)
            };
            let witness = services.witness.clone();
            tasks.spawn(serve_tls(grpc, identity, services.routes(), limits, stop.clone(), witness));
        }

        let first_end = tokio::select! {
            () = shutdown.cancelled() => None,
            ended = tasks.join_next() => ended,
        };
        stop.cancel();
        let mut result = first_end.map_or(Ok(()), task_result);
        while let Some(ended) = tasks.join_next().await {
            result = result.and(task_result(ended));
        }
        services.registry.close().await;
        services.federation.close().await;
        services.agents.close().await;
        services.lifecycle.close().await;
        last_record.cancel();
        result = result.and(recording.await.map_err(|error| RunError::Panicked(error.to_string())));
        let stopped = Event::by_daemon(Action::DaemonStop, env!("CARGO_PKG_VERSION"));
        result = result.and(store.record(stopped).await.map_err(RunError::Audit));
        store.close().await;
        tracing::info!("the authority has stopped");
        result
    }
}

/// What a start finds on disk, or makes.
struct Kept {
    store: Store,
    keys: KeyStore,
    row_mac: RowMac,
}

/// Opens the database, the keys and the audit log.
async fn open_store(
    config: &Config,
    replica: &str,
    clock: &Clock,
    metrics: &Arc<Metrics>,
) -> Result<Kept, StartError> {
    let wrapping = config.wrapping_key.read()?;
    let store = Store::open(&config.store_location()?, replica, clock.clone(), Arc::clone(metrics)).await?;
    let keys = KeyStore::open(config.key_storage(&store), wrapping, config.keys.kind).await?;
    let mut keys = keys.reading_wrapping_key_from(config.wrapping_key.clone());
    if let Some(token) = &config.keys.pkcs11 {
        keys = keys.with_token(token.clone(), config.trust_domain.clone()).await?;
    }
    let has_begun = store.trust_domain().await?.is_some();
    // Before keys are made in their places: what is in the database would look as if a stranger had written it.
    if has_begun && config.keys.storage == Some(KeyStorageKind::Memory) {
        return Err(StartError::KeysEnded);
    }
    let row_mac = keys.row_mac(has_begun).await?;
    store.open_audit_log(audit_key(&keys, replica).await?).await?;
    record_restore(&config.data_dir, &store).await?;
    Ok(Kept { store, keys, row_mac })
}

/// Everything that is listened on.
struct Listeners {
    grpc: TcpListener,
    grpc_address: SocketAddr,
    admin: UnixSocket,
    workload: UnixSocket,
    operations: Option<(TcpListener, SocketAddr)>,
}

async fn listen(config: &Config) -> Result<Listeners, StartError> {
    let failed = |source| StartError::Listen { address: config.listen, source };
    let grpc = TcpListener::bind(config.listen).await.map_err(failed)?;
    let grpc_address = grpc.local_addr().map_err(failed)?;
    let admin = UnixSocket::bind(&config.admin_socket(), ADMIN_SOCKET_MODE, ADMIN_SOCKET_LIMITS).await?;
    let socket = config.workload_api_socket();
    let workload = UnixSocket::bind(&socket, WORKLOAD_SOCKET_MODE, WORKLOAD_SOCKET_LIMITS).await?;
    let operations = match config.operations.listen {
        Some(address) => Some(listen_for_operations(address).await?),
        None => None,
    };
    Ok(Listeners { grpc, grpc_address, admin, workload, operations })
}

fn started(config: &Config, grpc: SocketAddr) -> Event {
    Event::by_daemon(Action::DaemonStart, env!("CARGO_PKG_VERSION"))
        .with("trust_domain", config.trust_domain.to_string())
        .with("listen", grpc.to_string())
        .with("insecure", config.insecure.to_string())
}

/// The key that signs this replica's audit log, made at the first start.
async fn audit_key(keys: &KeyStore, replica: &str) -> Result<LogKey, StartError> {
    let name = format!("audit-log-{replica}");
    if let Some(pkcs8) = keys.load_secret(&name).await? {
        return Ok(LogKey::from_pkcs8(&pkcs8)?);
    }
    let key = LogKey::generate()?;
    keys.keep_secret(&name, key.pkcs8()).await?;
    Ok(key)
}

fn task_result(ended: Result<Result<(), RunError>, tokio::task::JoinError>) -> Result<(), RunError> {
    ended.unwrap_or_else(|error| Err(RunError::Panicked(error.to_string())))
}

async fn upkeep_task(
    upkeep: Upkeep,
    publisher: IdentityPublisher,
    stop: CancellationToken,
) -> Result<(), RunError> {
    upkeep.run(publisher, stop).await;
    Ok(())
}

/// Work that ends only because the daemon stops; one that ends before has nothing to do here.
async fn until_stopped(work: impl Future<Output = ()>, stop: CancellationToken) -> Result<(), RunError> {
    work.await;
    stop.cancelled().await;
    Ok(())
}

async fn rotation_task(rotation: Rotation, stop: CancellationToken) -> Result<(), RunError> {
    rotation.run(stop).await;
    Ok(())
}
