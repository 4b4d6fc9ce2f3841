//! The resource's definition (CRD), made from its type.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use super::object::full_name;
use crate::policy::AuthorizationPolicyResource;

/// The definition of the resource in a group.
#[must_use]
pub fn definition(group: &str) -> CustomResourceDefinition {
    let mut definition = AuthorizationPolicyResource::crd();
    definition.metadata.name = Some(full_name(group));
    definition.spec.group = group.to_owned();
    definition
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::PathBuf};

    use rstest::rstest;

    use super::*;

    /// Set it to write the files anew.
    const UPDATE: &str = "UPDATE_DOCUMENTATION";

    #[rstest]
    #[case("agent.kagenti.dev")]
    #[case("agent.rossoctl.dev")]
    fn what_is_shipped_is_made_from_the_type(#[case] group: &str) {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../deploy/kubernetes/crds")
            .join(format!("{group}.yaml"));
        let definition = serde_saphyr::to_string(&definition(group)).unwrap();
        let text = format!(
            "# Made from the resource's type; `{UPDATE}=1 cargo test -p bundle-service definition` writes it anew.\n\
             {definition}"
        );
        if env::var_os(UPDATE).is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let shipped = fs::read_to_string(&path).unwrap_or_default();
        assert!(shipped == text, "{} is out of date; run this test with {UPDATE}=1", path.display());
    }
}
