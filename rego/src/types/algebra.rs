//! Unions, selections, and whether two types have a value in common.
//!
//! The rules are OPA's, as its compiler applies them: what it accepts passes here, and what it refuses does not.

use std::{cmp::Ordering, sync::Arc};

use super::{Array, Constant, Dynamic, Function, Object, Type, Unknown};

impl Type {
    /// A value of either type; `None` when both are unknown, or only one of them is a function.
    #[must_use]
    pub fn union(a: Unknown, b: Unknown) -> Unknown {
        let (a, b) = match (a, b) {
            (a, None) => return a,
            (None, b) => return b,
            (Some(a), Some(b)) => (a, b),
        };
        match (&a, &b) {
            (Self::Function(a), Self::Function(b)) => Function::union(a, b),
            (Self::Function(_), _) | (_, Self::Function(_)) => None,
            (Self::Any, _) | (_, Self::Any) => Some(Self::Any),
            _ => Some(Self::merge(a, b)),
        }
    }

    fn merge(a: Self, b: Self) -> Self {
        let (left, right) = (a.alternatives(), b.alternatives());
        // Most often one of them is a part of the other.
        if right.len() == 1 && left.binary_search_by(|each| compare(each, &right[0])).is_ok() {
            return a;
        }
        if left.len() == 1 && right.binary_search_by(|each| compare(each, &left[0])).is_ok() {
            return b;
        }
        let mut merged = Vec::with_capacity(left.len() + right.len());
        let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
        loop {
            let next = match (left.peek(), right.peek()) {
                (Some(a), Some(b)) => match compare(a, b) {
                    Ordering::Less => left.next(),
                    Ordering::Greater => right.next(),
                    Ordering::Equal => {
                        right.next();
                        left.next()
                    }
                },
                (Some(_), None) => left.next(),
                (None, _) => right.next(),
            };
            let Some(next) = next else { break };
            merged.push(next.clone());
        }
        Self::Union(merged.into())
    }

    /// A value of one of these types.
    #[must_use]
    pub fn one_of(types: impl IntoIterator<Item = Self>) -> Unknown {
        Self::union_of(types.into_iter().map(Some))
    }

    /// The same as one [`union`](Self::union) after the other, without a copy of all before for each.
    #[must_use]
    pub fn union_of(types: impl IntoIterator<Item = Unknown>) -> Unknown {
        let types: Vec<Self> = types.into_iter().flatten().collect();
        let functions: Vec<&Function> = types.iter().filter_map(Self::as_function).collect();
        if let Some(first) = functions.first() {
            if functions.len() == types.len() && functions.iter().all(|each| each.takes_as_many_as(first)) {
                return Some(Function::union_of(&functions));
            }
            return types.iter().cloned().fold(None, |all, each| Self::union(all, Some(each)));
        }
        if types.iter().any(|each| matches!(each, Self::Any)) {
            return Some(Self::Any);
        }
        let mut all: Vec<Self> = types.iter().flat_map(Self::alternatives).cloned().collect();
        all.sort_by(compare);
        all.dedup_by(|later, earlier| compare(later, earlier).is_eq());
        if all.len() < 2 { all.pop() } else { Some(Self::Union(all.into())) }
    }

    fn as_function(&self) -> Option<&Function> {
        match self {
            Self::Function(function) => Some(function.as_ref()),
            _ => None,
        }
    }

    fn alternatives(&self) -> &[Self] {
        match self {
            Self::Union(of) => of,
            one => std::slice::from_ref(one),
        }
    }

    /// What may be written between brackets to reach into it; `None` when nothing can, or it is unknown.
    #[must_use]
    pub fn keys(&self) -> Unknown {
        match self {
            Self::Array(_) => Some(Self::Number),
            Self::Object(object) => {
                let named = object.named.iter().map(|(key, _)| Some(key.kind()));
                let others = object.others.iter().map(|others| others.key.clone());
                Self::union_of(named.chain(others))
            }
            Self::Set(set) => set.of.clone(),
            Self::Any => Some(Self::Any),
            Self::Union(of) => Self::union_of(of.iter().map(Self::keys)),
            _ => None,
        }
    }

    /// What can be found in it; `None` when it holds nothing, or nothing is known of what it holds.
    #[must_use]
    pub fn values(&self) -> Unknown {
        match self {
            Self::Array(array) => Self::union_of(array.first.iter().cloned().chain([array.rest.clone()])),
            Self::Object(object) => {
                let named = object.named.iter().map(|(_, value)| value.clone());
                let others = object.others.iter().map(|others| others.value.clone());
                Self::union_of(named.chain(others))
            }
            Self::Set(set) => set.of.clone(),
            Self::Any => Some(Self::Any),
            Self::Union(of) => Self::union_of(of.iter().map(Self::values)),
            _ => None,
        }
    }

    /// What a constant between brackets finds in it; `None` when that is nothing.
    #[must_use]
    pub fn select(&self, key: &Constant) -> Unknown {
        match self {
            Self::Array(array) => {
                let Constant::Number(text) = key else { return None };
                array.select(usize::try_from(text.parse::<i64>().ok()?).ok()?).cloned()
            }
            Self::Object(object) => object.select(key).cloned(),
            Self::Set(set) => {
                let kind = key.kind();
                match set.of.as_ref()? {
                    Self::Any => Some(kind),
                    of => of.alternatives().iter().any(|each| compare(each, &kind).is_eq()).then_some(kind),
                }
            }
            Self::Any => Some(Self::Any),
            Self::Union(of) => Self::union_of(of.iter().map(|each| each.select(key))),
            _ => None,
        }
    }

    /// Whether it is a collection that holds nothing.
    #[must_use]
    pub fn is_empty_collection(&self) -> bool {
        match self {
            Self::Array(array) => array.first.is_empty() && array.rest.is_none(),
            Self::Object(object) => object.named.is_empty() && object.others.is_none(),
            Self::Set(set) => set.of.is_none(),
            _ => false,
        }
    }

    /// Whether a part of it is not known. A choice is known.
    #[must_use]
    pub fn is_partly_unknown(&self) -> bool {
        self.extent().unknown
    }
}

impl Array {
    /// The type of the element at `index`.
    #[must_use]
    pub fn select(&self, index: usize) -> Option<&Type> {
        self.first.get(index).unwrap_or(&self.rest).as_ref()
    }
}

impl Object {
    /// The type of the property of that name.
    #[must_use]
    pub fn select(&self, key: &Constant) -> Option<&Type> {
        if let Ok(index) = self.named.binary_search_by(|(name, _)| name.cmp(key)) {
            return self.named[index].1.as_ref();
        }
        let Dynamic { key: keys, value } = self.others.as_ref()?;
        let may_hold = match keys.as_ref()? {
            Type::Any => true,
            keys => keys.alternatives().iter().any(|each| compare(each, &key.kind()).is_eq()),
        };
        value.as_ref().filter(|_| may_hold)
    }

    fn others_value(&self) -> Option<&Type> {
        self.others.as_ref()?.value.as_ref()
    }
}

impl Function {
    fn union(a: &Self, b: &Self) -> Unknown {
        if !a.takes_as_many_as(b) {
            return None;
        }
        let pairs = a.arguments.iter().zip(&b.arguments);
        let arguments = pairs.map(|(a, b)| Type::union(a.clone(), b.clone())).collect();
        let variadic = Type::union(a.variadic.clone(), b.variadic.clone());
        Some(Type::function(arguments, variadic, Type::union(a.result.clone(), b.result.clone())))
    }

    /// The same for several that take equally many arguments.
    fn union_of(functions: &[&Self]) -> Type {
        let count = functions.first().map_or(0, |first| first.arguments.len());
        let argument = |index: usize| {
            Type::union_of(functions.iter().map(|each| each.arguments.get(index).cloned().flatten()))
        };
        let variadic = Type::union_of(functions.iter().map(|each| each.variadic.clone()));
        let result = Type::union_of(functions.iter().map(|each| each.result.clone()));
        Type::function((0..count).map(argument).collect(), variadic, result)
    }

    fn takes_as_many_as(&self, other: &Self) -> bool {
        self.arguments.len() == other.arguments.len() && self.variadic.is_some() == other.variadic.is_some()
    }
}

impl Constant {
    /// The type of the constant.
    #[must_use]
    pub fn kind(&self) -> Type {
        match self {
            Self::Null => Type::Null,
            Self::Boolean(_) => Type::Boolean,
            Self::Number(_) => Type::Number,
            Self::String(_) => Type::String,
            Self::Array(items) => Type::tuple(items.iter().map(|item| Some(item.kind())).collect()),
            Self::Object(fields) => {
                let named = fields.iter().map(|(key, value)| (key.clone(), Some(value.kind())));
                Type::object(named.collect(), None)
            }
        }
    }
}

/// Whether a value may be of both types.
#[must_use]
pub fn unifies(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Function(a), Type::Function(b)) => unify_functions(a, b),
        (Type::Function(_), _) | (_, Type::Function(_)) => false,
        (Type::Any, _) | (_, Type::Any) => true,
        (Type::Union(_), _) | (_, Type::Union(_)) => {
            let (a, b) = (a.alternatives(), b.alternatives());
            a.iter().any(|a| b.iter().any(|b| unifies(a, b)))
        }
        (Type::Null, Type::Null)
        | (Type::Boolean, Type::Boolean)
        | (Type::Number, Type::Number)
        | (Type::String, Type::String) => true,
        (Type::Array(a), Type::Array(b)) => same(a, b) || unify_arrays(a, b),
        (Type::Object(a), Type::Object(b)) => same(a, b) || unify_objects(a, b),
        // The empty set is a member of every type of sets.
        (Type::Set(a), Type::Set(b)) => match (&a.of, &b.of) {
            (Some(a), Some(b)) => unifies(a, b),
            _ => true,
        },
        _ => false,
    }
}

/// As [`unifies`]; what is unknown unifies with nothing.
fn unify_known(a: Option<&Type>, b: Option<&Type>) -> bool {
    matches!((a, b), (Some(a), Some(b)) if unifies(a, b))
}

/// One and the same, all of it known: then there is nothing to compare.
fn same<T: Extended>(a: &Arc<T>, b: &Arc<T>) -> bool {
    Arc::ptr_eq(a, b) && !a.unknown()
}

trait Extended {
    fn unknown(&self) -> bool;
}

impl Extended for Array {
    fn unknown(&self) -> bool {
        self.extent.unknown
    }
}

impl Extended for Object {
    fn unknown(&self) -> bool {
        self.extent.unknown
    }
}

fn unify_arrays(a: &Array, b: &Array) -> bool {
    let longer = a.first.len().max(b.first.len());
    if !(0..longer).all(|index| unify_known(a.select(index), b.select(index))) {
        return false;
    }
    match (&a.rest, &b.rest) {
        (Some(a), Some(b)) => unifies(a, b),
        _ => true,
    }
}

fn unify_objects(a: &Object, b: &Object) -> bool {
    if !unify_named(a, b) || !unify_named(b, a) {
        return false;
    }
    match (a.others_value(), b.others_value()) {
        (Some(a), Some(b)) => unifies(a, b),
        _ => true,
    }
}

fn unify_named(a: &Object, b: &Object) -> bool {
    a.named.iter().all(|(key, value)| match b.select(key) {
        None => a.others_value().is_some() || b.others_value().is_some(),
        Some(other) => unify_known(value.as_ref(), Some(other)),
    })
}

fn unify_functions(a: &Function, b: &Function) -> bool {
    // A function that takes any number of arguments is never replaced, so that only the others count.
    a.arguments.len() == b.arguments.len()
        && a.arguments.iter().zip(&b.arguments).all(|(a, b)| unify_known(a.as_ref(), b.as_ref()))
}

/// An order of types, in which unions are sorted.
#[must_use]
pub fn compare(a: &Type, b: &Type) -> Ordering {
    #[cfg(test)]
    tests::COMPARED.with(|compared| compared.set(compared.get() + 1));
    match (a, b) {
        (Type::Array(a), Type::Array(b)) => {
            if Arc::ptr_eq(a, b) {
                return Ordering::Equal;
            }
            compare_unknown(&a.rest, &b.rest).then_with(|| compare_lists(&a.first, &b.first))
        }
        (Type::Object(a), Type::Object(b)) => {
            if Arc::ptr_eq(a, b) {
                Ordering::Equal
            } else {
                compare_objects(a, b)
            }
        }
        (Type::Set(a), Type::Set(b)) => compare_unknown(&a.of, &b.of),
        (Type::Union(a), Type::Union(b)) => {
            let pairs = a.iter().zip(b.iter());
            let order = pairs.map(|(a, b)| compare(a, b)).find(|order| order.is_ne());
            order.unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        (Type::Function(a), Type::Function(b)) => compare_lists(&a.arguments, &b.arguments)
            .then_with(|| compare_unknown(&a.result, &b.result))
            .then_with(|| compare_unknown(&a.variadic, &b.variadic)),
        _ => rank(a).cmp(&rank(b)),
    }
}

fn compare_unknown(a: &Unknown, b: &Unknown) -> Ordering {
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(a), Some(b)) => compare(a, b),
    }
}

fn compare_lists(a: &[Unknown], b: &[Unknown]) -> Ordering {
    let pairs = a.iter().zip(b);
    let order = pairs.map(|(a, b)| compare_unknown(a, b)).find(|order| order.is_ne());
    order.unwrap_or_else(|| a.len().cmp(&b.len()))
}

fn compare_objects(a: &Object, b: &Object) -> Ordering {
    let others = match (&a.others, &b.others) {
        (Some(a), Some(b)) => {
            compare_unknown(&a.key, &b.key).then_with(|| compare_unknown(&a.value, &b.value))
        }
        (a, b) => a.is_some().cmp(&b.is_some()),
    };
    if others.is_ne() {
        return others;
    }
    let pairs = a.named.iter().zip(&b.named);
    let order = pairs
        .map(|((name, value), (other_name, other))| {
            name.cmp(other_name).then_with(|| compare_unknown(value, other))
        })
        .find(|order| order.is_ne());
    order.unwrap_or_else(|| a.named.len().cmp(&b.named.len()))
}

fn rank(of: &Type) -> u8 {
    match of {
        Type::Null => 0,
        Type::Boolean => 1,
        Type::Number => 2,
        Type::String => 3,
        Type::Array(_) => 4,
        Type::Object(_) => 5,
        Type::Set(_) => 6,
        Type::Union(_) => 7,
        Type::Any => 8,
        Type::Function(_) => 9,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use rstest::rstest;

    use super::*;
    use crate::capabilities::signature::kind;

    thread_local! {
        /// How often this thread compared two types.
        pub(super) static COMPARED: Cell<usize> = const { Cell::new(0) };
    }

    fn written(of: Unknown) -> String {
        of.map_or_else(|| "unknown".to_owned(), |of| of.to_string())
    }

    #[rstest]
    #[case("string", "string", "string")]
    #[case("string", "null", "any<null, string>")]
    #[case("any<null, string>", "string", "any<null, string>")]
    #[case("any<null, string>", "any<number, string>", "any<null, number, string>")]
    #[case("any", "any<null, string>", "any")]
    #[case("array<number>", "array<string>", "any<array<number>, array<string>>")]
    #[case("array[any]", "array[any]", "array[any]")]
    fn unites(#[case] a: &str, #[case] b: &str, #[case] expected: &str) {
        assert_eq!(written(Type::union(Some(kind(a)), Some(kind(b)))), expected);
        assert_eq!(written(Type::union(Some(kind(b)), Some(kind(a)))), expected);
        assert_eq!(written(Type::union(Some(kind(a)), None)), a);
    }

    #[rstest]
    #[case("array<string>[number]", "number", "any<number, string>")]
    #[case(r#"object<"a": null>[number: string]"#, "any<number, string>", "any<null, string>")]
    #[case("set[string]", "string", "string")]
    #[case("set", "unknown", "unknown")]
    #[case("object", "unknown", "unknown")]
    #[case("string", "unknown", "unknown")]
    #[case("any", "any", "any")]
    #[case("any<null, array[string], set[boolean]>", "any<boolean, number>", "any<boolean, string>")]
    fn looks_into_collections(#[case] of: &str, #[case] keys: &str, #[case] values: &str) {
        assert_eq!(written(kind(of).keys()), keys);
        assert_eq!(written(kind(of).values()), values);
    }

    #[rstest]
    #[case("array<string>[number]", "0", "string")]
    #[case("array<string>[number]", "7", "number")]
    #[case("array<string>", "1", "unknown")]
    #[case("array<string>", "0.0", "unknown")]
    #[case("array[string]", "-1", "unknown")]
    #[case("object[any: string]", "1", "string")]
    #[case("object[string: string]", "1", "unknown")]
    #[case("object[any<null, number>: string]", "1", "string")]
    #[case("set[any]", "1", "number")]
    #[case("set[any<number, string>]", "1", "number")]
    #[case("set[string]", "1", "unknown")]
    #[case("any<array[string], object[any: null]>", "1", "any<null, string>")]
    #[case("any", "1", "any")]
    #[case("number", "1", "unknown")]
    fn selects_by_a_number(#[case] of: &str, #[case] number: &str, #[case] expected: &str) {
        assert_eq!(written(kind(of).select(&Constant::Number(number.into()))), expected);
    }

    /// One after the other, each would be compared with all before it.
    #[rstest]
    #[case::values(Type::values)]
    #[case::keys(Type::keys)]
    #[case::selected(|of: &Type| of.select(&Constant::String("a".into())))]
    fn looks_once_at_each_of_many_alternatives(#[case] look: fn(&Type) -> Unknown) {
        const MANY: usize = 1_000;
        let item = |number: usize| kind(&format!("object<\"k{number:04}\": number>"));
        let holder = |number: usize| {
            let named = vec![(Constant::String("a".into()), Some(item(number)))];
            Type::object(named, Some(Dynamic { key: Some(item(number)), value: Some(item(number)) }))
        };
        let all = Type::one_of((0..MANY).map(holder)).unwrap();
        COMPARED.set(0);
        let found = look(&all).unwrap();
        let compared = COMPARED.get();
        assert!(found.alternatives().len() >= MANY, "{}", found.alternatives().len());
        assert!(compared < 50 * MANY, "{compared}");
    }

    #[test]
    fn selects_by_name_first() {
        let object = kind(r#"object<"a": null, "b": number>[string: string]"#);
        for (name, expected) in [("a", "null"), ("b", "number"), ("c", "string")] {
            assert_eq!(written(object.select(&Constant::String(name.into()))), expected);
        }
    }

    #[rstest]
    #[case("string", "string", true)]
    #[case("string", "number", false)]
    #[case("any", "number", true)]
    #[case("any<null, number>", "number", true)]
    #[case("any<null, number>", "any<boolean, string>", false)]
    #[case("array<string>", "array<number>", false)]
    #[case("array<string>", "array<string, string>", false)]
    #[case("array<string>", "array[string]", true)]
    #[case("array<string>", "array[number]", false)]
    #[case("array", "array[number]", true)]
    #[case("array[string]", "array[number]", false)]
    #[case("set[string]", "set[number]", false)]
    #[case("set", "set[number]", true)]
    #[case("set", "array", false)]
    #[case(r#"object<"a": string>"#, r#"object<"a": number>"#, false)]
    #[case(r#"object<"a": string>"#, r#"object<"b": string>"#, false)]
    #[case(r#"object<"a": string>"#, "object[string: string]", true)]
    #[case(r#"object<"a": string>"#, "object[string: number]", false)]
    #[case(r#"object<"a": string>"#, "object[number: number]", true)]
    #[case("object", r#"object<"a": string>"#, false)]
    #[case("object", "object[string: number]", true)]
    fn says_what_two_types_have_in_common(#[case] a: &str, #[case] b: &str, #[case] expected: bool) {
        assert_eq!(unifies(&kind(a), &kind(b)), expected);
        assert_eq!(unifies(&kind(b), &kind(a)), expected);
    }

    #[test]
    fn unifies_nothing_with_the_unknown() {
        let known = Type::tuple(vec![Some(Type::String)]);
        let unknown = Type::tuple(vec![None]);
        assert!(unifies(&known, &known) && !unifies(&known, &unknown) && !unifies(&unknown, &unknown));
        assert!(unknown.is_partly_unknown() && !known.is_partly_unknown());
    }
}
