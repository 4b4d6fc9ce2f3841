//! Who a peer is: SPIFFE IDs, X.509-SVIDs, trust bundles, and TLS 1.3 that reloads while it serves.
//!
//! | module | holds |
//! |---|---|
//! | [`spiffe_id`] | the names: [`TrustDomain`], [`SpiffeId`] |
//! | [`x509`] | reading a certificate, and verifying a chain as an X.509-SVID |
//! | [`revocation`] | whose trust was taken back: by an authority's word, or by its revocation lists |
//! | [`trust_bundle`] | the roots and JWT keys of a trust domain, as PEM and as a SPIFFE bundle document |
//! | [`jwk`] | public keys as JSON Web Keys |
//! | [`Origin`] | where somebody without an identity comes from |
//! | [`private_key`] | a private key in memory, wiped when dropped |
//! | [`source`] | one's own identity as it changes: key, chain and roots under one generation |
//! | [`workload_api`] | the source that follows a SPIFFE Workload API socket |
//! | [`tls`] | rustls configurations over a source |
//! | [`serve`] | HTTP and gRPC over mutual TLS, the peer's identity in each request's extensions |
//! | [`connect`] | connections to such a server |
//!
//! Nothing here trusts a merged pool of roots: the trust domain that a certificate names decides which bundle
//! it is verified against.

pub mod connect;
pub mod jwk;
mod origin;
pub mod private_key;
pub mod revocation;
pub mod serve;
pub mod source;
pub mod spiffe_id;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod trust_bundle;
pub mod workload_api;
pub mod x509;

pub use origin::Origin;
pub use private_key::{KeyKind, PrivateKey};
pub use revocation::Revocations;
pub use source::{IdentityPublisher, IdentitySnapshot, IdentitySource, X509Identity};
pub use spiffe_id::{SpiffeId, TrustDomain};
pub use trust_bundle::{Fingerprint, JwtAuthority, TrustBundle, TrustBundleSet};
