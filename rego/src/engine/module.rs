//! One parsed module: its package, imports, rules, and what they refer to.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    Code, Refusal,
    engine::guard::guard,
    engine::isolate::isolated,
    engine::read::{
        self,
        negation::{Call, Negation},
    },
};

/// A module that passed the guard and the parser. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Module {
    pub(crate) name: Arc<str>,
    pub(crate) text: Arc<str>,
    /// Where each line begins.
    pub(crate) lines: Arc<[usize]>,
    pub(crate) package: Vec<Arc<str>>,
    pub(crate) imports: Arc<[Import]>,
    pub(crate) rules: Arc<[Rule]>,
}

/// A line and a column, both from 1.
pub(crate) type Position = (u32, u32);

/// One step of a path: of a rule's name, or of a reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Segment {
    /// This very name.
    Name(Arc<str>),
    /// Anything: a variable, a number, or a computed value.
    Dynamic,
}

impl Segment {
    /// The name, if it is constant.
    #[must_use]
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            Self::Dynamic => None,
        }
    }
}

/// An `import` statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Import {
    /// What is imported, its root (`data`, `input`, `rego` or `future`) first.
    pub(crate) path: Vec<Arc<str>>,
    /// The name after `as`.
    pub(crate) alias: Option<Arc<str>>,
    /// Where.
    pub(crate) position: Position,
}

impl Import {
    /// The name under which the module knows it; `None` for `rego.v1` and keywords.
    #[must_use]
    pub(crate) fn local_name(&self) -> Option<&Arc<str>> {
        match self.path.first().map(AsRef::as_ref) {
            Some("data" | "input") => self.alias.as_ref().or(self.path.last()),
            _ => None,
        }
    }
}

/// What kind of document a rule defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RuleKind {
    /// One value.
    Complete,
    /// A set, by `contains`.
    PartialSet,
    /// An object, by a variable in its name.
    PartialObject,
    /// A function of that many arguments.
    Function(usize),
}

/// The kind of a value, as far as the text alone tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueKind {
    /// `true` or `false`.
    Boolean,
    /// An object literal or comprehension.
    Object,
    /// A constant or literal that is neither.
    Other,
    /// Only evaluation can tell.
    Unknown,
}

/// One rule, `default` rules included.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    /// The name below the package. The first step is always constant.
    pub(crate) path: Vec<Segment>,
    /// What it defines.
    pub(crate) kind: RuleKind,
    /// Whether it is a `default`.
    pub(crate) is_default: bool,
    /// Whether its document always has a value: it is a default, a constant without a body, a set or an object.
    pub(crate) always_defined: bool,
    /// The kinds of the values that its head and its `else` branches give.
    pub(crate) values: Vec<ValueKind>,
    /// Where it begins.
    pub(crate) position: Position,
    /// All that it refers to, in the order of the text.
    pub(crate) references: Vec<Reference>,
    /// The names that its own text declares: arguments, `some`, `every`, `:=`.
    pub(crate) declared: BTreeSet<Arc<str>>,
    /// The names that may get their value in it: the declared ones, and those that unification or an index may bind.
    pub(crate) bound: BTreeSet<Arc<str>>,
    /// The negations before which OPA evaluates something.
    pub(crate) negations: Vec<Negation>,
    /// Its calls.
    pub(crate) calls: Vec<Call>,
    /// The names of its parameters, if it is a function; `None` for one that is a pattern.
    pub(crate) parameters: Vec<Option<Arc<str>>>,
    /// The first body with more statements than the engine takes.
    pub(crate) too_long: Option<Position>,
}

impl Rule {
    /// The constant beginning of its name.
    pub(crate) fn constant_path(&self) -> impl Iterator<Item = &Arc<str>> {
        self.path.iter().map_while(|segment| match segment {
            Segment::Name(name) => Some(name),
            Segment::Dynamic => None,
        })
    }
}

/// Where in a rule a reference stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a head, a body, or a value.
    Expression,
    /// Between `with` and `as`.
    WithTarget,
    /// After the `as` of a `with`.
    WithValue,
}

/// A variable, or a path that begins with one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// The variable that it begins with.
    pub(crate) root: Arc<str>,
    /// The steps after it.
    pub(crate) path: Vec<Segment>,
    /// With how many arguments it is called, if it is.
    pub(crate) arguments: Option<usize>,
    /// Where it stands.
    pub(crate) place: Place,
    /// Where it begins.
    pub(crate) position: Position,
}

/// What a reference means in its module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Documents below `data`.
    Data(Vec<Segment>),
    /// Something of the input.
    Input,
    /// A variable of the rule.
    Local,
    /// A built-in function of that dotted name.
    Builtin(String),
    /// A name that the module alone does not explain.
    Free,
}

impl Module {
    /// Reads a module. `name` is what refusals call it.
    ///
    /// # Errors
    /// When the text is outside the limits of [`guard`](mod@crate::engine::guard) or is not Rego.
    pub(crate) fn parse(name: &str, text: &[u8]) -> Result<Self, Refusal> {
        let name: Arc<str> = name.into();
        let text = guard(&name, text)?;
        isolated(|| read::module(&name, text)).unwrap_or_else(|reason| {
            let message = format!("the parser failed on this module: {reason}");
            Err(Refusal::at(&name, text, (0, 0), Code::ParserFailure, message)
                .suggest("simplify the module; bisect it to find the construct"))
        })
    }

    /// What refusals call it.
    #[must_use]
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its rules, in the order of the text.
    #[must_use]
    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The whole path of a rule below `data`.
    #[must_use]
    pub(crate) fn full_path(&self, rule: &Rule) -> Vec<Segment> {
        self.package.iter().cloned().map(Segment::Name).chain(rule.path.iter().cloned()).collect()
    }

    /// What a reference in one of this module's rules means.
    #[must_use]
    pub(crate) fn meaning(&self, rule: &Rule, reference: &Reference) -> Meaning {
        match reference.root.as_ref() {
            "data" => return Meaning::Data(reference.path.clone()),
            "input" => return Meaning::Input,
            _ => {}
        }
        if rule.declared.contains(&reference.root) {
            return Meaning::Local;
        }
        if let Some(import) = self.imports.iter().find(|i| i.local_name() == Some(&reference.root)) {
            if import.path.first().is_some_and(|root| root.as_ref() == "input") {
                return Meaning::Input;
            }
            let imported = import.path.iter().skip(1).cloned().map(Segment::Name);
            return Meaning::Data(imported.chain(reference.path.iter().cloned()).collect());
        }
        match reference.builtin() {
            Some(name) => Meaning::Builtin(name),
            None => Meaning::Free,
        }
    }

    /// A refusal of a place in this module.
    #[must_use]
    pub(crate) fn refuse(&self, position: Position, code: Code, message: String) -> Refusal {
        let index = usize::try_from(position.0).unwrap_or(usize::MAX);
        let start = index.checked_sub(1).and_then(|index| self.lines.get(index)).copied();
        let line = start.and_then(|start| self.text.get(start..)).and_then(|rest| rest.lines().next());
        Refusal::of_line(&self.name, line.unwrap_or_default(), position, code, message)
    }
}

impl Reference {
    /// The built-in function that this path spells, whatever else its root may mean.
    #[must_use]
    pub(crate) fn builtin(&self) -> Option<String> {
        let constant = self.path.iter().map_while(Segment::name);
        crate::engine::builtins::longest_prefix(std::iter::once(self.root.as_ref()).chain(constant))
    }

    /// The reference as it would be written; `_` for steps that are not constant.
    #[must_use]
    pub(crate) fn display(&self) -> String {
        std::iter::once(self.root.as_ref())
            .chain(self.path.iter().map(|segment| segment.name().unwrap_or("_")))
            .collect::<Vec<_>>()
            .join(".")
    }
}
