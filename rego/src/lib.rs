//! A gate for Rego: what it passes, OPA activates. No I/O.
//!
//! | module | holds |
//! |---|---|
//! | [`gate`] | the one entrance: modules are parsed once, and checked together |
//! | [`syntax`] | the text of a module and what it says |
//! | [`check`] | OPA's compiler stages, each a file |
//! | [`types`] | the types of values |
//! | [`capabilities`] | what an OPA of a certain version can do |
//! | [`evaluate`](mod@evaluate) | decisions and `test_` rules, under limits |
//! | [`refusal`] | what is wrong, where, and what to do |
//! | `shapes` | texts that are hard to compile, with the feature `testing` |
//!
//! ```
//! use secplane_rego::Gate;
//!
//! let gate = Gate::default();
//! let module = gate.parse("a.rego", b"package a\nallow if input.x == 1\n").unwrap();
//! assert_eq!(module.package_names(), ["a"]);
//! assert!(gate.check(&[module]).is_empty());
//! ```

pub mod capabilities;
pub mod check;
mod engine;
pub mod evaluate;
pub mod gate;
pub mod refusal;
#[cfg(any(test, feature = "testing"))]
pub mod shapes;
pub mod syntax;
pub mod types;

pub use evaluate::evaluate;
pub use gate::Gate;
pub use refusal::{Code, Location, Refusal};
pub use syntax::Module;
