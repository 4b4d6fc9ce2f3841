//! The bundle of an identity: its tiers, checked together and joined.

use axum::body::Bytes;
use serde_json::json;

use super::{
    archive::{Member, sha256},
    tier::{Tier, check_together},
};
use crate::refusal::Refusal;

/// A compiled bundle.
#[derive(Debug)]
pub struct Bundle {
    bytes: Bytes,
    revision: String,
    denied: Option<String>,
}

impl Bundle {
    /// The archive.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What identifies the content: equal on every replica, different for different content.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The revision as a strong entity tag.
    #[must_use]
    pub fn etag(&self) -> String {
        format!("\"{}\"", self.revision)
    }

    /// Why a tier of it denies everything, when one is broken.
    #[must_use]
    pub fn denied(&self) -> Option<&str> {
        self.denied.as_deref()
    }
}

/// The tiers that apply to one identity.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Combination<'a> {
    pub(crate) global: &'a Tier,
    pub(crate) namespace: Option<&'a Tier>,
    pub(crate) client: Option<&'a Tier>,
    pub(crate) require_client_policy: bool,
}

impl Combination<'_> {
    fn tiers(&self) -> impl Iterator<Item = &Tier> + Clone {
        [Some(self.global), self.namespace, self.client].into_iter().flatten()
    }

    /// What identifies the content: the bytes of the tiers and the settings that go with them.
    pub(crate) fn revision(&self) -> String {
        let digest = |tier: Option<&Tier>| tier.map(|tier| tier.member.digest.to_vec()).unwrap_or_default();
        hex::encode(sha256(&[
            b"secplane bundle 1",
            self.settings().as_bytes(),
            &digest(Some(self.global)),
            &digest(self.namespace),
            &digest(self.client),
        ]))
    }

    fn settings(&self) -> String {
        json!({ "require_client_policy": self.require_client_policy }).to_string()
    }

    /// Checks the tiers together and joins them. Each alone has been checked before.
    pub(crate) fn assemble(&self) -> Result<Bundle, Vec<Refusal>> {
        let refusals = check_together(self.tiers().flat_map(|tier| &tier.modules));
        if refusals.is_empty() { Ok(self.join()) } else { Err(refusals) }
    }

    /// Joins tiers that need no check.
    pub(crate) fn join(&self) -> Bundle {
        let revision = self.revision();
        let manifest =
            json!({ "revision": revision, "roots": ["authbridge"], "rego_version": 1 }).to_string();
        let head = Member::pack([
            ("/.manifest", manifest.as_bytes()),
            ("/authbridge/settings/data.json", self.settings().as_bytes()),
        ]);
        let end = Member::end();
        let members = [&head].into_iter().chain(self.tiers().map(|tier| &tier.member)).chain([&end]);
        let bytes: Vec<u8> = members.flat_map(|member| member.bytes.iter().copied()).collect();
        Bundle { bytes: bytes.into(), revision, denied: self.tiers().find_map(|tier| tier.denied.clone()) }
    }
}
