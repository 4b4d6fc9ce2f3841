//! From policies to bundles. No I/O.
//!
//! | module | holds |
//! |---|---|
//! | [`policies`] | every resource with its last good version, and the tiers that they make |
//! | [`verdict`] | what became of a resource |
//! | [`resource`] | the versions of one resource |
//! | [`choice`] | what administrators chose of resources |
//! | `merge`, `testing`, `blame` | which versions stand together in a tier, what their tests say, and of whom |
//! | `tested` | what tests came to |
//! | `passed_over` | what is wrong with versions instead of which administrators chose others |
//! | `misfits` | which versions keep a tier's from standing together |
//! | `outside` | what else is wrong with versions that reach outside their tier |
//! | `allowance`, `postponed`, `again` | how much a namespace may take, and when those that did not end are tried again |
//! | `share` | how much of the time a namespace may take in the long run |
//! | `start` | which tests a start waits for |
//! | `room` | how large a tier may become |
//! | `size` | how large a bundle may become |
//! | `parts`, `documents`, `places` | what a version brings: modules, JSON documents and where they lie, tests |
//! | [`tier`] | one tier, checked and packed |
//! | `cost` | what may keep a sidecar busy |
//! | `above` | what a tier has to fit below |
//! | `checked` | what stood together already |
//! | [`bundle`] | the tiers of an identity, checked together and joined |
//! | [`freshness`] | until when a bundle may be used |
//! | `revisions` | the revisions of a bundle whose tiers stay the same |
//! | [`publication`] | what came into force, for the history |
//! | [`read`] | looking into an archive |
//!
//! A resource that does not compile keeps its last good version; without one its tier denies and says why. Nothing is
//! published that an OPA would refuse.

mod above;
mod again;
mod allowance;
mod archive;
mod blame;
pub mod bundle;
mod checked;
pub mod choice;
mod confine;
mod contradiction;
mod cost;
mod denial;
mod documents;
pub mod freshness;
mod merge;
mod misfits;
mod nested;
mod outside;
mod parts;
mod passed_over;
mod places;
pub mod policies;
mod postponed;
mod preview;
pub mod publication;
pub mod read;
pub mod resource;
pub(crate) mod revisions;
mod room;
mod share;
mod size;
mod start;
mod tested;
mod testing;
pub mod tier;
pub mod verdict;

use std::{sync::Arc, time::Duration};

use secplane_identity::{SpiffeId, TrustDomain};
use secplane_rego::Gate;

pub use bundle::Bundle;
pub use policies::Policies;
pub use read::Archive;
pub use verdict::{Standing, Verdict};

use crate::{
    config::default_bundle_size_limit,
    policy_tests::Tester,
    refusal::Refusal,
    source::{Change, Object},
    tiers::{Selection, TierKind},
};

/// What compiling depends on beside the policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Which policies apply to whom.
    pub selection: Selection,
    /// Whether the shipped global policy demands a client policy.
    pub require_client_policy: bool,
    /// Whether bundles answer Envoy's external authorization too.
    pub envoy_adapter: bool,
    /// How long a bundle may be used; `None` for ever.
    pub bundle_lifetime: Option<Duration>,
    /// For which OPA policies are checked.
    pub gate: Gate,
    /// The largest bundle, in bytes: nothing comes into force that would make one larger.
    pub bundle_size_limit: usize,
}

impl Settings {
    /// The defaults for a trust domain.
    #[must_use]
    pub fn new(trust_domain: TrustDomain) -> Self {
        Self {
            selection: Selection::new(trust_domain),
            require_client_policy: false,
            envoy_adapter: false,
            bundle_lifetime: None,
            gate: Gate::default(),
            bundle_size_limit: default_bundle_size_limit(),
        }
    }
}

/// The bundle of one identity, and what was refused on the way.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// What the service would serve.
    pub bundle: Arc<Bundle>,
    /// The tiers that apply to the identity.
    pub tiers: Vec<TierKind>,
    /// All that is refused of the objects, and what keeps this identity's tiers from standing together.
    pub refusals: Vec<Refusal>,
}

/// Compiles the bundle of one identity from objects that were read once. With a tester nothing gets in that fails the
/// tests which travel with it, as in the service; without one they are not run.
#[must_use]
pub fn compile(
    objects: &[Object],
    id: &SpiffeId,
    settings: &Settings,
    tester: Option<Arc<dyn Tester>>,
) -> Compiled {
    let mut policies = Policies::new(settings.clone()).for_one_alone();
    if let Some(tester) = tester {
        policies = policies.with_tester(tester);
    }
    let changes: Vec<Change> = objects.iter().cloned().map(|object| Change::Set(Arc::new(object))).collect();
    policies.apply(&changes);
    let mut refusals = policies.refusals();
    let bundle = policies.bundle(id).unwrap_or_else(|refused| {
        let denied = policies.denied(id, &refused);
        refusals.extend(refused);
        denied
    });
    Compiled { bundle, tiers: policies.tiers_of(id), refusals }
}

#[cfg(test)]
mod builtins_tests;

#[cfg(test)]
mod tests;

#[cfg(test)]
mod content_tests;

#[cfg(test)]
mod endless_tests;

#[cfg(test)]
mod turn_tests;
