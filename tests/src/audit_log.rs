//! The audit log of an authority as an auditor reads it: all of it, over gRPC.

use ca_daemon::audit::{Checkpoint, Finding, Hash, PublicKey, Verified, Verifier};
use prost::Message;
use secplane_proto::secplane::ca::v1::{
    AuditEntry, AuditLog as WireLog, AuditOutcome, AuditRecord, ListAuditEntriesRequest, ListBlocksRequest,
    ListLogsRequest,
};

use crate::{clients::Clients, soon};

/// A log, read to the end that its checkpoint covers.
#[derive(Debug, Clone)]
pub struct AuditLog {
    wire: WireLog,
    /// The entries as they were sent.
    pub entries: Vec<AuditEntry>,
    blocks: Vec<(u64, Hash)>,
}

impl AuditLog {
    /// Reads the log of the replica that answers, once everything that was done so far is signed.
    ///
    /// # Panics
    /// When it cannot be read.
    pub async fn read(clients: &Clients) -> Self {
        let size = latest(clients).await.size;
        let signed = async {
            loop {
                let log = latest(clients).await;
                if checkpoint_of(&log).size >= size {
                    return log;
                }
                // At most a second passes before entries are signed.
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let wire = soon("the log is signed", signed).await;
        let size = checkpoint_of(&wire).size;
        let mut log = Self { wire, entries: Vec::new(), blocks: Vec::new() };
        let mut from = 0;
        while from < size {
            let request = ListAuditEntriesRequest { from_index: from, ..Default::default() };
            let page = clients.audit().list_entries(request).await.unwrap().into_inner();
            if page.entries.is_empty() {
                break;
            }
            log.entries.extend(page.entries.into_iter().filter(|entry| entry.index < size));
            from = page.next_index;
        }
        let blocks = clients.audit().list_blocks(ListBlocksRequest::default()).await.unwrap().into_inner();
        log.blocks =
            blocks.blocks.into_iter().map(|block| (block.block, block.root.try_into().unwrap())).collect();
        log
    }

    /// Its ID.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.wire.log_id
    }

    /// Its latest checkpoint, verified.
    ///
    /// # Panics
    /// When the signature is wrong.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        checkpoint_of(&self.wire)
    }

    /// Its latest checkpoint as it was sent.
    #[must_use]
    pub fn checkpoint_text(&self) -> &str {
        &self.wire.checkpoint
    }

    /// Verifies it against its own checkpoint and those that were kept.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify(&self, kept: &[Checkpoint]) -> Result<Verified, Vec<Finding>> {
        let checkpoints = kept.iter().cloned().chain([self.checkpoint()]).collect();
        let mut verifier = Verifier::new(checkpoints).map_err(|finding| vec![finding])?;
        for (position, root) in &self.blocks {
            verifier.stored_block(*position, *root);
        }
        for entry in &self.entries {
            verifier.entry(entry.index, &entry.leaf);
        }
        verifier.finish()
    }

    /// What its entries say.
    ///
    /// # Panics
    /// When one is no record.
    #[must_use]
    pub fn records(&self) -> Vec<AuditRecord> {
        self.entries.iter().map(|entry| AuditRecord::decode(entry.leaf.as_slice()).unwrap()).collect()
    }

    /// The records of one action.
    #[must_use]
    pub fn of(&self, action: &str) -> Vec<AuditRecord> {
        self.records().into_iter().filter(|record| record.action == action).collect()
    }

    /// The one record of an action to a target.
    ///
    /// # Panics
    /// When there is none, or more than one.
    #[must_use]
    pub fn one(&self, action: &str, target: &str, outcome: AuditOutcome) -> AuditRecord {
        let mut found = self.of(action);
        found.retain(|record| record.target == target && record.outcome() == outcome);
        match <[AuditRecord; 1]>::try_from(found) {
            Ok([record]) => record,
            Err(found) => panic!("{} of {action} to {target}: {:#?}", found.len(), self.records()),
        }
    }
}

async fn latest(clients: &Clients) -> WireLog {
    let logs = clients.audit().list_logs(ListLogsRequest {}).await.unwrap().into_inner().logs;
    logs.into_iter().next().expect("an authority has a log")
}

fn checkpoint_of(log: &WireLog) -> Checkpoint {
    let key = PublicKey::from_bytes(&log.public_key).unwrap();
    Checkpoint::verify(&log.checkpoint, &key).unwrap().checkpoint
}
