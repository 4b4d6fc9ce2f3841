//! From an AdmissionReview's question to its answer.

use kube::{
    ResourceExt,
    core::{
        DynamicObject,
        admission::{AdmissionRequest, AdmissionResponse, Operation},
    },
};

use crate::{
    kubernetes::{object, status::describe},
    policy::{KIND, ResourceKey, VERSION},
    refusal::{Refusal, Severity},
    shorten::cut,
    source::Object,
};

/// How many warnings an answer has, and how long each may be: the API server cuts longer ones off.
const MAX_WARNINGS: usize = 8;
const MAX_WARNING_BYTES: usize = 256;

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// Whether this may be stored.
    Judge(Box<Object>),
    /// Nothing that has to be judged.
    Nothing,
}

/// Reads what a request asks for. `groups` are those whose resource is watched.
pub(super) fn question(request: &AdmissionRequest<DynamicObject>, groups: &[String]) -> Question {
    let ours = request.kind.kind == KIND
        && request.kind.version == VERSION
        && groups.contains(&request.kind.group)
        && request.sub_resource.is_none();
    let Some(stored) = request.object.as_ref().filter(|_| ours) else { return Question::Nothing };
    match request.operation {
        Operation::Create | Operation::Update => {}
        // Taking a policy away is never malformed.
        Operation::Delete | Operation::Connect => return Question::Nothing,
    }
    let spec = stored.data.get("spec");
    let old = request.old_object.as_ref().and_then(|old| old.data.get("spec"));
    // A resource that is refused already can still be labelled, and lose its finalizers.
    if old.is_some() && old == spec {
        return Question::Nothing;
    }
    let namespace = request.namespace.as_deref().or(stored.metadata.namespace.as_deref()).unwrap_or_default();
    // With `generateName` there is no name yet; the checks need one that is well-formed.
    let name = match stored.name_any() {
        name if name.is_empty() => "unnamed".to_owned(),
        name => name.trim_end_matches(['-', '.']).to_owned(),
    };
    let key = ResourceKey::new(namespace, &name);
    Question::Judge(Box::new(object::read_spec(&request.kind.group, &key, None, spec)))
}

/// The answer by what would be refused.
pub(super) fn answer(request: &AdmissionRequest<DynamicObject>, found: Vec<Refusal>) -> AdmissionResponse {
    let response = AdmissionResponse::from(request);
    let (errors, warnings): (Vec<Refusal>, Vec<Refusal>) =
        found.into_iter().partition(|refusal| refusal.severity == Severity::Error);
    let mut response = if errors.is_empty() {
        response
    } else {
        let mut response = response.deny(describe(&errors));
        // What `kubectl` exits with, and what controllers do not try again.
        (response.result.code, response.result.reason) = (422, "Invalid".to_owned());
        response
    };
    let lines = warnings.iter().take(MAX_WARNINGS).map(|warning| {
        let mut line = describe(std::slice::from_ref(warning)).lines().next().unwrap_or_default().to_owned();
        cut(&mut line, MAX_WARNING_BYTES);
        line
    });
    let lines: Vec<String> = lines.collect();
    response.warnings = (!lines.is_empty()).then_some(lines);
    response
}

#[cfg(test)]
pub(super) mod tests {
    use kube::core::admission::AdmissionReview;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    /// A question as an API server asks it.
    pub(in super::super) fn review(operation: &str, spec: &Value, old: &Value) -> Value {
        let object = |spec: &Value| match spec {
            Value::Null => Value::Null,
            spec => json!({
                "apiVersion": "agent.kagenti.dev/v1alpha1",
                "kind": "AuthorizationPolicy",
                "metadata": { "name": "agent", "namespace": "team-a", "uid": "o", "generation": 1 },
                "spec": spec,
            }),
        };
        json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "7",
                "kind": { "group": "agent.kagenti.dev", "version": "v1alpha1", "kind": "AuthorizationPolicy" },
                "resource":
                    { "group": "agent.kagenti.dev", "version": "v1alpha1", "resource": "authorizationpolicies" },
                "name": "agent",
                "namespace": "team-a",
                "operation": operation,
                "userInfo": { "username": "somebody" },
                "object": object(spec),
                "oldObject": object(old),
                "dryRun": false,
            },
        })
    }

    fn request(review: Value) -> AdmissionRequest<DynamicObject> {
        let review: AdmissionReview<DynamicObject> = serde_json::from_value(review).unwrap();
        review.try_into().unwrap()
    }

    fn groups() -> Vec<String> {
        vec!["agent.kagenti.dev".to_owned()]
    }

    fn spec(content: &str) -> Value {
        json!({ "scope": "namespace", "policies": [{ "path": "a.rego", "content": content }] })
    }

    #[rstest]
    #[case::created("CREATE", spec("x"), Value::Null, true)]
    #[case::changed("UPDATE", spec("x"), spec("y"), true)]
    #[case::labelled("UPDATE", spec("x"), spec("x"), false)]
    #[case::deleted("DELETE", Value::Null, spec("x"), false)]
    fn judges_what_changes_a_policy(
        #[case] operation: &str,
        #[case] new: Value,
        #[case] old: Value,
        #[case] judged: bool,
    ) {
        let question = question(&request(review(operation, &new, &old)), &groups());
        assert_eq!(matches!(question, Question::Judge(_)), judged);
    }

    #[test]
    fn passes_over_what_is_not_ours() {
        let mut other = request(review("CREATE", &spec("x"), &Value::Null));
        other.kind.group = "security.istio.io".to_owned();
        assert_eq!(question(&other, &groups()), Question::Nothing);
        let mut status = request(review("UPDATE", &spec("x"), &spec("y")));
        status.sub_resource = Some("status".to_owned());
        assert_eq!(question(&status, &groups()), Question::Nothing);
    }

    #[test]
    fn refuses_with_the_line_and_warns_without_refusing() {
        let request = request(review("CREATE", &spec("x"), &Value::Null));
        let refusal =
            Refusal { line: 3, column: 1, ..Refusal::new("rego_parse_error", "wrong").in_module("a.rego") };
        let warning = Refusal::new("client_disagrees", "two names").warning();
        let denied = answer(&request, vec![warning.clone(), refusal]);
        assert!(!denied.allowed);
        assert_eq!((denied.uid.as_str(), denied.result.code), ("7", 422));
        assert_eq!(denied.result.message, "a.rego:3:1: wrong (rego_parse_error)");
        let allowed = answer(&request, vec![warning]);
        assert!(allowed.allowed);
        assert_eq!(allowed.warnings.unwrap(), ["two names (client_disagrees)"]);
        assert_eq!(answer(&request, Vec::new()).warnings, None);
    }
}
