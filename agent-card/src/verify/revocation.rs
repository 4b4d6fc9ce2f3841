//! Whether a certificate of the chain is revoked, as far as anybody here can know.

use secplane_identity::{
    Revocations, TrustDomain,
    revocation::{Revocable, RevocationList},
    x509::Certificate,
};

use super::{
    VerifyOptions,
    lines::Lines,
    report::{CheckName, Outcome, timestamp},
    signer::Chain,
};

/// What is known of revoked certificates.
#[derive(Debug, Clone, Copy)]
pub enum KnownRevocations<'a> {
    /// Nothing, and why: `no revocation list was given`.
    Nothing(&'a str),
    /// The revocation lists of issuers. A certificate whose issuer's list is missing is not checked.
    Lists(&'a Revocations),
    /// Everything that the authority of a trust domain revoked, by its own word. Of other trust domains it knows
    /// nothing.
    OfAuthority {
        /// Whose authority it is.
        trust_domain: &'a TrustDomain,
        /// What it revoked.
        revocations: &'a Revocations,
    },
}

pub(super) fn check_revocation(lines: &mut Lines, chain: &Chain, options: &VerifyOptions<'_>) {
    match options.revocations {
        KnownRevocations::Nothing(why) => lines.not_checked(CheckName::Revocation, why),
        KnownRevocations::Lists(revocations) => check_lists(lines, chain, revocations, options),
        KnownRevocations::OfAuthority { trust_domain, revocations } => {
            let of_the_domain = chain.id().is_some_and(|id| id.trust_domain() == trust_domain);
            if !of_the_domain {
                let why = format!("only what the authority of {trust_domain} revoked is known");
                lines.not_checked(CheckName::Revocation, why);
                return;
            }
            match chain.certificates().find(|certificate| revocations.contains(&Revocable::of(certificate))) {
                Some(revoked) => fail(lines, chain, revoked),
                None => lines.ok(
                    CheckName::Revocation,
                    format!("the authority of {trust_domain} revoked no certificate of the chain"),
                ),
            }
        }
    }
}

fn fail(lines: &mut Lines, chain: &Chain, revoked: &Certificate) {
    let whose =
        if revoked.der == chain.leaf().der { "the signer's certificate" } else { "the CA certificate" };
    let why = format!("{whose} {} is revoked", revoked.serial);
    lines.failed(CheckName::Revocation, Outcome::Revoked, why);
}

/// What lists say of one certificate.
enum Listed<'a> {
    Revoked,
    NotOn(&'a RevocationList),
    Unknown(String),
    /// The list is not its issuer's.
    Forged(String),
}

fn check_lists(lines: &mut Lines, chain: &Chain, revocations: &Revocations, options: &VerifyOptions<'_>) {
    let mut leaf = None;
    let mut uncovered_cas = 0;
    for (position, certificate) in chain.certificates().enumerate() {
        let listed = look_up(certificate, chain, revocations, options);
        match listed {
            Listed::Revoked => return fail(lines, chain, certificate),
            Listed::Forged(why) => return lines.failed(CheckName::Revocation, Outcome::Untrusted, why),
            Listed::Unknown(_) if position > 0 => uncovered_cas += 1,
            Listed::Unknown(why) => leaf = Some(Err(why)),
            Listed::NotOn(list) if position == 0 => leaf = Some(Ok(list)),
            Listed::NotOn(_) => {}
        }
    }
    match leaf {
        Some(Ok(list)) if list.next_update() < options.at => {
            let why = format!(
                "the issuer's revocation list is out of date since {}",
                timestamp(list.next_update())
            );
            lines.not_checked(CheckName::Revocation, why);
        }
        Some(Ok(list)) => {
            let above = match uncovered_cas {
                0 => String::new(),
                count => format!("; no list is at hand for {count} CA certificates above it"),
            };
            let detail = format!(
                "the signer's certificate is not on its issuer's list {} of {}{above}",
                list.number(),
                timestamp(list.this_update())
            );
            lines.ok(CheckName::Revocation, detail);
        }
        Some(Err(why)) => lines.not_checked(CheckName::Revocation, why),
        // A chain has a leaf.
        None => lines.not_checked(CheckName::Revocation, "there is no certificate"),
    }
}

fn look_up<'a>(
    certificate: &Certificate,
    chain: &Chain,
    revocations: &'a Revocations,
    options: &VerifyOptions<'_>,
) -> Listed<'a> {
    let names = Revocable::of(certificate);
    if revocations.contains(&names) {
        return Listed::Revoked;
    }
    let (Some(issuer), Some(serial)) = (&names.issuer_key_id, &names.serial) else {
        return Listed::Unknown("the certificate does not say by what it could be revoked".to_owned());
    };
    let Some(list) = revocations.lists().find(|list| list.issuer_key_id() == issuer) else {
        return Listed::Unknown(format!("no revocation list of its issuer {issuer} is at hand"));
    };
    let bundle = chain.id().and_then(|id| options.bundles.get(id.trust_domain()));
    let roots = bundle.into_iter().flat_map(|bundle| bundle.authorities());
    let mut signers = chain
        .certificates()
        .skip(1)
        .chain(roots)
        .filter(|ca| ca.subject_key_id.as_ref() == Some(issuer))
        .peekable();
    if signers.peek().is_none() {
        return Listed::Unknown(format!("the issuer {issuer} of the revocation list is not at hand"));
    }
    if !signers.any(|ca| list.is_signed_by(ca)) {
        return Listed::Forged(format!(
            "whether it is revoked cannot be told: the list of issuer {issuer} does not bear that issuer's signature"
        ));
    }
    if list.contains(serial) { Listed::Revoked } else { Listed::NotOn(list) }
}
