//! What a caller asked for and was not given is taken note of, with what they asked for.
//!
//! The core records what it does, and steps, certificates and tokens that fail on the way. What is refused before that
//! is known to the services alone. [`denials`](super::denials) sees calls that were denied as a whole, but neither the
//! items of a batch nor what a call was about.

use secplane_proto::spire::api::types;
use tonic::{Code, Status};

use super::services::Services;
use crate::{
    access::Caller,
    audit::{Action, Event},
};

impl Services {
    /// Passes on what became of a request that is about `target`.
    pub(super) fn noted<T>(
        &self,
        caller: &Caller,
        action: Action,
        target: &str,
        outcome: Result<T, Status>,
    ) -> Result<T, Status> {
        outcome.inspect_err(|status| self.note(caller, action, target, status))
    }

    /// Takes note of a request that was refused or failed.
    pub(super) fn note(&self, caller: &Caller, action: Action, target: &str, status: &Status) {
        let is_denied = matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated);
        self.note_as(is_denied, caller, action, target, status);
    }

    /// As [`Services::note`], of an agent that asked for an SVID of an entry. It is not told whether others have an
    /// entry that it may not act for, or nobody has; either way it may not.
    pub(super) fn note_of_entry(&self, caller: &Caller, action: Action, entry_id: &str, status: &Status) {
        let is_denied = matches!(status.code(), Code::NotFound | Code::PermissionDenied);
        self.note_as(is_denied, caller, action, entry_id, status);
    }

    fn note_as(&self, is_denied: bool, caller: &Caller, action: Action, target: &str, status: &Status) {
        let event = Event::by(caller, action, target);
        let event = if is_denied { event.denied(status.message()) } else { event.failed(status.message()) };
        self.witness.not_given(caller, event);
    }
}

/// A SPIFFE ID as it was sent, right or wrong.
pub(super) fn named(wire: Option<&types::Spiffeid>) -> String {
    wire.map(|id| format!("spiffe://{}{}", id.trust_domain, id.path)).unwrap_or_default()
}
