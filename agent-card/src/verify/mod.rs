//! Verifying a card: every check is made that can be, and each is told.

mod lines;
#[cfg(test)]
mod properties;
mod report;
mod signer;
#[cfg(test)]
mod tests;

use std::time::SystemTime;

use secplane_identity::{SpiffeId, TrustBundleSet, TrustDomain, x509::Certificate};
use serde_json::Value;

pub use self::report::{Check, CheckName, CheckStatus, Outcome, SignatureReport, Signer, Verification};
use self::{lines::Lines, signer::Chain};
use crate::{
    AgentCard, Canonicalization, CardError, UncoveredMember,
    canonical::{Form, Forms},
    jws::{PublicKey, SignatureEntry, SignatureFault},
};

/// The most members that a line names.
const NAMED_MEMBERS: usize = 8;

/// Against what a card is verified.
#[derive(Clone, Copy)]
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
    /// Says whether a certificate of the chain is revoked; `None` leaves that unchecked, and says so.
    pub revoked: Option<&'a dyn Fn(&Certificate) -> bool>,
}

impl<'a> VerifyOptions<'a> {
    /// Trusts `bundles` as of `at`, expecting nobody in particular, accepting any canonical form that covers the
    /// card, without looking at revocation.
    #[must_use]
    pub fn new(bundles: &'a TrustBundleSet, at: SystemTime) -> Self {
        Self {
            bundles,
            at,
            expected_id: None,
            trust_domain: None,
            canonicalization: None,
            accept_uncovered: false,
            revoked: None,
        }
    }
}

impl std::fmt::Debug for VerifyOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifyOptions")
            .field("at", &self.at)
            .field("expected_id", &self.expected_id)
            .field("trust_domain", &self.trust_domain)
            .field("canonicalization", &self.canonicalization)
            .field("accept_uncovered", &self.accept_uncovered)
            .field("checks_revocation", &self.revoked.is_some())
            .finish_non_exhaustive()
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
        reason: error.to_string(),
        agent: None,
        signer: None,
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
                verification.canonicalization = report.canonicalization;
                verification.covered = form.map(|form| form.signed(card).clone());
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
    report.key_id = header.key_id;
    report.key_set_url = header.key_set_url;

    let chain = match Chain::read(header.chain) {
        Ok(Some(chain)) => chain,
        Ok(None) => {
            let why = "the signature carries no certificates (`x5c`), so nothing says whose it is";
            lines.failed(CheckName::Certificates, Outcome::Untrusted, why);
            return None;
        }
        Err(error) => {
            lines.failed(CheckName::Certificates, Outcome::Malformed, error.to_string());
            return None;
        }
    };
    lines.ok(CheckName::Certificates, format!("{} certificates", chain.len()));
    report.signer = Some(Signer::of(chain.leaf()));

    signer::check_leaf(lines, chain.leaf());
    signer::check_expectations(lines, chain.leaf(), options);
    signer::check_chain(lines, &chain, options);
    signer::check_revocation(lines, &chain, options);

    let key = match PublicKey::from_spki(&chain.leaf().public_key_info) {
        Ok(key) => key,
        Err(error) => {
            lines.failed(CheckName::Algorithm, Outcome::Untrusted, error.to_string());
            return None;
        }
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
    report.uncovered = form.uncovered(card);
    check_coverage(lines, &report.uncovered, form.canonicalization(), options.accept_uncovered);
    Some(form)
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

fn check_coverage(
    lines: &mut Lines,
    uncovered: &[UncoveredMember],
    form: Canonicalization,
    accept_uncovered: bool,
) {
    let with_content: Vec<_> = uncovered.iter().filter(|member| !member.is_empty).collect();
    if with_content.is_empty() {
        let detail = match uncovered.len() {
            0 => "every member".to_owned(),
            count => format!("every member but {count} that are empty"),
        };
        lines.ok(CheckName::Coverage, detail);
        return;
    }
    let mut names: Vec<_> =
        with_content.iter().take(NAMED_MEMBERS).map(|member| member.member.as_str()).collect();
    if with_content.len() > NAMED_MEMBERS {
        names.push("…");
    }
    let why = format!("the {form} form does not cover {}: anyone could have put that in", names.join(", "));
    if accept_uncovered {
        lines.not_checked(CheckName::Coverage, why);
    } else {
        lines.failed(CheckName::Coverage, Outcome::Tampered, why);
    }
}
