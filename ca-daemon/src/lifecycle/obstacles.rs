//! What is in the way of a step that would leave somebody without trust. By force it is taken all the same.

use std::{collections::BTreeSet, time::SystemTime};

use super::{Authorities, Lifecycle, LifecycleError, Line, StepError};
use crate::{
    agents::agents_behind,
    instant::{from_unix, no_end, unix},
    jwt_svids::longest_life,
    store::{AuthorityRow, UnexpiredBelow},
};

/// How many of what is in the way of a step are named: a refusal has to fit into a header.
const NAMED: usize = 8;

impl Lifecycle {
    /// A replica that still signs below a tainted root would go on handing out what is to be replaced.
    pub(super) fn refuse_while_signing(
        &self,
        standing: &Authorities,
        root: &str,
    ) -> Result<(), LifecycleError> {
        let now = unix(self.vault.clock.now());
        let replicas: BTreeSet<_> = standing
            .active_issuing()
            .filter(|issuing| issuing.issuer_key_id == root && issuing.not_after >= now)
            .map(|issuing| issuing.replica.clone())
            .collect();
        if replicas.is_empty() {
            Ok(())
        } else {
            Err(LifecycleError::StillSigning(replicas.into_iter().collect()))
        }
    }

    /// Meshes and downstream authorities have CAs of their own below the root, and what those sign is not known here:
    /// it would go on being handed out, or be refused everywhere.
    pub(super) fn refuse_while_others_sign(
        &self,
        standing: &Authorities,
        root: &str,
    ) -> Result<(), LifecycleError> {
        let cas = standing.of_others_below(root, unix(self.vault.clock.now()));
        let Some(until) = cas.iter().map(|row| row.not_after).max() else { return Ok(()) };
        let names = cas.iter().map(|row| format!("{} {}", row.kind.as_str(), row.key_id)).collect();
        Err(LifecycleError::CasOfOthers { names: first_of(names), until: from_unix(until) })
    }

    /// Whoever holds something that is still valid would be refused, or end up with peers whom they cannot verify.
    pub(super) async fn refuse_while_valid(
        &self,
        standing: &Authorities,
        line: Line,
        key_id: &str,
    ) -> Result<(), LifecycleError> {
        let now = unix(self.vault.clock.now());
        match line {
            Line::Jwt => {
                let row = standing.row(key_id).ok_or(StepError::UnexpectedId)?;
                let end = from_unix(row.not_after).min(no_end());
                // When somebody else stopped signing is not known here.
                let until =
                    if row.is_of_somebody_else() { end } else { self.last_token_of(row).await?.min(end) };
                if unix(until) < now { Ok(()) } else { Err(LifecycleError::TokensStillValid(until)) }
            }
            Line::Root => {
                self.refuse_while_used(standing, key_id).await?;
                self.refuse_while_agents_lag(standing).await
            }
        }
    }

    /// Until when there may be tokens of a key that signs no more: as long as any lives that was signed while other
    /// settings were in force, here or elsewhere, and no less than the settings of now say, since an earlier version noted
    /// nothing.
    async fn last_token_of(&self, key: &AuthorityRow) -> Result<SystemTime, LifecycleError> {
        let noted = longest_life(&self.vault.keys, &key.key_id).await?;
        let longest = self.settings.load().longest_jwt_svid.max(noted);
        Ok(from_unix(key.since).checked_add(longest).unwrap_or_else(no_end))
    }

    /// Something below the root is still valid.
    async fn refuse_while_used(&self, standing: &Authorities, key_id: &str) -> Result<(), LifecycleError> {
        let now = unix(self.vault.clock.now());
        let root = standing.row(key_id).ok_or(StepError::UnexpectedId)?;
        if root.is_of_somebody_else() && root.not_after >= now {
            return Err(LifecycleError::RootOfAnother(from_unix(root.not_after)));
        }
        self.refuse_while_others_sign(standing, key_id)?;
        // A leaf never outlives its issuing CA, so those that expired need not be looked at.
        let issuers: Vec<_> =
            standing.issuing_below(key_id).filter(|issuing| issuing.not_after >= now).collect();
        let Some(oldest) = issuers.iter().map(|issuing| issuing.created_at).min() else {
            return Ok(());
        };
        let issuers: Vec<_> = issuers.iter().map(|issuing| issuing.key_id.clone()).collect();
        match self.vault.store.unexpired_below(&issuers, oldest, now).await? {
            None => Ok(()),
            Some(UnexpiredBelow { count, last }) => {
                Err(LifecycleError::StillValid { count, until: from_unix(last) })
            }
        }
    }

    /// An agent that does not have the successor yet would go on giving its workloads the root that goes, and no
    /// other.
    async fn refuse_while_agents_lag(&self, standing: &Authorities) -> Result<(), LifecycleError> {
        if !self.settings.load().revoke_after_agents {
            return Ok(());
        }
        let (sequence, now) = (standing.sequence(), self.vault.clock.now());
        let behind = agents_behind(&self.vault.store, &self.vault.mac, sequence, now).await?;
        if behind.is_empty() {
            return Ok(());
        }
        let names = behind.iter().map(ToString::to_string).collect();
        Err(LifecycleError::AgentsBehind { names: first_of(names), sequence })
    }
}

/// The first of them, and how many more there are.
fn first_of(mut names: Vec<String>) -> Vec<String> {
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    names
}

#[cfg(test)]
mod tests;
