//! Checking a signature with the key of a certificate.

use aws_lc_rs::signature::{self as primitive, UnparsedPublicKey, VerificationAlgorithm};
use x509_parser::{prelude::FromDer, public_key::PublicKey as ParsedKey, x509::SubjectPublicKeyInfo};

use super::Algorithm;

/// The smallest RSA modulus that is believed, in bits.
pub(crate) const MIN_RSA_BITS: usize = 2048;
/// The largest RSA modulus that is used, in bits: a check costs more with each.
const MAX_RSA_BITS: usize = 8192;

/// The public key of a signer.
#[derive(Debug, Clone)]
pub(crate) struct PublicKey {
    kind: KeyKind,
    /// An EC point, a PKCS#1 `RSAPublicKey`, or an Ed25519 key: the bit string of a SubjectPublicKeyInfo.
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyKind {
    P256,
    P384,
    P521,
    Rsa,
    Ed25519,
}

impl KeyKind {
    /// Whether keys of this kind sign with `algorithm`.
    pub(crate) fn fits(self, algorithm: Algorithm) -> bool {
        use Algorithm::{EdDsa, Es256, Es384, Es512, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        match self {
            Self::P256 => algorithm == Es256,
            Self::P384 => algorithm == Es384,
            Self::P521 => algorithm == Es512,
            Self::Rsa => matches!(algorithm, Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512),
            Self::Ed25519 => algorithm == EdDsa,
        }
    }

    /// The algorithm that a signer uses unless told otherwise.
    pub(crate) fn preferred_algorithm(self) -> Algorithm {
        match self {
            Self::P256 => Algorithm::Es256,
            Self::P384 => Algorithm::Es384,
            Self::P521 => Algorithm::Es512,
            Self::Rsa => Algorithm::Rs256,
            Self::Ed25519 => Algorithm::EdDsa,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::P256 => "EC P-256",
            Self::P384 => "EC P-384",
            Self::P521 => "EC P-521",
            Self::Rsa => "RSA",
            Self::Ed25519 => "Ed25519",
        }
    }

    /// How long a signature is; an RSA signature is as long as its modulus.
    fn signature_length(self) -> Option<usize> {
        match self {
            Self::P256 | Self::Ed25519 => Some(64),
            Self::P384 => Some(96),
            Self::P521 => Some(132),
            Self::Rsa => None,
        }
    }
}

impl PublicKey {
    /// Reads a DER SubjectPublicKeyInfo.
    pub(crate) fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let (_, info) = SubjectPublicKeyInfo::from_der(der).map_err(|_| KeyError::Malformed)?;
        let oid = info.algorithm.algorithm.to_id_string();
        let curve = info
            .algorithm
            .parameters
            .as_ref()
            .and_then(|parameters| parameters.as_oid().ok())
            .map(|oid| oid.to_id_string());
        let kind = match (oid.as_str(), curve.as_deref()) {
            ("1.2.840.10045.2.1", Some("1.2.840.10045.3.1.7")) => KeyKind::P256,
            ("1.2.840.10045.2.1", Some("1.3.132.0.34")) => KeyKind::P384,
            ("1.2.840.10045.2.1", Some("1.3.132.0.35")) => KeyKind::P521,
            ("1.3.101.112", None) => KeyKind::Ed25519,
            ("1.2.840.113549.1.1.1", _) => {
                let bits = match info.parsed() {
                    Ok(ParsedKey::RSA(key)) => key.key_size(),
                    _ => return Err(KeyError::Malformed),
                };
                if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
                    return Err(KeyError::RsaSize(bits));
                }
                KeyKind::Rsa
            }
            _ => return Err(KeyError::Unsupported(oid)),
        };
        Ok(Self { kind, bytes: info.subject_public_key.data.to_vec() })
    }

    pub(crate) fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Checks a signature over `message`.
    pub(crate) fn verify(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureFault> {
        if !self.kind.fits(algorithm) {
            return Err(SignatureFault::OtherAlgorithm { algorithm, key: self.kind.as_str() });
        }
        if let Some(expected) = self.kind.signature_length()
            && signature.len() != expected
        {
            return Err(SignatureFault::Length { algorithm, expected, found: signature.len() });
        }
        UnparsedPublicKey::new(primitive_of(algorithm), &self.bytes)
            .verify(message, signature)
            .map_err(|_| SignatureFault::Wrong)
    }
}

fn primitive_of(algorithm: Algorithm) -> &'static dyn VerificationAlgorithm {
    match algorithm {
        Algorithm::Es256 => &primitive::ECDSA_P256_SHA256_FIXED,
        Algorithm::Es384 => &primitive::ECDSA_P384_SHA384_FIXED,
        Algorithm::Es512 => &primitive::ECDSA_P521_SHA512_FIXED,
        Algorithm::Rs256 => &primitive::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rs384 => &primitive::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &primitive::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Ps256 => &primitive::RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &primitive::RSA_PSS_2048_8192_SHA384,
        Algorithm::Ps512 => &primitive::RSA_PSS_2048_8192_SHA512,
        Algorithm::EdDsa => &primitive::ED25519,
    }
}

/// Why a certificate's key checks no signatures here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The key cannot be read.
    #[error("the certificate's public key cannot be read")]
    Malformed,
    /// A kind of key that no algorithm for cards uses.
    #[error(
        "the certificate's public key ({0}) is of a kind that signs no cards: EC P-256/384/521, RSA, Ed25519"
    )]
    Unsupported(String),
    /// An RSA key of a size that is not used.
    #[error("the certificate's RSA key has {0} bits; {MIN_RSA_BITS} to {MAX_RSA_BITS} are accepted")]
    RsaSize(usize),
}

/// Why a signature is not right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignatureFault {
    /// The algorithm is not one of the key's.
    #[error("the header says {algorithm}, but the certificate's key is {key}")]
    OtherAlgorithm {
        /// What the header says.
        algorithm: Algorithm,
        /// What the certificate holds.
        key: &'static str,
    },
    /// Too long or too short for the algorithm.
    #[error(
        "an {algorithm} signature has {expected} bytes, this one has {found} (DER is not the JWS encoding: RFC 7518, section 3.4)"
    )]
    Length {
        /// The algorithm.
        algorithm: Algorithm,
        /// How long its signatures are.
        expected: usize,
        /// How long this one is.
        found: usize,
    },
    /// It does not match.
    #[error("the signature does not match")]
    Wrong,
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    use rstest::rstest;

    use super::*;

    fn decode(text: &str) -> Vec<u8> {
        BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    /// A DER INTEGER or SEQUENCE around `content`.
    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], &length[..], content].concat()
    }

    /// RFC 7515, appendix A.3.
    fn es256_example() -> (PublicKey, &'static str, Vec<u8>) {
        let x = decode("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU");
        let y = decode("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
        let key = PublicKey { kind: KeyKind::P256, bytes: [vec![4], x, y].concat() };
        let input = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt\
                     cGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature =
            decode("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q");
        (key, input, signature)
    }

    #[test]
    fn accepts_the_es256_example_of_rfc_7515() {
        let (key, input, signature) = es256_example();
        assert_eq!(key.verify(Algorithm::Es256, input.as_bytes(), &signature), Ok(()));
        let other = input.replace('e', "f");
        assert_eq!(key.verify(Algorithm::Es256, other.as_bytes(), &signature), Err(SignatureFault::Wrong));
    }

    /// RFC 7515, appendix A.2.
    #[test]
    fn accepts_the_rs256_example_of_rfc_7515() {
        let modulus = decode(
            "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yR\
             T-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXB\
             dQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9ia\
             GNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
        );
        let integers = [der(2, &[vec![0], modulus].concat()), vec![2, 3, 1, 0, 1]].concat();
        let key = PublicKey { kind: KeyKind::Rsa, bytes: der(0x30, &integers) };
        let input = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt\
                     cGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature = decode(
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9\
             uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB\
             _eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rq\
             Vt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        );
        assert_eq!(key.verify(Algorithm::Rs256, input.as_bytes(), &signature), Ok(()));
        assert_eq!(key.verify(Algorithm::Ps256, input.as_bytes(), &signature), Err(SignatureFault::Wrong));
    }

    /// RFC 7515, appendix A.4.
    #[test]
    fn accepts_the_es512_example_of_rfc_7515() {
        let x = decode(
            "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
        );
        let y = decode(
            "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2",
        );
        let key = PublicKey { kind: KeyKind::P521, bytes: [vec![4], x, y].concat() };
        let signature = decode(
            "AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgo\
             XD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn",
        );
        let input = b"eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA";
        assert_eq!(key.verify(Algorithm::Es512, input, &signature), Ok(()));
        assert_eq!(key.verify(Algorithm::Es512, &input[1..], &signature), Err(SignatureFault::Wrong));
    }

    /// RFC 8037, appendix A.4.
    #[test]
    fn accepts_the_eddsa_example_of_rfc_8037() {
        let bytes = decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        let key = PublicKey { kind: KeyKind::Ed25519, bytes };
        let input = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature =
            decode("hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg");
        assert_eq!(key.verify(Algorithm::EdDsa, input.as_bytes(), &signature), Ok(()));
    }

    /// The order of P-256, and other values that R and S may not have.
    #[rstest]
    #[case::both_zero([0; 32], [0; 32])]
    #[case::r_zero([0; 32], [1; 32])]
    #[case::s_zero([1; 32], [0; 32])]
    #[case::largest([0xff; 32], [0xff; 32])]
    fn rejects_r_and_s_out_of_range(#[case] r: [u8; 32], #[case] s: [u8; 32]) {
        let (key, input, _) = es256_example();
        let signature = [r, s].concat();
        assert_eq!(key.verify(Algorithm::Es256, input.as_bytes(), &signature), Err(SignatureFault::Wrong));
    }

    #[test]
    fn rejects_r_and_s_raised_by_the_order() {
        let order = hex::decode("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551").unwrap();
        let (key, input, signature) = es256_example();
        for half in [0, 32] {
            let mut raised = signature.clone();
            let mut carry = 0u16;
            for (byte, addend) in raised[half..half + 32].iter_mut().zip(&order).rev() {
                carry += u16::from(*byte) + u16::from(*addend);
                *byte = carry.to_le_bytes()[0];
                carry >>= 8;
            }
            assert!(key.verify(Algorithm::Es256, input.as_bytes(), &raised).is_err());
        }
    }

    #[test]
    fn rejects_other_algorithms_and_lengths() {
        let (key, input, signature) = es256_example();
        for algorithm in Algorithm::ALL.into_iter().filter(|a| *a != Algorithm::Es256) {
            let verdict = key.verify(algorithm, input.as_bytes(), &signature);
            assert_eq!(verdict, Err(SignatureFault::OtherAlgorithm { algorithm, key: "EC P-256" }));
        }
        for length in [0, 63, 65, 71] {
            let verdict = key.verify(Algorithm::Es256, input.as_bytes(), &vec![1; length]);
            assert!(matches!(verdict, Err(SignatureFault::Length { expected: 64, .. })));
        }
    }
}
