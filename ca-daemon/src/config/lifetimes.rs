//! How long what is issued lives, and when what signs it is replaced.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, ConfigError};
use crate::{
    authority::{CrlUrl, Lifetimes},
    jwt_svids::JwtSettings,
    lifecycle::{AuthorityLifetimes, LifecycleSettings, PartOfLife, Schedule},
};

const MINUTE: Duration = Duration::from_secs(60);

/// Lifetimes. Text such as `1h`, `90s`, `30d`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ValidityConfig {
    /// Of the root, when the first start makes it.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub root: Duration,
    /// Of an issuing CA. It is renewed at half of it.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub issuing_ca: Duration,
    /// Of an X.509-SVID, unless its entry says otherwise.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub x509_svid: Duration,
    /// Of a node agent's own X.509-SVID.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub agent: Duration,
    /// Of a server certificate, unless the admin says otherwise.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub server: Duration,
    /// Of a client certificate, unless the admin says otherwise.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub client: Duration,
    /// The longest lifetime: SVIDs and tokens of more are cut down to it, whoever asks, and server and client
    /// certificates of more are refused. None is longer than what is left of the issuing CA.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub longest: Duration,
}

/// When roots and JWT keys are replaced, by their age. `secctl ca rotate` does it at any time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RotationConfig {
    /// The part of its life, between 0 and 1, after which a root or JWT key gets a successor in the trust bundle.
    pub prepare_at: PartOfLife,
    /// The part of its life after which the successor signs instead of it.
    pub activate_at: PartOfLife,
    /// How long a successor is in the trust bundle before it may sign: as long as those who poll the bundle may take.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub publish_ahead: Duration,
    /// Whether a root is revoked, unforced, only when every agent that is neither banned nor expired has reported
    /// (`PostStatus`) that it has the trust bundle of this moment. Since which version the successor is in the bundle
    /// is not kept, so that the present one is asked for. An agent that reports nothing holds the root up until it is
    /// banned or evicted, or its SVID ends.
    pub revoke_after_agents: bool,
}

/// JWT-SVIDs. Durations as in `validity`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JwtConfig {
    /// What tokens name as their issuer (`iss`), such as the URL where their keys can be fetched. Default: nothing.
    pub issuer: Option<String>,
    /// Of a key that signs tokens. No token outlives it.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub key_validity: Duration,
    /// Of a token, unless its entry says otherwise.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub svid_validity: Duration,
}

/// Certificate revocation lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CrlConfig {
    /// The URL that certificates say their issuer's list is found at, such as `http://ca.example.org:8082/crl`:
    /// `/<issuer's key ID>.crl` is appended to it. Whoever answers there passes on what `operations.listen` serves
    /// below `/crl`. Without it certificates say nothing.
    #[schemars(with = "Option<String>")]
    pub url: Option<CrlUrl>,
    /// How long a list is valid, from 5 minutes to 30 days. A new one is made when half of it is over, and at once when
    /// something is revoked.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub validity: Duration,
}

impl Default for ValidityConfig {
    fn default() -> Self {
        const HOUR: u64 = 3600;
        const DAY: u64 = 24 * HOUR;
        Self {
            // Ten years as humantime counts them: 365.25 days each.
            root: Duration::from_secs(10 * 31_557_600),
            issuing_ca: Duration::from_secs(DAY),
            x509_svid: Duration::from_secs(HOUR),
            agent: Duration::from_secs(HOUR),
            server: Duration::from_secs(HOUR),
            client: Duration::from_secs(HOUR),
            longest: Duration::from_secs(DAY),
        }
    }
}

impl Default for RotationConfig {
    fn default() -> Self {
        Self {
            prepare_at: PartOfLife::thousandths(500),
            activate_at: PartOfLife::thousandths(833),
            // The refresh hint of the trust bundle.
            publish_ahead: Duration::from_secs(300),
            revoke_after_agents: false,
        }
    }
}

impl Default for JwtConfig {
    fn default() -> Self {
        Self {
            issuer: None,
            key_validity: Duration::from_secs(24 * 3600),
            svid_validity: Duration::from_secs(5 * 60),
        }
    }
}

impl Default for CrlConfig {
    fn default() -> Self {
        Self { url: None, validity: Duration::from_secs(24 * 3600) }
    }
}

impl Config {
    /// Checks that nothing is to outlive what signs it.
    pub(super) fn check_lifetimes(&self) -> Result<(), ConfigError> {
        let refuse = |key: &'static str, reason: String| Err(ConfigError::Invalid { key, reason });
        let v = &self.validity;
        for (key, lifetime) in [
            ("validity.x509_svid", v.x509_svid),
            ("validity.agent", v.agent),
            ("validity.server", v.server),
            ("validity.client", v.client),
            ("validity.longest", v.longest),
        ] {
            if lifetime < Duration::from_secs(1) {
                return refuse(key, "it is shorter than a second".into());
            }
            if lifetime > v.issuing_ca {
                return refuse(key, "it is longer than validity.issuing_ca, which no leaf outlives".into());
            }
        }
        if self.jwt.svid_validity < Duration::from_secs(1) {
            return refuse("jwt.svid_validity", "it is shorter than a second".into());
        }
        if self.jwt.svid_validity > v.longest {
            return refuse("jwt.svid_validity", "it is longer than validity.longest".into());
        }
        if self.jwt.svid_validity > self.jwt.key_validity / 2 {
            return refuse("jwt.svid_validity", "it is longer than half of jwt.key_validity".into());
        }
        if self.jwt.issuer.as_ref().is_some_and(|issuer| issuer.is_empty() || issuer.len() > 2048) {
            return refuse("jwt.issuer", "it is empty or longer than 2048 bytes".into());
        }
        if v.agent > v.longest {
            return refuse("validity.agent", "it is longer than validity.longest".into());
        }
        if v.issuing_ca > v.root / 2 {
            return refuse("validity.issuing_ca", "it is longer than half of validity.root".into());
        }
        if v.root > Duration::from_secs(100 * 365 * 24 * 3600) {
            return refuse("validity.root", "it is longer than 100 years".into());
        }
        if !(MINUTE * 5..=MINUTE * 60 * 24 * 30).contains(&self.crl.validity) {
            return refuse("crl.validity", "it is not between 5 minutes and 30 days".into());
        }
        if self.rotation.prepare_at >= self.rotation.activate_at {
            return refuse("rotation.prepare_at", "it is not before rotation.activate_at".into());
        }
        Ok(())
    }

    /// How JWT-SVIDs are made.
    #[must_use]
    pub fn jwt_settings(&self) -> JwtSettings {
        JwtSettings {
            issuer: self.jwt.issuer.clone(),
            lifetime: self.jwt.svid_validity,
            longest: self.validity.longest,
        }
    }

    /// The lifetimes of authorities.
    #[must_use]
    pub fn authority_lifetimes(&self) -> AuthorityLifetimes {
        AuthorityLifetimes {
            root: self.validity.root,
            issuing: self.validity.issuing_ca,
            jwt_key: self.jwt.key_validity,
        }
    }

    /// How roots and JWT keys go on.
    #[must_use]
    pub fn lifecycle(&self) -> LifecycleSettings {
        let RotationConfig { prepare_at, activate_at, publish_ahead, revoke_after_agents } = self.rotation;
        LifecycleSettings {
            schedule: Schedule { prepare_at, activate_at, publish_ahead },
            longest_jwt_svid: self.jwt_settings().longest,
            revoke_after_agents,
        }
    }

    /// The lifetimes of leaves.
    #[must_use]
    pub fn lifetimes(&self) -> Lifetimes {
        let v = &self.validity;
        Lifetimes { x509_svid: v.x509_svid, server: v.server, client: v.client, longest: v.longest }
    }
}
