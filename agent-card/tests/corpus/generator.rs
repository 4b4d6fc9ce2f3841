//! Makes the corpus: a small authority, and every bad card by name.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
        EcdsaKeyPair, EcdsaSigningAlgorithm,
    },
};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, PublicKeyData, RevokedCertParams, RsaKeySize, SanType,
    SerialNumber, SignatureAlgorithm, SigningKey, date_time_ymd,
};
use secplane_agent_card::{AgentCard, Canonicalization};
use secplane_identity::{TrustBundle, TrustDomain, jwk};
use serde_json::{Value, json};

pub(crate) const TRUST_DOMAIN: &str = "example.org";
/// Another trust domain that is trusted.
pub(crate) const PARTNER: &str = "partner.example";
/// As of when the cards are verified.
pub(crate) const AT: &str = "2026-07-01T00:00:00Z";
pub(crate) const AT_UNIX: u64 = 1_782_864_000;

const ID: &str = "spiffe://example.org/agent/recipes";
const CARD: &str = r#"{"name":"Recipe Agent","description":"Cooks.","version":"1.0.0","capabilities":{"streaming":true},"defaultInputModes":["text/plain"],"skills":[{"id":"soup","name":"Soup","description":"Makes soup.","tags":["food"]}]}"#;
/// The order of P-256.
const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

/// A card and how it must be judged.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) class: &'static str,
    pub(crate) check: Option<&'static str>,
    pub(crate) what: &'static str,
    pub(crate) card: Vec<u8>,
}

/// Everything that lies in the folder.
pub(crate) struct Corpus {
    pub(crate) cases: Vec<Case>,
    /// A SPIFFE bundle document.
    pub(crate) bundle: String,
    /// That of another trust domain, which is trusted as well.
    pub(crate) partner_bundle: String,
    /// The issuing CA's revocation list.
    pub(crate) list: String,
}

impl Corpus {
    pub(crate) fn generate() -> Self {
        let authority = Authority::new("root of example.org");
        let partner = Authority::new("root of partner.example");
        let mut cases = Cases::default();
        good(&authority, &mut cases);
        bad_signatures(&authority, &mut cases);
        bad_headers(&authority, &mut cases);
        bad_entries(&authority, &mut cases);
        bad_cards(&authority, &mut cases);
        bad_certificates(&authority, &mut cases);
        bad_chains(&authority, &partner, &mut cases);
        Self {
            cases: cases.0,
            bundle: authority.bundle(TRUST_DOMAIN),
            partner_bundle: partner.bundle(PARTNER),
            list: authority.revocation_list(&[REVOKED]),
        }
    }
}

#[derive(Default)]
struct Cases(Vec<Case>);

impl Cases {
    fn add(
        &mut self,
        name: &'static str,
        (class, check): (&'static str, &'static str),
        what: &'static str,
        card: impl ToString,
    ) {
        let check = Some(check).filter(|check| !check.is_empty());
        self.0.push(Case { name, class, check, what, card: format!("{}\n", card.to_string()).into_bytes() });
    }
}

const REVOKED: u64 = 0x7e0c_ed01;
const TAMPERED: (&str, &str) = ("tampered", "signature");
const MALFORMED: (&str, &str) = ("malformed", "format");

// ---- The authority ----

struct Authority {
    root: Vec<u8>,
    root_issuer: Issuer<'static, KeyPair>,
    issuing: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let root_key = KeyPair::generate().unwrap();
        let root_params = ca_params(name);
        let root = root_params.self_signed(&root_key).unwrap().der().to_vec();
        let root_issuer = Issuer::new(root_params, root_key);
        let (issuing, issuer) = ca_below(&root_issuer, ca_params("issuing CA"));
        Self { root, root_issuer, issuing, issuer }
    }

    /// The SPIFFE bundle document of a trust domain with this root.
    fn bundle(&self, trust_domain: &str) -> String {
        let bundle = TrustBundle::new(TrustDomain::parse(trust_domain).unwrap(), [&self.root]).unwrap();
        format!("{}\n", serde_json::to_string_pretty(&bundle.to_spiffe_json().unwrap()).unwrap())
    }

    fn revocation_list(&self, serials: &[u64]) -> String {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2026, 6, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 6, 1),
            next_update: date_time_ymd(2035, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// A leaf for a new P-256 key, after `spoil`.
    fn holder(&self, spoil: impl FnOnce(&mut CertificateParams)) -> Holder {
        self.holder_of(KeyPair::generate().unwrap(), &ECDSA_P256_SHA256_FIXED_SIGNING, spoil)
    }

    fn holder_of(
        &self,
        key: KeyPair,
        algorithm: &'static EcdsaSigningAlgorithm,
        spoil: impl FnOnce(&mut CertificateParams),
    ) -> Holder {
        let mut params = leaf_params();
        spoil(&mut params);
        let leaf = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Holder { chain: vec![leaf, self.issuing.clone()], key, algorithm }
    }
}

/// A CA and what it signs with.
fn ca_below(
    above: &Issuer<'static, KeyPair>,
    params: CertificateParams,
) -> (Vec<u8>, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let der = params.signed_by(&key, above).unwrap().der().to_vec();
    (der, Issuer::new(params, key))
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2036, 1, 1);
    params
}

fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![uri(ID)];
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2035, 12, 31);
    params
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// Whoever signs a card.
struct Holder {
    chain: Vec<Vec<u8>>,
    key: KeyPair,
    algorithm: &'static EcdsaSigningAlgorithm,
}

impl Holder {
    /// Who has a good leaf of `issuer`, and `above` over it in the chain.
    fn below(issuer: &Issuer<'static, KeyPair>, above: &[&[u8]]) -> Self {
        let key = KeyPair::generate().unwrap();
        let leaf = leaf_params().signed_by(&key, issuer).unwrap().der().to_vec();
        let chain = std::iter::once(leaf).chain(above.iter().map(|der| der.to_vec())).collect();
        Self { chain, key, algorithm: &ECDSA_P256_SHA256_FIXED_SIGNING }
    }

    fn header(&self) -> Value {
        let chain: Vec<_> = self.chain.iter().map(|der| BASE64_STANDARD.encode(der)).collect();
        json!({"alg": "ES256", "kid": "recipes", "typ": "JOSE", "x5c": chain})
    }

    fn sign_with(&self, algorithm: &'static EcdsaSigningAlgorithm, input: &[u8]) -> Vec<u8> {
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, &self.key.serialize_der()).unwrap();
        pair.sign(&SystemRandom::new(), input).unwrap().as_ref().to_vec()
    }

    /// The good card, signed under a header.
    fn sign(&self, header: &Value) -> Value {
        self.sign_card(CARD, &header.to_string(), |input| self.sign_with(self.algorithm, input))
    }

    fn sign_card(&self, card: &str, header: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Value {
        let payload =
            AgentCard::parse(card.as_bytes()).unwrap().canonical(Canonicalization::Raw).unwrap().remove(0);
        let protected = encode(header);
        let input = format!("{protected}.{}", encode(&payload));
        let entry = json!({"protected": protected, "signature": encode(sign(input.as_bytes()))});
        let mut signed: Value = serde_json::from_str(card).unwrap();
        signed["signatures"] = json!([entry]);
        signed
    }

    fn good(&self) -> Value {
        self.sign(&self.header())
    }
}

/// An RSA public key of 1024 bits, which no library here would generate.
struct WeakRsaKey(Vec<u8>);

impl WeakRsaKey {
    /// PKCS#1 `RSAPublicKey`: a sequence of the modulus and 65537.
    fn new() -> Self {
        let modulus = [0xc5; 128];
        Self([&[0x30, 0x81, 0x89, 2, 0x81, 0x81, 0][..], &modulus, &[2, 3, 1, 0, 1]].concat())
    }
}

impl PublicKeyData for WeakRsaKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

// ---- The cards ----

fn good(authority: &Authority, cases: &mut Cases) {
    let holder = authority.holder(|_| {});
    cases.add("good", ("valid", ""), "a good card, to hold the others against", holder.good());
    let mut several = holder.good();
    let entries = several["signatures"].as_array_mut().unwrap();
    entries.insert(0, json!({"protected": "e30", "signature": ""}));
    several["signatures"] = entries.clone().into();
    // The class of the card is that of the signature that got furthest; the first one's failure is told all the same.
    cases.add("good-second-signature", ("valid", "format"), "one signature of two is good", several);
}

/// The signature's bytes are not what they must be.
fn bad_signatures(authority: &Authority, cases: &mut Cases) {
    let holder = authority.holder(|_| {});
    let mut change = |name, what, change: &dyn Fn(&[u8]) -> Vec<u8>| {
        let mut card = holder.good();
        let text = card["signatures"][0]["signature"].as_str().unwrap();
        let bytes = change(&BASE64_URL_SAFE_NO_PAD.decode(text).unwrap());
        card["signatures"][0]["signature"] = encode(bytes).into();
        cases.add(name, TAMPERED, what, card);
    };
    let order = hex::decode(ORDER).unwrap();
    change("signature-zero", "r and s are zero (CVE-2022-21449)", &|_| vec![0; 64]);
    change("signature-r-zero", "r is zero", &|raw| [&[0; 32], &raw[32..]].concat());
    change("signature-s-zero", "s is zero", &|raw| [&raw[..32], &[0; 32]].concat());
    change("signature-r-is-the-order", "r is the curve's order", &|raw| [&order, &raw[32..]].concat());
    change("signature-s-is-the-order", "s is the curve's order", &|raw| [&raw[..32], &order].concat());
    change("signature-r-too-large", "r is larger than the order", &|raw| [&[0xff; 32], &raw[32..]].concat());
    change("signature-s-too-large", "s is larger than the order", &|raw| [&raw[..32], &[0xff; 32]].concat());
    change("signature-swapped-halves", "s stands before r", &|raw| [&raw[32..], &raw[..32]].concat());
    change("signature-short", "the last byte is missing", &|raw| raw[..63].to_vec());
    change("signature-long", "a byte follows", &|raw| [raw, &[0]].concat());
    change("signature-empty", "there is none", &|_| Vec::new());
    change("signature-flipped-bit", "one bit is another", &|raw| {
        let mut raw = raw.to_vec();
        raw[40] ^= 1;
        raw
    });
    let der = holder.sign_card(CARD, &holder.header().to_string(), |input| {
        holder.sign_with(&ECDSA_P256_SHA256_ASN1_SIGNING, input)
    });
    cases.add("signature-der", TAMPERED, "DER where R‖S is due (RFC 7518, section 3.4)", der);
    let other = authority.holder(|_| {});
    let foreign =
        holder.sign_card(CARD, &holder.header().to_string(), |input| other.sign_with(other.algorithm, input));
    cases.add("signature-of-another-key", TAMPERED, "made with another key than the leaf's", foreign);
}

/// The protected header says what it may not.
fn bad_headers(authority: &Authority, cases: &mut Cases) {
    let holder = authority.holder(|_| {});
    let algorithm = ("tampered", "algorithm");
    let changes: [(&str, (&str, &str), &str, Value); 16] = [
        ("header-alg-none", MALFORMED, "the algorithm is `none`", json!({"alg": "none"})),
        ("header-alg-none-in-capitals", MALFORMED, "the algorithm is `NONE`", json!({"alg": "NONE"})),
        (
            "header-alg-symmetric",
            MALFORMED,
            "the algorithm is symmetric: the public key as secret",
            json!({"alg": "HS256"}),
        ),
        ("header-alg-missing", MALFORMED, "there is no algorithm", json!({"alg": null})),
        ("header-alg-unknown", MALFORMED, "the algorithm is none for cards", json!({"alg": "ES256K"})),
        ("header-alg-rsa-for-ec", algorithm, "an RSA algorithm for an EC key", json!({"alg": "RS256"})),
        ("header-alg-eddsa-for-ec", algorithm, "EdDSA for an EC key", json!({"alg": "EdDSA"})),
        ("header-alg-other-curve", algorithm, "the algorithm of another curve", json!({"alg": "ES384"})),
        (
            "header-crit-unknown",
            MALFORMED,
            "`crit` names an extension that nobody knows",
            json!({"crit": ["exp"], "exp": 1}),
        ),
        ("header-crit-empty", MALFORMED, "`crit` is empty (RFC 7515, section 4.1.11)", json!({"crit": []})),
        ("header-b64-false", MALFORMED, "the payload is not encoded (RFC 7797)", json!({"b64": false})),
        ("header-x5c-text", MALFORMED, "`x5c` is no list", json!({"x5c": "AAAA"})),
        ("header-x5c-empty", MALFORMED, "`x5c` is empty", json!({"x5c": []})),
        ("header-x5c-too-long", MALFORMED, "`x5c` has nine certificates", json!({"x5c": vec!["AAAA"; 9]})),
        (
            "header-x5c-no-certificate",
            ("malformed", "certificates"),
            "`x5c` holds something else",
            json!({"x5c": ["AAAA"]}),
        ),
        ("header-kid-number", MALFORMED, "the key ID is a number", json!({"kid": 1})),
    ];
    for (name, expected, what, change) in changes {
        let mut header = holder.header();
        header.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        cases.add(name, expected, what, holder.sign(&header));
    }
    let mut base64url = holder.header();
    base64url["x5c"] = holder.chain.iter().map(encode).collect();
    cases.add("header-x5c-base64url", MALFORMED, "`x5c` is base64url, not base64", holder.sign(&base64url));
    let mut bare = holder.header();
    bare.as_object_mut().unwrap().remove("x5c");
    cases.add(
        "header-without-x5c",
        ("untrusted", "key-set"),
        "no certificate says whose it is",
        holder.sign(&bare),
    );
    let mut embedded = bare.clone();
    embedded["jwk"] = jwk::members(&holder.key.subject_public_key_info()).unwrap().into();
    let what = "the header brings the key that it is to be verified with (`jwk`)";
    cases.add("header-jwk", ("untrusted", "key-set"), what, holder.sign(&embedded));
    let mut elsewhere = bare.clone();
    elsewhere["jku"] = "https://mallory.example/jwks.json".into();
    let what = "the header says where to get the key (`jku`), from a host that nobody allowed";
    cases.add("header-jku", ("untrusted", "key-set"), what, holder.sign(&elsewhere));
    elsewhere["jku"] = "https://mallory.example/\u{1b}[2J".into();
    let what = "`jku` holds characters that no URL has, and a terminal obeys";
    cases.add("header-jku-no-url", MALFORMED, what, holder.sign(&elsewhere));
    let twice = holder.header().to_string().replacen('{', "{\"alg\":\"RS256\",", 1);
    let twice = holder.sign_card(CARD, &twice, |input| holder.sign_with(holder.algorithm, input));
    cases.add("header-member-twice", MALFORMED, "the header has `alg` twice", twice);
    let mut another = holder.good();
    let header = holder.header().to_string().replace("recipes", "another");
    another["signatures"][0]["protected"] = encode(header).into();
    cases.add("header-changed-afterwards", TAMPERED, "the key ID was changed after signing", another);
}

/// An entry of `signatures` is not one.
fn bad_entries(authority: &Authority, cases: &mut Cases) {
    let good = authority.holder(|_| {}).good();
    let mut change = |name, what, change: &dyn Fn(&mut Value)| {
        let mut card = good.clone();
        change(&mut card["signatures"][0]);
        cases.add(name, MALFORMED, what, card);
    };
    change("entry-text", "the entry is text", &|entry| *entry = "signature".into());
    change("entry-without-signature", "the entry has no signature", &|entry| {
        entry.as_object_mut().unwrap().remove("signature");
    });
    change("entry-without-header", "the entry has no protected header", &|entry| {
        entry.as_object_mut().unwrap().remove("protected");
    });
    change("entry-padded", "the signature is padded", &|entry| {
        entry["signature"] = format!("{}==", entry["signature"].as_str().unwrap()).into();
    });
    change("entry-alg-unprotected", "the algorithm stands in the unprotected header", &|entry| {
        entry["header"] = json!({"alg": "none"});
    });
    change("entry-member-in-both-headers", "the key ID stands in both headers", &|entry| {
        entry["header"] = json!({"kid": "recipes"});
    });
}

/// The card is not what was signed, or none.
fn bad_cards(authority: &Authority, cases: &mut Cases) {
    let good = authority.holder(|_| {}).good();
    let text = good.to_string();
    let card_malformed = ("malformed", "");
    cases.add("card-changed", TAMPERED, "a member was changed", text.replace("Makes soup.", "Makes poison."));
    let uncovered = ("tampered", "coverage");
    let mut added = good.clone();
    added["supportedInterfaces"] = json!([{"url": "https://mallory.example"}]);
    cases.add("card-member-added", uncovered, "a member was added that one of the forms leaves out", added);
    let mut removed = good.clone();
    removed.as_object_mut().unwrap().remove("description");
    cases.add("card-member-removed", TAMPERED, "a member was removed", removed);
    let twice = text.replacen('{', "{\"name\":\"Mallory\",", 1);
    cases.add("card-member-twice", card_malformed, "a member stands twice", twice);
    let twice = text.replacen("\"streaming\":true", "\"streaming\":true,\"streaming\":false", 1);
    cases.add("card-member-twice-inside", card_malformed, "a member stands twice in an object inside", twice);
    let escaped = text.replacen('{', "{\"n\\u0061me\":\"Mallory\",", 1);
    cases.add("card-member-twice-by-escape", card_malformed, "a member stands twice, once escaped", escaped);
    let number = text.replacen('{', "{\"x\":9007199254740993,", 1);
    cases.add("card-inexact-number", card_malformed, "an integer that no double holds", number);
    let deep = text.replacen('{', &format!("{{\"x\":{}{},", "[".repeat(64), "]".repeat(64)), 1);
    cases.add("card-too-deep", card_malformed, "nested deeper than 64 levels", deep);
    let surrogate = text.replacen("Cooks.", "\\ud800", 1);
    cases.add("card-lone-surrogate", card_malformed, "half of a surrogate pair", surrogate);
    let what = "a byte order mark before the card";
    cases.add("card-byte-order-mark", card_malformed, what, format!("\u{feff}{text}"));
    cases.add("card-two-documents", card_malformed, "a second card follows", format!("{text}{text}"));
    let mut object = good.clone();
    object["signatures"] = good["signatures"][0].clone();
    cases.add("card-signatures-object", card_malformed, "`signatures` is no list", object);
    cases.add("card-list", card_malformed, "a list, not a card", json!([good]));
    cases.add("card-cut-off", card_malformed, "the end is missing", &text[..text.len() - 1]);
    let mut many = good.clone();
    many["signatures"] = vec![good["signatures"][0].clone(); 17].into();
    cases.add("card-too-many-signatures", card_malformed, "seventeen signatures", many);
    cases.add("card-unsigned", ("unsigned", ""), "no signature", CARD);
    let mut none = good;
    none["signatures"] = json!([]);
    cases.add("card-signatures-empty", ("unsigned", ""), "a list of no signatures", none);
}

/// The leaf is no SVID that may sign now.
fn bad_certificates(authority: &Authority, cases: &mut Cases) {
    let key_usage = ("untrusted", "key-usage");
    let spiffe_id = ("untrusted", "spiffe-id");
    let validity = ("expired", "validity");
    let mut leaf = |name, expected, what, spoil: &dyn Fn(&mut CertificateParams)| {
        cases.add(name, expected, what, authority.holder(spoil).good());
    };
    leaf("leaf-is-a-ca", key_usage, "the leaf is a CA certificate", &|params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    leaf("leaf-without-key-usage", key_usage, "the leaf has no key usage", &|params| {
        params.key_usages.clear()
    });
    leaf("leaf-may-not-sign", key_usage, "the leaf lacks digitalSignature", &|params| {
        params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    });
    leaf("leaf-may-sign-certificates", key_usage, "the leaf has keyCertSign", &|params| {
        params.key_usages.push(KeyUsagePurpose::KeyCertSign);
    });
    leaf("leaf-two-uris", spiffe_id, "the leaf names two URIs", &|params| {
        params.subject_alt_names.push(uri("spiffe://example.org/agent/other"));
    });
    leaf("leaf-no-uri", spiffe_id, "the leaf names no URI", &|params| params.subject_alt_names.clear());
    leaf("leaf-trust-domain-alone", spiffe_id, "the leaf names a trust domain, no workload", &|params| {
        params.subject_alt_names = vec![uri("spiffe://example.org")];
    });
    leaf("leaf-other-scheme", spiffe_id, "the leaf's URI is no SPIFFE ID", &|params| {
        params.subject_alt_names = vec![uri("https://example.org/agent")];
    });
    leaf("leaf-capital-trust-domain", spiffe_id, "the trust domain is in capitals", &|params| {
        params.subject_alt_names = vec![uri("spiffe://EXAMPLE.org/agent")];
    });
    leaf("leaf-expired", validity, "the leaf expired before it is verified", &|params| {
        params.not_after = date_time_ymd(2026, 2, 1);
    });
    leaf("leaf-not-yet-valid", ("untrusted", "validity"), "the leaf is not valid yet", &|params| {
        params.not_before = date_time_ymd(2030, 1, 1);
    });
    leaf("leaf-id-with-dot-segments", spiffe_id, "the path of the ID leads upwards", &|params| {
        params.subject_alt_names = vec![uri("spiffe://example.org/agent/../admin")];
    });
    let chain = ("untrusted", "chain");
    leaf("leaf-for-servers-only", chain, "the leaf is for TLS servers alone", &|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    leaf(
        "leaf-unknown-critical-extension",
        chain,
        "the leaf demands that something be understood",
        &|params| {
            let mut unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 32473, 1], vec![5, 0]);
            unknown.set_criticality(true);
            params.custom_extensions = vec![unknown];
        },
    );
    leaf(
        "leaf-revoked",
        ("revoked", "revocation"),
        "the leaf is on its issuer's revocation list",
        &|params| {
            params.serial_number = Some(SerialNumber::from(REVOKED));
        },
    );
    leaf(
        "leaf-expired-and-revoked",
        ("revoked", "revocation"),
        "the leaf is revoked, and expired since",
        &|params| {
            params.serial_number = Some(SerialNumber::from(REVOKED));
            params.not_after = date_time_ymd(2026, 2, 1);
        },
    );

    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let holder = authority.holder_of(p384, &ECDSA_P384_SHA384_FIXED_SIGNING, |_| {});
    let what = "the leaf's key is on P-384, the algorithm on P-256";
    cases.add("leaf-wrong-curve", ("tampered", "algorithm"), what, holder.good());

    let weak = WeakRsaKey::new();
    let leaf = leaf_params().signed_by(&weak, &authority.issuer).unwrap().der().to_vec();
    let holder = Holder { chain: vec![leaf, authority.issuing.clone()], ..authority.holder(|_| {}) };
    let mut header = holder.header();
    header["alg"] = "RS256".into();
    let card = holder.sign_card(CARD, &header.to_string(), |_| vec![1; 128]);
    cases.add("leaf-rsa-1024", ("untrusted", "algorithm"), "the leaf's RSA key has 1024 bits", card);

    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let leaf = leaf_params().signed_by(&rsa, &authority.issuer).unwrap().der().to_vec();
    let holder = Holder { chain: vec![leaf, authority.issuing.clone()], ..authority.holder(|_| {}) };
    let mut header = holder.header();
    header["alg"] = "PS256".into();
    let swapped = holder.sign_card(CARD, &header.to_string(), |input| rsa.sign(input).unwrap());
    cases.add("rsa-swapped-padding", TAMPERED, "the header says PS256, the signature is RS256", swapped);
}

/// The chain does not lead where it must.
fn bad_chains(authority: &Authority, partner: &Authority, cases: &mut Cases) {
    let chain = ("untrusted", "chain");
    let arranged = |arrange: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut holder = authority.holder(|_| {});
        arrange(&mut holder.chain);
        holder.good()
    };
    let out_of_order = arranged(&|chain| chain.reverse());
    cases.add(
        "chain-out-of-order",
        ("untrusted", "spiffe-id"),
        "the CA stands before the leaf",
        out_of_order,
    );
    cases.add("chain-gap", chain, "the issuing CA is missing", arranged(&|chain| drop(chain.pop())));
    let leaf_twice = arranged(&|chain| chain.insert(1, chain[0].clone()));
    cases.add("chain-leaf-above-leaf", chain, "a leaf stands where a CA is due", leaf_twice);
    let trailing = arranged(&|chain| chain[0].push(0));
    cases.add("chain-trailing-byte", ("malformed", "certificates"), "a byte follows the leaf", trailing);

    let namesake = Authority::new("root of example.org");
    let impostor = namesake.holder(|_| {}).good();
    cases.add("chain-namesake-root", chain, "a root of the same name and another key", impostor);
    let foreign = Authority::new("root of other.example");
    let stranger =
        foreign.holder(|params| params.subject_alt_names = vec![uri("spiffe://other.example/agent")]);
    cases.add("chain-foreign-trust-domain", chain, "a trust domain that is not trusted", stranger.good());
    let what = "a root that is trusted, but for another trust domain than the one that the leaf names";
    cases.add("chain-root-of-another-trust-domain", chain, what, partner.holder(|_| {}).good());
    let mut with_root = foreign.holder(|_| {});
    with_root.chain.push(foreign.root.clone());
    let what = "a foreign root in the chain, for a leaf of our trust domain";
    cases.add("chain-brings-its-root", chain, what, with_root.good());
    let below = |spoil: &dyn Fn(&mut CertificateParams)| {
        let mut params = ca_params("issuing CA");
        spoil(&mut params);
        let (ca, issuer) = ca_below(&authority.root_issuer, params);
        Holder::below(&issuer, &[&ca]).good()
    };
    let expired = below(&|params| params.not_after = date_time_ymd(2026, 2, 1));
    cases.add("chain-issuing-ca-expired", ("expired", "validity"), "the issuing CA has expired", expired);
    let signs_lists = below(&|params| params.key_usages = vec![KeyUsagePurpose::CrlSign]);
    cases.add("chain-issuing-ca-may-not-sign", chain, "the issuing CA lacks keyCertSign", signs_lists);
    let no_ca = below(&|params| params.is_ca = IsCa::ExplicitNoCa);
    cases.add("chain-issuing-ca-is-none", chain, "what stands above the leaf is no CA", no_ca);
    let mut last = ca_params("the last CA");
    last.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let (last, last_issuer) = ca_below(&authority.root_issuer, last);
    let (one_more, issuer) = ca_below(&last_issuer, ca_params("one CA more"));
    let what = "a CA below one that may have none below it";
    cases.add("chain-path-too-long", chain, what, Holder::below(&issuer, &[&one_more, &last]).good());
    let key = KeyPair::generate().unwrap();
    let own = leaf_params().self_signed(&key).unwrap().der().to_vec();
    let holder = Holder { chain: vec![own], key, algorithm: &ECDSA_P256_SHA256_FIXED_SIGNING };
    cases.add("chain-self-signed", chain, "the leaf signed itself", holder.good());
}
