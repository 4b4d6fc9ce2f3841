//! Join tokens that were used, whatever their rows say.
//!
//! The MAC of a row proves that this authority wrote it, not that it is the latest: whoever can write the database can put
//! back the row of a token as it was before its use. What was issued to the agent that the token made is on record
//! elsewhere, and the token opens nothing while that record stands.

use secplane_identity::SpiffeId;

use super::{Agents, TokenHash};
use crate::store::StoreError;

impl Agents {
    /// Whether the token that makes this agent has made it already. It may have been evicted since.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn has_joined(&self, id: &SpiffeId) -> Result<bool, StoreError> {
        self.store.was_issued_to(id.as_str()).await
    }

    /// Counts and reports the row of a used token that says that nobody used it.
    pub(crate) fn refuse_used_token(&self, hash: TokenHash) {
        self.refused_tokens.add(hash.as_bytes().to_vec());
        tracing::error!(
            token_sha256 = hash.prefix(),
            "a join token is refused: its agent has a certificate on record, but the token's row says that nobody used it; \
             somebody changed the database. The row goes after its end, or by deleting it from the table `join_tokens`"
        );
    }
}
