//! The words of a module, each kept once and known by a number.
//!
//! Variables, strings and numbers share one table: `x`, `"x"` and `.x` have the same [`Name`].

use std::{hash::BuildHasher, sync::LazyLock};

use hashbrown::{DefaultHashBuilder, HashTable};

/// One word of a [`Names`] table. Words of two tables cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(u32);

impl Name {
    /// The number of the word, below [`Names::len`].
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

macro_rules! known {
    ($($(#[$about:meta])* $constant:ident = $text:literal,)*) => {
        /// The words that every table begins with, in the order of their constants.
        const KNOWN: &[&str] = &[$($text),*];

        #[expect(
            clippy::upper_case_acronyms,
            non_camel_case_types,
            reason = "the variants number the constants below and are named as they are"
        )]
        #[repr(u32)]
        enum Order { $($constant),* }

        impl Name {
            $($(#[$about])*
            #[doc = concat!("`", $text, "`.")]
            pub const $constant: Self = Self(Order::$constant as u32);)*
        }
    };
}

known! {
    // Operators as functions, in the order in which the parser numbers them.
    UNIFY = "eq",
    ASSIGN = "assign",
    EQUAL = "equal",
    NOT_EQUAL = "neq",
    LESS = "lt",
    GREATER = "gt",
    AT_MOST = "lte",
    AT_LEAST = "gte",
    PLUS = "plus",
    MINUS = "minus",
    TIMES = "mul",
    DIVIDE = "div",
    REMAINDER = "rem",
    INTERSECTION = "and",
    UNION = "or",
    // Functions that the language itself calls.
    INTERNAL = "internal",
    MEMBER = "member_2",
    MEMBER_WITH_KEY = "member_3",
    PRINT = "print",
    TEMPLATE_STRING = "template_string",
    SET = "set",
    WALK = "walk",
    // Root documents.
    DATA = "data",
    INPUT = "input",
    FUTURE = "future",
    REGO = "rego",
    SCHEMA = "schema",
    SYSTEM = "system",
    // Other words with a meaning.
    KEYWORDS = "keywords",
    V1 = "v1",
    V2 = "v2",
    METADATA = "metadata",
    CHAIN = "chain",
    RULE = "rule",
    // Keywords.
    PACKAGE = "package",
    IMPORT = "import",
    AS = "as",
    DEFAULT = "default",
    ELSE = "else",
    NOT = "not",
    SOME = "some",
    WITH = "with",
    NULL = "null",
    TRUE = "true",
    FALSE = "false",
    IN = "in",
    EVERY = "every",
    CONTAINS = "contains",
    IF = "if",
    // Values.
    WILDCARD = "_",
    EMPTY = "",
    ZERO = "0",
}

/// A table of words.
#[derive(Debug, Clone)]
pub struct Names {
    /// All texts, one after another.
    text: String,
    spans: Vec<Span>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
    origin: Origin,
}

/// Where a word comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It is written like that.
    Written,
    /// One of the `_` of a module, each a variable of its own.
    Wildcard,
    /// A local variable that the compiler set apart from others of its name. Its text is that name.
    Local,
    /// A variable that the compiler made.
    Generated,
}

impl Default for Names {
    fn default() -> Self {
        Self::new()
    }
}

impl Names {
    /// A table with nothing but the known words.
    #[must_use]
    pub fn new() -> Self {
        // Each module and each check begins with one: copying is faster than hashing the words again.
        static KNOWN_ONLY: LazyLock<Names> = LazyLock::new(|| {
            let mut names = Names {
                text: String::with_capacity(2048),
                spans: Vec::with_capacity(256),
                index: HashTable::with_capacity(256),
                hasher: DefaultHashBuilder::default(),
            };
            for word in KNOWN {
                names.intern(word);
            }
            names
        });
        KNOWN_ONLY.clone()
    }

    /// How many words there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Never: every table has the known words.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The number of a word, new or old.
    pub fn intern(&mut self, word: &str) -> Name {
        let hash = self.hasher.hash_one(word);
        let (text, spans) = (&self.text, &self.spans);
        if let Some(&found) = self.index.find(hash, |&other| at(text, spans, other) == word) {
            return Name(found);
        }
        let start = self.text.len();
        self.text.push_str(word);
        let name = self.push(start, self.text.len(), Origin::Written);
        let (text, spans, hasher) = (&self.text, &self.spans, &self.hasher);
        self.index.insert_unique(hash, name.0, |&other| hasher.hash_one(at(text, spans, other)));
        name
    }

    /// The number of a word, if it is in the table.
    #[must_use]
    pub fn find(&self, word: &str) -> Option<Name> {
        let hash = self.hasher.hash_one(word);
        self.index.find(hash, |&other| at(&self.text, &self.spans, other) == word).map(|&found| Name(found))
    }

    /// A variable of its own with the text of another.
    pub fn fresh(&mut self, like: Name, origin: Origin) -> Name {
        let (start, end) = self.spans.get(like.index()).map_or((0, 0), |span| (span.start, span.end));
        self.push(start as usize, end as usize, origin)
    }

    /// The text of a word.
    #[must_use]
    pub fn text(&self, name: Name) -> &str {
        at(&self.text, &self.spans, name.0)
    }

    /// Where a word comes from.
    #[must_use]
    pub fn origin(&self, name: Name) -> Origin {
        self.spans.get(name.index()).map_or(Origin::Written, |span| span.origin)
    }

    /// Takes over the words of another table: the answer gives, by the number in the other table, the number here.
    pub fn absorb(&mut self, other: &Self) -> Vec<Name> {
        let mut numbers = Vec::with_capacity(other.spans.len());
        for (index, span) in other.spans.iter().enumerate() {
            let number = match (index < KNOWN.len(), span.origin) {
                (true, _) => Name(u32::try_from(index).unwrap_or_default()),
                (false, Origin::Written) => self.intern(other.slice(*span)),
                (false, origin) => self.fresh(Name::WILDCARD, origin),
            };
            numbers.push(number);
        }
        numbers
    }

    fn slice(&self, span: Span) -> &str {
        self.text.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    // A module has at most 1 MiB and a table holds a bounded number of modules: offsets fit.
    fn push(&mut self, start: usize, end: usize, origin: Origin) -> Name {
        let number = Name(u32::try_from(self.spans.len()).unwrap_or(u32::MAX));
        let (start, end) = (u32::try_from(start).unwrap_or(u32::MAX), u32::try_from(end).unwrap_or(u32::MAX));
        self.spans.push(Span { start, end, origin });
        number
    }
}

fn at<'a>(text: &'a str, spans: &[Span], number: u32) -> &'a str {
    let span = spans.get(number as usize);
    span.and_then(|span| text.get(span.start as usize..span.end as usize)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_each_word_once() {
        let mut names = Names::new();
        assert_eq!(names.intern("data"), Name::DATA);
        assert_eq!(names.intern("0"), Name::ZERO);
        let word = names.intern("word");
        assert_eq!(names.intern("word"), word);
        assert_eq!(names.find("word"), Some(word));
        assert_eq!(names.find("other"), None);
        assert_eq!(names.text(word), "word");
    }

    #[test]
    fn sets_variables_of_one_name_apart() {
        let mut names = Names::new();
        let word = names.intern("x");
        let local = names.fresh(word, Origin::Local);
        assert_ne!(word, local);
        assert_eq!(names.text(local), "x");
        assert_eq!(names.intern("x"), word);
        assert_eq!((names.origin(word), names.origin(local)), (Origin::Written, Origin::Local));
    }

    #[test]
    fn absorbs_another_table() {
        let (mut all, mut one) = (Names::new(), Names::new());
        all.intern("a");
        let (b, a) = (one.intern("b"), one.intern("a"));
        let wildcard = one.fresh(Name::WILDCARD, Origin::Wildcard);
        let numbers = all.absorb(&one);
        assert_eq!(numbers[Name::DATA.index()], Name::DATA);
        assert_eq!(all.text(numbers[b.index()]), "b");
        assert_eq!(Some(numbers[a.index()]), all.find("a"));
        assert_ne!(numbers[wildcard.index()], Name::WILDCARD);
        assert_eq!(all.origin(numbers[wildcard.index()]), Origin::Wildcard);
    }
}
