//! Trust bundles: the roots of one trust domain (SPIFFE Trust Domain and Bundle).

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc, time::SystemTime};

use aws_lc_rs::digest;
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use rustls_pki_types::{CertificateDer, TrustAnchor};
use serde::Deserialize;
use serde_json::json;
use x509_parser::{prelude::FromDer, public_key::PublicKey, x509::SubjectPublicKeyInfo};

use crate::{
    TrustDomain,
    x509::{Certificate, CertificateError},
};

/// The most roots that one bundle may hold.
pub const MAX_AUTHORITIES: usize = 256;
/// The largest bundle document that is read, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 4 * 1024 * 1024;

/// The X.509 roots of one trust domain, each known to be a readable CA certificate.
#[derive(Debug, Clone)]
pub struct TrustBundle {
    trust_domain: TrustDomain,
    authorities: Vec<Authority>,
    sequence: u64,
    refresh_hint_seconds: u64,
}

#[derive(Debug, Clone)]
struct Authority {
    certificate: Certificate,
    anchor: TrustAnchor<'static>,
}

impl TrustBundle {
    /// Makes a bundle of DER roots. An empty one trusts nobody.
    ///
    /// # Errors
    /// When a certificate cannot be read or is not a CA certificate, or when there are too many.
    pub fn new(
        trust_domain: TrustDomain,
        roots: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Result<Self, TrustBundleError> {
        let mut authorities = Vec::new();
        for root in roots {
            if authorities.len() == MAX_AUTHORITIES {
                return Err(TrustBundleError::TooMany);
            }
            let certificate = Certificate::parse(root.as_ref())?;
            if !certificate.is_ca {
                return Err(TrustBundleError::NotACa(certificate.serial));
            }
            let anchor = webpki::anchor_from_trusted_cert(&certificate.der)
                .map_err(|e| TrustBundleError::Unusable(e.to_string()))?
                .to_owned();
            authorities.push(Authority { certificate, anchor });
        }
        Ok(Self { trust_domain, authorities, sequence: 0, refresh_hint_seconds: 300 })
    }

    /// The same bundle with a sequence number, which grows with every change of the content.
    #[must_use]
    pub fn with_sequence(self, sequence: u64) -> Self {
        Self { sequence, ..self }
    }

    /// Reads every `CERTIFICATE` block of a PEM text.
    ///
    /// # Errors
    /// When there is none, another kind of block stands between them, or one is not a CA certificate.
    pub fn from_pem(trust_domain: TrustDomain, text: &str) -> Result<Self, TrustBundleError> {
        if text.len() > MAX_DOCUMENT_BYTES {
            return Err(TrustBundleError::TooLarge(text.len()));
        }
        let blocks = pem::parse_many(text).map_err(|e| TrustBundleError::Pem(e.to_string()))?;
        if let Some(other) = blocks.iter().find(|block| block.tag() != "CERTIFICATE") {
            return Err(TrustBundleError::Pem(format!("it holds a `{}` block", other.tag())));
        }
        if blocks.is_empty() {
            return Err(TrustBundleError::Pem("it holds no `CERTIFICATE` block".into()));
        }
        Self::new(trust_domain, blocks.iter().map(pem::Pem::contents))
    }

    /// Reads a SPIFFE bundle document (SPIFFE Trust Domain and Bundle, section 4): the first `x5c` certificate of
    /// each `x509-svid` key. Keys of other uses are passed over.
    ///
    /// # Errors
    /// When it is not such a document or a certificate in it is not a CA certificate.
    pub fn from_spiffe_json(trust_domain: TrustDomain, text: &str) -> Result<Self, TrustBundleError> {
        if text.len() > MAX_DOCUMENT_BYTES {
            return Err(TrustBundleError::TooLarge(text.len()));
        }
        let document: BundleDocument =
            serde_json::from_str(text).map_err(|e| TrustBundleError::Json(e.to_string()))?;
        let roots = document
            .keys
            .iter()
            .filter(|key| key.usage.as_deref() == Some("x509-svid"))
            .filter_map(|key| key.x5c.first())
            .map(|text| BASE64_STANDARD.decode(text).map_err(|e| TrustBundleError::Json(format!("x5c: {e}"))))
            .collect::<Result<Vec<_>, _>>()?;
        let bundle = Self::new(trust_domain, roots)?;
        Ok(Self {
            sequence: document.spiffe_sequence.unwrap_or(0),
            refresh_hint_seconds: document.spiffe_refresh_hint.unwrap_or(300),
            ..bundle
        })
    }

    /// The SPIFFE bundle document.
    ///
    /// # Errors
    /// When the public key of a root is of a kind that a JWK cannot say.
    pub fn to_spiffe_json(&self) -> Result<serde_json::Value, TrustBundleError> {
        let keys =
            self.authorities.iter().map(|a| json_web_key(&a.certificate)).collect::<Result<Vec<_>, _>>()?;
        Ok(json!({
            "spiffe_sequence": self.sequence,
            "spiffe_refresh_hint": self.refresh_hint_seconds,
            "keys": keys,
        }))
    }

    /// The roots as PEM, one after another.
    #[must_use]
    pub fn to_pem(&self) -> String {
        to_certificate_pem(self.authorities.iter().map(|a| a.certificate.der.as_ref()))
    }

    /// The trust domain whose roots these are.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The roots.
    pub fn authorities(&self) -> impl ExactSizeIterator<Item = &Certificate> {
        self.authorities.iter().map(|a| &a.certificate)
    }

    /// Grows with every change of the content; 0 when the source does not say.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How often a consumer that polls should fetch it again, in seconds.
    #[must_use]
    pub fn refresh_hint_seconds(&self) -> u64 {
        self.refresh_hint_seconds
    }

    /// The roots whose validity covers an instant: webpki does not look at a trust anchor's dates.
    pub(crate) fn trust_anchors_at(&self, at: SystemTime) -> Vec<TrustAnchor<'static>> {
        self.authorities.iter().filter(|a| a.certificate.is_valid_at(at)).map(|a| a.anchor.clone()).collect()
    }
}

/// Certificates as PEM blocks, one after another.
pub fn to_certificate_pem<'a>(chain: impl IntoIterator<Item = &'a [u8]>) -> String {
    let blocks: Vec<_> = chain.into_iter().map(|der| pem::Pem::new("CERTIFICATE", der)).collect();
    pem::encode_many_config(&blocks, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF))
}

/// Reads the `CERTIFICATE` blocks of a PEM text as DER, without judging them.
///
/// # Errors
/// When the text is not PEM or holds no certificate.
pub fn certificates_from_pem(text: &str) -> Result<Vec<CertificateDer<'static>>, TrustBundleError> {
    if text.len() > MAX_DOCUMENT_BYTES {
        return Err(TrustBundleError::TooLarge(text.len()));
    }
    let blocks = pem::parse_many(text).map_err(|e| TrustBundleError::Pem(e.to_string()))?;
    let certificates: Vec<_> = blocks
        .into_iter()
        .filter(|block| block.tag() == "CERTIFICATE")
        .map(|block| CertificateDer::from(block.into_contents()))
        .collect();
    if certificates.is_empty() {
        return Err(TrustBundleError::Pem("it holds no `CERTIFICATE` block".into()));
    }
    Ok(certificates)
}

#[derive(Deserialize)]
struct BundleDocument {
    keys: Vec<BundleKey>,
    spiffe_sequence: Option<u64>,
    spiffe_refresh_hint: Option<u64>,
}

#[derive(Deserialize)]
struct BundleKey {
    #[serde(rename = "use")]
    usage: Option<String>,
    #[serde(default)]
    x5c: Vec<String>,
}

fn json_web_key(certificate: &Certificate) -> Result<serde_json::Value, TrustBundleError> {
    let unsupported = || TrustBundleError::Unusable("its public key has no JWK form".into());
    let (_, info) =
        SubjectPublicKeyInfo::from_der(&certificate.public_key_info).map_err(|_| unsupported())?;
    let x5c = BASE64_STANDARD.encode(&certificate.der);
    match info.parsed().map_err(|_| unsupported())? {
        PublicKey::EC(point) => {
            // An uncompressed point is 0x04, then X and Y of equal length (SEC 1, section 2.3.3).
            let coordinates = point.data().strip_prefix(&[4]).ok_or_else(unsupported)?;
            let curve = match coordinates.len() {
                64 => "P-256",
                96 => "P-384",
                132 => "P-521",
                _ => return Err(unsupported()),
            };
            let (x, y) = coordinates.split_at(coordinates.len() / 2);
            Ok(json!({
                "use": "x509-svid", "kty": "EC", "crv": curve,
                "x": BASE64_URL_SAFE_NO_PAD.encode(x),
                "y": BASE64_URL_SAFE_NO_PAD.encode(y),
                "x5c": [x5c],
            }))
        }
        PublicKey::RSA(rsa) => Ok(json!({
            "use": "x509-svid", "kty": "RSA",
            "n": BASE64_URL_SAFE_NO_PAD.encode(without_leading_zeros(rsa.modulus)),
            "e": BASE64_URL_SAFE_NO_PAD.encode(without_leading_zeros(rsa.exponent)),
            "x5c": [x5c],
        })),
        _ => Err(unsupported()),
    }
}

fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|b| **b == 0).count();
    &bytes[zeros..]
}

/// The bundles that one trusts, by trust domain. They are never merged into one pool.
#[derive(Debug, Clone, Default)]
pub struct TrustBundleSet(BTreeMap<TrustDomain, Arc<TrustBundle>>);

impl TrustBundleSet {
    /// The bundle of a trust domain.
    #[must_use]
    pub fn get(&self, trust_domain: &TrustDomain) -> Option<&Arc<TrustBundle>> {
        self.0.get(trust_domain)
    }

    /// Adds a bundle; one of the same trust domain is replaced.
    pub fn insert(&mut self, bundle: TrustBundle) {
        self.0.insert(bundle.trust_domain.clone(), Arc::new(bundle));
    }

    /// The bundles in the order of their trust domains' names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<TrustBundle>> {
        self.0.values()
    }
}

impl From<TrustBundle> for TrustBundleSet {
    fn from(bundle: TrustBundle) -> Self {
        let mut set = Self::default();
        set.insert(bundle);
        set
    }
}

/// The SHA-256 of a certificate's DER: what people compare to know that they mean the same root.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a DER certificate.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA256, der);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = TrustBundleError;

    /// Reads hex in either case, with or without colons.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let compact: String = text.chars().filter(|c| *c != ':').collect();
        let mut bytes = [0; 32];
        hex::decode_to_slice(compact, &mut bytes).map_err(|_| TrustBundleError::Fingerprint)?;
        Ok(Self(bytes))
    }
}

/// Why a trust bundle cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustBundleError {
    /// A certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A certificate is not a CA certificate.
    #[error("certificate {0} of the trust bundle is not a CA certificate")]
    NotACa(String),
    /// A root cannot serve as one.
    #[error("a root of the trust bundle cannot be used: {0}")]
    Unusable(String),
    /// More than [`MAX_AUTHORITIES`].
    #[error("the trust bundle has more than {MAX_AUTHORITIES} roots")]
    TooMany,
    /// Larger than [`MAX_DOCUMENT_BYTES`].
    #[error("the trust bundle has {0} bytes; at most {MAX_DOCUMENT_BYTES} are read")]
    TooLarge(usize),
    /// Not the PEM that was expected.
    #[error("the text is not a PEM list of certificates: {0}")]
    Pem(String),
    /// Not a SPIFFE bundle document.
    #[error("the text is not a SPIFFE bundle document: {0}")]
    Json(String),
    /// Not a fingerprint.
    #[error("a fingerprint is a SHA-256 in hex: 64 digits, with or without colons")]
    Fingerprint,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::testing::{TestCa, leaf};

    fn trust_domain() -> TrustDomain {
        TrustDomain::parse("example.org").unwrap()
    }

    fn ders(bundle: &TrustBundle) -> Vec<Vec<u8>> {
        bundle.authorities().map(|root| root.der.to_vec()).collect()
    }

    #[test]
    fn survives_pem_and_spiffe_json() {
        let roots = [TestCa::root("example.org"), TestCa::root("example.org")];
        let bundle =
            TrustBundle::new(trust_domain(), roots.iter().map(|root| &root.der)).unwrap().with_sequence(7);
        let from_pem = TrustBundle::from_pem(trust_domain(), &bundle.to_pem()).unwrap();
        assert_eq!(ders(&from_pem), ders(&bundle));
        let json = bundle.to_spiffe_json().unwrap();
        assert_eq!(json["keys"][0]["kty"], "EC");
        assert_eq!(json["keys"][0]["crv"], "P-256");
        let from_json = TrustBundle::from_spiffe_json(trust_domain(), &json.to_string()).unwrap();
        assert_eq!(ders(&from_json), ders(&bundle));
        assert_eq!(from_json.sequence(), 7);
    }

    #[test]
    fn passes_over_keys_of_other_uses() {
        let text =
            r#"{"keys":[{"use":"jwt-svid","kty":"EC","kid":"a"},{"use":"new","kty":"x"},{"kty":"x"}]}"#;
        assert_eq!(TrustBundle::from_spiffe_json(trust_domain(), text).unwrap().authorities().len(), 0);
    }

    #[rstest]
    #[case("{}")]
    #[case("[]")]
    #[case(r#"{"keys":[{"use":"x509-svid","x5c":["!"]}]}"#)]
    #[case(r#"{"keys":[{"use":"x509-svid","x5c":["AAAA"]}]}"#)]
    fn rejects_what_is_no_bundle_document(#[case] text: &str) {
        assert!(TrustBundle::from_spiffe_json(trust_domain(), text).is_err());
    }

    #[test]
    fn rejects_what_is_no_root() {
        let root = TestCa::root("example.org");
        let leaf = root.sign(&leaf("spiffe://example.org/a")).0;
        assert!(matches!(TrustBundle::new(trust_domain(), [&leaf]), Err(TrustBundleError::NotACa(_))));
        let key = crate::PrivateKey::generate().unwrap();
        let mixed = format!("{}{}", root.bundle().to_pem(), key.to_pem().as_str());
        assert!(matches!(TrustBundle::from_pem(trust_domain(), &mixed), Err(TrustBundleError::Pem(_))));
        assert!(TrustBundle::from_pem(trust_domain(), "").is_err());
    }

    #[test]
    fn reads_fingerprints_as_people_write_them() {
        let fingerprint = Fingerprint::of(b"a");
        let hex = fingerprint.to_string();
        assert_eq!(hex.len(), 64);
        let pairs: Vec<_> = hex.as_bytes().chunks(2).map(|c| std::str::from_utf8(c).unwrap()).collect();
        assert_eq!(pairs.join(":").to_uppercase().parse::<Fingerprint>().unwrap(), fingerprint);
        assert!("ab".parse::<Fingerprint>().is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,200}") {
            let _ = TrustBundle::from_pem(trust_domain(), &text);
            let _ = TrustBundle::from_spiffe_json(trust_domain(), &text);
            let _ = text.parse::<Fingerprint>();
        }
    }
}
