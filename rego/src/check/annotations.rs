//! `METADATA` blocks about one thing.

use hashbrown::HashMap;

use crate::{
    Code,
    syntax::{Name, annotations::Scope},
};

use super::{
    finding::Finding,
    program::{Program, RuleId},
};

/// Two blocks cannot be about one package, or about all rules of one name.
pub(super) fn check(program: &Program) -> Vec<Finding> {
    let mut refusals = Vec::new();
    let mut known: HashMap<(Scope, Vec<Name>), String> = HashMap::new();
    for (index, module) in program.modules.iter().enumerate() {
        if module.annotations().is_empty() {
            continue;
        }
        let package = program.package(index);
        for annotations in module.annotations() {
            let path = match annotations.scope {
                Scope::Rule => continue,
                Scope::Package => package.clone(),
                Scope::Subpackages => package.clone(),
                Scope::Document => {
                    let rule = annotations.rule.and_then(|rule| rule_of(program, index, rule));
                    match rule.and_then(|id| program.rule(id)) {
                        Some(placed) => {
                            let steps = program.ground_path(placed);
                            steps.iter().filter_map(|&step| name_of(program, step)).collect()
                        }
                        None => continue,
                    }
                }
            };
            // Blocks about a document and about what is below a package share a place in OPA's tree.
            let scope = match annotations.scope {
                Scope::Document => Scope::Subpackages,
                scope => scope,
            };
            let path = match annotations.scope {
                Scope::Document => path,
                _ => [&[Name::DATA], path.as_slice()].concat(),
            };
            let here = format!("{}:{}", module.file(), module.position(annotations.at).line);
            if let Some(first) = known.get(&(scope, path.clone())) {
                let message = format!("a second METADATA block about the same, see {first}");
                let refusal = program.refuse(index, annotations.at, Code::Type, message);
                refusals.push(refusal.suggest("put both into one block"));
            } else {
                known.insert((scope, path), here);
            }
        }
    }
    refusals
}

/// The `nth` rule of a module.
fn rule_of(program: &Program, module: usize, nth: usize) -> Option<RuleId> {
    // The rules lie in the order of their modules.
    let first = program.rules.partition_point(|placed| placed.module < module);
    u32::try_from(first + nth).ok().map(RuleId)
}

fn name_of(program: &Program, step: crate::syntax::ast::TermId) -> Option<Name> {
    use crate::syntax::ast::Value;
    match program.tree.value(step) {
        Value::Var(name) | Value::String(name) | Value::Number(name) => Some(name),
        _ => None,
    }
}
