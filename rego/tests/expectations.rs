//! Files of modules, and whether OPA activates them.
//!
//! The first line of a file gives the code of what OPA refuses first, or `accepted`, and which versions do so unless all
//! do; the modules of a file are separated by `# module`. `tests/interop` asks the real OPA whether the files are right.

use std::{fs, io, ops::RangeInclusive, path::Path, sync::Arc};

use rstest::rstest;
use secplane_rego::{Code, Refusal, capabilities::OpaVersion, gate::Gate};

const SEPARATOR: &str = "# module\n";

#[test]
fn refuses_what_opa_refuses() {
    let mut accepted = Vec::new();
    let count = each("refusals", &mut |case, version, refusals| {
        let code = case.expected == "panic" || case.expected.starts_with("rego_");
        assert!(code, "{} says no code: {}", case.path, case.expected);
        if refusals.is_empty() {
            accepted.push(format!("{} for {version}", case.path));
        }
    })
    .unwrap();
    assert!(accepted.is_empty(), "the gate lets through {accepted:#?}");
    assert!(count > 500, "only {count} files were found");
}

#[test]
fn accepts_what_opa_accepts() {
    let mut refused = Vec::new();
    let count = each("accepted", &mut |case, version, refusals| {
        assert_eq!(case.expected, "accepted", "{}", case.path);
        refused.extend(refusals.iter().map(|refusal| format!("{} for {version}: {refusal}", case.path)));
    })
    .unwrap();
    assert!(refused.is_empty(), "the gate refuses {refused:#?}");
    assert!(count > 100, "only {count} files were found");
}

/// A file.
struct Case {
    path: String,
    /// `accepted`, or the code of what is refused first.
    expected: String,
    /// The versions of OPA that do so.
    versions: RangeInclusive<OpaVersion>,
    modules: Vec<String>,
}

impl Case {
    fn read(path: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(path)?;
        let first = text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap_or_default();
        let (expected, versions) = first.split_once(' ').unwrap_or((first, "1.18-1.22"));
        let version = |text: &str| text.parse::<OpaVersion>().map_err(io::Error::other);
        let (oldest, newest) = versions.split_once('-').ok_or_else(|| io::Error::other(first))?;
        Ok(Self {
            path: path.display().to_string(),
            expected: expected.to_owned(),
            versions: version(oldest)?..=version(newest)?,
            modules: text.split(SEPARATOR).map(str::to_owned).collect(),
        })
    }

    fn refusals(&self, version: OpaVersion) -> Vec<Refusal> {
        let texts: Vec<&str> = self.modules.iter().map(String::as_str).collect();
        refusals(Gate::new(version), &texts)
    }
}

fn refusals(gate: Gate, texts: &[&str]) -> Vec<Refusal> {
    let (mut modules, mut refused): (Vec<Arc<_>>, _) = (Vec::new(), Vec::new());
    for (index, text) in texts.iter().enumerate() {
        match gate.parse(&format!("{index}.rego"), text.as_bytes()) {
            Ok(module) => modules.push(module),
            Err(refusals) => refused.extend(refusals),
        }
    }
    if refused.is_empty() { gate.check(&modules) } else { refused }
}

/// Shows `seen` each file below a folder, and what the gate has against it for each of its versions.
fn each(folder: &str, seen: &mut impl FnMut(&Case, OpaVersion, &[Refusal])) -> io::Result<usize> {
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder)];
    let mut count = 0;
    while let Some(path) = open.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(&path)? {
                open.push(entry?.path());
            }
            continue;
        }
        let case = Case::read(&path)?;
        for version in OpaVersion::ALL.into_iter().filter(|version| case.versions.contains(version)) {
            seen(&case, version, &case.refusals(version));
        }
        count += 1;
    }
    Ok(count)
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
    assert!(
        refusals(Gate::default(), &[&text]).iter().any(|refusal| refusal.code == Code::TooLarge),
        "{next}"
    );
}

/// A comprehension is checked once for each of those around it, as OPA does.
#[rstest]
#[case::few(5, false)]
#[case::many(60, true)]
fn bounds_comprehensions_in_comprehensions(#[case] depth: usize, #[case] refused: bool) {
    let nested = |term: String, number| format!("[x{number} | x{number} := {term}]");
    let term = (0..depth).fold("input.x".to_owned(), nested);
    let refusals = refusals(Gate::default(), &[&format!("package a\n\np := {term}\n")]);
    assert_eq!(!refusals.is_empty(), refused, "{refusals:?}");
}
