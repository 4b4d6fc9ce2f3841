//! Verifying a card: every check is made that can be, and each is told.

mod lines;
#[cfg(test)]
mod properties;
mod report;
mod revocation;
mod signer;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_knowledge;

use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use secplane_identity::{SpiffeId, TrustBundleSet, TrustDomain};
use serde_json::Value;

use self::{
    lines::{Lines, MAX_DETAIL},
    signer::Chain,
};
pub use self::{
    report::{Check, CheckName, CheckStatus, Outcome, SignatureReport, Signer, Verification},
    revocation::KnownRevocations,
};
use crate::{
    AgentCard, Canonicalization, CardError, KeySets,
    canonical::{Form, Forms, Missing, cut},
    jws::{ProtectedHeader, PublicKey, SignatureEntry, SignatureFault, shown},
};

/// The most uncovered members that the report of a signature names.
pub const MAX_UNCOVERED: usize = 100;
/// The most members that a line names.
const NAMED_MEMBERS: usize = 8;

/// Against what a card is verified.
#[derive(Debug, Clone, Copy)]
pub struct VerifyOptions<'a> {
    /// Whom to trust. A signer is verified against the bundle of the trust domain that its leaf names, and no other.
    pub bundles: &'a TrustBundleSet,
    /// As of when.
    pub at: SystemTime,
    /// Who must have signed; `None` accepts anyone of a trusted domain.
    pub expected_id: Option<&'a SpiffeId>,
    /// Whose workload must have signed; `None` accepts any trusted domain.
    pub trust_domain: Option<&'a TrustDomain>,
    /// The only canonical form that is tried; `None` tries all, in the order of [`Canonicalization::ALL`].
    pub canonicalization: Option<Canonicalization>,
    /// Whether a signature is enough that does not cover every member of the card.
    ///
    /// The `sdk` and `kagenti` forms leave out members that their verifiers do not know. Whoever serves the card can
    /// change or add those freely, so by default such a card counts as tampered. When this is set, they are named
    /// and [`Verification::covered_card`] is what may be believed.
    pub accept_uncovered: bool,
    /// What is known of revoked certificates.
    pub revocations: KnownRevocations<'a>,
    /// Keys that may sign without a certificate; `None` trusts no such key.
    pub key_sets: Option<&'a KeySets>,
}

impl<'a> VerifyOptions<'a> {
    /// Trusts `bundles` as of `at`, expecting nobody in particular, accepting any canonical form that covers the
    /// card, without looking at revocation, from signers with certificates only.
    #[must_use]
    pub fn new(bundles: &'a TrustBundleSet, at: SystemTime) -> Self {
        Self {
            bundles,
            at,
            expected_id: None,
            trust_domain: None,
            canonicalization: None,
            accept_uncovered: false,
            revocations: KnownRevocations::Nothing("no revocation list was given"),
            key_sets: None,
        }
    }
}

/// Reads and verifies a card. Bytes that are not a card are [`Outcome::Malformed`].
///
/// ```
/// use std::time::SystemTime;
/// use secplane_agent_card::{Outcome, VerifyOptions, verify_bytes};
/// use secplane_identity::TrustBundleSet;
///
/// let nobody = TrustBundleSet::default();
/// let options = VerifyOptions::new(&nobody, SystemTime::now());
/// assert_eq!(verify_bytes(b"{\"name\":\"a\",\"name\":\"b\"}", &options).outcome, Outcome::Malformed);
/// assert_eq!(verify_bytes(b"{\"name\":\"a\"}", &options).outcome, Outcome::Unsigned);
/// ```
#[must_use]
pub fn verify_bytes(bytes: &[u8], options: &VerifyOptions<'_>) -> Verification {
    match AgentCard::parse(bytes) {
        Ok(card) => verify(&card, options),
        Err(error) => unreadable(&error, options.at),
    }
}

fn unreadable(error: &CardError, at: SystemTime) -> Verification {
    Verification {
        outcome: Outcome::Malformed,
        reason: cut(&error.to_string(), MAX_DETAIL),
        agent: None,
        signer: None,
        key_set: None,
        canonicalization: None,
        at,
        signatures: Vec::new(),
        covered: None,
    }
}

/// Verifies every signature of a card. The card is valid when one of them is; otherwise its class is that of the
/// signature that got furthest.
///
/// ```
/// # mod pki { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/testing.rs")); }
/// use std::time::SystemTime;
/// use secplane_agent_card::{AgentCard, Outcome, SignOptions, VerifyOptions, sign, verify};
/// use secplane_identity::SpiffeId;
///
/// # let authority = pki::Authority::new("example.org");
/// # let identity = authority.identity("spiffe://example.org/agent/recipes");
/// # let bundles = authority.bundles();
/// let card = AgentCard::parse(br#"{"name":"Recipe Agent","version":"1.0.0"}"#)?;
/// let signed = sign(&card, &identity, &SignOptions::default())?;
///
/// let expected = SpiffeId::parse("spiffe://example.org/agent/recipes")?;
/// let options = VerifyOptions {
///     expected_id: Some(&expected),
///     ..VerifyOptions::new(&bundles, SystemTime::now())
/// };
/// let verification = verify(&signed, &options);
/// assert_eq!(verification.outcome, Outcome::Valid);
/// for check in &verification.signatures[0].checks {
///     println!("{:<13} {:<12} {}", check.name, check.status, check.detail);
/// }
///
/// let other = SpiffeId::parse("spiffe://example.org/agent/other")?;
/// let options = VerifyOptions { expected_id: Some(&other), ..options };
/// assert_eq!(verify(&signed, &options).outcome, Outcome::Untrusted);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn verify(card: &AgentCard, options: &VerifyOptions<'_>) -> Verification {
    let forms = Forms::of(card);
    let mut verification = Verification {
        outcome: Outcome::Unsigned,
        reason: "the card has no signature".to_owned(),
        agent: card.name().map(str::to_owned),
        signer: None,
        key_set: None,
        canonicalization: None,
        at: options.at,
        signatures: Vec::new(),
        covered: None,
    };
    for (index, entry) in card.signatures().iter().enumerate() {
        let (report, form) = verify_entry(index, entry, card, &forms, options);
        if report.outcome.distance_from_valid() < verification.outcome.distance_from_valid() {
            verification.outcome = report.outcome;
            verification.reason = reason(&report);
            if report.outcome == Outcome::Valid {
                verification.signer = report.signer.as_ref().and_then(|signer| signer.spiffe_id.clone());
                verification.key_set.clone_from(&report.key_set);
                verification.canonicalization = report.canonicalization;
                verification.covered = form.map(|form| form.signed(card));
            }
        }
        verification.signatures.push(report);
    }
    verification
}

fn reason(report: &SignatureReport) -> String {
    match report.checks.iter().find(|check| check.status == CheckStatus::Failed) {
        Some(failed) => failed.detail.clone(),
        None => "the signature is right and its signer trusted".to_owned(),
    }
}

/// Makes the checks of one entry, as far as the earlier ones leave something to check.
fn verify_entry<'f>(
    index: usize,
    entry: &Value,
    card: &AgentCard,
    forms: &'f Forms<'_>,
    options: &VerifyOptions<'_>,
) -> (SignatureReport, Option<&'f Form>) {
    let mut report = SignatureReport {
        index,
        outcome: Outcome::Malformed,
        checks: Vec::new(),
        canonicalization: None,
        algorithm: None,
        key_id: None,
        key_set_url: None,
        key_set: None,
        signer: None,
        uncovered: Vec::new(),
    };
    let mut lines = Lines::default();
    let matched = make_checks(&mut lines, &mut report, entry, card, forms, options);
    (report.checks, report.outcome) = lines.finish();
    (report, matched)
}

fn make_checks<'f>(
    lines: &mut Lines,
    report: &mut SignatureReport,
    entry: &Value,
    card: &AgentCard,
    forms: &'f Forms<'_>,
    options: &VerifyOptions<'_>,
) -> Option<&'f Form> {
    let read = SignatureEntry::read(entry).and_then(|entry| Ok((entry.header()?, entry)));
    let (header, entry) = match read {
        Ok(read) => read,
        Err(error) => {
            lines.failed(CheckName::Format, Outcome::Malformed, error.to_string());
            return None;
        }
    };
    lines.ok(CheckName::Format, format!("a detached JWS, {}", header.algorithm));
    report.algorithm = Some(header.algorithm);
    report.key_id = header.key_id.as_deref().map(shown);
    report.key_set_url.clone_from(&header.key_set_url);

    let key = if header.chain.is_empty() {
        check_key_set(lines, report, &header, options)?
    } else {
        check_certificates(lines, report, &header.chain, options)?
    };
    if !key.kind().fits(header.algorithm) {
        let fault = SignatureFault::OtherAlgorithm { algorithm: header.algorithm, key: key.kind().as_str() };
        lines.failed(CheckName::Algorithm, Outcome::Tampered, fault.to_string());
        return None;
    }
    lines.ok(CheckName::Algorithm, format!("{} with an {} key", header.algorithm, key.kind().as_str()));

    let check =
        |form: &Form| key.verify(header.algorithm, &form.signing_input(&entry.protected), &entry.signature);
    let form = match matching_form(forms, options.canonicalization, check) {
        Ok(form) => form,
        Err(why) => {
            lines.failed(CheckName::Signature, Outcome::Tampered, why);
            return None;
        }
    };
    lines.ok(CheckName::Signature, format!("right over the {} form", form.canonicalization()));
    report.canonicalization = Some(form.canonicalization());
    let uncovered = form.uncovered(card, MAX_UNCOVERED);
    check_coverage(lines, &uncovered, form.canonicalization(), options.accept_uncovered);
    report.uncovered = uncovered.members;
    Some(form)
}

/// Makes the checks of the signer's certificates; answers the leaf's key.
fn check_certificates(
    lines: &mut Lines,
    report: &mut SignatureReport,
    chain: &[CertificateDer<'_>],
    options: &VerifyOptions<'_>,
) -> Option<PublicKey> {
    let chain = match Chain::read(chain) {
        Ok(chain) => chain?,
        Err(error) => {
            lines.failed(CheckName::Certificates, Outcome::Malformed, error.to_string());
            return None;
        }
    };
    lines.ok(CheckName::Certificates, format!("{} certificates", chain.len()));
    lines.not_checked(CheckName::KeySet, "the signature carries its certificates");
    report.signer = Some(Signer::of(chain.leaf(), chain.id()));

    signer::check_leaf(lines, &chain);
    signer::check_expectations(lines, &chain, options);
    signer::check_chain(lines, &chain, options);
    revocation::check_revocation(lines, &chain, options);

    match PublicKey::from_spki(&chain.leaf().public_key_info) {
        Ok(key) => Some(key),
        Err(error) => {
            lines.failed(CheckName::Algorithm, Outcome::Untrusted, error.to_string());
            None
        }
    }
}

/// Finds the key of a signature without certificates. Nothing says whose it is, so whoever expects somebody in
/// particular is not satisfied by it.
fn check_key_set(
    lines: &mut Lines,
    report: &mut SignatureReport,
    header: &ProtectedHeader,
    options: &VerifyOptions<'_>,
) -> Option<PublicKey> {
    lines.not_checked(CheckName::Certificates, "the signature carries none (`x5c`)");
    let none = KeySets::default();
    let found = options.key_sets.unwrap_or(&none).key(
        header.key_id.as_deref(),
        header.key_set_url.as_deref(),
        header.algorithm,
    );
    let (key, source) = match found {
        Ok(found) => found,
        Err(why) => {
            lines.failed(CheckName::KeySet, Outcome::Untrusted, why);
            return None;
        }
    };
    lines.ok(CheckName::KeySet, source.to_string());
    report.key_set = Some(source.to_string());
    let says_nothing = "a key set says nothing of that";
    for name in [
        CheckName::SpiffeId,
        CheckName::KeyUsage,
        CheckName::Chain,
        CheckName::Revocation,
        CheckName::Validity,
    ] {
        lines.not_checked(name, says_nothing);
    }
    let expectations = [
        (CheckName::TrustDomain, options.trust_domain.map(ToString::to_string)),
        (CheckName::ExpectedId, options.expected_id.map(ToString::to_string)),
    ];
    for (name, expected) in expectations {
        match expected {
            None => lines.not_checked(name, says_nothing),
            Some(expected) => {
                let why = format!("a key set cannot say that the signer is of {expected}");
                lines.failed(name, Outcome::Untrusted, why);
            }
        }
    }
    Some(key.clone())
}

/// The first form that the signature is right for, or why there is none.
fn matching_form<'f>(
    forms: &'f Forms<'_>,
    pinned: Option<Canonicalization>,
    check: impl Fn(&Form) -> Result<(), SignatureFault>,
) -> Result<&'f Form, String> {
    let candidates = match &pinned {
        Some(pinned) => std::slice::from_ref(pinned),
        None => &Canonicalization::ALL,
    };
    let mut tried: Vec<&[u8]> = Vec::new();
    let mut unavailable = String::new();
    for canonicalization in candidates {
        let readings = match forms.readings(*canonicalization) {
            Ok(readings) => readings,
            Err(error) => {
                unavailable.push_str(&format!("; there is no {canonicalization} form: {error}"));
                continue;
            }
        };
        for form in readings {
            if tried.contains(&form.payload()) {
                continue;
            }
            match check(form) {
                Ok(()) => return Ok(form),
                Err(SignatureFault::Wrong) => tried.push(form.payload()),
                // Nothing about the form can mend these.
                Err(fault) => return Err(fault.to_string()),
            }
        }
    }
    let names: Vec<_> = candidates.iter().map(|form| form.as_str()).collect();
    Err(format!(
        "the signature does not match the card in any of the forms tried ({}){unavailable}",
        names.join(", ")
    ))
}

fn check_coverage(lines: &mut Lines, uncovered: &Missing, form: Canonicalization, accept_uncovered: bool) {
    if uncovered.with_content == 0 {
        let detail = match uncovered.empty {
            0 => "every member".to_owned(),
            count => format!("every member but {count} that are empty"),
        };
        lines.ok(CheckName::Coverage, detail);
        return;
    }
    let with_content = uncovered.members.iter().filter(|member| !member.is_empty);
    let mut names: Vec<_> = with_content.take(NAMED_MEMBERS).map(|member| member.member.as_str()).collect();
    if uncovered.with_content > NAMED_MEMBERS {
        names.push("…");
    }
    let why = format!("the {form} form does not cover {}: anyone could have put that in", names.join(", "));
    if accept_uncovered {
        lines.not_checked(CheckName::Coverage, why);
    } else {
        lines.failed(CheckName::Coverage, Outcome::Tampered, why);
    }
}
