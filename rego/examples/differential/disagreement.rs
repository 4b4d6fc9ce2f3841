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
    groups: BTreeMap<(Kind, String), Group>,
}

struct Group {
    count: u64,
    example: Set,
    is_known: bool,
}

/// A line `leak TEXT` or `strictness TEXT`: a message that has the text. Between them may stand for which versions of OPA
/// that is so, as in `strictness 1.18-1.20 TEXT`.
struct Known {
    kind: String,
    text: String,
}

impl Known {
    /// `None` when the line is of other versions.
    fn read(line: &str, version: OpaVersion) -> Option<Self> {
        let (kind, rest) = line.split_once(' ')?;
        let (first, others) = rest.split_once(' ').unwrap_or((rest, ""));
        let range = first
            .split_once('-')
            .and_then(|(oldest, newest)| Some((oldest.parse().ok()?, newest.parse().ok()?)));
        let text = match range {
            Some((oldest, newest)) => Some(others).filter(|_| (oldest..=newest).contains(&version))?,
            None => rest,
        };
        Some(Self { kind: kind.to_owned(), text: text.trim().to_owned() })
    }
}

impl Disagreements {
    /// Those that are known for a version, one a line.
    pub(crate) fn with_known(path: Option<&Path>, version: OpaVersion) -> io::Result<Self> {
        let text = path.map_or(Ok(String::new()), fs::read_to_string)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Ok(Self {
            known: lines.filter_map(|line| Known::read(line, version)).collect(),
            groups: BTreeMap::new(),
        })
    }

    pub(crate) fn add(&mut self, kind: Kind, message: &str, set: Set) {
        let is_known =
            self.known.iter().any(|known| known.kind == kind.word() && message.contains(known.text.as_str()));
        let group = self.groups.entry((kind, generalised(message)));
        let group = group.or_insert_with(|| Group { count: 0, example: set.clone(), is_known });
        group.count += 1;
        // The shortest says most.
        let length = |set: &Set| set.modules.iter().map(|module| module.text.len()).sum::<usize>();
        if length(&set) < length(&group.example) {
            group.example = set;
        }
    }

    /// What was found, the most frequent last, and whether anything of it is new.
    pub(crate) fn report(&self, examples: bool) -> (String, bool) {
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_by_key(|(_, group)| group.count);
        let mut text = String::new();
        for ((kind, message), group) in groups {
            let known = if group.is_known { " (known)" } else { "" };
            text += &format!("{} × {}{known}: {message}\n", group.count, kind.word());
            if examples && !group.is_known {
                text += &format!("  {}\n", group.example.name);
                for module in &group.example.modules {
                    text += &format!("  --- {}\n", module.file);
                    text.extend(module.text.lines().map(|line| format!("  | {line}\n")));
                }
            }
        }
        (text, self.groups.values().any(|group| !group.is_known))
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
