//! Compiles the `.proto` files in pure Rust: no `protoc` is needed.

use std::error::Error;

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
    "secplane/ca/v1/audit.proto",
    "secplane/ca/v1/certificates.proto",
    "secplane/ca/v1/revocations.proto",
    "secplane/ca/v1/authority.proto",
    "spiffe/workload.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure()
        .generate_default_stubs(false)
        // An audit record has one encoding: a hash map's order differs from one process to the next.
        .btree_map(".secplane.ca.v1.AuditRecord")
        .compile_fds(descriptors)?;
    Ok(())
}
