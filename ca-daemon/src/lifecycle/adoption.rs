//! Rows of the first schema, which had no proof of who wrote them.
//!
//! They are proven once, at the first start after the migration: while not a single row has a proof yet. A row is
//! taken over only if its private key is here and fits, for whoever can only write the database cannot seal a key
//! under the wrapping key.

use secplane_identity::x509::Certificate;

use super::{LifecycleError, steps::expiry, vault::Vault};
use crate::{
    instant::unix,
    store::{AuthorityKind, AuthorityRow, AuthorityState, Change, Commit},
};

pub(super) async fn adopt(vault: &Vault, rows: &[AuthorityRow]) -> Result<(), LifecycleError> {
    let (mut changes, mut events) = (Vec::new(), Vec::new());
    for row in rows.iter().filter(|row| row.mac.is_none()) {
        // In both cases the row as it stands has to go.
        changes.push(Change::ForgetAuthority(row.key_id.clone()));
        match proven(vault, row).await {
            Ok(proven) => changes.push(vault.add(proven)),
            // Without its root there is no authority; an issuing CA is made anew.
            Err(error) if row.kind == AuthorityKind::Root => return Err(error),
            Err(error) => {
                tracing::warn!(key_id = row.key_id, %error, "an old issuing CA is forgotten");
                events.push(expiry(row).with("reason", error.to_string()));
            }
        }
    }
    vault.store.commit(Commit { changes, events }).await?;
    tracing::info!("the authorities of the first schema are proven from now on");
    Ok(())
}

async fn proven(vault: &Vault, row: &AuthorityRow) -> Result<AuthorityRow, LifecycleError> {
    let key = vault.keys.ca_key(&row.key_id).await?;
    let certificate = Certificate::parse(&row.public).map_err(crate::authority::CaError::from)?;
    if key.public_key_info() != certificate.public_key_info || key.id() != row.key_id {
        return Err(LifecycleError::ForeignKey(row.key_id.clone()));
    }
    let row = AuthorityRow {
        not_before: unix(certificate.not_before),
        not_after: unix(certificate.not_after),
        ..row.clone()
    };
    Ok(match row.kind {
        AuthorityKind::Issuing => AuthorityRow {
            // Whose it was is not known; each replica makes its own.
            state: AuthorityState::Old,
            issuer_key_id: certificate.authority_key_id.unwrap_or_default(),
            replica: vault.replica.clone(),
            ..row
        },
        // Of the others the first schema had none.
        AuthorityKind::Root | AuthorityKind::Jwt | AuthorityKind::Mesh | AuthorityKind::Downstream => {
            AuthorityRow { issuer_key_id: row.key_id.clone(), replica: String::new(), ..row }
        }
    })
}
