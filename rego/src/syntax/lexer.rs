//! From a text to its tokens, in one pass.
//!
//! A template string is cut into parts: after the part that ends with `{` come the tokens of the expression, and the
//! `}` that closes it begins the next part.

use super::{
    names::{Name, Names},
    token::{Kind, Token},
};

/// What the lexer found.
pub(crate) struct Lexed {
    /// Every token, the last one [`Kind::End`].
    pub(crate) tokens: Vec<Token>,
    /// The whole-line and other comments: where each begins (its `#`) and ends.
    pub(crate) comments: Vec<(u32, u32)>,
    /// What is wrong with each illegal token.
    pub(crate) faults: Vec<Fault>,
}

/// Characters that are not Rego.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Where.
    pub(crate) at: u32,
    /// What is wrong.
    pub(crate) message: &'static str,
}

struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    names: &'a mut Names,
    found: Lexed,
    /// For each template string that is open: how many braces are open in its expression, and whether it is raw.
    templates: Vec<(u32, bool)>,
}

/// Cuts a text of at most 4 GiB into tokens.
pub(crate) fn lex(text: &str, names: &mut Names) -> Lexed {
    let found =
        Lexed { tokens: Vec::with_capacity(text.len() / 4 + 8), comments: Vec::new(), faults: Vec::new() };
    let mut lexer = Lexer { text, bytes: text.as_bytes(), at: 0, names, found, templates: Vec::new() };
    while lexer.token() {}
    lexer.found
}

fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl Lexer<'_> {
    /// Reads one token; false after the last one.
    fn token(&mut self) -> bool {
        let (spaced, new_line) = self.space();
        let start = self.at;
        let (kind, name) = self.kind(start);
        self.found.tokens.push(Token {
            kind,
            spaced,
            new_line,
            name,
            start: offset(start),
            end: offset(self.at),
        });
        kind != Kind::End
    }

    /// Steps over white space and comments.
    fn space(&mut self) -> (bool, bool) {
        let (start, mut new_line) = (self.at, false);
        loop {
            match self.peek() {
                Some(b'\n') => new_line = true,
                Some(b' ' | b'\t' | b'\r') => {}
                Some(b'#') => {
                    self.comment();
                    continue;
                }
                _ => return (self.at > start, new_line),
            }
            self.at += 1;
        }
    }

    fn comment(&mut self) {
        let start = self.at;
        let rest = self.bytes.get(start..).unwrap_or_default();
        let length = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
        self.at = start + length;
        self.found.comments.push((offset(start), offset(self.at)));
    }

    fn kind(&mut self, start: usize) -> (Kind, Name) {
        let Some(byte) = self.peek() else { return (Kind::End, Name::EMPTY) };
        if byte.is_ascii_alphabetic() || byte == b'_' {
            return self.word(start);
        }
        if byte.is_ascii_digit() {
            return self.number(start);
        }
        self.at += 1;
        let sign = match byte {
            b'"' => return self.string(start),
            b'`' => return self.raw_string(start),
            b'$' => return self.template(start),
            b'[' => Kind::LeftBracket,
            b']' => Kind::RightBracket,
            b'{' => return self.open_brace(),
            b'}' => return self.close_brace(start),
            b'(' => Kind::LeftParenthesis,
            b')' => Kind::RightParenthesis,
            b',' => Kind::Comma,
            b';' => Kind::Semicolon,
            b'.' => Kind::Dot,
            b'+' => Kind::Plus,
            b'-' => Kind::Minus,
            b'*' => Kind::Times,
            b'/' => Kind::Divide,
            b'%' => Kind::Remainder,
            b'&' => Kind::Ampersand,
            b'|' => Kind::Bar,
            b':' => self.with_equal(Kind::Assign, Kind::Colon),
            b'=' => self.with_equal(Kind::Equal, Kind::Unify),
            b'<' => self.with_equal(Kind::AtMost, Kind::Less),
            b'>' => self.with_equal(Kind::AtLeast, Kind::Greater),
            b'!' => match self.with_equal(Kind::NotEqual, Kind::Illegal) {
                Kind::Illegal => return self.fault(start, "`!` stands alone; write `not`, or `!=`"),
                kind => kind,
            },
            _ => return self.other(start),
        };
        (sign, Name::EMPTY)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn with_equal(&mut self, longer: Kind, shorter: Kind) -> Kind {
        match self.peek() {
            Some(b'=') => {
                self.at += 1;
                longer
            }
            _ => shorter,
        }
    }

    fn fault(&mut self, at: usize, message: &'static str) -> (Kind, Name) {
        self.found.faults.push(Fault { at: offset(at), message });
        (Kind::Illegal, Name::EMPTY)
    }

    /// A character that begins no token.
    fn other(&mut self, start: usize) -> (Kind, Name) {
        let character = self.text.get(start..).and_then(|rest| rest.chars().next());
        self.at = start + character.map_or(1, char::len_utf8);
        self.fault(
            start,
            match character {
                Some('\u{a0}') => "a no-break space stands between tokens; write an ordinary space",
                Some('\u{feff}') => "a byte order mark stands inside the text; remove it",
                _ => "this character has no meaning in Rego",
            },
        )
    }

    fn word(&mut self, start: usize) -> (Kind, Name) {
        while self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            self.at += 1;
        }
        let name = self.names.intern(self.text.get(start..self.at).unwrap_or_default());
        (Kind::of_word(name), name)
    }

    fn digits(&mut self) -> bool {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at > start
    }

    fn number(&mut self, start: usize) -> (Kind, Name) {
        self.digits();
        if self.peek() == Some(b'.') {
            self.at += 1;
            if !self.digits() {
                return self.fault(start, "a digit must follow the decimal point");
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if !self.digits() {
                return self.fault(start, "a digit must follow the `e` of a number");
            }
        }
        if self.peek().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_') {
            return self.fault(start, "a letter stands in a number");
        }
        (Kind::Number, self.names.intern(self.text.get(start..self.at).unwrap_or_default()))
    }

    fn string(&mut self, start: usize) -> (Kind, Name) {
        let mut escaped = false;
        loop {
            match self.peek() {
                None | Some(b'\n') => return self.fault(start, "the string does not end on its line"),
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                }
                Some(_) => self.at += 1,
            }
        }
        let inner = self.text.get(start + 1..self.at).unwrap_or_default();
        self.at += 1;
        let name = match escaped {
            false => self.names.intern(inner),
            true => match unescape(inner, false) {
                Some(inner) => self.names.intern(&inner),
                None => return self.fault(start, ILLEGAL_ESCAPE),
            },
        };
        (Kind::String, name)
    }

    fn raw_string(&mut self, start: usize) -> (Kind, Name) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        match rest.find('`') {
            Some(length) => {
                self.at += length + 1;
                (Kind::String, self.names.intern(rest.get(..length).unwrap_or_default()))
            }
            None => {
                self.at = self.bytes.len();
                self.fault(start, "the raw string does not end")
            }
        }
    }

    fn template(&mut self, start: usize) -> (Kind, Name) {
        let raw = match self.peek() {
            Some(b'"') => false,
            Some(b'`') => true,
            _ => return self.fault(start, "`$` begins a template string and must be followed by a quote"),
        };
        self.at += 1;
        self.template_part(start, raw, (Kind::TemplatePart, Kind::TemplateEnd))
    }

    /// The text up to the next `{` or the end of a template string.
    fn template_part(&mut self, start: usize, raw: bool, (part, end): (Kind, Kind)) -> (Kind, Name) {
        let (inner, mut escaped) = (self.at, false);
        let kind = loop {
            match self.peek() {
                None => return self.fault(start, "the template string does not end"),
                Some(b'\n') if !raw => {
                    return self.fault(start, "the template string does not end on its line");
                }
                Some(b'"') if !raw => break end,
                Some(b'`') if raw => break end,
                Some(b'{') => break part,
                Some(b'\\') if !raw || self.bytes.get(self.at + 1) == Some(&b'{') => {
                    escaped = true;
                    self.at += 2;
                }
                Some(_) => self.at += 1,
            }
        };
        if kind == part {
            self.templates.push((0, raw));
        }
        let inner = self.text.get(inner..self.at).unwrap_or_default();
        self.at += 1;
        let name = match (escaped, raw) {
            (false, _) => self.names.intern(inner),
            (true, true) => self.names.intern(&inner.replace("\\{", "{")),
            (true, false) => match unescape(inner, true) {
                Some(inner) => self.names.intern(&inner),
                None => return self.fault(start, ILLEGAL_ESCAPE),
            },
        };
        (kind, name)
    }

    fn open_brace(&mut self) -> (Kind, Name) {
        if let Some((open, _)) = self.templates.last_mut() {
            *open += 1;
        }
        (Kind::LeftBrace, Name::EMPTY)
    }

    /// A brace is one of the expression, or ends it and goes on with the template string.
    fn close_brace(&mut self, start: usize) -> (Kind, Name) {
        match self.templates.last_mut() {
            Some((0, raw)) => {
                let raw = *raw;
                self.templates.pop();
                self.template_part(start, raw, (Kind::NextTemplatePart, Kind::NextTemplateEnd))
            }
            Some((open, _)) => {
                *open -= 1;
                (Kind::RightBrace, Name::EMPTY)
            }
            None => (Kind::RightBrace, Name::EMPTY),
        }
    }
}

const ILLEGAL_ESCAPE: &str = "the string has an escape that JSON does not have, or a control character";

/// The text of a string with escapes, as JSON has them; in a template string `\{` is one as well.
fn unescape(inner: &str, template: bool) -> Option<String> {
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {}
            '\0'..='\u{1f}' => return None,
            _ => {
                text.push(character);
                continue;
            }
        }
        text.push(match characters.next()? {
            '{' if template => '{',
            '"' => '"',
            '\\' => '\\',
            '/' => '/',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => unicode(&mut characters)?,
            _ => return None,
        });
    }
    Some(text)
}

/// The character of `\u….`, and of the second half of a surrogate pair when it follows. A half alone is U+FFFD.
fn unicode(characters: &mut std::str::Chars<'_>) -> Option<char> {
    let first = four_digits(characters)?;
    if !(0xd800..0xdc00).contains(&first) {
        return Some(char::from_u32(first).unwrap_or('\u{fffd}'));
    }
    let mut ahead = characters.clone();
    let second = match (ahead.next(), ahead.next()) {
        (Some('\\'), Some('u')) => four_digits(&mut ahead).filter(|half| (0xdc00..0xe000).contains(half)),
        _ => None,
    };
    Some(match second {
        Some(second) => {
            *characters = ahead;
            char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)).unwrap_or('\u{fffd}')
        }
        None => '\u{fffd}',
    })
}

fn four_digits(characters: &mut std::str::Chars<'_>) -> Option<u32> {
    let mut value = 0;
    for _ in 0..4 {
        value = value * 16 + characters.next()?.to_digit(16)?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn kinds(text: &str) -> (Vec<Kind>, Vec<String>) {
        let mut names = Names::new();
        let lexed = lex(text, &mut names);
        let words = lexed.tokens.iter().filter(|token| {
            matches!(
                token.kind,
                Kind::Identifier
                    | Kind::Number
                    | Kind::String
                    | Kind::TemplatePart
                    | Kind::TemplateEnd
                    | Kind::NextTemplatePart
                    | Kind::NextTemplateEnd
            )
        });
        let words = words.map(|token| names.text(token.name).to_owned()).collect();
        (lexed.tokens.iter().map(|token| token.kind).collect(), words)
    }

    #[rstest]
    #[case::signs("x := a==b != 1.5e3", &["x", "a", "b", "1.5e3"])]
    #[case::strings(r#""a\n\"\u00e9\ud83d\ude00\ud800" `raw\n`"#, &["a\n\"é😀\u{fffd}", "raw\\n"])]
    #[case::template(r#"$"a{x}b{ {"k": y}["k"] }\{c""#, &["a", "x", "b", "k", "y", "k", "{c"])]
    #[case::raw_template("$`a\n{x}\\{`", &["a\n", "x", "{"])]
    #[case::comments("a # b\nc#d", &["a", "c"])]
    fn cuts_texts(#[case] text: &str, #[case] words: &[&str]) {
        let (kinds, found) = kinds(text);
        assert_eq!(found, words);
        assert!(!kinds.contains(&Kind::Illegal), "{kinds:?}");
    }

    #[rstest]
    #[case("\"a")]
    #[case("\"a\nb\"")]
    #[case("\"\\x\"")]
    #[case("\"\\u12\"")]
    #[case("\"\\n\t\"")]
    #[case("`a")]
    #[case("1.")]
    #[case("1e")]
    #[case("1a")]
    #[case("!")]
    #[case("$x")]
    #[case("$\"a")]
    #[case("$\"{x}\n")]
    #[case("@")]
    #[case("a\u{a0}b")]
    fn marks_what_is_no_token(#[case] text: &str) {
        let (kinds, _) = kinds(text);
        assert!(kinds.contains(&Kind::Illegal), "{kinds:?}");
    }

    #[test]
    fn knows_what_stands_between_tokens() {
        let mut names = Names::new();
        let lexed = lex("a .b #c\n d", &mut names);
        let found: Vec<_> = lexed.tokens.iter().map(|token| (token.spaced, token.new_line)).collect();
        assert_eq!(found, [(false, false), (true, false), (false, false), (true, true), (false, false)]);
        assert_eq!(lexed.comments, [(5, 7)]);
    }
}
