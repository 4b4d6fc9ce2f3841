//! Modules that deny: what stands for a tier that is broken, and for decision points that nobody defines.

use std::collections::BTreeSet;

use secplane_rego::{Module, syntax::RuleKind};

use super::confine::DECISION_POINTS;
use crate::{shorten::cut, tiers::TierKind};

/// The longest reason, in bytes. It stands in each of a tier's modules, and names in it are as long as their authors made
/// them; but whatever else is in a bundle, there is place for tiers that deny.
const MAX_REASON_BYTES: usize = 1024;

/// A module of our own making: its path in the tier's folder, and its text.
pub(crate) struct Made {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Why a tier denies, in so few bytes that every bundle has place for it.
#[derive(Debug, Clone)]
pub(crate) struct Reason(String);

impl Reason {
    pub(crate) fn new(text: &str) -> Self {
        let mut text = text.to_owned();
        cut(&mut text, MAX_REASON_BYTES);
        Self(text)
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

/// The modules of a tier that denies everything and says why. `deny` stands as well: a tier that consults others
/// may let an `override` pass over an `allow`, but not over that.
pub(crate) fn tier(kind: TierKind, reason: &Reason) -> [Made; DECISION_POINTS.len()] {
    let reason = literal(&reason.0);
    DECISION_POINTS.map(|point| Made {
        path: format!("denied/{}.rego", point.join("/")),
        text: format!(
            "package {}.{}\n\nallow := false\n\nreason := {reason}\n\ndeny contains reason\n",
            kind.root().join("."),
            point.join("."),
        ),
    })
}

/// The modules that make every decision point of the global tier defined, whatever the input is.
pub(crate) fn completion(modules: &[&Module]) -> Vec<Made> {
    DECISION_POINTS.iter().filter_map(|point| complete(point, modules)).collect()
}

fn complete(point: &[&str; 2], modules: &[&Module]) -> Option<Made> {
    let package = format!("{}.{}", TierKind::Global.root().join("."), point.join("."));
    let path = format!("completed/{}.rego", point.join("/"));
    let wanted: Vec<&str> = package.split('.').chain(["allow"]).collect();
    let mut kinds = BTreeSet::new();
    let mut with_default = false;
    let mut reason = false;
    for module in modules {
        for rule in module.rules().iter().filter(|rule| !rule.is_else) {
            let full = module.rule_path(rule);
            let names: Vec<&str> = full.iter().copied().map_while(|step| step).collect();
            reason |= names.split_last().is_some_and(|(last, package)| {
                *last == "reason" && Some(package) == wanted.split_last().map(|(_, rest)| rest)
            });
            if names.starts_with(&wanted) {
                kinds.insert(module.rule_kind(rule) == RuleKind::Value && full.len() == wanted.len());
                with_default |= rule.is_default;
            }
        }
    }
    let text = match (kinds.is_empty(), with_default) {
        (true, _) if reason => format!("package {package}\n\ndefault allow := false\n"),
        (true, _) => format!(
            "package {package}\n\ndefault allow := false\n\nreason := {}\n",
            literal("no global policy decides this, so it is denied")
        ),
        (false, false) if !kinds.contains(&false) => format!("package {package}\n\ndefault allow := false\n"),
        (false, _) => return None,
    };
    Some(Made { path, text })
}

/// A text as a Rego string: every JSON string is one, but a byte order mark may stand in no module.
fn literal(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{feff}', "\\ufeff")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rstest::rstest;
    use secplane_rego::{Gate, evaluate};
    use serde_json::json;

    use super::*;

    fn parse(text: &str) -> Arc<Module> {
        Gate::default().parse(text, text.as_bytes()).unwrap()
    }

    #[rstest]
    #[case(TierKind::Global)]
    #[case(TierKind::Namespace)]
    #[case(TierKind::Client)]
    fn a_denied_tier_denies_and_says_why(#[case] kind: TierKind) {
        let told = "broken \"x\"\n\u{2028}\u{feff}";
        let made: Vec<_> = tier(kind, &Reason::new(told)).iter().map(|made| parse(&made.text)).collect();
        assert_eq!(Gate::default().check(&made), []);
        for point in DECISION_POINTS {
            let package = format!("data.{}.{}", kind.root().join("."), point.join("."));
            let decide = |rule: &str| {
                evaluate(&made, &json!({}), &format!("{package}.{rule}"), &json!({})).unwrap().unwrap()
            };
            assert_eq!(decide("allow"), json!(false));
            assert_eq!(decide("reason"), json!(told));
            assert_eq!(decide("deny"), json!([told]));
        }
    }

    #[rstest]
    #[case::nothing("package authbridge.other", 4)]
    #[case::without_default("package authbridge.inbound.request\nallow if input.x", 4)]
    #[case::with_default("package authbridge.inbound.request\ndefault allow := false", 3)]
    #[case::by_a_long_name("package authbridge\ninbound.request.allow := true", 4)]
    #[case::an_object_by_parts("package authbridge.inbound.request\nallow.allow := true", 3)]
    #[case::a_reason_alone("package authbridge.inbound.request\nreason := \"x\"", 4)]
    fn completes_what_is_missing(#[case] text: &str, #[case] made: usize) {
        let policy = parse(text);
        let mut all: Vec<_> = completion(&[&policy]).iter().map(|made| parse(&made.text)).collect();
        assert_eq!(all.len(), made);
        all.push(policy);
        assert_eq!(Gate::default().check(&all), []);
        for point in DECISION_POINTS {
            let decision = format!("data.authbridge.{}.allow", point.join("."));
            assert!(evaluate(&all, &json!({}), &decision, &json!({})).unwrap().is_some(), "{decision}");
        }
    }
}
