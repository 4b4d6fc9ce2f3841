//! How many calls workloads have open at once: none that forgets to end them, or means not to, keeps others from theirs.

use secplane_identity::serve::{Share, Shares};

use crate::attest::AttestedProcess;

/// A program opens a few streams and keeps them.
const MOST_OF_PROCESS: usize = 64;
/// One user may run many programs.
const MOST_OF_USER: usize = 4096;

/// The calls that are open.
pub(super) struct Calls {
    of_process: Shares<i32>,
    of_user: Shares<u32>,
}

/// A call, while it is open.
pub(super) struct OpenCall {
    _of_process: Share<i32>,
    _of_user: Share<u32>,
}

impl Default for Calls {
    fn default() -> Self {
        Self { of_process: Shares::of_at_most(MOST_OF_PROCESS), of_user: Shares::of_at_most(MOST_OF_USER) }
    }
}

impl Calls {
    /// Counts one more call of a process, unless it or its user has as many open as they may.
    pub(super) fn begin(&self, process: &AttestedProcess) -> Result<OpenCall, TooManyCalls> {
        let (pid, uid) = (process.pid(), process.uid());
        let of_process = self.of_process.take(pid).ok_or(TooManyCalls::OfProcess(pid))?;
        let of_user = self.of_user.take(uid).ok_or(TooManyCalls::OfUser(uid))?;
        Ok(OpenCall { _of_process: of_process, _of_user: of_user })
    }
}

/// Whose calls are too many.
#[derive(Debug, thiserror::Error)]
pub(super) enum TooManyCalls {
    #[error(
        "process {0} has {MOST_OF_PROCESS} calls to the Workload API open; end some, or keep one stream open"
    )]
    OfProcess(i32),
    #[error("user {0} has {MOST_OF_USER} calls to the Workload API open; end some")]
    OfUser(u32),
}
