//! All authorities at one moment, as far as this authority wrote their rows.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use secplane_identity::{
    JwtAuthority, TrustBundle, TrustDomain,
    trust_bundle::{MAX_AUTHORITIES, TrustBundleError},
};

use super::{
    row,
    succession::{Line, Member, Succession},
};
use crate::{
    authority::{CaError, is_self_issued, split_certificates},
    instant::from_unix,
    keys::RowMac,
    store::{AuthorityFilter, AuthorityKind, AuthorityRow, AuthorityState, Store, StoreError},
};

/// Every authority that is not forgotten, the newest first, and the trust bundle's version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authorities {
    sequence: i64,
    rows: Vec<AuthorityRow>,
    /// Rows that this authority did not write: they count for nothing.
    refused: Vec<AuthorityRow>,
}

impl Authorities {
    /// Reads them. A row that is not ours is refused.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn read(store: &Store, mac: &RowMac) -> Result<Self, StoreError> {
        let sequence = async || -> Result<i64, StoreError> {
            Ok(store.trust_domain().await?.map_or(0, |row| row.bundle_sequence))
        };
        // A bundle must not carry the number of another one: read again if it changed in between.
        let mut before = sequence().await?;
        loop {
            let rows = store.authorities(&AuthorityFilter::default()).await?;
            let after = sequence().await?;
            if before == after {
                return Ok(Self::of(before, rows, mac));
            }
            before = after;
        }
    }

    fn of(sequence: i64, rows: Vec<AuthorityRow>, mac: &RowMac) -> Self {
        let (rows, refused): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row::is_ours(row, mac));
        Self { sequence, rows, refused }
    }

    pub(super) fn with_refused_reported(self) -> Self {
        for row in &self.refused {
            tracing::error!(
                key_id = row.key_id,
                kind = row.kind.as_str(),
                state = row.state.as_str(),
                "an authority is refused: its row was not written, or was changed, by somebody without the row MAC's key; restore a backup if it was one of yours, else delete it from the table `authorities`"
            );
        }
        self
    }

    /// The trust bundle's version.
    pub(super) fn sequence(&self) -> u64 {
        u64::try_from(self.sequence).unwrap_or_default()
    }

    /// All of them.
    #[must_use]
    pub fn rows(&self) -> &[AuthorityRow] {
        &self.rows
    }

    pub(crate) fn refused(&self) -> &[AuthorityRow] {
        &self.refused
    }

    /// One of them.
    #[must_use]
    pub fn row(&self, key_id: &str) -> Option<&AuthorityRow> {
        self.rows.iter().find(|row| row.key_id == key_id)
    }

    fn of_kind(&self, kind: AuthorityKind) -> impl Iterator<Item = &AuthorityRow> {
        self.rows.iter().filter(move |row| row.kind == kind)
    }

    /// A line of them.
    #[must_use]
    pub fn succession(&self, line: Line) -> Succession {
        Succession::new(line, self.of_kind(line.kind()).map(Member::from).collect())
    }

    /// The one of a line that signs.
    #[must_use]
    pub fn active(&self, line: Line) -> Option<&AuthorityRow> {
        self.of_kind(line.kind()).find(|row| row.state == AuthorityState::Active)
    }

    /// The issuing CAs that replicas sign with.
    pub fn active_issuing(&self) -> impl Iterator<Item = &AuthorityRow> {
        self.of_kind(AuthorityKind::Issuing).filter(|row| row.state == AuthorityState::Active)
    }

    /// The issuing CAs below a root.
    pub fn issuing_below<'a>(&'a self, root: &'a str) -> impl Iterator<Item = &'a AuthorityRow> {
        self.of_kind(AuthorityKind::Issuing).filter(move |row| row.issuer_key_id == root)
    }

    /// The CAs of others below a root, directly or below an issuing CA, that are neither revoked nor expired at `now`,
    /// in Unix seconds.
    pub(super) fn of_others_below(&self, root: &str, now: i64) -> Vec<&AuthorityRow> {
        let is_below = |row: &&AuthorityRow| {
            row.issuer_key_id == root || self.issuing_below(root).any(|ca| ca.key_id == row.issuer_key_id)
        };
        self.of_kind(AuthorityKind::Mesh)
            .chain(self.of_kind(AuthorityKind::Downstream))
            .filter(|row| row.state != AuthorityState::Revoked && row.not_after >= now)
            .filter(is_below)
            .collect()
    }

    /// The issuing CAs whose signatures are to be replaced, or are worth nothing any more: those that were revoked, and
    /// those below a root that is tainted or revoked.
    pub(super) fn withdrawn_issuers(&self) -> HashSet<String> {
        let is_withdrawn = |row: &&AuthorityRow| row.tainted || row.state == AuthorityState::Revoked;
        let below_roots = self
            .of_kind(AuthorityKind::Root)
            .filter(is_withdrawn)
            .flat_map(|root| self.issuing_below(&root.key_id));
        let themselves = self.of_kind(AuthorityKind::Issuing).filter(is_withdrawn);
        below_roots.chain(themselves).map(|issuing| issuing.key_id.clone()).collect()
    }

    /// What bundles hold at `now` of a line that others have the keys of.
    pub(super) fn trusted_of_others(&self, line: Line, now: SystemTime) -> Vec<&AuthorityRow> {
        let mut rows = self.trusted(line.kind(), now);
        rows.retain(|row| row.is_of_somebody_else());
        rows
    }

    /// The trust bundle: what is prepared, active or old, and has not expired. Were it too much for a bundle, those of
    /// others would be left out, the newest first: nothing that stands here may keep ours from going on.
    pub(crate) fn bundle(
        &self,
        trust_domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<TrustBundle, BundleError> {
        let mut roots: Vec<(&AuthorityRow, Vec<u8>)> = Vec::new();
        let (mut tainted, mut wanted) = (HashSet::new(), HashSet::new());
        for row in self.trusted(AuthorityKind::Root, now) {
            for root in roots_of(row)? {
                match row.tainted {
                    true => drop(tainted.insert(root.clone())),
                    // Somebody else's CA is not replaced because of a taint.
                    false if row.is_of_somebody_else() => {}
                    false => drop(wanted.insert(root.clone())),
                }
                match roots.iter_mut().find(|(_, known)| *known == root) {
                    Some((oldest, _)) if by_age(row) < by_age(oldest) => *oldest = row,
                    Some(_) => {}
                    None => roots.push((row, root)),
                }
            }
        }
        // A root that another CA of ours is below stays good with it: what that signs would be replaced for ever.
        tainted.retain(|root| !wanted.contains(root));
        let key = |row: &AuthorityRow| JwtAuthority {
            key_id: row.key_id.clone(),
            public_key_info: row.public.clone(),
            expires_at: Some(from_unix(row.not_after)),
            tainted: row.tainted,
        };
        let keys = self.trusted(AuthorityKind::Jwt, now).into_iter().map(|row| (row, key(row))).collect();
        Ok(TrustBundle::new(trust_domain.clone(), fitting(AuthorityKind::Root, roots))?
            .with_tainted_roots(&tainted)
            .with_jwt_authorities(fitting(AuthorityKind::Jwt, keys))?
            .with_sequence(self.sequence()))
    }

    /// What is trusted of a kind: first what signs or will sign, then what signed here, then those of others.
    fn trusted(&self, kind: AuthorityKind, now: SystemTime) -> Vec<&AuthorityRow> {
        let mut rows: Vec<_> = self.of_kind(kind).filter(|row| Member::from(*row).is_trusted(now)).collect();
        let is_old = |row: &AuthorityRow| row.state == AuthorityState::Old;
        rows.sort_by_key(|row| (is_old(row), row.is_of_somebody_else(), by_age(row)));
        rows
    }

    /// What has expired and is of no use any more: everything but the last one that a line or `replica` signed with.
    /// Issuing CAs of other replicas are theirs to forget, unless they have not done so for a week.
    ///
    /// A CA below one of ours that was revoked is remembered until it was on a list that was made when it had expired
    /// (RFC 5280, section 3.3): half of the longest validity of a list at the latest.
    pub(super) fn expired(&self, replica: &str, now: SystemTime) -> Vec<&AuthorityRow> {
        const OTHERS: Duration = Duration::from_secs(7 * 24 * 3600);
        const LISTED: Duration = Duration::from_secs(16 * 24 * 3600);
        let is_over = |row: &&AuthorityRow| {
            let end = from_unix(row.not_after);
            let is_listed = row.state == AuthorityState::Revoked;
            match row.kind {
                AuthorityKind::Issuing | AuthorityKind::Mesh | AuthorityKind::Downstream if is_listed => {
                    end + LISTED < now
                }
                AuthorityKind::Mesh | AuthorityKind::Downstream => end < now,
                AuthorityKind::Root | AuthorityKind::Jwt => row.state != AuthorityState::Active && end < now,
                AuthorityKind::Issuing if row.replica == replica => {
                    row.state != AuthorityState::Active && end < now
                }
                AuthorityKind::Issuing => end + OTHERS < now,
            }
        };
        self.rows.iter().filter(is_over).collect()
    }

    /// When the next of them expires, that is not active.
    pub(super) fn next_expiry(&self) -> Option<SystemTime> {
        let is_waiting = |row: &&AuthorityRow| {
            matches!(row.kind, AuthorityKind::Root | AuthorityKind::Jwt)
                && row.state != AuthorityState::Active
        };
        self.rows.iter().filter(is_waiting).map(|row| from_unix(row.not_after)).min()
    }
}

/// The oldest first.
fn by_age(row: &AuthorityRow) -> (i64, &str) {
    (row.created_at, &row.key_id)
}

/// As many as a bundle has room for. The oldest come first, so that a step that changes no trust changes no byte.
fn fitting<T>(kind: AuthorityKind, mut trusted: Vec<(&AuthorityRow, T)>) -> Vec<T> {
    let left_out = trusted.len().saturating_sub(MAX_AUTHORITIES);
    if left_out > 0 {
        tracing::error!(
            kind = kind.as_str(),
            left_out,
            "the trust bundle is full: it leaves authorities out; revoke those of others that are not used any more"
        );
        trusted.truncate(MAX_AUTHORITIES);
    }
    trusted.sort_by_key(|(row, _)| by_age(row));
    trusted.into_iter().map(|(_, one)| one).collect()
}

/// What trust bundles hold on account of a CA: itself, if it is a root, and the roots above it.
pub(super) fn roots_of(row: &AuthorityRow) -> Result<Vec<Vec<u8>>, CaError> {
    let mut roots = split_certificates(&row.public)?;
    roots.extend(split_certificates(&row.chain)?);
    roots.retain(|der| is_self_issued(der));
    Ok(roots.iter().map(|der| der.to_vec()).collect())
}

/// Why there is no trust bundle of the rows.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A row holds something else than certificates.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// What it holds cannot be in a bundle.
    #[error(transparent)]
    Bundle(#[from] TrustBundleError),
}
