//! CAs that may sign certificates, and no lists.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use secplane_identity::x509::Certificate;

use crate::{authority, store::AuthorityRow};

/// The CAs of whom it was reported already that they may sign no list.
#[derive(Default)]
pub(super) struct Listless(Mutex<HashSet<String>>);

impl Listless {
    /// Of these CAs those that may sign lists. That another one may sign none is said once: only another certificate
    /// changes it.
    pub(super) fn leave_out(&self, cas: Vec<AuthorityRow>) -> Vec<AuthorityRow> {
        let (issuers, listless): (Vec<_>, Vec<_>) = cas.into_iter().partition(may_sign_lists);
        let mut reported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for ca in listless {
            if reported.insert(ca.key_id.clone()) {
                tracing::warn!(
                    ca = ca.key_id,
                    "the key usage of the CA lacks cRLSign, so it has no revocation list: that a CA below it is revoked \
                     is known to this authority alone, and to nobody who reads lists"
                );
            }
        }
        issuers
    }
}

/// Whether its certificate lets it. One that cannot be read is reported where a list is signed.
pub(super) fn may_sign_lists(ca: &AuthorityRow) -> bool {
    Certificate::parse(&ca.public).map_or(true, |ca| authority::may_sign_lists(&ca))
}
