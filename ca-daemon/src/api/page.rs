//! Answers that a client can read, however much there is to say.

use prost::Message;
use secplane_identity::TrustDomain;
use tonic::Status;

/// The most of one answer, in bytes. A client reads 4 MiB of one message unless it is told otherwise.
const LARGEST_ANSWER: usize = 3 * 1024 * 1024;

const DEFAULT_SIZE: usize = 200;
const LARGEST_SIZE: usize = 500;

/// How many items a page has that a caller wants to have so many.
pub(super) fn size(wanted: i32) -> Result<usize, Status> {
    match usize::try_from(wanted) {
        Ok(0) => Ok(DEFAULT_SIZE),
        Ok(size) => Ok(size.min(LARGEST_SIZE)),
        Err(_) => Err(Status::invalid_argument("the page size is negative")),
    }
}

/// The token of a page of trust domains: after which one it begins.
pub(super) fn after(token: &str) -> Result<Option<TrustDomain>, Status> {
    let foreign = |_| Status::invalid_argument("the page token is not one that this authority gave out");
    if token.is_empty() { Ok(None) } else { TrustDomain::parse(token).map(Some).map_err(foreign) }
}

/// The first messages, as many as fit on a page; one always does.
pub(super) fn fitting<M: Message>(messages: impl IntoIterator<Item = M>) -> Vec<M> {
    let mut room = Room::default();
    messages.into_iter().take_while(|message| room.holds(message)).collect()
}

/// What is left of one answer.
#[derive(Default)]
pub(super) struct Room {
    used: usize,
}

impl Room {
    /// Whether a further message fits; then it has its place. The first one always fits.
    pub(super) fn holds(&mut self, message: &impl Message) -> bool {
        let length = message.encoded_len();
        let fits = self.used == 0 || self.used + length <= LARGEST_ANSWER;
        if fits {
            self.used += length;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use secplane_proto::spire::api::types::Selector;

    use super::*;

    fn of_size(bytes: usize) -> Selector {
        Selector { r#type: "a".repeat(bytes), value: String::new() }
    }

    #[test]
    fn holds_what_a_client_can_read() {
        let messages = (0..10).map(|_| of_size(1024 * 1024));
        assert_eq!(fitting(messages).len(), 2, "two, for each is a little longer than a megabyte");
    }

    #[test]
    fn holds_one_at_least() {
        assert_eq!(fitting([of_size(5 * 1024 * 1024), of_size(1)]).len(), 1);
    }
}
