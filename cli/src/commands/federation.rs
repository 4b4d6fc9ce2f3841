//! `secctl federation`: the foreign trust domains whose bundles the CA keeps, and where it fetches them.

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use secplane_identity::{SpiffeId, TrustBundle, TrustDomain, trust_bundle::MAX_DOCUMENT_BYTES};
use secplane_proto::spire::api::{
    server::{
        bundle::v1::{
            BatchDeleteFederatedBundleRequest, BatchSetFederatedBundleRequest, ListFederatedBundlesRequest,
            batch_delete_federated_bundle_request::Mode,
        },
        trustdomain::v1::{
            BatchCreateFederationRelationshipRequest, BatchDeleteFederationRelationshipRequest,
            BatchUpdateFederationRelationshipRequest, ListFederationRelationshipsRequest,
            RefreshBundleRequest,
        },
    },
    types::{self, federation_relationship::BundleEndpointProfile},
};
use serde::Serialize;
use tonic::Code;

use crate::{
    ca_client::{CaClient, CaOptions, check_item},
    failure::{Failure, Kind},
    files,
    output::{Output, Report, facts, rows},
};

const PAGE_SIZE: i32 = 500;

/// Foreign trust domains: their bundles, and where these are fetched
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  secctl federation list")]
pub(crate) enum FederationCommand {
    /// List the foreign trust domains
    #[command(after_help = "Example:\n  secctl federation list")]
    List(CaOptions),
    /// Show one foreign trust domain
    #[command(after_help = "Example:\n  secctl federation show example.com")]
    Show(OneArgs),
    /// Say where the bundle of a foreign trust domain is fetched, or give the bundle itself, or both
    ///
    /// What is not given stays as it was. The endpoint proves itself with a certificate of the public web, or, with
    /// --endpoint-spiffe-id, with its X.509-SVID; then its first bundle has to come another way.
    #[command(after_help = "Examples:\n  secctl federation set example.com --url \
                            https://spiffe.example.com/bundle\n  secctl federation set example.com --url \
                            https://10.0.0.7:8443 --endpoint-spiffe-id spiffe://example.com/bundles --bundle \
                            example.com.json\n  secctl federation set example.com --bundle example.com.json")]
    Set(SetArgs),
    /// Fetch the bundle of a foreign trust domain now
    #[command(after_help = "Example:\n  secctl federation refresh example.com")]
    Refresh(OneArgs),
    /// Fetch the bundle of a foreign trust domain no longer, and with --bundle forget it
    #[command(after_help = "Examples:\n  secctl federation delete example.com\n  secctl federation delete \
                            example.com --bundle --entries dissociate")]
    Delete(DeleteArgs),
}

#[derive(Debug, Args)]
pub(crate) struct OneArgs {
    /// The foreign trust domain
    #[arg(value_name = "TRUST_DOMAIN")]
    foreign: TrustDomain,
    #[command(flatten)]
    ca: CaOptions,
}

#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// The foreign trust domain
    #[arg(value_name = "TRUST_DOMAIN")]
    foreign: TrustDomain,
    /// The https URL of its bundle endpoint
    #[arg(long, value_name = "URL", required_unless_present = "bundle")]
    url: Option<String>,
    /// The endpoint proves itself by the X.509-SVID of this SPIFFE ID
    #[arg(long, value_name = "ID", requires = "url")]
    endpoint_spiffe_id: Option<SpiffeId>,
    /// A file with its bundle: a SPIFFE bundle document (JSON)
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    ca: CaOptions,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The foreign trust domain
    #[arg(value_name = "TRUST_DOMAIN")]
    foreign: TrustDomain,
    /// Forget its bundle, too: nobody here trusts it any more
    #[arg(long)]
    bundle: bool,
    /// What becomes of entries that federate with it
    #[arg(long, value_name = "WHAT", default_value = "restrict", requires = "bundle")]
    entries: Entries,
    #[command(flatten)]
    ca: CaOptions,
}

/// What becomes of the entries that federate with a trust domain whose bundle is forgotten.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Entries {
    /// While there are any, the bundle stays.
    Restrict,
    /// They federate with it no longer.
    Dissociate,
    /// They are deleted.
    Delete,
}

impl FederationCommand {
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        match self {
            Self::List(options) => {
                let federated = all(&options.connect().await?).await?.into_values().collect();
                output.report(&Federation { federated })
            }
            Self::Show(args) => output.report(&one(&args.ca.connect().await?, &args.foreign).await?),
            Self::Set(args) => output.report(&set(&args).await?),
            Self::Refresh(args) => output.report(&refresh(&args).await?),
            Self::Delete(args) => output.report(&delete(&args).await?),
        }
    }
}

/// Every foreign trust domain that the CA knows: by a relationship, by a bundle, or by both.
async fn all(ca: &CaClient) -> Result<BTreeMap<String, Federated>, Failure> {
    let what = "list the foreign trust domains";
    let mut found: BTreeMap<String, Federated> = BTreeMap::new();
    let mut page_token = String::new();
    loop {
        let request =
            ListFederationRelationshipsRequest { page_size: PAGE_SIZE, page_token, output_mask: None };
        let page = ca.trust_domain().list_federation_relationships(request).await;
        let page = page.map_err(|status| Failure::from_status(what, &status))?.into_inner();
        for relationship in page.federation_relationships {
            found.entry(relationship.trust_domain.clone()).or_default().fetched(relationship);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    loop {
        let request = ListFederatedBundlesRequest { page_size: PAGE_SIZE, page_token, output_mask: None };
        let page = ca.bundles().list_federated_bundles(request).await;
        let page = page.map_err(|status| Failure::from_status(what, &status))?.into_inner();
        for bundle in page.bundles {
            found.entry(bundle.trust_domain.clone()).or_default().trusted(&bundle);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(found);
        }
    }
}

async fn one(ca: &CaClient, trust_domain: &TrustDomain) -> Result<Federated, Failure> {
    all(ca).await?.remove(trust_domain.as_str()).ok_or_else(|| {
        let what = format!("show the trust domain {trust_domain}");
        Failure::new(Kind::NotFound, what, "the CA neither has its bundle nor knows where to fetch it")
            .remedy("say so with `secctl federation set`")
    })
}

async fn set(args: &SetArgs) -> Result<Federated, Failure> {
    let ca = args.ca.connect().await?;
    let bundle = args.bundle.as_ref().map(|file| read_bundle(&args.foreign, file)).transpose()?;
    match &args.url {
        Some(url) => put_relationship(&ca, args, url, bundle).await?,
        None => {
            let request =
                BatchSetFederatedBundleRequest { bundle: bundle.into_iter().collect(), output_mask: None };
            let what = || format!("set the bundle of {}", args.foreign);
            let set = ca.bundles().batch_set_federated_bundle(request).await;
            let set = set.map_err(|status| Failure::from_status(what(), &status))?.into_inner();
            check_item(what(), set.results.first().and_then(|result| result.status.as_ref()))?;
        }
    }
    one(&ca, &args.foreign).await
}

/// Creates a relationship, or changes the one that there is.
async fn put_relationship(
    ca: &CaClient,
    args: &SetArgs,
    url: &str,
    bundle: Option<types::Bundle>,
) -> Result<(), Failure> {
    let what = || format!("say where the bundle of {} is fetched", args.foreign);
    let profile = match &args.endpoint_spiffe_id {
        Some(id) => BundleEndpointProfile::HttpsSpiffe(types::HttpsspiffeProfile {
            endpoint_spiffe_id: id.to_string(),
        }),
        None => BundleEndpointProfile::HttpsWeb(types::HttpsWebProfile {}),
    };
    let mask = types::FederationRelationshipMask {
        bundle_endpoint_url: true,
        bundle_endpoint_profile: true,
        trust_domain_bundle: bundle.is_some(),
    };
    let relationship = types::FederationRelationship {
        trust_domain: args.foreign.to_string(),
        bundle_endpoint_url: url.to_owned(),
        trust_domain_bundle: bundle,
        bundle_endpoint_profile: Some(profile),
    };
    let create = BatchCreateFederationRelationshipRequest {
        federation_relationships: vec![relationship.clone()],
        output_mask: None,
    };
    let created = ca.trust_domain().batch_create_federation_relationship(create).await;
    let created = created.map_err(|status| Failure::from_status(what(), &status))?.into_inner();
    let status = created.results.first().and_then(|result| result.status.as_ref());
    if status.is_none_or(|status| Code::from(status.code) != Code::AlreadyExists) {
        return check_item(what(), status);
    }
    let update = BatchUpdateFederationRelationshipRequest {
        federation_relationships: vec![relationship],
        input_mask: Some(mask),
        output_mask: None,
    };
    let updated = ca.trust_domain().batch_update_federation_relationship(update).await;
    let updated = updated.map_err(|status| Failure::from_status(what(), &status))?.into_inner();
    check_item(what(), updated.results.first().and_then(|result| result.status.as_ref()))
}

/// Reads a bundle document as the CA takes it.
fn read_bundle(trust_domain: &TrustDomain, file: &std::path::Path) -> Result<types::Bundle, Failure> {
    let text = files::read_text(file, MAX_DOCUMENT_BYTES)?;
    let bundle = TrustBundle::from_spiffe_json(trust_domain.clone(), &text)
        .map_err(|error| Failure::refused(format!("read the bundle `{}`", file.display()), error))?;
    let unix = |at: std::time::SystemTime| {
        let since = at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    };
    Ok(types::Bundle {
        trust_domain: trust_domain.to_string(),
        x509_authorities: bundle
            .authorities()
            .map(|root| types::X509Certificate { asn1: root.der.to_vec(), tainted: false })
            .collect(),
        jwt_authorities: bundle
            .jwt_authorities()
            .iter()
            .map(|key| types::JwtKey {
                public_key: key.public_key_info.clone(),
                key_id: key.key_id.clone(),
                expires_at: key.expires_at.map(unix).unwrap_or_default(),
                tainted: key.tainted,
            })
            .collect(),
        refresh_hint: i64::try_from(bundle.refresh_hint_seconds()).unwrap_or(i64::MAX),
        sequence_number: bundle.sequence(),
        wit_authorities: Vec::new(),
    })
}

async fn refresh(args: &OneArgs) -> Result<Federated, Failure> {
    let ca = args.ca.connect().await?;
    let request = RefreshBundleRequest { trust_domain: args.foreign.to_string() };
    let refreshed = ca.trust_domain().refresh_bundle(request).await;
    refreshed
        .map_err(|status| Failure::from_status(format!("fetch the bundle of {}", args.foreign), &status))?;
    one(&ca, &args.foreign).await
}

async fn delete(args: &DeleteArgs) -> Result<Deleted, Failure> {
    let ca = args.ca.connect().await?;
    let what = || format!("delete what is known of {}", args.foreign);
    let trust_domains = vec![args.foreign.to_string()];
    let request = BatchDeleteFederationRelationshipRequest { trust_domains: trust_domains.clone() };
    let deleted = ca.trust_domain().batch_delete_federation_relationship(request).await;
    let deleted = deleted.map_err(|status| Failure::from_status(what(), &status))?.into_inner();
    let status = deleted.results.first().and_then(|result| result.status.as_ref());
    let was_fetched = status.is_none_or(|status| Code::from(status.code) != Code::NotFound);
    // A bundle may be kept of a trust domain that is fetched from nowhere.
    if was_fetched || !args.bundle {
        check_item(what(), status)?;
    }
    if args.bundle {
        let mode = match args.entries {
            Entries::Restrict => Mode::Restrict,
            Entries::Dissociate => Mode::Dissociate,
            Entries::Delete => Mode::Delete,
        };
        let request = BatchDeleteFederatedBundleRequest { trust_domains, mode: mode.into() };
        let deleted = ca.bundles().batch_delete_federated_bundle(request).await;
        let deleted = deleted.map_err(|status| Failure::from_status(what(), &status))?.into_inner();
        check_item(what(), deleted.results.first().and_then(|result| result.status.as_ref()))?;
    }
    Ok(Deleted { trust_domain: args.foreign.clone(), relationship: was_fetched, bundle: args.bundle })
}

/// What the CA knows of a foreign trust domain.
#[derive(Debug, Default, Serialize)]
struct Federated {
    trust_domain: String,
    url: String,
    /// `https_web` or `https_spiffe`; empty when its bundle is fetched from nowhere.
    profile: &'static str,
    endpoint_spiffe_id: String,
    has_bundle: bool,
    sequence: u64,
    roots: usize,
    jwt_keys: usize,
}

impl Federated {
    fn fetched(&mut self, relationship: types::FederationRelationship) {
        self.trust_domain = relationship.trust_domain;
        self.url = relationship.bundle_endpoint_url;
        match relationship.bundle_endpoint_profile {
            Some(BundleEndpointProfile::HttpsSpiffe(profile)) => {
                self.profile = "https_spiffe";
                self.endpoint_spiffe_id = profile.endpoint_spiffe_id;
            }
            Some(BundleEndpointProfile::HttpsWeb(_)) => self.profile = "https_web",
            None => {}
        }
    }

    fn trusted(&mut self, bundle: &types::Bundle) {
        self.trust_domain.clone_from(&bundle.trust_domain);
        self.has_bundle = true;
        self.sequence = bundle.sequence_number;
        self.roots = bundle.x509_authorities.len();
        self.jwt_keys = bundle.jwt_authorities.len();
    }

    fn bundle(&self) -> String {
        match self.has_bundle {
            true => format!("{}: {} roots, {} JWT keys", self.sequence, self.roots, self.jwt_keys),
            false => "none".to_owned(),
        }
    }
}

impl Report for Federated {
    fn table(&self) -> String {
        facts([
            ("Trust domain", self.trust_domain.clone()),
            ("Fetched from", self.url.clone()),
            ("Profile", self.profile.to_owned()),
            ("Endpoint", self.endpoint_spiffe_id.clone()),
            ("Bundle", self.bundle()),
        ])
    }
}

#[derive(Debug, Serialize)]
struct Federation {
    federated: Vec<Federated>,
}

impl Report for Federation {
    fn table(&self) -> String {
        rows(
            ["TRUST DOMAIN", "FETCHED FROM", "PROFILE", "BUNDLE"],
            self.federated
                .iter()
                .map(|one| [one.trust_domain.clone(), one.url.clone(), one.profile.to_owned(), one.bundle()]),
            "no foreign trust domains",
        )
    }
}

#[derive(Debug, Serialize)]
struct Deleted {
    trust_domain: TrustDomain,
    relationship: bool,
    bundle: bool,
}

impl Report for Deleted {
    fn table(&self) -> String {
        let gone = |gone: bool| if gone { "deleted" } else { "as it was" }.to_owned();
        facts([
            ("Trust domain", self.trust_domain.to_string()),
            ("Relationship", gone(self.relationship)),
            ("Bundle", gone(self.bundle)),
        ])
    }
}
