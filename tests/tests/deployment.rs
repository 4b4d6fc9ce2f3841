//! What `deploy/` ships: the configuration in it loads, and a replica can do there what it promises.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{fs, path::Path};

use secplane_configuration::from_yaml;
use serde_json::Value;

/// The resource of a kind in the manifest of the bundle service.
fn shipped(kind: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes/bundle-service.yaml");
    let text = fs::read_to_string(path).unwrap();
    let mut resources = text.split("\n---\n").map(|text| serde_saphyr::from_str::<Value>(text).unwrap());
    resources.find(|resource| resource["kind"] == kind).unwrap()
}

fn configuration() -> bundle_service::Config {
    let map = shipped("ConfigMap");
    let config: bundle_service::Config =
        from_yaml(map["data"]["bundle-service.yaml"].as_str().unwrap()).unwrap();
    config.check().unwrap();
    config
}

#[test]
fn keeps_what_was_in_force_on_a_volume_of_each_replica() {
    let config = configuration();
    let set = shipped("StatefulSet");
    let claims = set["spec"]["volumeClaimTemplates"].as_array().unwrap();
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    let mounts = container["volumeMounts"].as_array().unwrap();
    for written in [config.data_dir.unwrap(), config.admin_socket.unwrap()] {
        let mount = mounts.iter().find(|mount| written.starts_with(mount["mountPath"].as_str().unwrap()));
        let mount = mount.unwrap_or_else(|| panic!("{} is on the read-only root", written.display()));
        assert_ne!(mount["readOnly"], true, "{}", written.display());
        let claim = claims.iter().find(|claim| claim["metadata"]["name"] == mount["name"]);
        assert!(claim.is_some(), "{} goes with the pod", written.display());
    }
}

/// A new volume is root's: without the group the service could not write to it.
#[test]
fn may_write_to_its_volume_without_being_root() {
    let set = shipped("StatefulSet");
    let user = &set["spec"]["template"]["spec"]["securityContext"];
    assert_eq!(user["runAsNonRoot"], true);
    assert!(user["fsGroup"].is_u64() && user["fsGroup"] == user["runAsGroup"], "{user}");
    // Otherwise each start would let the group read and write what the service keeps for itself.
    assert_eq!(user["fsGroupChangePolicy"], "OnRootMismatch");
}
