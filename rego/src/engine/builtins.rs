//! The functions of the newest OPA, as the engine's reading asks for them.

use crate::capabilities::{Builtin, Capabilities, OpaVersion};

/// The built-in function of that dotted name.
pub(super) fn lookup(name: &str) -> Option<&'static Builtin> {
    Capabilities::for_version(OpaVersion::V1_22).builtin(name).filter(|builtin| !builtin.is_deprecated)
}

/// The longest prefix of a dotted path that names a built-in function.
pub(super) fn longest_prefix<'a>(path: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut name = String::new();
    let mut found = None;
    for segment in path.into_iter().take(6) {
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(segment);
        if lookup(&name).is_some() {
            found = Some(name.clone());
        }
    }
    found
}
