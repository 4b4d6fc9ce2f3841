//! Where the gate and OPA disagree, and which of that is known.

use std::{collections::BTreeMap, fs, io, path::Path};

use secplane_rego::capabilities::OpaVersion;

use crate::set::Set;

/// What they disagree about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The gate lets through what OPA refuses.
    Leak,
    /// The gate refuses what OPA activates.
    Strictness,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Leak => "leak",
            Self::Strictness => "strictness",
        }
    }
}

/// All disagreements so far, by what is said about them.
pub(crate) struct Disagreements {
    known: Vec<Known>,
    /// By whether they are known as well: two may differ only in what a general message leaves out.
    groups: BTreeMap<(Kind, bool, String), Group>,
}

struct Group {
    count: u64,
    example: Set,
}

/// A line `leak most:N TEXT` or `strictness most:N TEXT`: a message that has the text, in no more than N of so many sets.
/// Behind the first word may stand for which versions of OPA that is so, as in `strictness 1.18-1.20 most:N TEXT`.
struct Known {
    line: String,
    kind: String,
    text: String,
    most: u64,
    count: u64,
}

/// The sets among which a known disagreement has its most.
const SETS: u64 = 100_000;

impl Known {
    /// `None` when the line is of other versions.
    fn read(line: &str, version: OpaVersion) -> io::Result<Option<Self>> {
        let malformed = || io::Error::other(format!("`{line}` is no known disagreement"));
        let (kind, rest) = line.split_once(' ').ok_or_else(malformed)?;
        let (first, others) = rest.split_once(' ').ok_or_else(malformed)?;
        let range: Option<(OpaVersion, OpaVersion)> = first
            .split_once('-')
            .and_then(|(oldest, newest)| Some((oldest.parse().ok()?, newest.parse().ok()?)));
        let (is_of_version, rest) = match range {
            Some((oldest, newest)) => ((oldest..=newest).contains(&version), others),
            None => (true, rest),
        };
        let (most, text) = rest.split_once(' ').ok_or_else(malformed)?;
        let most = most.strip_prefix("most:").and_then(|most| most.parse().ok()).ok_or_else(malformed)?;
        Ok(is_of_version.then(|| Self {
            line: line.to_owned(),
            kind: kind.to_owned(),
            text: text.trim().to_owned(),
            most,
            count: 0,
        }))
    }

    fn is_exceeded(&self, compared: u64) -> bool {
        self.count > self.most * compared.max(SETS) / SETS
    }
}

impl Disagreements {
    /// Those that are known for a version, one a line.
    pub(crate) fn with_known(path: Option<&Path>, version: OpaVersion) -> io::Result<Self> {
        let text = path.map_or(Ok(String::new()), fs::read_to_string)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let known = lines.map(|line| Known::read(line, version)).filter_map(Result::transpose);
        Ok(Self { known: known.collect::<io::Result<_>>()?, groups: BTreeMap::new() })
    }

    pub(crate) fn add(&mut self, kind: Kind, message: &str, set: Set) {
        let is_it = |known: &&mut Known| known.kind == kind.word() && message.contains(known.text.as_str());
        let known = self.known.iter_mut().find(is_it);
        let is_known = known.is_some();
        if let Some(known) = known {
            known.count += 1;
        }
        let group = self.groups.entry((kind, is_known, generalised(message)));
        let group = group.or_insert_with(|| Group { count: 0, example: set.clone() });
        group.count += 1;
        // The shortest says most.
        let length = |set: &Set| set.modules.iter().map(|module| module.text.len()).sum::<usize>();
        if length(&set) < length(&group.example) {
            group.example = set;
        }
    }

    /// What was found in so many sets, the most frequent last, then how often each is that is known; and whether anything
    /// of it is new, or is more than was known.
    pub(crate) fn report(&self, compared: u64, examples: bool) -> (String, bool) {
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_by_key(|(_, group)| group.count);
        let mut text = String::new();
        for ((kind, is_known, message), group) in groups {
            let known = if *is_known { " (known)" } else { "" };
            text += &format!("{} × {}{known}: {message}\n", group.count, kind.word());
            if examples && !is_known {
                text += &format!("  {}\n", group.example.name);
                for module in &group.example.modules {
                    text += &format!("  --- {}\n", module.file);
                    text.extend(module.text.lines().map(|line| format!("  | {line}\n")));
                }
            }
        }
        for known in self.known.iter().filter(|known| known.count > 0) {
            let verdict = if known.is_exceeded(compared) { "TOO MANY" } else { "known" };
            text += &format!("{verdict}: {} × {}\n", known.count, known.line);
        }
        let is_new = self.groups.keys().any(|(_, is_known, _)| !is_known);
        (text, is_new || self.known.iter().any(|known| known.is_exceeded(compared)))
    }
}

/// The message without the names and numbers of one case.
fn generalised(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    let mut text = String::new();
    let mut word = String::new();
    for letter in first.chars().chain([' ']) {
        if letter.is_ascii_alphanumeric() || letter == '_' {
            word.push(letter);
            continue;
        }
        let is_name = word.len() < 3 || word.contains(|letter: char| letter.is_ascii_digit());
        text.push_str(if is_name && !word.is_empty() { "·" } else { &word });
        word.clear();
        text.push(letter);
    }
    text.chars().take(160).collect::<String>().trim_end().to_owned()
}
