//! What would become of a resource, were it to change: the same checks, without changing anything.

use std::sync::Arc;

use secplane_rego::Gate;

use super::{
    above::Above,
    checked::Checked,
    documents::conflicts,
    outside::Outside,
    parts::Parts,
    policies::Policies,
    size::Space,
    tier::{completed, warnings_of},
};
use crate::{
    policy::{AuthorizationPolicy, ResourceKey},
    refusal::Refusal,
    source::Object,
    tiers::{TierKey, TierKind},
};

/// All that is needed to judge an object, taken out of the policies so that judging holds nobody up.
#[derive(Debug)]
pub(crate) struct Preview {
    gate: Gate,
    object: Object,
    /// Its tier, or why it has none.
    placed: Result<TierKey, Box<Refusal>>,
    /// What stands in that tier of other resources.
    others: Vec<Arc<Parts>>,
    /// What stands above that tier.
    above: Above,
    /// How large that tier may be.
    space: Option<Space>,
    /// The bytes of the largest tiers below it.
    below: usize,
    disagreement: Option<Refusal>,
    /// Why its tier has no room for it.
    no_room: Option<Refusal>,
}

impl Policies {
    /// What is needed to judge an object as if it were the newest version of its resource.
    pub(crate) fn preview(&self, object: Object) -> Preview {
        let selection = &self.settings.selection;
        let client_id = object.client_id.as_deref();
        let placed = selection.tier(&object.key, object.scope, client_id);
        let disagreement = selection.disagreement(&object.key, object.scope, client_id);
        let no_room = match (&placed, &object.policy) {
            (Ok(tier), Ok(policy)) => self.no_room(tier, policy),
            _ => None,
        };
        let others = match &placed {
            Ok(tier) => self.others_in(tier, &object.key),
            Err(_) => Vec::new(),
        };
        let above = placed.as_ref().map(|tier| self.above(tier)).unwrap_or_default();
        let space = placed.as_ref().ok().map(|tier| self.space(tier));
        let below = placed.as_ref().map_or(0, |tier| self.largest_below(tier));
        let gate = self.settings.gate;
        Preview { gate, object, placed, others, above, space, below, disagreement, no_room }
    }

    fn others_in(&self, tier: &TierKey, but: &ResourceKey) -> Vec<Arc<Parts>> {
        let others = self.members.get(tier).into_iter().flatten().filter(|name| *name != but);
        let standing = others.filter_map(|name| self.resources.get(name)?.last_in(tier));
        standing.map(|version| Arc::clone(&version.parts)).collect()
    }
}

impl Preview {
    /// All that is refused of the object, and the warnings.
    pub(crate) fn judge(&self) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        refusals.extend(self.disagreement.clone());
        refusals.extend(self.no_room.clone());
        refusals.extend(self.placed.as_ref().err().map(|refusal| refusal.as_ref().clone()));
        match (&self.object.policy, &self.placed) {
            (Ok(policy), Ok(tier)) => match Parts::read(self.gate, policy, tier.kind()) {
                Ok(parts) => refusals.extend(self.together(tier.kind(), &parts)),
                Err(found) => refusals.extend(self.beside(policy, tier.kind(), found)),
            },
            (policy, _) => refusals.extend(policy.as_ref().err().into_iter().flatten().cloned()),
        }
        refusals
    }

    /// What is refused of a policy, with what else is wrong with it as far as that can be known.
    fn beside(&self, policy: &AuthorizationPolicy, kind: TierKind, refused: Vec<Refusal>) -> Vec<Refusal> {
        let Some(outside) = Outside::read(self.gate, policy, kind, &refused) else { return refused };
        let beside = self.others.iter().flat_map(|parts| parts.modules.iter().chain(&parts.tests));
        outside.refusals(self.gate, &policy.key, self.above.modules().iter().chain(beside))
    }

    /// Its tests run when it is stored, not while its author waits for an answer.
    fn together(&self, kind: TierKind, own: &Parts) -> Vec<Refusal> {
        let all = Parts::together(self.others.iter().map(AsRef::as_ref).chain([own]));
        let all = if kind == TierKind::Global { completed(all) } else { all };
        let mut found = self.above.conflicts(self.gate, &all, &mut Checked::default());
        found.extend(conflicts(kind, &all.documents, &all.modules));
        let space = self.space.filter(|_| !all.is_empty());
        found.extend(space.and_then(|space| space.refusal(&all)));
        // The engine that finds warnings reads only what passed.
        if found.is_empty() {
            found = warnings_of(&own.modules);
            found.extend(space.and_then(|space| space.warning(self.below, &all)));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        compile::{
            choice::Choice,
            tests::{object, policies, set},
        },
        policy::ResourceKey,
    };

    #[test]
    fn does_not_count_what_an_administrator_left_out() {
        let default = "package authbridge.ns.inbound.request\n\ndefault allow := false\n";
        let mut policies = policies();
        policies.apply(&[set("team-a/p:namespace", &[("a.rego", default)])]);
        let second = || object("team-a/q:namespace", &[("a.rego", default)]);
        assert_eq!(policies.preview(second()).judge().len(), 1, "a second default");
        let left_out = (ResourceKey::new("team-a", "p"), Choice::LeftOut);
        policies.choose(&[left_out], "user 0: test").unwrap();
        assert_eq!(policies.preview(second()).judge(), []);
    }
}
