//! The certificate authority from outside: over its sockets, by its files, as a process.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod agent_entries;
mod agent_renewal;
mod agent_svids;
mod agents;
mod audit;
mod backup;
mod callers;
mod certificate_requests;
mod configuration;
mod connections;
mod doctor;
mod durability;
mod entries;
mod entry_lists;
mod entry_rows;
mod federation;
mod first_start;
mod handshakes;
mod init;
mod insecure;
mod issuance;
mod jwt_svids;
mod keys;
mod operations;
mod renewal;
mod revocation;
mod revocation_lists;
mod revoked_sidecars;
mod root_rotation;
mod rotation;
mod service_manager;
mod start_refusals;
mod traces;
mod workload_api;
mod workload_updates;
