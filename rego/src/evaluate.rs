//! x
/// x
pub fn evaluate() {}
