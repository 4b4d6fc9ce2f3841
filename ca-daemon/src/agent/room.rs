//! Which revocation lists go into one message of the Workload API.
//!
//! Most clients take no message of more than 4 MB, and for them a list that does not fit is left out. A client of ours
//! says how much it takes. When that is not enough either it is refused, not given a part: it keeps what it has and says
//! so, while it would go on trusting whom a list names that it never got.

use secplane_identity::workload_api::LARGEST_MESSAGE;
use tonic::{Status, metadata::MetadataMap};

/// How much of a message lists may take for a client that does not say how much it takes, in bytes.
pub(crate) const MAX_LISTS_BYTES: usize = 3 * 1024 * 1024;
/// The largest message that is sent to anybody, in bytes.
const LARGEST: usize = 64 * 1024 * 1024;
/// What of a message is kept for SVIDs and bundles, in bytes.
const REST: usize = 1024 * 1024;

/// The room for lists in the messages to one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    bytes: usize,
    /// Whether the client said how much it takes.
    is_said: bool,
}

impl Room {
    /// As the metadata of a call says. What cannot be read says nothing.
    pub(super) fn of(metadata: &MetadataMap) -> Self {
        let said = metadata.get(LARGEST_MESSAGE).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        match said {
            Some(said) => Self { bytes: said.min(LARGEST).saturating_sub(REST), is_said: true },
            None => Self { bytes: MAX_LISTS_BYTES, is_said: false },
        }
    }

    /// The lists that fit, of these with the key IDs of their issuers.
    pub(super) fn fill<'a>(
        self,
        lists: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Vec<Vec<u8>>, Status> {
        let mut left = self.bytes;
        let mut fitting = Vec::new();
        for (issuer, crl) in lists {
            if let Some(rest) = left.checked_sub(crl.len()) {
                left = rest;
                fitting.push(crl.to_vec());
            } else if self.is_said {
                tracing::error!(
                    issuer,
                    "the revocation lists are too large for a client of the Workload API, which is refused"
                );
                return Err(Status::resource_exhausted(
                    "the revocation lists do not fit into the largest message that is taken; revoke the issuing CA, which \
                     is one entry on the root's list",
                ));
            } else {
                tracing::error!(
                    issuer,
                    "a revocation list is left out of the Workload API: clients take 4 MB"
                );
            }
        }
        Ok(fitting)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use tonic::{Code, metadata::MetadataValue};

    use super::*;

    fn said(largest: &'static str) -> Room {
        let mut metadata = MetadataMap::new();
        metadata.insert(LARGEST_MESSAGE, MetadataValue::from_static(largest));
        Room::of(&metadata)
    }

    #[test]
    fn leaves_out_what_does_not_fit_for_whoever_does_not_say() {
        let (large, small) = (vec![1; MAX_LISTS_BYTES], vec![2; 10]);
        let room = Room::of(&MetadataMap::new());
        assert_eq!(
            room.fill([("aa", &large[..]), ("bb", &small[..])]).unwrap(),
            std::slice::from_ref(&large)
        );
        let too_large = vec![1; MAX_LISTS_BYTES + 1];
        assert_eq!(room.fill([("aa", &too_large[..]), ("bb", &small[..])]).unwrap(), [small]);
    }

    #[test]
    fn gives_all_of_them_or_none_to_whoever_says() {
        let (large, small) = (vec![1; MAX_LISTS_BYTES + 1], vec![2; 10]);
        let room = said("16777216");
        let lists = [("aa", &large[..]), ("bb", &small[..])];
        assert_eq!(room.fill(lists).unwrap(), [large.clone(), small.clone()]);
        let beyond = vec![3; 16 * 1024 * 1024];
        let refused = room.fill([("aa", &small[..]), ("bb", &beyond[..])]).unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
    }

    #[rstest]
    #[case::more_than_is_sent("99999999999", LARGEST - REST, true)]
    #[case::nothing_but_the_rest("1048576", 0, true)]
    #[case::less_than_the_rest("5", 0, true)]
    #[case::no_number("a lot", MAX_LISTS_BYTES, false)]
    #[case::negative("-1", MAX_LISTS_BYTES, false)]
    fn takes_the_word_of_a_client(
        #[case] largest: &'static str,
        #[case] bytes: usize,
        #[case] is_said: bool,
    ) {
        assert_eq!(said(largest), Room { bytes, is_said });
    }
}
