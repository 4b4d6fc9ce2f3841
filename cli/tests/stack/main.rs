//! `secctl dev`, and the commands against a stack that it runs.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod admin;
mod agents;
mod audit;
mod authorities;
mod bundles;
mod card_fetch;
mod card_server;
mod cards;
mod dev;
mod entries;
mod history;
mod home;
mod policy_tests;
mod rekey;
