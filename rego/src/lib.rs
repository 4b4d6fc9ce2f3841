//! A gate for Rego: what it passes, OPA activates. No I/O.
//!
//! | module | holds |
//! |---|---|
//! | [`guard`] | limits on a text before any parser sees it |
//! | [`module`] | one parsed module: package, imports, rules and what they refer to |
//! | [`check`] | the checks of modules that are compiled together |
//! | [`builtins`] | the functions that OPA has |
//! | [`capabilities`] | what an OPA of a certain version can do |
//! | [`types`] | the types of values |
//! | [`evaluate`](mod@evaluate) | decisions and `test_` rules, under limits |
//! | [`refusal`] | what is wrong, where, and what to do |
//!
//! ```
//! use secplane_rego::{Module, check::check};
//!
//! let module = Module::parse("a.rego", b"package a\nallow if input.x == 1\n").unwrap();
//! assert_eq!(module.package(), ["a"]);
//! assert!(check(&[&module]).is_empty());
//! ```

pub mod builtins;
pub mod capabilities;
pub mod check;
pub mod evaluate;
pub mod guard;
mod isolate;
pub mod module;
mod read;
pub mod refusal;
pub mod types;

pub use evaluate::evaluate;
pub use module::Module;
pub use refusal::{Code, Location, Refusal};
