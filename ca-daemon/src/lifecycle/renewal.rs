//! A CA below an outside root whose certificate was renewed for the key that it has: the usual renewal of Istio's
//! `cacerts`.
//!
//! Nothing is prepared and activated then, because what signs stays what it is. The certificate, the chain and the
//! roots of the row are replaced, and every replica signs with the new ones from then on.

use std::{collections::HashSet, sync::Arc, time::SystemTime};

use secplane_identity::x509::Certificate;

use super::{Authorities, LifecycleError, Line, Vault, authorities::roots_of, row};
use crate::{
    audit::{Action, Event},
    authority::{CaError, may_sign_lists},
    store::{AuthorityRow, AuthorityState, Change, Commit, StoreError},
    upstream::{PemCa, UpstreamError},
};

impl Vault {
    /// Takes in what files say about a CA whose key is known already, if it is not what the row says. Answers whether
    /// the rows have changed.
    ///
    /// Files that are older than the row are left alone: another replica may have the newer ones.
    ///
    /// # Errors
    /// When what is signed below it would not be accepted, or nobody who trusts the roots of before would accept it.
    pub async fn take_renewed(&self, standing: &Authorities, files: PemCa) -> Result<bool, LifecycleError> {
        let key_id = files.key_id()?;
        let Some(old) = standing.row(&key_id).filter(|row| can_be_renewed(row)) else { return Ok(false) };
        let ca = Arc::new(files.unchecked(&self.trust_domain)?);
        let new = AuthorityRow {
            tainted: old.tainted,
            created_at: old.created_at,
            since: old.since,
            ..self.row_of(&ca, old.state, &old.key_storage)
        };
        if new.public == old.public && new.chain == old.chain {
            return Ok(false);
        }
        if new.not_before < old.not_before {
            tracing::warn!(
                key_id,
                "the PEM files hold an older certificate than the one in use, which is kept; renew the files"
            );
            return Ok(false);
        }
        let (before, after) = (roots_of(old)?, roots_of(&new)?);
        // Whoever holds its last list would find it signed by a CA that may sign none, and refuse what is below.
        let had_lists = may_sign_lists(&Certificate::parse(&old.public).map_err(CaError::from)?);
        if had_lists && !ca.signs_lists() {
            return Err(UpstreamError::NoMoreLists.into());
        }
        let now = self.clock.now();
        let live = anchors_of(&before, now)?;
        if !live.is_empty() && live.is_disjoint(&anchors_of(&after, now)?) {
            return Err(UpstreamError::OtherRoots.into());
        }
        let checked = tokio::task::spawn_blocking(move || ca.check(now)).await;
        checked.map_err(|_| LifecycleError::Interrupted)??;

        let event = Event::by_daemon(Action::AuthorityRenew, key_id.as_str())
            .with("kind", Line::Root.kind().as_str())
            .with("expires_at", new.not_after.to_string());
        let new = row::seal(new, &self.mac);
        let mut changes = vec![Change::ReplaceAuthority { old: Box::new(old.clone()), new: Box::new(new) }];
        if before != after {
            changes.push(Change::AdvanceBundle);
        }
        match self.store.commit(Commit { changes, events: vec![event] }).await {
            Ok(()) => tracing::info!(key_id, "the certificate of the PEM files was renewed and is taken in"),
            // Another replica was faster, or has taken a step.
            Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }
}

/// What was revoked has no key any more, and what is somebody else's is not renewed here.
fn can_be_renewed(row: &AuthorityRow) -> bool {
    row.kind == Line::Root.kind() && row.state != AuthorityState::Revoked && !row.is_of_somebody_else()
}

/// What path validation takes of those roots that have not expired: their names and keys. One that was renewed is the
/// same.
fn anchors_of(roots: &[Vec<u8>], now: SystemTime) -> Result<HashSet<(String, Vec<u8>)>, CaError> {
    let mut anchors = HashSet::new();
    for der in roots {
        let root = Certificate::parse(der)?;
        if now <= root.not_after {
            anchors.insert((root.subject, root.public_key_info));
        }
    }
    Ok(anchors)
}

#[cfg(test)]
mod tests;
