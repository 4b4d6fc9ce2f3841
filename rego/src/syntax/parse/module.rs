//! The statements of a module, and the rules that are written like expressions.

use super::{
    super::{
        ast::{Body, ExpressionId, ExpressionKind, Head, Import, Rule, TermId, Terms, Tree, Value},
        lexer::Lexed,
        module::Package,
        names::{Name, Names},
        position::Offset,
        token::Kind,
    },
    Language, Parser, SyntaxError,
};

/// What a text says.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) tree: Tree,
    pub(crate) package: Package,
    pub(crate) imports: Vec<Import>,
    pub(crate) rules: Vec<Rule>,
}

/// Reads the tokens of a module. `is_builtin` knows the functions that no rule can be named after.
///
/// # Errors
/// When it is not a module of that language: with what is wrong, in the order of the text.
pub(crate) fn parse(
    lexed: &Lexed,
    names: &mut Names,
    language: Language,
    is_builtin: &dyn Fn(&str) -> bool,
) -> Result<Parsed, Vec<SyntaxError>> {
    let mut parser = Parser::new(&lexed.tokens, &lexed.faults, names, language, is_builtin);
    let parsed = parser.module();
    match parsed.filter(|_| parser.errors.is_empty()) {
        Some((package, imports, rules)) => Ok(Parsed { tree: parser.tree, package, imports, rules }),
        None => {
            let mut errors = parser.errors;
            errors.sort_by_key(|error| error.at);
            errors.dedup();
            Err(errors)
        }
    }
}

impl Parser<'_> {
    fn module(&mut self) -> Option<(Package, Vec<Import>, Vec<Rule>)> {
        let mut package: Option<Package> = None;
        let (mut imports, mut rules) = (Vec::new(), Vec::new());
        if self.kind == Kind::End {
            self.error(0, "the module is empty");
            self.suggest("begin with `package`");
        }
        while self.kind != Kind::End {
            self.memos.clear();
            let (before, at) = (self.save(), self.token().start);
            let statement = self.statement(&mut imports, &mut rules);
            match statement {
                Statement::Package(_) if package.is_some() => self.error(at, "a second `package`"),
                Statement::Package(found) => package = Some(found),
                Statement::None => {
                    if self.errors.len() == before.errors {
                        self.unexpected("");
                    }
                    return None;
                }
                Statement::Other if package.is_none() => {
                    self.error(at, "a module begins with `package`");
                    return None;
                }
                Statement::Other => {}
            }
        }
        self.check_heads(&rules);
        Some((package?, imports, rules))
    }

    fn statement(&mut self, imports: &mut Vec<Import>, rules: &mut Vec<Rule>) -> Statement {
        if self.refuse_keyword_name(false) {
            return Statement::None;
        }
        let before = self.save();
        if self.kind == Kind::Package {
            if let Some(package) = self.package() {
                return self.path_ends(Statement::Package(package));
            }
            if self.errors.len() > before.errors {
                return Statement::None;
            }
            self.restore(before);
        }
        if self.kind == Kind::Import {
            if let Some(import) = self.import() {
                self.enable(import);
                imports.push(import);
                return self.path_ends(Statement::Other);
            }
            if self.errors.len() > before.errors {
                return Statement::None;
            }
            self.restore(before);
        }
        if self.rule(rules) {
            return Statement::Other;
        }
        if self.errors.len() > before.errors {
            return Statement::None;
        }
        self.restore(before);
        match self.query(true, Kind::End) {
            Some(body) => {
                rules.extend(self.rule_of_body(body));
                Statement::Other
            }
            None => Statement::None,
        }
    }

    /// A minus behind a path belongs neither to it nor to what follows.
    fn path_ends(&mut self, statement: Statement) -> Statement {
        if self.kind != Kind::Minus {
            return statement;
        }
        self.unexpected("");
        self.suggest("a step with a minus in it is written in brackets: `a[\"b-c\"]`");
        Statement::None
    }

    /// A rule that is written like an expression.
    fn rule_of_body(&mut self, body: Body) -> Option<Rule> {
        let first = self.tree.body(body).first().copied()?;
        let at = self.at_of(first);
        let read = match body.len() {
            1 => self.rule_of_expression(first),
            _ => Err("several expressions cannot be a rule"),
        };
        match read {
            Ok(rule) => Some(rule),
            Err(message) => {
                self.error(at.0, message);
                self.suggest("a rule is written `name := value`, `name if …` or `name contains value if …`");
                None
            }
        }
    }

    fn rule_of_expression(&mut self, id: ExpressionId) -> Result<Rule, &'static str> {
        let expression = self.tree.expression(id);
        if !expression.withs.is_empty() {
            return Err("an expression with `with` cannot be a rule");
        }
        if expression.negated {
            return Err("a negation cannot be a rule");
        }
        let at = expression.at;
        match expression.kind {
            ExpressionKind::Term(term) => self.rule_of_term(term),
            ExpressionKind::Call(call) if self.tree.calls(call, Name::UNIFY) => {
                self.rule_of_equation(call, at)
            }
            ExpressionKind::Call(call) if self.tree.calls(call, Name::ASSIGN) => {
                let mut rule = self.rule_of_equation(call, at)?;
                rule.head.assigned = true;
                Ok(rule)
            }
            ExpressionKind::Call(call) => self.rule_of_call(call),
            _ => Err("this expression cannot be a rule"),
        }
    }

    /// `p.q.r` (a rule without a value) or `p.q` (an element without `contains`): both are refused later.
    fn rule_of_term(&mut self, term: TermId) -> Result<Rule, &'static str> {
        let Value::Ref(path) = self.value_of(term) else {
            return Err("a rule has neither a value nor a body");
        };
        let at = self.term_of(term).at;
        if self.tree.root(path).is_none() || path.len() == 1 {
            return Err("the name of a rule begins with a name of its own");
        }
        let mut rule = self.rule_with(path, at);
        if path.len() > 2 {
            rule.head.generated_value = true;
            rule.head.value = Some(self.leaf(Value::Boolean(true), at));
        } else {
            rule.head.key = self.tree.nth(path, 1);
            let name = self.tree.terms(path).first().copied().into_iter().collect::<Vec<_>>();
            rule.head.reference = self.tree.add_terms(&name);
        }
        Ok(rule)
    }

    fn rule_of_equation(&mut self, call: Terms, at: Offset) -> Result<Rule, &'static str> {
        let (left, right) = match self.tree.arguments(call) {
            [left, right, ..] => (*left, *right),
            _ => return Err("an assignment needs two sides"),
        };
        let mut rule = match self.value_of(left) {
            Value::Var(_) => {
                let path = self.tree.add_terms(&[left]);
                self.rule_with(path, at)
            }
            Value::Ref(path) => {
                if self.tree.root(path).is_none() {
                    return Err("the name of a rule begins with a name");
                }
                let mut rule = self.rule_with(path, at);
                if path.len() == 2 {
                    rule.head.key = self.tree.nth(path, 1);
                }
                rule
            }
            Value::Call(call) => {
                let path = self.tree.operator(call).filter(|&path| self.tree.root(path).is_some());
                let path = path.ok_or("the name of a function begins with a name")?;
                let arguments = self.tree.arguments(call).to_vec();
                let mut rule = self.rule_with(path, at);
                rule.head.arguments = self.tree.add_terms(&arguments);
                rule
            }
            _ => return Err("what stands before `=` or `:=` cannot be the name of a rule"),
        };
        rule.head.value = Some(right);
        Ok(rule)
    }

    /// `f(x)`: a function that is true.
    fn rule_of_call(&mut self, call: Terms) -> Result<Rule, &'static str> {
        let path = self.tree.operator(call).ok_or("this expression cannot be a rule")?;
        if (self.is_builtin)(&self.tree.dotted(path, self.names)) {
            return Err("a built-in function has this name, or this is an expression and no rule");
        }
        if call.len() <= 1 {
            return Err("a function needs at least one argument");
        }
        if self.tree.root(path).is_none() {
            return Err("the name of a function begins with a name");
        }
        let at = self.tree.nth(call, 0).map_or(Offset(0), |operator| self.term_of(operator).at);
        let arguments = self.tree.arguments(call).to_vec();
        let mut rule = self.rule_with(path, at);
        rule.head.arguments = self.tree.add_terms(&arguments);
        rule.head.value = Some(self.leaf(Value::Boolean(true), at));
        Ok(rule)
    }

    fn rule_with(&mut self, reference: Terms, at: Offset) -> Rule {
        let head = Head {
            reference,
            arguments: Terms::default(),
            key: None,
            value: None,
            generated_value: false,
            assigned: false,
            has_if: false,
            has_contains: false,
            at,
        };
        let body = self.true_body(at);
        Rule { head, body, is_default: false, is_else: false, generated_body: true, at }
    }

    /// What Rego v1 asks of each rule.
    fn check_heads(&mut self, rules: &[Rule]) {
        for rule in rules {
            let head = &rule.head;
            let name = self.tree.root(head.reference).filter(|_| head.reference.len() < 2);
            if let Some(name) = name.filter(|&name| Kind::of_word(name).is_keyword()) {
                let name = self.names.text(name).to_owned();
                self.error(rule.at.0, format!("`{name}` is a keyword and cannot be the name of a rule"));
                self.suggest("choose another name");
            }
            if rule.generated_body && head.generated_value {
                self.error(rule.at.0, "a rule has neither a value nor a body");
                self.suggest("write `name := value` or `name if …`");
            }
            if !rule.generated_body && !head.has_if && !rule.is_default {
                self.error(rule.at.0, "`if` is missing before the body of a rule");
                self.suggest("write `if` before the body; `opa fmt --v0-v1` does it for a whole file");
            }
            if head.is_multi_value() && !head.has_contains {
                self.error(rule.at.0, "a rule that defines a set is written with `contains`");
                self.suggest("write `name contains element if …`");
            }
        }
    }
}

enum Statement {
    Package(Package),
    Other,
    None,
}

/// What a short text, such as a member of a `METADATA` block, says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A path of at least one document or step.
    Reference,
    /// One word, or a string.
    Name,
    /// Another term.
    Other,
}

/// What kind of term a text is; `None` when it is not exactly one term.
pub(crate) fn shape_of(text: &str) -> Option<Shape> {
    let mut names = Names::new();
    let lexed = super::super::lexer::lex(text, &mut names);
    let mut parser = Parser::new(&lexed.tokens, &lexed.faults, &mut names, Language::NEWEST, &|_| false);
    let term = parser.infix()?;
    if parser.kind != Kind::End || !parser.errors.is_empty() {
        return None;
    }
    Some(match parser.value_of(term) {
        Value::Ref(_) => Shape::Reference,
        Value::Var(_) | Value::String(_) => Shape::Name,
        _ => Shape::Other,
    })
}
