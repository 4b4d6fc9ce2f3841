//! Who signed: the checks of the certificates.

use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use secplane_identity::{
    SpiffeId,
    x509::{Certificate, CertificateError, Purpose, SvidError, verify_svid_certificates},
};

use super::{
    VerifyOptions,
    lines::Lines,
    report::{CheckName, Outcome, timestamp},
};

/// The certificates of a signature, read but not believed.
#[derive(Debug)]
pub(super) struct Chain {
    leaf: Certificate,
    /// Whose SVID the leaf claims to be.
    id: Result<SpiffeId, SvidError>,
    above_leaf: Vec<Certificate>,
}

impl Chain {
    /// Reads the certificates of an `x5c` header; `None` when it has none.
    pub(super) fn read(der: &[CertificateDer<'_>]) -> Result<Option<Self>, CertificateError> {
        let Some((leaf, above_leaf)) = der.split_first() else { return Ok(None) };
        let leaf = Certificate::parse(leaf)?;
        let above_leaf = above_leaf.iter().map(|der| Certificate::parse(der)).collect::<Result<_, _>>()?;
        Ok(Some(Self { id: leaf.spiffe_id(), leaf, above_leaf }))
    }

    pub(super) fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    pub(super) fn id(&self) -> Option<&SpiffeId> {
        self.id.as_ref().ok()
    }

    pub(super) fn len(&self) -> usize {
        1 + self.above_leaf.len()
    }

    pub(super) fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        std::iter::once(&self.leaf).chain(&self.above_leaf)
    }
}

/// Whether the leaf is one that a workload signs with.
pub(super) fn check_leaf(lines: &mut Lines, chain: &Chain) {
    match &chain.id {
        Ok(id) => lines.ok(CheckName::SpiffeId, id.to_string()),
        Err(error) => lines.failed(CheckName::SpiffeId, Outcome::Untrusted, error.to_string()),
    }
    let usage = if chain.leaf.is_ca {
        Err("the leaf is a CA certificate")
    } else {
        match chain.leaf.key_usage {
            None => Err("the leaf has no key usage extension"),
            Some(usage) if !usage.digital_signature => Err("the leaf's key usage lacks digitalSignature"),
            Some(usage) if usage.key_cert_sign || usage.crl_sign => {
                Err("the leaf's key usage has keyCertSign or cRLSign")
            }
            Some(_) => Ok("digitalSignature"),
        }
    };
    match usage {
        Ok(detail) => lines.ok(CheckName::KeyUsage, detail),
        Err(why) => lines.failed(CheckName::KeyUsage, Outcome::Untrusted, why),
    }
}

/// Whether the leaf is whom the caller expects.
pub(super) fn check_expectations(lines: &mut Lines, chain: &Chain, options: &VerifyOptions<'_>) {
    match (options.trust_domain, &chain.id) {
        (None, _) => lines.not_checked(CheckName::TrustDomain, "no trust domain was expected"),
        (Some(_), Err(_)) => lines.not_checked(CheckName::TrustDomain, "the leaf names no SPIFFE ID"),
        (Some(expected), Ok(id)) if id.trust_domain() == expected => {
            lines.ok(CheckName::TrustDomain, expected.to_string());
        }
        (Some(expected), Ok(id)) => {
            let why = format!("the signer is of trust domain {}, not {expected}", id.trust_domain());
            lines.failed(CheckName::TrustDomain, Outcome::Untrusted, why);
        }
    }
    match (options.expected_id, &chain.id) {
        (None, _) => lines.not_checked(CheckName::ExpectedId, "no SPIFFE ID was expected"),
        (Some(_), Err(_)) => lines.not_checked(CheckName::ExpectedId, "the leaf names no SPIFFE ID"),
        (Some(expected), Ok(id)) if id == expected => lines.ok(CheckName::ExpectedId, expected.to_string()),
        (Some(expected), Ok(id)) => {
            lines.failed(
                CheckName::ExpectedId,
                Outcome::Untrusted,
                format!("the signer is {id}, not {expected}"),
            );
        }
    }
}

/// Whether the chain leads to a root of the trust domain that the leaf names, and whether it does so now.
pub(super) fn check_chain(lines: &mut Lines, chain: &Chain, options: &VerifyOptions<'_>) {
    let verify = |at| {
        let (leaf, above_leaf) = (&chain.leaf, &chain.above_leaf);
        verify_svid_certificates(leaf, above_leaf, options.bundles, Purpose::ClientAuth, at)
    };
    let Err(error) = verify(options.at) else {
        lines.ok(CheckName::Chain, chain_detail(chain));
        lines.ok(CheckName::Validity, format!("until {}", timestamp(earliest_end(chain))));
        return;
    };
    let Some(misdated) = Misdated::at(chain, options.at) else {
        lines.failed(CheckName::Chain, Outcome::Untrusted, error.to_string());
        lines.ok(CheckName::Validity, format!("until {}", timestamp(earliest_end(chain))));
        return;
    };
    // A chain out of date may still have been trusted in its time, and that is another answer.
    match verify(misdated.in_date) {
        Ok(_) => {
            let detail = format!("{}, as of {}", chain_detail(chain), timestamp(misdated.in_date));
            lines.ok(CheckName::Chain, detail);
        }
        Err(error) => lines.failed(CheckName::Chain, Outcome::Untrusted, explain(&error)),
    }
    lines.failed(CheckName::Validity, misdated.class, misdated.why);
}

fn explain(error: &SvidError) -> String {
    format!("{error} (nor did it when it was in date)")
}

/// How the certificates of a chain miss an instant.
struct Misdated {
    class: Outcome,
    why: String,
    /// The instant nearest to it at which they are all in date.
    in_date: SystemTime,
}

impl Misdated {
    fn at(chain: &Chain, at: SystemTime) -> Option<Self> {
        let end = earliest_end(chain);
        let begin = chain
            .certificates()
            .map(|certificate| certificate.not_before)
            .max()
            .unwrap_or(chain.leaf.not_before);
        if at > end {
            let whose =
                if at > chain.leaf.not_after { "the signer's certificate" } else { "a CA certificate" };
            let why = format!("{whose} expired at {}", timestamp(end));
            return Some(Self { class: Outcome::Expired, why, in_date: end });
        }
        if at < begin {
            let why = format!("a certificate is not valid before {}", timestamp(begin));
            return Some(Self { class: Outcome::Untrusted, why, in_date: begin });
        }
        None
    }
}

fn earliest_end(chain: &Chain) -> SystemTime {
    chain.certificates().map(|certificate| certificate.not_after).min().unwrap_or(chain.leaf.not_after)
}

fn chain_detail(chain: &Chain) -> String {
    let domain = chain.id().map(|id| id.trust_domain().to_string()).unwrap_or_default();
    format!("{} certificates to a root of {domain}", chain.len())
}
