//! The subject of a CA that others may have named, to be said again as the issuer of what it signs.
//!
//! Path building compares names byte by byte (RFC 5280, section 7.1, allows more and few do it), so what cannot be
//! said again exactly is refused.

use rcgen::{DistinguishedName, DnType, DnValue, string::PrintableString};
use x509_parser::{asn1_rs::Tag, prelude::FromDer, prelude::X509Certificate, x509::AttributeTypeAndValue};

/// Reads the subject of a DER certificate.
///
/// # Errors
/// Says what in the name cannot be said again.
pub(super) fn subject_of(certificate: &[u8]) -> Result<DistinguishedName, String> {
    let (_, certificate) =
        X509Certificate::from_der(certificate).map_err(|error| format!("it cannot be read: {error}"))?;
    let mut name = DistinguishedName::new();
    for relative in certificate.subject().iter() {
        let mut attributes = relative.iter();
        let (Some(attribute), None) = (attributes.next(), attributes.next()) else {
            return Err("its subject joins several attributes into one, which is not supported".into());
        };
        let components: Vec<u64> = attribute
            .attr_type()
            .iter()
            .map(Iterator::collect)
            .ok_or("an attribute of its subject has an identifier that is too long")?;
        let kind = DnType::from_oid(&components);
        if name.get(&kind).is_some() {
            return Err(format!(
                "its subject has the attribute {} twice, which is not supported",
                attribute.attr_type()
            ));
        }
        name.push(kind, value(attribute)?);
    }
    if name.iter().next().is_none() {
        return Err("it has no subject; a CA must have one (RFC 5280, section 4.1.2.6)".into());
    }
    Ok(name)
}

fn value(attribute: &AttributeTypeAndValue<'_>) -> Result<DnValue, String> {
    let unusual =
        || format!("the attribute {} of its subject is not text as it should be", attribute.attr_type());
    let raw = attribute.attr_value();
    let text = || std::str::from_utf8(raw.data).map_err(|_| unusual());
    Ok(match raw.tag() {
        Tag::Utf8String => DnValue::Utf8String(text()?.to_owned()),
        Tag::PrintableString => {
            DnValue::PrintableString(PrintableString::try_from(text()?).map_err(|_| unusual())?)
        }
        Tag::Ia5String => DnValue::Ia5String(text()?.try_into().map_err(|_| unusual())?),
        Tag::T61String => DnValue::TeletexString(text()?.try_into().map_err(|_| unusual())?),
        _ => return Err(unusual()),
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use rstest::rstest;

    use super::*;

    /// `CN=a` and `O=bb`, as DER.
    const PLAIN: &[u8] =
        b"\x31\x0a\x30\x08\x06\x03\x55\x04\x03\x0c\x01a\x31\x0b\x30\x09\x06\x03\x55\x04\x0a\x0c\x02bb";

    /// A certificate of `CN=a, O=bb` with other bytes in place of the name: rcgen cannot say every name.
    fn named(name: &[u8]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "a");
        params.distinguished_name.push(DnType::OrganizationName, "bb");
        let mut der = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
        let places: Vec<_> =
            (0..=der.len() - PLAIN.len()).filter(|place| der[*place..].starts_with(PLAIN)).collect();
        assert_eq!(places.len(), 2, "the issuer and the subject");
        for place in places {
            der[place..place + PLAIN.len()].copy_from_slice(name);
        }
        der
    }

    #[test]
    fn says_a_name_again() {
        let name = subject_of(&named(PLAIN)).unwrap();
        assert_eq!(name.get(&DnType::CommonName), Some(&DnValue::Utf8String("a".to_owned())));
        assert_eq!(name.get(&DnType::OrganizationName), Some(&DnValue::Utf8String("bb".to_owned())));
    }

    #[rstest]
    #[case::twice(
        b"\x31\x0a\x30\x08\x06\x03\x55\x04\x03\x0c\x01a\x31\x0b\x30\x09\x06\x03\x55\x04\x03\x0c\x02bb",
        "twice"
    )]
    #[case::joined(
        b"\x31\x17\x30\x08\x06\x03\x55\x04\x03\x0c\x01a\x30\x0b\x06\x03\x55\x04\x0a\x0c\x04bbbb",
        "joins"
    )]
    #[case::no_text(
        b"\x31\x0a\x30\x08\x06\x03\x55\x04\x03\x04\x01a\x31\x0b\x30\x09\x06\x03\x55\x04\x0a\x0c\x02bb",
        "not text"
    )]
    fn refuses_what_it_cannot_say_again(#[case] name: &[u8], #[case] said: &str) {
        let refused = subject_of(&named(name)).unwrap_err();
        assert!(refused.contains(said), "{refused}");
    }
}
