//! Where the bundle of a foreign trust domain is fetched, and how its server proves itself
//! (SPIFFE Federation, section 5).

use http::Uri;
use secplane_identity::{SpiffeId, TrustDomain};
use secplane_proto::spire::api::types::{self, federation_relationship::BundleEndpointProfile};

/// The longest URL in bytes.
const MAX_URL_BYTES: usize = 2048;

/// A foreign trust domain with the place of its bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relationship {
    /// The foreign trust domain.
    pub trust_domain: TrustDomain,
    /// Where its bundle is.
    pub endpoint: Endpoint,
    /// How the server of the endpoint proves itself.
    pub profile: Profile,
}

/// How the server of a bundle endpoint proves itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Profile {
    /// `https_web`: by a certificate for its host name under a public root.
    Web,
    /// `https_spiffe`: by an X.509-SVID with this ID, under a bundle that is known already.
    Spiffe(SpiffeId),
}

/// A URL of the scheme `https` with a host and without user information.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(Uri);

impl Endpoint {
    /// Reads a URL.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, RelationshipError> {
        let refuse = |why| Err(RelationshipError::Url { url: text.chars().take(200).collect(), why });
        if text.len() > MAX_URL_BYTES {
            return refuse("it is longer than 2048 bytes");
        }
        let Ok(uri) = text.parse::<Uri>() else { return refuse("it is not a URL") };
        if uri.scheme_str() != Some("https") {
            return refuse("its scheme is not https");
        }
        match uri.authority() {
            Some(authority) if authority.as_str().contains('@') => refuse("it holds user information"),
            Some(authority) if !authority.host().is_empty() => Ok(Self(uri)),
            _ => refuse("it has no host"),
        }
    }

    /// Host and port, as a connection is made to them.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.0.host().unwrap_or_default(), self.0.port_u16().unwrap_or(443))
    }

    /// The URL.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.0
    }
}

impl Relationship {
    /// Reads a relationship, without the bundle that may come with it.
    ///
    /// # Errors
    /// Names the part that cannot be used.
    pub fn from_wire(wire: &types::FederationRelationship) -> Result<Self, RelationshipError> {
        let trust_domain = trust_domain(&wire.trust_domain)?;
        let endpoint = Endpoint::parse(&wire.bundle_endpoint_url)?;
        let profile = match &wire.bundle_endpoint_profile {
            Some(BundleEndpointProfile::HttpsWeb(_)) => Profile::Web,
            Some(BundleEndpointProfile::HttpsSpiffe(spiffe)) => Profile::Spiffe(
                SpiffeId::parse(&spiffe.endpoint_spiffe_id)
                    .map_err(|error| RelationshipError::EndpointId(error.to_string()))?,
            ),
            None => return Err(RelationshipError::NoProfile),
        };
        Ok(Self { trust_domain, endpoint, profile })
    }

    /// The relationship as a message, without a bundle.
    #[must_use]
    pub fn to_wire(&self) -> types::FederationRelationship {
        let profile = match &self.profile {
            Profile::Web => BundleEndpointProfile::HttpsWeb(types::HttpsWebProfile {}),
            Profile::Spiffe(id) => BundleEndpointProfile::HttpsSpiffe(types::HttpsspiffeProfile {
                endpoint_spiffe_id: id.to_string(),
            }),
        };
        types::FederationRelationship {
            trust_domain: self.trust_domain.to_string(),
            bundle_endpoint_url: self.endpoint.0.to_string(),
            bundle_endpoint_profile: Some(profile),
            trust_domain_bundle: None,
        }
    }

    /// The relationship with the parts that a mask names taken from another one; no mask names them all.
    ///
    /// # Errors
    /// As [`Relationship::from_wire`].
    pub fn changed(
        &self,
        from: types::FederationRelationship,
        mask: Option<&types::FederationRelationshipMask>,
    ) -> Result<Self, RelationshipError> {
        let mut merged = self.to_wire();
        if mask.is_none_or(|mask| mask.bundle_endpoint_url) {
            merged.bundle_endpoint_url = from.bundle_endpoint_url;
        }
        if mask.is_none_or(|mask| mask.bundle_endpoint_profile) {
            merged.bundle_endpoint_profile = from.bundle_endpoint_profile;
        }
        Self::from_wire(&merged)
    }
}

/// Reads the name of a trust domain.
///
/// # Errors
/// When it is not one.
pub fn trust_domain(name: &str) -> Result<TrustDomain, RelationshipError> {
    TrustDomain::parse(name).map_err(|error| RelationshipError::TrustDomain(error.to_string()))
}

/// Why a relationship cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RelationshipError {
    /// The name is not one.
    #[error("the trust domain is not usable: {0}")]
    TrustDomain(String),
    /// The URL is not one that bundles are fetched from.
    #[error("the bundle endpoint URL `{url}` is not usable: {why}")]
    Url {
        /// Its beginning.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A bundle of another trust domain came along.
    #[error("the bundle that comes with it is of another trust domain, `{0}`")]
    ForeignBundle(String),
    /// No profile.
    #[error("the bundle endpoint profile is missing; give https_spiffe or https_web")]
    NoProfile,
    /// The SPIFFE ID of the endpoint is not one.
    #[error("the endpoint SPIFFE ID is not usable: {0}")]
    EndpointId(String),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("https://example.net", "example.net:443")]
    #[case("https://example.net:8443/bundle?x=1", "example.net:8443")]
    #[case("https://[::1]:8443/", "[::1]:8443")]
    fn accepts_https(#[case] url: &str, #[case] address: &str) {
        assert_eq!(Endpoint::parse(url).unwrap().address(), address);
    }

    #[rstest]
    #[case("", "not a URL")]
    #[case("http://example.net", "scheme")]
    #[case("example.net", "scheme")]
    #[case("/bundle", "scheme")]
    #[case("https://me:secret@example.net", "user information")]
    #[case("https:///bundle", "")]
    fn refuses_what_no_bundle_is_fetched_from(#[case] url: &str, #[case] said: &str) {
        let error = Endpoint::parse(url).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }

    #[rstest]
    #[case(Profile::Web)]
    #[case(Profile::Spiffe(SpiffeId::parse("spiffe://example.net/spire/server").unwrap()))]
    fn reads_what_it_wrote(#[case] profile: Profile) {
        let relationship = Relationship {
            trust_domain: TrustDomain::parse("example.net").unwrap(),
            endpoint: Endpoint::parse("https://example.net/b").unwrap(),
            profile,
        };
        assert_eq!(Relationship::from_wire(&relationship.to_wire()).unwrap(), relationship);
    }

    proptest! {
        #[test]
        fn never_panics(url in "\\PC{0,60}") {
            let _ = Endpoint::parse(&url).map(|endpoint| endpoint.address());
        }
    }
}
