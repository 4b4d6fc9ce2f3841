//! The validating admission webhook: the API server asks before it stores a policy, and `kubectl apply` of a bad one
//! fails with its line.
//!
//! It runs the same checks as the compiler, against what stands now, and changes nothing. It is never the only check:
//! what passes here is checked again when it arrives by the watch, and what arrives without having been asked about
//! (`failurePolicy: Ignore`, a restored backup, two changes at once) as well.
//!
//! | module | holds |
//! |---|---|
//! | `review` | from a question to an answer |
//! | `server` | HTTP |
//! | `trust` | the `caBundle` by which the API server knows this service |

mod review;
mod server;
mod trust;

pub(crate) use server::router;
pub(crate) use trust::Trust;
