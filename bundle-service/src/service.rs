//! Start and run: everything that is wired together, in one place.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use secplane_configuration::connections;
use secplane_identity::{
    IdentitySource, TrustDomain,
    serve::{ConnectionLimits, Quotas, ReachedLimits, plain, serve},
    tls::ClientPolicy,
    workload_api::{WorkloadApiFailure, WorkloadApiOptions, follow},
};
use secplane_rego::Gate;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet, spawn_blocking},
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    admin::{
        self, Administered,
        socket::{AdminSocket, LocalUser, SocketError},
    },
    api::{Bundles, Health, health_router, router},
    catalog::{Applied, Catalog, Interrupted},
    compile::{Policies, Settings, freshness, resource::RememberedResource},
    config::{Config, ConfigError},
    history::{History, HistoryError, Opened},
    kubernetes::{ClientError, Cluster, Shared, Webhook},
    metrics::Metrics,
    policy::ResourceKey,
    policy_tests::{ChildTester, TestLimits},
    source::Batch,
    sources::{Batches, Merged, OpenError, Sources},
    tiers::Selection,
};

/// How long requests may go on after shutdown began. Held polls end with it, by the end of their connections.
const DRAIN: Duration = Duration::from_secs(3);
/// How often a namespace is looked for of which something may be tested again.
const TRY_AGAIN: Duration = Duration::from_secs(15);

/// A service that has its sockets, its identity and its policies, and does not answer yet.
pub struct BundleService {
    listener: TcpListener,
    health_listener: TcpListener,
    address: SocketAddr,
    health_address: SocketAddr,
    trust_domain: TrustDomain,
    identity: IdentitySource,
    identity_task: JoinHandle<()>,
    sources: Sources,
    cluster: Option<Cluster>,
    bundles: Bundles,
    admin: Option<AdminSocket>,
    bundle_lifetime: Option<Duration>,
    quotas: Quotas,
    /// Ends the tasks that were started before `run`.
    stop: DropGuard,
}

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A socket cannot be had.
    #[error("cannot listen on {address} ({key}): {source}; stop what uses it, or choose another address")]
    Listen {
        /// The configuration's key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// There is no identity to serve with.
    #[error(
        "the service has no identity: {0}; register an entry for it, with its DNS names, and check workload_api"
    )]
    Identity(#[from] WorkloadApiFailure),
    /// The Workload API gave roots and no SVID.
    #[error("the Workload API gave no X.509-SVID for this service; register an entry for it")]
    NoSvid,
    /// The policies cannot be read.
    #[error(transparent)]
    Source(#[from] OpenError),
    /// The API server cannot be called.
    #[error(transparent)]
    Kubernetes(#[from] ClientError),
    /// What was in force cannot be had.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// Nothing can run the tests of policies.
    #[error("the system does not say which program this is, which runs again for the tests of policies: {0}")]
    Tester(#[source] io::Error),
    /// The admin socket cannot be had.
    #[error(transparent)]
    AdminSocket(#[from] SocketError),
    /// The process is ending.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// Why the service ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// TLS cannot be configured.
    #[error("TLS cannot be configured: {0}")]
    Tls(String),
    /// The admin socket failed.
    #[error("the admin socket failed: {0}")]
    Admin(#[source] io::Error),
    /// A task ended by a panic.
    #[error("a task of the service ended unexpectedly: {0}")]
    Task(String),
}

impl BundleService {
    /// Binds the sockets, gets the service's identity, and reads and compiles the policies.
    ///
    /// # Errors
    /// Says what is missing and what to change.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        config.check()?;
        let listener = listen("listen", config.listen).await?;
        let health_listener = listen("health_listen", config.health_listen).await?;
        let address = local(&listener, "listen", config.listen)?;
        let health_address = local(&health_listener, "health_listen", config.health_listen)?;

        let stopping = CancellationToken::new();
        let stop = stopping.clone().drop_guard();
        let options = WorkloadApiOptions {
            endpoint: config.workload_api.clone(),
            spiffe_id: config.spiffe_id.clone(),
            first_within: config.first_identity_within,
        };
        let (identity, identity_task) = follow(options, stopping).await?;
        let own = identity.current().identity.as_ref().map(|identity| identity.id().clone());
        let own = own.ok_or(StartError::NoSvid)?;
        let trust_domain = config.trust_domain.clone().unwrap_or_else(|| own.trust_domain().clone());
        tracing::info!(id = %own, %trust_domain, %address, %health_address, "the bundle service has its identity");

        let history = history(&config).await?;
        let remembered = history.as_ref().map(|(_, opened)| files_of(opened)).unwrap_or_default();
        let settings = settings(&config, trust_domain.clone());
        let tester = ChildTester::this_program(TestLimits::default()).map_err(StartError::Tester)?;
        let policies = Policies::new(settings).with_tester(Arc::new(tester));
        let catalog = Catalog::remembering(policies, history, Arc::new(SystemTime::now));
        let admin = match &config.admin_socket {
            Some(path) => Some(AdminSocket::bind(path).await?),
            None => None,
        };
        let metrics = Arc::new(Metrics::new());
        let bundles = Bundles { catalog, metrics, size_limit: config.bundle_size_limit };
        let cluster = cluster(&config).await?;
        // What is there is known once every source has been heard; until then the service is not ready.
        let mut sources =
            Sources::open(&config.source, cluster.as_ref(), &remembered, &bundles.metrics).await?;
        if let Some(batch) = sources.first() {
            take_in(&bundles, batch).await?;
        }
        Ok(Self {
            listener,
            health_listener,
            address,
            health_address,
            trust_domain,
            identity,
            identity_task,
            sources,
            cluster,
            bundles,
            admin,
            bundle_lifetime: config.bundle_lifetime,
            quotas: config.connections.quotas(),
            stop,
        })
    }

    /// Where bundles are served over mutual TLS.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where health and metrics are served without TLS.
    #[must_use]
    pub fn health_address(&self) -> SocketAddr {
        self.health_address
    }

    /// Where the admission webhook answers, if there is one.
    #[must_use]
    pub fn webhook_address(&self) -> Option<SocketAddr> {
        self.cluster.as_ref().and_then(Cluster::webhook_address)
    }

    /// The trust domain whose identities have tiers of their own.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Serves until `shutdown`, then lets requests end and joins every task.
    ///
    /// # Errors
    /// When a listener fails for good.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), RunError> {
        let Self { listener, health_listener, identity, identity_task, sources, cluster, bundles, .. } = self;
        let Self { admin, bundle_lifetime, quotas, stop, .. } = self;
        // Whatever ends first ends the rest.
        let ending = shutdown.child_token();
        let reaches = sources.reaches();
        let (batches, following) = sources.follow(&ending);
        let judged = cluster.as_ref().map(Cluster::shared);
        let applying = tokio::spawn(apply(bundles.clone(), batches, judged.clone()));
        let administered = Administered { catalog: bundles.catalog.clone(), judged };
        let reached = ReachedLimits::set_in(connections::SECTION);
        let health = Health {
            catalog: bundles.catalog.clone(),
            identity: identity.clone(),
            cluster: cluster.as_ref().map(Cluster::health),
            reaches,
            metrics: Arc::clone(&bundles.metrics),
            reached: reached.clone(),
        };
        let health = health_router(health);
        let limits =
            plain::Limits { connections: quotas.plain, reached: reached.clone(), ..plain::Limits::default() };
        let health = tokio::spawn(plain::serve(health_listener, health, limits, || (), ending.clone()));
        let cluster = cluster.map(|cluster| cluster.start(&bundles.catalog, &identity, &ending));
        let admin = tokio::spawn(serve_admin(admin, administered, ending.clone()));
        let renewing = tokio::spawn(renew(bundles.catalog.clone(), bundle_lifetime, ending.clone()));

        let limits = ConnectionLimits { drain: DRAIN, reached, ..ConnectionLimits::of(&quotas) };
        let served =
            serve(listener, identity, ClientPolicy::Svid, limits, router(bundles), ending.clone()).await;
        ending.cancel();
        drop(stop);
        let joined = |error: tokio::task::JoinError| RunError::Task(error.to_string());
        following.join().await.map_err(joined)?;
        applying.await.map_err(joined)?;
        identity_task.await.map_err(joined)?;
        renewing.await.map_err(joined)?;
        admin.await.map_err(joined)?.map_err(RunError::Admin)?;
        let mut cluster = cluster.unwrap_or_else(JoinSet::new);
        while let Some(ended) = cluster.join_next().await {
            ended.map_err(joined)?.map_err(|error| RunError::Tls(error.to_string()))?;
        }
        health.await.map_err(joined)?;
        served.map_err(|error| RunError::Tls(error.to_string()))
    }
}

impl std::fmt::Debug for BundleService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BundleService")
            .field("address", &self.address)
            .field("health_address", &self.health_address)
            .finish_non_exhaustive()
    }
}

async fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { key, address, source })
}

fn local(listener: &TcpListener, key: &'static str, address: SocketAddr) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|source| StartError::Listen { key, address, source })
}

/// What compiling depends on, of a configuration.
#[must_use]
pub fn settings(config: &Config, trust_domain: TrustDomain) -> Settings {
    Settings {
        selection: Selection {
            trust_domain,
            system_namespace: config.system_namespace.clone(),
            path_template: config.path_template.clone(),
            client_selector: config.client_selector,
        },
        require_client_policy: config.require_client_policy,
        envoy_adapter: config.envoy_adapter,
        bundle_lifetime: config.bundle_lifetime,
        gate: Gate::new(config.opa_version),
        bundle_size_limit: config.bundle_size_limit,
    }
}

/// The API server that the configuration names, if it names one, with the webhook's socket.
async fn cluster(config: &Config) -> Result<Option<Cluster>, StartError> {
    let Some(kubernetes) = config.source.kubernetes.clone() else { return Ok(None) };
    let webhook = match config.webhook.clone() {
        Some(config) => {
            let listener = listen("webhook.listen", config.listen).await?;
            let address = local(&listener, "webhook.listen", config.listen)?;
            Some(Webhook { listener, address, config })
        }
        None => None,
    };
    let (groups, namespace) = (config.source.api_groups.clone(), config.system_namespace.clone());
    Ok(Some(Cluster::connect(kubernetes, groups, namespace, webhook).await?))
}

/// What was in force before this start, if the service remembers.
async fn history(config: &Config) -> Result<Option<(History, Opened)>, StartError> {
    let Some(data_dir) = &config.data_dir else { return Ok(None) };
    let folder: PathBuf = data_dir.join("history");
    let (namespace, limits) = (config.system_namespace.clone(), config.history.clone());
    let opened = spawn_blocking(move || History::open(&folder, &namespace, limits, SystemTime::now()));
    Ok(Some(opened.await.map_err(|_| Interrupted)??))
}

/// In which file each resource was that was in force before this start.
fn files_of(opened: &Opened) -> BTreeMap<ResourceKey, Arc<str>> {
    let resources = opened.remembered.resources.iter();
    let file = |(key, resource): (&ResourceKey, &RememberedResource)| {
        Some((key.clone(), Arc::clone(&resource.good.as_ref()?.origin)))
    };
    resources.filter_map(file).collect()
}

/// Compiles a batch and says what is refused now. Returns the resources whose verdict may be another one.
async fn take_in(bundles: &Bundles, batch: Batch) -> Result<BTreeSet<ResourceKey>, Interrupted> {
    let applied = bundles.catalog.apply(batch).await?;
    bundles.metrics.updates.inc();
    Ok(say(bundles, applied))
}

/// Says what is refused now. Returns the resources whose verdict may be another one.
fn say(bundles: &Bundles, applied: Applied) -> BTreeSet<ResourceKey> {
    let Applied { judged, refusals, resources, identities } = applied;
    for refusal in &refusals {
        tracing::warn!(%refusal, "a policy is not as it should be");
    }
    let gauge = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    bundles.metrics.refusals.set(gauge(refusals.len()));
    bundles.metrics.policies.set(gauge(resources));
    bundles.metrics.identities.set(gauge(identities));
    judged
}

/// Takes in what the sources say, tries again what was not tested to its end, and tells `judged` whose verdict may be
/// another one.
async fn apply(bundles: Bundles, mut batches: Batches, judged: Option<Arc<Shared>>) {
    // A start did not wait for all tests.
    let mut try_at = Instant::now();
    // Between two turns batches are heard, however soon the next one comes.
    let mut listened = false;
    loop {
        // What waits has its turn even where changes follow one another without a pause.
        let is_due = listened && Instant::now() >= try_at && bundles.catalog.is_ready();
        let heard = if is_due { None } else { timeout_at(try_at, batches.next()).await.ok() };
        listened = true;
        let concerned = match heard {
            Some(None) => return,
            Some(Some(Merged { batch: None, .. })) => continue,
            Some(Some(Merged { spoken_of, batch: Some(batch) })) => {
                if !bundles.catalog.is_ready() {
                    try_at = Instant::now();
                }
                let Ok(mut concerned) = take_in(&bundles, batch).await else { return };
                // One that does not count changes nothing, and its author is to be told so.
                concerned.extend(spoken_of);
                concerned
            }
            None => {
                let began = Instant::now();
                let Ok(tried) = bundles.catalog.try_again().await else { return };
                listened = false;
                // Whatever is tried again, most of the time is for others; but not while tiers deny that never stood.
                let pause = if bundles.catalog.is_starting() {
                    Duration::ZERO
                } else {
                    TRY_AGAIN.max(began.elapsed() * 9)
                };
                try_at = Instant::now() + pause;
                let Some(applied) = tried else { continue };
                say(&bundles, applied)
            }
        };
        if let Some(shared) = &judged {
            shared.judged(&concerned);
        }
    }
}

/// Answers administrators, if there is a socket for them. One who never finishes a request holds up no shutdown.
async fn serve_admin(
    socket: Option<AdminSocket>,
    administered: Administered,
    ending: CancellationToken,
) -> io::Result<()> {
    let Some(socket) = socket else { return Ok(()) };
    let service = admin::router(administered).into_make_service_with_connect_info::<LocalUser>();
    let served = axum::serve(socket, service).with_graceful_shutdown(ending.clone().cancelled_owned());
    let drained = async {
        ending.cancelled().await;
        sleep(DRAIN).await;
    };
    tokio::select! {
        result = served.into_future() => result,
        () = drained => Ok(()),
    }
}

/// Gives bundles a new end before they reach the old one.
async fn renew(catalog: Catalog, lifetime: Option<Duration>, ending: CancellationToken) {
    let Some(lifetime) = lifetime else { return };
    loop {
        tokio::select! {
            () = ending.cancelled() => return,
            () = sleep(freshness::look_every(lifetime)) => {}
        }
        if catalog.renew().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
