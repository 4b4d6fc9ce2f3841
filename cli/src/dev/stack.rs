//! The daemons in this process: started in the order in which they need one another, stopped in the reverse.

use std::{
    fmt::Display,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use bundle_service::BundleService;
use ca_daemon::{CaDaemon, StartError, config, founding::FoundingError, keys::WrappingKeySource};
use secplane_identity::{Fingerprint, SpiffeId, TrustDomain};
use secplane_proto::spire::api::types;
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{DevArgs, folder::DevFolder};
use crate::{
    ca_client::{CaClient, wire_id},
    commands::entry,
    failure::{Failure, Kind},
};

/// Whom the bundle service is.
const BUNDLE_SERVICE: &str = "/ns/secplane-system/sa/bundle-service";
/// The worked example's agent that takes work: the identity of the self-check.
const DEMO: &str = "/ns/travel/sa/booking";
/// How long a daemon may take to end.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// Everything that runs.
pub(super) struct Stack {
    pub(super) folder: DevFolder,
    pub(super) trust_domain: TrustDomain,
    pub(super) root_fingerprint: Fingerprint,
    pub(super) ca_address: SocketAddr,
    pub(super) admin_socket: PathBuf,
    pub(super) bundle_address: SocketAddr,
    pub(super) health_address: SocketAddr,
    /// The bundle service's identity.
    pub(super) bundle_service_id: SpiffeId,
    /// The identity that the self-check uses; every process of this user may have it.
    pub(super) demo_id: SpiffeId,
    ca: Daemon,
    bundle_service: Daemon,
}

impl Stack {
    /// Starts the CA, registers what is needed, and starts the bundle service.
    pub(super) async fn start(args: &DevArgs, folder: DevFolder) -> Result<Self, Failure> {
        let ca = CaDaemon::start(ca_config(args, &folder)).await.map_err(|error| ca_failure(error, args))?;
        let (ca_address, root_fingerprint) = (ca.grpc_address(), ca.root_fingerprint());
        let admin_socket = ca.admin_socket().to_owned();
        let shutdown = CancellationToken::new();
        let ca = Daemon::spawn("the CA", shutdown.clone(), ca.run(shutdown));

        let beside_ca = start_beside_ca(args, &folder, &admin_socket).await;
        let (bundle_service, addresses, ids) = match beside_ca {
            Ok(started) => started,
            Err(failure) => {
                // The failure to start is what matters; how the CA ends is in the log.
                let _ = ca.stop().await;
                return Err(failure);
            }
        };
        Ok(Self {
            folder,
            trust_domain: args.trust_domain.clone(),
            root_fingerprint,
            ca_address,
            admin_socket,
            bundle_address: addresses.service,
            health_address: addresses.health,
            bundle_service_id: ids.bundle_service,
            demo_id: ids.demo,
            ca,
            bundle_service,
        })
    }

    /// Waits until a daemon ends by itself, which is a failure.
    pub(super) async fn failed(&mut self) -> Failure {
        tokio::select! {
            failure = self.ca.ended() => failure,
            failure = self.bundle_service.ended() => failure,
        }
    }

    /// Ends the daemons: the bundle service first, which needs the CA.
    pub(super) async fn stop(self) -> Result<(), Failure> {
        let bundle_service = self.bundle_service.stop().await;
        let ca = self.ca.stop().await;
        bundle_service.and(ca)
    }
}

struct Addresses {
    service: SocketAddr,
    health: SocketAddr,
}

struct Ids {
    bundle_service: SpiffeId,
    demo: SpiffeId,
}

async fn start_beside_ca(
    args: &DevArgs,
    folder: &DevFolder,
    admin_socket: &Path,
) -> Result<(Daemon, Addresses, Ids), Failure> {
    let ids = register(&args.trust_domain, admin_socket).await?;
    let (daemon, addresses) = start_bundle_service(args, folder, &ids.bundle_service).await?;
    Ok((daemon, addresses, ids))
}

async fn start_bundle_service(
    args: &DevArgs,
    folder: &DevFolder,
    id: &SpiffeId,
) -> Result<(Daemon, Addresses), Failure> {
    let service = BundleService::start(bundle_config(args, folder, id))
        .await
        .map_err(|error| bundle_failure(error, args))?;
    let addresses = Addresses { service: service.address(), health: service.health_address() };
    let shutdown = CancellationToken::new();
    let daemon = Daemon::spawn("the bundle service", shutdown.clone(), service.run(shutdown));
    Ok((daemon, addresses))
}

fn bundle_config(args: &DevArgs, folder: &DevFolder, id: &SpiffeId) -> bundle_service::Config {
    let workload_api = format!("unix:{}", folder.workload_api().display());
    bundle_service::Config {
        listen: loopback(args.bundle_port),
        health_listen: loopback(args.health_port),
        spiffe_id: Some(id.clone()),
        data_dir: Some(folder.bundle_data()),
        admin_socket: Some(folder.bundle_admin()),
        ..bundle_service::Config::new(&workload_api, &folder.policies)
    }
}

fn bundle_failure(error: bundle_service::StartError, args: &DevArgs) -> Failure {
    use bundle_service::StartError;
    let (kind, remedy) = match &error {
        StartError::Listen { key, .. } => {
            let option = if *key == "health_listen" { "--health-port" } else { "--bundle-port" };
            let remedy =
                format!("stop what uses the port, give another {option}, or leave it out for a free one");
            (Kind::Refused, remedy)
        }
        StartError::Source(_) => (Kind::Refused, "give another folder with --policies".to_owned()),
        _ => (Kind::Other, format!("see {}", args.dir.join("secplane.log").display())),
    };
    Failure::new(kind, "start the bundle service", error).remedy(remedy)
}

fn ca_config(args: &DevArgs, folder: &DevFolder) -> ca_daemon::Config {
    let wrapping_key = WrappingKeySource::File(folder.wrapping_key());
    ca_daemon::Config {
        listen: loopback(args.ca_port),
        server_names: vec!["localhost".to_owned()],
        workload_api: config::WorkloadApiConfig {
            socket: Some(folder.workload_api()),
            ..config::WorkloadApiConfig::default()
        },
        operations: config::OperationsConfig { listen: None },
        ..ca_daemon::Config::minimal(args.trust_domain.clone(), folder.ca(), wrapping_key)
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Creates the entries that are not there yet.
async fn register(trust_domain: &TrustDomain, admin_socket: &Path) -> Result<Ids, Failure> {
    let id = |path| {
        SpiffeId::from_parts(trust_domain, path)
            .map_err(|error| Failure::usage(format!("name `{path}` in {trust_domain}"), error))
    };
    let ids = Ids { bundle_service: id(BUNDLE_SERVICE)?, demo: id(DEMO)? };
    let ca = CaClient::over_socket(admin_socket).await?;
    let program = std::env::current_exe()
        .map_err(|error| Failure::from_io("find out which program this is", &error))?;
    let user = format!("uid:{}", rustix::process::geteuid().as_raw());
    let path = format!("path:{}", program.display());
    register_one(&ca, &ids.bundle_service, &[&user, &path], &["localhost"]).await?;
    register_one(&ca, &ids.demo, &[&user], &[]).await?;
    Ok(ids)
}

/// Creates an entry unless there is one that says the same: the program may have moved since.
async fn register_one(
    ca: &CaClient,
    id: &SpiffeId,
    selectors: &[&str],
    dns_names: &[&str],
) -> Result<(), Failure> {
    let parent = entry::local_agent(id.trust_domain())?;
    let mut wanted: Vec<_> = selectors.iter().map(|value| format!("unix:{value}")).collect();
    wanted.sort();
    let there = entry::list(ca, Some(id), Some(&parent)).await?.into_iter().any(|entry| {
        let mut found = entry.selectors;
        found.sort();
        found == wanted && entry.dns_names == dns_names
    });
    if there {
        return Ok(());
    }
    let selector = |value: &&str| types::Selector { r#type: "unix".into(), value: (*value).to_owned() };
    let entry = types::Entry {
        spiffe_id: Some(wire_id(id)),
        parent_id: Some(wire_id(&parent)),
        selectors: selectors.iter().map(selector).collect(),
        dns_names: dns_names.iter().map(|name| (*name).to_owned()).collect(),
        ..types::Entry::default()
    };
    entry::create(ca, entry).await.map(drop)
}

fn ca_failure(error: StartError, args: &DevArgs) -> Failure {
    let (kind, remedy) = match &error {
        StartError::Listen { .. } => (
            Kind::Refused,
            "stop what uses the port, give another --ca-port, or leave it out for a free one".to_owned(),
        ),
        StartError::Founding(FoundingError::OtherTrustDomain { found, .. }) => (
            Kind::Refused,
            format!("run with --trust-domain {found}, or give another --dir for {}", args.trust_domain),
        ),
        StartError::InUse(_) => (
            Kind::Refused,
            "another `secctl dev` runs in that folder: stop it, or give another --dir".to_owned(),
        ),
        StartError::Socket(_) => (
            Kind::Refused,
            "stop what uses the socket, remove what is no socket, or give another --dir".to_owned(),
        ),
        _ => (Kind::Other, format!("see {}", args.dir.join("secplane.log").display())),
    };
    Failure::new(kind, "start the CA", error).remedy(remedy)
}

/// A daemon that runs in a task of its own.
struct Daemon {
    name: &'static str,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), String>>,
}

impl Daemon {
    fn spawn<E: Display + Send>(
        name: &'static str,
        shutdown: CancellationToken,
        run: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> Self {
        let task = tokio::spawn(async move { run.await.map_err(|error| error.to_string()) });
        Self { name, shutdown, task }
    }

    async fn ended(&mut self) -> Failure {
        let why = match (&mut self.task).await {
            Ok(Ok(())) => "it ended by itself".to_owned(),
            Ok(Err(error)) => error,
            Err(error) => error.to_string(),
        };
        Failure::new(Kind::Other, format!("keep {} running", self.name), why)
    }

    async fn stop(mut self) -> Result<(), Failure> {
        self.shutdown.cancel();
        if self.task.is_finished() {
            // It ended before: whoever waited has been told.
            return Ok(());
        }
        let why = match timeout(STOP_WITHIN, &mut self.task).await {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(error))) => error,
            Ok(Err(error)) => error.to_string(),
            Err(_) => {
                self.task.abort();
                format!("it did not within {STOP_WITHIN:?}")
            }
        };
        Err(Failure::new(Kind::Other, format!("end {} cleanly", self.name), why))
    }
}
