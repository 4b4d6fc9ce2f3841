//! The life of roots and of JWT keys as a state machine, without I/O: which step is legal from which state.
//!
//! ```text
//!            activate of another            taint             revoke
//! prepared ──────────────────────▶ active ─────────▶ old ─────────▶ old, tainted ─────────▶ revoked
//!    │         activate of this one           (by the next activation)                         ▲
//!    └── prepare again, forced ─────────────────────────────────────────────────────────────────┘
//! ```
//!
//! What is prepared, active or old is trusted; what is active signs. At most one authority of a line is prepared and
//! at most one is active, so that each step has one meaning, and a step that two replicas take at once is taken once.

use std::time::{Duration, SystemTime};

use crate::{
    authority::Validity,
    instant::from_unix,
    store::{AuthorityKind, AuthorityRow, AuthorityState},
};

/// Authorities that succeed one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Line {
    /// The CAs that sign issuing CAs: roots, or CAs below outside roots.
    Root,
    /// The keys that sign JWT-SVIDs.
    Jwt,
}

impl Line {
    /// How its members stand in the database.
    #[must_use]
    pub fn kind(self) -> AuthorityKind {
        match self {
            Self::Root => AuthorityKind::Root,
            Self::Jwt => AuthorityKind::Jwt,
        }
    }
}

/// One authority of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What names it.
    pub key_id: String,
    /// Where it stands.
    pub state: AuthorityState,
    /// On its way out.
    pub tainted: bool,
    /// When it came into its state.
    pub since: SystemTime,
    /// When it is valid.
    pub validity: Validity,
    /// Somebody else signed it, so that only an admin can prepare its successor.
    pub is_from_outside: bool,
    /// Somebody else has its key: it is trusted, and never signed here.
    pub is_of_somebody_else: bool,
}

impl From<&AuthorityRow> for Member {
    fn from(row: &AuthorityRow) -> Self {
        Self {
            key_id: row.key_id.clone(),
            state: row.state,
            tainted: row.tainted,
            since: from_unix(row.since),
            validity: Validity { not_before: from_unix(row.not_before), not_after: from_unix(row.not_after) },
            is_from_outside: !row.chain.is_empty(),
            is_of_somebody_else: row.is_of_somebody_else(),
        }
    }
}

/// All authorities of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Succession {
    line: Line,
    members: Vec<Member>,
}

/// What a step makes of one authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Which.
    pub key_id: String,
    /// Its state from then on.
    pub state: AuthorityState,
    /// Whether it is tainted from then on.
    pub tainted: bool,
}

/// What preparing comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preparation {
    /// One is prepared already.
    Stands(String),
    /// A new one is to be made, after these moves.
    Make(Vec<Move>),
}

impl Succession {
    /// Of these members.
    #[must_use]
    pub fn new(line: Line, members: Vec<Member>) -> Self {
        Self { line, members }
    }

    /// Which line it is.
    #[must_use]
    pub fn line(&self) -> Line {
        self.line
    }

    /// All of them.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The one that signs.
    #[must_use]
    pub fn active(&self) -> Option<&Member> {
        self.in_state(AuthorityState::Active)
    }

    /// The one that will sign next.
    #[must_use]
    pub fn prepared(&self) -> Option<&Member> {
        self.in_state(AuthorityState::Prepared)
    }

    /// The one that signed last.
    #[must_use]
    pub fn old(&self) -> Option<&Member> {
        let has_signed =
            |member: &&Member| member.state == AuthorityState::Old && !member.is_of_somebody_else;
        self.members.iter().filter(has_signed).max_by_key(|old| old.since)
    }

    fn in_state(&self, state: AuthorityState) -> Option<&Member> {
        self.members.iter().find(|member| member.state == state)
    }

    fn member(&self, key_id: &str) -> Result<&Member, StepError> {
        if key_id.is_empty() {
            return Err(StepError::NoId);
        }
        self.members.iter().find(|member| member.key_id == key_id).ok_or(StepError::UnexpectedId)
    }

    /// Makes room for a new authority. One that is prepared already is good enough, unless `force` wants another.
    ///
    /// # Errors
    /// When nothing is active yet.
    pub fn prepare(&self, force: bool) -> Result<Preparation, StepError> {
        self.active().ok_or(StepError::NotBegun)?;
        match self.prepared() {
            Some(prepared) if !force => Ok(Preparation::Stands(prepared.key_id.clone())),
            Some(prepared) => Ok(Preparation::Make(vec![prepared.to(AuthorityState::Revoked)])),
            None => Ok(Preparation::Make(Vec::new())),
        }
    }

    /// Lets the prepared one sign from now on; the active one becomes old.
    ///
    /// # Errors
    /// When it is not prepared, or has not been trusted for `publish_ahead` yet and is not forced.
    pub fn activate(
        &self,
        key_id: &str,
        publish_ahead: Duration,
        now: SystemTime,
        force: bool,
    ) -> Result<Vec<Move>, StepError> {
        let member = self.member(key_id)?;
        match member.state {
            AuthorityState::Prepared => {}
            AuthorityState::Old => return Err(StepError::NotPrepared),
            AuthorityState::Active | AuthorityState::Revoked => return Err(StepError::UnexpectedId),
        }
        let active = self.active().ok_or(StepError::NotBegun)?;
        let from = published_from(member, active, publish_ahead);
        if !force && now < from {
            return Err(StepError::NotPublished { until: from });
        }
        Ok(vec![active.to(AuthorityState::Old), member.to(AuthorityState::Active)])
    }

    /// Marks an old one: whoever holds what it signed gets a successor at once.
    ///
    /// # Errors
    /// When it is not old.
    pub fn taint(&self, key_id: &str) -> Result<Vec<Move>, StepError> {
        let member = self.member(key_id)?;
        match member.state {
            AuthorityState::Old => Ok(vec![Move { tainted: true, ..member.to(AuthorityState::Old) }]),
            AuthorityState::Active => Err(StepError::TaintsActive(self.line)),
            AuthorityState::Prepared | AuthorityState::Revoked => Err(StepError::TaintsOther(self.line)),
        }
    }

    /// Takes the trust from an old one that was tainted; or was not, when it is forced.
    ///
    /// Whether anything below it is still in use is for the caller to find out.
    ///
    /// # Errors
    /// When it is not old, or not tainted and not forced.
    pub fn revoke(&self, key_id: &str, force: bool) -> Result<Vec<Move>, StepError> {
        let member = self.member(key_id)?;
        match (self.line, member.state) {
            (_, AuthorityState::Old) if member.tainted || force => {
                Ok(vec![member.to(AuthorityState::Revoked)])
            }
            (_, AuthorityState::Old) => Err(StepError::NotTainted(self.line)),
            (_, AuthorityState::Active) => Err(StepError::RevokesActive(self.line)),
            (Line::Root, _) => Err(StepError::RevokesOther),
            (Line::Jwt, AuthorityState::Prepared) => Err(StepError::RevokesPreparedKey),
            (Line::Jwt, AuthorityState::Revoked) => Err(StepError::UnexpectedId),
        }
    }
}

impl Member {
    fn to(&self, state: AuthorityState) -> Move {
        Move { key_id: self.key_id.clone(), state, tainted: self.tainted }
    }

    /// Whether trust bundles hold it at `now`.
    #[must_use]
    pub fn is_trusted(&self, now: SystemTime) -> bool {
        self.state != AuthorityState::Revoked && now <= self.validity.not_after
    }
}

/// From when on everybody knows the prepared one, who follows the trust bundle. An active one that expires before
/// that is waited for no longer: nobody is better off with it.
pub(super) fn published_from(prepared: &Member, active: &Member, publish_ahead: Duration) -> SystemTime {
    let known = prepared.since + publish_ahead;
    known.min(active.validity.not_after.max(prepared.since))
}

/// Why a step is not taken. The texts are those that clients of the API know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// Nothing was named.
    #[error("no authority ID provided")]
    NoId,
    /// No outside root was named.
    #[error("no subject key ID provided")]
    NoSubjectKeyId,
    /// The CA that signs is below this outside root.
    #[error(
        "unable to use upstream authority signing current authority; let a CA below another root sign first"
    )]
    UpstreamOfActive,
    /// None of our CAs is below an outside root of this identifier.
    #[error("upstream authority didn't sign the old local authority")]
    UnexpectedUpstream,
    /// No authority of the line has this ID, or it is not the one that the step is for.
    #[error("unexpected authority ID")]
    UnexpectedId,
    /// Nothing is active.
    #[error("server is initializing")]
    NotBegun,
    /// Activates an old one.
    #[error("only Prepared authorities can be activated")]
    NotPrepared,
    /// Taints the one that signs.
    #[error("unable to taint current local authority")]
    TaintsActive(Line),
    /// Taints one that was never active, or is revoked.
    #[error("only Old local authorities can be tainted")]
    TaintsOther(Line),
    /// Revokes the one that signs.
    #[error("unable to revoke current local authority")]
    RevokesActive(Line),
    /// Revokes a root that is not old.
    #[error("only Old local authority can be revoked")]
    RevokesOther,
    /// Revokes the next JWT key.
    #[error("unable to revoke a prepared key; prepare another one with force to put it aside")]
    RevokesPreparedKey,
    /// Revokes without a taint before.
    #[error("{}", match .0 {
        Line::Root => "failed to revoke X.509 authority: it is not possible to revoke an untainted root CA",
        Line::Jwt => "failed to revoke JWT authority: it is not possible to revoke an untainted key",
    })]
    NotTainted(Line),
    /// Followers of the trust bundle may not know it yet.
    #[error(
        "the authority has not been in the trust bundle for long enough: whoever polls the bundle may not have it yet; \
         wait, or force the step"
    )]
    NotPublished {
        /// When it will have been.
        until: SystemTime,
    },
}

#[cfg(test)]
mod tests;
