//! What a certificate is revoked by: its serial number, and its public key.

use std::{fmt, str::FromStr};

use aws_lc_rs::digest;

/// The longest serial number in bytes (RFC 5280, section 4.1.2.2).
const MAX_SERIAL_BYTES: usize = 20;

/// A serial number, right-aligned: leading zeros make no difference.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SerialNumber([u8; MAX_SERIAL_BYTES]);

impl SerialNumber {
    /// Takes a big-endian number; `None` when it needs more than 20 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let zeros = bytes.iter().take_while(|b| **b == 0).count();
        let digits = &bytes[zeros..];
        let mut number = [0; MAX_SERIAL_BYTES];
        number[MAX_SERIAL_BYTES.checked_sub(digits.len())?..].copy_from_slice(digits);
        Some(Self(number))
    }

    /// The number, big-endian and without leading zeros.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        let zeros = self.0.iter().take_while(|b| **b == 0).count();
        &self.0[zeros..]
    }
}

impl FromStr for SerialNumber {
    type Err = NameError;

    /// Reads hex in either case, without colons.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.trim_start_matches('0').as_bytes();
        let mut number = [0; MAX_SERIAL_BYTES];
        let start = (2 * MAX_SERIAL_BYTES).checked_sub(digits.len()).ok_or(NameError::Serial)?;
        let mut padded = [b'0'; 2 * MAX_SERIAL_BYTES];
        padded[start..].copy_from_slice(digits);
        let is_number = !text.is_empty() && hex::decode_to_slice(padded, &mut number).is_ok();
        if is_number { Ok(Self(number)) } else { Err(NameError::Serial) }
    }
}

/// Lower-case hex without leading zeros, as [`Certificate::serial`](crate::x509::Certificate) shows it.
impl fmt::Display for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = hex::encode(self.0);
        let digits = text.trim_start_matches('0');
        f.write_str(if digits.is_empty() { "0" } else { digits })
    }
}

impl fmt::Debug for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The SHA-256 of a public key's SubjectPublicKeyInfo in DER.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of a SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn of(public_key_info: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, public_key_info).as_ref());
        Self(bytes)
    }

    /// Takes a hash; `None` unless it has 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The hash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for KeyHash {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl FromStr for KeyHash {
    type Err = NameError;

    /// Reads 64 hex digits in either case, with or without colons.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let compact: String = text.chars().filter(|c| *c != ':').collect();
        let mut bytes = [0; 32];
        hex::decode_to_slice(compact, &mut bytes).map_err(|_| NameError::Key)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text names nothing that could be revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a serial number.
    #[error("a serial number is 1 to 40 hex digits")]
    Serial,
    /// Not the hash of a public key.
    #[error(
        "a public key is named by the SHA-256 of its SubjectPublicKeyInfo in hex: 64 digits, with or without colons"
    )]
    Key,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0a1b", "a1b")]
    #[case("A1B", "a1b")]
    #[case("0", "0")]
    #[case("00000000000000000000000000000000000000000000001", "1")]
    #[case("ffffffffffffffffffffffffffffffffffffffff", "ffffffffffffffffffffffffffffffffffffffff")]
    fn accepts_valid(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(text.parse::<SerialNumber>().unwrap().to_string(), shown);
    }

    #[rstest]
    #[case("")]
    #[case("x")]
    #[case("-1")]
    #[case("1ffffffffffffffffffffffffffffffffffffffff")]
    fn rejects_invalid(#[case] text: &str) {
        assert!(text.parse::<SerialNumber>().is_err());
    }

    proptest! {
        #[test]
        fn is_the_same_from_text_and_from_bytes(bytes in prop::collection::vec(any::<u8>(), 1..=20)) {
            let number = SerialNumber::from_bytes(&bytes).unwrap();
            prop_assert_eq!(hex::encode(&bytes).parse::<SerialNumber>().unwrap(), number);
            prop_assert_eq!(number.to_string().parse::<SerialNumber>().unwrap(), number);
            prop_assert_eq!(SerialNumber::from_bytes(number.as_bytes()).unwrap(), number);
        }

        #[test]
        fn never_panics(text in "\\PC{0,80}", bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = (text.parse::<SerialNumber>(), text.parse::<KeyHash>());
            let _ = (SerialNumber::from_bytes(&bytes), KeyHash::from_bytes(&bytes));
        }
    }
}
