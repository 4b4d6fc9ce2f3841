//! The checks of modules that are compiled together: OPA's stages, in OPA's order, one file a stage.
//!
//! Nothing here evaluates a policy.

mod annotations;
mod bodies;
mod conflicts;
mod dynamic;
mod expand;
mod finding;
mod functions;
mod graph;
mod heads;
mod indices;
mod locals;
mod names;
mod print;
pub mod program;
mod recursion;
mod resolve;
pub mod rule_tree;
mod safety;
mod template;
#[cfg(test)]
mod tests;
mod types;
mod vars;
mod with;

use std::sync::Arc;

use serde_json::Value as Json;

use crate::{Code, Refusal, capabilities::Capabilities, syntax::Module};
use finding::Finding;
use program::Program;

/// The most refusals that one check gives: whoever made more mistakes corrects some and asks again.
const MOST: usize = 100;

/// Whether an OPA with these capabilities would activate these modules, and data, together: empty when nothing
/// speaks against it.
///
/// Refusals come in the order of the modules and of their texts.
pub(crate) fn check(
    modules: &[Arc<Module>],
    data: Option<&Json>,
    capabilities: &'static Capabilities,
) -> Vec<Refusal> {
    let (program, mut findings) = stages(modules, data, capabilities);
    findings.sort_unstable();
    findings.dedup();
    findings.truncate(MOST);
    findings.into_iter().filter_map(|finding| finding.refusal(&program)).collect()
}

/// Later stages need what earlier ones make of the program: where one refuses, those that depend on it do not run.
fn stages(
    modules: &[Arc<Module>],
    data: Option<&Json>,
    capabilities: &'static Capabilities,
) -> (Program, Vec<Finding>) {
    let mut refusals = Vec::new();
    let mut program = resolve::program(modules, capabilities, &mut refusals);
    if !refusals.is_empty() {
        return (program, refusals);
    }
    heads::rewrite_names(&mut program);
    refusals.extend(names::check(&program));
    refusals.extend(names::check_imports(&program));
    heads::place(&mut program);
    refusals.extend(locals::rewrite(&mut program));
    if !refusals.is_empty() {
        return (program, refusals);
    }
    refusals.extend(template::rewrite(&mut program));
    if !refusals.is_empty() {
        return (program, refusals);
    }
    refusals.extend(print::check_void(&program));
    refusals.extend(print::rewrite(&mut program));
    if !refusals.is_empty() {
        return (program, refusals);
    }
    expand::rewrite(&mut program);
    refusals.extend(annotations::check(&program));
    dynamic::rewrite_comprehensions(&mut program);
    heads::rewrite_values(&mut program);
    refusals.extend(with::rewrite(&mut program));
    refusals.extend(conflicts::check(&program));
    if let Some(data) = data {
        refusals.extend(conflicts::check_data(&program, data));
    }
    refusals.extend(functions::check(&program));
    if refusals.is_empty() {
        refusals.extend(safety::check(&mut program));
    }
    dynamic::rewrite_equals(&mut program);
    dynamic::rewrite(&mut program);
    match graph::Graph::of(&program) {
        Some(graph) => {
            refusals.extend(recursion::check(&mut program, &graph));
            if refusals.is_empty() {
                refusals.extend(types::check(&program, &graph));
            }
            if refusals.is_empty() && !capabilities.version().indexes_any_value() {
                refusals.extend(indices::check(&program));
            }
        }
        None => refusals.extend(too_many_dependencies(&program)),
    }
    refusals.extend(functions::check_deprecated(&program));
    (program, refusals)
}

fn too_many_dependencies(program: &Program) -> Option<Finding> {
    let at = program.modules.first()?.package().at;
    let message = "the rules of these modules refer to one another in too many ways to be checked";
    let finding = program.refuse(0, at, Code::TooLarge, message);
    Some(finding.suggest("refer to documents by constant names"))
}
