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
