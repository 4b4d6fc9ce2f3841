//! Join tokens in texts that others read.
//!
//! The SPIFFE ID of an agent that joined by a token holds the token, which is used up and harmless then. But that ID can
//! be written before the node has joined: as the parent of an entry, or by an admin who takes it for one that has. Then
//! the token is a live secret.

use std::ops::Range;

use super::join_token::TokenHash;

/// What stands before the token in an agent's ID.
const BEFORE: &str = "agent/join_token/";
const SCHEME: &str = "spiffe://";

/// The SPIFFE IDs with a join token in them that a text names.
pub(crate) fn agents_by_token(text: &str) -> impl Iterator<Item = &str> {
    tokens(text).map(|(_, agent)| agent)
}

/// A text with the beginning of its SHA-256 in place of every join token, but for those of agents that joined.
pub(crate) fn hide_unused_tokens(text: &str, has_joined: impl Fn(&str) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut from = 0;
    for (token, _) in tokens(text).filter(|(_, agent)| !has_joined(agent)) {
        shown.push_str(&text[from..token.start]);
        let hash = TokenHash::of(&text[token.start..token.end]);
        // No token looks like this, so what has been hidden is found no more.
        shown.push_str("<sha256:");
        shown.push_str(&hash.prefix());
        shown.push('>');
        from = token.end;
    }
    shown.push_str(&text[from..]);
    shown
}

/// Where a text may hold tokens, each with the SPIFFE ID that ends with it. Others write these texts, so a token is taken
/// for one behind too many slashes or a blank, too.
fn tokens(text: &str) -> impl Iterator<Item = (Range<usize>, &str)> {
    text.match_indices(BEFORE).filter_map(move |(at, before)| {
        let behind = &text[at + before.len()..];
        let start = text.len() - behind.trim_start_matches(['/', ' ']).len();
        let length = text[start..].find(|c: char| !is_of_token(c)).unwrap_or(text.len() - start);
        let end = start + length;
        let agent = text[..at].rfind(SCHEME).unwrap_or(at);
        (length > 0).then(|| (start..end, &text[agent..end]))
    })
}

fn is_of_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const JOINED: &str = "spiffe://example.org/spire/agent/join_token/0123456789abcdef";
    const TOKEN: &str = "fedcba9876543210";

    fn hidden(text: &str) -> String {
        hide_unused_tokens(text, |agent| agent == JOINED)
    }

    #[rstest]
    #[case("spiffe://example.org/spire/agent/join_token/fedcba9876543210")]
    #[case("spiffe://other.org/spire/agent/join_token/fedcba9876543210 is not a member of example.org")]
    #[case("spiffe://example.orgspire/agent/join_token/fedcba9876543210")]
    #[case("spiffe://example.org/spire/agent/join_token//fedcba9876543210/")]
    #[case("spiffe://example.org/spire/agent/join_token/ fedcba9876543210")]
    #[case("/spire/agent/join_token/fedcba9876543210, /spire/agent/join_token/fedcba9876543210")]
    #[case("spiffe_id:spiffe://example.org/spire/agent/join_token/fedcba9876543210 unix:uid:1")]
    #[case("`spiffe://example.org/spire/agent/join_token/fedcba9876543210ü`")]
    fn hides_a_token_of_nobody_who_joined(#[case] text: &str) {
        let shown = hidden(text);
        assert!(!shown.contains(TOKEN), "{shown}");
        let mark = format!("<sha256:{}>", TokenHash::of(TOKEN).prefix());
        assert_eq!(shown, text.replace(TOKEN, &mark));
        assert_eq!(hidden(&shown), shown, "once is enough");
    }

    #[test]
    fn shows_the_token_of_an_agent_that_joined() {
        let both = format!("{JOINED} and spiffe://example.org/spire/agent/join_token/{TOKEN}");
        assert_eq!(agents_by_token(&both).collect::<Vec<_>>()[0], JOINED);
        let shown = hidden(&both);
        assert!(shown.starts_with(&format!("{JOINED} and ")) && !shown.contains(TOKEN), "{shown}");
        // What begins like it is another one.
        let longer = format!("{JOINED}0");
        assert_ne!(hidden(&longer), longer);
    }

    #[rstest]
    #[case("")]
    #[case("spiffe://example.org/spire/agent/a")]
    #[case("unix:path:/opt/join_token/bin")]
    #[case("spiffe://example.org/spire/agent/join_token/")]
    fn leaves_any_other_text_alone(#[case] text: &str) {
        assert_eq!(hidden(text), text);
        assert_eq!(agents_by_token(text).count(), 0);
    }
}
