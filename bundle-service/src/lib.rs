//! AuthorizationPolicy resources in, one OPA bundle per SPIFFE ID out.
//!
//! | module | holds |
//! |---|---|
//! | [`source`] | where the resources come from; emits whole-object changes |
//! | [`kubernetes`] | an API server as a source, and what is told to authors there |
//! | [`policy`] | the resource |
//! | [`tiers`] | which policies apply to which SPIFFE ID |
//! | [`compile`] | confine and check the tiers, and make the archive |
//! | [`policy_tests`] | the tests that travel with policies |
//! | [`catalog`] | the current bundle of each identity, and who waits for the next one |
//! | [`history`] | what was in force, when and why, on disk |
//! | [`admin`] | looking and going back, on a Unix socket |
//! | `api` | HTTP over mutual TLS: the certificate decides whose bundle it is |
//! | [`config`], [`service`] | starting and running all of it |
//!
//! As a service: [`Config`], [`BundleService::start`], [`BundleService::run`]. As a library without one:
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::path::Path;
//!
//! use bundle_service::{compile, source};
//! use secplane_identity::{SpiffeId, TrustDomain};
//!
//! let manifests = source::directory::read(Path::new("policies"), &source::SourceOptions::default())?;
//! let id = SpiffeId::parse("spiffe://example.org/ns/travel/sa/booking")?;
//! let settings = compile::Settings::new(id.trust_domain().clone());
//! // Without a tester the tests that travel with policies are not run.
//! let compiled = compile::compile(&manifests.objects, &id, &settings, None);
//! for refusal in manifests.refusals.iter().chain(&compiled.refusals) {
//!     eprintln!("{refusal}");
//! }
//! let archive = compile::Archive::read(&compiled.bundle.bytes())?;
//! println!("{}: {} modules", archive.manifest.revision, archive.modules.len());
//! # Ok(())
//! # }
//! ```

pub mod admin;
mod api;
pub mod catalog;
pub mod compile;
pub mod config;
pub mod digest;
pub mod history;
mod host;
pub mod kubernetes;
mod metrics;
pub mod policy;
pub mod policy_tests;
pub mod refusal;
pub mod service;
mod shorten;
pub mod source;
mod sources;
pub mod tiers;

pub use config::Config;
pub use refusal::Refusal;
pub use service::{BundleService, RunError, StartError};
pub use sources::OpenError;
