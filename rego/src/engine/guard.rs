//! Limits on a text before any parser sees it.
//!
//! The parser behind this crate tries `[` and `{` as several things in turn and so takes time exponential in
//! their nesting, and deep syntax trees exhaust the stack of whoever walks them. This scan is linear, knows
//! strings, raw strings and comments, and bounds both: the nesting, and the *work* that the nesting stands for.

use std::sync::Arc;

use crate::{Code, Refusal};

/// The longest text, in bytes.
pub(crate) const MAX_BYTES: usize = 1024 * 1024;
/// The most lines.
pub(crate) const MAX_LINES: usize = 20_000;
/// The longest line, in bytes.
pub(crate) const MAX_LINE_BYTES: usize = 8 * 1024;
/// How deep `[`, `{` and `(` may nest, together.
pub(crate) const MAX_NESTING: usize = 12;
/// How many operators, `.`, indexes and calls one expression may chain, those around it included.
pub(crate) const MAX_CHAIN: u32 = 256;
/// The most imports: the parser compares each with all before it.
pub(crate) const MAX_IMPORTS: usize = 256;
/// The most work: each token counts for as often as the parser may come back to it, at worst three times as often
/// with every `[` or `{` around it. A million is about a second without optimization.
const MAX_WORK: u64 = 4_000_000;

/// Checks a text and gives it back without its byte order mark.
///
/// # Errors
/// When it is not UTF-8, has control characters, or exceeds a limit.
pub(crate) fn guard<'a>(file: &Arc<str>, text: &'a [u8]) -> Result<&'a str, Refusal> {
    let refuse = |code, message| Refusal::at(file, "", (0, 0), code, message);
    if text.len() > MAX_BYTES {
        let message = format!("a module has at most {MAX_BYTES} bytes, this one has {}", text.len());
        return Err(
            refuse(Code::TooLarge, message).suggest("split it into several modules, or move data out")
        );
    }
    let text = std::str::from_utf8(text)
        .map_err(|error| refuse(Code::Encoding, format!("the text is not UTF-8: {error}")))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    lines(file, text)?;
    Scanner::new(file, text).run()?;
    Ok(text)
}

fn lines(file: &Arc<str>, text: &str) -> Result<(), Refusal> {
    let mut number = 0;
    for line in text.split('\n') {
        number += 1;
        if line.len() > MAX_LINE_BYTES {
            let message = format!("a line has at most {MAX_LINE_BYTES} bytes, this one has {}", line.len());
            return Err(Refusal::at(file, "", (number, 1), Code::TooLarge, message)
                .suggest("break the line, or move long values into data"));
        }
        // Some readers end the text at a NUL, others do not: what follows would be checked by none of the former
        // and obeyed by all of the latter.
        let control = |c: char| c.is_control() && !matches!(c, '\t' | '\r');
        if let Some(at) = line.chars().position(control) {
            let column = u32::try_from(at).unwrap_or(u32::MAX).saturating_add(1);
            let message = "control characters are not allowed in a module".to_owned();
            return Err(Refusal::at(file, text, (number, column), Code::Encoding, message)
                .suggest("write it as an escape sequence in a string, such as `\\u0000`"));
        }
    }
    if number as usize > MAX_LINES {
        let message = format!("a module has at most {MAX_LINES} lines, this one has {number}");
        return Err(Refusal::at(file, text, (0, 0), Code::TooLarge, message).suggest("split it"));
    }
    Ok(())
}

/// What the last token was, to tell where one expression ends and the next begins.
#[derive(Clone, Copy, PartialEq)]
enum Last {
    /// A name, a literal, or a closing bracket.
    Operand,
    /// Anything that an operand has to follow.
    Operator,
}

/// What an open bracket holds.
#[derive(Clone, Copy)]
struct Level {
    /// The length of the current chain, those around it included.
    chain: u32,
    /// How often the parser may read a token here.
    weight: u64,
}

struct Scanner<'a> {
    file: &'a Arc<str>,
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    line: u32,
    line_start: usize,
    /// The open brackets, the whole text at the bottom.
    levels: Vec<Level>,
    last: Last,
    work: u64,
    imports: usize,
}

impl<'a> Scanner<'a> {
    fn new(file: &'a Arc<str>, text: &'a str) -> Self {
        let bytes = text.as_bytes();
        let last = Last::Operator;
        let levels = vec![Level { chain: 0, weight: 1 }];
        Self { file, text, bytes, at: 0, line: 1, line_start: 0, levels, last, work: 0, imports: 0 }
    }

    fn run(mut self) -> Result<(), Refusal> {
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b'\n' => self.newline(),
                b' ' | b'\t' | b'\r' => self.at += 1,
                b'#' => self.skip_while(|byte| byte != b'\n'),
                b'"' => self.string()?,
                b'`' => self.raw_string()?,
                b'[' | b'{' | b'(' => self.open()?,
                b']' | b'}' | b')' => self.close()?,
                b',' | b';' => self.separator()?,
                b if b.is_ascii_alphanumeric() || b == b'_' => self.word()?,
                _ => self.operator()?,
            }
        }
        Ok(())
    }

    fn newline(&mut self) {
        self.at += 1;
        self.line += 1;
        self.line_start = self.at;
    }

    fn skip_while(&mut self, goes_on: impl Fn(u8) -> bool) {
        while self.bytes.get(self.at).is_some_and(|&byte| goes_on(byte)) {
            self.at += 1;
        }
    }

    fn string(&mut self) -> Result<(), Refusal> {
        self.operand()?;
        let start = self.at;
        self.at += 1;
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(b'\n') | None => {
                    return Err(self.refuse_at(start, Code::Parse, "this string has no end"));
                }
                Some(_) => self.at += 1,
            }
        }
        self.at += 1;
        Ok(())
    }

    fn raw_string(&mut self) -> Result<(), Refusal> {
        self.operand()?;
        let start = self.at;
        self.at += 1;
        loop {
            match self.bytes.get(self.at) {
                Some(b'`') => break,
                Some(b'\n') => self.newline(),
                Some(_) => self.at += 1,
                None => return Err(self.refuse_at(start, Code::Parse, "this raw string has no end")),
            }
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self) -> Result<(), Refusal> {
        let start = self.at;
        self.skip_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        match &self.bytes[start..self.at] {
            b"in" => return self.link(),
            b"import" => self.imports += 1,
            _ => {}
        }
        if self.imports > MAX_IMPORTS {
            let message = format!("a module has at most {MAX_IMPORTS} imports");
            return Err(self.refuse(Code::TooLarge, &message).suggest("split the module"));
        }
        self.operand()
    }

    fn operator(&mut self) -> Result<(), Refusal> {
        self.at += 1;
        self.link()
    }

    /// A name or a literal. After another one it begins a new expression.
    fn operand(&mut self) -> Result<(), Refusal> {
        if self.last == Last::Operand {
            self.restart();
        }
        self.last = Last::Operand;
        self.count()
    }

    fn separator(&mut self) -> Result<(), Refusal> {
        self.at += 1;
        self.restart();
        self.last = Last::Operator;
        self.count()
    }

    fn innermost(&self) -> Level {
        self.levels.last().copied().unwrap_or(Level { chain: 0, weight: 1 })
    }

    /// The chain of this level is as long again as what surrounds it.
    fn restart(&mut self) {
        let surrounding = self.levels.iter().rev().nth(1).map_or(0, |level| level.chain);
        if let Some(level) = self.levels.last_mut() {
            level.chain = surrounding;
        }
    }

    fn link(&mut self) -> Result<(), Refusal> {
        self.last = Last::Operator;
        if let Some(level) = self.levels.last_mut() {
            level.chain += 1;
        }
        if self.innermost().chain > MAX_CHAIN {
            let message = format!("an expression chains more than {MAX_CHAIN} operators and references");
            return Err(self.refuse(Code::TooDeep, &message).suggest("split it into several rules"));
        }
        self.count()
    }

    fn open(&mut self) -> Result<(), Refusal> {
        if self.last == Last::Operand {
            self.link()?;
        }
        if self.levels.len() > MAX_NESTING {
            let message = format!("brackets nest more than {MAX_NESTING} levels deep");
            return Err(self
                .refuse(Code::TooDeep, &message)
                .suggest("name the inner parts with rules or variables of their own"));
        }
        let Level { chain, weight } = self.innermost();
        let factor = if self.bytes.get(self.at) == Some(&b'(') { 1 } else { 3 };
        self.levels.push(Level { chain, weight: weight.saturating_mul(factor) });
        self.at += 1;
        self.last = Last::Operator;
        self.count()
    }

    fn close(&mut self) -> Result<(), Refusal> {
        self.at += 1;
        if self.levels.len() > 1 {
            self.levels.pop();
        }
        self.last = Last::Operand;
        self.count()
    }

    fn count(&mut self) -> Result<(), Refusal> {
        self.work = self.work.saturating_add(self.innermost().weight);
        if self.work > MAX_WORK {
            return Err(self
                .refuse(Code::TooDeep, "the module nests too much for its length")
                .suggest("move large literals out of the policy into data, or nest them less"));
        }
        Ok(())
    }

    fn refuse(&self, code: Code, message: &str) -> Refusal {
        self.refuse_at(self.at, code, message)
    }

    fn refuse_at(&self, at: usize, code: Code, message: &str) -> Refusal {
        let before = self.text.get(self.line_start..at.max(self.line_start)).unwrap_or_default();
        let column = u32::try_from(before.chars().count()).unwrap_or(u32::MAX).saturating_add(1);
        Refusal::at(self.file, self.text, (self.line, column), code, message.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn check(text: &[u8]) -> Result<&str, Refusal> {
        guard(&"t.rego".into(), text)
    }

    fn nested(open: &str, close: &str, depth: usize) -> String {
        format!("package a\nx := {}1{}", open.repeat(depth), close.repeat(depth))
    }

    #[test]
    fn strips_the_byte_order_mark() {
        assert_eq!(check(b"\xef\xbb\xbfpackage a"), Ok("package a"));
    }

    #[rstest]
    #[case(b"package a\n\xff".as_slice(), Code::Encoding)]
    #[case(b"package a # \0\nallow := true", Code::Encoding)]
    #[case(b"package a\x0callow := true", Code::Encoding)]
    #[case(b"package a\nx := \"open", Code::Parse)]
    #[case(b"package a\nx := `open", Code::Parse)]
    fn refuses_texts_that_readers_take_differently(#[case] text: &[u8], #[case] code: Code) {
        assert_eq!(check(text).unwrap_err().code, code);
    }

    #[rstest]
    #[case("[", "]")]
    #[case("{", "}")]
    #[case("(", ")")]
    #[case("{\"a\": ", "}")]
    fn limits_nesting(#[case] open: &str, #[case] close: &str) {
        assert!(check(nested(open, close, MAX_NESTING).as_bytes()).is_ok());
        let refusal = check(nested(open, close, MAX_NESTING + 1).as_bytes()).unwrap_err();
        assert_eq!((refusal.code, refusal.location.line), (Code::TooDeep, 2));
    }

    #[test]
    fn brackets_in_strings_and_comments_do_not_count() {
        let many = "[".repeat(100);
        let text = format!("package a\n# {many}\nx := \"{many}\\\"{many}\"\ny := `{many}\n{many}`\n");
        assert!(check(text.as_bytes()).is_ok());
    }

    #[test]
    fn brackets_after_strings_and_comments_count() {
        let deep = nested("[", "]", MAX_NESTING + 1);
        for before in ["# `\n", "# \"\n", "y := `#`\n", "y := \"\\\\\"\n", "y := \"`\"\n"] {
            let text = deep.replacen('\n', &format!("\n{before}"), 1);
            assert_eq!(check(text.as_bytes()).unwrap_err().code, Code::TooDeep, "{before}");
        }
    }

    #[test]
    fn limits_work_over_the_whole_text() {
        let one = nested("[", "]", MAX_NESTING).replace("package a\n", "");
        let text = format!("package a\n{}", format!("{one}\n").repeat(1000));
        assert_eq!(check(text.as_bytes()).unwrap_err().code, Code::TooDeep);
    }

    #[rstest]
    #[case("1 + \n")]
    #[case("- ")]
    #[case("a.\n")]
    #[case("a | (b) | \n")]
    #[case("a in \n")]
    fn limits_chains(#[case] link: &str) {
        let text = |n| format!("package a\nx if y == {}1\n", link.repeat(n));
        assert!(check(text(100).as_bytes()).is_ok());
        assert_eq!(check(text(300).as_bytes()).unwrap_err().code, Code::TooDeep);
    }

    #[test]
    fn chains_of_many_statements_do_not_add_up() {
        let text = format!("package a\n{}", "x if data.a.b[input.c].d == input.e.f + 1\n".repeat(2000));
        assert!(check(text.as_bytes()).is_ok());
    }

    #[test]
    fn limits_lengths() {
        assert_eq!(check(&vec![b'\n'; MAX_LINES + 1]).unwrap_err().code, Code::TooLarge);
        assert_eq!(check(&vec![b' '; MAX_LINE_BYTES + 1]).unwrap_err().code, Code::TooLarge);
        assert_eq!(check(&vec![b'\n'; MAX_BYTES + 1]).unwrap_err().code, Code::TooLarge);
        let imports = "import data.x\n".repeat(MAX_IMPORTS + 1);
        assert_eq!(check(imports.as_bytes()).unwrap_err().code, Code::TooLarge);
    }

    /// The patterns that cost the parser most, as many of them as the guard lets through.
    #[rstest]
    #[case("{1 | ", ", 2}", MAX_NESTING)]
    #[case("[1 | ", ", 2]", 6)]
    #[case("{1: ", "}", 4)]
    fn what_passes_is_parsed_in_time(#[case] open: &str, #[case] close: &str, #[case] depth: usize) {
        let one = format!("x if {}1{}\n", open.repeat(depth), close.repeat(depth));
        let text = |times: usize| format!("package a\n{}", one.repeat(times));
        let mut times = 1;
        while check(text(times * 2).as_bytes()).is_ok() {
            times *= 2;
        }
        let started = std::time::Instant::now();
        let _ = crate::engine::module::Module::parse("t.rego", text(times).as_bytes());
        // Many times what it takes: the machine may be slow, and busy with something else.
        assert!(started.elapsed() < std::time::Duration::from_secs(150), "{:?}", started.elapsed());
    }

    proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = check(&text);
        }

        #[test]
        fn never_panics_on_text(text in "[\\[\\](){}\"`#a1 .\\\\\n,é]{0,200}") {
            let _ = check(text.as_bytes());
        }
    }
}
