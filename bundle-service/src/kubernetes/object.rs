//! A stored object as an AuthorizationPolicy.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use kube::{
    ResourceExt,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde::Deserialize;
use serde_json::Value;

use super::status::{AuthorizationPolicyStatus, Fingerprint};
use crate::{
    policy::{AuthorizationPolicy, AuthorizationPolicySpec, KIND, ResourceKey, Scope, VERSION},
    refusal::Refusal,
    source::{Object, SourceKind},
};

/// The name of the resource in addresses.
pub(super) const PLURAL: &str = "authorizationpolicies";

/// The resource of a group.
pub(super) fn api_resource(group: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, VERSION, KIND), PLURAL)
}

/// The resource's full name.
pub(super) fn full_name(group: &str) -> String {
    format!("{PLURAL}.{group}")
}

/// What the place of the resource's objects is called.
pub(super) fn place(group: &str) -> String {
    format!("{}{}", SourceKind::Kubernetes.label(), full_name(group))
}

/// What an object is called; `None` for one without name or namespace, which the API server never has.
pub(super) fn key_of(stored: &DynamicObject) -> Option<ResourceKey> {
    Some(ResourceKey::new(stored.metadata.namespace.as_deref()?, stored.metadata.name.as_deref()?))
}

/// What tells one version of an object from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) uid: String,
    pub(super) generation: i64,
    /// The hash of the content. After a restored backup the same generation may hold another one.
    spec: [u8; 32],
}

impl Version {
    pub(super) fn of(stored: &DynamicObject) -> Self {
        let spec = stored.data.get("spec").unwrap_or(&Value::Null).to_string();
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, spec.as_bytes()).as_ref());
        Self {
            uid: stored.uid().unwrap_or_default(),
            generation: stored.metadata.generation.unwrap_or_default(),
            spec: hash,
        }
    }
}

/// The fingerprint of the status that an object has.
pub(super) fn fingerprint(stored: &DynamicObject) -> Fingerprint {
    status_of(stored).unwrap_or_default().fingerprint()
}

/// The status that an object has; `None` when there is none, or none of ours.
pub(super) fn status_of(stored: &DynamicObject) -> Option<AuthorizationPolicyStatus> {
    AuthorizationPolicyStatus::deserialize(stored.data.get("status")?).ok()
}

/// The policy that an object holds, or all that is wrong with its fields.
pub(super) fn read(group: &str, key: &ResourceKey, stored: &DynamicObject) -> Arc<Object> {
    Arc::new(read_spec(group, key, stored.metadata.generation, stored.data.get("spec")))
}

/// As [`read`], from the parts.
pub(super) fn read_spec(
    group: &str,
    key: &ResourceKey,
    generation: Option<i64>,
    spec: Option<&Value>,
) -> Object {
    let spec = spec.unwrap_or(&Value::Null);
    let invalid = |error: serde_json::Error| {
        let refusal = Refusal::new("invalid_field", format!("`spec` cannot be read: {error}"));
        vec![refusal.of(key)]
    };
    let policy = AuthorizationPolicySpec::deserialize(spec)
        .map_err(invalid)
        .and_then(|spec| AuthorizationPolicy::new(key.clone(), spec).map(Arc::new));
    // As far as they can be read, so that a policy that cannot be read breaks its own tier and no other.
    let scope = spec.get("scope").and_then(|scope| Scope::deserialize(scope).ok());
    Object {
        key: key.clone(),
        scope: scope.unwrap_or_default(),
        client_id: spec.get("clientID").and_then(Value::as_str).map(str::to_owned),
        file: place(group),
        commit: None,
        generation,
        policy,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stored(generation: i64, spec: &Value) -> DynamicObject {
        serde_json::from_value(json!({
            "metadata": { "namespace": "team-a", "name": "agent", "uid": "u", "generation": generation },
            "spec": spec,
        }))
        .unwrap()
    }

    #[test]
    fn reads_a_policy_with_its_generation() {
        let spec = json!({ "scope": "namespace", "policies": [{ "path": "a.rego", "content": "x" }] });
        let stored = stored(3, &spec);
        let object = read("agent.kagenti.dev", &key_of(&stored).unwrap(), &stored);
        assert_eq!((object.generation, object.scope), (Some(3), Scope::Namespace));
        assert_eq!(object.file, "kubernetes:authorizationpolicies.agent.kagenti.dev");
        assert_eq!(object.policy.as_ref().unwrap().modules.len(), 1);
    }

    #[test]
    fn a_field_that_is_not_known_is_refused_by_its_name() {
        let spec = json!({ "scope": "namespace", "policies": [], "precedence": 1 });
        let stored = stored(1, &spec);
        let object = read("agent.kagenti.dev", &key_of(&stored).unwrap(), &stored);
        let refusal = &object.policy.as_ref().unwrap_err()[0];
        assert!(refusal.message.contains("precedence"), "{refusal}");
        assert_eq!(object.scope, Scope::Namespace, "it is the namespace's tier that is broken");
    }

    #[test]
    fn another_content_is_another_version_even_in_the_same_generation() {
        let one = Version::of(&stored(1, &json!({ "policies": [1] })));
        assert_eq!(one, Version::of(&stored(1, &json!({ "policies": [1] }))));
        assert_ne!(one, Version::of(&stored(1, &json!({ "policies": [2] }))));
        assert_ne!(one, Version::of(&stored(2, &json!({ "policies": [1] }))));
    }
}
