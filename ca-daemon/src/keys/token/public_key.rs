//! Public keys and signatures as tokens say them, in the forms of X.509.

use aws_lc_rs::{encoding::AsDer, rsa::PublicKeyComponents};
use cryptoki::{
    object::{Attribute, AttributeType, KeyType, ObjectHandle},
    session::Session,
};
use rcgen::{PublicKeyData, SignatureAlgorithm};
use x509_parser::{
    asn1_rs::{Integer, OctetString, Sequence, ToDer},
    prelude::FromDer,
    x509::SubjectPublicKeyInfo,
};

use super::Trouble;

/// A curve that tokens make keys on here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EcCurve {
    P256,
    P384,
}

impl EcCurve {
    /// DER of its object identifier (SEC 2), as `CKA_EC_PARAMS` says it.
    pub(super) fn oid_der(self) -> &'static [u8] {
        match self {
            Self::P256 => &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
            Self::P384 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22],
        }
    }

    fn of_oid_der(der: &[u8]) -> Option<Self> {
        [Self::P256, Self::P384].into_iter().find(|curve| curve.oid_der() == der)
    }

    /// The size of a coordinate, in bytes.
    fn size(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }

    fn algorithm(self) -> &'static SignatureAlgorithm {
        match self {
            Self::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        }
    }
}

/// A public key of a token.
#[derive(Debug, Clone)]
pub(super) struct PublicKey {
    /// The bits of `subjectPublicKey`.
    bits: Vec<u8>,
    /// `None` for RSA.
    curve: Option<EcCurve>,
}

impl PublicKey {
    /// Reads the attributes of a public key object.
    pub(super) fn read(session: &Session, object: ObjectHandle) -> Result<Self, Trouble> {
        let wanted = [AttributeType::KeyType];
        let attributes = session.get_attributes(object, &wanted)?;
        match attributes.as_slice() {
            [Attribute::KeyType(KeyType::EC)] => Self::read_ec(session, object),
            [Attribute::KeyType(KeyType::RSA)] => Self::read_rsa(session, object),
            _ => Err(Trouble::PublicKey("it is neither an EC nor an RSA key")),
        }
    }

    fn read_ec(session: &Session, object: ObjectHandle) -> Result<Self, Trouble> {
        let attributes =
            session.get_attributes(object, &[AttributeType::EcParams, AttributeType::EcPoint])?;
        let (mut curve, mut point) = (None, None);
        for attribute in attributes {
            match attribute {
                Attribute::EcParams(der) => curve = EcCurve::of_oid_der(&der),
                Attribute::EcPoint(said) => point = Some(said),
                _ => {}
            }
        }
        let curve = curve.ok_or(Trouble::PublicKey("its curve is not P-256 or P-384"))?;
        let bits = point
            .and_then(|point| unwrapped(point, curve))
            .ok_or(Trouble::PublicKey("its point is missing, or not in the uncompressed form"))?;
        Ok(Self { bits, curve: Some(curve) })
    }

    fn read_rsa(session: &Session, object: ObjectHandle) -> Result<Self, Trouble> {
        let attributes =
            session.get_attributes(object, &[AttributeType::Modulus, AttributeType::PublicExponent])?;
        let (mut n, mut e) = (Vec::new(), Vec::new());
        for attribute in attributes {
            match attribute {
                Attribute::Modulus(modulus) => n = modulus,
                Attribute::PublicExponent(exponent) => e = exponent,
                _ => {}
            }
        }
        let unreadable = Trouble::PublicKey("its modulus or exponent is malformed");
        let Ok(info) = PublicKeyComponents { n, e }.as_der() else { return Err(unreadable) };
        let Ok((_, info)) = SubjectPublicKeyInfo::from_der(info.as_ref()) else { return Err(unreadable) };
        Ok(Self { bits: info.subject_public_key.data.to_vec(), curve: None })
    }

    /// The key identifier, by which the key is found again.
    pub(super) fn identifier(&self) -> Vec<u8> {
        crate::authority::key_identifier(self)
    }

    pub(super) fn bits(&self) -> &[u8] {
        &self.bits
    }

    pub(super) fn curve(&self) -> Option<EcCurve> {
        self.curve
    }

    pub(super) fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.curve.map_or(&rcgen::PKCS_RSA_SHA256, EcCurve::algorithm)
    }
}

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.bits
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm()
    }
}

/// The uncompressed point, which most tokens wrap in an OCTET STRING, as the standard says, and some do not.
fn unwrapped(point: Vec<u8>, curve: EcCurve) -> Option<Vec<u8>> {
    let is_point = |bytes: &[u8]| bytes.first() == Some(&4) && bytes.len() == 1 + 2 * curve.size();
    if is_point(&point) {
        return Some(point);
    }
    let (rest, inner) = OctetString::from_der(&point).ok()?;
    let inner = inner.as_cow().to_vec();
    (rest.is_empty() && is_point(&inner)).then_some(inner)
}

/// The two numbers of an ECDSA signature, which tokens put one after the other, as `Ecdsa-Sig-Value` (RFC 3279,
/// section 2.2.3). `None` when their size does not fit the curve.
pub(super) fn ecdsa_signature_der(curve: EcCurve, raw: &[u8]) -> Option<Vec<u8>> {
    let numbers = match curve {
        EcCurve::P256 => halves::<32>(raw)?,
        EcCurve::P384 => halves::<48>(raw)?,
    };
    Sequence::from_iter_to_der(numbers.into_iter()).ok()?.to_der_vec().ok()
}

fn halves<const SIZE: usize>(raw: &[u8]) -> Option<[Integer<'static>; 2]> {
    let (r, s) = raw.split_at_checked(SIZE)?;
    Some([
        Integer::from_const_array::<SIZE>(r.try_into().ok()?),
        Integer::from_const_array::<SIZE>(s.try_into().ok()?),
    ])
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        rand::SystemRandom,
        signature::{
            ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_ASN1,
            ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
        },
    };

    use super::*;

    #[test]
    fn says_signatures_as_x509_wants_them() {
        for (curve, signing, verifying) in [
            (EcCurve::P256, &ECDSA_P256_SHA256_FIXED_SIGNING, &ECDSA_P256_SHA256_ASN1),
            (EcCurve::P384, &ECDSA_P384_SHA384_FIXED_SIGNING, &ECDSA_P384_SHA384_ASN1),
        ] {
            let pair = EcdsaKeyPair::generate(signing).unwrap();
            // Many, so that numbers with leading zeros and with a high first bit are among them.
            for message in 0..600_u32 {
                let raw = pair.sign(&SystemRandom::new(), &message.to_be_bytes()).unwrap();
                let der = ecdsa_signature_der(curve, raw.as_ref()).unwrap();
                UnparsedPublicKey::new(verifying, pair.public_key().as_ref())
                    .verify(&message.to_be_bytes(), &der)
                    .unwrap();
            }
            assert_eq!(ecdsa_signature_der(curve, &[1; 63]), None);
            assert_eq!(ecdsa_signature_der(curve, &[1; 97]), None);
        }
    }

    #[test]
    fn takes_points_with_and_without_their_wrapping() {
        let point = [&[4], [7; 64].as_slice()].concat();
        let wrapped = [&[0x04, 65], point.as_slice()].concat();
        assert_eq!(unwrapped(wrapped, EcCurve::P256).as_ref(), Some(&point));
        assert_eq!(unwrapped(point.clone(), EcCurve::P256), Some(point.clone()));
        // A point that reads like a wrapping of 63 bytes is none.
        let like_a_wrapping = [&[4, 63], [7; 63].as_slice()].concat();
        assert_eq!(unwrapped(like_a_wrapping.clone(), EcCurve::P256), Some(like_a_wrapping));
        assert_eq!(unwrapped(point, EcCurve::P384), None);
        assert_eq!(unwrapped([&[2], [7; 32].as_slice()].concat(), EcCurve::P256), None, "compressed");
    }
}
