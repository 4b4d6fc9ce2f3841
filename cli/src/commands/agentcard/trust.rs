//! Whom to believe when a card is verified: the Workload API, files, or the CA.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use clap::Args;
use secplane_agent_card::KnownRevocations;
use secplane_identity::{
    Revocations, TrustBundleSet, TrustDomain,
    revocation::{MAX_LIST_BYTES, RevocationList},
};

use crate::{
    ca_client::{CaClient, CaOptions},
    failure::Failure,
    files,
};

/// Where trust is taken from.
#[derive(Debug, Clone, Args)]
pub(super) struct TrustArgs {
    /// Refuse certificates on this revocation list (PEM or DER); may be given again
    #[arg(long, value_name = "FILE")]
    crl: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) ca: CaOptions,
}

/// Whom to believe, and whom no longer.
#[derive(Debug)]
pub(super) struct Trust {
    pub(super) bundles: TrustBundleSet,
    pub(super) revocations: Known,
}

/// What is known of revocations.
#[derive(Debug)]
pub(super) enum Known {
    Nothing(&'static str),
    Lists(Arc<Revocations>),
}

impl TrustArgs {
    pub(super) fn trust_domain(&self) -> Option<&TrustDomain> {
        self.ca.identity.trust_domain.as_ref()
    }

    /// The CA is asked when it is named, and when nothing else is.
    pub(super) async fn load(&self) -> Result<Trust, Failure> {
        let identity = &self.ca.identity;
        let has_other =
            identity.svid_dir.is_some() || identity.workload_api.is_some() || identity.trust_bundle.is_some();
        let asks_ca = self.ca.server.is_some() || self.ca.admin_socket.is_some() || !has_other;
        let trust =
            if asks_ca { from_ca(&self.ca.connect().await?).await? } else { self.load_here().await? };
        self.with_lists(trust)
    }

    async fn load_here(&self) -> Result<Trust, Failure> {
        let identity = &self.ca.identity;
        let snapshot = identity.load(None).await?.snapshot;
        let revocations = if snapshot.revocations.lists().next().is_some() {
            Known::Lists(snapshot.revocations)
        } else if identity.workload_api.is_some() {
            Known::Nothing("the Workload API gave no revocation list")
        } else {
            Known::Nothing("no revocation list was given (--crl), and no CA asked (--server, --admin-socket)")
        };
        Ok(Trust { bundles: snapshot.bundles, revocations })
    }

    /// Adds the lists of files to what is known.
    fn with_lists(&self, trust: Trust) -> Result<Trust, Failure> {
        if self.crl.is_empty() {
            return Ok(trust);
        }
        let mut lists = Vec::new();
        for path in &self.crl {
            lists.extend(read_lists(path)?);
        }
        let mut revocations = match trust.revocations {
            Known::Lists(known) => Revocations::clone(&known),
            Known::Nothing(_) => Revocations::default(),
        };
        let known: Vec<_> = revocations.lists().cloned().collect();
        revocations.take_lists(known.into_iter().chain(lists), SystemTime::now());
        Ok(Trust { revocations: Known::Lists(Arc::new(revocations)), ..trust })
    }
}

impl Known {
    pub(super) fn for_verification(&self) -> KnownRevocations<'_> {
        match self {
            Self::Nothing(why) => KnownRevocations::Nothing(why),
            Self::Lists(revocations) => KnownRevocations::Lists(revocations),
        }
    }
}

async fn from_ca(ca: &CaClient) -> Result<Trust, Failure> {
    let bundle = ca.trust_bundle().await?;
    let lists = ca.revocation_lists().await;
    let lists = lists.map_err(|status| Failure::from_status("get the revocation lists", &status))?;
    let lists = lists
        .iter()
        .map(|list| RevocationList::parse_own(&list.crl).map(Arc::new))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Failure::refused("read a revocation list that the CA sent", error))?;
    let mut revocations = Revocations::default();
    revocations.take_lists(lists, SystemTime::now());
    Ok(Trust { bundles: bundle.into(), revocations: Known::Lists(Arc::new(revocations)) })
}

/// One list in DER, or any number in PEM.
fn read_lists(path: &Path) -> Result<Vec<Arc<RevocationList>>, Failure> {
    let what = || format!("use the revocation list `{}`", path.display());
    // PEM is a third longer than DER.
    let bytes = files::read_bytes(path, 2 * MAX_LIST_BYTES)?;
    let ders = if bytes.trim_ascii_start().starts_with(b"-----") {
        let blocks = pem::parse_many(&bytes).map_err(|error| Failure::refused(what(), error))?;
        if let Some(other) = blocks.iter().find(|block| block.tag() != "X509 CRL") {
            let why = format!("it holds a `{}`, not an `X509 CRL`", other.tag());
            return Err(Failure::refused(what(), why));
        }
        blocks.into_iter().map(pem::Pem::into_contents).collect()
    } else {
        vec![bytes]
    };
    let read = |der: Vec<u8>| RevocationList::parse(&der).map(Arc::new);
    ders.into_iter().map(read).collect::<Result<_, _>>().map_err(|error| Failure::refused(what(), error))
}
