//! What a tier stands below: a bundle holds the global tier, that of the namespace and that of the client, and each may
//! stand alone while they do not stand together.
//!
//! Who is above was there first: a tier that does not fit below it is refused, as if it were broken, and its authors are
//! told. When what is above changes, everything below that does not fit any more is judged again.

use std::collections::BTreeSet;

use secplane_rego::Gate;

use super::{Policies, checked::Checked, parts::Parts, policies::Touched, tier::ParsedModule};
use crate::{
    policy::ResourceKey,
    refusal::Refusal,
    tiers::{TierKey, TierKind, Workload},
};

/// The modules of the tiers above a tier.
#[derive(Debug, Clone, Default)]
pub(crate) struct Above(Vec<ParsedModule>);

impl Above {
    pub(super) fn modules(&self) -> &[ParsedModule] {
        &self.0
    }

    /// Why an OPA would not take the modules of a tier below these.
    ///
    /// What stands together with all above it stands alone too, as no module of a tier depends on another tier's, and
    /// so it is checked once. What does not is looked at alone first: most of the time that is where the fault is.
    pub(super) fn conflicts<'a>(
        &'a self,
        gate: Gate,
        tier: &'a Parts,
        checked: &mut Checked,
    ) -> Vec<Refusal> {
        let together = checked.check(gate, self.0.iter().chain(&tier.modules));
        // Tests are not part of a bundle, but a test that cannot be compiled says nothing.
        let alone = match together.is_empty() && tier.tests.is_empty() {
            true => Vec::new(),
            false => checked.check(gate, tier.modules.iter().chain(&tier.tests)),
        };
        if !alone.is_empty() {
            return alone;
        }
        let own: BTreeSet<_> = tier.modules.iter().filter_map(|part| part.owner.clone()).collect();
        together.into_iter().map(|refusal| of_those_below(refusal, &own)).collect()
    }

    /// Whether [`conflicts`](Self::conflicts) would find none, without looking for all of them.
    pub(super) fn accepts<'a>(&'a self, gate: Gate, tier: &'a Parts, checked: &mut Checked) -> bool {
        checked.accepts(gate, self.0.iter().chain(&tier.modules))
            && (tier.tests.is_empty() || checked.accepts(gate, tier.modules.iter().chain(&tier.tests)))
    }
}

/// What is found in a module above is the fault of what came below it.
fn of_those_below(refusal: Refusal, own: &BTreeSet<ResourceKey>) -> Refusal {
    if refusal.resource.as_ref().is_some_and(|owner| own.contains(owner)) {
        return refusal;
    }
    let message = format!("with this the policies above it would be refused: {refusal}");
    Refusal::new(&refusal.code, message)
        .suggest("define nothing that they use in another way, or ask their author")
}

impl Policies {
    /// What a tier stands below at this moment.
    pub(super) fn above(&self, key: &TierKey) -> Above {
        let namespace = match key {
            TierKey::Global => return Above::default(),
            TierKey::Namespace(_) => None,
            TierKey::Client(workload) => self.tiers.get(&TierKey::Namespace(workload.namespace.clone())),
        };
        let tiers = std::iter::once(&self.global).chain(namespace);
        Above(tiers.flat_map(|tier| tier.modules.iter().cloned()).collect())
    }

    /// The tiers below one that changed that have to be judged again: those that do not fit below it now, and those of
    /// which something is refused, as it may fit now. Those that are waiting for their turn are judged anyway.
    pub(super) fn below_to_judge(&mut self, changed: &TierKey, waiting: &Touched) -> Vec<TierKey> {
        // In the order of the keys, so that a tier's own are found among a hundred thousand others.
        let is_below = |key: &TierKey| match (changed, key) {
            (TierKey::Global, key) => key.kind() != TierKind::Global,
            (TierKey::Namespace(name), TierKey::Client(workload)) => workload.namespace == *name,
            _ => false,
        };
        let first = match changed {
            TierKey::Global => TierKey::Namespace(String::new()),
            TierKey::Namespace(namespace) => {
                TierKey::Client(Workload { namespace: namespace.clone(), service_account: String::new() })
            }
            TierKey::Client(_) => return Vec::new(),
        };
        let below = self.members.range(first..).map(|(key, _)| key).take_while(|key| is_below(key));
        let below: Vec<TierKey> = below.filter(|key| !waiting.contains_key(key)).cloned().collect();
        below.into_iter().filter(|key| self.is_refused_in_part(key) || !self.fits(key)).collect()
    }

    fn is_refused_in_part(&self, key: &TierKey) -> bool {
        let refused = |name| self.resources.get(name).is_some_and(|resource| !resource.accepted);
        self.members(key).any(refused)
    }

    /// Whether a tier stands together with those above it.
    fn fits(&mut self, key: &TierKey) -> bool {
        let namespace = match key {
            TierKey::Client(workload) => Some(TierKey::Namespace(workload.namespace.clone())),
            TierKey::Global | TierKey::Namespace(_) => None,
        };
        let keys: Vec<TierKey> = namespace.into_iter().chain([key.clone()]).collect();
        let together = self.put_together(&keys);
        if together.most_bytes() > self.settings.bundle_size_limit {
            return false;
        }
        // All that speaks against it is looked for in its resources, not here.
        if !together.fits(self.settings.gate, &mut self.checked) {
            return false;
        }
        match self.combination(together) {
            // Whoever has these tiers asks for them next.
            Ok(fitting) => {
                self.fitting.push(fitting);
                true
            }
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        compile::{
            Standing, Verdict,
            tests::{allowed, decide, gone, id, object, policies, set},
        },
        policy::ResourceKey,
        source::Change,
    };

    /// Decides by a number of the namespace tier.
    const BY_NUMBER: &str = "package authbridge.inbound.request\n\nallow if data.authbridge.ns.helper == 1\n";
    /// The same by a text.
    const BY_TEXT: &str =
        "package authbridge.inbound.request\n\nallow if lower(data.authbridge.ns.helper) == \"a\"\n";
    const NUMBER: &str = "package authbridge.ns\n\nhelper := 1\n";
    const TEXT: &str = "package authbridge.ns\n\nhelper := \"A\"\n";
    const CLIENT: &str = "package authbridge.client.inbound.request\n\nallow := true\n";

    fn global(content: &str) -> Change {
        set("secplane-system/g:global", &[("a.rego", content)])
    }

    fn namespace(content: &str) -> Change {
        set("team-a/p:namespace", &[("a.rego", content)])
    }

    fn verdict(policies: &Policies, namespace: &str, name: &str) -> Verdict {
        policies.verdict(&ResourceKey::new(namespace, name)).unwrap()
    }

    #[test]
    fn refuses_what_does_not_fit_below_another_tier() {
        let mut policies = policies();
        policies.apply(&[
            global(BY_NUMBER),
            namespace(TEXT),
            set("team-a/agent:client", &[("a.rego", CLIENT)]),
        ]);
        let refused = verdict(&policies, "team-a", "p");
        let message = &refused.refusals[0].message;
        assert!(message.contains("policies above it") && message.contains("secplane-system/g"), "{message}");
        assert!(matches!(refused.standing, Standing::Denied { .. }), "{:?}", refused.standing);
        for (namespace, name) in [("secplane-system", "g"), ("team-a", "agent")] {
            let other = verdict(&policies, namespace, name);
            assert!(matches!(other.standing, Standing::Newest { .. }), "{name}: {:?}", other.standing);
        }
        let bundle = policies.bundle(&id("team-a", "agent")).unwrap();
        assert_eq!(decide(&bundle, "inbound.request.allow", &json!({})), Some(json!(false)));
    }

    #[test]
    fn the_last_good_version_stays_below() {
        let mut policies = policies();
        policies.apply(&[global(BY_NUMBER), namespace(NUMBER)]);
        assert!(allowed(&mut policies, &id("team-a", "agent")));
        policies.apply(&[namespace(TEXT)]);
        let refused = verdict(&policies, "team-a", "p");
        assert!(matches!(refused.standing, Standing::Earlier { .. }), "{:?}", refused.standing);
        assert!(allowed(&mut policies, &id("team-a", "agent")));
    }

    #[test]
    fn judges_again_what_is_below_a_tier_that_changed() {
        let mut policies = policies();
        policies.apply(&[global(BY_NUMBER), namespace(NUMBER)]);
        policies.apply(&[global(BY_TEXT)]);
        assert!(matches!(verdict(&policies, "secplane-system", "g").standing, Standing::Newest { .. }));
        let unfit = verdict(&policies, "team-a", "p");
        assert!(!unfit.refusals.is_empty());
        assert!(matches!(unfit.standing, Standing::Denied { .. }), "{:?}", unfit.standing);
        assert!(policies.bundle(&id("team-a", "agent")).is_ok(), "what denies fits");
        policies.apply(&[global(BY_NUMBER)]);
        let fits = verdict(&policies, "team-a", "p");
        assert_eq!((fits.refusals, matches!(fits.standing, Standing::Newest { .. })), (Vec::new(), true));
        assert!(allowed(&mut policies, &id("team-a", "agent")));
        policies.apply(&[global(BY_TEXT), namespace(TEXT)]);
        assert!(allowed(&mut policies, &id("team-a", "agent")), "both changed at once");
        policies.apply(&[gone("secplane-system", "g")]);
        assert!(policies.bundle(&id("team-a", "agent")).is_ok());
    }

    #[test]
    fn a_preview_knows_what_is_above() {
        let mut policies = policies();
        policies.apply(&[global(BY_NUMBER)]);
        let judge =
            |content: &str| policies.preview(object("team-a/p:namespace", &[("a.rego", content)])).judge();
        assert_eq!(judge(NUMBER), []);
        assert!(judge(TEXT)[0].message.contains("policies above it"));
    }
}
