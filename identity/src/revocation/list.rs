//! Certificate revocation lists (RFC 5280, section 5).

use std::{
    collections::HashSet,
    fmt,
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use webpki::BorrowedCertRevocationList;
use x509_parser::{
    prelude::{CertificateRevocationList, FromDer, ParsedExtension},
    x509::SubjectPublicKeyInfo,
};

use super::SerialNumber;
use crate::x509::Certificate;

/// The largest list that is read, in bytes: some 100,000 entries.
pub const MAX_LIST_BYTES: usize = 4 * 1024 * 1024;

/// The largest list that an authority signs, in bytes: more than any stranger is given room for.
pub const MAX_OWN_LIST_BYTES: usize = 48 * 1024 * 1024;

/// A complete list of what one issuer revoked, as it claims to be: [`RevocationList::is_signed_by`] says whether to
/// believe it.
pub struct RevocationList {
    der: Vec<u8>,
    issuer_key_id: String,
    number: SerialNumber,
    this_update: SystemTime,
    next_update: SystemTime,
    serials: HashSet<SerialNumber>,
    /// The SubjectPublicKeyInfo under which the signature was found good.
    signer: OnceLock<Vec<u8>>,
}

impl RevocationList {
    /// Reads one DER list.
    ///
    /// # Errors
    /// When it is too large, is not exactly one list, lacks its issuer's key ID, its number or the time of the next
    /// one, or covers only part of what its issuer issued (a delta, an indirect or a partitioned list).
    pub fn parse(der: &[u8]) -> Result<Self, RevocationListError> {
        Self::parse_up_to(der, MAX_LIST_BYTES)
    }

    /// Reads one DER list that the authority itself signed or handed over, up to [`MAX_OWN_LIST_BYTES`].
    ///
    /// # Errors
    /// As [`RevocationList::parse`].
    pub fn parse_own(der: &[u8]) -> Result<Self, RevocationListError> {
        Self::parse_up_to(der, MAX_OWN_LIST_BYTES)
    }

    fn parse_up_to(der: &[u8], most: usize) -> Result<Self, RevocationListError> {
        if der.len() > most {
            return Err(RevocationListError::TooLarge { bytes: der.len(), most });
        }
        // webpki is strict about the profile and refuses every critical extension that it does not know.
        let entries = BorrowedCertRevocationList::from_der(der).map_err(RevocationListError::Profile)?;
        let mut serials = HashSet::new();
        for entry in &entries {
            let entry = entry.map_err(RevocationListError::Profile)?;
            serials.insert(SerialNumber::from_bytes(entry.serial_number).ok_or(RevocationListError::Serial)?);
        }

        let list = read(der)?;
        let (mut issuer_key_id, mut number) = (None, None);
        for extension in list.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    issuer_key_id = id.key_identifier.as_ref().map(|id| hex::encode(id.0));
                }
                ParsedExtension::CRLNumber(value) => {
                    number = SerialNumber::from_bytes(&value.to_bytes_be());
                }
                ParsedExtension::IssuingDistributionPoint(_) => return Err(RevocationListError::Partial),
                ParsedExtension::ParseError { error } => {
                    return Err(RevocationListError::Malformed(error.to_string()));
                }
                _ => {}
            }
        }
        let next_update =
            list.next_update().ok_or(RevocationListError::Lacks("the time of the next list"))?;
        Ok(Self {
            issuer_key_id: issuer_key_id.ok_or(RevocationListError::Lacks("its issuer's key identifier"))?,
            number: number.ok_or(RevocationListError::Lacks("its number"))?,
            this_update: instant(list.last_update().timestamp()),
            next_update: instant(next_update.timestamp()),
            serials,
            der: der.to_vec(),
            signer: OnceLock::new(),
        })
    }

    /// Whether the CA signed this list and may sign lists. Who signed it is remembered.
    #[must_use]
    pub fn is_signed_by(&self, ca: &Certificate) -> bool {
        let may_sign = ca.is_ca && ca.key_usage.is_some_and(|usage| usage.crl_sign);
        if !may_sign || ca.subject_key_id.as_ref() != Some(&self.issuer_key_id) {
            return false;
        }
        // Nobody can make it pay for a second look: what one key signed, another did not.
        if let Some(signer) = self.signer.get() {
            return *signer == ca.public_key_info;
        }
        let Ok((_, key)) = SubjectPublicKeyInfo::from_der(&ca.public_key_info) else { return false };
        let is_good = read(&self.der).is_ok_and(|list| list.verify_signature(&key).is_ok());
        if is_good {
            // Another thread may have been first, with the same answer.
            let _ = self.signer.set(ca.public_key_info.clone());
        }
        is_good
    }

    /// Whether the list holds a serial number.
    #[must_use]
    pub fn contains(&self, serial: &SerialNumber) -> bool {
        self.serials.contains(serial)
    }

    /// The serial numbers on the list, in no order.
    pub fn serials(&self) -> impl ExactSizeIterator<Item = &SerialNumber> {
        self.serials.iter()
    }

    /// The issuer's key ID, in lower-case hex.
    #[must_use]
    pub fn issuer_key_id(&self) -> &str {
        &self.issuer_key_id
    }

    /// Grows with every list of the issuer (RFC 5280, section 5.2.3).
    #[must_use]
    pub fn number(&self) -> SerialNumber {
        self.number
    }

    /// When it was made.
    #[must_use]
    pub fn this_update(&self) -> SystemTime {
        self.this_update
    }

    /// When the next one is there at the latest.
    #[must_use]
    pub fn next_update(&self) -> SystemTime {
        self.next_update
    }

    /// PEM, as OpenSSL's tools take it.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let block = pem::Pem::new("X509 CRL", self.der.as_slice());
        pem::encode_config(&block, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF))
    }

    /// The bytes it was read from.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }
}

impl fmt::Debug for RevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationList")
            .field("issuer_key_id", &self.issuer_key_id)
            .field("number", &self.number)
            .field("entries", &self.serials.len())
            .finish_non_exhaustive()
    }
}

fn read(der: &[u8]) -> Result<CertificateRevocationList<'_>, RevocationListError> {
    CertificateRevocationList::from_der(der)
        .map(|(_, list)| list)
        .map_err(|error| RevocationListError::Malformed(error.to_string()))
}

/// The instant of a Unix time; one before 1970 counts as 1970.
fn instant(unix: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(unix).unwrap_or(0))
}

/// Why bytes are not a revocation list that is used here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevocationListError {
    /// Larger than what is read.
    #[error("the revocation list has {bytes} bytes; at most {most} are read")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The most that is read.
        most: usize,
    },
    /// Not what RFC 5280 profiles.
    #[error("the bytes are not a complete DER revocation list (RFC 5280, section 5): {0}")]
    Profile(#[source] webpki::Error),
    /// A part of it cannot be read.
    #[error("the revocation list cannot be read: {0}")]
    Malformed(String),
    /// Something is missing that every list has.
    #[error("the revocation list lacks {0} (RFC 5280, section 5)")]
    Lacks(&'static str),
    /// It has an issuing distribution point.
    #[error(
        "the revocation list covers only part of its issuer's certificates; only complete lists are used"
    )]
    Partial,
    /// A serial number on it is too long.
    #[error("the revocation list has a serial number of more than 20 bytes (RFC 5280, section 4.1.2.2)")]
    Serial,
}
