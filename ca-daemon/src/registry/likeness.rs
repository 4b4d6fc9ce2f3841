//! When two entries are the same entry.

use aws_lc_rs::digest;

use super::Entry;

/// The SHA-256 of what makes two entries similar: SPIFFE ID, parent and the set of selectors, each with its length
/// before it. There is at most one entry of each, here and in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Likeness([u8; 32]);

impl Likeness {
    pub(super) fn of(entry: &Entry) -> Self {
        let fields = entry.fields();
        let mut context = digest::Context::new(&digest::SHA256);
        // A set of selectors has one order, so two entries that say the same have the same bytes.
        let selectors = fields.selectors.iter().map(super::Selector::as_str);
        for part in [fields.spiffe_id.as_str(), fields.parent_id.as_str()].into_iter().chain(selectors) {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }

    /// As it stands in the database.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
