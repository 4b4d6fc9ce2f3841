//! Lists are answered in pages that a client can read.

use prost::Message;

/// The most of one page, in bytes. A client reads 4 MiB of one answer unless it is told otherwise.
const LARGEST_PAGE_BYTES: usize = 3 * 1024 * 1024;

/// The first messages, as many as fit on a page; one always does.
pub(super) fn fitting<M: Message>(messages: impl IntoIterator<Item = M>) -> Vec<M> {
    let mut page = Vec::new();
    let mut bytes = 0;
    for message in messages {
        bytes += message.encoded_len();
        if bytes > LARGEST_PAGE_BYTES && !page.is_empty() {
            break;
        }
        page.push(message);
    }
    page
}
