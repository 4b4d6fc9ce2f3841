//! Everything that has to do with one API server, wired together.

use std::{net::SocketAddr, sync::Arc};

use kube::Client;
use secplane_identity::{
    IdentitySource,
    serve::{AnonymousLimits, ConnectionLimits, Quota, serve},
    tls::{ClientPolicy, TlsError},
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    client::{ClientError, connect},
    comparison::Comparison,
    config::{KubernetesConfig, WebhookConfig},
    inventory::{Shared, SourceHealth},
    lease::{Candidate, Leadership, own_name},
    report::Reporter,
    watch::KubernetesSource,
    webhook::{Trust, router},
};
use crate::catalog::Catalog;

/// How many connections the webhook has at once; the API server needs a few. Somebody else in the cluster who opens as
/// many as they can leaves it the others.
const WEBHOOK_CONNECTIONS: Quota = Quota { all: 64, of_one: 16 };

/// One API server: the source of the policies, and whom their authors are told by.
pub(crate) struct Cluster {
    client: Client,
    config: KubernetesConfig,
    groups: Vec<String>,
    system_namespace: String,
    shared: Arc<Shared>,
    webhook: Option<Webhook>,
}

/// The webhook, not answering yet.
pub(crate) struct Webhook {
    pub(crate) listener: TcpListener,
    pub(crate) address: SocketAddr,
    pub(crate) config: WebhookConfig,
}

impl Cluster {
    /// Prepares to call the API server; it need not be there yet.
    pub(crate) async fn connect(
        config: KubernetesConfig,
        groups: Vec<String>,
        system_namespace: String,
        webhook: Option<Webhook>,
    ) -> Result<Self, ClientError> {
        let client = connect(config.kubeconfig.as_deref()).await?;
        let shared = Shared::new(&groups, config.require_all_groups);
        Ok(Self { client, config, groups, system_namespace, shared, webhook })
    }

    /// The resource, to be followed.
    pub(crate) fn source(&self) -> KubernetesSource {
        KubernetesSource::new(self.client.clone(), self.groups.clone(), Arc::clone(&self.shared))
    }

    pub(crate) fn health(&self) -> SourceHealth {
        SourceHealth(Arc::clone(&self.shared))
    }

    /// Where verdicts are reported to.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Where the webhook answers, if there is one.
    pub(crate) fn webhook_address(&self) -> Option<SocketAddr> {
        self.webhook.as_ref().map(|webhook| webhook.address)
    }

    /// Starts all that goes on beside following: the lease, the statuses, the webhook. The tasks end at `ending`.
    pub(crate) fn start(
        self,
        catalog: &Catalog,
        identity: &IdentitySource,
        ending: &CancellationToken,
    ) -> JoinSet<Result<(), TlsError>> {
        let mut tasks = JoinSet::new();
        let configuration = self.webhook.as_ref().and_then(|webhook| webhook.config.configuration.clone());
        if self.config.write_status || configuration.is_some() {
            let replica = own_name();
            let (candidate, leadership) = Candidate::new(
                self.client.clone(),
                &self.system_namespace,
                &self.config.lease,
                replica.clone(),
            );
            spawn(&mut tasks, candidate.run(ending.clone()));
            if self.config.write_status {
                let (client, shared) = (self.client.clone(), Arc::clone(&self.shared));
                let comparison =
                    Comparison::new(client, shared, catalog.clone(), leadership.clone(), replica.clone());
                spawn(&mut tasks, comparison.run(ending.clone()));
                let reporter = self.reporter(catalog.clone(), leadership.clone(), replica);
                spawn(&mut tasks, reporter.run(ending.clone()));
            }
            if let Some(configuration) = configuration {
                let trust = self.trust(configuration, identity.clone(), leadership);
                spawn(&mut tasks, trust.run(ending.clone()));
            }
        }
        if let Some(webhook) = self.webhook {
            let app = router(catalog.clone(), &self.groups);
            // An AdmissionReview may be long: the webhook itself bounds it.
            let anonymous = AnonymousLimits {
                connections: WEBHOOK_CONNECTIONS,
                body: usize::MAX,
                ..AnonymousLimits::default()
            };
            let limits =
                ConnectionLimits { peers: WEBHOOK_CONNECTIONS, anonymous, ..ConnectionLimits::default() };
            // The API server need not have an identity of ours, and learns nothing that it did not send.
            let policy = ClientPolicy::AnyOrNone;
            tasks.spawn(serve(webhook.listener, identity.clone(), policy, limits, app, ending.clone()));
        }
        tasks
    }

    fn reporter(&self, catalog: Catalog, leadership: Leadership, replica: String) -> Reporter {
        Reporter::new(self.client.clone(), Arc::clone(&self.shared), catalog, leadership, replica)
    }

    fn trust(&self, configuration: String, identity: IdentitySource, leadership: Leadership) -> Trust {
        let failure_policy = self.webhook.as_ref().and_then(|webhook| webhook.config.failure_policy);
        Trust { client: self.client.clone(), configuration, failure_policy, identity, leadership }
    }
}

fn spawn(tasks: &mut JoinSet<Result<(), TlsError>>, task: impl Future<Output = ()> + Send + 'static) {
    tasks.spawn(async move {
        task.await;
        Ok(())
    });
}
