//! CAs that others have below ours: those of meshes below the active root, those of downstream authorities below the
//! issuing CA of this replica.
//!
//! Their keys are not here, and what they sign is not known here. So each stands among the authorities from before it
//! is handed out: a root is not taken away from under it unforced, and it can be revoked by its serial number or key.

use std::{sync::Arc, time::Duration};

use rustls_pki_types::CertificateDer;
use secplane_identity::{revocation::KeyHash, x509::Certificate};

use super::{Lifecycle, LifecycleError, Turn, row};
use crate::{
    audit::Action,
    authority::{CertificateRequest, Validity},
    instant::unix,
    issuance::Requester,
    store::{AuthorityFilter, AuthorityKind, AuthorityRow, AuthorityState, Commit},
};

/// The most CAs of one downstream authority that are neither revoked nor expired: enough for many replicas of it, each
/// of which renews at half of a life, and not so many that everybody who reads the authorities suffers.
const MOST_DOWNSTREAM: usize = 256;

/// Whose CA it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaOfAnother {
    /// A mesh's, below the active root: it signs leaves for as long as a mesh keeps its CA.
    Mesh,
    /// A downstream authority's, below the issuing CA: it is renewed as often as that is.
    Downstream,
}

impl CaOfAnother {
    fn kind(self) -> AuthorityKind {
        match self {
            Self::Mesh => AuthorityKind::Mesh,
            Self::Downstream => AuthorityKind::Downstream,
        }
    }
}

/// A CA that somebody wants.
#[derive(Debug)]
pub struct OrderForAnother {
    /// Whose it will be.
    pub whose: CaOfAnother,
    /// The request with the public key, read by [`CertificateRequest::parse_for_ca`].
    pub request: CertificateRequest,
    /// How long it shall live. It never outlives its issuer.
    pub lifetime: Duration,
    /// Who asked.
    pub by: Requester,
}

/// A CA that was signed for somebody else.
#[derive(Debug, Clone)]
pub struct CertifiedCa {
    /// Its chain: the new CA first, the root excepted.
    pub chain: Vec<CertificateDer<'static>>,
    /// The roots above the CA of the trust domain at the time of signing.
    pub roots: Vec<CertificateDer<'static>>,
}

impl Lifecycle {
    /// Signs a CA for somebody else's key, records it, and answers it with the roots that it leads to. They are those
    /// of the same turn: another root may sign before the call has its turn, and after it.
    ///
    /// It goes on in a task of its own when the caller goes away.
    ///
    /// # Errors
    /// When the key or the caller's certificate was revoked, a downstream authority has too many, or the CA cannot be
    /// signed or recorded: then nothing is handed out.
    pub async fn sign_for_another(
        self: &Arc<Self>,
        order: OrderForAnother,
    ) -> Result<CertifiedCa, LifecycleError> {
        let lifecycle = Arc::clone(self);
        let task = self.tasks.spawn(async move {
            // No root changes meanwhile: none is tainted between its look at what depends on it and our record.
            let turn = lifecycle.turn.lock().await;
            let (by, kind) = (order.by.clone(), order.whose.kind());
            let result = lifecycle.sign_in_turn(&turn, order).await;
            if let Err(error) = &result {
                let event = by.event(Action::CertificateIssue, "").with("kind", kind_of_certificate(kind));
                lifecycle.vault.store.record(event.failed(error.to_string())).await?;
            }
            result
        });
        task.await.unwrap_or(Err(LifecycleError::Interrupted))
    }

    async fn sign_in_turn(
        &self,
        _turn: &Turn<'_>,
        order: OrderForAnother,
    ) -> Result<CertifiedCa, LifecycleError> {
        let OrderForAnother { whose, request, lifetime, by } = order;
        let key = KeyHash::from(request.key().sha256());
        if self.issuance.revoked().contains_key(&key) {
            return Err(LifecycleError::KeyRevoked(key));
        }
        if whose == CaOfAnother::Downstream {
            self.refuse_too_many_cas(&by).await?;
        }
        let (domain_ca, issuing, now) = (self.domain_ca(), self.issuance.issuing(), self.vault.clock.now());
        let roots = domain_ca.roots().map(|root| root.der.clone()).collect();
        let issuer = match whose {
            CaOfAnother::Mesh => domain_ca.key_id().to_owned(),
            CaOfAnother::Downstream => issuing.key_id().to_owned(),
        };
        // A root's key may be in a token, which blocks.
        let signed = tokio::task::spawn_blocking(move || match whose {
            CaOfAnother::Mesh => domain_ca.sign_outside_ca(&request, lifetime, now),
            CaOfAnother::Downstream => issuing.sign_downstream_ca(request.key(), lifetime, now),
        });
        let chain = signed.await.map_err(|_| LifecycleError::Interrupted)??;
        let row = AuthorityRow { replica: by.name().to_owned(), ..self.row_of_ca(whose, issuer, &chain)? };
        let event = by
            .event(Action::CertificateIssue, row.key_id.as_str())
            .with("kind", kind_of_certificate(row.kind))
            .with("issuer", row.issuer_key_id.as_str())
            .with("expires_at", row.not_after.to_string());
        let changes = by.still_trusted().into_iter().chain([self.vault.add(row)]).collect();
        self.vault.store.commit(Commit { changes, events: vec![event] }).await?;
        Ok(CertifiedCa { chain, roots })
    }

    async fn refuse_too_many_cas(&self, by: &Requester) -> Result<(), LifecycleError> {
        let filter = AuthorityFilter {
            kind: Some(AuthorityKind::Downstream),
            state: Some(AuthorityState::Active),
            replica: Some(by.name().to_owned()),
        };
        let now = unix(self.vault.clock.now());
        let rows = self.vault.store.authorities(&filter).await?;
        // Rows that somebody wrote would keep a downstream authority from its next CA.
        let is_counted = |row: &&AuthorityRow| row.not_after >= now && row::is_ours(row, &self.vault.mac);
        let count = rows.iter().filter(is_counted).count();
        if count < MOST_DOWNSTREAM {
            return Ok(());
        }
        Err(LifecycleError::TooMany(format!(
            "{} has {count} CAs that are neither expired nor revoked, and may have no more; wait until some have ended, or \
             revoke them (`secctl cert revoke`)",
            by.name()
        )))
    }

    fn row_of_ca(
        &self,
        whose: CaOfAnother,
        issuer: String,
        chain: &[CertificateDer<'static>],
    ) -> Result<AuthorityRow, LifecycleError> {
        let ca = chain.first().ok_or(LifecycleError::Interrupted)?;
        let ca = Certificate::parse(ca).map_err(crate::authority::CaError::from)?;
        let validity = Validity { not_before: ca.not_before, not_after: ca.not_after };
        let (kind, state) = (whose.kind(), AuthorityState::Active);
        let row = self.vault.row_of_another(kind, state, ca.serial, ca.der.to_vec(), validity);
        Ok(AuthorityRow { issuer_key_id: issuer, created_at: unix(self.vault.clock.now()), ..row })
    }
}

/// What the audit log calls such a certificate.
fn kind_of_certificate(kind: AuthorityKind) -> String {
    format!("{}-ca", kind.as_str())
}

#[cfg(test)]
mod tests;
