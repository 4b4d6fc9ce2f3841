//! The bundle of an identity: its tiers, checked together and joined, and what says whose it is.
//!
//! Of a bundle only its tiers take memory, and those are shared by all who have them. The first member of the archive,
//! which is the identity's own, is made anew each time that the archive is sent.

use std::sync::{Arc, LazyLock};

use axum::body::Bytes;
use secplane_identity::SpiffeId;
use secplane_rego::Gate;
use serde_json::{Value, json};

use super::{
    archive::Member,
    checked::Checked,
    tier::{ParsedModule, Tier},
};
use crate::{digest::Digest, refusal::Refusal, tiers::Workload};

/// The tiers that go together for one or many identities.
#[derive(Debug, Clone)]
pub(crate) struct Combination {
    pub(crate) global: Arc<Tier>,
    pub(crate) namespace: Option<Arc<Tier>>,
    pub(crate) client: Option<Arc<Tier>>,
    pub(crate) require_client_policy: bool,
    /// Whether Envoy is answered too.
    pub(crate) envoy_adapter: bool,
}

/// The most that the manifest, the settings and the identity take: a SPIFFE ID has at most 2048 bytes, and what is named of
/// it besides is shorter. It leaves a place for tiers that deny, whatever is above them.
const MOST_BYTES_OF_HEAD: usize = 8 * 1024;

/// The most bytes that a bundle has besides its tiers.
pub(super) fn most_bytes_of_head(envoy_adapter: bool) -> usize {
    let adapter = if envoy_adapter { 1024 + ENVOY_ADAPTER.len() } else { 0 };
    MOST_BYTES_OF_HEAD + adapter
}

/// What answers Envoy's external authorization by the decision points of a bundle.
const ENVOY_ADAPTER: &str = include_str!("../../../policies/envoy/authz.rego");

impl Combination {
    pub(crate) fn tiers(&self) -> impl Iterator<Item = &Tier> + Clone {
        [Some(&self.global), self.namespace.as_ref(), self.client.as_ref()]
            .into_iter()
            .flatten()
            .map(Arc::as_ref)
    }

    /// What identifies it: the bytes of the tiers and the settings that go with them.
    pub(crate) fn digest(&self) -> Digest {
        let digest = |tier: &Arc<Tier>| tier.member.digest;
        combined(
            (self.require_client_policy, self.envoy_adapter),
            self.global.member.digest,
            self.namespace.as_ref().map(digest),
            self.client.as_ref().map(digest),
        )
    }

    /// The most bytes that a bundle of them has.
    pub(super) fn most_bytes(&self) -> usize {
        let tiers: usize = self.tiers().map(|tier| tier.member.bytes.len()).sum();
        most_bytes_of_head(self.envoy_adapter) + tiers
    }

    /// Checks the tiers together.
    pub(super) fn check(&self, gate: Gate, checked: &mut Checked) -> Vec<Refusal> {
        checked.check(gate, self.modules())
    }

    /// Whether that finds nothing.
    pub(super) fn fits(&self, gate: Gate, checked: &mut Checked) -> bool {
        checked.accepts(gate, self.modules())
    }

    fn modules(&self) -> impl Iterator<Item = &ParsedModule> + Clone {
        static ADAPTER: LazyLock<Option<ParsedModule>> =
            LazyLock::new(|| ParsedModule::envoy_adapter(ENVOY_ADAPTER));
        let adapter = ADAPTER.iter().filter(move |_| self.envoy_adapter);
        self.tiers().flat_map(|tier| &tier.modules).chain(adapter)
    }
}

/// What identifies tiers that go together, by what identifies each.
pub(crate) fn combined(
    (require_client_policy, envoy_adapter): (bool, bool),
    global: Digest,
    namespace: Option<Digest>,
    client: Option<Digest>,
) -> Digest {
    let bytes = |digest: &Option<Digest>| digest.map(|digest| digest.as_bytes().to_vec()).unwrap_or_default();
    Digest::of(&[
        b"secplane tiers 2",
        &[u8::from(require_client_policy)],
        if envoy_adapter { ENVOY_ADAPTER.as_bytes() } else { &[] },
        global.as_bytes(),
        &bytes(&namespace),
        &bytes(&client),
    ])
}

/// Whom a bundle is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) id: SpiffeId,
    /// Whom the ID names, if it is one of the trust domain whose identities have tiers of their own.
    pub(crate) workload: Option<Workload>,
}

impl Owner {
    /// What identifies the bundle of this owner with tiers.
    pub(crate) fn revision(&self, tiers: Digest, not_after: Option<u64>) -> Digest {
        Digest::of(&[
            b"secplane bundle 2",
            tiers.as_bytes(),
            self.document().to_string().as_bytes(),
            &not_after.map(|end| end.to_be_bytes().to_vec()).unwrap_or_default(),
        ])
    }

    /// `data.authbridge.identity`.
    fn document(&self) -> Value {
        let mut document = json!({
            "spiffe_id": self.id.as_str(),
            "trust_domain": self.id.trust_domain().as_str(),
        });
        if let Some(Workload { namespace, service_account }) = &self.workload {
            document["namespace"] = namespace.as_str().into();
            document["service_account"] = service_account.as_str().into();
        }
        document
    }
}

/// A compiled bundle.
#[derive(Debug)]
pub struct Bundle {
    owner: Owner,
    tiers: Arc<Combination>,
    /// Until when it may be used, in seconds since 1970.
    not_after: Option<u64>,
    revision: Digest,
}

impl Bundle {
    /// Joins tiers that stand together.
    pub(crate) fn join(owner: Owner, tiers: Arc<Combination>, not_after: Option<u64>) -> Self {
        let revision = owner.revision(tiers.digest(), not_after);
        Self { owner, tiers, not_after, revision }
    }

    /// The archive: a pure function of the content.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        let head = self.head();
        let tiers = self.tiers.tiers().map(|tier| &tier.member);
        let members = [&head].into_iter().chain(tiers).chain([Member::end()]);
        members.flat_map(|member| member.bytes.iter().copied()).collect::<Vec<u8>>().into()
    }

    /// What only this identity has: the manifest, the settings, and who it is.
    fn head(&self) -> Member {
        let roots: &[&str] =
            if self.tiers.envoy_adapter { &["authbridge", "envoy"] } else { &["authbridge"] };
        let mut manifest = json!({ "revision": self.revision(), "roots": roots, "rego_version": 1 });
        if let Some(not_after) = self.not_after {
            manifest["metadata"] = json!({ "not_after": not_after });
        }
        let settings = json!({
            "require_client_policy": self.tiers.require_client_policy,
            "require_fresh_bundle": self.not_after.is_some(),
        });
        let (manifest, settings) = (manifest.to_string(), settings.to_string());
        let identity = self.owner.document().to_string();
        let own = [
            ("/.manifest", manifest.as_str()),
            ("/authbridge/settings/data.json", &settings),
            ("/authbridge/identity/data.json", &identity),
        ];
        let envoy = self.tiers.envoy_adapter.then_some(("/envoy/authz.rego", ENVOY_ADAPTER));
        Member::pack(own.into_iter().chain(envoy).map(|(name, text)| (name, text.as_bytes())))
    }

    /// What identifies the content: equal on every replica, different for different content.
    #[must_use]
    pub fn revision(&self) -> String {
        self.revision.to_string()
    }

    /// The revision as a strong entity tag.
    #[must_use]
    pub fn etag(&self) -> String {
        format!("\"{}\"", self.revision)
    }

    /// Why a tier of it denies everything, when one is broken.
    #[must_use]
    pub fn denied(&self) -> Option<&str> {
        self.tiers.tiers().find_map(|tier| tier.denied.as_deref())
    }

    /// Whether both have their tiers in one place in memory.
    #[must_use]
    pub fn shares_tiers(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.tiers, &other.tiers)
    }

    /// Until when it may be used, in seconds since 1970; `None` when it does not say.
    #[must_use]
    pub fn not_after(&self) -> Option<u64> {
        self.not_after
    }
}
