//! What the rules of one name define together.

use super::{Dynamic, Object, Type, Unknown};

/// The types of the rules of one name, which are put together when somebody asks.
///
/// Most often thousands of rules of one name add an alternative each. To put every one into the union of those before it
/// would copy all of them every time.
#[derive(Debug, Default)]
pub(super) struct Merged {
    known: Unknown,
    /// What came after it: types that are alike.
    waiting: Vec<Type>,
}

impl Merged {
    pub(super) fn is_known(&self) -> bool {
        self.known.is_some() || !self.waiting.is_empty()
    }

    pub(super) fn get(&mut self) -> Unknown {
        if let Some(likeness) = self.waiting.last().map(Likeness::of) {
            let waiting = std::mem::take(&mut self.waiting);
            let known = self.known.take();
            let more = together(likeness, waiting, known.as_ref());
            self.known = Some(merge(known, more));
        }
        self.known.clone()
    }

    /// Takes this, whatever was known.
    pub(super) fn set(&mut self, kind: Type) {
        *self = Self { known: Some(kind), waiting: Vec::new() };
    }

    /// Adds what another rule defines, and says how much is looked at for that.
    pub(super) fn add(&mut self, kind: Type) -> u64 {
        let effort = kind.extent().parts.saturating_add(1);
        let likeness = Likeness::of(&kind);
        if likeness != Likeness::Alone && self.waiting.last().map(Likeness::of) == Some(likeness) {
            self.waiting.push(kind);
            return effort;
        }
        let before = self.get().map_or(0, |known| known.extent().parts);
        match likeness {
            Likeness::Alone => self.known = Some(merge(self.known.take(), kind)),
            _ => self.waiting.push(kind),
        }
        effort.saturating_add(before)
    }
}

/// Types that can be put together before they are merged with what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Likeness {
    Set,
    Function,
    /// It becomes one of several, whatever is there.
    Alternative,
    /// It is merged by itself.
    Alone,
}

impl Likeness {
    fn of(kind: &Type) -> Self {
        match kind {
            Type::Set(_) => Self::Set,
            Type::Function(_) => Self::Function,
            Type::Object(object) if object.named.is_empty() => Self::Alone,
            Type::Any | Type::Union(_) => Self::Alone,
            Type::Null | Type::Boolean | Type::Number | Type::String | Type::Array(_) | Type::Object(_) => {
                Self::Alternative
            }
        }
    }
}

/// Types that are alike as one, which is merged with what is known as each of them would be.
fn together(likeness: Likeness, kinds: Vec<Type>, known: Option<&Type>) -> Type {
    // Beside anything but a set, each set stays one of its own.
    if likeness == Likeness::Set && matches!(known, None | Some(Type::Set(_))) {
        let elements = kinds.into_iter().map(|kind| match kind {
            Type::Set(set) => set.of.clone(),
            other => Some(other),
        });
        return Type::set(Type::union_of(elements));
    }
    Type::union_of(kinds.into_iter().map(Some)).unwrap_or(Type::Any)
}

/// What two rules of one name define together.
fn merge(a: Unknown, b: Type) -> Type {
    let Some(a) = a else { return b };
    match (&a, &b) {
        (Type::Object(left), Type::Object(right)) if left.named.is_empty() && right.named.is_empty() => {
            match (&left.others, &right.others) {
                (None, _) => b,
                (_, None) => a,
                (Some(left), Some(right)) => {
                    let value = match (left.value.clone(), right.value.clone()) {
                        (left, Some(right)) => Some(merge(left, right)),
                        (left, None) => left,
                    };
                    let key = Type::union(left.key.clone(), right.key.clone());
                    Type::object(Vec::new(), Some(Dynamic { key, value }))
                }
            }
        }
        (Type::Set(left), Type::Set(right)) => Type::set(Type::union(left.of.clone(), right.of.clone())),
        (Type::Object(object), Type::Union(of)) | (Type::Union(of), Type::Object(object)) => {
            match merge_into_union(object, of) {
                Some(merged) => merged,
                None => united(a, b),
            }
        }
        _ => united(a, b),
    }
}

fn united(a: Type, b: Type) -> Type {
    // A function beside a value was refused before, as were functions that do not take equally many arguments.
    Type::union(Some(a), Some(b)).unwrap_or(Type::Any)
}

/// Objects without named properties become one.
fn merge_into_union(object: &Object, of: &[Type]) -> Option<Type> {
    let others = object.others.as_ref().filter(|_| object.named.is_empty())?;
    let (index, present) = of.iter().enumerate().find_map(|(index, each)| match each {
        Type::Object(each) if each.named.is_empty() => Some((index, each.others.as_ref()?)),
        _ => None,
    })?;
    let merged = Dynamic {
        key: Type::union(present.key.clone(), others.key.clone()),
        value: Type::union(present.value.clone(), others.value.clone()),
    };
    let merged = Type::object(Vec::new(), Some(merged));
    Type::one_of(
        of.iter().enumerate().map(|(at, each)| if at == index { merged.clone() } else { each.clone() }),
    )
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::capabilities::signature::kind;

    /// How many rules of one name there are.
    const MANY: u64 = 1_000;

    fn alternative(number: u64) -> Type {
        kind(&format!("object<\"k{number}\": number>"))
    }

    fn function(result: &str) -> Type {
        Type::function(vec![Some(Type::Number)], None, Some(kind(result)))
    }

    /// As they are when somebody asks at the end, and when somebody asks after each.
    fn asked(kinds: &[Type]) -> [String; 2] {
        let (mut at_the_end, mut after_each) = (Merged::default(), Merged::default());
        for kind in kinds {
            at_the_end.add(kind.clone());
            after_each.add(kind.clone());
            after_each.get();
        }
        [at_the_end, after_each].map(|mut merged| merged.get().unwrap().to_string())
    }

    #[rstest]
    #[case::alternatives(&["number", "string", "null", "string"], "any<null, number, string>")]
    #[case::one_alternative(&["number", "number"], "number")]
    #[case::objects(
        &["object<\"b\": number>", "object<\"a\": number>", "object<\"b\": number>"],
        "any<object<\"a\": number>, object<\"b\": number>>"
    )]
    #[case::sets(&["set[number]", "set[string]", "set"], "set[any<number, string>]")]
    #[case::sets_beside_a_number(
        &["number", "set[number]", "set[string]", "set[string]"],
        "any<number, set[number], set[string]>"
    )]
    #[case::a_number_beside_sets(
        &["set[number]", "set[string]", "number", "set[null]"],
        "any<number, set[null], set[any<number, string>]>"
    )]
    #[case::objects_of_any_names(
        &["object[string: number]", "object<\"a\": number>", "object[string: null]"],
        "any<object<\"a\": number>, object[string: any<null, number>]>"
    )]
    #[case::anything(&["number", "any", "string", "string"], "any")]
    fn is_the_same_whenever_it_is_asked_for(#[case] kinds: &[&str], #[case] expected: &str) {
        let kinds: Vec<Type> = kinds.iter().map(|text| kind(text)).collect();
        assert_eq!(asked(&kinds), [expected, expected]);
    }

    #[test]
    fn unites_what_functions_return() {
        let kinds = ["string", "null", "string"].map(function);
        assert_eq!(asked(&kinds), ["(number) => any<null, string>"; 2]);
        let mixed = [function("string"), Type::Number, Type::String];
        assert_eq!(asked(&mixed), ["any"; 2]);
    }

    #[test]
    fn looks_once_at_each_of_many() {
        let set = |number: u64| Type::set(Some(alternative(number)));
        let function =
            |number: u64| Type::function(vec![Some(Type::Number)], None, Some(alternative(number)));
        let kinds: [&dyn Fn(u64) -> Type; 3] = [&alternative, &set, &function];
        for kind in kinds {
            let mut merged = Merged::default();
            let effort: u64 = (0..MANY).map(|number| merged.add(kind(number))).sum();
            let once: u64 = (0..MANY).map(|number| kind(number).extent().parts + 1).sum();
            assert_eq!(effort, once);
        }
    }

    /// What cannot wait for one another is counted, so that there is an end to it.
    #[test]
    fn counts_what_it_looks_at_again() {
        let mut merged = Merged::default();
        let other = |number: u64| match number % 2 {
            0 => alternative(number),
            _ => Type::set(Some(alternative(number))),
        };
        let effort: u64 = (0..MANY).map(|number| merged.add(other(number))).sum();
        assert!(effort > MANY * MANY / 4, "{effort}");
    }
}
