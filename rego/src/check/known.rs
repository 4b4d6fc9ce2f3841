//! What was found already, and the rules that are set aside because of it.
//!
//! A stage needs a program that the stages before it accept. So that whoever made mistakes for several stages is told
//! all of them, the modules are checked again with the rules muted in which something was found: they take as many
//! arguments as before, lie where they lay, and may have any value. What is found then has nothing to do with them.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    Code, Refusal,
    syntax::{
        Module, Name, Offset,
        ast::{Expression, ExpressionId, ExpressionKind, TermId, Value},
    },
};

use super::{
    MOST,
    finding::Finding,
    graph::Graph,
    program::{Program, RuleId},
    rule_tree::NodeId,
    vars::{self, Skip},
};

/// What the passes before found.
#[derive(Debug, Default)]
pub(super) struct Known {
    told: BTreeSet<Finding>,
    /// The rules that are muted.
    faulty: BTreeSet<RuleId>,
    /// Those of them that cannot stand beside one another, whatever their bodies say.
    clashing: BTreeSet<RuleId>,
}

impl Known {
    /// All that was found, in order.
    pub(super) fn into_findings(self) -> impl Iterator<Item = Finding> {
        self.told.into_iter()
    }

    /// What was not found before.
    pub(super) fn fresh(&self, mut found: Vec<Finding>) -> Vec<Finding> {
        found.retain(|finding| !self.told.contains(finding));
        found
    }

    /// Keeps what was found, and sets aside the rules that it was found in. Answers whether there may be more to find.
    pub(super) fn learn(&mut self, program: &Program, found: Vec<Finding>) -> bool {
        let goes_on = !found.is_empty() && found.iter().all(|finding| finding.code != Code::TooLarge);
        for finding in &found {
            if let Some(id) = rule_at(program, finding) {
                self.set_aside(program, [id]);
            }
        }
        let outside: Vec<_> =
            found.iter().filter(|finding| rule_at(program, finding).is_none()).cloned().collect();
        self.distrust(program, &outside);
        self.told.extend(found);
        goes_on && self.told.len() < MOST
    }

    /// Keeps what nothing else depends on.
    pub(super) fn note(&mut self, found: Vec<Finding>) {
        self.told.extend(found);
    }

    /// Sets aside rules, with all that have their heads.
    pub(super) fn set_aside(&mut self, program: &Program, rules: impl IntoIterator<Item = RuleId>) {
        for id in rules {
            if !self.faulty.contains(&id) {
                self.faulty.extend(with_branches(program, id));
            }
        }
    }

    /// Sets aside the rules in which others found faults, and all of a module of which an import is one.
    pub(super) fn set_aside_faulty(&mut self, program: &Program, faults: &[Refusal]) {
        for fault in faults {
            let is_its_module = |module: &Arc<Module>| *module.file() == fault.location.file;
            let Some(number) = program.modules.iter().position(is_its_module) else { continue };
            let Some(module) = program.modules.get(number) else { continue };
            let place = |at: Offset| {
                let position = module.position(at);
                (position.line, position.column)
            };
            let of_fault = (fault.location.line, fault.location.column);
            let is_import = module.imports().iter().any(|import| place(import.at) == of_fault);
            let rules = module.rules().iter().map(|rule| rule.at);
            let rule = rules.take_while(|&at| place(at) <= of_fault).last();
            match rule.filter(|_| !is_import).and_then(|at| rule_behind(program, number, at)) {
                Some(id) => self.set_aside(program, [id]),
                None => self.distrust_modules(program, &BTreeSet::from([number])),
            }
        }
    }

    /// Sets aside all rules of the modules of findings: what their words mean is not known.
    pub(super) fn distrust(&mut self, program: &Program, found: &[Finding]) {
        self.distrust_modules(program, &found.iter().map(|finding| finding.module).collect());
    }

    fn distrust_modules(&mut self, program: &Program, modules: &BTreeSet<usize>) {
        let is_theirs =
            |id: &RuleId| program.rule(*id).is_some_and(|placed| modules.contains(&placed.module));
        if !modules.is_empty() {
            self.faulty.extend(program.rule_ids().filter(is_theirs));
        }
    }

    /// Sets aside rules that cannot stand beside others, those below them, and those that refer to any of them: how many
    /// arguments one takes, and what it is, nobody knows.
    pub(super) fn clash(&mut self, program: &Program, clashes: &[Finding]) {
        let node = |clash: &Finding| {
            let placed = program.rule(rule_at(program, clash)?)?;
            program.rule_tree.find(program.ground_path(placed), &program.tree)
        };
        let mut open: Vec<NodeId> = clashes.iter().filter_map(node).collect();
        if open.is_empty() {
            return;
        }
        let (mut seen, mut inside) = (BTreeSet::new(), BTreeSet::new());
        while let Some(node) = open.pop() {
            if seen.insert(node) {
                inside.extend(program.rule_tree.rules(node).iter().copied());
                open.extend_from_slice(program.rule_tree.children(node));
            }
        }
        let users: Vec<RuleId> = match Graph::of(program) {
            Some(graph) => {
                let refers = |id: &RuleId| graph.edges(id.0).iter().any(|&to| inside.contains(&RuleId(to)));
                program.rule_ids().filter(refers).collect()
            }
            None => program.rule_ids().collect(),
        };
        self.set_aside(program, users);
        for id in inside {
            self.set_aside(program, [id]);
            self.clashing.extend(with_branches(program, id));
        }
    }

    /// Leaves those that clash out of the order in which rules get their types. None that is left refers to them.
    pub(super) fn leave_out_clashing(&self, program: &mut Program) {
        program.order.retain(|id| !self.clashing.contains(id));
    }

    /// Puts rules that say nothing in the place of those that are set aside.
    pub(super) fn mute(&self, program: &mut Program) {
        for &id in &self.faulty {
            mute(program, id);
        }
    }
}

/// The rule that a finding is in; none when it stands before all rules of its module.
fn rule_at(program: &Program, finding: &Finding) -> Option<RuleId> {
    rule_behind(program, finding.module, finding.at)
}

/// The last rule of a module that begins at a place, or before it.
fn rule_behind(program: &Program, module: usize, at: Offset) -> Option<RuleId> {
    let place = (module, at);
    // The rules lie in the order of the modules and of their texts.
    let behind = program.rules.partition_point(|placed| (placed.module, placed.rule.at) <= place);
    let id = RuleId(u32::try_from(behind.checked_sub(1)?).ok()?);
    program.rule(id).filter(|placed| placed.module == module).map(|_| id)
}

/// A rule and all that has its head: the branches before and behind it, and further bodies.
fn with_branches(program: &Program, id: RuleId) -> Vec<RuleId> {
    let continues = |number: u32| {
        let before = number.checked_sub(1).and_then(|before| program.rule(RuleId(before)));
        let (Some(before), Some(here)) = (before, program.rule(RuleId(number))) else { return false };
        let same = before.module == here.module && before.rule.head.at == here.rule.head.at;
        here.rule.is_else || same
    };
    let mut first = id.0;
    while continues(first) {
        first -= 1;
    }
    let others = (first + 1..).take_while(|&number| continues(number));
    std::iter::once(first).chain(others).map(RuleId).collect()
}

fn mute(program: &mut Program, id: RuleId) {
    let Some(rule) = program.rule(id).map(|placed| placed.rule) else { return };
    let (mut head, at) = (rule.head, rule.at);
    let arguments: Vec<TermId> = (0..head.arguments.len()).map(|_| program.generate(at)).collect();
    head.arguments = program.tree.add_terms(&arguments);
    match head.value {
        // The key of an object is a step of its name.
        Some(_) => head.value = Some(anything(program, at)),
        None => head.key = head.key.map(|_| anything(program, at)),
    }
    let mut variables: Vec<Name> = Vec::new();
    for &step in program.tree.terms(head.reference).iter().skip(1) {
        variables.extend(vars::of_term(&program.tree, step, Skip::NOTHING));
    }
    variables.retain(|name| !matches!(*name, Name::DATA | Name::INPUT));
    variables.sort_unstable();
    variables.dedup();
    let mut statements = Vec::with_capacity(variables.len().max(1));
    for name in variables {
        let variable = program.tree.add_term(Value::Var(name), at);
        let value = anything(program, at);
        let none = program.no_withs();
        statements.push(program.equation(variable, value, none));
    }
    if statements.is_empty() {
        statements.push(nothing_to_ask(program, at));
    }
    let body = program.tree.add_body(&statements);
    if let Some(placed) = program.rules.get_mut(id.0 as usize) {
        placed.rule.head = head;
        placed.rule.body = body;
    }
}

/// `input`, of which nothing is known.
fn anything(program: &mut Program, at: Offset) -> TermId {
    let input = program.tree.add_term(Value::Var(Name::INPUT), at);
    let path = program.tree.add_terms(&[input]);
    program.tree.add_term(Value::Ref(path), at)
}

/// `true`.
fn nothing_to_ask(program: &mut Program, at: Offset) -> ExpressionId {
    let term = program.tree.add_term(Value::Boolean(true), at);
    let withs = program.no_withs();
    program.tree.add_expression(Expression {
        kind: ExpressionKind::Term(term),
        negated: false,
        generated: false,
        assigned: false,
        withs,
        at,
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use crate::{Code, Gate, Refusal};

    fn refusals(texts: &[&str]) -> Vec<Refusal> {
        let gate = Gate::default();
        let parse = |(index, text): (usize, &&str)| {
            gate.parse(&format!("{index}.rego"), text.as_bytes()).unwrap_or_else(|found| panic!("{found:?}"))
        };
        let modules: Vec<_> = texts.iter().enumerate().map(parse).collect();
        gate.check(&modules)
    }

    fn lines(rules: &str) -> Vec<u32> {
        let found = refusals(&[&format!("package a\n{rules}\n")]);
        found.iter().map(|refusal| refusal.location.line).collect()
    }

    #[test]
    fn tells_the_faults_of_all_stages_together() {
        let rules = [
            "p if { some x; true }",
            "q contains 1",
            "q := 2",
            "r := nothing(1)",
            "s if y > 1",
            "t := u",
            "u := t",
            "v if count(1) == 1",
            "w if any([true])",
            "x := 1",
        ];
        let found = refusals(&[&format!("package a\n{}\n", rules.join("\n"))]);
        let told: Vec<_> = found.iter().map(|refusal| (refusal.location.line, refusal.code)).collect();
        let expected = [
            (2, Code::Compile),
            (3, Code::Type),
            (5, Code::Type),
            (6, Code::UnsafeVariable),
            (7, Code::Recursion),
            (9, Code::Type),
            (10, Code::Type),
        ];
        assert_eq!(told, expected, "{found:#?}");
    }

    /// The lines of what is told of rules beside a fault that others found at the first import, or in the first rule.
    fn lines_beside_a_fault(rules: &str) -> Vec<u32> {
        let gate = Gate::default();
        let module = gate.parse("a.rego", format!("package a\n{rules}\n").as_bytes()).unwrap();
        let at = module.imports().first().map_or(module.rules()[0].at, |import| import.at);
        let fault = module.refuse(at, Code::ForbiddenReference, "not here");
        let found = gate.check_beside(&[module], &[fault]);
        found.iter().map(|refusal| refusal.location.line).collect()
    }

    #[rstest]
    #[case::a_rule("p := nothing(1)\nq if count(1) == 1", &[2, 3], &[3])]
    #[case::what_uses_it("p := 1\nq := concat(\",\", p)\nr if count(1) == 1", &[3, 4], &[4])]
    #[case::all_bodies_of_it("p if { nothing(1) } { nothing(2) }\nr if x > 1", &[2, 3], &[3])]
    #[case::an_import("import data.b.x\ny := x(1)\nz := y", &[3], &[])]
    fn tells_nothing_that_follows_from_a_fault_that_others_found(
        #[case] rules: &str,
        #[case] without: &[u32],
        #[case] beside: &[u32],
    ) {
        let mut told = lines(rules);
        told.dedup();
        assert_eq!((told.as_slice(), lines_beside_a_fault(rules).as_slice()), (without, beside));
    }

    #[test]
    fn tells_them_in_the_order_of_modules_and_lines() {
        let texts =
            ["package a\n\nok := 1\n\np if x > 1\n", "package b\n\nr if count(1) == 1\nq := nothing(1)\n"];
        let found = refusals(&texts);
        let places: Vec<_> = found.iter().map(|refusal| refusal.location.to_string()).collect();
        let places: Vec<_> = places.iter().map(|place| place.rsplit_once(':').unwrap().0).collect();
        assert_eq!(places, ["0.rego:5", "1.rego:3", "1.rego:4"], "{found:#?}");
    }

    #[rstest]
    #[case::a_parameter_and_a_variable("f(data) := 1\ng if x > 1", &[2, 3])]
    #[case::an_import("import data.b.x\nimport data.c.x\ny := x(1)", &[3])]
    #[case::an_annotation_and_a_type(
        "# METADATA\n# title: one\n# scope: document\np := 1\n# METADATA\n# title: two\n# scope: document\np := 1 if count(1) == 1",
        &[6, 9]
    )]
    #[case::a_branch_and_a_rule("p := 1 if x > 1 else := nothing(1)\nq if count(1) == 1", &[2, 3])]
    #[case::two_circles("a := b\nb := a\nc := d\nd := c\ne if x > 1", &[2, 4, 6])]
    fn tells_what_is_behind_a_fault(#[case] rules: &str, #[case] expected: &[u32]) {
        assert_eq!(lines(rules), expected);
    }

    /// One fault, and rules that use what it is in.
    #[rstest]
    #[case::a_function("f(x) := x if { some y; true }\np if f(1) == 2\nq := [y | y := f(f(2))]")]
    #[case::a_function_by_pattern("f([x, y]) := nothing(x)\np if f(input.x)\nq if f([1, 2]) > 1")]
    #[case::a_set(
        "s contains x if { x := nothing(1) }\nt if { some y in s; y > 1 }\nu if count(s) > 1\nv if s[1]"
    )]
    #[case::an_object(
        "p[k] := v if { some k, v in input.x; some z; true }\nq := p.a\nr if count(p) > 0\ns if p[_] == 1"
    )]
    #[case::a_set_by_key(
        "p[k] contains v if { some k, v in input.x; nothing(v) }\nq if p.a[1]\nr := count(p.a)"
    )]
    #[case::a_value("p := x\nq := p + 1\nr := p.a.b\ns := concat(\",\", p)\nt := $\"{p}\"")]
    #[case::a_default("default p := 1\np := 2 if x > 1\nq := p + 1\nr := $\"{p}\"")]
    #[case::a_deep_name("p.q[input.x] := 1 if nothing(1)\nr := p.q.a\ns := p")]
    #[case::a_circle("a := b\nb := a\nc if a == 1\nd := count(b)\ne := f(a)\nf(x) := x")]
    #[case::arities("f(x) := x\nf(x, y) := [x, y]\np if f(1) > 1\nq := [f(2), f(\"a\")]")]
    #[case::a_rule_inside_a_rule("b := 1\nb.c(x) := x\np if b > 1\nq if b.c(1) == 1\nr := b.c(b)")]
    #[case::several_bodies("p if { nothing(1) } { input.b }\nq if p == true\nr := p")]
    #[case::a_call_that_is_replaced("f(x) := nothing(x)\np if g(1) == 1 with f as 2\ng(x) := f(x)")]
    fn tells_nothing_that_follows_from_a_fault(#[case] rules: &str) {
        let found = refusals(&[&format!("package a\n{rules}\n")]);
        let mut lines: Vec<_> = found.iter().map(|refusal| refusal.location.line).collect();
        lines.dedup();
        assert_eq!(lines.len(), 1, "{found:#?}");
    }
}
