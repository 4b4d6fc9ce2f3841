//! Sign and verify A2A AgentCards.
//!
//! An AgentCard is the JSON document with which an A2A agent describes itself. It may carry signatures: detached
//! JWS (RFC 7515) over its canonical form, here made with the agent's X.509-SVID, whose chain travels in the header
//! (`x5c`). Who holds the trust bundle of the agent's trust domain can verify the card wherever it came from.
//!
//! | to | use |
//! |---|---|
//! | read a card | [`AgentCard::parse`] |
//! | sign one | [`sign()`] with [`SignOptions`] |
//! | verify one | [`verify()`] or [`verify_bytes`] with [`VerifyOptions`]; the answer is a [`Verification`] |
//! | learn whether verifiers agree about a card | [`AgentCard::agreement`] |
//! | hold a card against the A2A 1.0 schema | [`AgentCard::lint`] |
//! | see the bytes that are signed | [`AgentCard::canonical`] |
//!
//! Nothing here does I/O, and nothing is fetched: the caller brings the card, the trust bundles and the time.
//!
//! # One card, four canonical forms
//!
//! The payload of a signature is the card without `signatures`, canonicalized, but implementations disagree about
//! which members count as present. [`Canonicalization`] has the four forms that are in use. A verifier here tries
//! all of them and says which one matched. A signer here refuses a card of which they differ, and names the members
//! that make them differ; or it signs each differing form in an entry of its own ([`FormsToSign::Portable`]), so
//! that every verifier finds one that it accepts.
//!
//! # What a signature does not cover
//!
//! Two of the forms leave out members that their verifiers do not know. A card that agreed in all forms when it was
//! signed can be given such a member later, and the signature still matches in a weaker form. So a signature that
//! does not cover every member that says something counts as [`Outcome::Tampered`], unless
//! [`VerifyOptions::accept_uncovered`] is set; then [`Verification::covered_card`] is what may be believed.
//!
//! # Result classes
//!
//! Each signature is checked line by line ([`CheckName`]), and its class is that of the first line that failed:
//!
//! | class | means |
//! |---|---|
//! | `valid` | right, covering, and from a trusted signer in date |
//! | `expired` | all is right but the date; never valid, and verified `at` the caller's instant |
//! | `revoked` | right, but a certificate of the chain is revoked |
//! | `untrusted` | not from a signer that is trusted or expected here |
//! | `tampered` | the signature is not right for the card, or does not cover it |
//! | `malformed` | not a card, or not a signature, that can be verified |
//! | `unsigned` | no signature at all |
//!
//! # What is refused when reading
//!
//! More than [`MAX_CARD_BYTES`], nesting beyond [`MAX_DEPTH`], more than [`MAX_SIGNATURES`], a member that appears
//! twice in one object (readers disagree about which one counts), and integers that a double does not hold (JCS
//! would sign another number).
//!
//! What is answered is bounded as well, whatever the card: the members that a report names, and the length of each
//! text in it.

mod agreement;
mod canonical;
mod card;
mod json;
mod jws;
mod key_set;
mod lint;
mod sign;
#[cfg(test)]
mod testing;
mod verify;

pub use self::{
    agreement::{Agreement, Change, Difference, MAX_DIFFERENCES},
    canonical::{Canonicalization, FormError, UncoveredMember, UnknownCanonicalization},
    card::{AgentCard, CardError, MAX_CARD_BYTES, MAX_SIGNATURES},
    json::{JsonError, MAX_DEPTH},
    jws::{Algorithm, KeyError, SigningKeyError, UnknownAlgorithm},
    key_set::{KeySet, KeySetError, KeySets, MAX_KEY_SET_BYTES, MAX_KEYS},
    lint::{Finding, MAX_FINDINGS, Rule, Severity},
    sign::{ExistingSignatures, FormsToSign, SignError, SignOptions, sign},
    verify::{
        Check, CheckName, CheckStatus, KnownRevocations, MAX_UNCOVERED, Outcome, SignatureReport, Signer,
        Verification, VerifyOptions, verify, verify_bytes,
    },
};
