//! Who is asking on this machine: workload attestors.

mod unix;

pub use unix::{AttestError, AttestedProcess, ExecutableHashes};
