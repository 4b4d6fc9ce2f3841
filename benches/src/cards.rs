//! What verifying a card takes, in this process and on one core.

use std::time::{Duration, Instant, SystemTime};

use secplane_agent_card::{AgentCard, Outcome, SignOptions, VerifyOptions, sign, verify_bytes};
use secplane_identity::{TrustBundleSet, X509Identity};
use secplane_tests::authority::Ca;
use serde_json::json;

use crate::{Cli, figures::figure};

/// How large the card is, without its signature.
const CARD_BYTES: usize = 4096;

/// Cards a second that one thread verifies, each from its bytes to the answer.
pub(crate) async fn verify_on_one_core(name: &str, cli: &Cli) {
    let ca = Ca::start().await;
    let holder = ca.admin().mint("/agent", 0).await.unwrap();
    let bundles = TrustBundleSet::from(ca.bundle().await);
    ca.stop().await;
    assert_eq!(holder.chain().len(), 2, "the leaf and its issuing CA");
    let identity = X509Identity::new(holder.chain().to_vec(), holder.key().clone()).unwrap();
    let card = sign(&card(), &identity, &SignOptions::default()).unwrap().to_json().to_string().into_bytes();

    let span = Duration::from_secs(cli.seconds);
    let bytes = card.len();
    let rate = tokio::task::spawn_blocking(move || {
        // Caches and the processor's frequency need a moment.
        rate(&card, &bundles, span / 20);
        rate(&card, &bundles, span)
    });
    let rate = rate.await.unwrap();
    let more = json!({"us_each": (1e7 / rate).round() / 10.0, "card": CARD_BYTES, "signed_card": bytes});
    figure(name, rate.round(), "1/s", more);
}

fn rate(card: &[u8], bundles: &TrustBundleSet, span: Duration) -> f64 {
    let begun = Instant::now();
    let mut verified = 0_u32;
    while begun.elapsed() < span {
        for _ in 0..100 {
            let verification = verify_bytes(card, &VerifyOptions::new(bundles, SystemTime::now()));
            assert_eq!(verification.outcome, Outcome::Valid, "{}", verification.reason);
        }
        verified += 100;
    }
    f64::from(verified) / begun.elapsed().as_secs_f64()
}

/// A card of [`CARD_BYTES`] with a few dozen skills, of which all canonical forms agree.
fn card() -> AgentCard {
    let mut card = json!({
        "name": "Travel Agent", "version": "1.0.0", "description": "",
        "capabilities": {"streaming": true, "pushNotifications": false},
        "defaultInputModes": ["text/plain"], "defaultOutputModes": ["text/plain", "application/json"],
        "skills": (0..16).map(|number| json!({
            "id": format!("skill-{number}"), "name": format!("Skill {number}"),
            "description": "Finds connections, compares them and books the cheapest one.",
            "tags": ["travel", "booking"], "examples": ["From Lisbon to Kyiv on Monday"],
        })).collect::<Vec<_>>(),
    });
    let missing = CARD_BYTES - card.to_string().len();
    card["description"] = "x".repeat(missing).into();
    AgentCard::parse(card.to_string().as_bytes()).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_a_card_of_the_size_that_is_said() {
        assert_eq!(card().unsigned().to_string().len(), CARD_BYTES);
        assert!(card().agreement().is_complete());
    }
}
