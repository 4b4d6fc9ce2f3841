//! Registration entries as an admin writes them.

use secplane_proto::spire::api::types;

use crate::authority::TRUST_DOMAIN;

/// The path of the agent that attests this machine's workloads.
pub const LOCAL_AGENT: &str = "/spire/agent/local";

/// An ID of the test's trust domain.
#[must_use]
pub fn id(path: &str) -> types::Spiffeid {
    types::Spiffeid { trust_domain: TRUST_DOMAIN.to_owned(), path: path.to_owned() }
}

/// A selector of type `unix`.
#[must_use]
pub fn unix(value: &str) -> types::Selector {
    types::Selector { r#type: "unix".to_owned(), value: value.to_owned() }
}

/// An entry below the local agent.
#[must_use]
pub fn entry(path: &str, selectors: &[&str]) -> types::Entry {
    types::Entry {
        spiffe_id: Some(id(path)),
        parent_id: Some(id(LOCAL_AGENT)),
        selectors: selectors.iter().map(|value| unix(value)).collect(),
        ..Default::default()
    }
}

/// An entry that this very process matches.
#[must_use]
pub fn entry_for_this_process(path: &str) -> types::Entry {
    entry(path, &[&format!("uid:{}", rustix::process::getuid().as_raw())])
}
