//! Where revocation lists are found, as certificates say it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest URL, in bytes: it stands in every certificate.
const MAX_BYTES: usize = 256;

/// The URL of the folder that holds the revocation list of every issuer: `<url>/<issuer's key ID>.crl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CrlUrl(String);

impl CrlUrl {
    /// Takes a URL of plain HTTP with a host and without query. A list is signed, so TLS adds nothing to it, and a
    /// server certificate that had to be checked by a list would go round in a circle (RFC 5280, section 8).
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn parse(text: &str) -> Result<Self, CrlUrlError> {
        let refuse = |reason| Err(CrlUrlError { url: text.chars().take(MAX_BYTES).collect(), reason });
        let Ok(uri) = text.parse::<http::Uri>() else { return refuse("it is not a URL") };
        if text.len() > MAX_BYTES {
            return refuse("it is longer than 256 bytes");
        }
        if uri.scheme_str() != Some("http") {
            return refuse("it does not begin with http://");
        }
        if uri.host().is_none_or(str::is_empty) || uri.authority().is_some_and(|a| a.as_str().contains('@')) {
            return refuse("it must name a host, and no user");
        }
        if uri.query().is_some() || text.contains('#') {
            return refuse("it has a query or a fragment");
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }

    /// Where the list of an issuer is, by the lower-case hex of its key identifier.
    #[must_use]
    pub fn of_issuer(&self, key_id: &str) -> String {
        format!("{}/{key_id}.crl", self.0)
    }
}

impl fmt::Display for CrlUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for CrlUrl {
    type Error = CrlUrlError;

    fn try_from(text: String) -> Result<Self, CrlUrlError> {
        Self::parse(&text)
    }
}

impl From<CrlUrl> for String {
    fn from(url: CrlUrl) -> Self {
        url.0
    }
}

/// Why a URL cannot stand in certificates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` cannot stand in certificates: {reason}; give one such as http://ca.example.org:8082/crl")]
pub struct CrlUrlError {
    url: String,
    reason: &'static str,
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("http://ca.example.org/crl")]
    #[case("http://ca.example.org:8082/crl/")]
    #[case("http://10.0.0.1")]
    fn accepts_valid(#[case] text: &str) {
        let url = CrlUrl::parse(text).unwrap();
        assert_eq!(url.of_issuer("0a"), format!("{}/0a.crl", text.trim_end_matches('/')));
    }

    #[rstest]
    #[case("")]
    #[case("ca.example.org/crl")]
    #[case("https://ca.example.org/crl")]
    #[case("http:///crl")]
    #[case("http://user@ca.example.org/crl")]
    #[case("http://ca.example.org/crl?issuer=")]
    #[case("http://ca.example.org/crl#a")]
    #[case("http://ca.example.org/a b")]
    #[case(&format!("http://ca.example.org/{}", "a".repeat(256)))]
    fn rejects_what_cannot_stand_in_a_certificate(#[case] text: &str) {
        assert!(CrlUrl::parse(text).is_err());
    }
}
