//! Files of modules, and whether OPA activates them.
//!
//! The first line of a file gives the code of what OPA refuses first, or `accepted`; the modules of a file are
//! separated by `# module`. `tests/interop` asks the real OPA whether the files are right.

use std::{fs, io, path::Path, sync::Arc};

use rstest::rstest;
use secplane_rego::{Code, Refusal, capabilities::OpaVersion, gate::Gate};

const SEPARATOR: &str = "# module\n";

#[test]
fn refuses_what_opa_refuses() {
    let mut accepted = Vec::new();
    let count = each("refusals", &mut |path, first, refusals| {
        assert!(first.starts_with("# rego_"), "{path} says no code: {first}");
        if refusals.is_empty() {
            accepted.push(path.to_owned());
        }
    })
    .unwrap();
    assert!(accepted.is_empty(), "the gate lets through {accepted:#?}");
    assert!(count > 500, "only {count} files were found");
}

#[test]
fn accepts_what_opa_accepts() {
    let mut refused = Vec::new();
    let count = each("accepted", &mut |path, first, refusals| {
        assert_eq!(first, "# accepted", "{path}");
        refused.extend(refusals.iter().map(|refusal| format!("{path}: {refusal}")));
    })
    .unwrap();
    assert!(refused.is_empty(), "the gate refuses {refused:#?}");
    assert!(count > 100, "only {count} files were found");
}

/// Shows `seen` each file below a folder, its first line, and what the gate has against it.
fn each(folder: &str, seen: &mut impl FnMut(&str, &str, &[Refusal])) -> io::Result<usize> {
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder)];
    let mut count = 0;
    while let Some(path) = open.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(&path)? {
                open.push(entry?.path());
            }
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let texts: Vec<&str> = text.split(SEPARATOR).collect();
        seen(&path.display().to_string(), text.lines().next().unwrap_or_default(), &refusals(&texts));
        count += 1;
    }
    Ok(count)
}

fn refusals(texts: &[&str]) -> Vec<Refusal> {
    let gate = Gate::new(OpaVersion::V1_18);
    let (mut modules, mut refused): (Vec<Arc<_>>, _) = (Vec::new(), Vec::new());
    for (index, text) in texts.iter().enumerate() {
        match gate.parse(&format!("{index}.rego"), text.as_bytes()) {
            Ok(module) => modules.push(module),
            Err(refusals) => refused.extend(refusals),
        }
    }
    if refused.is_empty() { gate.check(&modules) } else { refused }
}

/// Types that double with each statement, or nest without end: OPA may never answer; the gate does, and refuses.
#[rstest]
#[case::doubling_arrays("[x, x]", 60)]
#[case::doubling_objects("{\"a\": x, \"b\": x}", 60)]
#[case::nesting("[x]", 3_000)]
#[case::growing_unions("{x, [x]}", 40)]
fn refuses_types_that_grow_out_of_hand(#[case] next: &str, #[case] times: usize) {
    let chain = |name: &str| {
        let mut text = format!("\t{name}0 := [1, \"a\"]\n");
        for number in 1..=times {
            let next = next.replace('x', &format!("{name}{}", number - 1));
            text += &format!("\t{name}{number} := {next}\n");
        }
        text
    };
    let text = format!("package a\n\np if {{\n{}{}\tx{times} == y{times}\n}}\n", chain("x"), chain("y"));
    assert!(refusals(&[&text]).iter().any(|refusal| refusal.code == Code::TooLarge), "{next}");
}

/// A comprehension is checked once for each of those around it, as OPA does.
#[rstest]
#[case::few(5, false)]
#[case::many(60, true)]
fn bounds_comprehensions_in_comprehensions(#[case] depth: usize, #[case] refused: bool) {
    let nested = |term: String, number| format!("[x{number} | x{number} := {term}]");
    let term = (0..depth).fold("input.x".to_owned(), nested);
    let refusals = refusals(&[&format!("package a\n\np := {term}\n")]);
    assert_eq!(!refusals.is_empty(), refused, "{refusals:?}");
}
