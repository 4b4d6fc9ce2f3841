//! What the machine is called: in a cluster, the pod.

use std::fs;

/// Its name; empty when the system does not say.
pub(crate) fn name() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}
