//! AuthorizationPolicy resources in, one OPA bundle per SPIFFE ID out.
//!
//! As a service: [`Config`], [`BundleService::start`], [`BundleService::run`].
//!
//! As a library without a service (what `secctl policy check` and `secctl policy eval` use):
//!
//! ```ignore
//! // Reads every *.yaml and *.yml below a folder once. Refusals name the file and the line.
//! let manifests: source::Manifests = source::directory::read(Path::new("policies"), &source::SourceOptions::default())?;
//! // manifests.objects: Vec<Object>, manifests.refusals: Vec<Refusal>
//!
//! // What the service would serve to that identity, with all that is refused on the way.
//! let compiled: compile::Compiled = compile::compile(&manifests.objects, &spiffe_id, &compile::Settings::new(trust_domain));
//! // compiled.bundle: Arc<Bundle> { bytes(), revision(), etag() }, compiled.refusals: Vec<Refusal>
//!
//! // Looks into an archive that came from anywhere, under limits.
//! let archive: compile::Archive = compile::Archive::read(&bytes)?;
//! // archive.manifest { revision, roots, rego_version }, archive.entries: Vec<Entry { name, size }>,
//! // archive.modules: Vec<ArchivedModule { name, text }>, archive.data: serde_json::Value
//!
//! // Refusal { resource: Option<ResourceKey>, file: Option<PathBuf>, path: Option<String>, line, column,
//! //           code: String, message, source_line, suggestion: Option<String> }; Display is one line.
//!
//! // Evaluation: secplane_rego::evaluate::{Evaluator, TestOutcome}
//! let mut evaluator = secplane_rego::evaluate::Evaluator::new(&modules, archive.data, Limits::default())?;
//! let allow: Option<serde_json::Value> = evaluator.decide("data.authbridge.inbound.request.allow", input)?;
//! let outcomes: Vec<TestOutcome> = evaluator.run_tests();
//! ```
