//! Verifying JWT-SVIDs (SPIFFE JWT-SVID, section 4 and 5).

use std::time::{Duration, SystemTime};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use secplane_identity::{JwtAuthority, SpiffeId, TrustBundleSet, TrustDomain, spiffe_id::SpiffeIdError};
use serde::Deserialize;
use serde_json::{Map, Value};
use x509_parser::{prelude::FromDer, public_key::PublicKey, x509::SubjectPublicKeyInfo};

use crate::instant::unix;

/// The longest token that is read, in bytes.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// How far clocks may be apart.
pub const LEEWAY: Duration = Duration::from_secs(60);

/// What JWT-SVIDs may be signed with (section 2.1). ES512 is allowed too, and not known to the library.
const ALGORITHMS: [Algorithm; 8] = [
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// A JWT-SVID that verified.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedJwt {
    /// Whom it names.
    pub id: SpiffeId,
    /// All its claims.
    pub claims: Map<String, Value>,
}

/// The only members that a header may have (section 2).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
}

/// Verifies a token as the JWT-SVID of a trust domain in `bundles`, for `audience`, at `now`.
///
/// The bundle is the one of the trust domain that `sub` names; no other key is ever considered. A key that is tainted
/// still verifies: it is trusted until it is revoked, which takes it out of the bundle.
///
/// # Errors
/// Says which check failed.
pub fn verify_jwt_svid(
    token: &str,
    bundles: &TrustBundleSet,
    audience: &str,
    now: SystemTime,
) -> Result<VerifiedJwt, JwtError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(JwtError::TooLong(token.len()));
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::Form)?;
    let (header, claims) = signed.split_once('.').ok_or(JwtError::Form)?;
    let header: Header = decode(header).map_err(|_| JwtError::Header)?;
    let algorithm: Algorithm =
        header.alg.parse().ok().filter(|a| ALGORITHMS.contains(a)).ok_or(JwtError::Algorithm)?;
    if header.typ.is_some_and(|typ| typ != "JWT" && typ != "JOSE") {
        return Err(JwtError::Type);
    }
    let key_id = header.kid.filter(|kid| !kid.is_empty()).ok_or(JwtError::NoKeyId)?;

    let claims: Map<String, Value> = decode(claims).map_err(|_| JwtError::Claims)?;
    let subject = claims.get("sub").and_then(Value::as_str).ok_or(JwtError::Claim("sub"))?;
    let id = SpiffeId::parse(subject)?;
    let bundle = bundles
        .get(id.trust_domain())
        .ok_or_else(|| JwtError::UnknownTrustDomain(id.trust_domain().clone()))?;
    let authority = bundle.jwt_authority(&key_id).ok_or_else(|| JwtError::UnknownKey {
        key_id: key_id.clone(),
        trust_domain: id.trust_domain().clone(),
    })?;
    let key = decoding_key(authority, algorithm).ok_or(JwtError::Signature)?;
    match jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &key, algorithm) {
        Ok(true) => {}
        _ => return Err(JwtError::Signature),
    }

    check_times(&claims, now)?;
    check_audience(&claims, audience)?;
    Ok(VerifiedJwt { id, claims })
}

fn decode<T: for<'a> Deserialize<'a>>(part: &str) -> Result<T, ()> {
    let json = BASE64_URL_SAFE_NO_PAD.decode(part).map_err(drop)?;
    serde_json::from_slice(&json).map_err(drop)
}

/// The key in the form that the library takes: the bits of `subjectPublicKey`.
fn decoding_key(authority: &JwtAuthority, algorithm: Algorithm) -> Option<DecodingKey> {
    let (_, info) = SubjectPublicKeyInfo::from_der(&authority.public_key_info).ok()?;
    let bits = &info.subject_public_key.data;
    match (info.parsed().ok()?, algorithm) {
        (PublicKey::EC(_), Algorithm::ES256 | Algorithm::ES384) => Some(DecodingKey::from_ec_der(bits)),
        (PublicKey::RSA(_), Algorithm::ES256 | Algorithm::ES384) => None,
        (PublicKey::RSA(_), _) => Some(DecodingKey::from_rsa_der(bits)),
        _ => None,
    }
}

fn check_times(claims: &Map<String, Value>, now: SystemTime) -> Result<(), JwtError> {
    // Seconds since 1970, which may have a fraction (RFC 7519, section 2).
    let instant = |name: &'static str| match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or(JwtError::Claim(name)),
    };
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^52")]
    let (now, leeway) = (unix(now) as f64, LEEWAY.as_secs_f64());
    let expires_at = instant("exp")?.ok_or(JwtError::Claim("exp"))?;
    if now > expires_at + leeway {
        return Err(JwtError::Expired);
    }
    let begins = [instant("nbf")?, instant("iat")?];
    if begins.into_iter().flatten().any(|begin| begin > now + leeway) {
        return Err(JwtError::NotYetValid);
    }
    Ok(())
}

fn check_audience(claims: &Map<String, Value>, audience: &str) -> Result<(), JwtError> {
    let is_for = match claims.get("aud") {
        Some(Value::String(only)) => only == audience,
        Some(Value::Array(several)) if several.iter().all(Value::is_string) => {
            several.iter().any(|one| one.as_str() == Some(audience))
        }
        _ => return Err(JwtError::Claim("aud")),
    };
    if is_for && !audience.is_empty() { Ok(()) } else { Err(JwtError::Audience(audience.to_owned())) }
}

/// Which check of a JWT-SVID failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// Longer than [`MAX_TOKEN_BYTES`].
    #[error("the token has {0} bytes; at most {MAX_TOKEN_BYTES} are read")]
    TooLong(usize),
    /// Not a compact JWS.
    #[error("the token is not a JWS in compact form (JWT-SVID, section 2)")]
    Form,
    /// The header is malformed or has other members than it may.
    #[error(
        "the token's header is malformed, or has other members than alg, kid and typ (JWT-SVID, section 2)"
    )]
    Header,
    /// Not an algorithm that JWT-SVIDs are signed with.
    #[error(
        "the token's algorithm is not one of ES256, ES384, RS256/384/512, PS256/384/512 (JWT-SVID, section 2.1)"
    )]
    Algorithm,
    /// Neither `JWT` nor `JOSE`.
    #[error("the token's typ is neither JWT nor JOSE (JWT-SVID, section 2.3)")]
    Type,
    /// No key ID.
    #[error("the token's header has no kid, so that no key can be chosen (JWT-SVID, section 2.2)")]
    NoKeyId,
    /// The claims are no JSON object.
    #[error("the token's claims are not a JSON object (RFC 7519, section 7.2)")]
    Claims,
    /// A claim is missing or malformed.
    #[error("the token's claim `{0}` is missing or malformed (JWT-SVID, section 3)")]
    Claim(&'static str),
    /// The subject is not the SPIFFE ID of a workload.
    #[error("the token's subject is not the SPIFFE ID of a workload: {0}")]
    Subject(#[from] SpiffeIdError),
    /// There is no bundle for the trust domain that it names.
    #[error("the token belongs to trust domain {0}, which is not trusted here")]
    UnknownTrustDomain(TrustDomain),
    /// The bundle has no such key.
    #[error("the token is signed with key `{key_id}`, which trust domain {trust_domain} does not have")]
    UnknownKey {
        /// The key.
        key_id: String,
        /// The trust domain whose bundle was used.
        trust_domain: TrustDomain,
    },
    /// The signature is wrong, or the key is of another kind than the algorithm.
    #[error("the token's signature does not verify")]
    Signature,
    /// After its end.
    #[error("the token has expired")]
    Expired,
    /// Before its beginning.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// For somebody else.
    #[error("the token is not for audience `{0}`")]
    Audience(String),
}
