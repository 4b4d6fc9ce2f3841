//! What the administrator's questions come to.

use std::{collections::BTreeSet, time::SystemTime};

use secplane_identity::SpiffeId;

use super::{
    AdminFailure, Administered,
    timeline::{self, Moment},
    wire::{
        ChoiceAnswer, DeniedTier, HistoryAnswer, HistoryEntry, SnapshotAnswer, SnapshotResource, StandingPin,
        Target,
    },
};
use crate::{
    catalog::{Catalog, Interrupted, State},
    compile::{choice::Choice, resource::StoredVersion},
    history::{
        History, HistoryError, Published,
        query::{LEAST_DIGITS, QueryError},
    },
    host,
    policy::ResourceKey,
    tiers::{TierKey, TierKind},
};

impl From<Interrupted> for AdminFailure {
    fn from(error: Interrupted) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<HistoryError> for AdminFailure {
    fn from(error: HistoryError) -> Self {
        QueryError::from(error).into()
    }
}

fn kept(state: &State) -> Result<&History, AdminFailure> {
    state.history.as_ref().ok_or_else(|| {
        AdminFailure::Unavailable(
            "this service keeps no history; set data_dir in its configuration".to_owned(),
        )
    })
}

/// Asks without changing anything.
async fn ask<T: Send + 'static>(
    catalog: &Catalog,
    question: impl FnOnce(&State, SystemTime) -> Result<T, AdminFailure> + Send + 'static,
) -> Result<T, AdminFailure> {
    catalog.with_state(move |state, now| (question(state, now), BTreeSet::new())).await?
}

pub(super) async fn history(catalog: &Catalog, of: Target) -> Result<HistoryAnswer, AdminFailure> {
    let serving = catalog.clone();
    ask(catalog, move |state, now| {
        let history = kept(state)?;
        let plain = |published: Vec<Published>| -> Vec<HistoryEntry> {
            let entry = |published| HistoryEntry { published, revision: None, served: None };
            published.into_iter().map(entry).collect()
        };
        let (entries, resources) = match &of {
            Target::Resource(key) => (plain(history.of_resource(key)?), vec![key.clone()]),
            Target::Tier(tier) => (plain(history.of_tier(tier)?), members(state, tier)),
            Target::Identity(id) => {
                let tiers = state.policies.tier_keys_of(id);
                let mut moments = timeline::of_identity(state, history, id, now)?;
                if let Some(last) = moments.last_mut() {
                    last.serving(serving.served(id));
                }
                let entries = moments.into_iter().map(Moment::entry).collect();
                (entries, tiers.iter().flat_map(|tier| members(state, tier)).collect())
            }
        };
        Ok(HistoryAnswer { entries, pins: pins(state, &resources), replica: host::name() })
    })
    .await
}

fn members(state: &State, tier: &TierKey) -> Vec<ResourceKey> {
    state.policies.members(tier).cloned().collect()
}

fn pins(state: &State, resources: &[ResourceKey]) -> Vec<StandingPin> {
    let pin = |resource: &ResourceKey| {
        let pin = state.policies.pin(resource)?;
        let to = pin.to.map(|version| version.hash);
        Some(StandingPin { resource: resource.clone(), to, instead_of: pin.of, by: pin.by })
    };
    resources.iter().filter_map(pin).collect()
}

pub(super) async fn snapshot(
    catalog: &Catalog,
    of: Target,
    at: String,
) -> Result<SnapshotAnswer, AdminFailure> {
    ask(catalog, move |state, now| {
        let history = kept(state)?;
        let mut answer = SnapshotAnswer::default();
        let versions = match &of {
            Target::Resource(key) => vec![history.version(key, &at)?],
            Target::Tier(tier) => {
                let number = number(&at)?;
                let versions = history.publication(tier, number)?;
                let denial = history.denial(tier, number)?;
                answer.denied.extend(denial.map(|reason| DeniedTier { tier: tier.clone(), reason }));
                versions
            }
            Target::Identity(id) => {
                let point = timeline::at(state, history, id, &at, now)?;
                answer.not_after = point.not_after;
                let mut versions = Vec::new();
                for (tier, Published { number, denied, .. }) in point.tiers {
                    versions.extend(history.publication(&tier, number)?);
                    answer.denied.extend(denied.map(|reason| DeniedTier { tier, reason }));
                }
                versions
            }
        };
        let resource = |version: StoredVersion| SnapshotResource {
            tier: version.tier,
            version: version.hash,
            policy: version.policy.as_ref().clone(),
        };
        answer.resources = versions.into_iter().map(resource).collect();
        Ok(answer)
    })
    .await
}

fn number(text: &str) -> Result<u64, AdminFailure> {
    text.parse().map_err(|_| {
        AdminFailure::Malformed(format!(
            "`{text}` is not the number of a publication of the tier; `secctl bundle history` has them"
        ))
    })
}

pub(super) async fn rollback(
    administered: &Administered,
    of: Target,
    to: String,
    by: String,
) -> Result<ChoiceAnswer, AdminFailure> {
    choose(administered, by, move |state, now| {
        let history = kept(state)?;
        match &of {
            Target::Resource(key) => {
                Ok((vec![(key.clone(), Choice::Version(history.version(key, &to)?))], Vec::new()))
            }
            Target::Tier(tier) => Ok(back_to(state, tier, history.standing(tier, number(&to)?)?)),
            Target::Identity(id) => {
                let tier = own_tier(state, id)?;
                let (choices, missing) =
                    back_to(state, &tier, in_own_tier(state, history, id, &tier, &to, now)?);
                stay_in(state, &tier, choices.iter().map(|(key, _)| key))?;
                Ok((choices, missing))
            }
        }
    })
    .await
}

/// What brings versions back that stood in a tier together, and those of them that are in no source any more.
fn back_to(state: &State, tier: &TierKey, versions: Vec<StoredVersion>) -> Choices {
    let mut left: BTreeSet<ResourceKey> = members(state, tier).into_iter().collect();
    let (mut choices, mut missing) = (Vec::new(), Vec::new());
    for version in versions {
        let key = version.policy.key.clone();
        left.remove(&key);
        match state.policies.contains(&key) {
            true => choices.push((key, Choice::Version(version))),
            false => missing.push(key),
        }
    }
    choices.extend(left.into_iter().map(|key| (key, Choice::LeftOut)));
    (choices, missing)
}

/// The tier that this identity has for itself, which can go back without anybody else's policy changing.
fn own_tier(state: &State, id: &SpiffeId) -> Result<TierKey, AdminFailure> {
    let (own, shared): (Vec<TierKey>, Vec<TierKey>) =
        state.policies.tier_keys_of(id).into_iter().partition(|tier| tier.kind() == TierKind::Client);
    let own = own.into_iter().find(|tier| !members(state, tier).is_empty());
    own.ok_or_else(|| {
        let shared: Vec<String> = shared.iter().map(|tier| format!("`--tier {tier}`")).collect();
        AdminFailure::Malformed(format!(
            "{id} has no client policy; all that it has is shared with others, so name what is meant: {}",
            shared.join(" or ")
        ))
    })
}

/// Makes sure that a choice of resources is about one tier only: one that moved would leave another tier or enter it.
fn stay_in<'a>(
    state: &State,
    tier: &TierKey,
    resources: impl IntoIterator<Item = &'a ResourceKey>,
) -> Result<(), AdminFailure> {
    for key in resources {
        if let Some(other) = state.policies.other_tier(key, tier) {
            return Err(AdminFailure::Malformed(format!(
                "{key} is not only about {tier} but about {other} too; name it by `--resource {key}` if both are meant"
            )));
        }
    }
    Ok(())
}

/// What stood in an identity's own tier: by the number of a publication of that tier, or by a revision of the
/// identity's bundle, which is told by more digits.
fn in_own_tier(
    state: &State,
    history: &History,
    id: &SpiffeId,
    tier: &TierKey,
    at: &str,
    now: SystemTime,
) -> Result<Vec<StoredVersion>, AdminFailure> {
    if at.len() < LEAST_DIGITS {
        return Ok(history.standing(tier, number(at)?)?);
    }
    match timeline::at(state, history, id, at, now)?.tiers.get(tier) {
        Some(published) => Ok(history.standing(tier, published.number)?),
        // Before its client policy came there was none.
        None => Ok(Vec::new()),
    }
}

pub(super) async fn release(
    administered: &Administered,
    of: Target,
    by: String,
) -> Result<ChoiceAnswer, AdminFailure> {
    choose(administered, by, move |state, _| {
        let resources = match &of {
            Target::Resource(key) => vec![key.clone()],
            Target::Tier(tier) => members(state, tier),
            Target::Identity(id) => {
                let tier = own_tier(state, id)?;
                let resources = members(state, &tier);
                stay_in(state, &tier, &resources)?;
                resources
            }
        };
        let pinned: Vec<_> = resources.into_iter().filter(|key| state.policies.pin(key).is_some()).collect();
        if pinned.is_empty() {
            return Err(AdminFailure::NotFound(format!(
                "nothing of {of} was rolled back, so there is nothing to release"
            )));
        }
        Ok((pinned.into_iter().map(|key| (key, Choice::Newest)).collect(), Vec::new()))
    })
    .await
}

type Choices = (Vec<(ResourceKey, Choice)>, Vec<ResourceKey>);

/// Makes choices, keeps them, publishes what comes of them, and has it told to the authors.
async fn choose(
    Administered { catalog, judged }: &Administered,
    by: String,
    choices: impl FnOnce(&State, SystemTime) -> Result<Choices, AdminFailure> + Send + 'static,
) -> Result<ChoiceAnswer, AdminFailure> {
    let judged = judged.clone();
    catalog
        .with_state(move |state, now| {
            let (choices, missing) = match choices(state, now) {
                Ok(choices) => choices,
                Err(failure) => return (Err(failure), BTreeSet::new()),
            };
            let tiers = match state.policies.choose(&choices, &by) {
                Ok(tiers) => tiers,
                Err(refusals) => return (Err(AdminFailure::Refused(refusals)), BTreeSet::new()),
            };
            for (resource, _) in &choices {
                tracing::warn!(%resource, by, "an administrator chose which version is in force");
            }
            let resources: Vec<ResourceKey> = choices.into_iter().map(|(key, _)| key).collect();
            let durable = state.keep_choices(&resources, &by, now);
            let pins = pins(state, &resources);
            if let Some(shared) = &judged {
                // From here, as the administrator may have hung up by the time that there is an answer. Whoever wants
                // the verdicts waits until this change is done.
                let members = state.policies.members_of(&tiers);
                shared.judged(&members.chain(&resources).cloned().collect());
            }
            let (rebuilt, replica) = (tiers.iter().cloned().collect(), host::name());
            let answer = ChoiceAnswer { tiers: rebuilt, pins, missing, durable, replica };
            (Ok(answer), tiers)
        })
        .await?
}
