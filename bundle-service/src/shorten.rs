//! Texts that hold what others wrote, for readers that take only so much.

/// Shortens a text to so many bytes, between characters.
pub(crate) fn cut(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        let mut end = bytes.saturating_sub('…'.len_utf8());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("abcdef", 6, "abcdef")]
    #[case("abcdefg", 6, "abc…")]
    #[case("aéééé", 7, "aé…")]
    #[case("🦀🦀", 7, "🦀…")]
    #[case("🦀🦀", 6, "…")]
    fn cuts_between_characters(#[case] text: &str, #[case] bytes: usize, #[case] expected: &str) {
        let mut cut_text = text.to_owned();
        cut(&mut cut_text, bytes);
        assert_eq!(cut_text, expected);
    }
}
