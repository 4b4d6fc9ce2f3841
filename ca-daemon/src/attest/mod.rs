//! Who is asking: workload attestors for processes of this machine, node attestors for agents of other machines.

mod join_token;
mod unix;

pub use join_token::{AttestedNode, JoinTokenAttestor, NodeError};
pub use unix::{AttestError, AttestedProcess, ExecutableHashes};
