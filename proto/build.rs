//! Compiles the `.proto` files in pure Rust: no `protoc` is needed.

use std::{env, error::Error, fmt::Write, fs, path::Path};

const FILES: &[&str] = &[
    "spire/api/types/types.proto",
    "spire/api/server/svid/v1/svid.proto",
    "spire/api/server/entry/v1/entry.proto",
    "spire/api/server/bundle/v1/bundle.proto",
    "spire/api/server/agent/v1/agent.proto",
    "spire/api/server/trustdomain/v1/trustdomain.proto",
    "spire/api/server/localauthority/v1/localauthority.proto",
    "spire/api/server/debug/v1/debug.proto",
    "spire/api/server/logger/v1/logger.proto",
    "secplane/ca/v1/agent_cards.proto",
    "secplane/ca/v1/audit.proto",
    "secplane/ca/v1/certificates.proto",
    "secplane/ca/v1/revocations.proto",
    "secplane/ca/v1/authority.proto",
    "secplane/ca/store/v1/agents.proto",
    "google/rpc/status.proto",
    "spiffe/workload.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let mut methods: Vec<String> = descriptors
        .file
        .iter()
        .flat_map(|file| file.service.iter().map(move |service| (file.package(), service)))
        .flat_map(|(package, service)| {
            let dot = if package.is_empty() { "" } else { "." };
            service
                .method
                .iter()
                .map(move |method| format!("/{package}{dot}{}/{}", service.name(), method.name()))
        })
        .collect();
    methods.sort();
    let mut list = String::from("&[\n");
    for method in methods {
        writeln!(list, "    {method:?},")?;
    }
    list.push_str("]\n");
    fs::write(Path::new(&env::var("OUT_DIR")?).join("methods.rs"), list)?;
    tonic_prost_build::configure()
        .generate_default_stubs(false)
        // An audit record has one encoding: a hash map's order differs from one process to the next.
        .btree_map(".secplane.ca.v1.AuditRecord")
        .compile_fds(descriptors)?;
    Ok(())
}
