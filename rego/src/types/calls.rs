//! Calls, equations, membership, and what `with` puts in the place of something else.

use std::rc::Rc;

use super::{
    Function, Type, Unknown,
    checker::{Checker, MAX_STEPS},
    documents::{Document, Step},
    mistake::Complaint,
    references::shortened,
    scope::Scope,
};
use crate::syntax::{
    Name, Offset,
    ast::{TermId, Terms, Value, With, Withs},
};

impl Checker<'_> {
    pub(super) fn check_call(&self, scope: &Scope<'_>, call: Terms, at: Offset) -> Option<Complaint> {
        let arguments = self.tree.arguments(call);
        let operator = self.tree.operator(call)?;
        match self.tree.constant_path(operator)?.as_slice() {
            [Name::UNIFY] => return self.check_equation(scope, arguments, at),
            [Name::INTERNAL, Name::MEMBER] => self.check_membership(scope, arguments, None, at),
            [Name::INTERNAL, Name::MEMBER_WITH_KEY] => {
                self.check_membership(scope, arguments.get(1..)?, arguments.first().copied(), at)
            }
            _ => None,
        }
        .or_else(|| self.check_arguments(scope, operator, arguments, at))
    }

    fn check_equation(&self, scope: &Scope<'_>, arguments: &[TermId], at: Offset) -> Option<Complaint> {
        let &[left, right] = arguments else {
            return Some(Complaint::new(at, "`=` has two sides".to_owned()));
        };
        let (before, after) = (self.kind(scope, left), self.kind(scope, right));
        if self.may_be_equal(scope, left, right) {
            return None;
        }
        Some(match_error(at, &before, &after))
    }

    /// `value in collection`; the collection comes last.
    fn check_membership(
        &self,
        scope: &Scope<'_>,
        arguments: &[TermId],
        key: Option<TermId>,
        at: Offset,
    ) -> Option<Complaint> {
        let &[value, collection, ..] = arguments else { return None };
        let collection = self.kind(scope, collection)?;
        // To look into what is no collection is false, not wrong.
        let values = self.values(&collection)?;
        let key = key.and_then(|key| self.check_member(scope, key, self.keys(&collection), at));
        key.or_else(|| self.check_member(scope, value, Some(values), at))
    }

    fn check_member(&self, scope: &Scope<'_>, member: TermId, of: Unknown, at: Offset) -> Option<Complaint> {
        if of.as_ref().is_none_or(Type::is_partly_unknown) {
            return None;
        }
        let have = self.kind(scope, member);
        let known = have.as_ref().is_some_and(|have| !have.is_partly_unknown());
        let fits = (!known || self.unifies(&have, &of)) && self.fits(scope, member, &of, false);
        (!fits).then(|| match_error(at, &have, &of))
    }

    fn check_arguments(
        &self,
        scope: &Scope<'_>,
        operator: Terms,
        arguments: &[TermId],
        at: Offset,
    ) -> Option<Complaint> {
        let name = || self.tree.dotted(operator, self.names);
        let function = match self.kind_of_operator(scope, operator) {
            Some(Type::Function(function)) => function,
            // Somewhere else, or wrong in itself.
            Some(Type::Any) => return None,
            _ => return Some(Complaint::new(at, format!("undefined function {}", name()))),
        };
        let takes = function.arguments.len();
        let most = takes + usize::from(function.result.is_some());
        if arguments.len() < takes || (arguments.len() > most && function.variadic.is_none()) {
            let few = arguments.len() < takes;
            let message = format!("{}: too {} arguments", name(), if few { "few" } else { "many" });
            return Some(self.wrong_arguments(scope, at, message, arguments, &function));
        }
        let before: Vec<Unknown> = arguments.iter().map(|&argument| self.kind(scope, argument)).collect();
        for (index, &argument) in arguments.iter().enumerate() {
            let wanted = match index == takes {
                true if function.result.is_some() => function.result.clone(),
                _ => function.argument(index).cloned(),
            };
            let known = before[index].as_ref().is_some_and(|kind| !kind.is_partly_unknown());
            if (known && !self.unifies(&before[index], &wanted))
                || !self.fits(scope, argument, &wanted, false)
            {
                let message = format!("{}: invalid argument(s)", name());
                return Some(self.wrong_arguments(scope, at, message, arguments, &function));
            }
        }
        None
    }

    fn kind_of_operator(&self, scope: &Scope<'_>, operator: Terms) -> Unknown {
        let root = self.tree.root(operator)?;
        // A variable may stand in the way of a built-in function of its name.
        let is_variable = || scope.outwards().any(|scope| scope.own(root).is_some());
        if root == Name::DATA || root == Name::INPUT || is_variable() {
            return self.kind_of_reference(scope, operator);
        }
        self.kind_of_builtin(operator)
    }

    fn wrong_arguments(
        &self,
        scope: &Scope<'_>,
        at: Offset,
        message: String,
        arguments: &[TermId],
        function: &Function,
    ) -> Complaint {
        let have: Vec<Unknown> = arguments.iter().map(|&argument| self.kind(scope, argument)).collect();
        let may_follow = have.iter().any(|kind| kind.as_ref().is_none_or(Type::is_partly_unknown));
        // The place of the result is of no interest to who does not use it.
        let shown: Vec<String> = have.iter().take(function.arguments.len().max(1)).map(written).collect();
        let mut takes: Vec<String> = function.arguments.iter().map(written).collect();
        takes.extend(function.variadic.iter().map(|kind| format!("{}...", shortened(kind))));
        let message =
            format!("{message}: it is given ({}) and takes ({})", shown.join(", "), takes.join(", "));
        Complaint { may_follow, ..Complaint::new(at, message) }
    }

    /// Checks, in what `then` gets, a statement with such modifiers.
    pub(super) fn with_replacements(
        &self,
        scope: &Scope<'_>,
        withs: Withs,
        then: &mut dyn FnMut(&Scope<'_>),
    ) {
        self.with_dependents(scope, scope, self.tree.withs(withs), Vec::new(), then);
    }

    /// What depends on something that is replaced may be anything.
    fn with_dependents(
        &self,
        outside: &Scope<'_>,
        scope: &Scope<'_>,
        withs: &[With],
        mut replaced: Vec<(Terms, Type)>,
        then: &mut dyn FnMut(&Scope<'_>),
    ) {
        let Some((with, rest)) = withs.split_first() else {
            return self.with_replaced(scope, &replaced, then);
        };
        let Value::Ref(target) = self.tree.value(with.target) else {
            return self.with_dependents(outside, scope, rest, replaced, then);
        };
        let kind = self.kind_of_reference(outside, target);
        let is_function = matches!(kind, Some(Type::Function(_)));
        if !is_function {
            let value = self.kind(outside, with.value);
            let both = match self.tree.is_ground_path(target) && kind.is_some() && value.is_some() {
                true => self.union(kind, value),
                false => None,
            };
            replaced.push((target, both.unwrap_or(Type::Any)));
        }
        match self.dependents(target, is_function) {
            Some(documents) => {
                let scope = Scope::of_statement(scope, documents);
                self.with_dependents(outside, &scope, rest, replaced, then);
            }
            None => self.with_dependents(outside, scope, rest, replaced, then),
        }
    }

    /// What is replaced may be what it was, or what it is replaced by.
    fn with_replaced(&self, scope: &Scope<'_>, replaced: &[(Terms, Type)], then: &mut dyn FnMut(&Scope<'_>)) {
        if replaced.is_empty() {
            return then(scope);
        }
        let mut documents = Document::default();
        for (target, kind) in replaced {
            let ground = self.tree.ground_prefix(*target);
            let steps = self.tree.terms(*target).iter().take(ground.min(MAX_STEPS));
            let path: Option<Vec<Step>> = steps
                .enumerate()
                .map(|(index, &step)| match (index, self.tree.value(step)) {
                    (0, Value::Var(name)) => Some(Step::Name(name)),
                    _ => self.step(step),
                })
                .collect();
            if let Some(path) = path {
                documents.put(&path, kind.clone());
            }
        }
        then(&Scope::of_statement(scope, Rc::new(documents)));
    }

    /// A function is replaced by a value, or by a function that takes as many arguments of such types.
    pub(super) fn check_replacements(&self, scope: &Scope<'_>, withs: Withs) -> Option<Complaint> {
        self.tree.withs(withs).iter().find_map(|with| {
            let wanted = self.kind_of_target(scope, with.target);
            let given = self.kind_of_target(scope, with.value);
            let (Some(Type::Function(function)), Some(Type::Function(_))) = (&wanted, &given) else {
                return None;
            };
            if self.unifies(&wanted, &given) {
                return None;
            }
            let name = match self.tree.value(with.target) {
                Value::Ref(path) => self.tree.dotted(path, self.names),
                _ => self.tree.display(with.target, self.names),
            };
            let takes: Vec<String> = function.arguments.iter().map(written).collect();
            let message = format!(
                "`{name}` takes ({}), and what replaces it does not: arity mismatch",
                takes.join(", ")
            );
            Some(Complaint::new(with.at, message))
        })
    }

    fn kind_of_target(&self, scope: &Scope<'_>, id: TermId) -> Unknown {
        match self.tree.value(id) {
            Value::Ref(path) => self.kind_of_reference(scope, path),
            _ => self.kind(scope, id),
        }
    }
}

fn written(kind: &Unknown) -> String {
    kind.as_ref().map_or_else(|| "unknown".to_owned(), shortened)
}

fn match_error(at: Offset, left: &Unknown, right: &Unknown) -> Complaint {
    let may_follow = [left, right].into_iter().any(|kind| kind.as_ref().is_none_or(Type::is_partly_unknown));
    let message = format!("match error: {} is never equal to {}", written(left), written(right));
    Complaint { may_follow, ..Complaint::new(at, message) }
}
