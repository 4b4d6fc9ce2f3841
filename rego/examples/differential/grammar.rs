//! Modules out of nothing: a handful of names in every role that the language has, so that they meet.

use std::fmt::Write as _;

use secplane_rego::{
    capabilities::{Builtin, Capabilities},
    types::Type,
};

use crate::{random::Random, set::Set};

const PACKAGES: &[&str] = &["a", "a", "a", "b", "a.b", "a.p", "authbridge.ns.inbound.request"];
const RULES: &[&str] = &["p", "q", "r", "s"];
const FUNCTIONS: &[&str] = &["f", "g", "h"];
const VARIABLES: &[&str] = &["x", "y", "z", "i"];
const KEYS: &[&str] = &["a", "b", "p", "q"];
const COMPARISONS: &[&str] = &["==", "==", "!=", "<", ">=", "="];
const OPERATORS: &[&str] = &["+", "-", "*", "/", "%", "|", "&"];

/// A set that the grammar makes.
pub(crate) fn generated(capabilities: &Capabilities, number: u64, random: &mut Random) -> Set {
    let builtins: Vec<&Builtin> =
        capabilities.builtins().filter(|builtin| !builtin.name.starts_with("internal.")).collect();
    let count = 1 + random.below(3);
    let mut writer = Writer { random, builtins, text: String::new() };
    let texts = (0..count).map(|_| writer.module()).collect();
    Set::of(format!("generation {number}"), texts)
}

struct Writer<'a> {
    random: &'a mut Random,
    builtins: Vec<&'a Builtin>,
    text: String,
}

impl Writer<'_> {
    fn module(&mut self) -> String {
        self.text.clear();
        let package = self.random.word(PACKAGES);
        self.put(&format!("package {package}\n\n"));
        if self.random.chance(25) {
            let import = self.random.word(&[
                "data.a",
                "data.b",
                "data.b as c",
                "data.a.b.q",
                "input.x",
                "rego.v1",
                "future.keywords.not",
                "input.q as p",
            ]);
            self.put(&format!("import {import}\n\n"));
        }
        for _ in 0..1 + self.random.below(5) {
            self.rule();
        }
        std::mem::take(&mut self.text)
    }

    fn put(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn variable(&mut self) {
        let name = self.random.word(VARIABLES);
        self.put(name);
    }

    fn rule(&mut self) {
        let name = self.random.word(RULES);
        match self.random.below(12) {
            0 => {
                self.put(&format!("default {name} := "));
                self.constant(2);
                return self.put("\n\n");
            }
            1 => {
                self.put(&format!("{name} contains "));
                self.term(2);
            }
            2 => {
                self.put(&format!("{name}["));
                self.term(1);
                self.put("] := ");
                self.term(2);
            }
            3 => {
                let key = self.random.word(KEYS);
                self.put(&format!("{name}.{key} := "));
                self.term(2);
            }
            4 | 5 => {
                let function = self.random.word(FUNCTIONS);
                self.put(&format!("{function}("));
                for index in 0..1 + self.random.below(2) {
                    self.put(if index > 0 { ", " } else { "" });
                    if self.random.chance(70) { self.variable() } else { self.term(1) }
                }
                self.put(")");
                if self.random.chance(80) {
                    self.put(" := ");
                    self.term(2);
                }
            }
            6..9 => {
                self.put(&format!("{name} := "));
                self.term(2);
            }
            _ => self.put(name),
        }
        if self.random.chance(85) || self.text.ends_with(char::is_alphabetic) {
            self.put(" if ");
            self.body(2);
        }
        if self.random.chance(8) {
            self.put(" else := ");
            self.term(1);
            if self.random.chance(50) {
                self.put(" if ");
                self.body(1);
            }
        }
        self.put("\n\n");
    }

    fn body(&mut self, depth: usize) {
        self.put("{\n");
        // Where nothing binds a variable, nothing else is found out.
        for name in VARIABLES {
            if self.random.chance(60) {
                let from = self.random.word(&[
                    "= input.x",
                    "= 1",
                    "= \"a\"",
                    "= [1, \"a\"][_]",
                    "= p",
                    "= data.a.q",
                    "= {\"a\": 1}",
                ]);
                self.put(&format!("\t{name} {from}\n"));
            }
        }
        for _ in 0..1 + self.random.below(4) {
            self.put("\t");
            self.statement(depth);
            self.put("\n");
        }
        self.put("}");
    }

    fn statement(&mut self, depth: usize) {
        match self.random.below(20) {
            0..5 => {
                let name = self.random.word(&["u", "v", "w", "x", "t"]);
                self.put(name);
                let operator = self.random.word(&[" := ", " = "]);
                self.put(operator);
                self.term(depth);
            }
            5 => {
                self.put("some ");
                self.variable();
                self.put(" in ");
                self.term(depth);
            }
            6 => {
                self.put("some ");
                self.variable();
                self.put(", ");
                self.variable();
                self.put(" in ");
                self.term(depth);
            }
            7 => {
                self.put("some ");
                self.variable();
            }
            8 => {
                self.put("not ");
                self.comparison(depth);
            }
            9 if depth > 0 => {
                self.put("every ");
                self.variable();
                self.put(" in ");
                self.term(depth - 1);
                self.put(" ");
                self.body(depth - 1);
            }
            10 => {
                self.term(depth);
                self.put(" in ");
                self.term(depth);
            }
            11 => {
                self.pattern(depth);
                let operator = self.random.word(&[" := ", " = "]);
                self.put(operator);
                self.term(depth);
            }
            12 => self.term(depth),
            13 => {
                self.put("print(");
                self.term(depth);
                self.put(")");
            }
            _ => self.comparison(depth),
        }
        if self.random.chance(6) {
            let target =
                self.random.word(&["input", "input.x", "data.a.p", "data.b", "data.a", "count", "data.a.f"]);
            self.put(&format!(" with {target} as "));
            self.term(1);
        }
    }

    fn comparison(&mut self, depth: usize) {
        self.term(depth);
        let operator = self.random.word(COMPARISONS);
        self.put(&format!(" {operator} "));
        self.term(depth);
    }

    fn pattern(&mut self, depth: usize) {
        match self.random.below(3) {
            0 => {
                self.put("[");
                self.variable();
                self.put(", ");
                if depth > 0 {
                    self.pattern(depth - 1)
                } else {
                    self.constant(0)
                }
                self.put("]");
            }
            1 => {
                let key = self.random.word(KEYS);
                self.put(&format!("{{\"{key}\": "));
                self.variable();
                self.put("}");
            }
            _ => self.variable(),
        }
    }

    fn constant(&mut self, depth: usize) {
        match self.random.below(if depth > 0 { 9 } else { 6 }) {
            0 | 1 => {
                let number = self.random.word(&["0", "1", "2", "1.5", "-1"]);
                self.put(number);
            }
            2 | 3 => {
                let key = self.random.word(KEYS);
                self.put(&format!("\"{key}\""));
            }
            4 => {
                let word = self.random.word(&["true", "false", "null"]);
                self.put(word);
            }
            5 => {
                let word = self.random.word(&["[]", "{}", "set()", "\"\""]);
                self.put(word);
            }
            6 => self.list("[", "]", Self::constant, depth),
            7 => self.list("{", "}", Self::constant, depth),
            _ => self.object(Self::constant, depth),
        }
    }

    fn list(&mut self, open: &str, close: &str, item: fn(&mut Self, usize), depth: usize) {
        self.put(open);
        for index in 0..1 + self.random.below(3) {
            self.put(if index > 0 { ", " } else { "" });
            item(self, depth - 1);
        }
        self.put(close);
    }

    fn object(&mut self, item: fn(&mut Self, usize), depth: usize) {
        let mut keys: Vec<&str> = KEYS.to_vec();
        keys.truncate(1 + self.random.below(2));
        self.put("{");
        for (index, key) in keys.into_iter().enumerate() {
            self.put(if index > 0 { ", " } else { "" });
            if self.random.chance(85) {
                self.put(&format!("\"{key}\""))
            } else {
                self.variable()
            }
            self.put(": ");
            item(self, depth - 1);
        }
        self.put("}");
    }

    fn term(&mut self, depth: usize) {
        match self.random.below(if depth > 0 { 26 } else { 10 }) {
            0..3 => self.variable(),
            3..5 => self.constant(depth),
            5..7 => self.reference(depth),
            7 | 8 => {
                let name = self.random.word(RULES);
                self.put(name);
            }
            9 => self.put("input.x"),
            10..15 => self.reference(depth),
            15..19 => self.call(depth),
            19 => self.list("[", "]", Self::term, depth),
            20 => self.list("{", "}", Self::term, depth),
            21 => self.object(Self::term, depth),
            22 => {
                self.put("(");
                self.term(depth - 1);
                let operator = self.random.word(OPERATORS);
                self.put(&format!(" {operator} "));
                self.term(depth - 1);
                self.put(")");
            }
            23 => {
                self.put("$\"a {");
                self.term(depth - 1);
                self.put("}\"");
            }
            _ => self.comprehension(depth - 1),
        }
    }

    fn comprehension(&mut self, depth: usize) {
        let (open, close) = if self.random.chance(50) { ("[", "]") } else { ("{", "}") };
        self.put(open);
        self.term(0);
        if open == "{" && self.random.chance(40) {
            self.put(": ");
            self.term(0);
        }
        self.put(" | ");
        for index in 0..1 + self.random.below(3) {
            self.put(if index > 0 { "; " } else { "" });
            self.statement(depth);
        }
        self.put(close);
    }

    fn reference(&mut self, depth: usize) {
        let root = self.random.word(&[
            "input", "input", "data.a", "data.a.p", "data.b", "data.b.q", "data.a.b", "data", "p", "q", "r",
            "x", "y", "c", "b",
        ]);
        self.put(root);
        for _ in 0..self.random.below(3) {
            match self.random.below(6) {
                0..3 => {
                    let key = self.random.word(KEYS);
                    self.put(&format!(".{key}"));
                }
                3 => self.put("[_]"),
                4 => {
                    self.put("[");
                    self.variable();
                    self.put("]");
                }
                _ => {
                    self.put("[");
                    if depth > 0 {
                        self.term(depth - 1)
                    } else {
                        self.constant(0)
                    }
                    self.put("]");
                }
            }
        }
    }

    fn call(&mut self, depth: usize) {
        if self.random.chance(30) {
            let name = self.random.word(&["f", "g", "h", "data.a.f", "data.b.g"]);
            self.put(&format!("{name}("));
            self.term(depth - 1);
            if self.random.chance(30) {
                self.put(", ");
                self.term(depth - 1);
            }
            return self.put(")");
        }
        let Some(&builtin) = self.random.pick(&self.builtins) else { return };
        let _ = write!(self.text, "{}(", builtin.name);
        for (index, argument) in builtin.declaration.arguments.iter().enumerate() {
            self.put(if index > 0 { ", " } else { "" });
            match argument {
                Some(kind) if self.random.chance(75) => self.of_kind(kind, depth - 1),
                _ => self.term(depth - 1),
            }
        }
        if self.random.chance(3) {
            self.put(", x");
        }
        self.put(")");
    }

    /// A term that most likely is of that type.
    fn of_kind(&mut self, kind: &Type, depth: usize) {
        match kind {
            _ if self.random.chance(30) => self.reference(depth),
            Type::Null => self.put("null"),
            Type::Boolean => self.put("true"),
            Type::Number => self.put("1"),
            Type::String => self.put("\"a\""),
            Type::Array(array) if depth > 0 => {
                let rest = array.rest.as_ref().or(array.first.first().and_then(Option::as_ref)).cloned();
                self.put("[");
                self.of_kind(&rest.unwrap_or(Type::Any), depth - 1);
                self.put("]");
            }
            Type::Set(set) if depth > 0 => {
                self.put("{");
                self.of_kind(set.of.as_ref().unwrap_or(&Type::Any), depth - 1);
                self.put("}");
            }
            Type::Object(_) => self.put("{\"a\": 1}"),
            Type::Union(of) => {
                if let Some(kind) = self.random.pick(of).cloned() {
                    self.of_kind(&kind, depth);
                }
            }
            _ => self.term(depth),
        }
    }
}
