//! What a leaf certificate says: one profile a kind.

use std::{net::IpAddr, time::SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod,
    KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use secplane_identity::SpiffeId;

use super::{
    names::DnsName,
    request::RequestedKey,
    self_check::SelfCheckError,
    validity::{Lifetimes, Validity},
};

/// Whom a leaf names, and so which profile it gets. Everything in it has been granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A workload: an X.509-SVID with exactly one URI name.
    X509Svid {
        /// The SPIFFE ID.
        id: SpiffeId,
        /// DNS names beside it, for clients that check host names.
        dns_names: Vec<DnsName>,
    },
    /// A TLS server for clients without SPIFFE.
    Server {
        /// DNS names.
        dns_names: Vec<DnsName>,
        /// IP addresses.
        ip_addresses: Vec<IpAddr>,
    },
    /// A TLS client for servers without SPIFFE.
    Client {
        /// Whom the certificate names.
        common_name: String,
        /// DNS names.
        dns_names: Vec<DnsName>,
        /// IP addresses.
        ip_addresses: Vec<IpAddr>,
    },
}

/// The kinds of leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CertificateKind {
    /// An X.509-SVID.
    X509Svid,
    /// A server certificate.
    Server,
    /// A client certificate.
    Client,
}

impl CertificateKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::X509Svid, Self::Server, Self::Client];

    /// Its name in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X509Svid => "x509-svid",
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

impl Subject {
    /// Which kind of certificate this makes.
    #[must_use]
    pub fn kind(&self) -> CertificateKind {
        match self {
            Self::X509Svid { .. } => CertificateKind::X509Svid,
            Self::Server { .. } => CertificateKind::Server,
            Self::Client { .. } => CertificateKind::Client,
        }
    }

    /// The SPIFFE ID, for an X.509-SVID.
    #[must_use]
    pub fn spiffe_id(&self) -> Option<&SpiffeId> {
        match self {
            Self::X509Svid { id, .. } => Some(id),
            Self::Server { .. } | Self::Client { .. } => None,
        }
    }

    /// The DNS names.
    #[must_use]
    pub fn dns_names(&self) -> &[DnsName] {
        match self {
            Self::X509Svid { dns_names, .. }
            | Self::Server { dns_names, .. }
            | Self::Client { dns_names, .. } => dns_names,
        }
    }

    /// The IP addresses.
    #[must_use]
    pub fn ip_addresses(&self) -> &[IpAddr] {
        match self {
            Self::X509Svid { .. } => &[],
            Self::Server { ip_addresses, .. } | Self::Client { ip_addresses, .. } => ip_addresses,
        }
    }

    /// The common name: given for a client, otherwise the first DNS name.
    #[must_use]
    pub fn common_name(&self) -> Option<&str> {
        match self {
            Self::Client { common_name, .. } => Some(common_name),
            // A common name has at most 64 characters (RFC 5280, appendix A.1); a longer name stands in the
            // alternative names alone.
            _ => self.dns_names().first().map(DnsName::as_str).filter(|name| name.len() <= 64),
        }
    }

    /// The names for a message.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut names: Vec<String> = self.spiffe_id().map(|id| format!("URI:{id}")).into_iter().collect();
        names.extend(self.dns_names().iter().map(|name| format!("DNS:{name}")));
        names.extend(self.ip_addresses().iter().map(|address| format!("IP:{address}")));
        if names.is_empty() { "no name".to_owned() } else { names.join(", ") }
    }

    pub(super) fn lifetime(&self, lifetimes: &Lifetimes) -> std::time::Duration {
        match self.kind() {
            CertificateKind::X509Svid => lifetimes.x509_svid,
            CertificateKind::Server => lifetimes.server,
            CertificateKind::Client => lifetimes.client,
        }
    }

    fn alternative_names(&self) -> Result<Vec<SanType>, SignError> {
        let mut names = Vec::new();
        if let Some(id) = self.spiffe_id() {
            names.push(SanType::URI(id.as_str().try_into().map_err(SignError::Encode)?));
        }
        for name in self.dns_names() {
            names.push(SanType::DnsName(name.as_str().try_into().map_err(SignError::Encode)?));
        }
        names.extend(self.ip_addresses().iter().copied().map(SanType::IpAddress));
        Ok(names)
    }

    fn extended_key_usages(&self) -> Vec<ExtendedKeyUsagePurpose> {
        match self.kind() {
            // An X.509-SVID that has the extension has both (X509-SVID, section 4.4).
            CertificateKind::X509Svid => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
            CertificateKind::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            CertificateKind::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        }
    }

    /// The whole profile for one certificate.
    pub(super) fn profile(
        &self,
        key: &RequestedKey,
        serial: u128,
        validity: Validity,
    ) -> Result<CertificateParams, SignError> {
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = validity.bounds();
        params.serial_number = Some(SerialNumber::from_slice(&serial.to_be_bytes()));
        params.distinguished_name = self.distinguished_name();
        params.subject_alt_names = self.alternative_names()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if self.kind() == CertificateKind::X509Svid {
            params.key_usages.extend(key.exchange_usage());
        }
        params.extended_key_usages = self.extended_key_usages();
        params.use_authority_key_identifier_extension = true;
        params.key_identifier_method = KeyIdMethod::PreSpecified(key.identifier());
        Ok(params)
    }

    fn distinguished_name(&self) -> DistinguishedName {
        let mut name = DistinguishedName::new();
        if self.kind() == CertificateKind::X509Svid {
            name.push(DnType::CountryName, rcgen_printable("US"));
            name.push(DnType::OrganizationName, "SPIRE");
        }
        if let Some(common_name) = self.common_name() {
            name.push(DnType::CommonName, common_name);
        }
        name
    }
}

/// A country name is a `PrintableString` (RFC 5280, appendix A.1).
pub(super) fn rcgen_printable(text: &str) -> rcgen::DnValue {
    match text.try_into() {
        Ok(printable) => rcgen::DnValue::PrintableString(printable),
        Err(_) => rcgen::DnValue::Utf8String(text.to_owned()),
    }
}

/// A leaf as it was signed.
#[derive(Debug, Clone)]
pub struct SignedCertificate {
    /// Lower-case hex without leading zeros.
    pub serial: String,
    /// Whom it names.
    pub subject: Subject,
    /// When it is valid.
    pub validity: Validity,
    /// Leaf first; the root is not in it.
    pub chain: Vec<CertificateDer<'static>>,
    /// Lower-case hex of the issuing CA's subject key identifier.
    pub issuer_key_id: String,
}

impl SignedCertificate {
    /// The instant after which it is no longer valid.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.validity.not_after
    }
}

/// Why a leaf cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The wanted lifetime is longer than allowed.
    #[error("a lifetime of {wanted} s was asked for; at most {longest} s are allowed")]
    TooLong {
        /// Seconds.
        wanted: u64,
        /// Seconds.
        longest: u64,
    },
    /// The issuing CA has expired.
    #[error("the issuing CA has expired; the authority cannot issue until it has a new one")]
    IssuerExpired,
    /// No randomness for a serial number.
    #[error("the system gives no randomness for a serial number")]
    Randomness,
    /// The certificate cannot be encoded or signed.
    #[error("the certificate could not be made: {0}")]
    Encode(#[source] rcgen::Error),
    /// The result is not what was granted, or does not verify.
    #[error("the certificate that was just signed is not handed out: {0}")]
    SelfCheck(#[source] SelfCheckError),
}
