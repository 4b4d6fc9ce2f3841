//! The signature algorithms that cards may use (RFC 7518, section 3.1; RFC 8037).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A JWS algorithm. `none` and the symmetric ones are not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256, as R‖S.
    Es256,
    /// ECDSA on P-384 with SHA-384, as R‖S.
    Es384,
    /// ECDSA on P-521 with SHA-512, as R‖S.
    Es512,
    /// RSA PKCS#1 v1.5 with SHA-256.
    Rs256,
    /// RSA PKCS#1 v1.5 with SHA-384.
    Rs384,
    /// RSA PKCS#1 v1.5 with SHA-512.
    Rs512,
    /// RSA-PSS with SHA-256 and a salt as long as the hash.
    Ps256,
    /// RSA-PSS with SHA-384 and a salt as long as the hash.
    Ps384,
    /// RSA-PSS with SHA-512 and a salt as long as the hash.
    Ps512,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::EdDsa,
    ];

    /// The name in the `alg` header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str() == text)
            .ok_or_else(|| UnknownAlgorithm(text.chars().take(40).collect()))
    }
}

/// A name that is no algorithm's that a card may use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the algorithm {0:?} is not one for cards: ES, RS or PS 256/384/512, or EdDSA")]
pub struct UnknownAlgorithm(String);

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn reads_its_own_names() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.as_str().parse(), Ok(algorithm));
            assert_eq!(serde_json::to_value(algorithm).unwrap(), algorithm.as_str());
        }
    }

    #[rstest]
    #[case("none")]
    #[case("HS256")]
    #[case("es256")]
    #[case("ES256K")]
    #[case("")]
    fn rejects_others(#[case] name: &str) {
        assert!(name.parse::<Algorithm>().is_err());
    }
}
