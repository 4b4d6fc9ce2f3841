//! What a verification found, as it is shown: made here, or by the CA.

use secplane_agent_card::{Outcome, Verification};
use secplane_proto::secplane::ca::v1::VerifyAgentCardResponse;
use serde::Serialize;

use crate::{
    failure::{Failure, Kind},
    output::{Instant, Report, facts, rows, shown as shown_instant},
};

/// The result of a verification.
///
/// In JSON, what the CA answers has the members of a verification made here, as far as it answers them.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum CardReport {
    Own(Box<Verification>),
    FromCa(Box<CaVerification>),
}

/// A verification that the CA made.
#[derive(Debug, Serialize)]
pub(super) struct CaVerification {
    outcome: String,
    reason: String,
    agent: Option<String>,
    signer: Option<String>,
    canonicalization: Option<String>,
    at: Option<Instant>,
    signatures: Vec<CaSignature>,
}

#[derive(Debug, Serialize)]
struct CaSignature {
    index: usize,
    outcome: String,
    checks: Vec<CaCheck>,
    canonicalization: Option<String>,
    algorithm: Option<String>,
    key_id: Option<String>,
    uncovered: Vec<String>,
}

#[derive(Debug, Serialize)]
struct CaCheck {
    name: String,
    status: String,
    detail: String,
}

impl From<Verification> for CardReport {
    fn from(verification: Verification) -> Self {
        Self::Own(Box::new(verification))
    }
}

impl From<VerifyAgentCardResponse> for CardReport {
    fn from(answer: VerifyAgentCardResponse) -> Self {
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        let signatures = answer.signatures.into_iter().enumerate().map(|(index, signature)| CaSignature {
            index,
            outcome: signature.outcome,
            checks: signature
                .checks
                .into_iter()
                .map(|check| CaCheck { name: check.name, status: check.status, detail: check.detail })
                .collect(),
            canonicalization: given(signature.canonicalization),
            algorithm: given(signature.algorithm),
            key_id: given(signature.key_id),
            uncovered: signature.uncovered,
        });
        Self::FromCa(Box::new(CaVerification {
            outcome: answer.outcome,
            reason: answer.reason,
            agent: given(answer.agent),
            signer: given(answer.signer),
            canonicalization: given(answer.canonicalization),
            at: Instant::from_unix(answer.at),
            signatures: signatures.collect(),
        }))
    }
}

impl CardReport {
    /// Nothing when the card is valid; otherwise the failure whose exit status says the class.
    pub(super) fn verdict(&self, what: impl Into<String>) -> Result<(), Failure> {
        let (outcome, reason) = match self {
            Self::Own(own) => (own.outcome.as_str(), own.reason.as_str()),
            Self::FromCa(from_ca) => (from_ca.outcome.as_str(), from_ca.reason.as_str()),
        };
        if outcome == Outcome::Valid.as_str() {
            return Ok(());
        }
        Err(Failure::new(kind_of(outcome), what, format_args!("it is {outcome}: {reason}")))
    }
}

/// A class that this version does not know is a failed check all the same.
fn kind_of(outcome: &str) -> Kind {
    match outcome {
        "untrusted" => Kind::CardUntrusted,
        "tampered" => Kind::CardTampered,
        "expired" => Kind::CardExpired,
        "revoked" => Kind::CardRevoked,
        "unsigned" => Kind::CardUnsigned,
        "malformed" => Kind::CardMalformed,
        _ => Kind::CheckFailed,
    }
}

const HEADING: [&str; 3] = ["CHECK", "RESULT", "DETAIL"];

impl Report for CardReport {
    fn table(&self) -> String {
        match self {
            Self::Own(own) => table_of_own(own),
            Self::FromCa(from_ca) => table_of_ca(from_ca),
        }
    }
}

fn table_of_own(verification: &Verification) -> String {
    let shown = |value: Option<String>| value.unwrap_or_default();
    let head = facts([
        ("Result", verification.outcome.to_string()),
        ("Reason", verification.reason.clone()),
        ("Agent", shown(verification.agent.clone())),
        ("Signer", shown(verification.signer.as_ref().map(ToString::to_string))),
        ("Key set", shown(verification.key_set.clone())),
        ("Form", shown(verification.canonicalization.map(|form| form.to_string()))),
        ("As of", Instant::from(verification.at).to_string()),
    ]);
    let signatures = verification.signatures.iter().map(|signature| {
        let lines = signature
            .checks
            .iter()
            .map(|check| [check.name.to_string(), check.status.to_string(), check.detail.clone()]);
        section(signature.index, signature.outcome.as_str(), lines)
    });
    format!("{head}{}", signatures.collect::<String>())
}

fn table_of_ca(verification: &CaVerification) -> String {
    let shown = |value: &Option<String>| value.clone().unwrap_or_default();
    let head = facts([
        ("Result", verification.outcome.clone()),
        ("Reason", verification.reason.clone()),
        ("Agent", shown(&verification.agent)),
        ("Signer", shown(&verification.signer)),
        ("Form", shown(&verification.canonicalization)),
        ("As of", shown_instant(verification.at)),
    ]);
    let signatures = verification.signatures.iter().map(|signature| {
        let lines = signature
            .checks
            .iter()
            .map(|check| [check.name.clone(), check.status.replace('-', " "), check.detail.clone()]);
        section(signature.index, &signature.outcome, lines)
    });
    format!("{head}{}", signatures.collect::<String>())
}

fn section(index: usize, outcome: &str, lines: impl Iterator<Item = [String; 3]>) -> String {
    format!("\n\nSignature {}: {outcome}\n{}", index + 1, rows(HEADING, lines, "no checks were made"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_a_status_for_every_class() {
        let kinds: std::collections::HashSet<_> = [
            Outcome::Expired,
            Outcome::Revoked,
            Outcome::Untrusted,
            Outcome::Tampered,
            Outcome::Malformed,
            Outcome::Unsigned,
        ]
        .map(|outcome| kind_of(outcome.as_str()) as u8)
        .into();
        assert_eq!(kinds.len(), 6);
        assert!(!kinds.contains(&(Kind::CheckFailed as u8)));
    }
}
