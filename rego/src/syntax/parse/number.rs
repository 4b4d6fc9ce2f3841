//! Numbers: their form, and how large they may be.

use super::{
    super::{
        ast::{TermId, Value},
        position::Offset,
        token::Kind,
    },
    Parser,
};

/// OPA's limit on the binary exponent of a number.
const MAX_EXPONENT: f64 = 1e5;

impl Parser<'_> {
    /// A number, with a minus or a decimal point before it.
    pub(super) fn number(&mut self, at: Offset) -> Option<TermId> {
        let mut text = String::new();
        if self.kind == Kind::Minus {
            text.push('-');
            self.advance();
            if !matches!(self.kind, Kind::Number | Kind::Dot) {
                self.unexpected("a number");
                return None;
            }
        }
        let fraction = self.kind == Kind::Dot;
        if fraction {
            text.push('.');
            self.advance();
            if self.kind != Kind::Number {
                self.unexpected("a number");
                return None;
            }
        }
        let name = self.token().name;
        let digits = self.names.text(name);
        if !fraction && has_leading_zero(digits) {
            self.error(at.0, "a number begins with a needless zero");
            self.suggest("remove the zero, or write a string");
            return None;
        }
        text.push_str(digits);
        let form = match (fraction, digits.contains('.')) {
            (true, true) => Err("a number has two decimal points"),
            _ => in_range(&text).then_some(()).ok_or("the number is too large"),
        };
        if let Err(message) = form {
            self.error(at.0, message);
            return None;
        }
        let name = if text.len() == digits.len() { name } else { self.names.intern(&text) };
        let number = self.leaf(Value::Number(name), at);
        self.finish_term(number)
    }
}

fn has_leading_zero(digits: &str) -> bool {
    match digits.as_bytes() {
        [b'0', b'.', ..] => false,
        [b'0', b'e' | b'E', ..] => digits.len() <= 2,
        [b'0', _, ..] => true,
        _ => false,
    }
}

/// Whether a number's binary exponent is within OPA's limit.
fn in_range(text: &str) -> bool {
    let text = text.trim_start_matches('-');
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (text.get(..at), text.get(at + 1..)),
        None => (Some(text), None),
    };
    let mantissa = mantissa.unwrap_or_default();
    let point = mantissa.find('.').unwrap_or(mantissa.len());
    let Some(first) = mantissa.find(|digit: char| digit.is_ascii_digit() && digit != '0') else {
        // Zero, unless its exponent cannot even be read.
        return exponent.is_none_or(|exponent| exponent.parse::<i32>().is_ok());
    };
    // The power of ten of the first digit that counts.
    #[expect(clippy::cast_precision_loss, reason = "a text is at most 1 MiB long")]
    let power = if first < point { (point - first) as f64 } else { 1.0 - (first - point) as f64 };
    let exponent = match exponent.map(str::parse::<i32>) {
        None => 0.0,
        Some(Ok(exponent)) => f64::from(exponent),
        Some(Err(_)) => return false,
    };
    let binary = (power + exponent) * std::f64::consts::LOG2_10;
    // What is nearer to zero than OPA's numbers can be is zero.
    binary.abs() <= MAX_EXPONENT || binary < f64::from(i32::MIN)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("1", true)]
    #[case("0.000", true)]
    #[case("1e400", true)]
    #[case("1e30000", true)]
    #[case("1e30200", false)]
    #[case("-1e-30200", false)]
    #[case("630E-840354372", true)]
    #[case("0e99999", true)]
    #[case("1e99999999999", false)]
    #[case("1e-99999999999", false)]
    fn bounds_numbers(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(in_range(text), expected);
    }

    #[test]
    fn bounds_long_numbers() {
        assert!(in_range(&"9".repeat(30_000)));
        assert!(!in_range(&"9".repeat(30_200)));
    }
}
