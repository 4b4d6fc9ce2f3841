//! Roots and JWT keys of others that are trusted beside ours: those of an authority that takes over or is taken over,
//! and those that downstream authorities sign with.
//!
//! They stand in the same lines as ours, as old ones that never signed here. So they are tainted and revoked by the same
//! steps, and leave the trust bundle by themselves when they expire.

use std::sync::Arc;

use secplane_identity::{JwtAuthority, TrustBundle, trust_bundle::MAX_AUTHORITIES, x509::Certificate};

use super::{Authorities, Lifecycle, LifecycleError, Line, Turn};
use crate::{
    audit::Action,
    authority::{Validity, is_self_issued},
    instant::{from_unix, no_end, unix},
    issuance::Requester,
    store::{AuthorityRow, AuthorityState, Change},
};

/// The most roots of others in the trust bundle, and the most of their JWT keys: no more than half of it.
const MOST_OF_OTHERS: usize = MAX_AUTHORITIES / 2;
/// The most of either that came from one caller.
const MOST_OF_ONE: usize = 64;

const NO_ROOTS: [&[u8]; 0] = [];

/// What is to be trusted.
#[derive(Debug, Clone, Default)]
pub struct ForeignAuthorities {
    /// Roots.
    pub roots: Vec<Certificate>,
    /// Keys that sign JWT-SVIDs.
    pub jwt_keys: Vec<JwtAuthority>,
}

impl Lifecycle {
    /// Puts roots and JWT keys of others into the trust bundle. What is in it already stays as it is. When this returns
    /// it is on disk, and this replica publishes it.
    ///
    /// # Errors
    /// When one is not fit for it, another one has its ID, they are too many, or the caller's certificate was revoked.
    pub async fn publish_foreign(
        self: &Arc<Self>,
        foreign: ForeignAuthorities,
        by: Requester,
    ) -> Result<(), LifecycleError> {
        let lifecycle = Arc::clone(self);
        let task = self.tasks.spawn(async move {
            let turn = lifecycle.turn.lock().await;
            lifecycle.publish_in_turn(&turn, foreign, &by).await
        });
        task.await.unwrap_or(Err(LifecycleError::Interrupted))
    }

    async fn publish_in_turn(
        &self,
        turn: &Turn<'_>,
        foreign: ForeignAuthorities,
        by: &Requester,
    ) -> Result<(), LifecycleError> {
        let standing = self.catch_up(turn).await?.standing;
        let bundle = Arc::clone(&self.issuance.bundle().borrow());
        let mut rows = Vec::new();
        for root in foreign.roots {
            if !bundle.authorities().any(|known| known.der == root.der) {
                rows.push(self.row_of_root(&root)?);
            }
        }
        for key in foreign.jwt_keys {
            match bundle.jwt_authority(&key.key_id) {
                Some(known) if known.public_key_info == key.public_key_info => {}
                Some(_) => return Err(LifecycleError::IdTaken(key.key_id)),
                None => rows.push(self.row_of_key(key)?),
            }
        }
        refuse_taken(&standing, &rows)?;
        for row in &mut rows {
            by.name().clone_into(&mut row.replica);
        }
        self.refuse_too_many(&standing, &rows, by)?;
        let Some(first) = rows.first() else { return Ok(()) };
        let event = by
            .event(Action::AuthorityPublish, first.key_id.as_str())
            .with("all", rows.iter().map(|row| row.key_id.as_str()).collect::<Vec<_>>().join(" "));
        let mut changes: Vec<_> = by.still_trusted().into_iter().collect();
        changes.extend(rows.into_iter().map(|row| self.vault.add(row)));
        changes.push(Change::AdvanceBundle);
        self.commit(turn, changes, event).await
    }

    /// A bundle has no room for any number. Were it full, nothing of ours could come into it.
    fn refuse_too_many(
        &self,
        standing: &Authorities,
        rows: &[AuthorityRow],
        by: &Requester,
    ) -> Result<(), LifecycleError> {
        let now = self.vault.clock.now();
        for (line, what) in [(Line::Root, "roots"), (Line::Jwt, "JWT keys")] {
            let new = rows.iter().filter(|row| row.kind == line.kind()).count();
            let known = standing.trusted_of_others(line, now);
            let of_one = known.iter().filter(|row| row.replica == by.name()).count();
            let refuse = |whose: String, count: usize, most: usize| {
                Err(LifecycleError::TooMany(format!(
                    "{count} {what} of {whose} are in the trust bundle, and {new} more would be too many: {most} may be; \
                     revoke those that are not used any more"
                )))
            };
            if new > 0 && of_one + new > MOST_OF_ONE {
                return refuse(by.name().to_owned(), of_one, MOST_OF_ONE);
            }
            if new > 0 && known.len() + new > MOST_OF_OTHERS {
                return refuse("others".to_owned(), known.len(), MOST_OF_OTHERS);
            }
        }
        Ok(())
    }

    fn row_of_root(&self, root: &Certificate) -> Result<AuthorityRow, LifecycleError> {
        let unfit = |why: &str| Err(LifecycleError::Unfit(format!("root {} {why}", root.serial)));
        if !is_self_issued(&root.der) {
            return unfit("is not self-signed; only roots are trusted");
        }
        if root.not_after < self.vault.clock.now() {
            return unfit("has expired");
        }
        let own = self.vault.trust_domain.id();
        if root.uris.iter().any(|uri| *uri != own) {
            return unfit(&format!("names another trust domain than {own}; federate with it instead"));
        }
        // Whatever else a bundle asks of a root.
        if let Err(error) = TrustBundle::new(self.vault.trust_domain.clone(), [&root.der]) {
            return unfit(&error.to_string());
        }
        let Some(key_id) = root.subject_key_id.clone() else {
            return unfit("has no subject key identifier (RFC 5280, section 4.2.1.2)");
        };
        let validity = Validity { not_before: root.not_before, not_after: root.not_after };
        let kind = Line::Root.kind();
        Ok(self.vault.row_of_another(kind, AuthorityState::Old, key_id, root.der.to_vec(), validity))
    }

    fn row_of_key(&self, key: JwtAuthority) -> Result<AuthorityRow, LifecycleError> {
        let bundle = TrustBundle::new(self.vault.trust_domain.clone(), NO_ROOTS);
        // A key that no bundle document can say would keep the whole bundle from being served.
        let said = bundle.and_then(|bundle| bundle.with_jwt_authorities(vec![key.clone()])?.to_spiffe_json());
        if let Err(error) = said {
            return Err(LifecycleError::Unfit(format!("JWT key `{}`: {error}", key.key_id)));
        }
        let now = from_unix(unix(self.vault.clock.now()));
        let end = key.expires_at.map_or_else(no_end, |end| end.min(no_end()));
        let validity = Validity { not_before: now, not_after: end };
        let kind = Line::Jwt.kind();
        let (id, public) = (key.key_id, key.public_key_info);
        Ok(self.vault.row_of_another(kind, AuthorityState::Old, id, public, validity))
    }
}

/// An ID names one authority of the trust domain, whether or not it is trusted still.
fn refuse_taken(standing: &Authorities, rows: &[AuthorityRow]) -> Result<(), LifecycleError> {
    for (position, row) in rows.iter().enumerate() {
        let is_twice = rows[..position].iter().any(|other| other.key_id == row.key_id);
        if is_twice || standing.row(&row.key_id).is_some() {
            return Err(LifecycleError::IdTaken(row.key_id.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
