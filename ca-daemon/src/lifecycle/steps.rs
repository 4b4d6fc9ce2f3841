//! The steps in the life of an authority.

use std::sync::Arc;

use super::{
    Authorities, DueStep, Lifecycle, LifecycleError, Line, Move, Preparation, StepError, Turn, outside_roots,
};
use crate::{
    audit::{Action, Event},
    authority::DomainCa,
    issuance::Requester,
    store::{AuthorityKind, AuthorityRow, AuthorityState, Change, Commit, StoreError},
};

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Makes the next authority and puts it into the trust bundle.
    Prepare,
    /// Lets the prepared one, of this ID, sign from now on.
    Activate(String),
    /// Has everything replaced that an old one, of this ID, signed.
    Taint(String),
    /// Takes an old one, of this ID, out of the trust bundle.
    Revoke(String),
    /// Has everything replaced that is below the outside root of this subject key identifier.
    TaintUpstream(String),
    /// Takes the outside root of this subject key identifier out of the trust bundle.
    RevokeUpstream(String),
}

/// A step that somebody wants taken.
#[derive(Debug, Clone)]
pub struct Command {
    /// In which line.
    pub line: Line,
    /// Which.
    pub step: Step,
    /// Whether to take it though somebody may be left without trust.
    pub force: bool,
    /// Who wants it.
    pub by: Requester,
}

impl Command {
    fn event(&self, target: &str) -> Event {
        let action = match self.step {
            Step::Prepare => Action::AuthorityPrepare,
            Step::Activate(_) => Action::AuthorityActivate,
            Step::Taint(_) | Step::TaintUpstream(_) => Action::AuthorityTaint,
            Step::Revoke(_) | Step::RevokeUpstream(_) => Action::AuthorityRevoke,
        };
        let event = self.by.event(action, target).with("kind", self.line.kind().as_str());
        if self.force { event.with("forced", "true") } else { event }
    }

    fn target(&self) -> &str {
        match &self.step {
            Step::Prepare => "",
            Step::Activate(id)
            | Step::Taint(id)
            | Step::Revoke(id)
            | Step::TaintUpstream(id)
            | Step::RevokeUpstream(id) => id,
        }
    }
}

impl Lifecycle {
    /// Takes a step, and answers the authority that it was taken with. When this returns it is on disk, and this
    /// replica acts on it.
    ///
    /// It goes on in a task of its own when the caller goes away: a step is never half taken.
    ///
    /// # Errors
    /// When the state does not allow it, or somebody would be left without trust and it is not forced.
    pub async fn take(self: &Arc<Self>, command: Command) -> Result<AuthorityRow, LifecycleError> {
        let lifecycle = Arc::clone(self);
        let task = self.tasks.spawn(async move {
            let turn = lifecycle.turn.lock().await;
            let result = lifecycle.carry_out(&turn, &command).await;
            if let Err(error) = &result {
                let event = command.event(command.target()).failed(error.to_string());
                lifecycle.vault.store.record(event).await?;
            }
            result
        });
        task.await.unwrap_or(Err(LifecycleError::Interrupted))
    }

    /// A step that age brought. Another replica that takes it at the same time is no failure.
    pub(super) async fn take_due_step(
        &self,
        turn: &Turn<'_>,
        line: Line,
        due: DueStep,
    ) -> Result<(), LifecycleError> {
        let step = match &due {
            DueStep::Prepare => Step::Prepare,
            DueStep::Activate(key_id) => Step::Activate(key_id.clone()),
        };
        let command = Command { line, step, force: false, by: Requester::daemon() };
        let Err(error) = self.carry_out(turn, &command).await else { return Ok(()) };
        // Where another one has just activated what was prepared, that step is no longer legal.
        let standing = self.catch_up(turn).await?.standing;
        let is_still_due = self.next_step(&standing, line).is_some_and(|(next, _)| next == due);
        if is_still_due { Err(error) } else { Ok(()) }
    }

    async fn carry_out(&self, turn: &Turn<'_>, command: &Command) -> Result<AuthorityRow, LifecycleError> {
        let standing = self.catch_up(turn).await?.standing;
        let (targets, moves) = match &command.step {
            Step::Prepare => return self.prepare(turn, &standing, command).await,
            Step::Activate(key_id) => {
                let (ahead, now) = (self.settings.load().schedule.publish_ahead, self.vault.clock.now());
                let moves = standing.succession(command.line).activate(key_id, ahead, now, command.force)?;
                self.check_usable(&standing, command.line, key_id).await?;
                (vec![key_id.clone()], moves)
            }
            Step::Taint(key_id) => {
                refuse_from_outside(&standing, key_id)?;
                (vec![key_id.clone()], self.tainting(&standing, command, key_id)?)
            }
            Step::Revoke(key_id) => {
                refuse_from_outside(&standing, key_id)?;
                (vec![key_id.clone()], self.revoking(&standing, command, key_id).await?)
            }
            Step::TaintUpstream(root) => {
                let (targets, mut moves) = (standing.below_outside_root(root)?, Vec::new());
                for key_id in &targets {
                    moves.extend(self.tainting(&standing, command, key_id)?);
                }
                (targets, moves)
            }
            Step::RevokeUpstream(root) => {
                let (targets, mut moves) = (standing.below_outside_root(root)?, Vec::new());
                for key_id in &targets {
                    moves.extend(self.revoking(&standing, command, key_id).await?);
                }
                (targets, moves)
            }
        };
        let mut changes = self.vault.moved(&standing, &moves);
        // Who signs is no content of the bundle.
        if !matches!(command.step, Step::Activate(_)) {
            changes.push(Change::AdvanceBundle);
        }
        let mut event = command.event(command.target());
        if matches!(command.step, Step::TaintUpstream(_) | Step::RevokeUpstream(_)) {
            event = event.with("authorities", targets.join(" "));
        }
        self.commit(turn, changes, event).await?;
        if matches!(command.step, Step::Revoke(_) | Step::RevokeUpstream(_)) {
            for row in targets.iter().filter_map(|key_id| standing.row(key_id)) {
                self.vault.destroy_key_of(row).await;
            }
        }
        let first = targets.first().ok_or(StepError::UnexpectedId)?;
        self.row_after(turn, first).await
    }

    /// What a taint makes of an authority, if nothing is in the way.
    fn tainting(
        &self,
        standing: &Authorities,
        command: &Command,
        key_id: &str,
    ) -> Result<Vec<Move>, LifecycleError> {
        let moves = standing.succession(command.line).taint(key_id)?;
        if !command.force && command.line == Line::Root {
            self.refuse_while_signing(standing, key_id)?;
            self.refuse_while_others_sign(standing, key_id)?;
        }
        Ok(moves)
    }

    /// What a revocation makes of an authority, if nothing is in the way.
    async fn revoking(
        &self,
        standing: &Authorities,
        command: &Command,
        key_id: &str,
    ) -> Result<Vec<Move>, LifecycleError> {
        let moves = standing.succession(command.line).revoke(key_id, command.force)?;
        if !command.force {
            self.refuse_while_valid(standing, command.line, key_id).await?;
        }
        Ok(moves)
    }

    async fn prepare(
        &self,
        turn: &Turn<'_>,
        standing: &Authorities,
        command: &Command,
    ) -> Result<AuthorityRow, LifecycleError> {
        let moves = match standing.succession(command.line).prepare(command.force)? {
            Preparation::Stands(key_id) => return self.row_after(turn, &key_id).await,
            Preparation::Make(moves) => moves,
        };
        if standing.succession(command.line).active().is_some_and(|active| active.is_from_outside) {
            return Err(LifecycleError::SignedOutside);
        }
        let row = self.vault.new_of(command.line, AuthorityState::Prepared).await?;
        let key_id = row.key_id.clone();
        match self.add_prepared(turn, standing, command, &moves, row).await {
            Err(LifecycleError::Overtaken) => {
                // Its key was made a moment ago, and nobody knows of it.
                self.vault.destroy_unless_on_record(&key_id).await;
                let standing = self.catch_up(turn).await?.standing;
                let prepared = standing.succession(command.line).prepared().cloned();
                let prepared = prepared.ok_or(LifecycleError::Overtaken)?;
                self.row_after(turn, &prepared.key_id).await
            }
            result => result,
        }
    }

    /// Puts a CA into the trust bundle that an outside CA signed; its key is kept already. It is prepared then, in
    /// the place of one that was. One that stands there already stays as it is, and is answered.
    ///
    /// # Errors
    /// When the root above it is tainted, or it cannot be written. Its key is kept all the same: an outside CA certified
    /// it, and will not do so again.
    pub async fn take_in(
        self: &Arc<Self>,
        ca: Arc<DomainCa>,
        key_storage: &'static str,
        by: Requester,
    ) -> Result<AuthorityRow, LifecycleError> {
        let lifecycle = Arc::clone(self);
        let task = self.tasks.spawn(async move {
            let turn = lifecycle.turn.lock().await;
            let standing = lifecycle.catch_up(&turn).await?.standing;
            if let Some(row) = standing.row(ca.key_id()) {
                return Ok(row.clone());
            }
            let row = lifecycle.vault.row_of(&ca, AuthorityState::Prepared, key_storage);
            standing.refuse_below_tainted(&row)?;
            let command = Command { line: Line::Root, step: Step::Prepare, force: true, by };
            let moves = match standing.succession(Line::Root).prepare(true)? {
                Preparation::Stands(_) => Vec::new(),
                Preparation::Make(moves) => moves,
            };
            match lifecycle.add_prepared(&turn, &standing, &command, &moves, row).await {
                // Another replica may have taken in just this one.
                Err(LifecycleError::Overtaken) => {
                    let standing = lifecycle.catch_up(&turn).await?.standing;
                    standing.row(ca.key_id()).cloned().ok_or(LifecycleError::Overtaken)
                }
                result => result,
            }
        });
        task.await.unwrap_or(Err(LifecycleError::Interrupted))
    }

    async fn add_prepared(
        &self,
        turn: &Turn<'_>,
        standing: &Authorities,
        command: &Command,
        moves: &[Move],
        row: AuthorityRow,
    ) -> Result<AuthorityRow, LifecycleError> {
        let key_id = row.key_id.clone();
        // A row that is not ours must not keep ours out of its place.
        let is_in_place =
            |row: &&AuthorityRow| row.kind == command.line.kind() && row.state == AuthorityState::Prepared;
        let forged = standing.refused().iter().filter(is_in_place);
        let mut changes: Vec<_> = forged.map(|row| Change::ForgetAuthority(row.key_id.clone())).collect();
        changes.extend(self.vault.moved(standing, moves));
        changes.extend([self.vault.add(row), Change::AdvanceBundle]);
        self.commit(turn, changes, command.event(&key_id)).await?;
        for Move { key_id, .. } in moves {
            self.vault.destroy(key_id).await;
        }
        self.row_after(turn, &key_id).await
    }

    /// Commits a step and follows it. That it cannot be followed does not undo it: it is tried again by the clock.
    pub(super) async fn commit(
        &self,
        turn: &Turn<'_>,
        changes: Vec<Change>,
        event: Event,
    ) -> Result<(), LifecycleError> {
        let (action, target) = (event.action.as_str(), event.target.clone());
        match self.vault.store.commit(Commit { changes, events: vec![event] }).await {
            Ok(()) => tracing::info!(action, authority = target, "a step was taken"),
            Err(StoreError::Conflict(_)) => return Err(LifecycleError::Overtaken),
            Err(error) => return Err(error.into()),
        }
        if let Err(error) = self.catch_up(turn).await.and_then(|caught_up| caught_up.followed) {
            tracing::error!(%error, "a step was taken that this replica cannot follow yet; it is tried again");
        }
        Ok(())
    }

    async fn row_after(&self, _turn: &Turn<'_>, key_id: &str) -> Result<AuthorityRow, LifecycleError> {
        self.vault.store.authority(key_id).await?.ok_or(LifecycleError::Overtaken)
    }

    /// An authority without its key must not take the place of one that works.
    async fn check_usable(
        &self,
        standing: &Authorities,
        line: Line,
        key_id: &str,
    ) -> Result<(), LifecycleError> {
        let row = standing.row(key_id).ok_or(StepError::UnexpectedId)?;
        match line {
            Line::Jwt => self.vault.jwt_key(row).await.map(drop),
            Line::Root => {
                let (ca, now) = (self.vault.domain_ca(row).await?, self.vault.clock.now());
                let checked = tokio::task::spawn_blocking(move || ca.check(now)).await;
                Ok(checked.map_err(|_| LifecycleError::Interrupted)??)
            }
        }
    }

    /// Forgets what has expired, with its key.
    pub(super) async fn forget_expired(&self, turn: &Turn<'_>) -> Result<(), LifecycleError> {
        let standing = self.standing();
        let expired = standing.expired(&self.vault.replica, self.vault.clock.now());
        if expired.is_empty() {
            return Ok(());
        }
        let mut changes: Vec<_> =
            expired.iter().map(|row| Change::ExpireAuthority(row.key_id.clone())).collect();
        let events = expired.iter().map(|row| expiry(row)).collect();
        let is_in_bundle = |row: &&AuthorityRow| {
            matches!(row.kind, AuthorityKind::Root | AuthorityKind::Jwt)
                && row.state != AuthorityState::Revoked
        };
        if expired.iter().any(is_in_bundle) {
            changes.push(Change::AdvanceBundle);
        }
        match self.vault.store.commit(Commit { changes, events }).await {
            Ok(()) => {}
            // Another replica has forgotten one of them, and advanced the bundle for it; what is left is due still.
            Err(StoreError::Conflict(_)) => return self.catch_up(turn).await.map(drop),
            Err(error) => return Err(error.into()),
        }
        for row in expired {
            tracing::info!(
                key_id = row.key_id,
                kind = row.kind.as_str(),
                "an expired authority is forgotten"
            );
            self.vault.destroy_key_of(row).await;
        }
        self.catch_up(turn).await.map(drop)
    }
}

/// What the audit log says of an authority that is forgotten.
pub(super) fn expiry(row: &AuthorityRow) -> Event {
    Event::by_daemon(Action::AuthorityExpire, row.key_id.as_str())
        .with("kind", row.kind.as_str())
        .with("state", row.state.as_str())
        .with("expired_at", row.not_after.to_string())
}

/// What is trusted on account of an outside root is tainted and revoked with that root. The roots that were made here
/// before, or that others have, go by themselves: where the CA of the trust domain is now is no matter to them.
fn refuse_from_outside(standing: &Authorities, key_id: &str) -> Result<(), LifecycleError> {
    match standing.row(key_id) {
        Some(row) if !row.chain.is_empty() => Err(LifecycleError::Upstream(outside_roots(row)?)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
