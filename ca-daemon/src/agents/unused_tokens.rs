//! Join tokens in texts that others read.
//!
//! The SPIFFE ID of an agent that joined by a token holds the token, which is used up and harmless then. But that ID can
//! be written before the node has joined: as the parent of an entry, or by an admin who takes it for one that has. Then
//! the token is a live secret.

use std::ops::Range;

use secplane_identity::SpiffeId;

use super::join_token::{JOIN_TOKEN, MIN_CHARACTERS, TokenHash};

const SCHEME: &str = "spiffe://";
/// What stands before the beginning of the SHA-256 of a token that has been hidden.
const MARK: &str = "<sha256:";

/// The SPIFFE IDs with a join token in them that a text names.
pub(crate) fn agents_by_token(text: &str) -> impl Iterator<Item = &str> {
    let agents = tokens(text).into_iter().map(|(_, agent)| agent);
    agents.filter(|agent| SpiffeId::parse(agent).is_ok())
}

/// A text with the beginning of its SHA-256 in place of every join token, but for those of agents that joined.
pub(crate) fn hide_unused_tokens(text: &str, has_joined: impl Fn(&str) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut from = 0;
    for (token, _) in tokens(text).into_iter().filter(|(_, agent)| !has_joined(agent)) {
        shown.push_str(&text[from..token.start]);
        let hash = TokenHash::of(&text[token.start..token.end]);
        shown.push_str(MARK);
        shown.push_str(&hash.prefix());
        shown.push('>');
        from = token.end;
    }
    shown.push_str(&text[from..]);
    shown
}

/// Where a text may hold tokens, each with the SPIFFE ID that ends with it.
///
/// Others write these texts, so whatever is long enough counts as a token behind the word `join_token`, no matter what is
/// between the two, up to the first blank behind a token. It may be too long for one: a token may be a part of it.
fn tokens(text: &str) -> Vec<(Range<usize>, &str)> {
    // Nearly always.
    let Some(first) = text.find(JOIN_TOKEN) else { return Vec::new() };
    let mut tokens = Vec::new();
    // Where the ID with that word begins, and whether a token was behind it.
    let mut named: Option<(usize, bool)> = None;
    let mut before = first;
    for run in runs(text, first) {
        if matches!(named, Some((_, true))) && text[before..run.start].contains(char::is_whitespace) {
            named = None;
        }
        before = run.end;
        match (named, text[run.clone()].find(JOIN_TOKEN)) {
            (Some((agent, _)), _) if run.len() >= MIN_CHARACTERS => {
                named = Some((agent, true));
                if !is_hidden(text, &run) {
                    tokens.push((run.clone(), &text[agent..run.end]));
                }
            }
            (_, Some(at)) => {
                let at = run.start + at;
                let agent = text[..at].rfind(SCHEME).unwrap_or(at);
                let behind = at + JOIN_TOKEN.len()..run.end;
                let is_token = behind.len() >= MIN_CHARACTERS;
                named = Some((agent, is_token));
                if is_token {
                    tokens.push((behind, &text[agent..run.end]));
                }
            }
            _ => {}
        }
    }
    tokens
}

/// What a token could be made of, each as long as it goes.
fn runs(text: &str, from: usize) -> impl Iterator<Item = Range<usize>> {
    let mut at = from;
    std::iter::from_fn(move || {
        let start = at + text[at..].find(is_of_token)?;
        let length = text[start..].find(|c: char| !is_of_token(c)).unwrap_or(text.len() - start);
        at = start + length;
        Some(start..at)
    })
}

/// Whether this has taken the place of a token before.
fn is_hidden(text: &str, run: &Range<usize>) -> bool {
    run.len() == TokenHash::of("").prefix().len()
        && text[..run.start].ends_with(MARK)
        && text[run.end..].starts_with('>')
        && text[run.clone()].bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
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
    #[case("/spire/agent//join_token/fedcba9876543210")]
    #[case("/spire/agent/join_token/./fedcba9876543210")]
    #[case("/spire/agent/join_token/\tfedcba9876543210")]
    #[case("/spire/agent/join_token/\"fedcba9876543210\"")]
    #[case("join_token: fedcba9876543210 of spiffe://example.org/with-a-long-path-behind-it")]
    #[case("/join_token/fedcba9876543210/../fedcba9876543210")]
    #[case("/spire/agent/join_token/fedcba9876543210,/spire/agent/join_token/fedcba9876543210")]
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

    /// It is no token itself, but what is written around one.
    #[rstest]
    #[case("my-join_token-".to_owned())]
    #[case("join_token".to_owned())]
    #[case(".".repeat(128))]
    fn hides_what_a_token_may_be_a_part_of(#[case] before: String) {
        let token = format!("{before}{TOKEN}");
        let text = format!("spiffe://example.org/spire/agent/join_token/{token} is no agent");
        let shown = hidden(&text);
        assert_eq!(shown, text.replace(&token, &format!("<sha256:{}>", TokenHash::of(&token).prefix())));
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
    #[case("the table `join_tokens` is gone")]
    #[case("spiffe://example.org/spire/agent/join_token/")]
    fn leaves_any_other_text_alone(#[case] text: &str) {
        assert_eq!(hidden(text), text);
        assert_eq!(agents_by_token(text).count(), 0);
    }
}
