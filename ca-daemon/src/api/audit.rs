//! `secplane.ca.v1.Audit`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream, stream::BoxStream};
use secplane_proto::secplane::ca::v1::{
    AuditBlock, AuditEntry, AuditLog, ListAuditEntriesRequest, ListAuditEntriesResponse, ListBlocksRequest,
    ListBlocksResponse, ListLogsRequest, ListLogsResponse, ProveConsistencyRequest, ProveConsistencyResponse,
    ProveInclusionRequest, ProveInclusionResponse, RecordBackupRequest, RecordBackupResponse,
    TailAuditEntriesRequest, TailAuditEntriesResponse, audit_server::Audit,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Response, Status};

use super::{page, refusal::ToStatus, services::Services};
use crate::{
    access::{Caller, Permission},
    audit::{Action, Checkpoint, Event, Hash, ProofPlan, PublicKey},
    store::{AuditEntryRow, AuditLogRow, Store, StoreError},
};

const DEFAULT_PAGE: u32 = 500;
const LARGEST_PAGE: u32 = 1000;
const BLOCKS_PAGE: u32 = 4096;
/// How many entries of each log a tail may send first.
const LONGEST_LAST: u32 = 1000;
/// How many entries of one log a tail sends in one message.
const TAIL_PAGE: u32 = 500;
/// In bytes.
const LONGEST_FILE_NAME: usize = 1024;
/// How many may follow the logs at once: each asks the database for the logs' sizes.
const MOST_TAILS: usize = 16;
/// How soon a follower sees an entry. Other replicas' logs grow with every call: a notice for each would cost more.
const TAIL_EVERY: Duration = Duration::from_millis(250);

pub(super) struct AuditApi {
    services: Arc<Services>,
    tails: Arc<Semaphore>,
}

impl AuditApi {
    pub(super) fn new(services: Arc<Services>) -> Self {
        Self { services, tails: Arc::new(Semaphore::new(MOST_TAILS)) }
    }

    fn store(&self) -> &Store {
        self.services.issuance.store()
    }

    /// The log that a request names; none is this replica's.
    async fn log(&self, log_id: &str) -> Result<AuditLogRow, Status> {
        let log_id = if log_id.is_empty() { self.store().replica() } else { log_id };
        let found = self.store().audit_log(log_id).await.map_err(|error| error.to_status())?;
        found.ok_or_else(|| Status::not_found(format!("there is no audit log {log_id}")))
    }

    async fn prove(&self, log: &AuditLogRow, plan: &ProofPlan) -> Result<Vec<Vec<u8>>, Status> {
        let material = self.store().audit_proof_material(&log.log_id, plan).await;
        let proof = plan.prove(&material.map_err(|error| error.to_status())?);
        let proof = proof.map_err(|error| Status::data_loss(error.to_string()))?;
        Ok(proof.iter().map(|hash: &Hash| hash.to_vec()).collect())
    }
}

#[tonic::async_trait]
impl Audit for AuditApi {
    async fn list_logs(
        &self,
        request: Request<ListLogsRequest>,
    ) -> Result<Response<ListLogsResponse>, Status> {
        self.services.authorize(&request, Permission::Admin)?;
        // Whoever asks now wants to know of everything until now.
        self.store().sign_audit_log().await.map_err(|error| error.to_status())?;
        let mut logs = self.store().audit_logs().await.map_err(|error| error.to_status())?;
        let own = self.store().replica();
        logs.sort_by_key(|log| log.log_id != own);
        let logs = logs.into_iter().map(|log| AuditLog {
            size: size(&log),
            log_id: log.log_id,
            public_key: log.public_key,
            checkpoint: log.checkpoint,
        });
        Ok(Response::new(ListLogsResponse { logs: logs.collect() }))
    }

    async fn list_entries(
        &self,
        request: Request<ListAuditEntriesRequest>,
    ) -> Result<Response<ListAuditEntriesResponse>, Status> {
        self.services.authorize(&request, Permission::Admin)?;
        let ListAuditEntriesRequest { log_id, from_index, page_size } = request.into_inner();
        let most = match u32::try_from(page_size) {
            Ok(0) => DEFAULT_PAGE,
            Ok(most) => most.min(LARGEST_PAGE),
            Err(_) => return Err(Status::invalid_argument("the page size is negative")),
        };
        let log = self.log(&log_id).await?;
        let rows = self.store().audit_entries(&log.log_id, from_index, most).await;
        let rows = rows.map_err(|error| error.to_status())?;
        let entries = page::fitting(rows.into_iter().map(|row| entry(&log.log_id, row)));
        let next_index = entries.last().map_or_else(|| size(&log), |last| last.index + 1);
        Ok(Response::new(ListAuditEntriesResponse { entries, next_index }))
    }

    type TailEntriesStream = BoxStream<'static, Result<TailAuditEntriesResponse, Status>>;

    async fn tail_entries(
        &self,
        request: Request<TailAuditEntriesRequest>,
    ) -> Result<Response<Self::TailEntriesStream>, Status> {
        let caller = self.services.authorize(&request, Permission::Admin)?;
        let place = Arc::clone(&self.tails).try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(format!("{MOST_TAILS} others follow the audit log already"))
        })?;
        let last = request.into_inner().last.min(LONGEST_LAST);
        let sizes = self.store().audit_sizes().await.map_err(|error| error.to_status())?;
        let next =
            sizes.into_iter().map(|(log, size)| (log, size.saturating_sub(last.into()).max(0))).collect();
        let tail = Tail { services: Arc::clone(&self.services), caller, next, _place: place };
        let entries = stream::unfold(Some(tail), async |tail| {
            let mut tail = tail?;
            let shutdown = tail.services.shutdown.clone();
            let sent = tokio::select! {
                () = shutdown.cancelled() => Err(Status::unavailable("the authority is stopping")),
                entries = tail.more() => entries,
            };
            Some(match sent {
                Ok(entries) => (Ok(TailAuditEntriesResponse { entries }), Some(tail)),
                Err(status) => (Err(status), None),
            })
        });
        Ok(Response::new(entries.boxed()))
    }

    async fn prove_inclusion(
        &self,
        request: Request<ProveInclusionRequest>,
    ) -> Result<Response<ProveInclusionResponse>, Status> {
        self.services.authorize(&request, Permission::Admin)?;
        let ProveInclusionRequest { log_id, index, tree_size } = request.into_inner();
        self.store().sign_audit_log().await.map_err(|error| error.to_status())?;
        let log = self.log(&log_id).await?;
        let (tree_size, checkpoint) = tree(&log, tree_size)?;
        let plan = ProofPlan::inclusion(index, tree_size).map_err(|e| Status::not_found(e.to_string()))?;
        let rows = self.store().audit_entries(&log.log_id, index, 1).await;
        let row = rows.map_err(|error| error.to_status())?.into_iter().next();
        let entry = row.map(|row| entry(&log.log_id, row)).filter(|entry| entry.index == index);
        if entry.is_none() {
            return Err(Status::data_loss(format!("entry {index} is missing in the database")));
        }
        let hashes = self.prove(&log, &plan).await?;
        Ok(Response::new(ProveInclusionResponse { entry, hashes, checkpoint }))
    }

    async fn prove_consistency(
        &self,
        request: Request<ProveConsistencyRequest>,
    ) -> Result<Response<ProveConsistencyResponse>, Status> {
        self.services.authorize(&request, Permission::Admin)?;
        let ProveConsistencyRequest { log_id, old_size, new_size } = request.into_inner();
        self.store().sign_audit_log().await.map_err(|error| error.to_status())?;
        let log = self.log(&log_id).await?;
        let (new_size, checkpoint) = tree(&log, new_size)?;
        let plan = ProofPlan::consistency(old_size, new_size)
            .map_err(|error| Status::failed_precondition(error.to_string()))?;
        let hashes = self.prove(&log, &plan).await?;
        Ok(Response::new(ProveConsistencyResponse { hashes, checkpoint }))
    }

    async fn list_blocks(
        &self,
        request: Request<ListBlocksRequest>,
    ) -> Result<Response<ListBlocksResponse>, Status> {
        self.services.authorize(&request, Permission::Admin)?;
        let ListBlocksRequest { log_id, from_block } = request.into_inner();
        let log = self.log(&log_id).await?;
        let nodes = self.store().audit_blocks(&log.log_id, from_block, BLOCKS_PAGE).await;
        let nodes = nodes.map_err(|error| error.to_status())?;
        let blocks = nodes.iter().map(|node| AuditBlock { block: node.position, root: node.hash.to_vec() });
        Ok(Response::new(ListBlocksResponse { blocks: blocks.collect() }))
    }

    async fn record_backup(
        &self,
        request: Request<RecordBackupRequest>,
    ) -> Result<Response<RecordBackupResponse>, Status> {
        let caller = self.services.authorize(&request, Permission::Admin)?;
        let RecordBackupRequest { file } = request.into_inner();
        if !(1..=LONGEST_FILE_NAME).contains(&file.len()) {
            return Err(Status::invalid_argument("the name of a backup's file has 1 to 1024 bytes"));
        }
        let recorded = self.store().record(Event::by(&caller, Action::BackupWrite, file)).await;
        recorded.map_err(|error| error.to_status())?;
        Ok(Response::new(RecordBackupResponse {}))
    }
}

/// Somebody who follows the logs, and how far they have seen each.
struct Tail {
    services: Arc<Services>,
    caller: Caller,
    next: BTreeMap<String, i64>,
    _place: OwnedSemaphorePermit,
}

impl Tail {
    /// Waits for entries that were not sent yet, as long as the caller may see them.
    async fn more(&mut self) -> Result<Vec<AuditEntry>, Status> {
        loop {
            let entries = self.unsent().await.map_err(|error| error.to_status())?;
            self.services.permit(&self.caller, Permission::Admin)?;
            if !entries.is_empty() {
                return Ok(entries);
            }
            tokio::time::sleep(TAIL_EVERY).await;
        }
    }

    /// Entries of one log that were not sent yet; none when there are none in any.
    async fn unsent(&mut self) -> Result<Vec<AuditEntry>, StoreError> {
        let store = self.services.issuance.store();
        for (log_id, size) in store.audit_sizes().await? {
            // A log that a new replica began while this one was followed is sent from its beginning.
            let next = self.next.entry(log_id.clone()).or_default();
            if *next >= size {
                continue;
            }
            let rows = store.audit_entries(&log_id, next.unsigned_abs(), TAIL_PAGE).await?;
            let entries = page::fitting(rows.into_iter().map(|row| entry(&log_id, row)));
            let seen = entries.last().map(|last| last.index + 1);
            *next = seen.and_then(|seen| i64::try_from(seen).ok()).unwrap_or(size);
            if !entries.is_empty() {
                return Ok(entries);
            }
        }
        Ok(Vec::new())
    }
}

fn entry(log_id: &str, row: AuditEntryRow) -> AuditEntry {
    AuditEntry { log_id: log_id.to_owned(), index: row.position.unsigned_abs(), leaf: row.leaf }
}

fn size(log: &AuditLogRow) -> u64 {
    u64::try_from(log.size).unwrap_or(0)
}

/// The size of the tree that a proof is wanted in, and its checkpoint if it is the latest one.
fn tree(log: &AuditLogRow, wanted: u64) -> Result<(u64, String), Status> {
    let signed = PublicKey::from_bytes(&log.public_key)
        .map_err(|error| error.to_string())
        .and_then(|key| Checkpoint::verify(&log.checkpoint, &key).map_err(|error| error.to_string()))
        .map_err(|why| Status::data_loss(format!("the checkpoint of the audit log {}: {why}", log.log_id)))?;
    let latest = signed.checkpoint.size;
    match wanted {
        0 => Ok((latest, log.checkpoint.clone())),
        wanted if wanted == latest => Ok((latest, log.checkpoint.clone())),
        wanted if wanted <= size(log) => Ok((wanted, String::new())),
        wanted => Err(Status::out_of_range(format!(
            "the audit log {} has {} entries, not {wanted}",
            log.log_id,
            size(log)
        ))),
    }
}
