//! Where a card is read: a file, standard input, the web, or the ConfigMap that holds it in a cluster.

use std::path::Path;

use secplane_agent_card::MAX_CARD_BYTES;

use super::web::{self, WebRoots, WebUrl};
use crate::{
    config_map::{self, CARD_KEY},
    failure::Failure,
    files,
};

/// Reads the bytes of a card. What they are is the reader's next question.
///
/// Only when `is_config_map` says so is the card looked for inside another document: a card could say of itself that
/// it is a ConfigMap, and then another one would be verified than its readers see.
pub(super) async fn read(from: &str, is_config_map: bool, roots: &WebRoots) -> Result<Vec<u8>, Failure> {
    // A ConfigMap has its own overhead, and escapes.
    let limit = if is_config_map { 4 * MAX_CARD_BYTES } else { MAX_CARD_BYTES };
    let bytes = if from.starts_with("https://") || from.starts_with("http://") {
        web::get(&WebUrl::parse(from)?, roots, limit).await?
    } else {
        files::read_bytes(Path::new(from), limit)?
    };
    if !is_config_map {
        return Ok(bytes);
    }
    let what = || format!("read the card in the ConfigMap `{from}`");
    let text = String::from_utf8(bytes).map_err(|_| Failure::refused(what(), "it is not UTF-8 text"))?;
    config_map::value(&text, &[CARD_KEY])
        .map(|(_, card)| card.into_bytes())
        .map_err(|error| Failure::refused(what(), error))
}
