//! Runs a parser of others where neither a panic nor deep recursion harms the caller.

use std::{any::Any, thread};

/// The stack for deep syntax trees. It is reserved, not used: pages are taken as they are touched.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// Runs `work` on a thread of its own with a large stack and waits for it.
///
/// # Errors
/// When it panicked, or no thread could be started: with what it said.
pub(crate) fn isolated<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, String> {
    thread::scope(|scope| {
        thread::Builder::new()
            .name("rego".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)
            .map_err(|error| format!("no thread for it: {error}"))?
            .join()
            .map_err(|panic| message(panic.as_ref()))
    })
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it panicked").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_a_panic_into_an_error() {
        assert_eq!(isolated(|| 1), Ok(1));
        assert_eq!(isolated(|| -> u8 { panic!("out of luck") }), Err("out of luck".to_owned()));
    }
}
