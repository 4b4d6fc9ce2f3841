//! `secctl policy`: checking and trying AuthorizationPolicy manifests before anybody depends on them.

mod eval;
mod service_options;
mod test;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use bundle_service::{
    compile::{Archive, Policies, Settings, compile},
    policy_tests::{ChildTester, TestLimits},
    refusal::{Refusal, Severity},
    source::{Change, Manifests, directory},
    tiers::{Selection, Workload},
};
use clap::{Args, Subcommand};
use secplane_identity::{SpiffeId, TrustDomain};
use secplane_rego::{Gate, capabilities::OpaVersion};
use serde::Serialize;

use self::service_options::Service;
pub(crate) use self::service_options::ServiceOptions;
use crate::{
    failure::{Failure, Kind},
    output::{Output, Report, note, visible},
};

/// Policies: check manifests, try decisions
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  secctl policy check policies")]
pub(crate) enum PolicyCommand {
    /// Check every manifest below a folder; exit status 7 when one is refused
    ///
    /// Names each refusal with its resource, file, line and reason. What passes here, the bundle service publishes.
    #[command(
        after_help = "Examples:\n  secctl policy check policies\n  secctl policy check policies --config \
                            /etc/secplane/bundle-service.yaml\n  secctl --output json policy check policies"
    )]
    Check(CheckArgs),
    /// Run the tests of policies; exit status 7 when one fails
    ///
    /// Those that travel in resources, as modules whose paths end in `_test.rego`: the bundle service runs them too, and
    /// publishes nothing that fails them. And those in files named so, each against the bundle of the identity that
    /// its first line names: `# identity: spiffe://…`. They run in a process of their own, with limits.
    #[command(
        after_help = "Examples:\n  secctl policy test policies\n  secctl --output json policy test policies \
                            --uncovered"
    )]
    Test(test::TestArgs),
    /// Decide one request, with the bundle of an identity or with one that was pulled
    #[command(after_help = "Examples:\n  secctl policy eval --policies policies --spiffe-id \
                            spiffe://example.org/ns/travel/sa/booking --decision inbound/request --input \
                            policies/agent-to-agent/inputs/planner-calls-booking.json\n  secctl policy eval \
                            --bundle web.tar.gz --decision outbound/request --input - --fail")]
    Eval(eval::EvalArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The folder, read with everything below it
    #[arg(value_name = "DIR", default_value = "./policies")]
    policies: PathBuf,
    #[command(flatten)]
    service: ServiceOptions,
    /// The trust domain of the identities that the policies are for; that of --config or example.org otherwise
    #[arg(long, value_name = "NAME")]
    trust_domain: Option<TrustDomain>,
    /// The oldest OPA among the sidecars, `opa_version` of the bundle service: 1.18 to 1.22; that of --config or 1.18
    /// otherwise
    #[arg(long, value_name = "VERSION")]
    opa_version: Option<OpaVersion>,
}

impl PolicyCommand {
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        // Parsing, compiling and evaluating take their time: none of it belongs on the async runtime.
        tokio::task::spawn_blocking(move || match self {
            Self::Check(args) => check(output, &args),
            Self::Test(args) => test::test(output, &args),
            Self::Eval(args) => eval::eval(output, &args),
        })
        .await
        .map_err(|error| Failure::new(Kind::Other, "check the policies", error))?
    }
}

fn check(output: Output, args: &CheckArgs) -> Result<(), Failure> {
    let service = args.service.load()?;
    let manifests = read_manifests(&args.policies, &service)?;
    let mut settings = service.settings_in(args.trust_domain.as_ref())?;
    if let Some(version) = args.opa_version {
        settings.gate = Gate::new(version);
    }
    let selection = settings.selection.clone();
    let mut policies = Policies::new(settings).with_tester(Arc::new(tester()?)).for_one_alone();
    policies.apply(&changes(&manifests));
    let mut refusals: BTreeSet<Refusal> = manifests.refusals.iter().cloned().collect();
    refusals.extend(policies.refusals());
    // Tiers that are right by themselves may still not stand together.
    for id in identities(&manifests, &selection) {
        if let Err(refused) = policies.bundle(&id) {
            refusals.extend(refused);
        }
    }
    let refused = refusals.iter().filter(|refusal| refusal.severity == Severity::Error).count();
    let resources = manifests.objects.len();
    output.report(&CheckedPolicies { resources, refused, refusals: refusals.into_iter().collect() })?;
    if refused == 0 {
        return Ok(());
    }
    let what = format!("pass the policies in `{}`", args.policies.display());
    Err(Failure::new(Kind::CheckFailed, what, format_args!("refused: {refused}"))
        .remedy("correct what is named above; until then the service keeps the last good version, or denies"))
}

/// What runs the tests that travel with policies.
fn tester() -> Result<ChildTester, Failure> {
    ChildTester::this_program(TestLimits::default())
        .map_err(|error| Failure::from_io("find out which program this is", &error))
}

/// What was read, as if it were new.
fn changes(manifests: &Manifests) -> Vec<Change> {
    manifests.objects.iter().cloned().map(Arc::new).map(Change::Set).collect()
}

/// Every identity that a client policy names, and one of each namespace that none names.
fn identities(manifests: &Manifests, selection: &Selection) -> Vec<SpiffeId> {
    const NOBODY: &str = "named-by-no-policy";
    let pairs: BTreeSet<(&str, &str)> = manifests
        .objects
        .iter()
        .flat_map(|object| {
            // Whichever of the two names the client.
            let names = [Some(NOBODY), Some(object.key.name.as_str()), object.client_id.as_deref()];
            names.into_iter().flatten().map(move |name| (object.key.namespace.as_str(), name))
        })
        .collect();
    let id = |(namespace, name): (&str, &str)| {
        let workload = Workload { namespace: namespace.to_owned(), service_account: name.to_owned() };
        // A name that no SPIFFE ID can hold is refused elsewhere.
        SpiffeId::from_parts(&selection.trust_domain, &selection.path_template.path(&workload)).ok()
    };
    pairs.into_iter().filter_map(id).collect()
}

fn read_manifests(folder: &Path, service: &Service) -> Result<Manifests, Failure> {
    let what = || format!("read the policies in `{}`", folder.display());
    // Otherwise a typing error would pass as a folder without faults.
    std::fs::metadata(folder).map_err(|error| Failure::from_io(what(), &error))?;
    directory::read(folder, &service.source_options()).map_err(|error| Failure::refused(what(), error))
}

/// The bytes of the bundle that the service would serve to an identity.
pub(crate) fn built(folder: &Path, id: &SpiffeId, options: &ServiceOptions) -> Result<Vec<u8>, Failure> {
    let service = options.load()?;
    let manifests = read_manifests(folder, &service)?;
    let compiled = compile(&manifests.objects, id, &service.settings_for(id), Some(Arc::new(tester()?)));
    let refused = manifests.refusals.iter().chain(&compiled.refusals);
    if refused.filter(|refusal| refusal.severity == Severity::Error).count() > 0 {
        let check = options.check_command(&folder.display().to_string());
        note(format_args!("note: some policies are refused; `{check}` says which"));
    }
    Ok(compiled.bundle.bytes().to_vec())
}

/// The bundle of an identity with all that may be in one, for tests.
fn compiled(manifests: &Manifests, id: &SpiffeId, service: &Service) -> Result<Archive, Failure> {
    let settings = Settings { envoy_adapter: true, ..service.settings_for(id) };
    // What travels with the policies is a suite of its own, which tells more than that it is refused.
    let compiled = compile(&manifests.objects, id, &settings, None);
    Archive::read(&compiled.bundle.bytes())
        .map_err(|error| Failure::new(Kind::Other, format!("read the bundle of {id}"), error))
}

#[derive(Serialize)]
struct CheckedPolicies {
    resources: usize,
    refused: usize,
    refusals: Vec<Refusal>,
}

impl Report for CheckedPolicies {
    fn table(&self) -> String {
        let shown = self.refusals.iter().map(|refusal| {
            let severity = match refusal.severity {
                Severity::Error => "refused",
                Severity::Warning => "warning",
            };
            let mut text = format!("{severity}: {}", visible(&refusal.to_string()));
            if !refusal.source_line.is_empty() {
                text.push_str("\n    | ");
                text.push_str(&visible(&refusal.source_line));
            }
            text
        });
        let end = match self.refused {
            0 => format!("{} policies, none refused", self.resources),
            refused => format!("{} policies, refused: {refused}", self.resources),
        };
        shown.chain([end]).collect::<Vec<_>>().join("\n")
    }
}
