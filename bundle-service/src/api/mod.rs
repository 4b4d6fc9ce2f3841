//! HTTP: bundles over mutual TLS, health and metrics on a listener of their own.

mod bundles;
mod conditional;
mod failure;
mod health;
mod limits;

pub(crate) use bundles::{Bundles, router};
pub(crate) use health::{Health, router as health_router};

#[cfg(test)]
mod tests;
