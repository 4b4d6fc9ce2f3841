//! The text of a module and what it says: words, positions, the abstract syntax, and the parser that makes it.

mod alike;
pub mod annotations;
pub mod ast;
mod lexer;
pub mod module;
pub mod names;
mod parse;
pub mod position;
mod token;
pub mod visit;

pub use module::{Module, Package, RuleKind};
pub use names::{Name, Names};
pub use parse::{Language, MAX_DEPTH};
pub use position::{Lines, Offset, Position};
