//! How a daemon of Secplane is configured: a YAML file, the environment over it, and documentation that is
//! generated from the same types.

pub mod connections;
mod documentation;
mod load;
pub mod logging;

pub use documentation::markdown;
pub use load::{LoadError, MAX_FILE_BYTES, from_yaml, load, to_yaml};
