//! The checks of modules that are compiled together: OPA's stages, in OPA's order, one file a stage.
//!
//! A stage runs only on what those before it accept. Where one finds something, all of them run again without the rules
//! that it was found in, so that nobody corrects one mistake to be told the next (`known`).
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
mod known;
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
use known::Known;
use program::Program;

/// The most refusals that one check gives: whoever made more mistakes corrects some and asks again.
const MOST: usize = 100;
/// How often modules are checked in which something is found: once a stage is enough but for the worst of them.
const MOST_PASSES: usize = 8;

/// Whether an OPA with these capabilities would activate these modules, and data, together: empty when nothing
/// speaks against it.
///
/// Refusals come in the order of the modules and of their texts.
pub(crate) fn check(
    modules: &[Arc<Module>],
    data: Option<&Json>,
    capabilities: &'static Capabilities,
) -> Vec<Refusal> {
    check_knowing(Known::default(), modules, data, capabilities)
}

/// Whether [`check`] would find nothing: one pass is enough to know.
pub(crate) fn accepts(modules: &[Arc<Module>], capabilities: &'static Capabilities) -> bool {
    let mut known = Known::default();
    let (_, found) = stages(modules, None, capabilities, &mut known);
    found.is_empty() && known.into_findings().next().is_none()
}

/// As [`check`], beside faults that others found in the modules: none of what is told follows from them.
pub(crate) fn check_beside(
    modules: &[Arc<Module>],
    faults: &[Refusal],
    capabilities: &'static Capabilities,
) -> Vec<Refusal> {
    let mut known = Known::default();
    known.set_aside_faulty(&resolve::program(modules, capabilities, &mut Vec::new()), faults);
    check_knowing(known, modules, None, capabilities)
}

fn check_knowing(
    mut known: Known,
    modules: &[Arc<Module>],
    data: Option<&Json>,
    capabilities: &'static Capabilities,
) -> Vec<Refusal> {
    let mut passes = 1;
    loop {
        let (program, found) = stages(modules, data, capabilities, &mut known);
        if !known.learn(&program, found) || passes == MOST_PASSES {
            let told = known.into_findings().take(MOST);
            return told.filter_map(|finding| finding.refusal(&program)).collect();
        }
        passes += 1;
    }
}

/// One pass: what it finds that is not known. Later stages need what earlier ones make of the program: where one refuses,
/// those that depend on it do not run.
fn stages(
    modules: &[Arc<Module>],
    data: Option<&Json>,
    capabilities: &'static Capabilities,
    known: &mut Known,
) -> (Program, Vec<Finding>) {
    let mut found = Vec::new();
    let mut program = resolve::program(modules, capabilities, &mut found);
    found = known.fresh(found);
    known.mute(&mut program);
    if !found.is_empty() {
        return (program, found);
    }
    heads::rewrite_names(&mut program);
    found.extend(known.fresh(names::check(&program)));
    let imports = known.fresh(names::check_imports(&program));
    known.distrust(&program, &imports);
    found.extend(imports);
    heads::place(&mut program);
    found.extend(known.fresh(locals::rewrite(&mut program)));
    if !found.is_empty() {
        return (program, found);
    }
    found.extend(known.fresh(template::rewrite(&mut program)));
    if !found.is_empty() {
        return (program, found);
    }
    found.extend(known.fresh(print::check_void(&program)));
    found.extend(known.fresh(print::rewrite(&mut program)));
    if !found.is_empty() {
        return (program, found);
    }
    expand::rewrite(&mut program);
    known.note(annotations::check(&program));
    dynamic::rewrite_comprehensions(&mut program);
    heads::rewrite_values(&mut program);
    found.extend(known.fresh(with::rewrite(&mut program)));
    let clashes = known.fresh(conflicts::check(&program));
    known.clash(&program, &clashes);
    found.extend(clashes);
    if let Some(data) = data {
        found.extend(known.fresh(conflicts::check_data(&program, data)));
    }
    found.extend(known.fresh(functions::check(&program)));
    if found.is_empty() {
        found.extend(known.fresh(safety::check(&mut program)));
    }
    dynamic::rewrite_equals(&mut program);
    dynamic::rewrite(&mut program);
    match graph::Graph::of(&program) {
        Some(graph) => {
            let (circles, members) = recursion::check(&mut program, &graph);
            known.set_aside(&program, members);
            found.extend(known.fresh(circles));
            if found.is_empty() {
                known.leave_out_clashing(&mut program);
                found.extend(known.fresh(types::check(&program, &graph)));
            }
            if found.is_empty() && !capabilities.version().indexes_any_value() {
                found.extend(known.fresh(indices::check(&program)));
            }
        }
        None => found.extend(known.fresh(too_many_dependencies(&program).into_iter().collect())),
    }
    found.extend(known.fresh(functions::check_deprecated(&program)));
    (program, found)
}

fn too_many_dependencies(program: &Program) -> Option<Finding> {
    let at = program.modules.first()?.package().at;
    let message = "the rules of these modules refer to one another in too many ways to be checked";
    let finding = program.refuse(0, at, Code::TooLarge, message);
    Some(finding.suggest("refer to documents by constant names"))
}
