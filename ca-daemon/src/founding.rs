//! How an authority begins: the first start makes a root, a JWT key and an issuing CA, every later one finds them
//! again.

mod issuing;

use std::{path::PathBuf, sync::Arc, time::Duration};

use secplane_identity::{TrustBundle, TrustDomain};

use self::issuing::issuing_ca;
use crate::{
    audit::{Action, Event},
    authority::{DomainCa, IssuingCa},
    keys::KeyStoreError,
    lifecycle::{Authorities, FoundedAuthorities, LifecycleError, Line, Move, Vault},
    store::{AuthorityRow, AuthorityState, Change, Commit, StoreError, TrustDomainRow},
    upstream::PemCa,
};

/// The secret that is kept while a first start makes keys, so that the next one knows whose they are if it is cut short.
const BEGINNING: &str = "first-start";

/// The CA of a trust domain and an issuing CA below it, ready to issue.
pub struct Founded {
    /// The issuing CA.
    pub issuing: IssuingCa,
    /// What is trusted.
    pub bundle: TrustBundle,
    /// The authorities as they stand.
    pub authorities: FoundedAuthorities,
    /// Whether this start made the root.
    pub is_new: bool,
}

impl Founded {
    /// The CA of the trust domain.
    #[must_use]
    pub fn domain_ca(&self) -> &Arc<DomainCa> {
        &self.authorities.domain_ca
    }
}

/// Finds the authority of the vault's trust domain in its store, or makes it.
///
/// # Errors
/// When the store belongs to another trust domain, a key is missing or does not open, or there are keys and no
/// authority in the store.
pub async fn found(vault: &Vault) -> Result<Founded, FoundingError> {
    found_below(vault, None).await
}

/// As [`found`]; a trust domain that begins does so with the CA from the PEM files of `folder`, if one is given,
/// instead of a root of its own. One that stands takes in what was renewed in them for a key that it knows: it comes
/// first, because nothing can be signed below a certificate that has expired.
///
/// # Errors
/// As [`found`], or when the files cannot be taken in.
pub async fn found_below(vault: &Vault, folder: Option<PathBuf>) -> Result<Founded, FoundingError> {
    let has_begun = vault.store.trust_domain().await?.is_some();
    let is_new = if has_begun { false } else { begin_where_nothing_is(vault, folder.clone()).await? };
    vault.keys.forget(BEGINNING).await.map_err(LifecycleError::from)?;
    if let Some(row) = vault.store.trust_domain().await?.filter(|row| row.name != vault.trust_domain.as_str())
    {
        let wanted = vault.trust_domain.clone();
        return Err(FoundingError::OtherTrustDomain { found: row.name, wanted });
    }
    let mut standing = vault.read().await?;
    if let Some(folder) = folder.filter(|_| !is_new) {
        let files = PemCa::read_blocking(folder).await.map_err(LifecycleError::from)?;
        if vault.take_renewed(&standing, files).await? {
            standing = vault.read().await?;
        }
    }
    if replace_expired(vault, &standing).await? {
        standing = vault.read().await?;
    }
    if standing.active(Line::Root).is_none() {
        return Err(LifecycleError::NoRoot.into());
    }
    if standing.active(Line::Jwt).is_none() {
        begin_jwt(vault, &standing).await?;
    }
    let (domain_ca, issuing) = issuing_ca(vault, &standing).await?;
    let authorities = vault.read().await?;
    // What a first start finds is nothing that this authority has retired.
    if has_begun {
        vault.destroy_retired_keys(&authorities).await?;
    }
    let jwt_key = authorities.active(Line::Jwt).ok_or(LifecycleError::NoJwtKey)?;
    let jwt_key = vault.jwt_key(jwt_key).await?;
    let bundle = authorities.bundle(&vault.trust_domain, vault.clock.now()).map_err(LifecycleError::from)?;
    let authorities = FoundedAuthorities { authorities, domain_ca, jwt_key };
    Ok(Founded { issuing, bundle, authorities, is_new })
}

/// Makes a trust domain, unless there are private keys already: then its database was lost, and whoever made a new one
/// would have everybody trust another root.
async fn begin_where_nothing_is(vault: &Vault, folder: Option<PathBuf>) -> Result<bool, FoundingError> {
    let found = keys_without_database(vault).await.map_err(LifecycleError::from)?;
    // After looking for keys: another replica that begins at this moment notes it before it makes any.
    let was_cut_short = vault.keys.load_secret(BEGINNING).await.map_err(LifecycleError::from)?.is_some();
    if let Some(refusal) = found.filter(|_| !was_cut_short) {
        // It may have come to the end since, and the keys are those of what it began.
        return if vault.store.trust_domain().await?.is_some() { Ok(false) } else { Err(refusal) };
    }
    let name = vault.trust_domain.as_str().as_bytes();
    vault.keys.keep_secret(BEGINNING, name).await.map_err(LifecycleError::from)?;
    begin(vault, folder).await
}

/// Why nothing may begin beside the keys that are here, if there are any.
async fn keys_without_database(vault: &Vault) -> Result<Option<FoundingError>, KeyStoreError> {
    if vault.keys.holds_keys().await? {
        return Ok(Some(FoundingError::KeysWithoutDatabase));
    }
    let token = vault.keys.token_with_keys().await?;
    Ok(token.map(FoundingError::TokenKeysWithoutDatabase))
}

/// Makes a trust domain. Answers false when another replica was faster.
async fn begin(vault: &Vault, folder: Option<PathBuf>) -> Result<bool, FoundingError> {
    let root = match folder {
        Some(folder) => {
            let files = PemCa::read_blocking(folder).await.map_err(LifecycleError::from)?;
            let ca = vault.outside_ca(files).await?;
            vault.row_of(&ca, AuthorityState::Active, vault.keys.storage())
        }
        None => vault.new_root(AuthorityState::Active).await?,
    };
    let jwt = vault.new_jwt_key(AuthorityState::Active).await?;
    let trust_domain = TrustDomainRow { name: vault.trust_domain.to_string(), bundle_sequence: 1 };
    let events = vec![activated(&root), activated(&jwt)];
    let ids = [root.key_id.clone(), jwt.key_id.clone()];
    let changes = vec![Change::BeginTrustDomain(trust_domain), vault.add(root), vault.add(jwt)];
    match vault.store.commit(Commit { changes, events }).await {
        Ok(()) => Ok(true),
        Err(StoreError::Conflict(_)) => {
            // Two that begin with the same CA from outside have the same key.
            for id in ids {
                vault.destroy_unless_on_record(&id).await;
            }
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// An authority that was not running when its root expired could not start: nothing can be signed below it. Nobody
/// trusts it any more either, so its successor needs no waiting. Answers whether it was replaced.
async fn replace_expired(vault: &Vault, standing: &Authorities) -> Result<bool, FoundingError> {
    let (succession, now) = (standing.succession(Line::Root), vault.clock.now());
    let Some(expired) =
        succession.active().filter(|root| root.validity.not_after < now && !root.is_from_outside)
    else {
        return Ok(false);
    };
    let prepared = succession.prepared().filter(|root| now < root.validity.not_after);
    let (mut changes, event) = match prepared {
        Some(root) => {
            let moves =
                succession.activate(&root.key_id, Duration::ZERO, now, true).map_err(LifecycleError::from)?;
            let event = Event::by_daemon(Action::AuthorityActivate, root.key_id.as_str());
            (vault.moved(standing, &moves), event.with("kind", Line::Root.kind().as_str()))
        }
        None => {
            let root = vault.new_root(AuthorityState::Active).await?;
            let old =
                Move { key_id: expired.key_id.clone(), state: AuthorityState::Old, tainted: expired.tainted };
            let event = activated(&root);
            let mut changes = vault.moved(standing, &[old]);
            changes.push(vault.add(root));
            (changes, event)
        }
    };
    changes.push(Change::AdvanceBundle);
    match vault.store.commit(Commit { changes, events: vec![event] }).await {
        // Another replica may have been faster.
        Ok(()) | Err(StoreError::Conflict(_)) => {}
        Err(error) => return Err(error.into()),
    }
    tracing::warn!(
        key_id = expired.key_id,
        "the root had expired while no daemon ran; another one signs from now on"
    );
    Ok(true)
}

/// A database of the first schema has no JWT keys.
async fn begin_jwt(vault: &Vault, standing: &Authorities) -> Result<(), FoundingError> {
    if standing
        .refused()
        .iter()
        .any(|row| row.kind == Line::Jwt.kind() && row.state == AuthorityState::Active)
    {
        return Err(LifecycleError::NoJwtKey.into());
    }
    let jwt = vault.new_jwt_key(AuthorityState::Active).await?;
    let id = jwt.key_id.clone();
    let events = vec![activated(&jwt)];
    match vault.store.commit(Commit { changes: vec![vault.add(jwt), Change::AdvanceBundle], events }).await {
        Ok(()) => Ok(()),
        Err(StoreError::Conflict(_)) => {
            vault.destroy(&id).await;
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn activated(row: &AuthorityRow) -> Event {
    Event::by_daemon(Action::AuthorityActivate, row.key_id.as_str()).with("kind", row.kind.as_str())
}

/// Why an authority cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum FoundingError {
    /// The database belongs to another trust domain.
    #[error(
        "the data folder belongs to trust domain {found}, not {wanted}; use another folder, or configure {found}"
    )]
    OtherTrustDomain {
        /// Whose it is.
        found: String,
        /// What was configured.
        wanted: TrustDomain,
    },
    /// There are keys, and nothing that they belong to.
    #[error(
        "private keys of an authority are kept here, but its database is empty: restore it (`ca-daemon restore --force`, \
         which keeps what is here), or move the keys away to begin another authority"
    )]
    KeysWithoutDatabase,
    /// There are keys in a token, and nothing that they belong to.
    #[error(
        "the token `{0}` holds private keys of an authority of this trust domain, but its database is empty: restore it \
         (`ca-daemon restore --force`, which keeps what is here), or configure another token \
         (`keys.pkcs11.token_label`), or delete these keys, to begin another authority"
    )]
    TokenKeysWithoutDatabase(String),
    /// The authorities cannot be found, made or used.
    #[error(transparent)]
    Authorities(#[from] LifecycleError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[cfg(test)]
mod tests;
