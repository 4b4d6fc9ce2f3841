//! The parser's messages, taken apart.

use std::sync::Arc;

use crate::{Code, Refusal};

/// A message of the parser, which reads `--> file:line:column`, then the line, then `error: what`.
pub(crate) fn refusal_of(file: &Arc<str>, text: &str, message: &str, code: Code) -> Refusal {
    let place = message.rsplit_once(&format!("--> {file}:")).and_then(|(_, rest)| {
        let (place, _) = rest.split_once('\n')?;
        let (line, column) = place.split_once(':')?;
        Some((line.parse().ok()?, column.parse().ok()?))
    });
    let what = message.rsplit_once("error: ").map_or(message, |(_, what)| what).trim();
    let what = if what.is_empty() { "this cannot be parsed" } else { what };
    let refusal = Refusal::at(file, text, place.unwrap_or((0, 0)), code, what.to_owned());
    match suggestion(what) {
        Some(advice) => refusal.suggest(advice),
        None => refusal,
    }
}

fn suggestion(what: &str) -> Option<&'static str> {
    if what.contains("`if` keyword is required") || what.contains("`contains` keyword is required") {
        Some("the module is written for Rego v0; rewrite it for v1 with `opa fmt --v0-v1`")
    } else if what.contains("invalid character") {
        Some("template strings and single quotes are not supported; use `sprintf` and double quotes")
    } else if what.contains("unexpected keyword") {
        Some("choose another name")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_place_and_the_reason() {
        let text = "package a\nx := [1,\n";
        let message = "\n--> a.rego:2:9\n  |\n2 | x := [1,\n  |         ^\nerror: expecting `]`";
        let refusal = refusal_of(&"a.rego".into(), text, message, Code::Parse);
        assert_eq!((refusal.location.line, refusal.location.column), (2, 9));
        assert_eq!(refusal.message, "expecting `]`");
        assert_eq!(refusal.source_line, "x := [1,");
    }

    #[test]
    fn keeps_a_message_of_another_form() {
        let refusal = refusal_of(&"a.rego".into(), "package a", "something else", Code::Parse);
        assert_eq!((refusal.location.line, refusal.message.as_str()), (0, "something else"));
    }
}
