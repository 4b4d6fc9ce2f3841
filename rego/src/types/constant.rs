//! Constants: what names a property of an object, and what selects an element.

use std::{cmp::Ordering, fmt, sync::Arc};

/// A constant as JSON knows it. A set is an array here, as it is where OPA names properties.
#[derive(Debug, Clone)]
pub enum Constant {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean(bool),
    /// A number as it was written: `1` and `1.0` are equal, but only one of them selects from an array.
    Number(Arc<str>),
    /// A string, its escapes resolved.
    String(Arc<str>),
    /// An array or a set.
    Array(Arc<[Constant]>),
    /// An object, its keys sorted.
    Object(Arc<[(Constant, Constant)]>),
}

impl Constant {
    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Boolean(_) => 1,
            Self::Number(_) => 2,
            Self::String(_) => 3,
            Self::Array(_) => 4,
            Self::Object(_) => 5,
        }
    }
}

impl Ord for Constant {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Boolean(a), Self::Boolean(b)) => a.cmp(b),
            (Self::Number(a), Self::Number(b)) => compare_numbers(a, b),
            (Self::String(a), Self::String(b)) => a.cmp(b),
            (Self::Array(a), Self::Array(b)) => a.cmp(b),
            (Self::Object(a), Self::Object(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Constant {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Constant {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Constant {}

impl fmt::Display for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Boolean(value) => value.fmt(f),
            Self::Number(text) => f.write_str(text),
            Self::String(text) => write!(f, "{text:?}"),
            Self::Array(items) => f.debug_list().entries(items.iter().map(Shown)).finish(),
            Self::Object(fields) => {
                f.debug_map().entries(fields.iter().map(|(key, value)| (Shown(key), Shown(value)))).finish()
            }
        }
    }
}

struct Shown<'a>(&'a Constant);

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0, f)
    }
}

/// Compares numbers by value, whatever their length: `1e3`, `1000` and `1000.0` are equal.
fn compare_numbers(a: &str, b: &str) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    Decimal::read(a).cmp(&Decimal::read(b))
}

/// A number as a sign and `0.DIGITS × 10^exponent`, the first digit not zero.
struct Decimal {
    negative: bool,
    exponent: i64,
    digits: Vec<u8>,
}

impl Decimal {
    fn read(text: &str) -> Self {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let huge = if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
        let mut exponent = exponent.parse().unwrap_or(huge);
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        digits.drain(..zeros);
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        exponent += whole.len() as i64 - zeros as i64;
        if digits.is_empty() {
            return Self { negative: false, exponent: i64::MIN, digits };
        }
        Self { negative, exponent, digits }
    }

    fn cmp(&self, other: &Self) -> Ordering {
        if self.negative != other.negative {
            return other.negative.cmp(&self.negative);
        }
        let size = self.exponent.cmp(&other.exponent).then_with(|| self.digits.cmp(&other.digits));
        if self.negative { size.reverse() } else { size }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("1", "1.0", Ordering::Equal)]
    #[case("1e3", "1000", Ordering::Equal)]
    #[case("0.5", ".5", Ordering::Equal)]
    #[case("-0", "0", Ordering::Equal)]
    #[case("0e9", "0", Ordering::Equal)]
    #[case("10", "9", Ordering::Greater)]
    #[case("-10", "9", Ordering::Less)]
    #[case("-10", "-9", Ordering::Less)]
    #[case("0.01", "0.1", Ordering::Less)]
    #[case("0", "0.1", Ordering::Less)]
    #[case("-0.1", "0", Ordering::Less)]
    #[case("1e99999999999999999999", "2", Ordering::Greater)]
    #[case("1e-99999999999999999999", "2", Ordering::Less)]
    fn compares_numbers_by_value(#[case] a: &str, #[case] b: &str, #[case] expected: Ordering) {
        assert_eq!(compare_numbers(a, b), expected);
        assert_eq!(compare_numbers(b, a), expected.reverse());
    }

    #[test]
    fn shows_constants_as_written() {
        let pair = (Constant::String("a\"b".into()), Constant::Number("1.50".into()));
        let object = Constant::Object([pair].into());
        assert_eq!(Constant::Array([Constant::Null, object].into()).to_string(), r#"[null, {"a\"b": 1.50}]"#);
    }
}
