//! Trust bundles: the roots and JWT keys of one trust domain (SPIFFE Trust Domain and Bundle).

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    str::FromStr,
    sync::Arc,
    time::SystemTime,
};

use aws_lc_rs::digest;
use base64::{Engine, prelude::BASE64_STANDARD};
use rustls_pki_types::{CertificateDer, TrustAnchor};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    TrustDomain,
    jwk::{self, JwkError},
    x509::{Certificate, CertificateError},
};

/// The most roots that one bundle may hold, and the most JWT keys.
pub const MAX_AUTHORITIES: usize = 256;
/// The longest key ID of a JWT key, in bytes.
pub const MAX_KEY_ID_BYTES: usize = 255;
/// The largest bundle document that is read, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 4 * 1024 * 1024;

/// The X.509 roots of one trust domain, each known to be a readable CA certificate, and the keys that its JWT-SVIDs
/// are signed with.
#[derive(Debug, Clone)]
pub struct TrustBundle {
    trust_domain: TrustDomain,
    authorities: Vec<Authority>,
    jwt_authorities: Vec<JwtAuthority>,
    sequence: u64,
    refresh_hint_seconds: u64,
}

#[derive(Debug, Clone)]
struct Authority {
    certificate: Certificate,
    anchor: TrustAnchor<'static>,
    tainted: bool,
}

/// A public key that JWT-SVIDs of a trust domain are verified with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtAuthority {
    /// What the `kid` of a token's header says; not empty, and one of its kind in a bundle.
    pub key_id: String,
    /// DER of the SubjectPublicKeyInfo.
    pub public_key_info: Vec<u8>,
    /// When the last token that it signed has expired; `None` when the source does not say, as a SPIFFE bundle
    /// document cannot.
    pub expires_at: Option<SystemTime>,
    /// On its way out: what it signed is still valid, and to be replaced.
    pub tainted: bool,
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
            authorities.push(Authority { certificate, anchor, tainted: false });
        }
        let jwt_authorities = Vec::new();
        Ok(Self { trust_domain, authorities, jwt_authorities, sequence: 0, refresh_hint_seconds: 300 })
    }

    /// The same bundle with these JWT keys instead of its own.
    ///
    /// # Errors
    /// When there are too many, two have one key ID, or a key is of a kind that a bundle document cannot say.
    pub fn with_jwt_authorities(self, keys: Vec<JwtAuthority>) -> Result<Self, TrustBundleError> {
        if keys.len() > MAX_AUTHORITIES {
            return Err(TrustBundleError::TooMany);
        }
        for (position, key) in keys.iter().enumerate() {
            let is_taken = keys[..position].iter().any(|other| other.key_id == key.key_id);
            if key.key_id.is_empty() || key.key_id.len() > MAX_KEY_ID_BYTES || is_taken {
                return Err(TrustBundleError::KeyId(key.key_id.clone()));
            }
            jwk::members(&key.public_key_info)
                .map_err(|source| TrustBundleError::JwtKey { key_id: key.key_id.clone(), source })?;
        }
        Ok(Self { jwt_authorities: keys, ..self })
    }

    /// The same bundle with these of its roots, given in DER, on their way out: what they signed is still valid, and to
    /// be replaced at once.
    #[must_use]
    pub fn with_tainted_roots(mut self, roots: &HashSet<Vec<u8>>) -> Self {
        for authority in &mut self.authorities {
            authority.tainted = roots.contains(authority.certificate.der.as_ref());
        }
        self
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
    /// each `x509-svid` key, and each `jwt-svid` key. Keys of other uses and of unknown kinds are passed over.
    ///
    /// # Errors
    /// When it is not such a document, a certificate in it is not a CA certificate, or a JWT key has no key ID, that
    /// of another, or is malformed.
    pub fn from_spiffe_json(trust_domain: TrustDomain, text: &str) -> Result<Self, TrustBundleError> {
        if text.len() > MAX_DOCUMENT_BYTES {
            return Err(TrustBundleError::TooLarge(text.len()));
        }
        let document: BundleDocument =
            serde_json::from_str(text).map_err(|e| TrustBundleError::Json(e.to_string()))?;
        let of_use = |usage| document.keys.iter().filter(move |key| key.usage.as_deref() == Some(usage));
        let roots = of_use("x509-svid")
            .filter_map(|key| key.x5c.first())
            .map(|text| BASE64_STANDARD.decode(text).map_err(|e| TrustBundleError::Json(format!("x5c: {e}"))))
            .collect::<Result<Vec<_>, _>>()?;
        let jwt_keys =
            of_use("jwt-svid").filter_map(|key| key.jwt_authority().transpose()).collect::<Result<_, _>>()?;
        let bundle = Self::new(trust_domain, roots)?.with_jwt_authorities(jwt_keys)?;
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
    pub fn to_spiffe_json(&self) -> Result<Value, TrustBundleError> {
        let roots = self.authorities.iter().map(|root| {
            let mut key = jwk::members(&root.certificate.public_key_info)
                .map_err(|error| TrustBundleError::Unusable(error.to_string()))?;
            key.insert("use".into(), "x509-svid".into());
            key.insert("x5c".into(), json!([BASE64_STANDARD.encode(&root.certificate.der)]));
            Ok(key)
        });
        let keys = roots.chain(self.jwt_keys()).collect::<Result<Vec<_>, TrustBundleError>>()?;
        Ok(json!({
            "spiffe_sequence": self.sequence,
            "spiffe_refresh_hint": self.refresh_hint_seconds,
            "keys": keys,
        }))
    }

    /// The JWT keys alone as a plain JWK Set (RFC 7517, section 5), as the Workload API hands them out: without `use`,
    /// whose SPIFFE value other readers of such sets do not know.
    ///
    /// # Errors
    /// Never, for a bundle was made of keys that a JWK can say.
    pub fn to_jwt_key_set(&self) -> Result<Value, TrustBundleError> {
        let mut keys = self.jwt_keys().collect::<Result<Vec<_>, _>>()?;
        for key in &mut keys {
            key.remove("use");
        }
        Ok(json!({ "keys": keys }))
    }

    fn jwt_keys(&self) -> impl Iterator<Item = Result<Map<String, Value>, TrustBundleError>> {
        self.jwt_authorities.iter().map(|authority| {
            let mut key = jwk::members(&authority.public_key_info)
                .map_err(|source| TrustBundleError::JwtKey { key_id: authority.key_id.clone(), source })?;
            key.insert("use".into(), "jwt-svid".into());
            key.insert("kid".into(), authority.key_id.clone().into());
            Ok(key)
        })
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

    /// The roots that are on their way out.
    pub fn tainted_roots(&self) -> impl Iterator<Item = &Certificate> {
        self.authorities.iter().filter(|a| a.tainted).map(|a| &a.certificate)
    }

    /// Whether a root is on its way out.
    #[must_use]
    pub fn is_tainted(&self, root: &Certificate) -> bool {
        self.tainted_roots().any(|tainted| tainted.der == root.der)
    }

    /// The keys that JWT-SVIDs of the trust domain are verified with.
    #[must_use]
    pub fn jwt_authorities(&self) -> &[JwtAuthority] {
        &self.jwt_authorities
    }

    /// The JWT key of an ID.
    #[must_use]
    pub fn jwt_authority(&self, key_id: &str) -> Option<&JwtAuthority> {
        self.jwt_authorities.iter().find(|key| key.key_id == key_id)
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

    fn has_the_roots_of(&self, other: &Self) -> bool {
        self.authorities().map(|root| &root.der).eq(other.authorities().map(|root| &root.der))
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
    kid: String,
    #[serde(default)]
    x5c: Vec<String>,
    #[serde(flatten)]
    members: Map<String, Value>,
}

impl BundleKey {
    /// `None` for a key of an unknown kind.
    fn jwt_authority(&self) -> Result<Option<JwtAuthority>, TrustBundleError> {
        let key_id = self.kid.clone();
        let public_key_info = jwk::public_key_info(&self.members)
            .map_err(|source| TrustBundleError::JwtKey { key_id: key_id.clone(), source })?;
        Ok(public_key_info.map(|public_key_info| JwtAuthority {
            key_id,
            public_key_info,
            expires_at: None,
            tainted: false,
        }))
    }
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

    /// Whether both vouch for the same certificates: the same roots of the same trust domains.
    #[must_use]
    pub fn has_the_roots_of(&self, other: &Self) -> bool {
        let same = |(own, other): (&Arc<TrustBundle>, &Arc<TrustBundle>)| {
            own.trust_domain == other.trust_domain && (Arc::ptr_eq(own, other) || own.has_the_roots_of(other))
        };
        self.0.len() == other.0.len() && self.0.values().zip(other.0.values()).all(same)
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
    #[error("the trust bundle has more than {MAX_AUTHORITIES} roots or JWT keys")]
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
    /// A key ID that no JWT key can have, or that two have.
    #[error(
        "the trust bundle has a JWT key with the key ID `{0}`, which is empty, longer than {MAX_KEY_ID_BYTES} bytes or taken"
    )]
    KeyId(String),
    /// A JWT key that cannot be used.
    #[error("the trust bundle's JWT key `{key_id}` cannot be used: {source}")]
    JwtKey {
        /// Which one.
        key_id: String,
        /// What is wrong with it.
        source: JwkError,
    },
    /// Not a fingerprint.
    #[error("a fingerprint is a SHA-256 in hex: 64 digits, with or without colons")]
    Fingerprint,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::{
        KeyKind, PrivateKey,
        testing::{TestCa, leaf},
    };

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
            r#"{"keys":[{"use":"jwt-svid","kty":"new","kid":"a"},{"use":"new","kty":"EC"},{"kty":"x"}]}"#;
        assert_eq!(TrustBundle::from_spiffe_json(trust_domain(), text).unwrap().authorities().len(), 0);
    }

    fn jwt_key(key_id: &str, kind: KeyKind) -> JwtAuthority {
        use rcgen::PublicKeyData;
        let pair = PrivateKey::generate_kind(kind).unwrap().signing_pair().unwrap();
        JwtAuthority {
            key_id: key_id.to_owned(),
            public_key_info: pair.subject_public_key_info(),
            expires_at: None,
            tainted: false,
        }
    }

    #[test]
    fn carries_jwt_keys() {
        let keys = vec![jwt_key("a", KeyKind::EcP256), jwt_key("b", KeyKind::Rsa2048)];
        let root = TestCa::root("example.org");
        let bundle = root.bundle().with_jwt_authorities(keys.clone()).unwrap();
        assert_eq!(bundle.jwt_authority("b"), Some(&keys[1]));
        assert_eq!(bundle.jwt_authority("c"), None);

        let document = bundle.to_spiffe_json().unwrap();
        let uses: Vec<_> = document["keys"].as_array().unwrap().iter().map(|key| &key["use"]).collect();
        assert_eq!(uses, ["x509-svid", "jwt-svid", "jwt-svid"]);
        assert!(document["keys"][0].get("kid").is_none() && document["keys"][1].get("x5c").is_none());
        let again = TrustBundle::from_spiffe_json(trust_domain(), &document.to_string()).unwrap();
        assert_eq!(again.jwt_authorities(), keys);
        assert_eq!(ders(&again), ders(&bundle));

        let key_set = bundle.to_jwt_key_set().unwrap();
        assert_eq!(key_set["keys"].as_array().unwrap().len(), 2);
        assert_eq!(key_set["keys"][0]["kid"], "a");
        assert!(key_set["keys"][0].get("use").is_none());
    }

    #[test]
    fn rejects_jwt_keys_that_cannot_be_told_apart() {
        let bundle = || TestCa::root("example.org").bundle();
        let twice = vec![jwt_key("a", KeyKind::EcP256), jwt_key("a", KeyKind::EcP256)];
        assert!(matches!(bundle().with_jwt_authorities(twice), Err(TrustBundleError::KeyId(_))));
        let nameless = vec![jwt_key("", KeyKind::EcP256)];
        assert!(matches!(bundle().with_jwt_authorities(nameless), Err(TrustBundleError::KeyId(_))));
    }

    #[rstest]
    #[case(r#"{"keys":[{"use":"jwt-svid","kty":"EC","crv":"P-256","kid":"a"}]}"#)]
    #[case(r#"{"keys":[{"use":"jwt-svid","kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#)]
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
        let key = PrivateKey::generate().unwrap();
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
