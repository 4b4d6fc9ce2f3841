//! Modules with a `METADATA` block each, made of the words of YAML: the gate and OPA read them with readers of their own.

use crate::{random::Random, set::Set};

/// Members of a block that are text, lists and maps.
const TEXTS: &[&str] = &["title", "title", "description", "scope", "entrypoint"];
const LISTS: &[&str] = &["organizations", "related_resources", "authors", "schemas"];
const MAPS: &[&str] = &["custom", "custom", "custom", "labels", "compile", "unknown"];
/// Keys and scalars that mean nothing else.
const WORDS: &[&str] = &["a", "b", "c1", "name", "ref", "input.x", "rule", "a.b"];
/// Keys of each kind of scalar that a reader of YAML tells apart, and of none.
const KEYS: &[&str] = &[
    "a",
    "b",
    "name",
    "email",
    "ref",
    "404",
    "\"404\"",
    "'404'",
    "010",
    "1_000",
    "0x1F",
    "0o7",
    "0b1",
    "1.5",
    "1e3",
    "+1",
    "-0",
    ".inf",
    ".nan",
    "true",
    "True",
    "yes",
    "on",
    "n",
    "tRUE",
    "~",
    "null",
    "Null",
    "\"null\"",
    "2026-01-01",
    "\"2026-01-01\"",
    "2026-01-01T00:00:00Z",
    "1:20",
    "<<",
    "=",
    "? x",
    "? 1",
    "!!str 1",
    "!!int 1",
    "!x a",
    "&k a",
    "*k ",
    "input",
    "input.x",
    "unknowns",
    "mask_rule",
];
/// Scalars.
const SCALARS: &[&str] = &[
    "x",
    "a b",
    "1",
    "-1",
    "1.5",
    "010",
    "1_000",
    "1e400",
    ".nan",
    "true",
    "tRUE",
    "yes",
    "off",
    "~",
    "null",
    "\"\"",
    "\"true\"",
    "'a''b'",
    "\"a\\tb\"",
    "\"a\\/b\"",
    "\"\\u00e9\"",
    "\"\\ud83d\\ude00\"",
    "\"\\x41\"",
    "\"a\tb\"",
    "\"a\u{2028}b\"",
    "a\u{2028}b",
    "a\u{2029}b",
    "a\u{85}b",
    "a\tb",
    "a #b",
    "a#b",
    "a: b",
    "- a",
    "@a",
    "%a",
    "*k",
    "&k x",
    "&k",
    "!x a",
    "!x!y a",
    "!!str 1",
    "!!int x",
    "!!int 1",
    "!!bool yes",
    "!!null x",
    "!!binary aGk=",
    "!!binary a",
    "!!timestamp 2026-01-01",
    "! 1",
    "rule",
    "document",
    "package",
    "subpackages",
    "schema.x",
    "input.x",
    "data.a.p",
    "https://example.com/a?b#c",
    "http://a b@host/",
    "http://user:pw@host:80/",
    "http://\u{e9}@host/",
    "//host",
    "http://host:port",
    "http://a%zz",
    "mailto:a@b",
    ":a",
    "|\n    a\n    b",
    ">\n    a\n\n    b",
    "|2\n    a",
    "|\n    a\n  b",
    "\u{7}",
    "\u{a0}",
    "\u{feff}",
];
/// White space between what is said.
const SPACES: &[&str] = &["  ", "\t", " \t", ""];

/// A set of one module with a block.
pub(crate) fn generated(number: u64, random: &mut Random) -> Set {
    let mut writer = Writer { random, yaml: String::new() };
    writer.members();
    let Writer { random, yaml } = writer;
    let comments: String = yaml.lines().map(|line| format!("# {line}\n")).collect();
    let module = match random.below(8) {
        0 => format!("# METADATA\n{comments}package a\n\np := 1\n"),
        1 => format!("package a\n\n# METADATA\n{comments}f(x) := x\n"),
        _ => format!("package a\n\n# METADATA\n{comments}p := 1\n"),
    };
    Set::of(format!("metadata {number}"), vec![module])
}

struct Writer<'a> {
    random: &'a mut Random,
    yaml: String,
}

impl Writer<'_> {
    fn members(&mut self) {
        for _ in 0..1 + self.random.below(2) {
            match self.random.below(10) {
                0..3 => self.member(TEXTS, Self::scalar),
                3..5 => self.member(LISTS, Self::list),
                _ => self.member(MAPS, Self::map),
            }
        }
        if self.random.chance(5) {
            let line = self.random.word(&[
                "---\n",
                "...\n",
                "# x\n",
                "\ttitle: x\n",
                "%YAML 1.1\n",
                "\n",
                "  \n",
                "\t\n",
            ]);
            self.yaml.push_str(line);
        }
    }

    /// Mostly of the kind that it has to be of.
    fn member(&mut self, names: &[&'static str], write: fn(&mut Self, usize, usize)) {
        let name = self.random.word(names);
        self.yaml += &format!("{name}:");
        if self.random.chance(95) { write(self, 1, 2) } else { self.value(1, 2) }
    }

    /// What stands behind a colon or a dash, to the end of its line or of the lines below it.
    fn value(&mut self, indent: usize, depth: usize) {
        match self.random.below(if depth == 0 { 4 } else { 8 }) {
            0..4 => self.scalar(indent, depth),
            4 => {
                let (one, space, other) = (self.word(SCALARS), self.space(), self.word(SCALARS));
                self.yaml += &format!(" [{one},{space}{other}]\n");
            }
            5 => {
                let (key, space, scalar) = (self.word(KEYS), self.space(), self.word(SCALARS));
                self.yaml += &format!(" {{{key}:{space}{scalar}}}\n");
            }
            6 => self.list(indent, depth),
            _ => self.map(indent, depth),
        }
    }

    fn scalar(&mut self, _: usize, _: usize) {
        let (space, scalar) = (self.space(), self.word(SCALARS));
        self.yaml += &format!("{space}{scalar}\n");
    }

    fn list(&mut self, indent: usize, depth: usize) {
        self.yaml.push('\n');
        for _ in 0..1 + self.random.below(2) {
            self.yaml += &format!("{}-", "  ".repeat(indent));
            self.value(indent + 1, depth.saturating_sub(1));
        }
    }

    fn map(&mut self, indent: usize, depth: usize) {
        self.yaml.push('\n');
        for _ in 0..1 + self.random.below(2) {
            let key = self.word(KEYS);
            self.yaml += &format!("{}{key}:", "  ".repeat(indent));
            self.value(indent + 1, depth.saturating_sub(1));
        }
    }

    /// A word of a list, and more often one that means nothing: one fault a block finds most.
    fn word(&mut self, list: &[&'static str]) -> &'static str {
        let list = if self.random.chance(75) { WORDS } else { list };
        self.random.word(list)
    }

    fn space(&mut self) -> &'static str {
        if self.random.chance(90) { " " } else { self.random.word(SPACES) }
    }
}
