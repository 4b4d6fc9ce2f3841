//! Signing a card with an X.509-SVID.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use secplane_identity::{SpiffeId, X509Identity, x509::Certificate};
use serde_json::{Value, json};

use crate::{
    AgentCard, Agreement, MAX_CARD_BYTES, MAX_SIGNATURES,
    canonical::{Canonicalization, Form, FormError, Forms},
    jws::{Algorithm, SignatureEntry, SigningKey, SigningKeyError, protected_header},
};

/// The longest chain that the Kagenti operator takes.
const OPERATOR_CHAIN_LENGTH: usize = 3;

/// How a card is signed. The default signs only a card whose canonical forms agree, with the usual algorithm of the
/// key, and keeps the signatures that the card has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SignOptions {
    /// What is signed.
    pub forms: FormsToSign,
    /// What becomes of the signatures that the card has.
    pub existing: ExistingSignatures,
    /// The algorithm; `None` for the usual one of the key: ES256, ES384, ES512, RS256 or EdDSA.
    pub algorithm: Option<Algorithm>,
}

/// Which canonical forms of the card are signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FormsToSign {
    /// The one that all forms agree on; a card of which they differ is refused, and what makes them differ named.
    #[default]
    Agreeing,
    /// This one, whatever the others are: verifiers that use another will refuse the card.
    One(Canonicalization),
    /// Each form that differs, in an entry of its own, so that every verifier finds one that it accepts.
    Portable,
}

/// What becomes of the signatures that a card has when it is signed again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExistingSignatures {
    /// They stay, before the new ones.
    #[default]
    Keep,
    /// Those that name the same SPIFFE ID are replaced, the others stay: for signing again when the SVID rotates.
    ReplaceOwn,
    /// All are replaced.
    ReplaceAll,
}

/// Signs a card: each new entry carries the certificate chain (`x5c`), so that whoever has the trust bundle can
/// verify it.
///
/// # Errors
/// When the forms of the card differ and no choice was made; when a wanted form cannot be made; when the key cannot
/// sign, or not so that every verifier accepts it where that was asked for; when the card would become too large.
///
/// ```
/// # mod pki { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/testing.rs")); }
/// use secplane_agent_card::{AgentCard, FormsToSign, SignError, SignOptions, sign};
///
/// # let identity = pki::Authority::new("example.org").identity("spiffe://example.org/agent/recipes");
/// let card = AgentCard::parse(br#"{"name":"Recipe Agent","version":"1.0.0","skills":[]}"#)?;
///
/// // `skills` is empty: some verifiers leave it out of what is signed, others do not.
/// let refused = sign(&card, &identity, &SignOptions::default());
/// assert!(matches!(refused, Err(SignError::FormsDiffer(_))));
///
/// let signed = sign(&card, &identity, &SignOptions { forms: FormsToSign::Portable, ..Default::default() })?;
/// assert_eq!(signed.signatures().len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn sign(
    card: &AgentCard,
    identity: &X509Identity,
    options: &SignOptions,
) -> Result<AgentCard, SignError> {
    let forms = Forms::of(card);
    let chosen = choose(card, &forms, options.forms)?;
    let key = SigningKey::of(identity, options.algorithm)?;
    if options.forms == FormsToSign::Portable {
        check_operator_accepts(key.algorithm(), identity)?;
    }

    let protected = protected_header(identity, key.algorithm());
    let mut signatures = kept(card, identity.id(), options.existing);
    for form in chosen {
        let signature = key.sign(&form.signing_input(&protected))?;
        signatures.push(json!({
            "protected": protected,
            "signature": BASE64_URL_SAFE_NO_PAD.encode(signature),
        }));
    }
    if signatures.len() > MAX_SIGNATURES {
        return Err(SignError::TooManySignatures(signatures.len()));
    }
    let signed = card.with_signatures(signatures);
    let size = signed.to_json().to_string().len();
    if size > MAX_CARD_BYTES {
        return Err(SignError::TooLarge(size));
    }
    Ok(signed)
}

/// The forms to sign, no two of them the same bytes.
fn choose<'a>(
    card: &AgentCard,
    forms: &'a Forms<'_>,
    wanted: FormsToSign,
) -> Result<Vec<&'a Form>, SignError> {
    let candidates: &[Canonicalization] = match &wanted {
        FormsToSign::Agreeing => {
            let agreement = Agreement::between(card, forms);
            if !agreement.is_complete() {
                return Err(SignError::FormsDiffer(agreement));
            }
            &[Canonicalization::Raw]
        }
        FormsToSign::One(one) => std::slice::from_ref(one),
        FormsToSign::Portable => &Canonicalization::ALL,
    };
    let mut chosen: Vec<&Form> = Vec::new();
    for form in candidates {
        let readings =
            forms.readings(*form).map_err(|reason| SignError::FormUnavailable { form: *form, reason })?;
        for reading in readings {
            if let (FormsToSign::Portable, Some(reason)) = (wanted, reading.refused_by_some()) {
                return Err(SignError::FormUnavailable { form: *form, reason: reason.clone() });
            }
            if !chosen.iter().any(|known| known.payload() == reading.payload()) {
                chosen.push(reading);
            }
        }
    }
    Ok(chosen)
}

fn check_operator_accepts(algorithm: Algorithm, identity: &X509Identity) -> Result<(), SignError> {
    if algorithm == Algorithm::EdDsa {
        return Err(SignError::NotPortable("it refuses EdDSA; use an EC or RSA key"));
    }
    if identity.chain().len() > OPERATOR_CHAIN_LENGTH {
        return Err(SignError::NotPortable("it refuses chains of more than three certificates"));
    }
    Ok(())
}

fn kept(card: &AgentCard, own: &SpiffeId, existing: ExistingSignatures) -> Vec<Value> {
    match existing {
        ExistingSignatures::Keep => card.signatures().to_vec(),
        ExistingSignatures::ReplaceAll => Vec::new(),
        ExistingSignatures::ReplaceOwn => {
            let others = card.signatures().iter().filter(|entry| named_signer(entry).as_ref() != Some(own));
            others.cloned().collect()
        }
    }
}

/// The SPIFFE ID that an entry's leaf claims, believed by nobody yet.
fn named_signer(entry: &Value) -> Option<SpiffeId> {
    let header = SignatureEntry::read(entry).ok()?.header().ok()?;
    Certificate::parse(header.chain.first()?).ok()?.spiffe_id().ok()
}

/// Why a card was not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The canonical forms of the card differ, so a single signature satisfies only some verifiers.
    #[error(
        "verifiers disagree about what this card's signature covers ({0}); change the card, sign it portably, or name the form to sign"
    )]
    FormsDiffer(Agreement),
    /// A wanted form cannot be made of the card.
    #[error("the card has no {form} form: {reason}")]
    FormUnavailable {
        /// The form.
        form: Canonicalization,
        /// Why not.
        reason: FormError,
    },
    /// The Kagenti operator would refuse the signature.
    #[error("the card cannot be signed for every verifier, the Kagenti operator being one: {0}")]
    NotPortable(&'static str),
    /// The key cannot sign.
    #[error(transparent)]
    Key(#[from] SigningKeyError),
    /// More signatures than are read.
    #[error("the card would have {0} signatures; at most {MAX_SIGNATURES} are read: replace some")]
    TooManySignatures(usize),
    /// Larger than is read.
    #[error("the signed card would have {0} bytes; at most {MAX_CARD_BYTES} are read")]
    TooLarge(usize),
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
    use rstest::rstest;

    use super::*;
    use crate::{
        Outcome, VerifyOptions,
        testing::{Authority, leaf_params},
        verify,
    };

    const ID: &str = "spiffe://example.org/agent/a";
    const AGREEING: &[u8] = br#"{"name":"a","version":"1"}"#;
    const DIFFERING: &[u8] =
        br#"{"name":"a","x-unknown":1,"skills":[],"supportedInterfaces":[{"url":"u","tenant":""}]}"#;

    fn outcome(card: &AgentCard, authority: &Authority) -> Outcome {
        verify(card, &VerifyOptions::new(&authority.bundles(), SystemTime::now())).outcome
    }

    fn portable() -> SignOptions {
        SignOptions { forms: FormsToSign::Portable, ..SignOptions::default() }
    }

    #[test]
    fn writes_the_header_that_verifiers_demand() {
        let authority = Authority::new("example.org");
        let identity = authority.identity(ID);
        let signed = sign(&AgentCard::parse(AGREEING).unwrap(), &identity, &SignOptions::default()).unwrap();
        let protected = signed.signatures()[0]["protected"].as_str().unwrap();
        let header: Value =
            serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(protected).unwrap()).unwrap();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &identity.chain()[0]);
        assert_eq!(header["alg"], "ES256");
        assert_eq!(header["typ"], "JOSE");
        assert_eq!(header["kid"], hex::encode(&digest.as_ref()[..8]));
        let chain: Vec<_> =
            identity.chain().iter().map(|der| base64::prelude::BASE64_STANDARD.encode(der)).collect();
        assert_eq!(header["x5c"], json!(chain));
        assert_eq!(header.as_object().unwrap().len(), 4);
    }

    #[test]
    fn refuses_a_card_whose_forms_differ() {
        let authority = Authority::new("example.org");
        let card = AgentCard::parse(DIFFERING).unwrap();
        let refused = sign(&card, &authority.identity(ID), &SignOptions::default());
        let Err(SignError::FormsDiffer(agreement)) = refused else { panic!("it was signed") };
        assert!(agreement.differences().iter().any(|d| d.member == "supportedInterfaces"));
    }

    #[test]
    fn signs_each_differing_form() {
        let authority = Authority::new("example.org");
        let card = AgentCard::parse(DIFFERING).unwrap();
        let signed = sign(&card, &authority.identity(ID), &portable()).unwrap();
        let bundles = authority.bundles();
        let options =
            VerifyOptions { accept_uncovered: true, ..VerifyOptions::new(&bundles, SystemTime::now()) };
        let report = verify(&signed, &options);
        let forms: Vec<_> = report.signatures.iter().map(|s| s.canonicalization.unwrap()).collect();
        assert_eq!(forms, Canonicalization::ALL);
        assert_eq!(report.canonicalization, Some(Canonicalization::Raw));
        assert_eq!(
            sign(&AgentCard::parse(AGREEING).unwrap(), &authority.identity(ID), &portable())
                .unwrap()
                .signatures()
                .len(),
            1
        );
    }

    #[test]
    fn signs_both_readings_of_an_older_card() {
        let authority = Authority::new("example.org");
        let card = AgentCard::parse(br#"{"name":"a","url":"https://a.example"}"#).unwrap();
        let only = SignOptions { forms: FormsToSign::One(Canonicalization::Sdk), ..SignOptions::default() };
        assert_eq!(sign(&card, &authority.identity(ID), &only).unwrap().signatures().len(), 2);
    }

    #[rstest]
    #[case(Canonicalization::Raw, Outcome::Valid)]
    #[case(Canonicalization::Presence, Outcome::Valid)]
    #[case(Canonicalization::Sdk, Outcome::Tampered)]
    #[case(Canonicalization::Kagenti, Outcome::Tampered)]
    fn signs_the_wanted_form(#[case] form: Canonicalization, #[case] without_accepting: Outcome) {
        let authority = Authority::new("example.org");
        let card = AgentCard::parse(DIFFERING).unwrap();
        let wanted = SignOptions { forms: FormsToSign::One(form), ..SignOptions::default() };
        let signed = sign(&card, &authority.identity(ID), &wanted).unwrap();
        assert_eq!(outcome(&signed, &authority), without_accepting);
        let bundles = authority.bundles();
        let accepting = VerifyOptions {
            accept_uncovered: true,
            canonicalization: Some(form),
            ..VerifyOptions::new(&bundles, SystemTime::now())
        };
        assert_eq!(verify(&signed, &accepting).outcome, Outcome::Valid);
    }

    #[test]
    fn keeps_or_replaces_signatures() {
        let authority = Authority::new("example.org");
        let (own, other) = (authority.identity(ID), authority.identity("spiffe://example.org/agent/b"));
        let card = AgentCard::parse(AGREEING).unwrap();
        let options = |existing| SignOptions { existing, ..SignOptions::default() };
        let both = sign(&card, &other, &SignOptions::default())
            .and_then(|card| sign(&card, &own, &SignOptions::default()))
            .unwrap();
        let count = |existing| sign(&both, &own, &options(existing)).unwrap().signatures().len();
        assert_eq!(count(ExistingSignatures::Keep), 3);
        assert_eq!(count(ExistingSignatures::ReplaceOwn), 2);
        assert_eq!(count(ExistingSignatures::ReplaceAll), 1);
        let replaced = sign(&both, &own, &options(ExistingSignatures::ReplaceOwn)).unwrap();
        assert_eq!(replaced.signatures()[0], both.signatures()[0]);
    }

    #[test]
    fn refuses_what_not_every_verifier_accepts() {
        let authority = Authority::new("example.org");
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let identity = authority.identity_with(&key, leaf_params(&[ID]));
        let card = AgentCard::parse(AGREEING).unwrap();
        assert!(matches!(sign(&card, &identity, &portable()), Err(SignError::NotPortable(_))));
        assert!(sign(&card, &identity, &SignOptions::default()).is_ok());

        let mut chain = authority.identity(ID).chain().to_vec();
        chain.extend([authority.issuing.clone().into(), authority.root.clone().into()]);
        let key = KeyPair::generate().unwrap();
        chain[0] = authority.leaf(&key, leaf_params(&[ID])).into();
        let key = secplane_identity::PrivateKey::from_pkcs8(key.serialize_der()).unwrap();
        let long = X509Identity::new(chain, key).unwrap();
        assert!(matches!(sign(&card, &long, &portable()), Err(SignError::NotPortable(_))));
        assert!(sign(&card, &long, &SignOptions::default()).is_ok());
    }

    #[test]
    fn refuses_an_algorithm_of_another_key() {
        let authority = Authority::new("example.org");
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let identity = authority.identity_with(&key, leaf_params(&[ID]));
        let card = AgentCard::parse(AGREEING).unwrap();
        let options = SignOptions { algorithm: Some(Algorithm::Es256), ..SignOptions::default() };
        assert_eq!(
            sign(&card, &identity, &options),
            Err(SignError::Key(SigningKeyError::OtherAlgorithm {
                algorithm: Algorithm::Es256,
                key: "EC P-384"
            }))
        );
    }

    #[test]
    fn refuses_what_would_not_be_read_again() {
        let authority = Authority::new("example.org");
        let identity = authority.identity(ID);
        let large = format!("{{\"name\":\"{}\"}}", "a".repeat(MAX_CARD_BYTES - 100));
        let card = AgentCard::parse(large.as_bytes()).unwrap();
        assert!(matches!(sign(&card, &identity, &SignOptions::default()), Err(SignError::TooLarge(_))));

        let mut card = AgentCard::parse(AGREEING).unwrap();
        for _ in 0..MAX_SIGNATURES {
            card = sign(&card, &identity, &SignOptions::default()).unwrap();
        }
        let one_more = sign(&card, &identity, &SignOptions::default());
        assert_eq!(one_more, Err(SignError::TooManySignatures(MAX_SIGNATURES + 1)));
    }
}
