//! As whom the command speaks to a server, and whom it trusts: the options for it and what they lead to.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use secplane_identity::{
    IdentitySnapshot, IdentitySource, SpiffeId, TrustDomain, X509Identity,
    workload_api::{WorkloadApiOptions, follow},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    failure::{Failure, Kind},
    holder_files,
};

/// How long the Workload API may take to say who this is.
const IDENTITY_WITHIN: Duration = Duration::from_secs(5);

/// The certificate to authenticate with and the roots to trust.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Identity")]
pub(crate) struct IdentityOptions {
    /// Authenticate with the X.509-SVID in this folder (svid.pem, key.pem, bundle.pem)
    #[arg(long, value_name = "DIR", conflicts_with = "workload_api")]
    pub(crate) svid_dir: Option<PathBuf>,
    /// Authenticate with the X.509-SVID that this SPIFFE Workload API socket gives
    #[arg(long, value_name = "SOCKET")]
    pub(crate) workload_api: Option<PathBuf>,
    /// Trust the roots in this file instead of those that came with the SVID: PEM, SPIFFE JSON, or a Kubernetes
    /// ConfigMap with `bundle.spiffe` or `bundle.crt`; `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) trust_bundle: Option<PathBuf>,
    /// The trust domain of the server; needed with --trust-bundle when there is no SVID
    #[arg(long, value_name = "NAME")]
    pub(crate) trust_domain: Option<TrustDomain>,
}

/// Who the command is, and the trust domain of the server that it wants to reach.
#[derive(Debug, Clone)]
pub(crate) struct ClientIdentity {
    pub(crate) snapshot: IdentitySnapshot,
    pub(crate) trust_domain: TrustDomain,
}

impl IdentityOptions {
    /// Reads the identity; `wanted` picks among several that the Workload API gives.
    pub(crate) async fn load(&self, wanted: Option<&SpiffeId>) -> Result<ClientIdentity, Failure> {
        let mut snapshot = match (&self.svid_dir, &self.workload_api) {
            (Some(folder), _) => {
                let identity = Some(holder_files::read_svid(folder)?);
                IdentitySnapshot { identity, ..IdentitySnapshot::default() }
            }
            (None, Some(socket)) => from_workload_api(socket, wanted).await?,
            (None, None) => IdentitySnapshot::default(),
        };
        let trust_domain = self.server_trust_domain(snapshot.identity.as_ref())?;
        if let Some(path) = &self.trust_bundle {
            snapshot.bundles.insert(holder_files::read_bundle(path, &trust_domain)?);
        } else if let Some(folder) = &self.svid_dir {
            let path = folder.join(holder_files::BUNDLE);
            snapshot.bundles.insert(holder_files::read_bundle(&path, &trust_domain)?);
        }
        if snapshot.bundles.get(&trust_domain).is_none() {
            return Err(Failure::usage(
                format!("trust a server of trust domain {trust_domain}"),
                "no trust bundle is given",
            )
            .remedy("give --trust-bundle FILE, --svid-dir DIR or --workload-api SOCKET"));
        }
        Ok(ClientIdentity { snapshot, trust_domain })
    }

    fn server_trust_domain(&self, identity: Option<&X509Identity>) -> Result<TrustDomain, Failure> {
        self.trust_domain
            .clone()
            .or_else(|| identity.map(|identity| identity.id().trust_domain().clone()))
            .ok_or_else(|| {
                Failure::usage("know the server's trust domain", "neither it nor an SVID is given").remedy(
                    "give --trust-domain NAME with --trust-bundle FILE, or --svid-dir DIR, or --workload-api \
                     SOCKET",
                )
            })
    }
}

/// The identity that a Workload API gives at this moment.
pub(crate) async fn from_workload_api(
    socket: &Path,
    wanted: Option<&SpiffeId>,
) -> Result<IdentitySnapshot, Failure> {
    let shutdown = CancellationToken::new();
    let (source, follower) = follow_workload_api(socket, wanted, shutdown.clone()).await?;
    let snapshot = source.current();
    shutdown.cancel();
    // The task was cancelled on the line above; whether it ended well no longer matters.
    let _ = follower.await;
    Ok((*snapshot).clone())
}

/// The identity that a Workload API gives, as it changes, until `shutdown`.
pub(crate) async fn follow_workload_api(
    socket: &Path,
    wanted: Option<&SpiffeId>,
    shutdown: CancellationToken,
) -> Result<(IdentitySource, JoinHandle<()>), Failure> {
    let what = || format!("get an identity from the Workload API at `{}`", socket.display());
    let endpoint = endpoint(socket).map_err(|error| Failure::from_io(what(), &error))?;
    if let Some(path) = endpoint.strip_prefix("unix:")
        && let Err(error) = std::fs::metadata(path)
    {
        return Err(Failure::new(Kind::Unreachable, what(), error)
            .remedy("start the agent or CA that serves it, or give the right path"));
    }
    let options = WorkloadApiOptions { endpoint, spiffe_id: wanted.cloned(), first_within: IDENTITY_WITHIN };
    follow(options, shutdown).await.map_err(|failure| {
        Failure::new(Kind::Denied, what(), failure)
            .remedy("see `secctl entry list` for the selectors that give a process its identity")
    })
}

/// A Workload API endpoint (SPIFFE Workload Endpoint, section 4), which may be given as a plain path.
fn endpoint(socket: &Path) -> std::io::Result<String> {
    let text = socket.to_string_lossy();
    if text.starts_with("tcp:") {
        return Ok(text.into_owned());
    }
    let path = text.strip_prefix("unix:").unwrap_or(&text);
    let path = path.strip_prefix("//").unwrap_or(path);
    let path = std::path::absolute(path)?;
    match unfit_for_endpoint(&path) {
        None => Ok(format!("unix:{}", path.display())),
        Some(character) => Err(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            format!("the path of a Workload API may not hold {character:?}: it is part of a URI"),
        )),
    }
}

/// The first character of a path that would be escaped in the endpoint's URI: SPIFFE libraries connect to the escaped
/// path, and find nothing there.
pub(crate) fn unfit_for_endpoint(path: &Path) -> Option<char> {
    let fits = |c: char| c.is_ascii_graphic() && !"\"#%<>?\\^`{|}".contains(c);
    path.to_string_lossy().chars().find(|c| !fits(*c))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/run/a.sock", "unix:/run/a.sock")]
    #[case("unix:/run/a.sock", "unix:/run/a.sock")]
    #[case("unix:///run/a.sock", "unix:/run/a.sock")]
    #[case("tcp:127.0.0.1:1", "tcp:127.0.0.1:1")]
    fn reads_endpoints(#[case] given: &str, #[case] expected: &str) {
        assert_eq!(endpoint(Path::new(given)).unwrap(), expected);
    }

    #[rstest]
    #[case("/run/a b.sock", ' ')]
    #[case("/run/a%20b.sock", '%')]
    #[case("/run/a?b", '?')]
    #[case("/run/\u{e9}", '\u{e9}')]
    fn refuses_paths_that_a_uri_would_change(#[case] given: &str, #[case] unfit: char) {
        let error = endpoint(Path::new(given)).unwrap_err();
        assert!(error.to_string().contains(&format!("{unfit:?}")), "{error}");
    }

    #[tokio::test]
    async fn refuses_to_trust_nobody_in_particular() {
        let failure = IdentityOptions::default().load(None).await.unwrap_err();
        assert_eq!(failure.kind(), Kind::Usage);
        let only_domain =
            IdentityOptions { trust_domain: TrustDomain::parse("a.org").ok(), ..IdentityOptions::default() };
        assert_eq!(only_domain.load(None).await.unwrap_err().kind(), Kind::Usage);
    }

    #[tokio::test]
    async fn names_a_socket_that_is_not_there() {
        let failure = from_workload_api(Path::new("/nonexistent/agent.sock"), None).await.unwrap_err();
        assert_eq!(failure.kind(), Kind::Unreachable);
        assert!(failure.to_string().contains("/nonexistent/agent.sock"));
    }
}
