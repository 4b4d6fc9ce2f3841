//! SPIFFE IDs and trust domains (SPIFFE-ID, sections 2 and 3).
//!
//! Only the canonical form is accepted: an ID that would have to be changed to be valid is refused, so the text
//! in a certificate and the text in a policy are the same bytes.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest SPIFFE ID in bytes (SPIFFE-ID, section 2.3).
pub const MAX_ID_BYTES: usize = 2048;
/// The longest trust domain name in bytes (SPIFFE-ID, section 2.1).
pub const MAX_TRUST_DOMAIN_BYTES: usize = 255;

const SCHEME: &str = "spiffe://";

/// The name of a trust domain, such as `example.org`: lower-case letters, digits, `.`, `-` and `_`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// Reads a name, given alone or as its ID (`spiffe://example.org`).
    ///
    /// # Errors
    /// When it is empty, too long, or has a character that a trust domain may not have.
    pub fn parse(text: &str) -> Result<Self, SpiffeIdError> {
        let name = text.strip_prefix(SCHEME).unwrap_or(text);
        if name.is_empty() {
            return Err(SpiffeIdError::EmptyTrustDomain);
        }
        if name.len() > MAX_TRUST_DOMAIN_BYTES {
            return Err(SpiffeIdError::TrustDomainTooLong(name.len()));
        }
        match name.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_')) {
            Some(c) => Err(SpiffeIdError::TrustDomainCharacter(c)),
            None => Ok(Self(name.into())),
        }
    }

    /// The name alone: `example.org`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trust domain's own SPIFFE ID: `spiffe://example.org`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{SCHEME}{}", self.0)
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TrustDomain {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for TrustDomain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TrustDomain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// The SPIFFE ID of a workload: a trust domain and a path that is never empty.
///
/// The ID of a trust domain itself is [`TrustDomain::id`]; no workload can hold it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    text: Arc<str>,
    trust_domain: TrustDomain,
}

impl SpiffeId {
    /// Reads a canonical SPIFFE ID such as `spiffe://example.org/ns/a/sa/b`.
    ///
    /// # Errors
    /// Says which rule of the SPIFFE-ID standard is broken.
    pub fn parse(text: &str) -> Result<Self, SpiffeIdError> {
        if text.len() > MAX_ID_BYTES {
            return Err(SpiffeIdError::TooLong(text.len()));
        }
        let rest = text.strip_prefix(SCHEME).ok_or(SpiffeIdError::Scheme)?;
        let (domain, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let trust_domain = TrustDomain::parse_name_of_id(domain)?;
        check_path(path)?;
        Ok(Self { text: text.into(), trust_domain })
    }

    /// Joins a trust domain and a path that begins with `/`.
    ///
    /// # Errors
    /// As [`SpiffeId::parse`].
    pub fn from_parts(trust_domain: &TrustDomain, path: &str) -> Result<Self, SpiffeIdError> {
        // Without it the path would run on in the name of the trust domain.
        if !path.is_empty() && !path.starts_with('/') {
            return Err(SpiffeIdError::RelativePath);
        }
        let length = SCHEME.len() + trust_domain.0.len() + path.len();
        if length > MAX_ID_BYTES {
            return Err(SpiffeIdError::TooLong(length));
        }
        check_path(path)?;
        // The trust domain's name is shared: whoever holds a million IDs holds it once.
        Ok(Self { text: format!("{SCHEME}{trust_domain}{path}").into(), trust_domain: trust_domain.clone() })
    }

    /// The whole ID.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The trust domain that it belongs to.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The path, with its leading `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.text[SCHEME.len() + self.trust_domain.0.len()..]
    }

    /// The path's segments.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.path().split('/').skip(1)
    }

    /// Whether the path lies under `/spire`, which is kept for servers and agents and is never registered.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.segments().next() == Some("spire")
    }
}

impl TrustDomain {
    /// The trust domain part of an ID; unlike [`TrustDomain::parse`] it takes no scheme.
    fn parse_name_of_id(name: &str) -> Result<Self, SpiffeIdError> {
        if name.contains(':') || name.contains('@') {
            return Err(SpiffeIdError::Authority);
        }
        Self::parse(name)
    }
}

fn check_path(path: &str) -> Result<(), SpiffeIdError> {
    if path.is_empty() {
        return Err(SpiffeIdError::EmptyPath);
    }
    for segment in path.split('/').skip(1) {
        match segment {
            "" => return Err(SpiffeIdError::EmptySegment),
            "." | ".." => return Err(SpiffeIdError::DotSegment),
            _ => {}
        }
        if let Some(c) =
            segment.chars().find(|c| !matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' | '_'))
        {
            return Err(SpiffeIdError::PathCharacter(c));
        }
    }
    Ok(())
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for SpiffeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for SpiffeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Which rule of the SPIFFE-ID standard a text breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeIdError {
    /// The scheme is missing or not lower case.
    #[error("a SPIFFE ID begins with `spiffe://` in lower case (SPIFFE-ID, section 2)")]
    Scheme,
    /// Longer than [`MAX_ID_BYTES`].
    #[error("a SPIFFE ID has at most {MAX_ID_BYTES} bytes, this one has {0} (SPIFFE-ID, section 2.3)")]
    TooLong(usize),
    /// No trust domain.
    #[error("the trust domain is empty (SPIFFE-ID, section 2.1)")]
    EmptyTrustDomain,
    /// Longer than [`MAX_TRUST_DOMAIN_BYTES`].
    #[error(
        "a trust domain has at most {MAX_TRUST_DOMAIN_BYTES} bytes, this one has {0} (SPIFFE-ID, section 2.1)"
    )]
    TrustDomainTooLong(usize),
    /// A character outside `a-z 0-9 . - _`.
    #[error("a trust domain may hold only a-z, 0-9, `.`, `-` and `_`, not {0:?} (SPIFFE-ID, section 2.1)")]
    TrustDomainCharacter(char),
    /// A port or user information.
    #[error("a SPIFFE ID has neither port nor user information (SPIFFE-ID, section 2)")]
    Authority,
    /// A workload's ID without a path.
    #[error("the ID of a workload has a path after the trust domain (X509-SVID, section 5.2)")]
    EmptyPath,
    /// A path on its own that does not begin with `/`.
    #[error("the path begins with `/` (SPIFFE-ID, section 2.2)")]
    RelativePath,
    /// `//` or a trailing `/`.
    #[error("the path has an empty segment or ends in `/` (SPIFFE-ID, section 2.2)")]
    EmptySegment,
    /// `.` or `..`.
    #[error("the path has a segment `.` or `..` (SPIFFE-ID, section 2.2)")]
    DotSegment,
    /// A character outside `a-z A-Z 0-9 . - _`.
    #[error("a path may hold only letters, digits, `.`, `-` and `_`, not {0:?} (SPIFFE-ID, section 2.2)")]
    PathCharacter(char),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[test]
    fn accepts_canonical() {
        let id = SpiffeId::parse("spiffe://example.org/ns/team-a/sa/Agent_1.x").unwrap();
        assert_eq!(id.trust_domain().as_str(), "example.org");
        assert_eq!(id.path(), "/ns/team-a/sa/Agent_1.x");
        assert_eq!(id.segments().collect::<Vec<_>>(), ["ns", "team-a", "sa", "Agent_1.x"]);
        assert_eq!(SpiffeId::from_parts(id.trust_domain(), id.path()).unwrap(), id);
    }

    #[rstest]
    #[case("", SpiffeIdError::Scheme)]
    #[case("SPIFFE://example.org/a", SpiffeIdError::Scheme)]
    #[case("https://example.org/a", SpiffeIdError::Scheme)]
    #[case("spiffe://", SpiffeIdError::EmptyTrustDomain)]
    #[case("spiffe:///a", SpiffeIdError::EmptyTrustDomain)]
    #[case("spiffe://Example.org/a", SpiffeIdError::TrustDomainCharacter('E'))]
    #[case("spiffe://example.org:80/a", SpiffeIdError::Authority)]
    #[case("spiffe://me@example.org/a", SpiffeIdError::Authority)]
    #[case("spiffe://spiffe://a/b", SpiffeIdError::Authority)]
    #[case("spiffe://example.org", SpiffeIdError::EmptyPath)]
    #[case("spiffe://example.org/", SpiffeIdError::EmptySegment)]
    #[case("spiffe://example.org/a/", SpiffeIdError::EmptySegment)]
    #[case("spiffe://example.org//a", SpiffeIdError::EmptySegment)]
    #[case("spiffe://example.org/a/../b", SpiffeIdError::DotSegment)]
    #[case("spiffe://example.org/./b", SpiffeIdError::DotSegment)]
    #[case("spiffe://example.org/a%2fb", SpiffeIdError::PathCharacter('%'))]
    #[case("spiffe://example.org/a?b", SpiffeIdError::PathCharacter('?'))]
    #[case("spiffe://example.org/a#b", SpiffeIdError::PathCharacter('#'))]
    #[case("spiffe://example.org/ä", SpiffeIdError::PathCharacter('ä'))]
    fn rejects_invalid(#[case] text: &str, #[case] error: SpiffeIdError) {
        assert_eq!(SpiffeId::parse(text), Err(error));
    }

    #[test]
    fn lets_no_path_run_on_in_the_trust_domain() {
        let trust_domain = TrustDomain::parse("example.or").unwrap();
        assert_eq!(SpiffeId::from_parts(&trust_domain, "g/admin"), Err(SpiffeIdError::RelativePath));
        assert_eq!(SpiffeId::from_parts(&trust_domain, ""), Err(SpiffeIdError::EmptyPath));
    }

    #[test]
    fn enforces_lengths() {
        let longest = format!("spiffe://a/{}", "b".repeat(MAX_ID_BYTES - "spiffe://a/".len()));
        assert!(SpiffeId::parse(&longest).is_ok());
        assert_eq!(SpiffeId::parse(&format!("{longest}b")), Err(SpiffeIdError::TooLong(2049)));
        assert!(TrustDomain::parse(&"a".repeat(255)).is_ok());
        assert_eq!(TrustDomain::parse(&"a".repeat(256)), Err(SpiffeIdError::TrustDomainTooLong(256)));
    }

    #[test]
    fn reserves_the_spire_path_by_segment() {
        assert!(SpiffeId::parse("spiffe://a/spire/server").unwrap().is_reserved());
        assert!(SpiffeId::parse("spiffe://a/spire").unwrap().is_reserved());
        assert!(!SpiffeId::parse("spiffe://a/spirex").unwrap().is_reserved());
    }

    proptest! {
        #[test]
        fn what_parses_prints_back(text in "(spiffe://)?[a-zA-Z0-9./:@%_-]{0,60}") {
            if let Ok(id) = SpiffeId::parse(&text) {
                prop_assert_eq!(id.as_str(), text.as_str());
                prop_assert_eq!(&SpiffeId::from_parts(id.trust_domain(), id.path()).unwrap(), &id);
                prop_assert_eq!(format!("spiffe://{}{}", id.trust_domain(), id.path()), text);
            }
        }

        #[test]
        fn parts_are_read_like_the_whole(path in "(/[a-zA-Z0-9./:@%_-]{0,40})?") {
            let trust_domain = TrustDomain::parse("example.org").unwrap();
            let whole = SpiffeId::parse(&format!("spiffe://example.org{path}"));
            prop_assert_eq!(SpiffeId::from_parts(&trust_domain, &path), whole);
        }

        #[test]
        fn never_panics(text in "\\PC*") {
            let _ = SpiffeId::parse(&text);
            let _ = TrustDomain::parse(&text);
        }
    }
}
