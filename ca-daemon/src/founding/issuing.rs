//! What a start issues with: the issuing CA of this replica as it stands, or a new one.
//!
//! That no new one can be signed is no reason to stop: the key above may be away for a while, in a token or on a disk
//! that failed. What is valid still goes on then, and the lifecycle tries again for as long as the daemon runs. Where
//! nothing valid is left, there is nothing to start for.

use std::sync::Arc;

use crate::{
    authority::{DomainCa, IssuingCa},
    lifecycle::{Authorities, LifecycleError, Line, Member, Vault},
};

/// Finds or makes this replica's issuing CA, and answers it with the CA above that signs the next one.
pub(super) async fn issuing_ca(
    vault: &Vault,
    standing: &Authorities,
) -> Result<(Arc<DomainCa>, IssuingCa), LifecycleError> {
    let root = standing.active(Line::Root).ok_or(LifecycleError::NoRoot)?;
    let (domain_ca, error) = match vault.domain_ca(root).await {
        Ok(domain_ca) => match find_or_sign(vault, standing, &domain_ca).await {
            Ok(issuing) => return Ok((domain_ca, issuing)),
            Err(error) => (domain_ca, error),
        },
        Err(error) => (vault.domain_ca_without_key(root)?, error),
    };
    let Some(issuing) = still_valid(vault, standing).await else { return Err(error) };
    vault.store.metrics().set_renewal_failing(true);
    tracing::error!(
        %error,
        until = %humantime::format_rfc3339_seconds(issuing.validity().not_after),
        "no new issuing CA can be signed: the one of before issues until it ends, and it is tried again"
    );
    Ok((domain_ca, issuing))
}

/// An issuing CA whose key is lost, that is half over or that another CA signed is no obstacle: a new one is made.
async fn find_or_sign(
    vault: &Vault,
    standing: &Authorities,
    domain_ca: &Arc<DomainCa>,
) -> Result<IssuingCa, LifecycleError> {
    let row = standing
        .active_issuing()
        .find(|row| row.replica == vault.replica && row.issuer_key_id == domain_ca.key_id());
    if let Some(row) = row
        && let Some(issuing) = vault.issuing_ca(row, domain_ca).await
        && vault.clock.now() < issuing.validity().half_life()
    {
        return Ok(issuing);
    }
    vault.new_issuing_ca(domain_ca, standing).await
}

/// The issuing CA that this replica signed with last, while whoever follows the trust bundle accepts what it signs.
async fn still_valid(vault: &Vault, standing: &Authorities) -> Option<IssuingCa> {
    let row = standing.active_issuing().find(|row| row.replica == vault.replica)?;
    let above = standing.row(&row.issuer_key_id)?;
    if !Member::from(above).is_trusted(vault.clock.now()) {
        return None;
    }
    vault.issuing_ca(row, &vault.domain_ca_without_key(above).ok()?).await
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::{
        founding::FoundingError,
        issuance::Requester,
        keys::KeyStoreError,
        lifecycle::{
            Command, LifecycleError, Line, Step,
            testing::{DAY, HOUR, World},
        },
        store::testing::REPLICA,
    };

    const FAILING: &str = "secplane_ca_renewal_failing 1";

    fn is_missing(key: &str, error: &LifecycleError) -> bool {
        matches!(error, LifecycleError::KeyStore(KeyStoreError::NoKey(key_id)) if key_id == key)
    }

    #[tokio::test]
    async fn starts_with_what_is_valid_while_no_new_issuing_ca_can_be_signed() {
        let world = World::new();
        let store = world.store().await;
        let (issuance, lifecycle) = world.start_replica(&store, REPLICA).await;
        let root = lifecycle.standing().active(Line::Root).unwrap().key_id.clone();
        let before = issuance.issuing().key_id().to_owned();
        let aside = world.key_file(&root).with_extension("aside");
        fs::rename(world.key_file(&root), &aside).unwrap();

        // Its successor is due.
        world.advance(HOUR * 13);
        let (issuance, lifecycle) = world.start_replica(&store, REPLICA).await;
        assert_eq!(issuance.issuing().key_id(), before);
        assert!(store.metrics().encode().unwrap().contains(FAILING));
        let error = lifecycle.keep_up().await.unwrap_err();
        assert!(is_missing(&root, &error), "it is tried again: {error}");
        assert_eq!(issuance.issuing().key_id(), before);

        fs::rename(&aside, world.key_file(&root)).unwrap();
        lifecycle.keep_up().await.unwrap();
        assert_ne!(issuance.issuing().key_id(), before, "the key is back");

        // Nothing valid is left.
        fs::rename(world.key_file(&root), &aside).unwrap();
        world.advance(DAY * 2);
        match world.found(&store, "example.org").await {
            Err(FoundingError::Authorities(error)) => assert!(is_missing(&root, &error), "{error}"),
            other => panic!("{:?}", other.map(drop)),
        }
    }

    /// Another replica activated the next root while this one was down, and then its key was lost.
    #[tokio::test]
    async fn starts_below_the_root_of_before_while_the_next_one_cannot_sign() {
        let world = World::new();
        let store = world.store().await;
        let (issuance, _) = world.start_replica(&store, REPLICA).await;
        let (_, theirs) = world.start_replica(&store, "00000000000000bb").await;
        let before = issuance.issuing().key_id().to_owned();
        let take = async |step: Step| {
            let command = Command { line: Line::Root, step, force: true, by: Requester::local("test") };
            theirs.take(command).await.unwrap().key_id
        };
        let old = theirs.standing().active(Line::Root).unwrap().key_id.clone();
        let next = take(Step::Prepare).await;
        take(Step::Activate(next.clone())).await;
        fs::remove_file(world.key_file(&next)).unwrap();

        let (issuance, _) = world.start_replica(&store, REPLICA).await;
        assert_eq!(issuance.issuing().key_id(), before);

        // Nobody accepts what it signs any more.
        take(Step::Revoke(old)).await;
        assert!(world.found(&store, "example.org").await.is_err());
    }
}
