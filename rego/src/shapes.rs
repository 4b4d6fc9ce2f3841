//! Texts that are hard for some stage of a compiler, in any size: what the gate takes for them shows whether its work
//! stays in proportion to the text.

/// A text of a certain shape: one part of it is repeated until the size is reached.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// What it is called.
    pub name: &'static str,
    /// Whether it is Rego that an OPA takes, in every size.
    pub is_rego: bool,
    head: &'static str,
    part: fn(usize) -> String,
    tail: &'static str,
}

impl Shape {
    /// A text of nearly so many bytes, and of no more.
    #[must_use]
    pub fn text(&self, bytes: usize) -> String {
        let mut text = format!("package a\n\n{}", self.head);
        for number in 0.. {
            let part = (self.part)(number);
            if text.len() + part.len() + self.tail.len() > bytes {
                break;
            }
            text += &part;
        }
        text + self.tail
    }
}

const fn rules(name: &'static str, part: fn(usize) -> String) -> Shape {
    Shape { name, is_rego: true, head: "", part, tail: "" }
}

const fn between(
    name: &'static str,
    head: &'static str,
    part: fn(usize) -> String,
    tail: &'static str,
) -> Shape {
    Shape { name, is_rego: true, head, part, tail }
}

/// Every shape.
pub const SHAPES: [Shape; 22] = [
    rules("nested_brackets", |n| format!("x{n} := {}1{}\n", "[".repeat(30), "]".repeat(30))),
    Shape { is_rego: false, ..rules("open_brackets", |_| "[".to_owned()) },
    between("one_long_string", "x := \"", |_| "a".repeat(1_000), "\"\n"),
    between("long_strings", "x := [\n", |_| format!("\t\"{}\",\n", "a".repeat(4_000)), "]\n"),
    rules("many_rules", |n| format!("r{n} := {n}\n")),
    between("chained_rules", "r0 := 1\n", |n| format!("r{} if r{n}\n", n + 1), ""),
    rules("many_comments", |n| format!("# {n} says nothing\n")),
    rules("negations", |n| format!("r{n} if {{\n\tnot input.a{n}\n\tnot input.b == {n}\n}}\n")),
    rules("quantifiers", |n| {
        format!("r{n} if every x in input.a {{ every y in x {{ every z in y {{ z == {n} }} }} }}\n")
    }),
    between("one_long_reference", "x := input", |n| format!(".a{n}"), "\n"),
    rules("long_references", |n| format!("r{n} := input{}\n", ".a".repeat(100))),
    between("else_branches", "p if input.x", |_| " else if input.y".to_owned(), "\n"),
    between("statements", "p if {\n", |n| format!("\tinput.x{n} > {n}\n"), "}\n"),
    between("statements_that_wait", "p if {\n", |n| format!("\tx{} = x{n}\n", n + 1), "\tx0 = 1\n}\n"),
    Shape {
        is_rego: false,
        ..between("unused_variables", "p if {\n\tsome ", |n| format!("v{n}, "), "z\n\tinput.x\n}\n")
    },
    rules("comprehensions", |n| format!("r{n} := [x | some x in input.a; x > {n}]\n")),
    between("objects_of_one_rule", "x if r\n", |n| format!("r := {{\"k{n}\": {n}}} if input.x == {n}\n"), ""),
    between("objects_of_one_set", "x if r\n", |n| format!("r contains {{\"k{n}\": {n}}}\n"), ""),
    between("objects_of_one_function", "x if f(1)\n", |n| format!("f({n}) := {{\"k{n}\": {n}}}\n"), ""),
    between(
        "one_block_of_metadata",
        "# METADATA\n# custom:\n",
        |n| format!("#   key{n}: [{n}]\n"),
        "x := 1\n",
    ),
    rules("blocks_of_metadata", |n| {
        format!("# METADATA\n# title: rule {n}\n# custom: {{a: [1]}}\nr{n} := {n}\n")
    }),
    rules("replacements", |n| format!("r{n} if input.x with input as {{\"x\": {n}}}\n")),
];

#[cfg(test)]
mod tests {
    use std::{env, process::Command, thread};

    use rustix::process::{Resource, Rlimit, setrlimit};

    use super::*;
    use crate::{Gate, syntax::module::MAX_BYTES};

    /// Which shape [`reads_and_checks_one`] is about.
    const VARIABLE: &str = "SECPLANE_REGO_SHAPE";
    /// How much a process may map: a thousand bytes for each of the longest text.
    const MEMORY: u64 = 1024 * MAX_BYTES as u64;

    #[test]
    fn fills_a_size() {
        for shape in SHAPES {
            for bytes in [16 * 1024, MAX_BYTES] {
                let length = shape.text(bytes).len();
                assert!((bytes - 5_000..=bytes).contains(&length), "{}: {length} of {bytes}", shape.name);
            }
        }
    }

    /// The whole work of one text, within limits of this process. Without the variable, which the next test sets for a
    /// process of its own, there is nothing to do.
    #[test]
    fn reads_and_checks_one() {
        let Ok(name) = env::var(VARIABLE) else { return };
        for (resource, most) in [(Resource::As, MEMORY), (Resource::Core, 0)] {
            setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) }).unwrap();
        }
        let shape = SHAPES.into_iter().find(|shape| shape.name == name).unwrap();
        // A thread with the stack that every thread has.
        let work = thread::spawn(move || {
            let gate = Gate::default();
            match gate.parse("a.rego", shape.text(MAX_BYTES).as_bytes()) {
                Ok(module) => gate.check(&[module]),
                Err(refusals) => refusals,
            }
        });
        let refusals = work.join().unwrap();
        assert_eq!(refusals.is_empty(), shape.is_rego, "{:?}", refusals.first());
    }

    /// The effort of the checker is counted, and what takes more than a multiple of its size is refused: that the
    /// longest text of a shape is taken means that no stage does more than that for it. Memory and stack are held by
    /// the system.
    #[test]
    fn stays_within_effort_memory_and_stack() {
        let this_program = env::current_exe().unwrap();
        for shape in SHAPES {
            let output = Command::new(&this_program)
                .args(["--exact", "shapes::tests::reads_and_checks_one", "--nocapture"])
                .env(VARIABLE, shape.name)
                .env_remove("RUST_MIN_STACK")
                .output()
                .unwrap();
            let said =
                [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            let passed = output.status.success() && said[0].contains("1 passed");
            assert!(passed, "{}: {}: {}", shape.name, output.status, said.concat());
        }
    }
}
