//! How a filter's selectors are held against those of an entry or an agent.

use secplane_proto::spire::api::types::{SelectorMatch, selector_match::MatchBehavior};
use tonic::Status;

use crate::registry::Match;

/// How the selectors of a filter match.
///
/// # Errors
/// When that is none of the ways that this API knows.
pub(super) fn behavior(wire: &SelectorMatch) -> Result<Match, Status> {
    match MatchBehavior::try_from(wire.r#match) {
        Ok(MatchBehavior::MatchExact) => Ok(Match::Exact),
        Ok(MatchBehavior::MatchSubset) => Ok(Match::Subset),
        Ok(MatchBehavior::MatchSuperset) => Ok(Match::Superset),
        Ok(MatchBehavior::MatchAny) => Ok(Match::Any),
        Err(_) => Err(Status::invalid_argument("the filter's selector match is not known")),
    }
}
