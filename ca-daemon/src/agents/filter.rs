//! Which agents a list wants.

use std::{collections::BTreeSet, time::SystemTime};

use super::Agent;
use crate::registry::{Match, Selector};

/// All of it must hold; what is `None` does not matter.
#[derive(Debug, Clone, Default)]
pub struct AgentFilter {
    /// Attested in this way.
    pub attestation_type: Option<String>,
    /// Selectors in this relation.
    pub selectors: Option<(Match, BTreeSet<Selector>)>,
    /// Banned or not.
    pub banned: Option<bool>,
    /// Able to attest again or not.
    pub can_reattest: Option<bool>,
    /// With an SVID that ends before this.
    pub expires_before: Option<SystemTime>,
}

impl AgentFilter {
    pub(super) fn is_empty(&self) -> bool {
        let Self { attestation_type, selectors, banned, can_reattest, expires_before } = self;
        attestation_type.is_none()
            && selectors.is_none()
            && banned.is_none()
            && can_reattest.is_none()
            && expires_before.is_none()
    }

    pub(super) fn passes(&self, agent: &Agent) -> bool {
        self.attestation_type.as_ref().is_none_or(|wanted| *wanted == agent.attestation_type)
            && self.selectors.as_ref().is_none_or(|(how, given)| holds(*how, given, &agent.selectors))
            && self.banned.is_none_or(|banned| banned == agent.banned)
            && self.can_reattest.is_none_or(|can| can == agent.can_reattest)
            && self.expires_before.is_none_or(|end| agent.svid.not_after < end)
    }
}

fn holds(how: Match, given: &BTreeSet<Selector>, of_agent: &BTreeSet<Selector>) -> bool {
    match how {
        Match::Exact => given == of_agent,
        // An agent without any is in every set, but nobody who asks for some means it.
        Match::Subset => !of_agent.is_empty() && of_agent.is_subset(given),
        Match::Superset => of_agent.is_superset(given),
        Match::Any => !of_agent.is_disjoint(given),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::agents::agent::tests::agent;

    #[test]
    fn passes_what_fits_all_of_it() {
        let banned = Agent { banned: true, ..agent("/spire/agent/a") };
        let everything = AgentFilter::default();
        assert!(everything.is_empty() && everything.passes(&banned));
        let end = banned.svid.not_after;
        let fits = AgentFilter {
            attestation_type: Some("join_token".to_owned()),
            banned: Some(true),
            can_reattest: Some(false),
            expires_before: Some(end + Duration::from_secs(1)),
            selectors: Some((Match::Exact, BTreeSet::new())),
        };
        assert!(!fits.is_empty() && fits.passes(&banned));
        for unfit in [
            AgentFilter { attestation_type: Some("x509pop".to_owned()), ..fits.clone() },
            AgentFilter { banned: Some(false), ..fits.clone() },
            AgentFilter { can_reattest: Some(true), ..fits.clone() },
            AgentFilter { expires_before: Some(end), ..fits.clone() },
            AgentFilter {
                selectors: Some((Match::Any, [Selector::new("a", "b").unwrap()].into())),
                ..fits.clone()
            },
        ] {
            assert!(!unfit.passes(&banned), "{unfit:?}");
        }
    }
}
