//! Modules that are nearly those of a corpus: tokens, lines and bytes are taken out, doubled, moved and replaced.

use crate::{random::Random, set::Set};

/// Words that stand where others stood.
const WORDS: &[&str] = &[
    "package",
    "import",
    "default",
    "as",
    "if",
    "contains",
    "in",
    "every",
    "some",
    "not",
    "with",
    "else",
    "true",
    "false",
    "null",
    "input",
    "data",
    "x",
    "y",
    "z",
    "_",
    "p",
    "q",
    "r",
    "f",
    "a",
    "b",
    "0",
    "1",
    "-1",
    "1.5",
    "1e3",
    "01",
    "\"a\"",
    "\"\"",
    "`a`",
    "$\"{x}\"",
    "$`a{1}`",
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
    ":=",
    "=",
    "==",
    "!=",
    "<",
    ">",
    "<=",
    ">=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "&",
    "|",
    ";",
    ",",
    ".",
    ":",
    "[]",
    "{}",
    "set()",
    "count",
    "startswith",
    "object.get",
    "input.x",
    "data.a",
    "data.test",
    "data",
    "input[x]",
    "[x | x := 1]",
    "{x | x := 1}",
    "{x: 1}",
    "{x: y | x := y}",
    "f(x)",
    "count(x)",
    "walk(input, [x, y])",
    "print(x)",
    "\n",
    "\n\n",
    "some x in input",
    "every x in input { x }",
    "not x",
    "with input as 1",
    "with data.a as 1",
    "with count as f",
    "else := 1 if",
    "import rego.v1",
    "import future.keywords.in",
    "import future.keywords.not",
    "import future.keywords",
    "import data.a as b",
    "default p := 1",
    "default p(_) := 1",
    "and",
    "or",
    "any",
    "# METADATA\n# title: x\n",
    "# METADATA\n# scope: package\n",
    "# METADATA\n# entrypoint: true\n",
    "p contains x if",
    "p[x] := y if",
    "x := 1",
    "x == \"a\"",
    "x = y",
    "internal.member_2",
    "eq",
    "plus",
    "lower(x)",
    "rego.metadata.rule()",
    "\u{e9}",
    "\r\n",
    "\t",
];

/// A set that is made of others: of valid ones, mostly, as what is far from valid is refused for one reason or another.
pub(crate) fn mutated(all: &[Set], valid: &[Set], number: u64, random: &mut Random) -> Set {
    let corpus = if random.chance(85) && !valid.is_empty() { valid } else { all };
    let base = random.pick(corpus).cloned().unwrap_or_default();
    let mut texts: Vec<String> = base.modules.into_iter().map(|module| module.text).collect();
    if random.chance(10) {
        let other = random.pick(corpus).cloned().unwrap_or_default();
        texts.extend(other.modules.into_iter().map(|module| module.text));
        texts.truncate(5);
        // In one package, their rules meet.
        if random.chance(70) {
            texts = texts.iter().map(|text| in_package(text, "test")).collect();
        }
    }
    let times = if random.chance(65) { 1 } else { 1 + random.below(4) };
    for _ in 0..times {
        let other = random.pick(corpus).and_then(|set| set.modules.first()).map(|module| module.text.clone());
        let index = random.below(texts.len());
        if let Some(text) = texts.get_mut(index) {
            *text = match random.below(20) {
                0..12 => with_tokens(text, other.as_deref().unwrap_or_default(), random),
                12..18 => with_lines(text, other.as_deref().unwrap_or_default(), random),
                _ => with_characters(text, random),
            };
        }
    }
    Set::of(format!("mutation {number} of {}", base.name), texts)
}

fn in_package(text: &str, name: &str) -> String {
    let renamed = |line: &str| {
        if line.starts_with("package ") { format!("package {name}") } else { line.to_owned() }
    };
    text.lines().map(renamed).collect::<Vec<_>>().join("\n") + "\n"
}

fn with_tokens(text: &str, other: &str, random: &mut Random) -> String {
    let mut tokens = tokens(text);
    let donors = self::tokens(other);
    let at = random.below(tokens.len());
    let to = random.below(tokens.len());
    match random.below(14) {
        0 => {
            tokens.splice(at..(at + 1).min(tokens.len()), []);
        }
        1 => {
            let end = (at + 1 + random.below(6)).min(tokens.len());
            tokens.splice(at..end, []);
        }
        2 => {
            let doubled = tokens.get(at).copied();
            tokens.splice(at..at, doubled);
        }
        3 if at < tokens.len() => tokens.swap(at, to),
        4 => tokens.insert(at, random.word(WORDS)),
        5 => {
            let from = random.below(donors.len());
            let end = (from + 1 + random.below(12)).min(donors.len());
            tokens.splice(at..at, donors[from..end].iter().copied());
        }
        // A name, or a constant, becomes another one of the same text or of another.
        6..13 => {
            let like: fn(&str) -> bool = if random.chance(60) { is_name } else { is_value };
            let places: Vec<usize> = (0..tokens.len()).filter(|&index| like(tokens[index])).collect();
            let donors = if random.chance(70) { tokens.clone() } else { donors };
            let donors: Vec<&str> = donors.into_iter().filter(|token| like(token)).collect();
            if let (Some(&place), Some(&donor)) = (random.pick(&places), random.pick(&donors)) {
                tokens[place] = donor;
            }
        }
        _ => {
            let end = (at + 1).min(tokens.len());
            tokens.splice(at..end, [random.word(WORDS)]);
        }
    }
    tokens.concat()
}

fn with_lines(text: &str, other: &str, random: &mut Random) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let donors: Vec<&str> = other.lines().collect();
    let at = random.below(lines.len());
    match random.below(4) {
        0 if at < lines.len() => drop(lines.remove(at)),
        1 => {
            let doubled = lines.get(at).copied();
            lines.splice(at..at, doubled);
        }
        2 if at < lines.len() => {
            let line = lines.remove(at);
            lines.insert(random.below(lines.len()), line);
        }
        _ => {
            let from = random.below(donors.len());
            let end = (from + 1 + random.below(6)).min(donors.len());
            let donated = donors[from..end].iter().copied().filter(|line| !line.starts_with("package "));
            lines.splice(at..at, donated);
        }
    }
    lines.join("\n") + "\n"
}

fn with_characters(text: &str, random: &mut Random) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    let at = random.below(characters.len());
    match random.below(3) {
        0 if at < characters.len() => drop(characters.remove(at)),
        1 if at < characters.len() => {
            let to = random.below(characters.len());
            characters.swap(at, to);
        }
        _ => {
            let new = char::from(u8::try_from(32 + random.below(95)).unwrap_or(b' '));
            characters.insert(at, new);
        }
    }
    characters.into_iter().collect()
}

/// The text in pieces: words, numbers, strings, comments, spaces and single signs.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => quoted(rest, '"'),
            '`' => rest[1..].find('`').map_or(1, |end| end + 2),
            '#' => rest.find('\n').unwrap_or(rest.len()),
            _ if is_word(first) => rest.find(|letter| !is_word(letter)).unwrap_or(rest.len()),
            ' ' | '\t' => rest.find(|letter| letter != ' ' && letter != '\t').unwrap_or(rest.len()),
            ':' | '=' | '!' | '<' | '>' if rest[1..].starts_with('=') => 2,
            other => other.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after;
    }
    tokens
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (index, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\n' => return index,
            _ if letter == quote => return index + 1,
            _ => {}
        }
    }
    text.len()
}

fn is_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

fn is_value(token: &str) -> bool {
    is_name(token)
        || token.starts_with(|letter: char| letter.is_ascii_digit() || letter == '"' || letter == '`')
}

fn is_name(token: &str) -> bool {
    token.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_')
}
