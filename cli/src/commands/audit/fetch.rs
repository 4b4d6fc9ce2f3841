//! Logs as the CA gives them.

use ca_daemon::audit::{LogId, PublicKey};
use secplane_proto::secplane::ca::v1::{
    AuditBlock, AuditEntry, AuditLog, ListAuditEntriesRequest, ListBlocksRequest, ListLogsRequest,
};

use super::{
    entry::{EntryReport, Filter},
    keys::{KnownCheckpoint, PinnedKey, choose_key},
};
use crate::{
    ca_client::CaClient,
    failure::{Failure, Kind},
};

/// The most entries that the CA sends at once.
const PAGE: u64 = 1000;

/// One log of a CA.
pub(super) struct Log {
    ca: CaClient,
    log: AuditLog,
}

/// Every log of a CA.
pub(super) async fn logs(ca: &CaClient) -> Result<Vec<Log>, Failure> {
    let what = "list the audit logs";
    let response = ca
        .audit()
        .list_logs(ListLogsRequest {})
        .await
        .map_err(|status| Failure::from_status(what, &status))?;
    Ok(response.into_inner().logs.into_iter().map(|log| Log { ca: ca.clone(), log }).collect())
}

impl Log {
    /// The log of a replica, or of the one that answers.
    pub(super) async fn open(ca: &CaClient, replica: Option<&str>) -> Result<Self, Failure> {
        // The replica that answers comes first.
        let found = logs(ca).await?.into_iter().find(|log| replica.is_none_or(|replica| replica == log.id()));
        found.ok_or_else(|| {
            let what = format!("find the audit log {}", replica.unwrap_or_default());
            Failure::new(Kind::NotFound, what, "there is none")
                .remedy("`secctl audit logs` shows what there is")
        })
    }

    pub(super) fn id(&self) -> &str {
        &self.log.log_id
    }

    pub(super) fn size(&self) -> u64 {
        self.log.size
    }

    /// The latest checkpoint, once its signature is verified.
    pub(super) fn signed_checkpoint(&self, pinned: &[PinnedKey]) -> Result<KnownCheckpoint, Failure> {
        let key = self.key(pinned)?;
        let what = format!("verify the audit log {}", self.id());
        let known = KnownCheckpoint::verify(&self.log.checkpoint, &key)
            .map_err(|error| Failure::new(Kind::CheckFailed, what.clone(), error))?;
        if known.signed.checkpoint.log_id == key.log {
            Ok(known)
        } else {
            let why =
                format!("the CA gave the checkpoint of another log, {}", known.signed.checkpoint.log_id);
            Err(Failure::new(Kind::CheckFailed, what, why))
        }
    }

    pub(super) fn key(&self, pinned: &[PinnedKey]) -> Result<PinnedKey, Failure> {
        let what = || format!("read what the CA says of its audit log {}", self.id());
        let log = LogId::parse(self.id()).map_err(|error| Failure::refused(what(), error))?;
        let claimed =
            PublicKey::from_bytes(&self.log.public_key).map_err(|error| Failure::refused(what(), error))?;
        choose_key(pinned, &log, claimed)
    }

    /// A page of entries from one on, and where the next begins.
    pub(super) async fn page(&self, from: u64, size: u64) -> Result<(Vec<AuditEntry>, u64), Failure> {
        let request = ListAuditEntriesRequest {
            log_id: self.id().to_owned(),
            from_index: from,
            page_size: i32::try_from(size.clamp(1, PAGE)).unwrap_or(i32::MAX),
        };
        let response = self
            .ca
            .audit()
            .list_entries(request)
            .await
            .map_err(|status| Failure::from_status(format!("read the audit log {}", self.id()), &status))?
            .into_inner();
        Ok((response.entries, response.next_index))
    }

    /// Hands on every entry below `end`, in the order in which the CA gives them. Where some are missing, one that
    /// comes after `end` may be among them.
    pub(super) async fn each_entry(
        &self,
        end: u64,
        mut take: impl FnMut(AuditEntry) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut from = 0;
        while from < end {
            let (entries, next) = self.page(from, end - from).await?;
            if entries.is_empty() || next <= from {
                break;
            }
            entries.into_iter().try_for_each(&mut take)?;
            from = next;
        }
        Ok(())
    }

    /// The first entries from one on that pass, at most `limit`.
    pub(super) async fn entries_after(
        &self,
        from: u64,
        limit: usize,
        filter: &Filter,
    ) -> Result<Vec<EntryReport>, Failure> {
        let (mut from, mut found) = (from, Vec::new());
        while found.len() < limit {
            let (entries, next) = self.page(from, PAGE).await?;
            if entries.is_empty() || next <= from {
                break;
            }
            found.extend(passing(entries, filter)?);
            from = next;
        }
        Ok(found)
    }

    /// The last entries below one that pass, at most `limit`, oldest first.
    pub(super) async fn entries_before(
        &self,
        end: u64,
        limit: usize,
        filter: &Filter,
    ) -> Result<Vec<EntryReport>, Failure> {
        let (mut end, mut found) = (end, Vec::new());
        while found.len() < limit && end > 0 {
            let begin = end.saturating_sub(PAGE);
            let mut stretch = Vec::new();
            let mut from = begin;
            while from < end {
                let (entries, next) = self.page(from, end - from).await?;
                if entries.is_empty() || next <= from {
                    break;
                }
                stretch.extend(passing(entries, filter)?);
                from = next;
            }
            stretch.append(&mut found);
            found = stretch;
            end = begin;
        }
        found.drain(..found.len().saturating_sub(limit));
        Ok(found)
    }

    /// The stored roots of the blocks before `entries`.
    pub(super) async fn blocks(&self, entries: u64) -> Result<Vec<AuditBlock>, Failure> {
        let end = entries / ca_daemon::audit::BLOCK_ENTRIES;
        let mut blocks = Vec::new();
        let mut from = 0;
        while from < end {
            let request = ListBlocksRequest { log_id: self.id().to_owned(), from_block: from };
            let response = self.ca.audit().list_blocks(request).await.map_err(|status| {
                Failure::from_status(format!("read the audit log {}", self.id()), &status)
            })?;
            let page = response.into_inner().blocks;
            let Some(last) = page.last().filter(|last| last.block >= from) else { break };
            from = last.block.saturating_add(1);
            blocks.extend(page.into_iter().filter(|block| block.block < end));
        }
        Ok(blocks)
    }
}

fn passing(entries: Vec<AuditEntry>, filter: &Filter) -> Result<Vec<EntryReport>, Failure> {
    let mut passing = Vec::new();
    for entry in entries {
        let entry = EntryReport::read(entry)?;
        if filter.passes(&entry) {
            passing.push(entry);
        }
    }
    Ok(passing)
}
