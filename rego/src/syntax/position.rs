//! Places in a text: as offsets while reading, as lines and columns in what people see.

/// A byte offset into the text of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(pub u32);

/// A line and a column, both from 1. A column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

/// Where the lines of a text begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lines {
    starts: Box<[u32]>,
}

impl Lines {
    /// Finds the lines of a text of less than 4 GiB.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let after = |(index, byte): (usize, u8)| match byte {
            b'\n' => u32::try_from(index + 1).ok(),
            _ => None,
        };
        Self { starts: std::iter::once(0).chain(text.bytes().enumerate().filter_map(after)).collect() }
    }

    /// The line and column of an offset into `text`, the same text as before.
    #[must_use]
    pub fn position(&self, text: &str, offset: Offset) -> Position {
        let line = self.index(offset);
        let start = self.starts.get(line).copied().unwrap_or_default();
        let before = text.get(start as usize..offset.0 as usize).unwrap_or_default();
        let number = |count: usize| u32::try_from(count + 1).unwrap_or(u32::MAX);
        Position { line: number(line), column: number(before.chars().count()) }
    }

    /// The line of an offset, from 1.
    #[must_use]
    pub fn line_number(&self, offset: Offset) -> u32 {
        u32::try_from(self.index(offset) + 1).unwrap_or(u32::MAX)
    }

    /// The line of `text` that holds an offset, without its end.
    #[must_use]
    pub fn line<'a>(&self, text: &'a str, offset: Offset) -> &'a str {
        let line = self.index(offset);
        let start = self.starts.get(line).map_or(0, |&start| start as usize);
        let end = self.starts.get(line + 1).map_or(text.len(), |&next| next as usize);
        text.get(start..end).unwrap_or_default().trim_end_matches(['\n', '\r'])
    }

    fn index(&self, offset: Offset) -> usize {
        self.starts.partition_point(|&start| start <= offset.0).saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("a\nbc\n", 0, (1, 1), "a")]
    #[case("a\nbc\n", 1, (1, 2), "a")]
    #[case("a\nbc\n", 3, (2, 2), "bc")]
    #[case("a\r\nbc\n", 3, (2, 1), "bc")]
    #[case("é = x", 5, (1, 5), "é = x")]
    #[case("a\n", 2, (2, 1), "")]
    #[case("", 0, (1, 1), "")]
    fn finds_lines(
        #[case] text: &str,
        #[case] offset: u32,
        #[case] (line, column): (u32, u32),
        #[case] source: &str,
    ) {
        let lines = Lines::of(text);
        assert_eq!(lines.position(text, Offset(offset)), Position { line, column });
        assert_eq!(lines.line(text, Offset(offset)), source);
    }
}
