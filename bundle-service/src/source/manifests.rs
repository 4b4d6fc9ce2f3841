//! A YAML or JSON text as objects: several documents, or a `List`, as `kubectl apply -f` takes them.
//!
//! Each document stands for itself: one that is malformed is refused by file and line, and its neighbours are read.

use std::{path::Path, sync::Arc};

use serde::Deserialize;
use serde_json::Value;

use super::SourceOptions;
use crate::{
    policy::{AuthorizationPolicy, KIND, Manifest, ResourceKey, Scope, VERSION},
    refusal::Refusal,
};

/// The most documents in one text.
pub const MAX_DOCUMENTS: usize = 10_000;

/// Groups that have a kind of this name too: Istio's and Linkerd's.
const OTHERS: [&str; 2] = ["security.istio.io", "policy.linkerd.io"];

/// An AuthorizationPolicy as a source found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// What it is called.
    pub key: ResourceKey,
    /// Whom it applies to; the default when that cannot be read.
    pub scope: Scope,
    /// The client that it names.
    pub client_id: Option<String>,
    /// The file that holds it, or what else names the place where it was found.
    pub file: String,
    /// The commit that the file was first read in, where its source has commits: `<url>@<hash>`.
    pub commit: Option<Arc<str>>,
    /// The number of this version, where its source counts them: `metadata.generation`.
    pub generation: Option<i64>,
    /// The policy, or all that is wrong with its fields.
    pub policy: Result<Arc<AuthorizationPolicy>, Vec<Refusal>>,
}

/// What was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifests {
    /// The objects, in the order of the texts. The key of each is there once.
    pub objects: Vec<Object>,
    /// Documents that are no objects, and objects that are there twice. What is wrong with an object's own fields
    /// is in the object.
    pub refusals: Vec<Refusal>,
}

/// What one file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FileContent {
    pub(crate) objects: Vec<Object>,
    pub(crate) refusals: Vec<Refusal>,
    /// Whether some document's name cannot be read: it may be that of an object which was here before.
    pub(crate) unreadable: bool,
}

impl FileContent {
    pub(crate) fn refused(refusal: Refusal) -> Self {
        Self { refusals: vec![refusal], unreadable: true, ..Self::default() }
    }

    /// Says in which commit it was read.
    pub(crate) fn of_commit(mut self, commit: &Arc<str>) -> Self {
        self.objects.iter_mut().for_each(|object| object.commit = Some(Arc::clone(commit)));
        self
    }

    /// Reads the text of a file.
    pub(crate) fn read(file: &str, text: &[u8], options: &SourceOptions) -> Self {
        let text = match std::str::from_utf8(text) {
            Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
            Err(error) => {
                let refusal = Refusal::new("encoding", format!("the file is not UTF-8: {error}"));
                return Self::refused(refusal.in_file(file, 0, 0));
            }
        };
        let mut content = Self::default();
        let mut reader = Reader { file, options, content: &mut content };
        if Path::new(file).extension().is_some_and(|extension| extension == "json") {
            reader.json(text);
        } else {
            reader.yaml(text);
        }
        content
    }
}

/// One document and the line that it begins in.
struct Document<'a> {
    text: &'a str,
    line: u32,
}

/// Splits at lines that begin with `---`, as YAML does: no scalar may hold such a line.
fn documents(text: &str) -> impl Iterator<Item = Document<'_>> {
    let mut starts = vec![(0, 1)];
    let mut at = 0;
    for (number, line) in (1_u32..).zip(text.split_inclusive('\n')) {
        let rest = line.strip_prefix("---");
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n'])) {
            starts.push((at + 3, number));
        }
        at += line.len();
    }
    let ends: Vec<usize> =
        starts.iter().skip(1).map(|(start, _)| start.saturating_sub(3)).chain([text.len()]).collect();
    starts
        .into_iter()
        .zip(ends)
        .map(move |((start, line), end)| Document { text: text.get(start..end).unwrap_or_default(), line })
}

struct Reader<'a> {
    file: &'a str,
    options: &'a SourceOptions,
    content: &'a mut FileContent,
}

impl Reader<'_> {
    fn yaml(&mut self, text: &str) {
        for (index, document) in documents(text).enumerate() {
            if index == MAX_DOCUMENTS {
                return self.end(&document);
            }
            self.document(&document);
        }
    }

    /// One value after another, as `kubectl` takes them. It would complain of one that is no resource of any kind; here it
    /// is passed over, since most JSON in a folder is data.
    fn json(&mut self, text: &str) {
        let whole = Document { text, line: 1 };
        let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        for (index, value) in values.enumerate() {
            match value {
                _ if index == MAX_DOCUMENTS => return self.end(&whole),
                Ok(value) if value.get("apiVersion").is_none() => {}
                Ok(value) if is_list(&value) => self.list(&whole, &value),
                Ok(value) => self.object(&whole, &value, || typed(&value)),
                Err(error) => {
                    let place = u32::try_from(error.line()).ok().zip(u32::try_from(error.column()).ok());
                    let error = YamlError { message: error.to_string(), place };
                    return self.unreadable(error.refusal(self.file, &whole));
                }
            }
        }
    }

    /// Says that nothing is read from here on.
    fn end(&mut self, document: &Document<'_>) {
        let message = format!("the file has more than {MAX_DOCUMENTS} documents; the rest is not read");
        self.unreadable(Refusal::new("too_large", message).in_file(self.file, document.line, 0));
    }

    fn document(&mut self, document: &Document<'_>) {
        match yaml::<Value>(document) {
            Ok(Value::Null) => {}
            Ok(value) if is_list(&value) => self.list(document, &value),
            Ok(value) => self.object(document, &value, || yaml(document)),
            Err(error) => self.unreadable(error.refusal(self.file, document)),
        }
    }

    fn list(&mut self, document: &Document<'_>, list: &Value) {
        let Some(items) = list.get("items").and_then(Value::as_array) else {
            let refusal = Refusal::new("yaml", "this `List` has no `items`");
            return self.unreadable(refusal.in_file(self.file, document.line, 0));
        };
        for item in items {
            self.object(document, item, || typed(item));
        }
    }

    fn object(
        &mut self,
        document: &Document<'_>,
        value: &Value,
        parse: impl FnOnce() -> Result<Manifest, YamlError>,
    ) {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
        let (Some(api_version), Some(kind)) = (text("/apiVersion"), text("/kind")) else {
            let refusal = Refusal::new("yaml", "the document has no `apiVersion` and `kind`");
            return self.unreadable(refusal.in_file(self.file, document.line, 0));
        };
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        if kind != KIND || !self.options.api_groups.iter().any(|known| known == group) {
            if looks_like_ours(group, kind, value) {
                let message = format!(
                    "`{kind}` of the group `{group}` is not a resource that is read; nothing of it is in force"
                );
                let refusal = Refusal::new("unknown_kind", message).in_file(self.file, document.line, 0);
                self.content.refusals.push(refusal.warning().suggest(right(self.options)));
            }
            return;
        }
        let Some(name) = text("/metadata/name") else {
            let refusal = Refusal::new("invalid_field", "`metadata.name` is missing");
            return self.unreadable(refusal.in_file(self.file, document.line, 0));
        };
        let policy: Result<AuthorizationPolicy, Vec<Refusal>> = match version {
            VERSION => match parse() {
                Ok(manifest) => manifest.validate().map_err(|refusals| {
                    refusals.into_iter().map(|refusal| place(refusal, self.file, document)).collect()
                }),
                Err(error) => Err(vec![error.refusal(self.file, document)]),
            },
            _ => {
                let message = format!("version `{version}` of the resource is not known, only `{VERSION}`");
                Err(vec![Refusal::new("invalid_field", message).in_file(self.file, document.line, 0)])
            }
        };
        let namespace = text("/metadata/namespace").unwrap_or(crate::policy::DEFAULT_NAMESPACE);
        let key = ResourceKey::new(namespace, name);
        let scope = value.pointer("/spec/scope").and_then(|scope| Scope::deserialize(scope).ok());
        self.content.objects.push(Object {
            scope: scope.unwrap_or_default(),
            client_id: text("/spec/clientID").map(str::to_owned),
            file: self.file.to_owned(),
            commit: None,
            generation: None,
            policy: policy
                .map(Arc::new)
                .map_err(|refusals| refusals.into_iter().map(|refusal| refusal.of(&key)).collect()),
            key,
        });
    }

    fn unreadable(&mut self, refusal: Refusal) {
        self.content.refusals.push(refusal);
        self.content.unreadable = true;
    }
}

/// Whether a document of another kind or group may be a misspelt one of ours, which nobody would miss until it is needed.
fn looks_like_ours(group: &str, kind: &str, value: &Value) -> bool {
    let modules = value.pointer("/spec/policies").and_then(Value::as_array);
    modules.is_some_and(|modules| modules.iter().any(|module| module.get("content").is_some()))
        || (kind.to_ascii_lowercase().starts_with("authorizationpolic") && !OTHERS.contains(&group))
}

/// What a manifest begins with.
fn right(options: &SourceOptions) -> String {
    let versions: Vec<String> =
        options.api_groups.iter().map(|group| format!("`apiVersion: {group}/{VERSION}`")).collect();
    format!("write `kind: {KIND}` and {}", versions.join(" or "))
}

fn place(refusal: Refusal, file: &str, document: &Document<'_>) -> Refusal {
    // The line of a refusal that names a module is the module's own.
    match refusal.path {
        Some(_) => Refusal { file: Some(file.to_owned()), ..refusal },
        None => refusal.in_file(file, document.line, 0),
    }
}

fn is_list(value: &Value) -> bool {
    value.get("kind").and_then(Value::as_str) == Some("List")
}

/// Why a document cannot be read, and where in it.
struct YamlError {
    message: String,
    place: Option<(u32, u32)>,
}

impl YamlError {
    fn refusal(self, file: &str, document: &Document<'_>) -> Refusal {
        let (line, column) = self.place.unwrap_or((1, 0));
        let line = document.line.saturating_add(line.saturating_sub(1));
        Refusal::new("yaml", format!("the document is not a valid manifest: {}", self.message))
            .in_file(file, line, column)
    }
}

fn typed(value: &Value) -> Result<Manifest, YamlError> {
    Manifest::deserialize(value).map_err(|error| YamlError { message: error.to_string(), place: None })
}

fn yaml<'a, T: Deserialize<'a>>(document: &Document<'a>) -> Result<T, YamlError> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(document.text, options).map_err(|error| {
        let place = error.location().and_then(|location| {
            let column = u32::try_from(location.column()).ok()?;
            Some((u32::try_from(location.line()).ok()?, column))
        });
        YamlError { message: error.to_string(), place }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::refusal::Severity;

    fn read(text: &str) -> FileContent {
        FileContent::read("a.yaml", text.as_bytes(), &SourceOptions::default())
    }

    fn manifest(name: &str) -> String {
        format!(
            "apiVersion: agent.kagenti.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata:\n  name: {name}\n\
             spec:\n  policies:\n  - path: a.rego\n    content: |\n      package authbridge.client\n"
        )
    }

    fn names(content: &FileContent) -> Vec<&str> {
        content.objects.iter().map(|object| object.key.name.as_str()).collect()
    }

    #[test]
    fn reads_documents_as_kubectl_does() {
        let text = format!(
            "# a comment\n---\n{}---\n---\nkind: ConfigMap\napiVersion: v1\n--- # last\n{}",
            manifest("one"),
            manifest("two").replace("kagenti", "rossoctl"),
        );
        let content = read(&text);
        assert_eq!((names(&content), content.refusals.as_slice()), (vec!["one", "two"], [].as_slice()));
        let policy = content.objects[0].policy.as_ref().unwrap();
        assert_eq!(policy.modules[0].content, "package authbridge.client\n");
    }

    #[test]
    fn reads_lists() {
        let item = |name| format!("- {}", manifest(name).replace('\n', "\n  ").trim_end());
        let text = format!("apiVersion: v1\nkind: List\nitems:\n{}\n{}\n", item("one"), item("two"));
        assert_eq!(names(&read(&text)), ["one", "two"]);
    }

    #[test]
    fn reads_json() {
        let json = |name: &str| {
            serde_json::json!({
                "apiVersion": "agent.kagenti.dev/v1alpha1", "kind": "AuthorizationPolicy", "metadata": { "name": name },
                "spec": { "policies": [{ "path": "a.rego", "content": "package a\n\n# \u{1f512} a/b\n" }] },
            })
        };
        let read = |text: &str| {
            let content = FileContent::read("directory:a.json", text.as_bytes(), &SourceOptions::default());
            let names: Vec<String> = names(&content).into_iter().map(str::to_owned).collect();
            (names, content)
        };
        let (one, two) = (json("one"), json("two"));
        // As other programs write it: a pair of escapes for one character, an escaped slash, tabs.
        let text = format!("{one:#}\n{two}").replace("\u{1f512}", r"\ud83d\udd12").replace("a/b", r"a\/b");
        let (names, content) = read(&text.replace("  ", "\t"));
        assert_eq!(
            (names, content.refusals.as_slice()),
            (vec!["one".to_owned(), "two".to_owned()], [].as_slice())
        );
        let policy = content.objects[0].policy.as_ref().unwrap();
        assert_eq!(policy.modules[0].content, "package a\n\n# \u{1f512} a/b\n");

        let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": [one, two] });
        assert_eq!(read(&list.to_string()).0, ["one", "two"]);
        for data in ["", "[1, 2]", r#"{"kind": "person"}"#] {
            assert_eq!(read(data).1, FileContent::default(), "{data}");
        }
        let (names, content) = read(&format!("{}\n{{\n  oops", json("one")));
        assert_eq!((names, content.unreadable), (vec!["one".to_owned()], true));
        assert!(
            content.refusals[0].to_string().starts_with("directory:a.json:3:"),
            "{}",
            content.refusals[0]
        );
    }

    #[test]
    fn ignores_what_is_not_ours() {
        let istio =
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: x}\nspec: {}\n";
        assert_eq!(read(istio), FileContent::default());
        assert_eq!(read(&istio.replace("security.istio", "policy.linkerd")), FileContent::default());
        let other = "apiVersion: agent.kagenti.dev/v1alpha1\nkind: Agent\nmetadata: {name: x}\nspec: {policies: []}\n";
        assert_eq!(read(other), FileContent::default());
        assert_eq!(read(""), FileContent::default());
        assert_eq!(read("# nothing\n---\n"), FileContent::default());
    }

    #[rstest]
    #[case::group("agent.kagenti.dev", "agent.kagenti.dv")]
    #[case::no_group("agent.kagenti.dev/", "")]
    #[case::kind("kind: AuthorizationPolicy", "kind: AuthorizationPolicies")]
    #[case::another_kind("kind: AuthorizationPolicy", "kind: Policy")]
    #[case::case_of_letters("kind: AuthorizationPolicy", "kind: Authorizationpolicy")]
    fn warns_of_what_may_be_a_misspelt_one(#[case] right: &str, #[case] wrong: &str) {
        let content = read(&format!("{}---\n{}", manifest("good"), manifest("bad").replace(right, wrong)));
        assert_eq!((names(&content), content.unreadable), (vec!["good"], false));
        let [refusal] = content.refusals.as_slice() else { panic!("{:?}", content.refusals) };
        assert_eq!((refusal.code.as_str(), refusal.severity), ("unknown_kind", Severity::Warning));
        let said = refusal.to_string();
        assert!(said.starts_with("a.yaml:10: ") && said.contains("agent.rossoctl.dev/v1alpha1"), "{said}");
    }

    #[test]
    fn warns_of_a_misspelt_group_without_modules() {
        let empty = "apiVersion: agent.kagenti.dv/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {name: x}\nspec: {}\n";
        assert_eq!(read(empty).refusals.len(), 1);
    }

    #[rstest]
    #[case::yaml("a: [1\n", 7)]
    #[case::tab("a:\n\tb: 1\n", 8)]
    #[case::no_kind("a: 1\n", 6)]
    #[case::no_name("apiVersion: agent.kagenti.dev/v1alpha1\nkind: AuthorizationPolicy\nspec: {}\n", 6)]
    fn a_malformed_document_does_not_harm_its_neighbours(#[case] document: &str, #[case] line: u32) {
        let text = format!("# 1\n# 2\n# 3\n# 4\n# 5\n---\n{document}---\n{}", manifest("good"));
        let content = read(&text);
        assert_eq!(names(&content), ["good"]);
        assert!(content.unreadable);
        let refusal = &content.refusals[0];
        assert_eq!(refusal.file.as_deref(), Some("a.yaml"));
        assert!((line..=line + 2).contains(&refusal.line), "{refusal}");
    }

    #[rstest]
    #[case("  policies:", "  policy:")]
    #[case("    content: |", "    contents: |")]
    #[case("v1alpha1", "v1beta1")]
    #[case("  policies:", "  scope: everywhere\n  policies:")]
    #[case("path: a.rego", "path: ../a.rego")]
    fn names_the_object_whose_fields_are_wrong(#[case] right: &str, #[case] wrong: &str) {
        let content = read(&manifest("one").replace(right, wrong));
        assert_eq!(names(&content), ["one"]);
        assert!(!content.unreadable);
        let refusal = &content.objects[0].policy.as_ref().unwrap_err()[0];
        assert_eq!(refusal.resource.as_ref().map(ToString::to_string).as_deref(), Some("default/one"));
        assert_eq!(refusal.file.as_deref(), Some("a.yaml"));
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = String::from("a: &a [x, x, x, x, x, x, x, x, x, x]\n");
        for (last, next) in ('a'..='i').zip('b'..='j') {
            text.push_str(&format!("{next}: &{next} [{}]\n", vec![format!("*{last}"); 10].join(", ")));
        }
        assert!(read(&text).unreadable);
    }

    proptest! {
        #[test]
        fn never_panics(text in "[-a:\\[{ \n\t&*|>'\"é]{0,120}") {
            let _ = read(&text);
        }
    }
}
