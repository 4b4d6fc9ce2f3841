//! Public keys as JSON Web Keys (RFC 7517, RFC 7518 section 6, RFC 8037), as SPIFFE bundle documents hold them.

use aws_lc_rs::{
    encoding::AsDer,
    rsa::PublicKeyComponents,
    signature::{self, ParsedPublicKey, VerificationAlgorithm},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rcgen::{PublicKeyData, SignatureAlgorithm};
use serde_json::{Map, Value, json};
use x509_parser::{prelude::FromDer, public_key::PublicKey, x509::SubjectPublicKeyInfo};

/// 2048 to 8192 bits: smaller keys are broken, larger ones cost whoever verifies too much.
const RSA_MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
const ED25519_OID: &str = "1.3.101.112";

/// The members that say a public key, given as DER of its SubjectPublicKeyInfo: `kty` and what belongs to it.
///
/// # Errors
/// When the bytes are no such key, or one that a JWK cannot say.
pub fn members(public_key_info: &[u8]) -> Result<Map<String, Value>, JwkError> {
    let (rest, info) =
        SubjectPublicKeyInfo::from_der(public_key_info).map_err(|_| JwkError::NotAPublicKey)?;
    if !rest.is_empty() {
        return Err(JwkError::NotAPublicKey);
    }
    let value = match info.parsed().map_err(|_| JwkError::NotAPublicKey)? {
        PublicKey::EC(point) => {
            // An uncompressed point is 0x04, then X and Y of equal length (SEC 1, section 2.3.3).
            let coordinates = point.data().strip_prefix(&[4]).ok_or(JwkError::Kind)?;
            let curve = match coordinates.len() {
                64 => "P-256",
                96 => "P-384",
                132 => "P-521",
                _ => return Err(JwkError::Kind),
            };
            let (x, y) = coordinates.split_at(coordinates.len() / 2);
            json!({ "kty": "EC", "crv": curve, "x": encode(x), "y": encode(y) })
        }
        PublicKey::RSA(rsa) => json!({
            "kty": "RSA",
            "n": encode(without_leading_zeros(rsa.modulus)),
            "e": encode(without_leading_zeros(rsa.exponent)),
        }),
        _ if info.algorithm.algorithm.to_id_string() == ED25519_OID => {
            json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(&info.subject_public_key.data) })
        }
        _ => return Err(JwkError::Kind),
    };
    match value {
        Value::Object(members) => Ok(members),
        _ => Err(JwkError::Kind),
    }
}

/// Reads the public key that a JWK says, as DER of its SubjectPublicKeyInfo. `None` for a key of a kind that is not
/// known here.
///
/// # Errors
/// When a key of a known kind is malformed.
pub fn public_key_info(members: &Map<String, Value>) -> Result<Option<Vec<u8>>, JwkError> {
    let text = |name| members.get(name).and_then(Value::as_str);
    match (text("kty"), text("crv")) {
        (Some("EC"), Some(curve)) => {
            let (algorithm, verification, length): (_, &'static dyn VerificationAlgorithm, _) = match curve {
                "P-256" => (&rcgen::PKCS_ECDSA_P256_SHA256, &signature::ECDSA_P256_SHA256_ASN1, 32),
                "P-384" => (&rcgen::PKCS_ECDSA_P384_SHA384, &signature::ECDSA_P384_SHA384_ASN1, 48),
                "P-521" => (&rcgen::PKCS_ECDSA_P521_SHA512, &signature::ECDSA_P521_SHA512_ASN1, 66),
                _ => return Ok(None),
            };
            let (x, y) = (decode(members, "x")?, decode(members, "y")?);
            if x.len() != length || y.len() != length {
                return Err(JwkError::Member("x or y"));
            }
            let point = [&[4], x.as_slice(), &y].concat();
            // Whoever has such a key can verify with it: the point is on its curve.
            ParsedPublicKey::new(verification, &point).map_err(|_| JwkError::Member("x or y"))?;
            Ok(Some(PublicBits { algorithm, bits: point }.subject_public_key_info()))
        }
        (Some("OKP"), Some("Ed25519")) => {
            let bits = decode(members, "x")?;
            ParsedPublicKey::new(&signature::ED25519, &bits).map_err(|_| JwkError::Member("x"))?;
            Ok(Some(PublicBits { algorithm: &rcgen::PKCS_ED25519, bits }.subject_public_key_info()))
        }
        (Some("RSA"), _) => {
            let components = PublicKeyComponents { n: decode(members, "n")?, e: decode(members, "e")? };
            if !RSA_MODULUS_BYTES.contains(&without_leading_zeros(&components.n).len()) {
                return Err(JwkError::Member("n"));
            }
            let der = components.as_der().map_err(|_| JwkError::Member("n or e"))?;
            Ok(Some(der.as_ref().to_vec()))
        }
        _ => Ok(None),
    }
}

struct PublicBits {
    algorithm: &'static SignatureAlgorithm,
    bits: Vec<u8>,
}

impl PublicKeyData for PublicBits {
    fn der_bytes(&self) -> &[u8] {
        &self.bits
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(members: &Map<String, Value>, name: &'static str) -> Result<Vec<u8>, JwkError> {
    members
        .get(name)
        .and_then(Value::as_str)
        .and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok())
        .ok_or(JwkError::Member(name))
}

fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|b| **b == 0).count();
    &bytes[zeros..]
}

/// Why a key cannot be said or read as a JWK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwkError {
    /// The bytes are no public key.
    #[error("the bytes are not a DER public key (RFC 5280, section 4.1.2.7)")]
    NotAPublicKey,
    /// A key that a JWK cannot say.
    #[error("a public key of this kind has no JWK form here; use EC P-256, EC P-384, Ed25519 or RSA")]
    Kind,
    /// A member is missing or malformed.
    #[error("the JSON Web Key's `{0}` is missing or malformed (RFC 7518, section 6)")]
    Member(&'static str),
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::{KeyKind, PrivateKey};

    #[rstest]
    #[case(KeyKind::EcP256, "EC")]
    #[case(KeyKind::EcP384, "EC")]
    #[case(KeyKind::Ed25519, "OKP")]
    #[case(KeyKind::Rsa2048, "RSA")]
    fn says_each_kind_of_key_and_reads_it_again(#[case] kind: KeyKind, #[case] kty: &str) {
        let info = PrivateKey::generate_kind(kind).unwrap().signing_pair().unwrap().subject_public_key_info();
        let said = members(&info).unwrap();
        assert_eq!(said["kty"], kty);
        assert_eq!(public_key_info(&said).unwrap().unwrap(), info);
    }

    // RFC 7517, appendix A.1.
    #[test]
    fn reads_the_example_of_the_standard() {
        let key = json!({"kty":"EC","crv":"P-256",
            "x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"enc","kid":"1"});
        let info = public_key_info(key.as_object().unwrap()).unwrap().unwrap();
        assert_eq!(members(&info).unwrap()["x"], key["x"]);
    }

    #[rstest]
    #[case(json!({"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4"}))]
    #[case(json!({"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}))]
    // Not on the curve.
    #[case(json!({"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4"}))]
    #[case(json!({"kty":"RSA","n":"!","e":"AQAB"}))]
    #[case(json!({"kty":"RSA","n":"AQAB","e":"AQAB"}))]
    #[case(json!({"kty":"OKP","crv":"Ed25519","x":"AAAA"}))]
    fn rejects_malformed_keys(#[case] key: Value) {
        assert!(public_key_info(key.as_object().unwrap()).is_err());
    }

    #[rstest]
    #[case(json!({"kty":"oct","k":"AAAA"}))]
    #[case(json!({"kty":"EC","crv":"secp256k1"}))]
    #[case(json!({}))]
    fn passes_over_keys_of_other_kinds(#[case] key: Value) {
        assert_eq!(public_key_info(key.as_object().unwrap()).unwrap(), None);
    }
}
