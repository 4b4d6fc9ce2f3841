//! What is written where: results on standard output in the chosen form, everything else on standard error.

use std::{
    fmt,
    io::{self, Write},
    time::SystemTime,
};

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::failure::{Failure, Kind};

/// The form of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
}

/// A result: serde gives it to programs, the table to people.
pub(crate) trait Report: Serialize {
    /// The form for people, without a line break at its end.
    fn table(&self) -> String;
}

/// Where results go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    format: Format,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self { format }
    }

    /// Whether a person reads it.
    pub(crate) fn is_for_people(self) -> bool {
        self.format == Format::Table
    }

    /// Writes one result. Several in a row are one JSON document a line, or YAML documents set apart by `---`.
    pub(crate) fn report(self, report: &impl Report) -> Result<(), Failure> {
        let unwritable = |error: &dyn fmt::Display| {
            Failure::new(Kind::Other, "write the result", format_args!("it has no such form: {error}"))
        };
        let text = match self.format {
            Format::Table => report.table(),
            Format::Json => serde_json::to_string(report).map_err(|e| unwritable(&e))?,
            Format::Yaml => {
                let text = serde_saphyr::to_string(report).map_err(|e| unwritable(&e))?;
                format!("---\n{}", text.trim_end())
            }
        };
        self.text(&format!("{text}\n"))
    }

    /// Writes text as it stands, such as PEM.
    pub(crate) fn text(self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }

    /// Writes bytes as they stand, such as an archive.
    #[expect(clippy::unused_self, reason = "whoever holds no Output writes no result")]
    pub(crate) fn bytes(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            // The reader has seen enough, as `head` does.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(Failure::from_io("write to standard output", &error)),
            Ok(()) => Ok(()),
        }
    }
}

/// Tells the person something that is not the result. Some of it may be the words of somebody else.
pub(crate) fn note(text: impl fmt::Display) {
    // Nobody is left to be told when standard error is gone.
    let _ = writeln!(io::stderr().lock(), "{}", visible(&text.to_string()));
}

/// A table with a heading, one row a thing; `nothing` when there are no rows.
pub(crate) fn rows<const N: usize>(
    heading: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
    nothing: &str,
) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(heading);
    for row in rows {
        table.add_row(row.map(|cell| visible(&cell)));
    }
    if table.row_count() == 0 { nothing.to_owned() } else { without_margins(&table.to_string()) }
}

/// The facts of one thing, one a line; a fact whose value is empty is left out.
pub(crate) fn facts<'a>(facts: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    for (name, value) in facts {
        if !value.is_empty() {
            table.add_row([name.to_owned(), visible(&value)]);
        }
    }
    without_margins(&table.to_string())
}

/// A table's own margins would only stand in the way of who copies from it.
fn without_margins(table: &str) -> String {
    table.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect::<Vec<_>>().join("\n")
}

/// Text from elsewhere without the characters that could move the cursor or hide other text.
pub(crate) fn visible(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let hidden = c.is_control() && c != '\n';
            let escaped = hidden.then(|| c.escape_unicode());
            escaped.into_iter().flatten().chain((!hidden).then_some(c))
        })
        .collect()
}

/// An instant: RFC 3339 in UTC, in every form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(OffsetDateTime);

impl Instant {
    /// The instant of a Unix time; `None` for 0, which on the wire says "none".
    pub(crate) fn from_unix(seconds: i64) -> Option<Self> {
        if seconds == 0 { None } else { OffsetDateTime::from_unix_timestamp(seconds).ok().map(Self) }
    }

    /// Unix seconds.
    pub(crate) fn unix(self) -> i64 {
        self.0.unix_timestamp()
    }
}

impl From<SystemTime> for Instant {
    fn from(at: SystemTime) -> Self {
        Self(OffsetDateTime::from(at).replace_nanosecond(0).unwrap_or_else(|_| OffsetDateTime::from(at)))
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.format(&Rfc3339).unwrap_or_else(|_| self.0.to_string()))
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let at = OffsetDateTime::parse(&text, &Rfc3339).map_err(|error| {
            de::Error::custom(format!("`{text}` is no instant such as 2027-01-31T00:00:00Z: {error}"))
        })?;
        Ok(Self::from(SystemTime::from(at)))
    }
}

/// An instant that may be missing, as a table shows it.
pub(crate) fn shown(at: Option<Instant>) -> String {
    at.map(|at| at.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_instants_in_utc() {
        assert_eq!(shown(Instant::from_unix(1_700_000_000)), "2023-11-14T22:13:20Z");
        assert_eq!(shown(Instant::from_unix(0)), "");
    }

    #[test]
    fn makes_control_characters_visible() {
        assert_eq!(visible("a\u{1b}[2Jb\rc"), "a\\u{1b}[2Jb\\u{d}c");
    }

    #[test]
    fn lines_up_facts_and_leaves_out_empty_ones() {
        assert_eq!(
            facts([("a", "1".into()), ("none", String::new()), ("bcd", "2".into())]),
            "a    1\nbcd  2"
        );
    }

    #[test]
    fn says_so_when_there_are_no_rows() {
        assert_eq!(rows(["A"], [], "no entries"), "no entries");
    }
}
