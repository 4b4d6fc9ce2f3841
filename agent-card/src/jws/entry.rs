//! One entry of `signatures`: reading it, and writing the header of one's own.

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use rustls_pki_types::CertificateDer;
use secplane_identity::{Fingerprint, X509Identity, x509::MAX_CHAIN_LENGTH};
use serde_json::{Map, Value, json};

use super::{Algorithm, algorithm::UnknownAlgorithm};
use crate::{
    canonical::cut,
    json::{self, JsonError},
};

/// The longest text that is repeated from a header.
const MAX_SHOWN: usize = 80;
/// The longest URL of a key set.
const MAX_URL_BYTES: usize = 2048;

/// An entry of `signatures`, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct SignatureEntry {
    /// The protected header as it stands: these bytes are signed.
    pub(crate) protected: String,
    pub(crate) signature: Vec<u8>,
    /// The members of the protected header.
    header: Map<String, Value>,
}

/// What the protected header says, once it says nothing that is refused.
#[derive(Debug, Clone)]
pub(crate) struct ProtectedHeader {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: Option<String>,
    /// Leaf first; empty when the header carries none.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// Where keys could be fetched; nothing here ever does.
    pub(crate) key_set_url: Option<String>,
}

impl SignatureEntry {
    /// Decodes the parts of an entry.
    pub(crate) fn read(entry: &Value) -> Result<Self, EntryError> {
        let members = entry.as_object().ok_or(EntryError::NotAnObject)?;
        let protected = text_member(members, "protected")?.ok_or(EntryError::Missing("protected"))?;
        let signature = text_member(members, "signature")?.ok_or(EntryError::Missing("signature"))?;
        let header_bytes = BASE64_URL_SAFE_NO_PAD
            .decode(protected)
            .map_err(|_| EntryError::NotBase64("protected", "base64url without padding"))?;
        let signature = BASE64_URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| EntryError::NotBase64("signature", "base64url without padding"))?;
        let Value::Object(header) = json::read_strictly(&header_bytes)? else {
            return Err(EntryError::HeaderNotAnObject);
        };
        check_unprotected(members.get("header"), &header)?;
        Ok(Self { protected: protected.to_owned(), signature, header })
    }

    /// Reads the protected header, refusing what would change what the signature means.
    pub(crate) fn header(&self) -> Result<ProtectedHeader, EntryError> {
        let algorithm = text_member(&self.header, "alg")?.ok_or(EntryError::Missing("alg"))?;
        if algorithm.eq_ignore_ascii_case("none") {
            return Err(EntryError::AlgorithmNone);
        }
        let algorithm = algorithm.parse()?;
        if let Some(critical) = self.header.get("crit") {
            return Err(EntryError::Critical(shown(&critical.to_string())));
        }
        if self.header.get("b64").is_some_and(|b64| b64 != &Value::Bool(true)) {
            return Err(EntryError::UnencodedPayload);
        }
        text_member(&self.header, "typ")?;
        Ok(ProtectedHeader {
            algorithm,
            key_id: text_member(&self.header, "kid")?.map(str::to_owned),
            chain: certificate_chain(self.header.get("x5c"))?,
            key_set_url: key_set_url(&self.header)?,
        })
    }
}

/// The unprotected header may carry notes. It may not carry what only the protected one may, nor repeat that
/// (RFC 7515, sections 4 and 4.1.11).
fn check_unprotected(unprotected: Option<&Value>, protected: &Map<String, Value>) -> Result<(), EntryError> {
    let unprotected = match unprotected {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Object(members)) => members,
        Some(_) => return Err(EntryError::WrongType("header")),
    };
    for name in unprotected.keys() {
        if protected.contains_key(name) || matches!(name.as_str(), "alg" | "crit" | "b64" | "x5c") {
            return Err(EntryError::UnprotectedMember(shown(name)));
        }
    }
    Ok(())
}

fn text_member<'a>(
    members: &'a Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'a str>, EntryError> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(EntryError::WrongType(name)),
    }
}

/// RFC 7515, section 4.1.2.
fn key_set_url(header: &Map<String, Value>) -> Result<Option<String>, EntryError> {
    match text_member(header, "jku")? {
        Some(url) if url.len() > MAX_URL_BYTES => Err(EntryError::UrlTooLong(url.len())),
        // No other character is part of a URI (RFC 3986, section 2), and some would reach a reader's terminal.
        Some(url) if !url.bytes().all(|byte| byte.is_ascii_graphic()) => Err(EntryError::NotAUrl),
        url => Ok(url.map(str::to_owned)),
    }
}

/// RFC 7515, section 4.1.6: standard base64, not base64url.
fn certificate_chain(x5c: Option<&Value>) -> Result<Vec<CertificateDer<'static>>, EntryError> {
    let Some(x5c) = x5c else { return Ok(Vec::new()) };
    let entries = x5c.as_array().filter(|entries| !entries.is_empty()).ok_or(EntryError::WrongType("x5c"))?;
    if entries.len() > MAX_CHAIN_LENGTH {
        return Err(EntryError::ChainTooLong(entries.len()));
    }
    entries
        .iter()
        .map(|entry| {
            let text = entry.as_str().ok_or(EntryError::WrongType("x5c"))?;
            let der = BASE64_STANDARD
                .decode(text)
                .map_err(|_| EntryError::NotBase64("x5c", "standard base64 with padding"))?;
            Ok(CertificateDer::from(der))
        })
        .collect()
}

/// As much of a text from a header as is repeated in a report.
pub(crate) fn shown(text: &str) -> String {
    cut(text, MAX_SHOWN)
}

/// The protected header of a signature by `identity`, encoded.
pub(crate) fn protected_header(identity: &X509Identity, algorithm: Algorithm) -> String {
    let chain: Vec<_> = identity.chain().iter().map(|der| BASE64_STANDARD.encode(der)).collect();
    let header = json!({
        "alg": algorithm,
        "kid": key_id(identity),
        "typ": "JOSE",
        "x5c": chain,
    });
    BASE64_URL_SAFE_NO_PAD.encode(header.to_string())
}

/// The hex of the first eight bytes of the leaf's SHA-256.
fn key_id(identity: &X509Identity) -> String {
    Fingerprint::of(&identity.leaf().der).to_string().chars().take(16).collect()
}

/// Why an entry of `signatures` is not a signature that is verified here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EntryError {
    /// Not an object.
    #[error("the entry is not an object")]
    NotAnObject,
    /// A member that must be there is not.
    #[error("it has no `{0}`")]
    Missing(&'static str),
    /// A member is not of its type.
    #[error("its `{0}` is not of the type that RFC 7515 gives it")]
    WrongType(&'static str),
    /// A member is not encoded as it must be.
    #[error("its `{0}` is not {1}")]
    NotBase64(&'static str, &'static str),
    /// The protected header is not JSON that means the same to every reader.
    #[error("its protected header cannot be read: {0}")]
    HeaderJson(#[from] JsonError),
    /// The protected header is JSON, but not an object.
    #[error("its protected header is not a JSON object")]
    HeaderNotAnObject,
    /// A member of the unprotected header that must be protected, or is there already.
    #[error("its unprotected header has `{0}`, which only the protected header may have, or has already")]
    UnprotectedMember(String),
    /// `alg` is `none`.
    #[error("its algorithm is `none`: nothing is signed")]
    AlgorithmNone,
    /// Another algorithm that cards do not use.
    #[error(transparent)]
    Algorithm(#[from] UnknownAlgorithm),
    /// `crit` demands that extensions be understood; none is.
    #[error("it demands that {0} be understood (`crit`), and no such extension is")]
    Critical(String),
    /// `b64` is not `true` (RFC 7797).
    #[error("its payload is not base64url-encoded (`b64`, RFC 7797), which cards do not use")]
    UnencodedPayload,
    /// A URL that nobody needs so long.
    #[error("its `jku` has {0} bytes; at most {MAX_URL_BYTES} are read")]
    UrlTooLong(usize),
    /// Characters that no URL has.
    #[error("its `jku` is not a URL")]
    NotAUrl,
    /// More certificates than are verified.
    #[error("its `x5c` has {0} certificates; at most {MAX_CHAIN_LENGTH} are read")]
    ChainTooLong(usize),
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use secplane_identity::x509::Certificate;

    use super::*;
    use crate::jws::{KeyError, PublicKey};

    fn entry(header: &Value) -> Value {
        json!({"protected": BASE64_URL_SAFE_NO_PAD.encode(header.to_string()), "signature": "AAAA"})
    }

    fn header(header: &Value) -> Result<ProtectedHeader, EntryError> {
        SignatureEntry::read(&entry(header))?.header()
    }

    #[test]
    fn reads_a_header() {
        let read =
            header(&json!({"alg": "ES256", "kid": "k", "typ": "JOSE", "x5c": ["AAA="], "jku": "https://a"}))
                .unwrap();
        assert_eq!(read.algorithm, Algorithm::Es256);
        assert_eq!(read.key_id.as_deref(), Some("k"));
        assert_eq!(read.chain, [CertificateDer::from(vec![0, 0])]);
        assert_eq!(read.key_set_url.as_deref(), Some("https://a"));
    }

    #[rstest]
    #[case::no_algorithm(json!({}), EntryError::Missing("alg"))]
    #[case::none(json!({"alg": "none"}), EntryError::AlgorithmNone)]
    #[case::none_in_capitals(json!({"alg": "NoNe"}), EntryError::AlgorithmNone)]
    #[case::critical(json!({"alg": "ES256", "crit": ["exp"]}), EntryError::Critical("[\"exp\"]".into()))]
    #[case::critical_empty(json!({"alg": "ES256", "crit": []}), EntryError::Critical("[]".into()))]
    #[case::unencoded(json!({"alg": "ES256", "b64": false}), EntryError::UnencodedPayload)]
    #[case::number_for_key(json!({"alg": "ES256", "kid": 1}), EntryError::WrongType("kid"))]
    #[case::number_for_algorithm(json!({"alg": 1}), EntryError::WrongType("alg"))]
    #[case::long_url(json!({"alg": "ES256", "jku": "a".repeat(2049)}), EntryError::UrlTooLong(2049))]
    #[case::no_url(json!({"alg": "ES256", "jku": "https://a/\u{1b}[2J"}), EntryError::NotAUrl)]
    #[case::chain_text(json!({"alg": "ES256", "x5c": "AAAA"}), EntryError::WrongType("x5c"))]
    #[case::chain_empty(json!({"alg": "ES256", "x5c": []}), EntryError::WrongType("x5c"))]
    #[case::chain_long(json!({"alg": "ES256", "x5c": vec!["AAAA"; 9]}), EntryError::ChainTooLong(9))]
    #[case::chain_base64url(
        json!({"alg": "ES256", "x5c": ["-_-_"]}),
        EntryError::NotBase64("x5c", "standard base64 with padding")
    )]
    #[case::chain_unpadded(
        json!({"alg": "ES256", "x5c": ["AAA"]}),
        EntryError::NotBase64("x5c", "standard base64 with padding")
    )]
    fn rejects_headers(#[case] bad: Value, #[case] expected: EntryError) {
        assert_eq!(header(&bad).unwrap_err(), expected);
    }

    /// The headers of RFC 7515, appendices A.1 (a symmetric key) and A.5 (nothing signed).
    #[rstest]
    #[case("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9", "HS256")]
    #[case("eyJhbGciOiJub25lIn0", "`none`")]
    fn rejects_the_examples_of_rfc_7515_that_prove_nothing(#[case] protected: &str, #[case] expected: &str) {
        let entry = SignatureEntry::read(&json!({"protected": protected, "signature": ""})).unwrap();
        let error = entry.header().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    /// RFC 7515, appendices A.6 and A.7: a key ID beside the protected header.
    #[test]
    fn reads_the_json_serialization_of_rfc_7515() {
        let entry = json!({
            "protected": "eyJhbGciOiJFUzI1NiJ9",
            "header": {"kid": "e9bc097a-ce51-4036-9562-d2ade882db0d"},
            "signature":
                "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        });
        let read = SignatureEntry::read(&entry).unwrap();
        assert_eq!(read.signature.len(), 64);
        assert_eq!(read.header().unwrap().algorithm, Algorithm::Es256);
    }

    /// RFC 7515, appendix B: three certificates, the last of which has an RSA key of 1024 bits.
    #[test]
    fn reads_the_chain_of_rfc_7515() {
        let chain: Value = serde_json::from_str(include_str!("rfc7515_appendix_b.json")).unwrap();
        let read = header(&json!({"alg": "RS256", "x5c": chain})).unwrap();
        let certificates = read.chain.iter().map(|der| Certificate::parse(der).unwrap());
        let (names, keys): (Vec<_>, Vec<_>) = certificates
            .map(|certificate| (certificate.subject, PublicKey::from_spki(&certificate.public_key_info)))
            .unzip();
        for (name, expected) in names.iter().zip(["Go Daddy Secure", "Go Daddy Class 2", "ValiCert Class 2"])
        {
            assert!(name.contains(expected), "{name}");
        }
        assert!(keys[0].is_ok() && keys[1].is_ok());
        assert_eq!(keys[2].as_ref().unwrap_err(), &KeyError::RsaSize(1024));
    }

    /// RFC 7515, appendix E: what must be refused.
    #[test]
    fn rejects_the_negative_test_case_of_rfc_7515() {
        let protected = "eyJhbGciOiJub25lIiwNCiAiY3JpdCI6WyJodHRwOi8vZXhhbXBsZS5jb20vVU5ERUZJTkVEIl0sDQogImh0dH\
                         A6Ly9leGFtcGxlLmNvbS9VTkRFRklORUQiOnRydWUNCn0";
        let entry = SignatureEntry::read(&json!({"protected": protected, "signature": "RkFJTA"})).unwrap();
        assert_eq!(entry.header().unwrap_err(), EntryError::AlgorithmNone);
        let mut named = json!(entry.header);
        named["alg"] = "ES256".into();
        let critical = "[\"http://example.com/UNDEFINED\"]".to_owned();
        assert_eq!(header(&named).unwrap_err(), EntryError::Critical(critical));
    }

    #[rstest]
    #[case("HS256")]
    #[case("RS1")]
    fn rejects_other_algorithms(#[case] name: &str) {
        assert!(matches!(header(&json!({"alg": name})), Err(EntryError::Algorithm(_))));
    }

    #[test]
    fn rejects_a_duplicated_member_of_the_header() {
        let protected = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","alg":"RS256"}"#);
        let read = SignatureEntry::read(&json!({"protected": protected, "signature": ""}));
        assert_eq!(read.unwrap_err(), JsonError::DuplicateMember("alg".into()).into());
    }

    #[rstest]
    #[case::list(json!([]), EntryError::NotAnObject)]
    #[case::nothing(json!({}), EntryError::Missing("protected"))]
    #[case::no_signature(json!({"protected": "e30"}), EntryError::Missing("signature"))]
    #[case::number(json!({"protected": 1, "signature": ""}), EntryError::WrongType("protected"))]
    #[case::padded(
        json!({"protected": "e30=", "signature": ""}),
        EntryError::NotBase64("protected", "base64url without padding")
    )]
    #[case::standard_base64(
        json!({"protected": "e30", "signature": "+/+/"}),
        EntryError::NotBase64("signature", "base64url without padding")
    )]
    #[case::loose_bits(
        json!({"protected": "e31", "signature": ""}),
        EntryError::NotBase64("protected", "base64url without padding")
    )]
    #[case::header_list(json!({"protected": "W10", "signature": ""}), EntryError::HeaderNotAnObject)]
    #[case::unprotected_text(
        json!({"protected": "e30", "signature": "", "header": "x"}),
        EntryError::WrongType("header")
    )]
    #[case::unprotected_algorithm(
        json!({"protected": "e30", "signature": "", "header": {"alg": "none"}}),
        EntryError::UnprotectedMember("alg".into())
    )]
    fn rejects_entries(#[case] bad: Value, #[case] expected: EntryError) {
        assert_eq!(SignatureEntry::read(&bad).unwrap_err(), expected);
    }

    #[test]
    fn rejects_a_member_in_both_headers() {
        let mut both = entry(&json!({"alg": "ES256", "kid": "a"}));
        both["header"] = json!({"kid": "b"});
        assert_eq!(SignatureEntry::read(&both).unwrap_err(), EntryError::UnprotectedMember("kid".into()));
        both["header"] = json!({"timestamp": "2026-01-01T00:00:00Z"});
        assert!(SignatureEntry::read(&both).is_ok());
    }
}
