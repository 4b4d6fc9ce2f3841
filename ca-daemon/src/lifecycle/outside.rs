//! Roots of outside CAs: trusted for as long as a CA of ours below them is.
//!
//! Such a root has no row of its own, and is named by its subject key identifier. It is tainted and revoked with all of
//! our CAs below it, so that none of them may sign, or be about to: what is below another root has to come first.

use secplane_identity::x509::Certificate;

use super::{Authorities, LifecycleError, Line, StepError, authorities::roots_of};
use crate::{
    authority::{CaError, is_self_issued, split_certificates},
    store::{AuthorityRow, AuthorityState},
};

impl Authorities {
    /// The IDs of our CAs below an outside root, those that were revoked excepted.
    ///
    /// # Errors
    /// When there is no outside root, none of this identifier, or the active CA is below it.
    pub(super) fn below_outside_root(&self, subject_key_id: &str) -> Result<Vec<String>, LifecycleError> {
        let is_trusted = |row: &&AuthorityRow| {
            row.kind == Line::Root.kind() && !row.chain.is_empty() && row.state != AuthorityState::Revoked
        };
        let mut from_outside = self.rows().iter().filter(is_trusted).peekable();
        if from_outside.peek().is_none() {
            return Err(LifecycleError::NoUpstream);
        }
        if subject_key_id.is_empty() {
            return Err(StepError::NoSubjectKeyId.into());
        }
        let mut below = Vec::new();
        for row in from_outside {
            if !outside_roots(row)?.iter().any(|id| id == subject_key_id) {
                continue;
            }
            if row.state == AuthorityState::Active {
                return Err(StepError::UpstreamOfActive.into());
            }
            below.push(row.key_id.clone());
        }
        if below.is_empty() { Err(StepError::UnexpectedUpstream.into()) } else { Ok(below) }
    }

    /// Nothing new comes below a root that is on its way out: it would call that root good again.
    ///
    /// A CA of before that had other roots beside it may have been tainted for the sake of one of those.
    pub(super) fn refuse_below_tainted(&self, new: &AuthorityRow) -> Result<(), LifecycleError> {
        let mut on_the_way_out = Vec::new();
        let is_going = |row: &&AuthorityRow| {
            row.kind == Line::Root.kind() && row.state == AuthorityState::Old && row.tainted
        };
        for row in self.rows().iter().filter(is_going) {
            if let [root] = roots_of(row)?.as_slice() {
                on_the_way_out.push(root.clone());
            }
        }
        let roots = roots_of(new)?;
        if !roots.is_empty() && roots.iter().all(|root| on_the_way_out.contains(root)) {
            return Err(LifecycleError::TaintedUpstream(outside_roots(new)?));
        }
        Ok(())
    }
}

/// The subject key identifiers of the outside roots above a CA.
pub(crate) fn outside_roots(row: &AuthorityRow) -> Result<Vec<String>, CaError> {
    let mut ids = Vec::new();
    for der in split_certificates(&row.chain)?.iter().filter(|der| is_self_issued(der)) {
        ids.extend(Certificate::parse(der)?.subject_key_id);
    }
    Ok(ids)
}

#[cfg(test)]
mod tests;
