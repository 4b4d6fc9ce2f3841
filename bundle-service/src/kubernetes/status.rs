//! What became of a resource, as its status tells it: two conditions, and a third when something deserves a look.
//!
//! | condition | `True` | `False` |
//! |---|---|---|
//! | `Accepted` | this version passed every check | it did not; the message names file, line and reason |
//! | `Published` | it is in the bundles that it applies to | they hold another version of it, or deny, or do without |
//! | `Warning` | it takes effect, and its author should look at it | (left out) |

use std::{collections::BTreeMap, fmt::Write as _};

use aws_lc_rs::digest::{SHA256, digest};
use k8s_openapi::jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    compile::{Standing, Verdict},
    policy_tests::TestSummary,
    refusal::Refusal,
    shorten::cut,
    tiers::TierKey,
};

/// The longest message of a condition, a little less than the definition allows: kubectl shows what is left out nowhere.
const MAX_MESSAGE_BYTES: usize = 32_000;
/// The longest words of one refusal, the first of which are a column of `kubectl get`.
const MAX_WORDS_BYTES: usize = 4096;
/// The longest line of a policy that a message shows.
const MAX_SOURCE_CHARS: usize = 200;

pub(super) const ACCEPTED: &str = "Accepted";
pub(super) const PUBLISHED: &str = "Published";
const WARNING: &str = "Warning";
const TRUE: &str = "True";
const FALSE: &str = "False";

/// What became of an AuthorizationPolicy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizationPolicyStatus {
    /// The hash of the tier that the resource is in, as it was published last: what all resources of the same scope
    /// and the same owner hold together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle_hash: Option<String>,
    /// When the tier with that hash was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub last_built: Option<String>,
    /// `Accepted`: whether this version passed every check. `Published`: whether it is in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// One aspect of the status, in the form that every Kubernetes resource has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Condition {
    /// The aspect.
    #[serde(rename = "type")]
    #[schemars(length(max = 316))]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    #[schemars(extend("enum" = ["True", "False", "Unknown"]))]
    pub status: String,
    /// The `metadata.generation` that it speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// When `status` changed last.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// Why, as one word.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
    /// Why, in words.
    #[schemars(length(max = 32768))]
    pub message: String,
}

/// What tells statuses apart, times left out: those are kept when nothing else changes.
pub(super) type Fingerprint = [u8; 32];

impl AuthorizationPolicyStatus {
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let own = |condition: &&Condition| [ACCEPTED, PUBLISHED, WARNING].contains(&condition.kind.as_str());
        let conditions: BTreeMap<&str, _> = self
            .conditions
            .iter()
            .filter(own)
            .map(|c| (c.kind.as_str(), (&c.status, c.observed_generation, &c.reason, &c.message)))
            .collect();
        let text = serde_json::to_vec(&(&self.bundle_hash, conditions)).unwrap_or_default();
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, &text).as_ref());
        fingerprint
    }

    pub(super) fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }

    /// The status with the times of the one before where nothing changed, and `now` elsewhere.
    pub(super) fn timed(mut self, before: &Self, now: &str) -> Self {
        self.last_built = self.bundle_hash.as_ref().map(|hash| {
            let kept = before.last_built.as_ref().filter(|_| before.bundle_hash.as_ref() == Some(hash));
            kept.cloned().unwrap_or_else(|| now.to_owned())
        });
        for condition in &mut self.conditions {
            let same = before.condition(&condition.kind).filter(|old| old.status == condition.status);
            let since = same.map_or(now, |old| old.last_transition_time.as_str());
            since.clone_into(&mut condition.last_transition_time);
        }
        self
    }
}

/// This moment as a status writes it.
pub(super) fn now() -> String {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

/// The status of a resource by its verdict, without times.
pub(super) fn of_verdict(generation: i64, verdict: &Verdict) -> AuthorizationPolicyStatus {
    let condition = |kind: &str, status: bool, reason: &str, message: String| {
        new_condition(generation, kind, status, reason, message)
    };
    let accepted = match verdict.refusals.first() {
        None => condition(ACCEPTED, true, ACCEPTED, passed(verdict.tests)),
        Some(first) => condition(ACCEPTED, false, &reason(&first.code), describe(&verdict.refusals)),
    };
    let (published, reason_published, message) = published(&verdict.standing);
    let published = condition(PUBLISHED, published, reason_published, message);
    let warning = verdict
        .warnings
        .first()
        .map(|first| condition(WARNING, true, &reason(&first.code), describe(&verdict.warnings)));
    AuthorizationPolicyStatus {
        bundle_hash: hash_of(&verdict.standing),
        last_built: None,
        conditions: [accepted, published].into_iter().chain(warning).collect(),
    }
}

fn passed(tests: Option<TestSummary>) -> String {
    match tests {
        None => "this version passed every check".to_owned(),
        Some(TestSummary { passed, covered_percent }) => format!(
            "this version passed every check and the tests of its tier ({passed}, through {covered_percent} % of its lines)"
        ),
    }
}

/// The status of a resource that another one of its name takes precedence over.
pub(super) fn of_passed_over(generation: i64, why: &str) -> AuthorizationPolicyStatus {
    let condition = |kind: &str| new_condition(generation, kind, false, "Duplicate", why.to_owned());
    AuthorizationPolicyStatus {
        bundle_hash: None,
        last_built: None,
        conditions: vec![condition(ACCEPTED), condition(PUBLISHED)],
    }
}

fn new_condition(generation: i64, kind: &str, status: bool, reason: &str, message: String) -> Condition {
    Condition {
        kind: kind.to_owned(),
        status: if status { TRUE } else { FALSE }.to_owned(),
        observed_generation: Some(generation),
        last_transition_time: String::new(),
        reason: reason.to_owned(),
        message,
    }
}

fn hash_of(standing: &Standing) -> Option<String> {
    match standing {
        Standing::Newest { hash, .. }
        | Standing::Earlier { hash, .. }
        | Standing::RolledBack { hash, .. }
        | Standing::Denied { hash, .. } => Some(hex::encode(hash)),
        Standing::LeftOut { .. } | Standing::Nothing => None,
    }
}

fn published(standing: &Standing) -> (bool, &'static str, String) {
    match standing {
        Standing::Newest { tier, .. } => {
            (true, PUBLISHED, format!("this version is in the bundle of {}", whom(tier)))
        }
        Standing::Earlier { tier, .. } => (
            false,
            "LastGoodVersion",
            format!(
                "the last good version stays in the bundle of {} until this one is corrected",
                whom(tier)
            ),
        ),
        Standing::RolledBack { tier, to, by, .. } => (
            false,
            "RolledBack",
            format!(
                "version {to:.12} is in the bundle of {} instead of this one, rolled back by {}; {UNTIL}",
                whom(tier),
                one_line(by)
            ),
        ),
        Standing::LeftOut { by } => (
            false,
            "LeftOut",
            format!("nothing of it is in any bundle, left out by {}; {UNTIL}", one_line(by)),
        ),
        Standing::Denied { tier, reason, .. } => {
            (false, "Denied", format!("everything is denied in the bundle of {}: {reason}", whom(tier)))
        }
        Standing::Nothing => (false, "NotPublished", "no version of it is in any bundle".to_owned()),
    }
}

/// When an administrator's choice ends.
const UNTIL: &str = "it stays so until it is released with `secctl bundle release` or changed";

fn whom(tier: &TierKey) -> String {
    match tier {
        TierKey::Global => "every identity".to_owned(),
        TierKey::Namespace(namespace) => format!("every identity of the namespace {namespace}"),
        TierKey::Client(workload) => format!(
            "the service account {} in the namespace {}",
            workload.service_account, workload.namespace
        ),
    }
}

/// A code as the reason of a condition, which is one word in camel case: `rego_type_error` is `RegoTypeError`.
fn reason(code: &str) -> String {
    let words = code.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let capitalized = words.map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_ascii_uppercase() + rest
    });
    let reason: String = capitalized.collect();
    if reason.starts_with(|c: char| c.is_ascii_alphabetic()) { reason } else { "Refused".to_owned() }
}

/// Refusals as a text, the first on the first line: that is all of it that `kubectl get` shows.
pub(super) fn describe(refusals: &[Refusal]) -> String {
    let mut text = String::new();
    for (number, refusal) in refusals.iter().enumerate() {
        let next = describe_one(refusal);
        if !text.is_empty() && text.len() + next.len() > MAX_MESSAGE_BYTES {
            let _ = write!(text, "\nand {} more", refusals.len() - number);
            return text;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&next);
    }
    cut(&mut text, MAX_MESSAGE_BYTES);
    text
}

/// A refusal without the resource that it is of, which the reader has before them.
fn describe_one(refusal: &Refusal) -> String {
    let own = Refusal { file: None, resource: None, ..refusal.clone() };
    // Nothing but the line breaks made here breaks a line.
    let mut text = one_line(&own.to_string());
    cut(&mut text, MAX_WORDS_BYTES);
    let source = refusal.source_line.trim_end();
    if !source.trim().is_empty() {
        let shown: String = source.chars().take(MAX_SOURCE_CHARS).filter(|c| !c.is_control()).collect();
        let _ = write!(text, "\n  {:>4} | {shown}", refusal.line);
    }
    text
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::{digest::Digest, policy::ResourceKey};

    fn refusal(line: u32, message: &str) -> Refusal {
        let key = ResourceKey::new("team-a", "agent");
        let refusal = Refusal::new("rego_parse_error", message).of(&key).in_module("inbound/request.rego");
        Refusal {
            line,
            column: 7,
            file: Some("authorizationpolicies.agent.kagenti.dev".to_owned()),
            source_line: "allow if {".to_owned(),
            ..refusal
        }
    }

    fn verdict(refusals: Vec<Refusal>, standing: Standing) -> Verdict {
        let file = "kubernetes:authorizationpolicies.agent.kagenti.dev".into();
        Verdict { file, generation: Some(3), refusals, warnings: Vec::new(), standing, tests: None }
    }

    fn in_force(hash: u8) -> Standing {
        Standing::Newest { tier: TierKey::Namespace("team-a".to_owned()), hash: [hash; 32] }
    }

    fn rolled_back(by: &str) -> Standing {
        let tier = TierKey::Namespace("team-a".to_owned());
        Standing::RolledBack { tier, hash: [1; 32], to: Digest::of(&[b"earlier"]), by: by.to_owned() }
    }

    fn said(status: &AuthorizationPolicyStatus, kind: &str) -> (String, String, String) {
        let Condition { status, reason, message, .. } = status.condition(kind).unwrap().clone();
        (status, reason, message)
    }

    #[test]
    fn a_refusal_names_file_line_and_reason_on_the_first_line() {
        let earlier = Standing::Earlier { tier: TierKey::Global, hash: [1; 32] };
        let status =
            of_verdict(3, &verdict(vec![refusal(12, "unexpected `}`"), refusal(14, "also wrong")], earlier));
        let (accepted, reason, message) = said(&status, ACCEPTED);
        assert_eq!((accepted.as_str(), reason.as_str()), ("False", "RegoParseError"));
        let lines: Vec<&str> = message.lines().collect();
        assert_eq!(lines[0], "inbound/request.rego:12:7: unexpected `}` (rego_parse_error)");
        assert_eq!(lines[1], "    12 | allow if {");
        assert!(lines[2].starts_with("inbound/request.rego:14:7"));
        let (published, reason, message) = said(&status, PUBLISHED);
        assert_eq!((published.as_str(), reason.as_str()), ("False", "LastGoodVersion"));
        assert!(message.contains("every identity"), "{message}");
        assert_eq!(status.condition(ACCEPTED).unwrap().observed_generation, Some(3));
    }

    #[rstest]
    #[case(in_force(1), "True", "Published", true)]
    #[case(Standing::Denied { tier: TierKey::Global, hash: [1; 32], reason: "x".into() }, "False", "Denied", true)]
    #[case(rolled_back("user 0: x"), "False", "RolledBack", true)]
    #[case(Standing::LeftOut { by: "user 0: x".to_owned() }, "False", "LeftOut", false)]
    #[case(Standing::Nothing, "False", "NotPublished", false)]
    fn tells_what_is_in_force(
        #[case] standing: Standing,
        #[case] status: &str,
        #[case] reason: &str,
        #[case] hash: bool,
    ) {
        let built = of_verdict(1, &verdict(Vec::new(), standing));
        let (published, why, _) = said(&built, PUBLISHED);
        assert_eq!((published.as_str(), why.as_str()), (status, reason));
        assert_eq!(built.bundle_hash.is_some(), hash);
    }

    #[test]
    fn an_administrators_choice_is_named_with_who_made_it_and_how_it_ends() {
        let (_, _, message) =
            said(&of_verdict(1, &verdict(Vec::new(), rolled_back("user 0: a\nb"))), PUBLISHED);
        let version =
            format!("version {:.12} is in the bundle of every identity of", Digest::of(&[b"earlier"]));
        assert!(message.starts_with(&version), "{message}");
        let left_out = Standing::LeftOut { by: "user 0: a\nb".to_owned() };
        let (_, _, out) = said(&of_verdict(1, &verdict(Vec::new(), left_out)), PUBLISHED);
        assert!(out.starts_with("nothing of it is in any bundle"), "{out}");
        for message in [message, out] {
            assert!(
                message.contains("by user 0: a b;") && message.contains("`secctl bundle release`"),
                "{message}"
            );
            assert!(!message.contains("corrected"), "it may be in order: {message}");
        }
    }

    #[test]
    fn a_broken_version_is_refused_whatever_was_chosen_instead() {
        let status = of_verdict(3, &verdict(vec![refusal(12, "unexpected `}`")], rolled_back("user 0: x")));
        let (accepted, reason, _) = said(&status, ACCEPTED);
        assert_eq!((accepted.as_str(), reason.as_str()), ("False", "RegoParseError"));
        let (published, reason, _) = said(&status, PUBLISHED);
        assert_eq!((published.as_str(), reason.as_str()), ("False", "RolledBack"));
    }

    #[test]
    fn tells_how_much_the_tests_went_through() {
        let tests = Some(TestSummary { passed: 3, covered_percent: 87 });
        let status = of_verdict(1, &Verdict { tests, ..verdict(Vec::new(), in_force(1)) });
        let (_, _, message) = said(&status, ACCEPTED);
        assert!(message.contains("tests of its tier (3, through 87 %"), "{message}");
    }

    #[test]
    fn times_change_only_with_what_they_date() {
        let first = of_verdict(1, &verdict(Vec::new(), in_force(1))).timed(&Default::default(), "t1");
        assert_eq!(first.last_built.as_deref(), Some("t1"));
        let second = of_verdict(2, &verdict(vec![refusal(1, "x")], in_force(1))).timed(&first, "t2");
        assert_eq!(second.last_built.as_deref(), Some("t1"), "the same content");
        assert_eq!(second.condition(ACCEPTED).unwrap().last_transition_time, "t2");
        assert_eq!(second.condition(PUBLISHED).unwrap().last_transition_time, "t1");
        let third = of_verdict(3, &verdict(Vec::new(), in_force(2))).timed(&second, "t3");
        assert_eq!(third.last_built.as_deref(), Some("t3"));
    }

    #[test]
    fn the_fingerprint_is_of_what_matters() {
        let status = of_verdict(1, &verdict(Vec::new(), in_force(1)));
        let fingerprint = status.fingerprint();
        assert_eq!(status.clone().timed(&Default::default(), "now").fingerprint(), fingerprint);
        let mut others = status.clone();
        others.conditions.reverse();
        others.conditions.push(Condition { kind: "Active".to_owned(), ..others.conditions[0].clone() });
        assert_eq!(others.fingerprint(), fingerprint, "another one's condition and another order");
        assert_ne!(of_verdict(2, &verdict(Vec::new(), in_force(1))).fingerprint(), fingerprint);
        assert_ne!(of_verdict(1, &verdict(Vec::new(), in_force(2))).fingerprint(), fingerprint);
    }

    #[test]
    fn a_message_ends_somewhere_and_says_what_it_leaves_out() {
        let several: Vec<Refusal> = (0..200).map(|line| refusal(line, "wrong")).collect();
        let message = describe(&several);
        assert!(message.len() > 4096 && message.contains("inbound/request.rego:199:7: "), "{message}");
        let many: Vec<Refusal> = (0..1000).map(|line| refusal(line, "wrong")).collect();
        let message = describe(&many);
        assert!(message.len() < MAX_MESSAGE_BYTES + 20);
        assert!(message.ends_with(" more"), "{message}");
        let told = message.lines().filter(|line| line.contains("wrong")).count();
        assert!(message.ends_with(&format!("\nand {} more", many.len() - told)), "{message}");
        let long = describe(&[refusal(1, &"é".repeat(5000)), refusal(2, "also wrong")]);
        let lines: Vec<&str> = long.lines().collect();
        assert!(lines[0].len() <= MAX_WORDS_BYTES && lines[0].ends_with('…'), "{long}");
        assert!(lines[2].ends_with("also wrong (rego_parse_error)"), "{long}");
    }

    /// With what is appended and the largest source lines.
    #[test]
    fn the_definition_takes_the_longest_message() {
        let words = "é".repeat(5000);
        let longest = Refusal { source_line: "é".repeat(5000), ..refusal(u32::MAX, &words) };
        let message = describe(&std::iter::repeat_n(longest, 100).collect::<Vec<_>>());
        assert!(message.len() > 30_000 && message.len() <= 32_768, "{}", message.len());
    }

    #[test]
    fn a_policy_cannot_break_the_lines_of_a_message() {
        let message = describe(&[refusal(1, "a\nb\u{1b}[31m")]);
        assert_eq!(message.lines().count(), 2, "{message}");
        assert!(!message.contains('\u{1b}'));
    }

    #[rstest]
    #[case("rego_type_error", "RegoTypeError")]
    #[case("confinement", "Confinement")]
    #[case("", "Refused")]
    #[case("9x", "Refused")]
    fn a_code_is_a_reason(#[case] code: &str, #[case] expected: &str) {
        assert_eq!(reason(code), expected);
    }
}
