//! Names that a certificate may carry.

use std::fmt;

/// The longest DNS name in bytes (RFC 1035, section 2.3.4, as text).
const MAX_DNS_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// A DNS name as certificates carry it: lower-case labels, optionally with `*` as the whole first label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DnsName(String);

impl DnsName {
    /// Reads a name; letters are lowered, for DNS does not tell them apart.
    ///
    /// # Errors
    /// Says what is wrong with the name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let refuse = |reason| Err(NameError { name: text.to_owned(), reason });
        if text.is_empty() {
            return refuse("it is empty");
        }
        if text.len() > MAX_DNS_NAME_BYTES {
            return refuse("it is longer than 253 bytes");
        }
        if text.parse::<std::net::IpAddr>().is_ok() {
            return refuse("it is an IP address; give it as one");
        }
        let name = text.to_ascii_lowercase();
        let mut labels = name.split('.').peekable();
        if labels.next_if_eq(&"*").is_some() && labels.peek().is_none() {
            return refuse("a wildcard needs a domain below it");
        }
        for label in labels {
            if label.is_empty() {
                return refuse("it has an empty label");
            }
            if label.len() > MAX_LABEL_BYTES {
                return refuse("a label is longer than 63 bytes");
            }
            if label.starts_with('-') || label.ends_with('-') {
                return refuse("a label begins or ends with `-`");
            }
            if !label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
                return refuse("a label holds something else than letters, digits, `-` and `_`");
            }
        }
        Ok(Self(name))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not a DNS name that a certificate may carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a DNS name for a certificate: {reason}")]
pub struct NameError {
    /// The text.
    pub name: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("localhost")]
    #[case("a.example.org")]
    #[case("*.example.org")]
    #[case("bundle_service.ns.svc")]
    fn accepts_valid(#[case] name: &str) {
        assert_eq!(DnsName::parse(name).unwrap().as_str(), name);
    }

    #[test]
    fn lowers_letters() {
        assert_eq!(DnsName::parse("Example.ORG").unwrap().as_str(), "example.org");
    }

    #[rstest]
    #[case("")]
    #[case("*")]
    #[case("a.*.b")]
    #[case("a..b")]
    #[case("a.")]
    #[case("-a.b")]
    #[case("a-.b")]
    #[case("ä.org")]
    #[case("a b")]
    #[case("127.0.0.1")]
    #[case("::1")]
    #[case("https://a")]
    #[case(&"a".repeat(64))]
    fn rejects_invalid(#[case] name: &str) {
        assert!(DnsName::parse(name).is_err());
    }
}
