//! How large a bundle may become: one that is larger is not served, so nothing that would make one comes into force.
//!
//! A tier is measured with what stands above it, whose place it does not take. When what is above grows, what is below
//! and has no place any more is judged again, as with everything else that does not fit.

use std::sync::Arc;

use super::{
    Policies, bundle,
    parts::Parts,
    tier::{self, Tier},
};
use crate::{
    refusal::Refusal,
    tiers::{TierKey, TierKind, Workload},
};

const ADVICE: &str = "shorten the policies, or raise `bundle_size_limit`";

/// What else is in the bundles that a tier goes into.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Space {
    kind: TierKind,
    /// The bytes of the tiers above, and the most that a bundle has besides its tiers.
    others: usize,
    /// Those of the largest bundle.
    limit: usize,
}

impl Space {
    /// Why a tier of these parts would make bundles too large.
    pub(super) fn refusal(self, parts: &Parts) -> Option<Refusal> {
        let left = self.limit.saturating_sub(self.others);
        // Most are far smaller, and need not be compressed to see it.
        if tier::most_bytes(parts) <= left {
            return None;
        }
        let size = tier::bytes(self.kind, parts);
        (size > left).then(|| {
            let message = format!(
                "with this the {} policies would take {size} bytes of a bundle, compressed, and {left} are left for them: \
                 a bundle may have {}, and what else is in it takes up to {}",
                self.kind, self.limit, self.others
            );
            Refusal::new("bundle_size", message).suggest(ADVICE)
        })
    }

    /// What the authors of a tier should know before it grows: that the largest tiers below it have no place beside it.
    pub(super) fn warning(self, below: usize, parts: &Parts) -> Option<Refusal> {
        let left = self.limit.saturating_sub(self.others + below);
        if below == 0 || tier::most_bytes(parts) <= left {
            return None;
        }
        let size = tier::bytes(self.kind, parts);
        (size > left).then(|| {
            let message = format!(
                "with this the {} policies would take {size} bytes of a bundle, compressed, and tiers below that take up to \
                 {below} would have no place any more and deny: a bundle may have {}",
                self.kind, self.limit
            );
            Refusal::new("bundle_size", message).suggest(ADVICE).warning()
        })
    }
}

impl Policies {
    /// What is in bundles beside a tier at this moment.
    pub(super) fn space(&self, key: &TierKey) -> Space {
        let bytes = |key: &TierKey| self.tier(key).map_or(0, |tier| tier.member.bytes.len());
        let above = match key {
            TierKey::Global => 0,
            TierKey::Namespace(_) => bytes(&TierKey::Global),
            TierKey::Client(workload) => {
                bytes(&TierKey::Global) + bytes(&TierKey::Namespace(workload.namespace.clone()))
            }
        };
        let others = above + bundle::most_bytes_of_head(self.settings.envoy_adapter);
        Space { kind: key.kind(), others, limit: self.settings.bundle_size_limit }
    }

    /// The bytes of the largest tiers that are together below a tier at this moment.
    pub(super) fn largest_below(&self, key: &TierKey) -> usize {
        let size = |tier: &Arc<Tier>| tier.member.bytes.len();
        match key {
            TierKey::Global => {
                let with_namespace = |(key, tier): (&TierKey, &Arc<Tier>)| {
                    let namespace = match key {
                        TierKey::Client(workload) => TierKey::Namespace(workload.namespace.clone()),
                        TierKey::Global | TierKey::Namespace(_) => return size(tier),
                    };
                    size(tier) + self.tiers.get(&namespace).map_or(0, size)
                };
                self.tiers.iter().map(with_namespace).max().unwrap_or_default()
            }
            TierKey::Namespace(namespace) => {
                let first = Workload { namespace: namespace.clone(), service_account: String::new() };
                let behind = self.tiers.range(TierKey::Client(first)..);
                let theirs = behind.take_while(
                    |(key, _)| matches!(key, TierKey::Client(workload) if workload.namespace == *namespace),
                );
                theirs.map(|(_, tier)| size(tier)).max().unwrap_or_default()
            }
            TierKey::Client(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use secplane_identity::SpiffeId;

    use super::*;
    use crate::{
        compile::{
            Settings, Standing, Verdict,
            tests::{gone, id, large, object, set, settings},
        },
        digest::Digest,
        policy::ResourceKey,
        refusal::Severity,
        source::Change,
    };

    const LIMIT: usize = 64 * 1024;

    fn policies() -> Policies {
        Policies::new(Settings { bundle_size_limit: LIMIT, ..settings() })
    }

    fn global(bytes: usize) -> Change {
        set("secplane-system/g:global", &[("a.rego", &large("authbridge.noise", bytes))])
    }

    fn namespace(bytes: usize) -> Change {
        set("team-a/p:namespace", &[("a.rego", &large("authbridge.ns.noise", bytes))])
    }

    fn client(bytes: usize) -> Change {
        set("team-a/agent:client", &[("a.rego", &large("authbridge.client.noise", bytes))])
    }

    fn verdict(policies: &Policies, namespace: &str, name: &str) -> Verdict {
        policies.verdict(&ResourceKey::new(namespace, name)).unwrap()
    }

    fn is_newest(policies: &Policies, namespace: &str, name: &str) -> bool {
        matches!(verdict(policies, namespace, name).standing, Standing::Newest { .. })
    }

    fn codes(verdict: &Verdict) -> Vec<&str> {
        verdict.refusals.iter().map(|refusal| refusal.code.as_str()).collect()
    }

    fn size(policies: &mut Policies) -> usize {
        policies.bundle(&id("team-a", "agent")).unwrap().bytes().len()
    }

    #[test]
    fn refuses_a_version_too_large_to_be_served_and_keeps_the_last_good_one() {
        let mut policies = policies();
        policies.apply(&[namespace(1_000)]);
        let before = policies.bundle(&id("team-a", "agent")).unwrap();
        policies.apply(&[namespace(LIMIT)]);
        let refused = verdict(&policies, "team-a", "p");
        assert_eq!(codes(&refused), ["bundle_size"]);
        assert!(matches!(refused.standing, Standing::Earlier { .. }), "{:?}", refused.standing);
        let refusal = &refused.refusals[0];
        assert!(refusal.message.contains(&LIMIT.to_string()), "{refusal}");
        assert!(refusal.suggestion.as_ref().unwrap().contains("`bundle_size_limit`"), "{refusal}");
        assert_eq!(policies.bundle(&id("team-a", "agent")).unwrap().etag(), before.etag());
        policies.apply(&[namespace(2_000)]);
        assert!(is_newest(&policies, "team-a", "p"), "what is small enough again comes into force");
    }

    #[test]
    fn denies_where_nothing_stood_before_what_is_too_large() {
        let mut policies = policies();
        policies.apply(&[namespace(LIMIT)]);
        let refused = verdict(&policies, "team-a", "p");
        assert_eq!(codes(&refused), ["bundle_size"]);
        assert!(matches!(refused.standing, Standing::Denied { .. }), "{:?}", refused.standing);
        assert!(size(&mut policies) <= LIMIT);
    }

    #[test]
    fn counts_the_tiers_of_a_bundle_together() {
        let mut policies = policies();
        policies.apply(&[namespace(LIMIT / 4), client(LIMIT / 4)]);
        assert!(is_newest(&policies, "team-a", "p") && is_newest(&policies, "team-a", "agent"));
        policies.apply(&[client(LIMIT * 2 / 3)]);
        assert_eq!(codes(&verdict(&policies, "team-a", "agent")), ["bundle_size"]);
        policies.apply(&[gone("team-a", "p")]);
        assert!(is_newest(&policies, "team-a", "agent"), "there is room for it now");
    }

    #[test]
    fn counts_the_resources_of_a_tier_together_and_refuses_the_one_that_grew() {
        let mut policies = policies();
        let second = |bytes| set("team-a/q:namespace", &[("a.rego", &large("authbridge.ns.more", bytes))]);
        policies.apply(&[namespace(LIMIT / 3), second(LIMIT / 3)]);
        policies.apply(&[second(LIMIT * 2 / 3)]);
        assert_eq!(codes(&verdict(&policies, "team-a", "q")), ["bundle_size"]);
        assert!(is_newest(&policies, "team-a", "p"));
    }

    #[test]
    fn judges_again_what_is_below_a_tier_that_grew() {
        let mut policies = policies();
        policies.apply(&[namespace(LIMIT / 2), client(1_000)]);
        policies.apply(&[global(LIMIT / 2)]);
        assert!(is_newest(&policies, "secplane-system", "g"), "no tenant keeps it from growing");
        assert_eq!(codes(&verdict(&policies, "team-a", "p")), ["bundle_size"]);
        assert!(is_newest(&policies, "team-a", "agent"), "it fits beside a tier that denies");
        assert!(size(&mut policies) <= LIMIT);
        policies.apply(&[global(1_000)]);
        assert!(is_newest(&policies, "team-a", "p"));
    }

    #[test]
    fn leaves_room_below_for_what_denies() {
        let mut policies = policies();
        policies.apply(&[global(LIMIT - 1_000)]);
        assert_eq!(codes(&verdict(&policies, "secplane-system", "g")), ["bundle_size"]);
        // One that fits so that little more would not.
        for bytes in (0..LIMIT).step_by(1_000).rev() {
            policies.apply(&[global(bytes)]);
            if is_newest(&policies, "secplane-system", "g") {
                break;
            }
        }
        assert!(is_newest(&policies, "secplane-system", "g"));
        policies.apply(&[namespace(LIMIT), client(LIMIT)]);
        for name in ["p", "agent"] {
            assert!(matches!(verdict(&policies, "team-a", name).standing, Standing::Denied { .. }), "{name}");
        }
        assert!(size(&mut policies) <= LIMIT);
    }

    #[test]
    fn a_preview_says_that_a_bundle_would_be_too_large() {
        let mut policies = policies();
        policies.apply(&[global(LIMIT / 2)]);
        let judge = |bytes| {
            let text = large("authbridge.ns.noise", bytes);
            policies.preview(object("team-a/p:namespace", &[("a.rego", &text)])).judge()
        };
        assert_eq!(judge(1_000), []);
        assert_eq!(judge(LIMIT / 2)[0].code, "bundle_size");
    }

    #[test]
    fn a_preview_warns_of_tiers_below_that_would_have_no_place() {
        let mut policies = policies();
        policies.apply(&[namespace(LIMIT / 4), client(LIMIT / 4)]);
        let judge = |head: &str, package: &str, bytes| {
            let found = policies.preview(object(head, &[("a.rego", &large(package, bytes))])).judge();
            found.into_iter().map(|found| (found.code, found.severity)).collect::<Vec<_>>()
        };
        let nothing: Vec<(String, Severity)> = Vec::new();
        let warned = vec![("bundle_size".to_owned(), Severity::Warning)];
        assert_eq!(judge("secplane-system/g:global", "authbridge.noise", 1_000), nothing);
        assert_eq!(judge("secplane-system/g:global", "authbridge.noise", LIMIT * 2 / 5), warned);
        assert_eq!(judge("team-a/p:namespace", "authbridge.ns.noise", LIMIT / 3), nothing);
        assert_eq!(judge("team-a/p:namespace", "authbridge.ns.noise", LIMIT * 2 / 3), warned);
        assert_eq!(judge("team-b/p:namespace", "authbridge.ns.noise", LIMIT * 2 / 3), nothing);
    }

    #[test]
    fn no_bundle_is_larger_than_was_counted() {
        let hour = Some(Duration::from_secs(3600));
        let settings = Settings { envoy_adapter: true, bundle_lifetime: hour, ..settings() };
        let mut policies = Policies::new(settings);
        let long = format!("spiffe://example.org/{}", Digest::of(&[b"long"]).to_string().repeat(30));
        for id in [id("team-a", "agent"), SpiffeId::parse(&long).unwrap()] {
            let bytes = policies.bundle(&id).unwrap().bytes().len();
            let head = bytes - policies.global.member.bytes.len();
            assert!(head <= bundle::most_bytes_of_head(true), "{head}");
        }
        let texts = [large("authbridge.ns.noise", 20_000), "package authbridge.ns.small\n".to_owned()];
        for text in &texts {
            let document = "{\"a\": [1e3, \"\\u00e9\"]}";
            let modules = [("a.rego", text.as_str()), ("roles.json.rego", document)];
            policies.apply(&[set("team-a/p:namespace", &modules)]);
            let version = policies.resources[&ResourceKey::new("team-a", "p")].good.clone().unwrap();
            let bytes = tier::bytes(TierKind::Namespace, &version.parts);
            assert!(bytes <= tier::most_bytes(&version.parts), "{bytes}");
        }
    }
}
