//! Whether everyone still gets the revocation lists.

use super::Finding;
use crate::{agent::MAX_LISTS_BYTES, revocation::MAX_ENTRIES};

const CHECK: &str = "revocation";
const REMEDY: &str = "revoke the issuing CA: that is one entry on the root's list";

/// What `bytes` of lists, and an issuer's entries where it has the most of all, come to.
pub(super) fn finding(bytes: i64, fullest: Option<(&str, i64)>) -> Finding {
    let is_beyond = |number: i64, most: usize| usize::try_from(number).is_ok_and(|number| number > most);
    if let Some((issuer, entries)) = fullest
        && is_beyond(entries, MAX_ENTRIES)
    {
        return Finding::fail(
            CHECK,
            format!(
                "{entries} certificates of {issuer} are revoked, and its list has room for {MAX_ENTRIES}: no later \
                 revocation is published; {REMEDY}"
            ),
        );
    }
    if is_beyond(bytes, MAX_LISTS_BYTES) {
        return Finding::warn(
            CHECK,
            format!(
                "the lists have {bytes} bytes, and most clients of the Workload API have room for {MAX_LISTS_BYTES}: it leaves \
                 some out for them; {REMEDY}"
            ),
        );
    }
    Finding::ok(CHECK, format!("the lists have {bytes} bytes"))
}

/// A CA above the issuing CAs that has no list.
pub(super) fn without(ca: &str) -> Finding {
    Finding::warn(
        CHECK,
        format!(
            "the key usage of the CA {ca} lacks cRLSign, so it has no list: that a CA below it is revoked is known to the \
             authority alone, and to nobody who reads lists; have it certified with keyCertSign and cRLSign"
        ),
    )
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::operations::doctor::Verdict;

    #[rstest]
    #[case::nothing_revoked(0, None, Verdict::Ok)]
    #[case::all_that_the_workload_api_carries(3_145_728, Some(("aa", 80_000)), Verdict::Ok)]
    #[case::more_than_the_workload_api_carries(3_145_729, Some(("aa", 80_001)), Verdict::Warn)]
    #[case::a_full_list(48_000_000, Some(("aa", 900_000)), Verdict::Warn)]
    #[case::more_than_a_list_has_room_for(48_000_000, Some(("aa", 900_001)), Verdict::Fail)]
    fn says_whom_revocations_no_longer_reach(
        #[case] bytes: i64,
        #[case] fullest: Option<(&str, i64)>,
        #[case] verdict: Verdict,
    ) {
        assert_eq!(finding(bytes, fullest).verdict, verdict);
    }
}
