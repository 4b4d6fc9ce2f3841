//! What a certificate says, before anyone has decided whether to believe it.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

use super::verify::SvidError;
use crate::SpiffeId;

/// The largest certificate that is read, in bytes.
pub const MAX_CERTIFICATE_BYTES: usize = 32 * 1024;

/// A certificate that was read but not verified. Its statements are claims.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The bytes it was read from.
    pub der: CertificateDer<'static>,
    /// Lower-case hex, without leading zeros.
    pub serial: String,
    /// The subject as RFC 4514-like text; empty when it has none.
    pub subject: String,
    /// The first common name of the subject.
    pub common_name: Option<String>,
    /// Start of the validity, inclusive.
    pub not_before: SystemTime,
    /// End of the validity, inclusive.
    pub not_after: SystemTime,
    /// URI names of the subject alternative name extension, in order.
    pub uris: Vec<String>,
    /// DNS names of the same extension.
    pub dns_names: Vec<String>,
    /// IP addresses of the same extension.
    pub ip_addresses: Vec<IpAddr>,
    /// Basic constraints: cA.
    pub is_ca: bool,
    /// Key usage; `None` when the extension is absent.
    pub key_usage: Option<KeyUsages>,
    /// Extended key usage contains serverAuth.
    pub server_auth: bool,
    /// Extended key usage contains clientAuth.
    pub client_auth: bool,
    /// Lower-case hex of the subject key identifier.
    pub subject_key_id: Option<String>,
    /// Lower-case hex of the authority key identifier.
    pub authority_key_id: Option<String>,
    /// DER of the SubjectPublicKeyInfo.
    pub public_key_info: Vec<u8>,
}

/// The bits of the key usage extension that matter to an SVID (RFC 5280, section 4.2.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUsages {
    /// digitalSignature
    pub digital_signature: bool,
    /// keyCertSign
    pub key_cert_sign: bool,
    /// cRLSign
    pub crl_sign: bool,
}

impl Certificate {
    /// Reads one DER certificate.
    ///
    /// # Errors
    /// When it is too large, is not exactly one certificate, or has an extension that cannot be read: what is
    /// present but unreadable is refused, never ignored.
    pub fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(CertificateError::TooLarge(der.len()));
        }
        let (rest, parsed) =
            X509Certificate::from_der(der).map_err(|e| CertificateError::Malformed(e.to_string()))?;
        if !rest.is_empty() {
            return Err(CertificateError::TrailingBytes(rest.len()));
        }
        let mut certificate = Self {
            der: CertificateDer::from(der.to_vec()),
            serial: serial_hex(parsed.raw_serial()),
            subject: parsed.subject().to_string(),
            common_name: parsed
                .subject()
                .iter_common_name()
                .next()
                .and_then(|name| name.as_str().ok())
                .map(str::to_owned),
            not_before: instant(parsed.validity().not_before.timestamp()),
            not_after: instant(parsed.validity().not_after.timestamp()),
            uris: Vec::new(),
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            is_ca: false,
            key_usage: None,
            server_auth: false,
            client_auth: false,
            subject_key_id: None,
            authority_key_id: None,
            public_key_info: parsed.public_key().raw.to_vec(),
        };
        let mut seen = Vec::new();
        for extension in parsed.extensions() {
            if seen.contains(&extension.oid) {
                return Err(CertificateError::DuplicateExtension(extension.oid.to_id_string()));
            }
            seen.push(extension.oid.clone());
            certificate.read_extension(extension.parsed_extension()).map_err(|reason| {
                CertificateError::Extension { oid: extension.oid.to_id_string(), reason }
            })?;
        }
        Ok(certificate)
    }

    fn read_extension(&mut self, extension: &ParsedExtension<'_>) -> Result<(), String> {
        match extension {
            ParsedExtension::SubjectAlternativeName(names) => {
                for name in &names.general_names {
                    match name {
                        GeneralName::URI(uri) => self.uris.push((*uri).to_owned()),
                        GeneralName::DNSName(dns) => self.dns_names.push((*dns).to_owned()),
                        GeneralName::IPAddress(bytes) => self.ip_addresses.push(ip_address(bytes)?),
                        GeneralName::Invalid(_, _) => return Err("a name of it is malformed".into()),
                        _ => {}
                    }
                }
            }
            ParsedExtension::BasicConstraints(constraints) => self.is_ca = constraints.ca,
            ParsedExtension::KeyUsage(usage) => {
                self.key_usage = Some(KeyUsages {
                    digital_signature: usage.digital_signature(),
                    key_cert_sign: usage.key_cert_sign(),
                    crl_sign: usage.crl_sign(),
                });
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                self.server_auth = usage.server_auth;
                self.client_auth = usage.client_auth;
            }
            ParsedExtension::SubjectKeyIdentifier(id) => self.subject_key_id = Some(hex::encode(id.0)),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                self.authority_key_id = id.key_identifier.as_ref().map(|id| hex::encode(id.0));
            }
            ParsedExtension::ParseError { error } => return Err(error.to_string()),
            _ => {}
        }
        Ok(())
    }

    /// The SPIFFE ID that the certificate claims: its only URI name (X509-SVID, section 2).
    ///
    /// # Errors
    /// When it has no URI name, more than one, or one that is not the canonical SPIFFE ID of a workload.
    pub fn spiffe_id(&self) -> Result<SpiffeId, SvidError> {
        match self.uris.as_slice() {
            [] => Err(SvidError::NoUriName),
            [uri] => {
                SpiffeId::parse(uri).map_err(|source| SvidError::InvalidId { text: uri.clone(), source })
            }
            many => Err(SvidError::SeveralUriNames(many.len())),
        }
    }

    /// Whether the validity covers an instant.
    #[must_use]
    pub fn is_valid_at(&self, at: SystemTime) -> bool {
        self.not_before <= at && at <= self.not_after
    }
}

/// A serial number as it is shown everywhere: lower-case hex without leading zeros.
fn serial_hex(raw: &[u8]) -> String {
    let text = hex::encode(raw);
    match text.trim_start_matches('0') {
        "" => "0".to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

fn ip_address(bytes: &[u8]) -> Result<IpAddr, String> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        Ok(IpAddr::from(v4))
    } else if let Ok(v6) = <[u8; 16]>::try_from(bytes) {
        Ok(IpAddr::from(v6))
    } else {
        Err(format!("an IP address has 4 or 16 bytes, not {}", bytes.len()))
    }
}

/// The instant of a Unix time; one before 1970 counts as 1970.
fn instant(unix: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(unix).unwrap_or(0))
}

/// Why bytes are not a certificate that is read here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Larger than [`MAX_CERTIFICATE_BYTES`].
    #[error("the certificate has {0} bytes; at most {MAX_CERTIFICATE_BYTES} are read")]
    TooLarge(usize),
    /// Not DER, or not a certificate.
    #[error("the bytes are not a DER certificate (RFC 5280): {0}")]
    Malformed(String),
    /// Something follows the certificate.
    #[error("{0} bytes follow the certificate")]
    TrailingBytes(usize),
    /// An extension appears twice.
    #[error("the certificate has the extension {0} twice (RFC 5280, section 4.2)")]
    DuplicateExtension(String),
    /// An extension cannot be read.
    #[error("the certificate's extension {oid} cannot be read: {reason}")]
    Extension {
        /// Which one.
        oid: String,
        /// What is wrong with it.
        reason: String,
    },
}
