//! What a type is, and how it is written.

use std::{fmt, sync::Arc};

use super::Constant;

/// What is known of a value. `None` where an `Option<Type>` stands: nothing yet.
#[derive(Debug, Clone)]
pub enum Type {
    /// `null`
    Null,
    /// `true` and `false`
    Boolean,
    /// Numbers.
    Number,
    /// Strings.
    String,
    /// Arrays.
    Array(Arc<Array>),
    /// Objects.
    Object(Arc<Object>),
    /// Sets.
    Set(Arc<Set>),
    /// A value of one of these types, which are sorted and differ from each other. There is at least one.
    Union(Arc<[Type]>),
    /// Any value.
    Any,
    /// A function.
    Function(Arc<Function>),
}

/// A type with parts that are not known yet.
pub type Unknown = Option<Type>;

/// The type of an array: its first elements one by one, and what all others are.
#[derive(Debug, Clone)]
pub struct Array {
    /// The first elements.
    pub first: Box<[Unknown]>,
    /// All others; `None` when there are none.
    pub rest: Unknown,
    pub(super) extent: Extent,
}

/// The type of an object: properties whose names are constants, and what all others are.
#[derive(Debug, Clone)]
pub struct Object {
    /// Properties whose names are constants, sorted by name.
    pub named: Box<[(Constant, Unknown)]>,
    /// All others; `None` when there are none.
    pub others: Option<Dynamic>,
    pub(super) extent: Extent,
}

/// Properties whose names are not constants.
#[derive(Debug, Clone)]
pub struct Dynamic {
    /// Their names.
    pub key: Unknown,
    /// Their values.
    pub value: Unknown,
}

/// The type of a set.
#[derive(Debug, Clone)]
pub struct Set {
    /// Its elements; `None` for the empty set, too.
    pub of: Unknown,
    pub(super) extent: Extent,
}

/// The type of a function.
#[derive(Debug, Clone)]
pub struct Function {
    /// Its arguments.
    pub arguments: Box<[Unknown]>,
    /// Any number of arguments after those.
    pub variadic: Unknown,
    /// What it returns; `None` when it returns nothing.
    pub result: Unknown,
    pub(super) extent: Extent,
}

/// What is asked of a composite type again and again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// How deep it nests.
    pub(super) depth: u32,
    /// How many parts it has, at all depths, those that are shared counted wherever they stand.
    pub(super) parts: u64,
    /// Whether some part of it is not known.
    pub(super) unknown: bool,
}

impl Extent {
    fn with(self, part: &Unknown) -> Self {
        let Some(part) = part else { return Self { unknown: true, ..self } };
        let part = part.extent();
        Self {
            depth: self.depth.max(part.depth.saturating_add(1)),
            parts: self.parts.saturating_add(part.parts).saturating_add(1),
            unknown: self.unknown || part.unknown,
        }
    }

    fn of<'a>(parts: impl IntoIterator<Item = &'a Unknown>) -> Self {
        parts.into_iter().fold(Self::default(), Self::with)
    }
}

impl Type {
    /// An array of these elements and no others.
    #[must_use]
    pub fn tuple(first: Vec<Unknown>) -> Self {
        Self::array(first, None)
    }

    /// An array that begins with these elements; `rest` are the others, if there are any.
    #[must_use]
    pub fn array(first: Vec<Unknown>, rest: Unknown) -> Self {
        let extent = Extent::of(first.iter().chain(rest.is_some().then_some(&rest)));
        Self::Array(Arc::new(Array { first: first.into(), rest, extent }))
    }

    /// A set of that type; without one, it is the empty set or a set that nothing is known of.
    #[must_use]
    pub fn set(of: Unknown) -> Self {
        let extent = Extent::of([&of]);
        Self::Set(Arc::new(Set { of, extent }))
    }

    /// An object. Of two properties of one name, the last counts.
    #[must_use]
    pub fn object(mut named: Vec<(Constant, Unknown)>, others: Option<Dynamic>) -> Self {
        named.sort_by(|(a, _), (b, _)| a.cmp(b));
        named.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        let dynamic = others.iter().flat_map(|others| [&others.key, &others.value]);
        let extent = Extent::of(named.iter().map(|(_, value)| value).chain(dynamic));
        Self::Object(Arc::new(Object { named: named.into(), others, extent }))
    }

    /// A function that returns `result`; without one, nothing.
    #[must_use]
    pub fn function(arguments: Vec<Unknown>, variadic: Unknown, result: Unknown) -> Self {
        let extent = Extent::of(arguments.iter().chain([&result]));
        Self::Function(Arc::new(Function { arguments: arguments.into(), variadic, result, extent }))
    }

    pub(super) fn extent(&self) -> Extent {
        match self {
            Self::Null | Self::Boolean | Self::Number | Self::String | Self::Any => Extent::default(),
            Self::Array(array) => array.extent,
            Self::Object(object) => object.extent,
            Self::Set(set) => set.extent,
            Self::Function(function) => function.extent,
            // What one of several is does not make the choice unknown.
            Self::Union(of) => of.iter().fold(Extent::default(), |all, each| {
                let each = each.extent();
                let parts = all.parts.saturating_add(each.parts).saturating_add(1);
                Extent { depth: all.depth.max(each.depth), parts, unknown: false }
            }),
        }
    }

    /// How deep it nests: 0 for what has no parts.
    #[must_use]
    pub fn depth(&self) -> u32 {
        self.extent().depth
    }
}

impl Function {
    /// The type of the argument at `index`; `None` when it takes no such argument.
    #[must_use]
    pub fn argument(&self, index: usize) -> Option<&Type> {
        self.arguments.get(index).unwrap_or(&self.variadic).as_ref()
    }
}

/// As OPA writes types, but with the names of properties in quotation marks.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Boolean => f.write_str("boolean"),
            Self::Number => f.write_str("number"),
            Self::String => f.write_str("string"),
            Self::Any => f.write_str("any"),
            Self::Array(array) => {
                f.write_str("array")?;
                list(f, ["<", ">"], &array.first, unknown)?;
                match &array.rest {
                    Some(rest) => write!(f, "[{rest}]"),
                    None => Ok(()),
                }
            }
            Self::Object(object) => {
                f.write_str("object")?;
                list(f, ["<", ">"], &object.named, |f, (key, value)| {
                    write!(f, "{key}: ")?;
                    unknown(f, value)
                })?;
                let Some(others) = &object.others else { return Ok(()) };
                f.write_str("[")?;
                unknown(f, &others.key)?;
                f.write_str(": ")?;
                unknown(f, &others.value)?;
                f.write_str("]")
            }
            Self::Set(set) => match &set.of {
                Some(of) => write!(f, "set[{of}]"),
                None => f.write_str("set"),
            },
            Self::Union(of) => {
                f.write_str("any")?;
                list(f, ["<", ">"], of, |f, each| write!(f, "{each}"))
            }
            Self::Function(function) => {
                f.write_str("(")?;
                list(f, ["", ""], &function.arguments, unknown)?;
                if let Some(variadic) = &function.variadic {
                    write!(f, "{}{variadic}...", if function.arguments.is_empty() { "" } else { ", " })?;
                }
                f.write_str(")")?;
                match &function.result {
                    Some(result) => write!(f, " => {result}"),
                    None => Ok(()),
                }
            }
        }
    }
}

fn unknown(f: &mut fmt::Formatter<'_>, of: &Unknown) -> fmt::Result {
    match of {
        Some(of) => write!(f, "{of}"),
        None => f.write_str("???"),
    }
}

fn list<T>(
    f: &mut fmt::Formatter<'_>,
    [open, close]: [&str; 2],
    items: &[T],
    write: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    f.write_str(open)?;
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write(f, item)?;
    }
    f.write_str(close)
}
