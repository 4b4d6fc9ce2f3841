//! The AuthorizationPolicy resource.

use std::{fmt, str::FromStr};

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{digest::Digest, kubernetes::AuthorizationPolicyStatus, refusal::Refusal};

/// The kind of the resource.
pub const KIND: &str = "AuthorizationPolicy";
/// The version of the resource that is understood.
pub const VERSION: &str = "v1alpha1";
/// The namespace of a manifest that names none.
pub const DEFAULT_NAMESPACE: &str = "default";
/// The most modules that one resource may hold.
pub const MAX_MODULES: usize = 256;
/// The longest path of a module.
pub const MAX_PATH_BYTES: usize = 253;
/// The most faults that are told of one resource: whoever made more corrects some and asks again.
const MOST_FAULTS: usize = 100;

/// What a resource is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ResourceKey {
    /// Joins the two.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Serialize for ResourceKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The text is not `<namespace>/<name>`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no resource; write it as <namespace>/<name>")]
pub struct NoResourceKey(String);

impl FromStr for ResourceKey {
    type Err = NoResourceKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let key = text.split_once('/').map(|(namespace, name)| Self::new(namespace, name));
        key.filter(|key| name_faults(key).next().is_none()).ok_or_else(|| NoResourceKey(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for ResourceKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Whom a resource applies to.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Scope {
    /// Every identity.
    Global,
    /// Every identity of the resource's namespace.
    Namespace,
    /// One identity of the resource's namespace.
    #[default]
    Client,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Global => "global",
            Self::Namespace => "namespace",
            Self::Client => "client",
        })
    }
}

/// One module of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyModule {
    /// Its path, such as `inbound/request.rego`.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9/_.-]*\.rego$"))]
    pub path: String,
    /// Its Rego.
    #[schemars(length(min = 1))]
    pub content: String,
}

/// Which modules apply to whom: `spec` of the resource, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[serde(deny_unknown_fields)]
#[kube(
    group = "agent.kagenti.dev",
    version = "v1alpha1",
    kind = "AuthorizationPolicy",
    // `AuthorizationPolicy` is here the one whose fields are valid.
    root = "AuthorizationPolicyResource",
    plural = "authorizationpolicies",
    shortname = "ap",
    namespaced,
    status = "AuthorizationPolicyStatus",
    doc = "Rego that decides on the traffic of the workloads that it applies to.",
    printcolumn = r#"{"name":"Scope","type":"string","jsonPath":".spec.scope"}"#,
    printcolumn = r#"{"name":"ClientID","type":"string","jsonPath":".spec.clientID"}"#,
    printcolumn = r#"{"name":"Accepted","type":"string","jsonPath":".status.conditions[?(@.type==\"Accepted\")].status"}"#,
    printcolumn = r#"{"name":"Published","type":"string","jsonPath":".status.conditions[?(@.type==\"Published\")].status"}"#,
    printcolumn = r#"{"name":"Hash","type":"string","jsonPath":".status.bundleHash","priority":1}"#,
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.conditions[?(@.type==\"Accepted\")].message","priority":1}"#,
    printcolumn = r#"{"name":"InForce","type":"string","jsonPath":".status.conditions[?(@.type==\"Published\")].message","priority":1}"#,
    printcolumn = r#"{"name":"Warning","type":"string","jsonPath":".status.conditions[?(@.type==\"Warning\")].message","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
pub struct AuthorizationPolicySpec {
    /// Whom it applies to: every identity (`global`, only in the system namespace), every identity of the resource's
    /// namespace (`namespace`), or one of them (`client`).
    #[serde(default)]
    pub scope: Scope,
    /// The client, where the service selects clients by it; else it is `metadata.name`.
    #[serde(default, rename = "clientID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$"))]
    pub client_id: Option<String>,
    /// The modules.
    #[schemars(length(min = 1))]
    pub policies: Vec<PolicyModule>,
}

/// A resource whose fields are all valid. Whether its Rego is, the compiler says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationPolicy {
    /// What it is called.
    pub key: ResourceKey,
    /// Whom it applies to.
    pub scope: Scope,
    /// The client that it names.
    pub client_id: Option<String>,
    /// Its modules; at least one.
    pub modules: Vec<PolicyModule>,
}

/// The members of a manifest, as they are written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Manifest {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    pub(crate) metadata: Metadata,
    spec: AuthorizationPolicySpec,
    #[serde(default, rename = "status")]
    _status: serde::de::IgnoredAny,
}

/// Labels, annotations and what else a cluster writes are passed over.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    name: String,
    #[serde(default)]
    namespace: Option<String>,
}

impl Metadata {
    pub(crate) fn key(&self) -> ResourceKey {
        ResourceKey::new(self.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE), &self.name)
    }
}

impl Manifest {
    /// Checks the fields as the resource's schema does.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub(crate) fn validate(self) -> Result<AuthorizationPolicy, Vec<Refusal>> {
        AuthorizationPolicy::new(self.metadata.key(), self.spec)
    }
}

impl AuthorizationPolicy {
    /// Checks the fields as the resource's schema does.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub(crate) fn new(key: ResourceKey, spec: AuthorizationPolicySpec) -> Result<Self, Vec<Refusal>> {
        let AuthorizationPolicySpec { scope, client_id, policies } = spec;
        let policy = Self { key, scope, client_id, modules: policies };
        let faults = policy.faults();
        if faults.is_empty() { Ok(policy) } else { Err(faults) }
    }

    /// What identifies this version of the resource: a hash of all its fields, the same on every replica.
    #[must_use]
    pub fn version(&self) -> Digest {
        let scope = self.scope.to_string();
        let client_id = self.client_id.as_ref().map(|id| format!("={id}")).unwrap_or_default();
        let head: [&[u8]; 5] = [
            b"secplane policy 1",
            self.key.namespace.as_bytes(),
            self.key.name.as_bytes(),
            scope.as_bytes(),
            client_id.as_bytes(),
        ];
        let modules =
            self.modules.iter().flat_map(|module| [module.path.as_bytes(), module.content.as_bytes()]);
        Digest::of(&head.into_iter().chain(modules).collect::<Vec<_>>())
    }

    /// What is wrong with its fields, in their order.
    pub(crate) fn faults(&self) -> Vec<Refusal> {
        name_faults(&self.key)
            .chain(self.client_id.as_deref().and_then(client_id_fault))
            .chain(self.count_fault())
            .chain(self.modules.iter().flat_map(module_faults))
            .take(MOST_FAULTS)
            .map(|refusal| refusal.of(&self.key))
            .collect()
    }

    fn count_fault(&self) -> Option<Refusal> {
        match self.modules.len() {
            0 => Some(invalid("`spec.policies` is empty; give at least one path and content")),
            1..=MAX_MODULES => None,
            n => Some(invalid(&format!("`spec.policies` has {n} modules; {MAX_MODULES} are allowed"))),
        }
    }
}

fn invalid(message: &str) -> Refusal {
    Refusal::new("invalid_field", message)
}

fn name_faults(key: &ResourceKey) -> impl Iterator<Item = Refusal> {
    let namespace = (!is_label(&key.namespace, 63)).then(|| {
        invalid(&format!(
            "`metadata.namespace` is `{}`; a namespace has at most 63 characters: a-z, 0-9 and `-`, not at the ends",
            key.namespace
        ))
    });
    let is_name = key.name.len() <= 253 && key.name.split('.').all(|label| is_label(label, 253));
    let name = (!is_name).then(|| {
        invalid(&format!(
            "`metadata.name` is `{}`; a name has at most 253 characters: a-z, 0-9, `-` and `.`, not at the ends",
            key.name
        ))
    });
    namespace.into_iter().chain(name)
}

fn is_label(text: &str, longest: usize) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty()
        && text.len() <= longest
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn client_id_fault(id: &str) -> Option<Refusal> {
    let outer = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let valid = id.len() <= 253
        && id.starts_with(outer)
        && id.ends_with(outer)
        && id.chars().all(|c| outer(c) || matches!(c, '.' | '_' | '-'));
    (!valid).then(|| {
        invalid(&format!(
            "`spec.clientID` is `{id}`; it has at most 253 characters: a-z, 0-9, and inside also `.`, `_`, `-`"
        ))
    })
}

fn module_faults(module: &PolicyModule) -> impl Iterator<Item = Refusal> {
    let path = &module.path;
    let long = (path.len() > MAX_PATH_BYTES)
        .then(|| format!("`path` has {} characters; {MAX_PATH_BYTES} are allowed", path.len()));
    let empty = module.content.is_empty().then(|| "`content` is empty".to_owned());
    let faults = path_fault(path).into_iter().chain(long).chain(empty);
    faults.map(move |message| invalid(&message).in_module(path))
}

fn path_fault(path: &str) -> Option<String> {
    let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let valid = path.starts_with(first)
        && path.ends_with(".rego")
        && path.chars().all(|c| first(c) || matches!(c, '/' | '_' | '.' | '-'));
    if !valid {
        return Some(format!(
            "`path` is `{path}`; it begins with a-z or 0-9, ends in `.rego`, and has only a-z, 0-9, `/`, `_`, `.`, `-`"
        ));
    }
    let astray = path.split('/').any(|segment| matches!(segment, "" | "." | ".."));
    astray.then(|| format!("`path` is `{path}`; it may not have a segment that is empty, `.` or `..`"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn manifest(metadata: &str, spec: &str) -> Result<AuthorizationPolicy, Vec<Refusal>> {
        let text = format!("apiVersion: x\nkind: AuthorizationPolicy\nmetadata: {metadata}\nspec: {spec}\n");
        serde_saphyr::from_str::<Manifest>(&text).unwrap().validate()
    }

    const MODULES: &str = "policies: [{path: a.rego, content: x}]";

    #[test]
    fn accepts_the_schema_with_its_defaults() {
        let policy = manifest("{name: agent}", &format!("{{{MODULES}}}")).unwrap();
        assert_eq!(policy.key, ResourceKey::new("default", "agent"));
        assert_eq!((policy.scope, policy.client_id), (Scope::Client, None));
        let policy = manifest(
            "{name: a.b-1, namespace: team-a, labels: {x: y}}",
            &format!("{{scope: namespace, clientID: a_b.c-1, {MODULES}}}"),
        )
        .unwrap();
        assert_eq!(policy.scope, Scope::Namespace);
        assert_eq!(policy.client_id.as_deref(), Some("a_b.c-1"));
    }

    #[rstest]
    #[case("{name: Agent}", MODULES, "metadata.name")]
    #[case("{name: a..b}", MODULES, "metadata.name")]
    #[case("{name: a, namespace: a/b}", MODULES, "metadata.namespace")]
    #[case("{name: a, namespace: a.b}", MODULES, "metadata.namespace")]
    #[case("{name: a}", "clientID: -a, policies: [{path: a.rego, content: x}]", "spec.clientID")]
    #[case("{name: a}", "policies: []", "spec.policies")]
    #[case("{name: a}", "policies: [{path: A.rego, content: x}]", "path")]
    #[case("{name: a}", "policies: [{path: /a.rego, content: x}]", "path")]
    #[case("{name: a}", "policies: [{path: a.txt, content: x}]", "path")]
    #[case("{name: a}", "policies: [{path: x/../../global/inbound/request.rego, content: x}]", "`..`")]
    #[case("{name: a}", "policies: [{path: x/./a.rego, content: x}]", "`.`")]
    #[case("{name: a}", "policies: [{path: x//a.rego, content: x}]", "empty")]
    #[case("{name: a}", "policies: [{path: a.rego, content: ''}]", "content")]
    fn refuses_what_the_schema_does(#[case] metadata: &str, #[case] spec: &str, #[case] word: &str) {
        let refusals = manifest(metadata, &format!("{{{spec}}}")).unwrap_err();
        assert_eq!(refusals.len(), 1, "{refusals:?}");
        assert!(refusals[0].message.contains(word), "{}", refusals[0]);
    }

    #[test]
    fn tells_all_that_is_wrong_in_the_order_of_the_fields() {
        let spec = "{clientID: -a, policies: [{path: A.rego, content: ''}, {path: b.rego, content: x}, \
                    {path: c//c.rego, content: x}]}";
        let refusals = manifest("{name: Agent, namespace: a.b}", spec).unwrap_err();
        let words =
            ["metadata.namespace", "metadata.name", "spec.clientID", "`A.rego`", "`content`", "`c//c.rego`"];
        assert_eq!(refusals.len(), words.len(), "{refusals:?}");
        for (refusal, word) in refusals.iter().zip(words) {
            assert!(refusal.message.contains(word), "{refusal} instead of {word}");
            assert_eq!(refusal.resource, Some(ResourceKey::new("a.b", "Agent")));
        }
        let paths: Vec<_> = refusals.iter().filter_map(|refusal| refusal.path.as_deref()).collect();
        assert_eq!(paths, ["A.rego", "A.rego", "c//c.rego"]);
    }

    #[test]
    fn tells_no_endless_list_of_faults() {
        let modules = vec!["{path: A, content: x}"; 2 * MAX_MODULES].join(", ");
        let refusals = manifest("{name: a}", &format!("{{policies: [{modules}]}}")).unwrap_err();
        assert_eq!(refusals.len(), MOST_FAULTS);
        assert!(refusals[0].message.contains("`spec.policies`"), "{}", refusals[0]);
    }
}
