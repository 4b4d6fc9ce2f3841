//! Authorities for the tests of this folder.

use std::time::{Duration, SystemTime};

use secplane_identity::{KeyKind, PrivateKey, SpiffeId, TrustDomain};

use super::{CaKey, DnsName, DomainCa, IssuingCa, Lifetimes, Subject};

pub(super) const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

pub(super) fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

pub(super) fn lifetimes() -> Lifetimes {
    let hour = Duration::from_secs(3600);
    Lifetimes { x509_svid: hour, server: hour, client: hour, longest: DAY }
}

pub(super) fn ca_key(kind: KeyKind) -> CaKey {
    CaKey::try_from(&PrivateKey::generate_kind(kind).unwrap()).unwrap()
}

pub(super) fn root(kind: KeyKind) -> DomainCa {
    DomainCa::self_signed(&trust_domain(), ca_key(kind), DAY * 3650, now()).unwrap()
}

/// A root and an issuing CA below it, with keys of one kind.
pub(super) fn authority(kind: KeyKind) -> (DomainCa, IssuingCa) {
    let root = root(kind);
    let issuing = root.issue_ca(&PrivateKey::generate_kind(kind).unwrap(), DAY, now()).unwrap();
    (root, issuing)
}

pub(super) fn svid() -> Subject {
    Subject::X509Svid {
        id: SpiffeId::parse("spiffe://example.org/a").unwrap(),
        dns_names: vec![DnsName::parse("a.example.org").unwrap()],
    }
}
