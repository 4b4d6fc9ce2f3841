//! The way of a JWT-SVID: granted, signed, recorded in the audit log, handed out — in that order.

mod lives;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, ArcSwapOption};

pub use self::lives::JwtLives;
pub(crate) use self::lives::{forget_lives, longest_life};
use crate::{
    agents::{Agent, Agents, AgentsError},
    audit::Action,
    authority::{JwtKey, JwtSignError, JwtSubject, SignedJwt},
    instant::{Clock, unix},
    issuance::Requester,
    keys::KeyStoreError,
    operations::metrics::IssueResult,
    registry::{Entry, EntryId},
    store::{Commit, Store, StoreError},
};

/// What metrics call them.
const KIND: &str = "jwt-svid";

/// How JWT-SVIDs are made.
#[derive(Debug, Clone)]
pub struct JwtSettings {
    /// What tokens name as their issuer (`iss`), if anything.
    pub issuer: Option<String>,
    /// How long a token lives unless its entry says otherwise.
    pub lifetime: Duration,
    /// The longest that a token lives, whatever anyone asks for.
    pub longest: Duration,
}

/// What is to be signed, and who asked.
#[derive(Debug)]
pub struct JwtOrder {
    /// What was granted.
    pub subject: JwtSubject,
    /// How long it shall live, if any may live so long; `None` for the default.
    pub lifetime: Option<Duration>,
    /// Who asked.
    pub requester: Requester,
    /// The entry that granted it.
    pub entry_id: Option<EntryId>,
}

/// A token that is not recorded yet, or why there is none.
struct Made {
    signed: Result<SignedJwt, JwtIssueError>,
    took: Duration,
}

/// Signs JWT-SVIDs with the key of the trust domain, and records them.
pub struct JwtSvids {
    key: ArcSwapOption<JwtKey>,
    settings: ArcSwap<JwtSettings>,
    lives: JwtLives,
    store: Store,
    clock: Clock,
}

impl JwtSvids {
    /// Signs once it is given a key.
    #[must_use]
    pub fn new(settings: JwtSettings, lives: JwtLives, store: Store, clock: Clock) -> Self {
        Self { key: ArcSwapOption::empty(), settings: ArcSwap::from_pointee(settings), lives, store, clock }
    }

    /// Makes tokens by other settings from now on.
    pub fn set_settings(&self, settings: JwtSettings) {
        self.settings.store(Arc::new(settings));
    }

    /// How long a token of an entry lives, if the entry says so: no longer than any may. Whoever lowers that shortens
    /// the tokens of entries that say more; to refuse them would leave their workloads without any.
    #[must_use]
    pub fn granted_lifetime(&self, entry: &Entry) -> Option<Duration> {
        let longest = self.settings.load().longest;
        entry.fields().jwt_svid_ttl.map(|ttl| ttl.min(longest))
    }

    /// Signs with another key from now on.
    pub fn use_key(&self, key: JwtKey) {
        self.key.store(Some(Arc::new(key)));
    }

    /// The key that signs; `None` before there is one.
    #[must_use]
    pub fn key(&self) -> Option<Arc<JwtKey>> {
        self.key.load_full()
    }

    /// Signs what was ordered, records it, and answers it.
    ///
    /// # Errors
    /// When the audience is not usable, there is no key, or it or its life cannot be recorded: then nothing is handed out.
    pub async fn issue(&self, order: JwtOrder) -> Result<SignedJwt, JwtIssueError> {
        let (made, commit) = self.make(order).await;
        let recorded = self.store.commit(commit).await.map_err(JwtIssueError::from);
        self.hand_out(made, recorded)
    }

    /// As [`JwtSvids::issue`], for an agent, if it still may act when that is recorded.
    ///
    /// # Errors
    /// As [`JwtSvids::issue`], and when the agent was shut out.
    pub async fn issue_for(
        &self,
        agents: &Agents,
        agent: &Agent,
        order: JwtOrder,
    ) -> Result<SignedJwt, JwtIssueError> {
        let (made, commit) = self.make(order).await;
        let recorded = agents.commit_for(agent, commit).await.map_err(JwtIssueError::from);
        self.hand_out(made, recorded)
    }

    /// Signs what was ordered, and answers with it the commit that records it.
    async fn make(&self, order: JwtOrder) -> (Made, Commit) {
        let JwtOrder { subject, lifetime, requester, entry_id } = order;
        let began = Instant::now();
        let signed = self.sign(&subject, lifetime).await;
        let took = began.elapsed();
        let event = requester
            .event(Action::JwtIssue, subject.id.as_str())
            .with("audience", subject.audience.join(" "))
            .with("entry", entry_id.as_ref().map(EntryId::as_str).unwrap_or_default());
        let event = match &signed {
            Ok((key, signed)) => event
                .with("key", key.key_id())
                .with("expires_at", unix(signed.expires_at).to_string())
                .with("jti", subject.token_id.as_deref().unwrap_or_default()),
            Err(error) => event.failed(error.to_string()),
        };
        let signed = signed.map(|(_, signed)| signed);
        (Made { signed, took }, Commit { changes: Vec::new(), events: vec![event] })
    }

    /// What was made, if it is recorded.
    fn hand_out(&self, made: Made, recorded: Result<(), JwtIssueError>) -> Result<SignedJwt, JwtIssueError> {
        let Made { signed, took } = made;
        let metrics = self.store.metrics();
        let counted = match (&signed, &recorded) {
            (Ok(_), Ok(())) => IssueResult::Issued,
            (Err(error), _) | (Ok(_), Err(error)) => error.counted_as(),
        };
        metrics.issued(KIND, counted);
        if signed.is_ok() {
            metrics.signed(KIND, took);
        }
        recorded?;
        signed
    }

    async fn sign(
        &self,
        subject: &JwtSubject,
        lifetime: Option<Duration>,
    ) -> Result<(Arc<JwtKey>, SignedJwt), JwtIssueError> {
        let settings = self.settings.load_full();
        let lifetime = lifetime.unwrap_or(settings.lifetime).min(settings.longest);
        let key = self.key.load_full().ok_or(JwtIssueError::NoKey)?;
        // Whoever revokes the key has to know for how long there may be tokens of it.
        self.lives.note(key.key_id(), lifetime).await?;
        let signed = key.sign(subject, settings.issuer.as_deref(), lifetime, self.clock.now())?;
        Ok((key, signed))
    }
}

/// A new value for `jti`: 128 random bits in hex.
///
/// # Errors
/// When the system gives no randomness.
pub fn token_id() -> Result<String, JwtIssueError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| JwtIssueError::Randomness)?;
    Ok(hex::encode(bytes))
}

/// Why no JWT-SVID was issued.
#[derive(Debug, thiserror::Error)]
pub enum JwtIssueError {
    /// There is no key yet.
    #[error("the authority has no key for JWT-SVIDs yet")]
    NoKey,
    /// It cannot be signed.
    #[error(transparent)]
    Sign(#[from] JwtSignError),
    /// It cannot be recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// How long it lives cannot be noted beside its key.
    #[error(transparent)]
    Keys(#[from] KeyStoreError),
    /// It cannot be recorded for the agent that asked.
    #[error(transparent)]
    Agent(#[from] AgentsError),
    /// No randomness.
    #[error("the system gives no randomness")]
    Randomness,
}

impl JwtIssueError {
    /// Whether the request was at fault or the authority.
    fn counted_as(&self) -> IssueResult {
        match self {
            Self::Sign(JwtSignError::Audience) | Self::Agent(AgentsError::NotAnAgent(_)) => {
                IssueResult::Refused
            }
            Self::NoKey
            | Self::Sign(_)
            | Self::Store(_)
            | Self::Keys(_)
            | Self::Agent(_)
            | Self::Randomness => IssueResult::Failed,
        }
    }
}

#[cfg(test)]
mod tests;
