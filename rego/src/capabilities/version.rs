//! The versions of OPA that policies can be checked for.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A minor version of OPA: patches of it do not differ in what they can do. At rest it is written `v1.18`, which no
/// reader takes for a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum OpaVersion {
    /// 1.18, which the sidecars of today embed.
    #[default]
    V1_18,
    /// 1.19
    V1_19,
    /// 1.20
    V1_20,
    /// 1.21
    V1_21,
    /// 1.22
    V1_22,
}

/// There are no capabilities for that version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policies cannot be checked for OPA `{0}`: the versions that are known are 1.18 to 1.22")]
pub struct UnknownVersion(String);

impl OpaVersion {
    /// All versions, the oldest first.
    pub const ALL: [Self; 5] = [Self::V1_18, Self::V1_19, Self::V1_20, Self::V1_21, Self::V1_22];

    /// What to do about something that this version is the first to have.
    pub(crate) fn advice(self) -> String {
        format!("this needs OPA {self} or newer; set `opa_version` once every sidecar runs it")
    }

    fn minor(self) -> &'static str {
        match self {
            Self::V1_18 => "1.18",
            Self::V1_19 => "1.19",
            Self::V1_20 => "1.20",
            Self::V1_21 => "1.21",
            Self::V1_22 => "1.22",
        }
    }
}

impl fmt::Display for OpaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.minor())
    }
}

impl From<OpaVersion> for String {
    fn from(version: OpaVersion) -> Self {
        format!("v{version}")
    }
}

impl TryFrom<String> for OpaVersion {
    type Error = UnknownVersion;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Reads `1.18`, `v1.18`, and `1.18.2`, as an OPA tells its version.
impl FromStr for OpaVersion {
    type Err = UnknownVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_prefix('v').unwrap_or(text);
        let known = Self::ALL.into_iter().find(|version| {
            number.strip_prefix(version.minor()).is_some_and(|rest| {
                rest.is_empty()
                    || rest.strip_prefix('.').is_some_and(|patch| {
                        !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit())
                    })
            })
        });
        known.ok_or_else(|| UnknownVersion(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for version in OpaVersion::ALL {
            assert_eq!(version.to_string().parse(), Ok(version));
        }
        assert_eq!("1.18.2".parse(), Ok(OpaVersion::V1_18));
        let json = serde_json::to_string(&OpaVersion::V1_20).unwrap();
        assert_eq!((json.as_str(), serde_json::from_str(&json).unwrap()), ("\"v1.20\"", OpaVersion::V1_20));
    }

    #[rstest]
    fn rejects_unknown(
        #[values("", "1", "1.1", "1.17.1", "1.180", "1.18.", "1.18.2-dev", "vv1.18", "v", "2.18")] text: &str,
    ) {
        assert_eq!(text.parse::<OpaVersion>(), Err(UnknownVersion(text.to_owned())));
    }
}
