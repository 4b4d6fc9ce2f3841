//! What runs on a node: workloads are attested here, and get their SVIDs over the SPIFFE Workload API.

mod calls;
mod jwt;
mod room;
mod svids;
mod updates;
mod workload_api;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use secplane_identity::{KeyKind, SpiffeId};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    Config,
    attest::{AttestedProcess, ExecutableHashes},
    federation::Federation,
    issuance::Issuance,
    jwt_svids::JwtSvids,
    registry::Registry,
    revocation::Revoker,
};

pub(crate) use room::MAX_LISTS_BYTES;
pub use workload_api::WorkloadApi;

use self::{
    calls::{Calls, OpenCall},
    svids::SvidCache,
};

/// Serves the workloads of one node out of an authority in the same process.
pub struct Agent {
    /// The parent of the entries that are served here.
    id: SpiffeId,
    registry: Arc<Registry>,
    federation: Arc<Federation>,
    issuance: Arc<Issuance>,
    revoker: Arc<Revoker>,
    svids: SvidCache,
    jwt_svids: Arc<JwtSvids>,
    hashes: ExecutableHashes,
    calls: Calls,
    /// Among them how long a workload's first call waits for its entry.
    settings: Arc<ArcSwap<Config>>,
    shutdown: CancellationToken,
}

/// The authority in the same process, out of which an agent serves.
pub struct Authority {
    /// Who is registered.
    pub registry: Arc<Registry>,
    /// The bundles of foreign trust domains.
    pub federation: Arc<Federation>,
    /// X.509-SVIDs.
    pub issuance: Arc<Issuance>,
    /// What is revoked.
    pub revoker: Arc<Revoker>,
    /// JWT-SVIDs.
    pub jwt_svids: Arc<JwtSvids>,
}

impl Agent {
    /// Serves the entries below `id` until `shutdown`, by the settings as they are at each moment. The keys of the workloads' X.509-SVIDs are of `key_kind`.
    #[must_use]
    pub fn new(
        id: SpiffeId,
        authority: Authority,
        key_kind: KeyKind,
        settings: Arc<ArcSwap<Config>>,
        shutdown: CancellationToken,
    ) -> Arc<Self> {
        let Authority { registry, federation, issuance, revoker, jwt_svids } = authority;
        let svids = SvidCache::new(Arc::clone(&issuance), key_kind);
        let hashes = ExecutableHashes::default();
        Arc::new(Self {
            id,
            registry,
            federation,
            issuance,
            revoker,
            svids,
            jwt_svids,
            hashes,
            calls: Calls::default(),
            settings,
            shutdown,
        })
    }

    /// Counts one more call of a process, unless it or its user has too many open.
    fn begin_call(&self, process: &AttestedProcess) -> Result<OpenCall, Status> {
        self.calls.begin(process).map_err(|error| {
            tracing::warn!(%error, "a call to the Workload API is refused");
            Status::resource_exhausted(error.to_string())
        })
    }

    /// How long a workload's first call waits for its entry.
    fn hold(&self) -> Duration {
        self.settings.load().workload_api.hold
    }
}
