//! Whose lists are kept: the roots and issuing CAs of ours whose certificates may still be valid.
//!
//! Whoever can write the database can edit the row of a CA: give it an early end, or make another kind of authority of
//! it. What it signed would go on being trusted, and nobody would hear what of it is revoked. So of a row that this
//! authority did not write only the certificate counts, and whether its private key is here.

use std::{collections::HashSet, time::SystemTime};

use secplane_identity::x509::Certificate;

use super::{listless::may_sign_lists, signers::Signers};
use crate::{
    authority::{is_self_issued, key_id_of},
    instant::unix,
    keys::RowMac,
    lifecycle::row,
    store::{AuthorityFilter, AuthorityKind, AuthorityRow, AuthorityState, Store, StoreError},
};

/// The CAs that have a list at `now`.
pub(super) async fn issuers(
    store: &Store,
    mac: &RowMac,
    signers: &Signers,
    now: SystemTime,
) -> Result<Vec<AuthorityRow>, StoreError> {
    let rows = store.authorities(&AuthorityFilter::default()).await?;
    let (ours, edited): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row::is_ours(row, mac));
    let mut known: HashSet<String> = ours.iter().map(|row| row.key_id.clone()).collect();
    let is_valid = |row: &AuthorityRow| row.not_after >= unix(now);
    let mut issuers: Vec<_> = ours.into_iter().filter(|row| signs_lists(row) && is_valid(row)).collect();
    let certified: Vec<_> = edited.into_iter().filter_map(as_certified).filter(is_valid).collect();
    for row in certified {
        if !known.contains(&row.key_id) && signers.has_key(&row).await {
            known.insert(row.key_id.clone());
            issuers.push(row);
        }
    }
    Ok(issuers)
}

/// Whether a CA has no list any more. Of a row that somebody edited that is never known.
pub(super) fn has_ended(issuer: &AuthorityRow, mac: &RowMac, now: SystemTime) -> bool {
    row::is_ours(issuer, mac)
        && (issuer.not_after < unix(now) || !signs_lists(issuer) || !may_sign_lists(issuer))
}

/// Whether a CA has lists: one of ours whose key is still there.
fn signs_lists(issuer: &AuthorityRow) -> bool {
    match issuer.kind {
        AuthorityKind::Issuing => true,
        AuthorityKind::Root => !issuer.is_of_somebody_else() && issuer.state != AuthorityState::Revoked,
        AuthorityKind::Jwt | AuthorityKind::Mesh | AuthorityKind::Downstream => false,
    }
}

/// A row as its certificate has it; `None` when it holds none of a CA.
fn as_certified(row: AuthorityRow) -> Option<AuthorityRow> {
    let certificate = Certificate::parse(&row.public).ok().filter(|certificate| certificate.is_ca)?;
    // The CA of the trust domain may itself be below an outside root. Where it is looked for as a root, the key of an
    // issuing CA is found, too.
    let is_root = row.kind == AuthorityKind::Root || is_self_issued(&row.public);
    Some(AuthorityRow {
        // As keys and lists are named; an outside CA may have given it another ID.
        key_id: key_id_of(&row.public)?,
        kind: if is_root { AuthorityKind::Root } else { AuthorityKind::Issuing },
        not_before: unix(certificate.not_before),
        not_after: unix(certificate.not_after),
        ..row
    })
}
