//! Where somebody without an identity comes from.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

/// Where a caller without an identity comes from: an IPv4 address, or the /64 network of an IPv6 address, for a host
/// has a whole one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin(Option<IpAddr>);

impl Origin {
    /// The origin of an address; all callers without one share an origin.
    #[must_use]
    pub fn of(address: Option<SocketAddr>) -> Self {
        Self(address.map(|address| match address.ip().to_canonical() {
            IpAddr::V6(ip) => {
                let network = u128::from(ip) & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from(network))
            }
            v4 @ IpAddr::V4(_) => v4,
        }))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Some(IpAddr::V6(network)) => write!(f, "{network}/64"),
            None => f.write_str("no address"),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("10.0.0.1:1", "10.0.0.1:2", true)]
    #[case("10.0.0.1:1", "10.0.0.2:1", false)]
    #[case("[2001:db8::1]:1", "[2001:db8::ffff]:1", true)]
    #[case("[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false)]
    #[case("[::ffff:10.0.0.1]:1", "10.0.0.1:1", true)]
    fn tells_origins_apart(#[case] a: &str, #[case] b: &str, #[case] same: bool) {
        let of = |text: &str| Origin::of(Some(text.parse().unwrap()));
        assert_eq!(of(a) == of(b), same);
    }

    #[rstest]
    #[case("10.0.0.1:1", "10.0.0.1")]
    #[case("[2001:db8::1]:1", "2001:db8::/64")]
    fn shows_itself(#[case] address: &str, #[case] shown: &str) {
        assert_eq!(Origin::of(Some(address.parse().unwrap())).to_string(), shown);
    }
}
