//! `secctl bundle`: policy bundles as workloads get them, and what was in force before.

mod difference;
mod history;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bundle_service::{compile::Archive, policy::ResourceKey};
use clap::{Args, Subcommand};
use secplane_identity::{SpiffeId, TrustDomain, tls::ExpectedServer};
use serde::Serialize;

use super::policy::{ServiceOptions, built};
use crate::{
    bundle_client::{BundleAnswer, BundleRequest, MAX_ARCHIVE_BYTES, pull},
    client_identity::IdentityOptions,
    failure::{Failure, Kind},
    files::{self, PUBLIC},
    output::{Output, Report, facts, rows},
};

/// Policy bundles as workloads get them
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  secctl bundle inspect web.tar.gz")]
pub(crate) enum BundleCommand {
    /// Pull the bundle of the identity in the client's certificate
    ///
    /// The certificate decides whose bundle it is. --identity only says who you mean to be: the service refuses
    /// any other than the certificate's.
    #[command(
        after_help = "Examples:\n  secctl bundle pull --bundle-service localhost:8443 --svid-dir ./web \
                            --out web.tar.gz\n  secctl bundle pull --bundle-service localhost:8443 \
                            --workload-api ./secplane-dev/workload.sock --identity \
                            spiffe://example.org/ns/demo/sa/web --out web.tar.gz"
    )]
    Pull(Box<PullArgs>),
    /// Build the bundle of an identity from a folder of manifests, as the service would serve it
    ///
    /// But for the end that `bundle_lifetime` gives to bundles: what is built has none.
    #[command(after_help = "Example:\n  secctl bundle build --policies policies --spiffe-id \
                            spiffe://example.org/ns/travel/sa/booking --out booking.tar.gz")]
    Build(BuildArgs),
    /// Show what a bundle's archive holds: manifest, tiers and modules
    #[command(after_help = "Examples:\n  secctl bundle inspect web.tar.gz\n  secctl --output yaml bundle \
                            inspect web.tar.gz --source")]
    Inspect(InspectArgs),
    /// What came into force when and why: of an identity, a tier or a resource
    #[command(
        after_help = "Examples:\n  secctl bundle history --tier namespace/travel\n  secctl bundle history \
                            --identity spiffe://example.org/ns/travel/sa/booking\n  secctl bundle history \
                            --resource travel/booking --bundle-admin-socket /run/secplane/bundle.sock"
    )]
    History(history::HistoryArgs),
    /// What differs between two points of a history
    #[command(
        after_help = "Examples:\n  secctl bundle diff --tier namespace/travel --from 1\n  secctl bundle diff \
                            --resource travel/booking --from 0a1b2c3d4e5f --to 6a7b8c9d0e1f"
    )]
    Diff(history::DiffArgs),
    /// Bring back what was in force, until it is released or the resource changes
    ///
    /// Of an identity its client tier goes back, which nobody else has: the policies of all others stay as they are.
    /// One without a client tier is refused, and the tiers that it shares with others are named.
    ///
    /// Other replicas of the service do not follow: each is told by itself.
    #[command(after_help = "Examples:\n  secctl bundle rollback --tier namespace/travel --to 3 --reason \
                            incident-17\n  secctl bundle rollback --resource travel/booking --to 0a1b2c3d4e5f \
                            --reason incident-17\n  secctl bundle rollback --identity \
                            spiffe://example.org/ns/travel/sa/booking --to 2 --reason incident-17")]
    Rollback(history::RollbackArgs),
    /// Let the newest versions count again
    #[command(after_help = "Example:\n  secctl bundle release --resource travel/booking --reason fixed")]
    Release(history::ReleaseArgs),
}

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// Where the bundle service listens
    #[arg(long, value_name = "HOST:PORT", env = "SECCTL_BUNDLE_SERVICE")]
    bundle_service: String,
    /// The SPIFFE ID that the service must have; any of the trust domain otherwise
    #[arg(long, value_name = "ID")]
    service_id: Option<SpiffeId>,
    /// Who you mean to be; with --workload-api, which of the identities that it gives to use
    #[arg(long, value_name = "ID")]
    identity: Option<SpiffeId>,
    /// The entity tag of the bundle that you have: the answer is "unchanged" while it is current
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
    /// With --etag, let the service hold the request this long until there is another bundle
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, requires = "etag")]
    wait: Option<Duration>,
    /// The file for the archive; `-` for standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    credentials: IdentityOptions,
}

#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// The folder, read with everything below it
    #[arg(long, value_name = "DIR")]
    policies: PathBuf,
    /// The identity whose bundle it is
    #[arg(long, value_name = "ID")]
    spiffe_id: SpiffeId,
    #[command(flatten)]
    service: ServiceOptions,
    /// The file for the archive; `-` for standard output
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The archive; `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Show the text of the modules too
    #[arg(long)]
    source: bool,
}

impl BundleCommand {
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        match self {
            Self::Pull(args) => pull_bundle(output, &args).await,
            Self::Build(args) => build(output, args).await,
            Self::Inspect(args) => {
                let archive = read_archive(&args.file)?;
                output.report(&InspectedBundle::new(archive, args.source))
            }
            Self::History(args) => history::history(output, &args).await,
            Self::Diff(args) => history::diff(output, &args).await,
            Self::Rollback(args) => history::roll_back(output, &args).await,
            Self::Release(args) => history::release(output, &args).await,
        }
    }
}

async fn build(output: Output, args: BuildArgs) -> Result<(), Failure> {
    let BuildArgs { policies, spiffe_id, service, out } = args;
    let id = spiffe_id.clone();
    // Compiling takes its time: it does not belong on the async runtime.
    let archive = tokio::task::spawn_blocking(move || built(&policies, &id, &service))
        .await
        .map_err(|error| Failure::new(Kind::Other, "build the bundle", error))??;
    if out == Path::new("-") {
        return output.bytes(&archive);
    }
    files::write(&out, &archive, PUBLIC)?;
    let read =
        Archive::read(&archive).map_err(|error| Failure::new(Kind::Other, "read what was built", error))?;
    output.report(&PulledBundle {
        identity: spiffe_id,
        changed: true,
        etag: Some(format!("\"{}\"", read.manifest.revision)),
        revision: Some(read.manifest.revision),
        bytes: archive.len(),
        file: Some(out),
    })
}

async fn pull_bundle(output: Output, args: &PullArgs) -> Result<(), Failure> {
    let identity = args.credentials.load(args.identity.as_ref()).await?;
    let own = identity.snapshot.identity.as_ref().map(|own| own.id().clone()).ok_or_else(|| {
        Failure::usage("pull a bundle", "no certificate is given that would say whose")
            .remedy("give --svid-dir DIR or --workload-api SOCKET")
    })?;
    let service = expected_service(args.service_id.as_ref(), &identity.trust_domain);
    let request = BundleRequest { identity: args.identity.clone(), etag: args.etag.clone(), wait: args.wait };
    match pull(&args.bundle_service, &identity, service, &request).await? {
        BundleAnswer::Unchanged { etag } => output.report(&PulledBundle {
            identity: own,
            changed: false,
            revision: None,
            etag,
            bytes: 0,
            file: None,
        }),
        BundleAnswer::Bundle { archive, .. } if args.out.as_deref() == Some(Path::new("-")) => {
            output.bytes(&archive)
        }
        BundleAnswer::Bundle { archive, etag } => {
            let read = Archive::read(&archive)
                .map_err(|error| Failure::refused("use the bundle that the service sent", error))?;
            if let Some(path) = &args.out {
                files::write(path, &archive, PUBLIC)?;
            }
            output.report(&PulledBundle {
                identity: own,
                changed: true,
                revision: Some(read.manifest.revision),
                etag,
                bytes: archive.len(),
                file: args.out.clone(),
            })
        }
    }
}

fn expected_service(given: Option<&SpiffeId>, trust_domain: &TrustDomain) -> ExpectedServer {
    match given {
        Some(id) => ExpectedServer::Id(id.clone()),
        None => ExpectedServer::MemberOf(trust_domain.clone()),
    }
}

/// Reads a bundle's archive from a file.
pub(crate) fn read_archive(path: &Path) -> Result<Archive, Failure> {
    let bytes = files::read_bytes(path, MAX_ARCHIVE_BYTES)?;
    Archive::read(&bytes)
        .map_err(|error| Failure::new(Kind::Refused, format!("read the bundle `{}`", path.display()), error))
}

#[derive(Serialize)]
struct PulledBundle {
    identity: SpiffeId,
    changed: bool,
    revision: Option<String>,
    etag: Option<String>,
    bytes: usize,
    file: Option<PathBuf>,
}

impl Report for PulledBundle {
    fn table(&self) -> String {
        let file = match &self.file {
            Some(path) => path.display().to_string(),
            None if self.changed => "not kept: give --out FILE".to_owned(),
            None => String::new(),
        };
        facts([
            ("Identity", self.identity.to_string()),
            ("Bundle", if self.changed { format!("{} bytes", self.bytes) } else { "unchanged".into() }),
            ("Revision", self.revision.clone().unwrap_or_default()),
            ("ETag", self.etag.clone().unwrap_or_default()),
            ("File", file),
        ])
    }
}

#[derive(Serialize)]
struct InspectedBundle {
    revision: String,
    roots: Vec<String>,
    rego_version: Option<u8>,
    modules: Vec<InspectedModule>,
    other: Vec<String>,
}

#[derive(Serialize)]
struct InspectedModule {
    path: String,
    tier: &'static str,
    package: String,
    /// The resource that it comes from; none for a module that the service made.
    resource: Option<ResourceKey>,
    /// Its path in the resource.
    origin: Option<String>,
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
}

impl InspectedBundle {
    fn new(archive: Archive, with_source: bool) -> Self {
        let is_shown_elsewhere = |name: &str| name.ends_with(".rego") || name.ends_with(".manifest");
        let other = archive.entries.into_iter().map(|entry| entry.name);
        let mut origins = archive.origins;
        let modules = archive.modules.into_iter().map(|module| InspectedModule {
            resource: origins.get(&module.name).and_then(|origin| origin.resource.clone()),
            origin: origins.remove(&module.name).map(|origin| origin.path),
            tier: tier(&module.name),
            package: declared_package(&module.text).to_owned(),
            bytes: module.text.len(),
            path: module.name,
            source: with_source.then_some(module.text),
        });
        Self {
            modules: modules.collect(),
            revision: archive.manifest.revision,
            roots: archive.manifest.roots,
            rego_version: archive.manifest.rego_version,
            other: other.filter(|name| !is_shown_elsewhere(name)).collect(),
        }
    }
}

/// Where a module comes from, in words.
fn from(module: &InspectedModule) -> String {
    match (&module.resource, &module.origin) {
        (Some(resource), Some(path)) => format!("{resource}: {path}"),
        (None, Some(_)) => "the bundle service".to_owned(),
        _ => String::new(),
    }
}

/// Which tier a module's place in the archive says it is of.
fn tier(name: &str) -> &'static str {
    match name.trim_start_matches('/').split('/').collect::<Vec<_>>().as_slice() {
        ["authbridge", "global", ..] => "global",
        ["authbridge", "ns", ..] => "namespace",
        ["authbridge", "client", ..] => "client",
        _ => "-",
    }
}

/// The package as its line has it: enough to show; who decides by it parses.
fn declared_package(text: &str) -> &str {
    text.lines().find_map(|line| line.trim().strip_prefix("package ")).unwrap_or_default().trim()
}

impl Report for InspectedBundle {
    fn table(&self) -> String {
        let head = facts([
            ("Revision", self.revision.clone()),
            ("Roots", self.roots.join("\n")),
            ("Rego version", self.rego_version.map(|version| version.to_string()).unwrap_or_default()),
            ("Other entries", self.other.join("\n")),
        ]);
        let modules = rows(
            ["TIER", "PACKAGE", "FROM", "MODULE", "BYTES"],
            self.modules.iter().map(|module| {
                [
                    module.tier.to_owned(),
                    module.package.clone(),
                    from(module),
                    module.path.clone(),
                    module.bytes.to_string(),
                ]
            }),
            "no modules",
        );
        let sources = self.modules.iter().filter_map(|module| {
            let source = module.source.as_ref()?;
            Some(format!("\n\n# {}\n{}", module.path, crate::output::visible(source)))
        });
        format!("{head}\n\n{modules}{}", sources.collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/authbridge/global/inbound/request.rego", "global")]
    #[case("authbridge/ns/team-a/x.rego", "namespace")]
    #[case("/authbridge/client/x.rego", "client")]
    #[case("/authbridge/other/x.rego", "-")]
    #[case("/x.rego", "-")]
    fn tells_tiers_by_their_folders(#[case] name: &str, #[case] expected: &str) {
        assert_eq!(tier(name), expected);
    }

    #[test]
    fn finds_the_package() {
        assert_eq!(declared_package("# about\npackage a.b\n\nallow := true\n"), "a.b");
        assert_eq!(declared_package("allow := true"), "");
    }
}
