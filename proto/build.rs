//! Compiles the `.proto` files in pure Rust: no `protoc` is needed.

use std::{env, error::Error, fmt::Write, fs, path::Path};

use protox::prost::Message;

/// The services of the authority.
const SERVER: &[&str] = &[
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
];
/// The service of the Workload API's socket.
const WORKLOAD: &[&str] = &["spiffe/workload.proto"];
/// Messages without a service.
const MESSAGES: &[&str] =
    &["spire/api/types/types.proto", "secplane/ca/store/v1/agents.proto", "google/rpc/status.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = env::var("OUT_DIR")?;
    let out = Path::new(&out);
    fs::write(out.join("server.bin"), described(SERVER)?)?;
    fs::write(out.join("workload.bin"), described(WORKLOAD)?)?;
    let descriptors = protox::compile([SERVER, WORKLOAD, MESSAGES].concat(), ["proto"])?;
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
    fs::write(out.join("methods.rs"), list)?;
    tonic_prost_build::configure()
        .generate_default_stubs(false)
        // An audit record has one encoding: a hash map's order differs from one process to the next.
        .btree_map(".secplane.ca.v1.AuditRecord")
        .compile_fds(descriptors)?;
    Ok(())
}

/// The descriptors of files and of all that they import, without what only their authors need.
fn described(files: &[&str]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut descriptors = protox::compile(files, ["proto"])?;
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    Ok(descriptors.encode_to_vec())
}
