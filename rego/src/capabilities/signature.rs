//! Signatures as the table writes them: `(string, array[any]...) => object<"a": any>[string: number]`.

use crate::types::{Constant, Dynamic, Type, Unknown};

/// The type of the function; `None` when the text is not a signature.
pub(super) fn read(text: &str) -> Option<Type> {
    let mut reader = Reader { rest: text };
    let signature = reader.signature()?;
    reader.rest.is_empty().then_some(signature)
}

/// A type, for tests to write it.
#[cfg(test)]
pub(crate) fn kind(text: &str) -> Type {
    let mut reader = Reader { rest: text };
    let kind = reader.kind().unwrap();
    assert_eq!(reader.rest, "", "{text}");
    kind
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn take(&mut self, text: &str) -> bool {
        self.rest.strip_prefix(text).inspect(|rest| self.rest = rest).is_some()
    }

    fn signature(&mut self) -> Option<Type> {
        let (mut arguments, mut variadic) = (Vec::new(), None);
        if !self.take("(") {
            return None;
        }
        while !self.take(")") {
            let argument = self.kind()?;
            match self.take("...") {
                true => variadic = Some(argument),
                false => arguments.push(Some(argument)),
            }
            self.take(", ");
        }
        let result = if self.take(" => ") { Some(self.kind()?) } else { None };
        Some(Type::function(arguments, variadic, result))
    }

    fn kind(&mut self) -> Option<Type> {
        let length = self.rest.find(|letter: char| !letter.is_ascii_lowercase()).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(length);
        self.rest = rest;
        match word {
            "null" => Some(Type::Null),
            "boolean" => Some(Type::Boolean),
            "number" => Some(Type::Number),
            "string" => Some(Type::String),
            "array" => {
                let first = self.angled(|reader| reader.kind().map(Some))?;
                Some(Type::array(first, self.squared()?))
            }
            "set" => Some(Type::set(self.squared()?)),
            "object" => self.object(),
            "any" => match self.angled(Self::kind)? {
                of if of.is_empty() => Some(Type::Any),
                of => Type::one_of(of),
            },
            _ => None,
        }
    }

    fn object(&mut self) -> Option<Type> {
        let named = self.angled(|reader| {
            let (name, rest) = reader.rest.strip_prefix('"')?.split_once("\": ")?;
            reader.rest = rest;
            Some((Constant::String(name.into()), Some(reader.kind()?)))
        })?;
        let mut others = None;
        if self.take("[") {
            let key = self.kind()?;
            if !self.take(": ") {
                return None;
            }
            others = Some(Dynamic { key: Some(key), value: Some(self.kind()?) });
            if !self.take("]") {
                return None;
            }
        }
        Some(Type::object(named, others))
    }

    fn angled<T>(&mut self, item: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut items = Vec::new();
        if self.take("<") {
            while !self.take(">") {
                items.push(item(self)?);
                self.take(", ");
            }
        }
        Some(items)
    }

    fn squared(&mut self) -> Option<Unknown> {
        if !self.take("[") {
            return Some(None);
        }
        let of = self.kind()?;
        self.take("]").then_some(Some(of))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("()")]
    #[case("() => object[string: any]")]
    #[case("(any...)")]
    #[case("(array, set) => boolean")]
    #[case("(null, any<number, string>) => array<number, string>[any]")]
    #[case(r#"(object<"a": set[any], "b": null>[any: any]) => object<"c": string>"#)]
    fn reads_what_types_write(#[case] text: &str) {
        assert_eq!(read(text).unwrap().to_string(), text);
    }

    #[rstest]
    fn rejects_other_text(
        #[values(
            "",
            "(",
            "(any",
            "any",
            "() =>",
            "(other)",
            "() => array[any",
            "() => any rest",
            "(object[any])"
        )]
        text: &str,
    ) {
        assert!(read(text).is_none());
    }
}
