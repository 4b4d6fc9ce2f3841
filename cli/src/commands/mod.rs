//! The commands, one file a noun. Each reads its options, asks, and reports; none knows how results are written.

pub(crate) mod agent;
pub(crate) mod agentcard;
pub(crate) mod audit;
pub(crate) mod bundle;
pub(crate) mod ca;
pub(crate) mod ca_crl;
mod ca_istio;
mod ca_rekey;
mod ca_upstream;
pub(crate) mod cert;
pub(crate) mod entry;
pub(crate) mod federation;
pub(crate) mod policy;
pub(crate) mod svid;
pub(crate) mod token;
pub(crate) mod trust_bundle;

use std::{path::PathBuf, time::Duration};

/// A validity on the wire: whole seconds, 0 for the server's default. A part of a second counts as one, so that
/// what was asked for never turns into the default.
fn wire_ttl(ttl: Option<Duration>) -> i64 {
    ttl.map_or(0, |ttl| {
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        i64::try_from(seconds.max(1)).unwrap_or(i64::MAX)
    })
}

fn file_list(files: &[PathBuf]) -> String {
    files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(None, 0)]
    #[case(Some(Duration::ZERO), 1)]
    #[case(Some(Duration::from_millis(1)), 1)]
    #[case(Some(Duration::from_secs(90)), 90)]
    #[case(Some(Duration::from_millis(90_500)), 91)]
    fn rounds_validities_up(#[case] ttl: Option<Duration>, #[case] seconds: i64) {
        assert_eq!(wire_ttl(ttl), seconds);
    }
}
