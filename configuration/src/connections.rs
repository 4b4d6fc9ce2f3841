//! How many connections a daemon takes.

use std::ops::RangeInclusive;

use schemars::JsonSchema;
use secplane_identity::serve::{Limit, Quota, Quotas};
use serde::{Deserialize, Serialize};

/// The key of a daemon's configuration that these settings stand below.
pub const SECTION: &str = "connections";

/// What each limit may be. A connection takes a file descriptor, and nobody has more of them than this.
const BOUNDS: RangeInclusive<usize> = 1..=1_000_000;

/// How many connections there may be at once: what keeps one client from keeping the others out. A limit on one that is
/// higher than that on all is the same as none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionsConfig {
    /// Connections to `listen` of peers with a certificate. A further one waits for up to 10 s, then it is closed.
    pub peers: usize,
    /// Of them, those of one SPIFFE ID. A further one is closed.
    pub peers_of_one_identity: usize,
    /// Connections to `listen` of those without a certificate, where these are let in. A further one is closed.
    pub anonymous: usize,
    /// Of them, those from one IPv4 address or IPv6 /64 network. A further one is closed. Raise it where many clients have
    /// one address: behind NAT, or behind a load balancer that passes TCP on.
    pub anonymous_of_one_address: usize,
    /// TLS handshakes on `listen` that are under way. Further connections wait.
    pub handshakes: usize,
    /// Of them, those with one IPv4 address or IPv6 /64 network. A further connection from there is closed. Raise it where
    /// many clients have one address.
    pub handshakes_of_one_address: usize,
    /// Connections to the listener for health and metrics, which has no TLS. Further ones wait.
    pub plain: usize,
    /// Of them, those from one IPv4 address or IPv6 /64 network. A further one is closed.
    pub plain_of_one_address: usize,
}

impl Default for ConnectionsConfig {
    fn default() -> Self {
        let Quotas { peers, anonymous, handshakes, plain } = Quotas::default();
        Self {
            peers: peers.all,
            peers_of_one_identity: peers.of_one,
            anonymous: anonymous.all,
            anonymous_of_one_address: anonymous.of_one,
            handshakes: handshakes.all,
            handshakes_of_one_address: handshakes.of_one,
            plain: plain.all,
            plain_of_one_address: plain.of_one,
        }
    }
}

impl ConnectionsConfig {
    /// The same, as what serves connections takes it.
    #[must_use]
    pub fn quotas(&self) -> Quotas {
        Quotas {
            peers: Quota { all: self.peers, of_one: self.peers_of_one_identity },
            anonymous: Quota { all: self.anonymous, of_one: self.anonymous_of_one_address },
            handshakes: Quota { all: self.handshakes, of_one: self.handshakes_of_one_address },
            plain: Quota { all: self.plain, of_one: self.plain_of_one_address },
        }
    }

    /// What of it cannot be used.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let outside = |limit: &Limit| !BOUNDS.contains(&self.limit(*limit));
        let limit = Limit::ALL.into_iter().find(outside)?;
        let (least, most) = (*BOUNDS.start(), *BOUNDS.end());
        Some(format!("`{}` is {}; it has to be from {least} to {most}", limit.name(), self.limit(limit)))
    }

    fn limit(&self, limit: Limit) -> usize {
        match limit {
            Limit::Peers => self.peers,
            Limit::PeersOfOneIdentity => self.peers_of_one_identity,
            Limit::Anonymous => self.anonymous,
            Limit::AnonymousOfOneAddress => self.anonymous_of_one_address,
            Limit::Handshakes => self.handshakes,
            Limit::HandshakesOfOneAddress => self.handshakes_of_one_address,
            Limit::Plain => self.plain,
            Limit::PlainOfOneAddress => self.plain_of_one_address,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_yaml;

    fn with(limit: Limit, number: usize) -> ConnectionsConfig {
        from_yaml(&format!("{}: {number}\n", limit.name())).unwrap()
    }

    #[test]
    fn takes_each_limit_by_the_name_that_the_log_gives() {
        for limit in Limit::ALL {
            let config = with(limit, 7);
            assert_eq!((config.limit(limit), config.fault()), (7, None), "{limit:?}");
            let changed = Limit::ALL.into_iter().filter(|limit| config.limit(*limit) == 7);
            assert_eq!(changed.collect::<Vec<_>>(), [limit]);
            assert_ne!(config.quotas(), Quotas::default(), "{limit:?} changes nothing");
        }
    }

    #[test]
    fn refuses_limits_that_are_none() {
        for limit in Limit::ALL {
            for number in [0, 1_000_001] {
                let fault = with(limit, number).fault().unwrap();
                assert!(fault.starts_with(&format!("`{}` is {number};", limit.name())), "{fault}");
            }
            assert_eq!(with(limit, 1).fault(), None);
            assert_eq!(with(limit, 1_000_000).fault(), None);
        }
    }

    #[test]
    fn changes_nothing_by_default() {
        assert_eq!(ConnectionsConfig::default().quotas(), Quotas::default());
    }
}
