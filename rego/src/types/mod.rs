//! The types of Rego's values, and what OPA's compiler concludes from them.
//!
//! | module | holds |
//! |---|---|
//! | [`kind`] | what a type is, and how it is written |
//! | [`constant`] | the constants that name the properties of an object |
//! | [`algebra`] | unions, selections and whether two types have a value in common |
//!
//! A type may be unknown: the value of a variable that nothing was said about yet. That is `None`, never a variant,
//! so that nobody mistakes it for [`Type::Any`], which is known to be anything.

mod algebra;
mod constant;
mod kind;

pub use algebra::{compare, unifies};
pub use constant::Constant;
pub use kind::{Array, Dynamic, Function, Object, Set, Type, Unknown};
