//! A `ca-daemon` in this process, in a folder of its own.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use ca_daemon::{
    CaDaemon, Config, RunError, StartError,
    config::OperationsConfig,
    instant::Clock,
    keys::{WrappingKeySource, generate_wrapping_key},
};
use secplane_identity::{Fingerprint, TrustBundle, TrustDomain};
use secplane_proto::spire::api::server::bundle::v1::GetBundleRequest;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    clients::Clients,
    database,
    holder::{Holder, client_config},
    plain_http::get,
    soon,
    workload::Workload,
};

/// The trust domain of every test.
pub const TRUST_DOMAIN: &str = "example.org";

/// A folder with a wrapping key, and the configuration of an authority in it.
pub struct CaFolder {
    folder: TempDir,
    /// May be changed between two starts.
    pub config: Config,
}

impl Default for CaFolder {
    fn default() -> Self {
        Self::new()
    }
}

impl CaFolder {
    /// A fresh folder. Its authority listens on a free port of the loopback interface.
    ///
    /// # Panics
    /// When the disk cannot be written.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let wrapping_key = folder.path().join("wrapping.key");
        generate_wrapping_key(&wrapping_key).unwrap();
        let trust_domain = TrustDomain::parse(TRUST_DOMAIN).unwrap();
        let mut config = Config {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            server_names: vec!["localhost".to_owned()],
            operations: OperationsConfig { listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))) },
            database: database::of_these_tests(),
            ..Config::minimal(trust_domain, folder.path().join("data"), WrappingKeySource::File(wrapping_key))
        };
        // A test that wants a refusal does not want to wait for it.
        config.workload_api.hold = Duration::ZERO;
        Self { folder, config }
    }

    /// A folder for another replica: the same database and wrapping key, everything else of its own.
    ///
    /// # Panics
    /// When the disk cannot be written.
    #[must_use]
    pub fn replica_of(other: &Self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { data_dir: folder.path().join("data"), ..other.config.clone() };
        Self { folder, config }
    }

    /// A folder with a copy of everything that another one holds, its database included. Its authority must not run.
    ///
    /// # Panics
    /// When the disk or the database cannot be written.
    #[must_use]
    pub fn copy_of(other: &Self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(other.path(), folder.path());
        let wrapping_key = folder.path().join("wrapping.key");
        let config = Config {
            data_dir: folder.path().join("data"),
            wrapping_key: WrappingKeySource::File(wrapping_key),
            database: database::copy_of(&other.config.database),
            ..other.config.clone()
        };
        Self { folder, config }
    }

    /// The folder that holds everything.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The authority's database, where it is a file.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.config.data_dir.join("ca.db")
    }

    /// Writes the configuration as YAML, and answers where.
    ///
    /// # Panics
    /// When the disk cannot be written.
    #[must_use]
    pub fn write_config(&self) -> PathBuf {
        let path = self.path().join("ca.yaml");
        std::fs::write(&path, serde_saphyr::to_string(&self.config).unwrap()).unwrap();
        path
    }

    /// Binds an authority that does not serve yet.
    ///
    /// # Errors
    /// When it refuses to start: what a test asks for.
    pub async fn bind(&self) -> Result<CaDaemon, StartError> {
        CaDaemon::start(self.config.clone()).await
    }

    /// Why an authority refuses to start in this folder.
    ///
    /// # Panics
    /// When it starts.
    pub async fn refusal(&self) -> StartError {
        match self.bind().await {
            Ok(_) => panic!("the authority started, though it should have refused"),
            Err(error) => error,
        }
    }

    /// Starts an authority that serves.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(self) -> Ca {
        let daemon = self.bind().await.expect("the authority starts");
        Ca::serve(self, daemon)
    }

    /// As [`CaFolder::start`], by another clock.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_with_clock(self, clock: Clock) -> Ca {
        let daemon =
            CaDaemon::start_with_clock(self.config.clone(), clock).await.expect("the authority starts");
        Ca::serve(self, daemon)
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (entry, target) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).unwrap();
        if entry.is_dir() {
            copy_folder(&entry, &target);
        } else if entry.is_file() {
            std::fs::copy(&entry, &target).unwrap();
        }
    }
}

/// An authority that serves in this process. Dropping it ends it.
pub struct Ca {
    folder: CaFolder,
    grpc_address: SocketAddr,
    operations_address: SocketAddr,
    root_fingerprint: Fingerprint,
    shutdown: DropGuard,
    running: JoinHandle<Result<(), RunError>>,
}

impl Ca {
    /// Starts one in a fresh folder.
    pub async fn start() -> Self {
        CaFolder::new().start().await
    }

    /// Starts one in a fresh folder, with a changed configuration.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let mut folder = CaFolder::new();
        change(&mut folder.config);
        folder.start().await
    }

    fn serve(folder: CaFolder, daemon: CaDaemon) -> Self {
        let (grpc_address, root_fingerprint) = (daemon.grpc_address(), daemon.root_fingerprint());
        let operations_address = daemon.operations_address().expect("it is on in every test");
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(daemon.run(shutdown.clone()));
        Self {
            folder,
            grpc_address,
            operations_address,
            root_fingerprint,
            shutdown: shutdown.drop_guard(),
            running,
        }
    }

    /// Stops it and gives its folder back.
    ///
    /// # Panics
    /// When it does not stop, or stops with an error.
    pub async fn stop(self) -> CaFolder {
        drop(self.shutdown);
        soon("the authority stops", self.running)
            .await
            .unwrap()
            .expect("the authority stops without an error");
        self.folder
    }

    /// Stops it and starts another one in its folder.
    pub async fn restart(self) -> Self {
        self.stop().await.start().await
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &CaFolder {
        &self.folder
    }

    /// Where it listens.
    #[must_use]
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    /// Where health and metrics are.
    #[must_use]
    pub fn operations_address(&self) -> SocketAddr {
        self.operations_address
    }

    /// The value of a metric that has no labels.
    ///
    /// # Panics
    /// When there is no such metric.
    pub async fn metric(&self, name: &str) -> f64 {
        let metrics = get(self.operations_address, "/metrics", &[]).await.body;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap().parse().unwrap()
    }

    /// What it said of its root.
    #[must_use]
    pub fn root_fingerprint(&self) -> Fingerprint {
        self.root_fingerprint
    }

    /// Clients over the admin socket.
    #[must_use]
    pub fn admin(&self) -> Clients {
        Clients::over_unix_socket(&self.folder.config.admin_socket())
    }

    /// Clients over TLS that present a certificate.
    pub async fn connect_as(&self, holder: &Holder) -> Clients {
        let config = client_config(&self.bundle().await, Some(holder));
        Clients::over_tls(self.grpc_address, config)
    }

    /// Clients over TLS that present nothing.
    pub async fn connect_anonymously(&self) -> Clients {
        Clients::over_tls(self.grpc_address, client_config(&self.bundle().await, None))
    }

    /// Its Workload API, as this process calls it.
    #[must_use]
    pub fn workload(&self) -> Workload {
        Workload::at(&self.folder.config.workload_api_socket())
    }

    /// The trust bundle, checked against the fingerprint.
    ///
    /// # Panics
    /// When it is another one.
    pub async fn bundle(&self) -> TrustBundle {
        let wire = self.admin().bundle().get_bundle(GetBundleRequest::default()).await.unwrap().into_inner();
        let roots = wire.x509_authorities.iter().map(|root| root.asn1.as_slice());
        let bundle = TrustBundle::new(self.folder.config.trust_domain.clone(), roots).unwrap();
        let fingerprints: Vec<_> = bundle.authorities().map(|root| Fingerprint::of(&root.der)).collect();
        assert_eq!(fingerprints, [self.root_fingerprint]);
        bundle
    }
}
