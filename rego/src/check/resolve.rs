//! Copies the modules into one tree, and makes every reference to a rule or an import a whole path.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use crate::{
    Code,
    capabilities::Capabilities,
    syntax::{
        Module, Name, Names, Offset,
        ast::{
            Body, Expression, ExpressionId, ExpressionKind, Head, Operands, Part, Rule, TermId, Terms, Tree,
            Value, With, Withs,
        },
        visit::Node,
    },
};

use super::{
    finding::Finding,
    program::{PlacedRule, Program},
    rule_tree::RuleTree,
};

/// Puts modules together. Findings are of parameters that hide a root document.
pub(super) fn program(
    modules: &[Arc<Module>],
    capabilities: &'static Capabilities,
    findings: &mut Vec<Finding>,
) -> Program {
    let (mut names, mut tree) = (Names::new(), Tree::default());
    let numbers: Vec<Vec<Name>> = modules.iter().map(|module| names.absorb(module.names())).collect();
    let packages = packages(modules, &numbers);
    let exports = exports(modules, &numbers, &packages);
    let mut rules = Vec::new();
    for (index, module) in modules.iter().enumerate() {
        let (Some(numbers), Some(package)) = (numbers.get(index), packages.get(index)) else { continue };
        let globals = globals(module, numbers, package, exports.get(package.as_slice()));
        let mut copier = Copier {
            from: module.tree(),
            to: &mut tree,
            numbers,
            globals: &globals,
            hidden: HashMap::new(),
            blind: 0,
        };
        for rule in module.rules() {
            if let Some((at, name)) = copier.root_document_parameter(rule) {
                let message = format!("a parameter is called `{name}`, which is a document");
                let finding = Finding { module: index, at, code: Code::Compile, message, suggestion: None };
                findings.push(finding.suggest("choose another name"));
            }
            let rule = copier.rule(rule);
            let path = whole_path(copier.to, package, rule.head.reference);
            rules.push(PlacedRule { rule, module: index, path });
        }
    }
    drop(exports);
    Program {
        modules: modules.to_vec(),
        capabilities,
        packages,
        names,
        tree,
        rules,
        rule_tree: RuleTree::new(),
        order: Vec::new(),
    }
}

/// The whole path of a rule: its package, then its name.
pub(super) fn whole_path(tree: &mut Tree, package: &[Name], reference: Terms) -> Terms {
    let steps = tree.terms(reference).to_vec();
    let at = steps.first().map_or(Offset(0), |&first| tree.term(first).at);
    let mut path = vec![tree.add_term(Value::Var(Name::DATA), at)];
    path.extend(package.iter().map(|&name| tree.add_term(Value::String(name), at)));
    if let Some(name) = steps.first().and_then(|&first| tree.var(first)) {
        path.push(tree.add_term(Value::String(name), at));
    }
    path.extend(steps.iter().skip(1));
    tree.add_terms(&path)
}

fn number(numbers: &[Name], name: Name) -> Name {
    numbers.get(name.index()).copied().unwrap_or(Name::EMPTY)
}

fn packages(modules: &[Arc<Module>], numbers: &[Vec<Name>]) -> Vec<Vec<Name>> {
    let path = |(module, numbers): (&Arc<Module>, &Vec<Name>)| {
        module.package().path.iter().map(|&name| number(numbers, name)).collect()
    };
    modules.iter().zip(numbers).map(path).collect()
}

/// The names of the rules of each package.
fn exports<'a>(
    modules: &[Arc<Module>],
    numbers: &[Vec<Name>],
    packages: &'a [Vec<Name>],
) -> HashMap<&'a [Name], HashSet<Name>> {
    let mut exports: HashMap<&[Name], HashSet<Name>> = HashMap::new();
    for ((module, numbers), package) in modules.iter().zip(numbers).zip(packages) {
        let rules = module.rules().iter().filter_map(|rule| module.tree().root(rule.head.reference));
        exports.entry(package).or_default().extend(rules.map(|name| number(numbers, name)));
    }
    exports
}

/// What a word of a module means: a path, its first word a document.
type Globals = HashMap<Name, Vec<Name>>;

fn globals(module: &Module, numbers: &[Name], package: &[Name], exports: Option<&HashSet<Name>>) -> Globals {
    let mut globals = Globals::new();
    for &name in exports.into_iter().flatten() {
        globals.insert(name, [&[Name::DATA], package, &[name]].concat());
    }
    for import in module.imports() {
        let Value::Ref(path) = module.tree().value(import.path) else { continue };
        let Some(path) = module.tree().constant_path(path) else { continue };
        let path: Vec<_> = path.into_iter().map(|name| number(numbers, name)).collect();
        let (Some(&first), Some(&last)) = (path.first(), path.last()) else { continue };
        if matches!(first, Name::DATA | Name::INPUT) {
            let name = import.alias.map_or(last, |alias| number(numbers, alias));
            globals.insert(name, path);
        }
    }
    globals
}

/// Copies nodes from the tree of a module to that of the program.
struct Copier<'a> {
    from: &'a Tree,
    to: &'a mut Tree,
    numbers: &'a [Name],
    globals: &'a Globals,
    /// Words that are local variables here, by how many scopes declare them.
    hidden: HashMap<Name, usize>,
    /// Above zero: nothing is resolved.
    blind: usize,
}

impl Copier<'_> {
    fn name(&self, name: Name) -> Name {
        number(self.numbers, name)
    }

    fn global(&self, name: Name) -> Option<&Vec<Name>> {
        let visible = self.blind == 0 && self.hidden.get(&name).is_none_or(|&count| count == 0);
        self.globals.get(&name).filter(|_| visible)
    }

    fn hide(&mut self, names: &[Name]) {
        for &name in names {
            *self.hidden.entry(name).or_default() += 1;
        }
    }

    fn show(&mut self, names: &[Name]) {
        for name in names {
            if let Some(count) = self.hidden.get_mut(name) {
                *count -= 1;
            }
        }
    }

    /// A parameter that is `data` or `input`.
    fn root_document_parameter(&self, rule: &Rule) -> Option<(Offset, &'static str)> {
        let mut found = None;
        self.from.visit_terms(rule.head.arguments, &mut |node| {
            let Node::Term(term) = node else { return false };
            match self.from.value(term) {
                Value::Ref(path) if path.len() == 1 => {
                    found = match self.from.root(path) {
                        Some(Name::DATA) => Some((self.from.term(term).at, "data")),
                        Some(Name::INPUT) => Some((self.from.term(term).at, "input")),
                        _ => found,
                    };
                    false
                }
                Value::Set(_) | Value::Call(_) => false,
                Value::ArrayComprehension { .. }
                | Value::SetComprehension { .. }
                | Value::ObjectComprehension { .. } => false,
                _ => true,
            }
        });
        found
    }

    fn rule(&mut self, rule: &Rule) -> Rule {
        let mut local = self.parameters(rule.head.arguments);
        local.extend(self.declared(rule.body));
        self.hide(&local);
        let steps = self.from.terms(rule.head.reference).to_vec();
        let copied: Vec<_> = steps
            .iter()
            .enumerate()
            .map(|(index, &step)| if index == 0 { self.blindly(step) } else { self.term(step) })
            .collect();
        let reference = self.to.add_terms(&copied);
        let arguments: Vec<_> = self
            .from
            .terms(rule.head.arguments)
            .to_vec()
            .into_iter()
            .map(|term| self.blindly(term))
            .collect();
        let head = Head {
            reference,
            arguments: self.to.add_terms(&arguments),
            key: rule.head.key.map(|key| self.term(key)),
            value: rule.head.value.map(|value| self.term(value)),
            ..rule.head
        };
        let body = self.body(rule.body);
        self.show(&local);
        Rule { head, body, ..*rule }
    }

    fn blindly(&mut self, term: TermId) -> TermId {
        self.blind += 1;
        let copy = self.term(term);
        self.blind -= 1;
        copy
    }

    /// The variables that parameters bind.
    fn parameters(&self, arguments: Terms) -> Vec<Name> {
        let mut names = Vec::new();
        for &argument in self.from.terms(arguments) {
            self.pattern(argument, &mut names);
        }
        names
    }

    fn pattern(&self, term: TermId, names: &mut Vec<Name>) {
        match self.from.value(term) {
            Value::Var(name) => names.push(self.name(name)),
            Value::Array(list) | Value::Ref(list) => {
                self.from.terms(list).iter().for_each(|&term| self.pattern(term, names));
            }
            Value::Object(list) => self.from.pairs(list).for_each(|(_, value)| self.pattern(value, names)),
            _ => {}
        }
    }

    /// The variables that a body declares by `some` and `:=`, comprehensions apart.
    fn declared(&self, body: Body) -> Vec<Name> {
        let mut names = Vec::new();
        self.from.visit_body(body, &mut |node| {
            match node {
                Node::Expression(id) => self.declared_by(self.from.expression(id).kind, &mut names),
                Node::Term(term) => {
                    return !matches!(
                        self.from.value(term),
                        Value::ArrayComprehension { .. }
                            | Value::SetComprehension { .. }
                            | Value::ObjectComprehension { .. }
                    );
                }
                Node::With(_) => {}
            }
            true
        });
        names
    }

    fn declared_by(&self, kind: ExpressionKind, names: &mut Vec<Name>) {
        let all = |term: TermId, names: &mut Vec<Name>| {
            self.from.visit_term(term, &mut |node| {
                if let Node::Term(term) = node
                    && let Some(name) = self.from.var(term)
                {
                    names.push(self.name(name));
                }
                true
            });
        };
        match kind {
            ExpressionKind::Call(call) if call.len() == 3 && self.from.calls(call, Name::ASSIGN) => {
                self.from.nth(call, 1).into_iter().for_each(|left| all(left, names));
            }
            ExpressionKind::Some(list) => match self.from.terms(list) {
                [only] if let Value::Call(call) = self.from.value(*only) => {
                    let arguments = self.from.arguments(call);
                    let bound = arguments.len().saturating_sub(1);
                    arguments.iter().take(bound).for_each(|&term| all(term, names));
                }
                variables => variables.iter().for_each(|&term| all(term, names)),
            },
            _ => {}
        }
    }

    fn body(&mut self, body: Body) -> Body {
        let expressions: Vec<_> =
            self.from.body(body).to_vec().into_iter().map(|expression| self.expression(expression)).collect();
        self.to.add_body(&expressions)
    }

    fn expression(&mut self, id: ExpressionId) -> ExpressionId {
        let expression = self.from.expression(id);
        let kind = match expression.kind {
            ExpressionKind::Term(term) => ExpressionKind::Term(self.term(term)),
            ExpressionKind::Call(call) => ExpressionKind::Call(self.terms(call)),
            ExpressionKind::Some(list) => match self.from.terms(list) {
                [only] if matches!(self.from.value(*only), Value::Call(_)) => {
                    ExpressionKind::Some(self.terms(list))
                }
                _ => {
                    self.blind += 1;
                    let copy = self.terms(list);
                    self.blind -= 1;
                    ExpressionKind::Some(copy)
                }
            },
            ExpressionKind::Every { key, value, domain, body } => {
                let variables: Vec<_> =
                    key.into_iter().chain([value]).filter_map(|term| self.from.var(term)).collect();
                let variables: Vec<_> = variables.into_iter().map(|name| self.name(name)).collect();
                self.hide(&variables);
                let kind = ExpressionKind::Every {
                    key: key.map(|key| self.blindly(key)),
                    value: self.blindly(value),
                    domain: self.term(domain),
                    body: self.body(body),
                };
                self.show(&variables);
                kind
            }
            ExpressionKind::Not { body, explicit } => ExpressionKind::Not { body: self.body(body), explicit },
            ExpressionKind::And(sides) => ExpressionKind::And(self.operands(sides)),
            ExpressionKind::Or(sides) => ExpressionKind::Or(self.operands(sides)),
        };
        let withs = self.withs(expression.withs);
        self.to.add_expression(Expression { kind, withs, ..expression })
    }

    fn operands(&mut self, sides: Operands) -> Operands {
        Operands { left: self.body(sides.left), right: self.body(sides.right), ..sides }
    }

    fn withs(&mut self, withs: Withs) -> Withs {
        let copied: Vec<_> = self
            .from
            .withs(withs)
            .to_vec()
            .into_iter()
            .map(|with| With { target: self.term(with.target), value: self.term(with.value), ..with })
            .collect();
        self.to.add_withs(&copied)
    }

    fn terms(&mut self, list: Terms) -> Terms {
        let copied: Vec<_> = self.from.terms(list).to_vec().into_iter().map(|term| self.term(term)).collect();
        self.to.add_terms(&copied)
    }

    fn term(&mut self, id: TermId) -> TermId {
        let term = self.from.term(id);
        let value = match term.value {
            Value::Null | Value::Boolean(_) => term.value,
            Value::Number(name) => Value::Number(self.name(name)),
            Value::String(name) => Value::String(self.name(name)),
            Value::Var(name) => self.variable(self.name(name), term.at),
            Value::Ref(path) => self.reference(path),
            Value::Array(list) => Value::Array(self.terms(list)),
            Value::Set(list) => Value::Set(self.terms(list)),
            Value::Object(list) => Value::Object(self.terms(list)),
            Value::Call(list) => Value::Call(self.terms(list)),
            Value::ArrayComprehension { head, body } => {
                let (head, _, body) = self.comprehension(head, None, body);
                Value::ArrayComprehension { head, body }
            }
            Value::SetComprehension { head, body } => {
                let (head, _, body) = self.comprehension(head, None, body);
                Value::SetComprehension { head, body }
            }
            Value::ObjectComprehension { key, value, body } => {
                let (key, value, body) = self.comprehension(key, Some(value), body);
                Value::ObjectComprehension { key, value: value.unwrap_or(key), body }
            }
            Value::Template(parts) => {
                let parts = self.from.parts(parts).to_vec();
                let copied: Vec<_> = parts
                    .into_iter()
                    .map(|part| match part {
                        Part::Term(term) => Part::Term(self.term(term)),
                        Part::Expression(expression) => Part::Expression(self.expression(expression)),
                    })
                    .collect();
                Value::Template(self.to.add_parts(&copied))
            }
        };
        self.to.add_term(value, term.at)
    }

    fn comprehension(
        &mut self,
        head: TermId,
        value: Option<TermId>,
        body: Body,
    ) -> (TermId, Option<TermId>, Body) {
        let declared = self.declared(body);
        self.hide(&declared);
        let copy = (self.term(head), value.map(|value| self.term(value)), self.body(body));
        self.show(&declared);
        copy
    }

    fn variable(&mut self, name: Name, at: Offset) -> Value {
        match self.global(name).cloned() {
            Some(path) => {
                let steps = self.path(&path, at);
                Value::Ref(self.to.add_terms(&steps))
            }
            None => Value::Var(name),
        }
    }

    /// The steps of a whole path.
    fn path(&mut self, path: &[Name], at: Offset) -> Vec<TermId> {
        let step = |(index, &name): (usize, &Name)| match index {
            0 => Value::Var(name),
            _ => Value::String(name),
        };
        path.iter().enumerate().map(|each| self.to.add_term(step(each), at)).collect()
    }

    fn reference(&mut self, path: Terms) -> Value {
        let mut steps = Vec::with_capacity(path.len() + 4);
        for (index, &step) in self.from.terms(path).to_vec().iter().enumerate() {
            let term = self.from.term(step);
            match term.value {
                Value::Var(name) if index == 0 => match self.global(self.name(name)).cloned() {
                    Some(path) => steps.extend(self.path(&path, term.at)),
                    None => steps.push(self.to.add_term(Value::Var(self.name(name)), term.at)),
                },
                // OPA does not look into the template strings of a path.
                Value::Template(_) => steps.push(self.blindly(step)),
                _ => steps.push(self.term(step)),
            }
        }
        Value::Ref(self.to.add_terms(&steps))
    }
}
