//! The bundle service that policies are for: its own configuration, as far as it decides what becomes of them.

use std::{fs, path::PathBuf};

use bundle_service::{Config, compile::Settings, service, source::SourceOptions};
use clap::Args;
use secplane_identity::{SpiffeId, TrustDomain};

use crate::failure::Failure;

/// The trust domain of the examples, for whoever names none.
const EXAMPLE: &str = "example.org";

/// How the bundle service is configured.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServiceOptions {
    /// The configuration of the bundle service: its trust domain, system_namespace, path_template, client_selector,
    /// require_client_policy, envoy_adapter, opa_version and source.api_groups count here, and its environment
    /// variables; its policies are not read. Defaults otherwise
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The bundle service that policies are for.
#[derive(Debug)]
pub(super) struct Service {
    config: Option<Config>,
}

impl ServiceOptions {
    pub(super) fn load(&self) -> Result<Service, Failure> {
        let Some(path) = &self.config else { return Ok(Service { config: None }) };
        let what = || format!("use the bundle service's configuration `{}`", path.display());
        fs::metadata(path).map_err(|error| Failure::from_io(what(), &error))?;
        let config = Config::load(path).map_err(|error| Failure::refused(what(), error))?;
        Ok(Service { config: Some(config) })
    }

    /// The command that says what is refused of the policies in a folder.
    pub(super) fn check_command(&self, folder: &str) -> String {
        match &self.config {
            Some(path) => format!("secctl policy check {folder} --config {}", path.display()),
            None => format!("secctl policy check {folder}"),
        }
    }
}

impl Service {
    /// What compiling depends on. Bundles get no end, so that the same policies make the same bundle tomorrow.
    pub(super) fn settings(&self, trust_domain: TrustDomain) -> Settings {
        match &self.config {
            Some(config) => Settings { bundle_lifetime: None, ..service::settings(config, trust_domain) },
            None => Settings::new(trust_domain),
        }
    }

    /// As [`Service::settings`], for the bundle of an identity.
    pub(super) fn settings_for(&self, id: &SpiffeId) -> Settings {
        self.settings(self.trust_domain().unwrap_or_else(|| id.trust_domain().clone()))
    }

    /// As [`Service::settings`], for the trust domain that is given on the command line, if one is.
    pub(super) fn settings_in(&self, given: Option<&TrustDomain>) -> Result<Settings, Failure> {
        let trust_domain = match given.cloned().or_else(|| self.trust_domain()) {
            Some(trust_domain) => trust_domain,
            None => TrustDomain::parse(EXAMPLE)
                .map_err(|error| Failure::usage("take the trust domain of the examples", error))?,
        };
        Ok(self.settings(trust_domain))
    }

    /// Which documents in a folder are resources.
    pub(super) fn source_options(&self) -> SourceOptions {
        match &self.config {
            Some(config) => SourceOptions { api_groups: config.source.api_groups.clone() },
            None => SourceOptions::default(),
        }
    }

    /// The trust domain whose identities have tiers of their own, as far as the configuration says.
    fn trust_domain(&self) -> Option<TrustDomain> {
        let config = self.config.as_ref()?;
        let own = || config.spiffe_id.as_ref().map(|id| id.trust_domain().clone());
        config.trust_domain.clone().or_else(own)
    }
}
