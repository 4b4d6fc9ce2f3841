//! What stands between the gate and the engine of evaluation.
//!
//! The engine's parser takes time exponential in nested brackets, and it takes some negations for true that OPA leaves
//! undefined. So a text is measured before the engine reads it, read where a panic harms nobody, and looked through for
//! such negations. None of this decides what a sidecar gets: that is the gate's.

mod builtins;
pub(crate) mod guard;
pub(crate) mod isolate;
pub(crate) mod module;
mod negation;
mod objects;
pub(crate) mod read;
mod together;

pub(crate) use negation::check as negations;
pub(crate) use together::Together;
