//! The types of Rego's values, and the mistakes that OPA's compiler finds by them.
//!
//! | module | holds |
//! |---|---|
//! | [`kind`] | what a type is, and how it is written |
//! | [`constant`] | the constants that name the properties of an object |
//! | [`algebra`] | unions, selections and whether two types have a value in common |
//! | [`checker`] | rules and bodies, in the order of their dependencies |
//! | [`calls`] | calls, equations, membership and `with` |
//! | [`references`] | whether paths lead anywhere |
//! | [`terms`] | the types of terms, and what follows for their variables |
//! | [`documents`] | what is known of the documents that rules define |
//! | [`merge`] | what the rules of one name define together |
//! | [`scope`] | what is known at a place |
//!
//! A type may be unknown: the value of a variable that nothing was said about yet. That is `None`, never a variant,
//! so that nobody mistakes it for [`Type::Any`], which is known to be anything.
//!
//! Types of a few statements can be as large as an exponential of them, so the checker counts what it looks at and
//! refuses what takes more than a multiple of the program's size. Policies do not come near that.

mod algebra;
mod calls;
mod checker;
mod constant;
mod documents;
mod kind;
mod merge;
mod mistake;
mod references;
mod scope;
mod terms;

pub use algebra::{compare, unifies};
pub use checker::{Program, TypedRule, check};
pub use constant::Constant;
pub use kind::{Array, Dynamic, Function, Object, Set, Type, Unknown};
pub use mistake::Mistake;
