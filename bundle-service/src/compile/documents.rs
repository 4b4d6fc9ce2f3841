//! JSON documents that a resource attaches to its tier.
//!
//! A part whose path is `roles/admins.json.rego` holds JSON, and policies of its tier find it at
//! `data.<root of the tier>.roles.admins`. What the documents of a tier say goes into one `data.json`, as its authors
//! wrote it: numbers keep their digits.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{
    confine::{DECISION_POINTS, RESERVED},
    places::Places,
    tier::ParsedModule,
};
use crate::{
    policy::{PolicyModule, ResourceKey},
    refusal::Refusal,
    tiers::TierKind,
};

/// What the path of a document ends in. The resource's schema wants `.rego` at the end of every path.
const SUFFIX: &str = ".json.rego";
/// The largest document.
const MAX_BYTES: usize = 1024 * 1024;
/// The longest line that a refusal repeats, in characters.
const SOURCE_LINE_CHARACTERS: usize = 200;

/// One document.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    owner: ResourceKey,
    /// Its path in the resource.
    pub(crate) path: String,
    /// Where it lies below the root of its tier.
    place: Vec<String>,
    text: Arc<str>,
}

impl Document {
    /// Whether a path is that of a document.
    pub(crate) fn is_one(path: &str) -> bool {
        path.ends_with(SUFFIX)
    }

    /// Reads a document for a tier of a kind.
    pub(crate) fn read(
        owner: &ResourceKey,
        part: &PolicyModule,
        kind: TierKind,
    ) -> Result<Self, Box<Refusal>> {
        let refuse =
            |code: &str, message: String| Refusal::new(code, message).of(owner).in_module(&part.path);
        if part.content.len() > MAX_BYTES {
            let message =
                format!("the document has {} bytes and {MAX_BYTES} are allowed", part.content.len());
            return Err(Box::new(refuse("too_large", message)));
        }
        if let Err(error) = serde_json::from_str::<Value>(&part.content) {
            let (line, column) = (error.line(), error.column());
            let place = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            let refusal = refuse(
                "json",
                format!("a path that ends in `{SUFFIX}` holds JSON, and this is none: {error}"),
            )
            .suggest("correct it, or give Rego another path");
            let text = part.content.lines().nth(line.saturating_sub(1)).unwrap_or_default();
            // A document may be one line.
            let source_line = text.chars().take(SOURCE_LINE_CHARACTERS).collect();
            return Err(Box::new(Refusal {
                line: place(line),
                column: place(column),
                source_line,
                ..refusal
            }));
        }
        let stem = part.path.strip_suffix(SUFFIX).unwrap_or(&part.path);
        let place: Vec<String> = stem.split('/').map(str::to_owned).collect();
        let steps: Vec<&str> = place.iter().map(String::as_str).collect();
        let root = kind.root().join(".");
        if kind == TierKind::Global && steps.first().is_some_and(|first| RESERVED.contains(first)) {
            let message = format!(
                "a global document may not lie at `{root}.{}`: it is not the global tier's",
                steps.join(".")
            );
            return Err(Box::new(refuse("confinement", message).suggest("rename it")));
        }
        if DECISION_POINTS.iter().any(|point| point.starts_with(&steps) || steps.starts_with(point)) {
            let message = format!("the document lies at `{root}.{}`, where rules decide", steps.join("."));
            return Err(Box::new(
                refuse("confinement", message).suggest("move it beside the decision points"),
            ));
        }
        Ok(Self { owner: owner.clone(), path: part.path.clone(), place, text: part.content.trim().into() })
    }

    fn refuse(&self, message: String) -> Refusal {
        Refusal::new("conflict", message).of(&self.owner).in_module(&self.path)
    }

    fn name(&self, kind: TierKind) -> String {
        kind.root().iter().copied().chain(self.steps()).collect::<Vec<_>>().join(".")
    }

    fn steps(&self) -> impl Iterator<Item = &str> {
        self.place.iter().map(String::as_str)
    }
}

/// What keeps documents and modules of one tier from standing together, which OPA would find only when it activates
/// the bundle: two documents in one place, or a rule where a document is.
pub(crate) fn conflicts(kind: TierKind, documents: &[Document], modules: &[ParsedModule]) -> Vec<Refusal> {
    find_conflicts(kind, documents, modules).0
}

/// The same, and how many steps of paths were looked at. Others wait meanwhile, so that these are no more than there are
/// in the paths of the documents and of the rules.
fn find_conflicts(kind: TierKind, documents: &[Document], modules: &[ParsedModule]) -> (Vec<Refusal>, u64) {
    let mut places: Places<&Document> = Places::new();
    let (mut refusals, mut effort) = (Vec::new(), 0);
    for document in documents {
        let (other, steps) = places.meets(document.steps());
        effort += steps;
        match other {
            Some(other) => refusals.push(document.refuse(format!(
                "`data.{}` and `data.{}` ({} of {}) are documents one inside the other",
                document.name(kind),
                other.name(kind),
                other.path,
                other.owner
            ))),
            None => places.insert(document.steps(), document),
        }
    }
    if documents.is_empty() {
        return (refusals, effort);
    }
    for part in modules {
        for rule in part.module.rules() {
            let path: Vec<&str> = part.module.rule_path(rule).into_iter().map_while(|step| step).collect();
            let Some(path) = path.strip_prefix(kind.root()) else { continue };
            let (document, steps) = places.meets(path.iter().copied());
            effort += steps;
            if let Some(document) = document {
                refusals.push(document.refuse(format!(
                    "the document `data.{}` and the rule `{}.{}` ({}) are in one place",
                    document.name(kind),
                    kind.root().join("."),
                    path.join("."),
                    part.path
                )));
            }
        }
    }
    (refusals, effort)
}

/// All documents of a tier as one JSON object; `None` without documents.
pub(crate) fn merged(documents: &[Document]) -> Option<String> {
    let mut root = Node::default();
    for document in documents {
        let mut at = &mut root;
        for step in &document.place {
            at = at.below.entry(step).or_default();
        }
        at.text = Some(&document.text);
    }
    let mut text = String::new();
    root.write(&mut text);
    (!documents.is_empty()).then_some(text)
}

#[derive(Default)]
struct Node<'a> {
    text: Option<&'a str>,
    below: BTreeMap<&'a str, Node<'a>>,
}

impl Node<'_> {
    fn write(&self, to: &mut String) {
        if let Some(text) = self.text {
            to.push_str(text);
            return;
        }
        to.push('{');
        for (number, (name, node)) in self.below.iter().enumerate() {
            if number > 0 {
                to.push(',');
            }
            to.push_str(&Value::from(*name).to_string());
            to.push(':');
            node.write(to);
        }
        to.push('}');
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use secplane_rego::Gate;
    use serde_json::json;

    use super::*;

    fn read(kind: TierKind, path: &str, content: &str) -> Result<Document, Box<Refusal>> {
        let part = PolicyModule { path: path.to_owned(), content: content.to_owned() };
        Document::read(&ResourceKey::new("a", "p"), &part, kind)
    }

    fn module(text: &str) -> ParsedModule {
        let part = PolicyModule { path: "a.rego".to_owned(), content: text.to_owned() };
        ParsedModule::read(Gate::default(), &ResourceKey::new("a", "p"), 0, &part, TierKind::Namespace, false)
            .unwrap()
    }

    #[test]
    fn keeps_what_the_author_wrote() {
        let documents = [
            read(TierKind::Namespace, "roles/admins.json.rego", "[\"ann\"]\n").unwrap(),
            read(TierKind::Namespace, "limits.json.rego", " {\"big\": 123456789012345678901234567890}")
                .unwrap(),
            read(TierKind::Namespace, "roles/x.y.json.rego", "null").unwrap(),
        ];
        assert_eq!(
            merged(&documents).unwrap(),
            "{\"limits\":{\"big\": 123456789012345678901234567890},\"roles\":{\"admins\":[\"ann\"],\"x.y\":null}}"
        );
        let reversed: Vec<Document> = documents.iter().rev().cloned().collect();
        assert_eq!(merged(&documents), merged(&reversed));
        assert_eq!(merged(&[]), None);
    }

    #[rstest]
    #[case::cut("a.json.rego", "{", "json")]
    #[case::rego("a.json.rego", "package authbridge.ns", "json")]
    #[case::beyond_numbers("a.json.rego", "1e400", "json")]
    #[case::half_a_character("a.json.rego", "\"\\ud800\"", "json")]
    #[case::a_decision_point("inbound/request.json.rego", "{\"allow\": true}", "confinement")]
    #[case::above_a_decision_point("inbound.json.rego", "{\"request\": {\"allow\": true}}", "confinement")]
    #[case::in_a_decision_point("inbound/request/allow.json.rego", "true", "confinement")]
    fn refuses_what_is_no_document_of_a_tier(#[case] path: &str, #[case] content: &str, #[case] code: &str) {
        assert_eq!(read(TierKind::Namespace, path, content).unwrap_err().code, code);
    }

    #[test]
    fn shows_the_line_that_is_no_json() {
        let refusal = read(TierKind::Namespace, "a.json.rego", "{\n  \"x\": 1,\n  \"y\" 2\n}\n").unwrap_err();
        assert_eq!((refusal.line, refusal.source_line.as_str()), (3, "  \"y\" 2"));
        assert!(refusal.column > 0 && refusal.suggestion.is_some());
        let cut = read(TierKind::Namespace, "a.json.rego", "{\n").unwrap_err();
        assert!(cut.line >= 1, "{cut:?}");
        let long = read(TierKind::Namespace, "a.json.rego", &"[".repeat(10_000)).unwrap_err();
        assert_eq!((long.line, long.source_line.len()), (1, SOURCE_LINE_CHARACTERS));
    }

    #[rstest]
    #[case("ns/roles.json.rego")]
    #[case("client.json.rego")]
    #[case("settings/require_client_policy.json.rego")]
    #[case("identity.json.rego")]
    fn a_global_document_stays_in_its_room(#[case] path: &str) {
        assert_eq!(read(TierKind::Global, path, "{}").unwrap_err().code, "confinement");
        assert!(read(TierKind::Namespace, path, "{}").is_ok());
    }

    #[rstest]
    #[case(&["a.json.rego", "a.json.rego"], 1)]
    #[case(&["a.json.rego", "a/b.json.rego"], 1)]
    #[case(&["a/b/c.json.rego", "a.json.rego"], 1)]
    #[case(&["a/b.json.rego", "a/c.json.rego", "ab.json.rego"], 0)]
    fn finds_documents_in_one_place(#[case] paths: &[&str], #[case] conflicting: usize) {
        let documents: Vec<Document> =
            paths.iter().map(|path| read(TierKind::Namespace, path, "{}").unwrap()).collect();
        assert_eq!(conflicts(TierKind::Namespace, &documents, &[]).len(), conflicting);
    }

    #[rstest]
    #[case::the_same("package authbridge.ns\nroles := 1", 1)]
    #[case::inside("package authbridge.ns.roles.admins\nx := 1", 1)]
    #[case::above("package authbridge.ns.roles\nadmins.x.y := 1", 1)]
    #[case::a_map_around("package authbridge.ns\nroles[x] := 1 if some x in input.y", 1)]
    #[case::a_package_around("package authbridge.ns.roles\nothers := 1", 0)]
    #[case::beside("package authbridge.ns\nrolesx := 1", 0)]
    fn finds_rules_where_documents_are(#[case] text: &str, #[case] conflicting: usize) {
        let document = read(TierKind::Namespace, "roles/admins.json.rego", "{\"x\": 1}").unwrap();
        let found = conflicts(TierKind::Namespace, &[document], &[module(text)]);
        assert_eq!(found.len(), conflicting, "{found:?}");
        assert!(found.iter().all(|refusal| refusal.code == "conflict"));
    }

    /// Ten times as much takes ten times as long, not a hundred times.
    #[test]
    fn looks_at_the_paths_of_documents_and_rules_once() {
        let effort = |many: usize| {
            let path = |number: usize| format!("roles/r{number}.json.rego");
            let documents: Vec<Document> =
                (0..many).map(|number| read(TierKind::Namespace, &path(number), "{}").unwrap()).collect();
            let rules: String = (0..many).map(|number| format!("x{number} := {number}\n")).collect();
            let module = module(&format!("package authbridge.ns.roles\n{rules}"));
            let (refusals, effort) = find_conflicts(TierKind::Namespace, &documents, &[module]);
            assert_eq!(refusals, []);
            effort
        };
        assert!((1..=10_000).contains(&effort(1_000)), "{}", effort(1_000));
        assert!(effort(1_000) <= effort(100) * 11, "{} and {}", effort(1_000), effort(100));
    }

    #[test]
    fn what_is_merged_is_json() {
        let document = read(TierKind::Client, "a\u{62}/c.json.rego", "{\"x\": [1, 2]}").unwrap();
        let value: Value = serde_json::from_str(&merged(&[document]).unwrap()).unwrap();
        assert_eq!(value, json!({"ab": {"c": {"x": [1, 2]}}}));
    }
}
