//! Names that would hide a document, and imports of one name.

use hashbrown::HashMap;

use crate::{
    Code,
    syntax::{
        Name,
        ast::{ExpressionKind, Value},
        visit::Node,
    },
};

use super::{finding::Finding, program::Program};

/// Rules, and variables that are assigned, cannot be called `data` or `input`.
pub(super) fn check(program: &Program) -> Vec<Finding> {
    let mut refusals = Vec::new();
    let tree = &program.tree;
    for placed in &program.rules {
        let rule = &placed.rule;
        if let Some(name) = tree.root(rule.head.reference).and_then(document) {
            let message = format!("a rule is called `{name}`, which is a document");
            let refusal = program.refuse(placed.module, rule.at, Code::Compile, message);
            refusals.push(refusal.suggest("choose another name for the rule"));
        }
        let mut seen = |node| {
            let Node::Expression(id) = node else { return true };
            let expression = tree.expression(id);
            if let ExpressionKind::Call(call) = expression.kind
                && tree.calls(call, Name::ASSIGN)
                && let Some(Value::Ref(path)) = tree.nth(call, 1).map(|left| tree.value(left))
                && path.len() == 1
                && let Some(name) = tree.root(path).and_then(document)
            {
                let message = format!("a variable is called `{name}`, which is a document");
                let refusal = program.refuse(placed.module, expression.at, Code::Compile, message);
                refusals.push(refusal.suggest("choose another name for the variable"));
            }
            true
        };
        for term in rule.head.key.into_iter().chain(rule.head.value) {
            tree.visit_term(term, &mut seen);
        }
        tree.visit_terms(rule.head.arguments, &mut seen);
        tree.visit_body(rule.body, &mut seen);
    }
    refusals
}

fn document(name: Name) -> Option<&'static str> {
    match name {
        Name::DATA => Some("data"),
        Name::INPUT => Some("input"),
        _ => None,
    }
}

/// Two imports of a module cannot have one name.
pub(super) fn check_imports(program: &Program) -> Vec<Finding> {
    let mut refusals = Vec::new();
    for (index, module) in program.modules.iter().enumerate() {
        let mut known: HashMap<Name, u32> = HashMap::new();
        for import in module.imports() {
            let Value::Ref(path) = module.tree().value(import.path) else { continue };
            let last = module.tree().constant_path(path).and_then(|path| path.last().copied());
            let Some(name) = import.alias.or(last) else { continue };
            let line = module.position(import.at).line;
            if let Some(first) = known.get(&name) {
                let message = format!(
                    "the import `{}` has the name of the import in line {first}",
                    module.names().text(name)
                );
                let refusal = program.refuse(index, import.at, Code::Compile, message);
                refusals.push(refusal.suggest("give one of the two another name by `as`, or remove it"));
            } else {
                known.insert(name, line);
            }
        }
    }
    refusals
}
