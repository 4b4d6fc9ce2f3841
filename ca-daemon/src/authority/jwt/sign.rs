//! Signing JWT-SVIDs.

use std::time::{Duration, SystemTime};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256,
        RsaKeyPair,
    },
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rcgen::PublicKeyData;
use secplane_identity::{
    JwtAuthority, KeyKind, PrivateKey, SpiffeId, TrustBundle, TrustDomain, private_key::PrivateKeyError,
    trust_bundle::TrustBundleError,
};
use serde::Serialize;

use super::{super::request::RequestedKey, MAX_AUDIENCE_BYTES, MAX_AUDIENCES, verify::verify_jwt_svid};
use crate::instant::{from_unix, unix};

/// A key that signs JWT-SVIDs, read once and used for any number of tokens.
pub struct JwtKey {
    key_id: String,
    signer: Signer,
    /// The header, which is the same for every token, in base64url.
    header: String,
    public_key_info: Vec<u8>,
    not_after: SystemTime,
}

enum Signer {
    Ecdsa(Box<EcdsaKeyPair>),
    Rsa(Box<RsaKeyPair>),
}

/// Whom a token names, and for whom it is. Everything in it has been granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtSubject {
    /// The workload.
    pub id: SpiffeId,
    /// Who may accept it: at least one, none empty.
    pub audience: Vec<String>,
    /// What tells this token from all others (`jti`), if its entry wants that.
    pub token_id: Option<String>,
}

/// A token as it was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedJwt {
    /// The compact form.
    pub token: String,
    /// When it was signed, to the second.
    pub issued_at: SystemTime,
    /// When it ends, to the second.
    pub expires_at: SystemTime,
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'a str,
    kid: &'a str,
    typ: &'a str,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    aud: &'a [String],
    exp: i64,
    iat: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<&'a str>,
}

impl JwtKey {
    /// The kind of key to make for JWT-SVIDs where other keys are of `kind`: the standard knows no Ed25519.
    #[must_use]
    pub fn kind_beside(kind: KeyKind) -> KeyKind {
        match kind {
            KeyKind::Ed25519 => KeyKind::EcP256,
            other => other,
        }
    }

    /// Reads a key, and proves by a throw-away token that what it signs verifies.
    ///
    /// # Errors
    /// When the key is of a kind that no JWT-SVID may be signed with.
    pub fn new(key: &PrivateKey, not_after: SystemTime) -> Result<Self, JwtKeyError> {
        let pair = key.signing_pair()?;
        let (algorithm, signer) = signer(key, pair.algorithm()).ok_or(JwtKeyError::Kind)?;
        let key_id = hex::encode(RequestedKey::of(&pair).identifier());
        let header = encode(&Header { alg: algorithm, kid: &key_id, typ: "JWT" })?;
        let public_key_info = pair.subject_public_key_info();
        let key = Self { key_id, signer, header, public_key_info, not_after };
        key.check_with_a_throwaway()?;
        Ok(key)
    }

    /// Signs a token that names `issuer` (`iss`) if it is given. Its end is never after the key's.
    ///
    /// # Errors
    /// When there is no audience, an audience is empty or too long, or the key has expired.
    pub fn sign(
        &self,
        subject: &JwtSubject,
        issuer: Option<&str>,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<SignedJwt, JwtSignError> {
        let is_audience = |text: &String| !text.is_empty() && text.len() <= MAX_AUDIENCE_BYTES;
        if subject.audience.is_empty()
            || subject.audience.len() > MAX_AUDIENCES
            || !subject.audience.iter().all(is_audience)
        {
            return Err(JwtSignError::Audience);
        }
        let issued_at = unix(now);
        let expires_at = unix(now + lifetime).min(unix(self.not_after));
        if expires_at <= issued_at {
            return Err(JwtSignError::KeyExpired);
        }
        let claims = encode(&Claims {
            sub: subject.id.as_str(),
            aud: &subject.audience,
            exp: expires_at,
            iat: issued_at,
            iss: issuer,
            jti: subject.token_id.as_deref(),
        })?;
        let mut token = String::with_capacity(self.header.len() + claims.len() + 600);
        token.push_str(&self.header);
        token.push('.');
        token.push_str(&claims);
        let signature = self.signer.sign(token.as_bytes())?;
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(SignedJwt { token, issued_at: from_unix(issued_at), expires_at: from_unix(expires_at) })
    }

    /// What a token's header says of the key: lower-case hex of its key identifier.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// When the key ends, and every token of it at the latest.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// The public half, for a trust bundle.
    #[must_use]
    pub fn authority(&self) -> JwtAuthority {
        JwtAuthority {
            key_id: self.key_id.clone(),
            public_key_info: self.public_key_info.clone(),
            expires_at: Some(self.not_after),
            tainted: false,
        }
    }

    fn check_with_a_throwaway(&self) -> Result<(), JwtKeyError> {
        let failed = |error: &dyn std::error::Error| JwtKeyError::Throwaway(error.to_string());
        let trust_domain = TrustDomain::parse("throwaway").map_err(|error| failed(&error))?;
        let id = SpiffeId::from_parts(&trust_domain, "/throwaway").map_err(|error| failed(&error))?;
        let subject = JwtSubject { id, audience: vec!["nobody".to_owned()], token_id: None };
        let now = self.not_after - Duration::from_secs(60);
        let signed =
            self.sign(&subject, None, Duration::from_secs(60), now).map_err(|error| failed(&error))?;
        let bundle = TrustBundle::new(trust_domain, Vec::<Vec<u8>>::new())?;
        let bundle = bundle.with_jwt_authorities(vec![self.authority()])?;
        verify_jwt_svid(&signed.token, &bundle.into(), "nobody", now).map_err(|error| failed(&error))?;
        Ok(())
    }
}

fn signer(key: &PrivateKey, algorithm: &rcgen::SignatureAlgorithm) -> Option<(&'static str, Signer)> {
    let der = key.pkcs8_der();
    let ecdsa = |algorithm| EcdsaKeyPair::from_pkcs8(algorithm, der).ok().map(Box::new).map(Signer::Ecdsa);
    if *algorithm == rcgen::PKCS_ECDSA_P256_SHA256 {
        Some(("ES256", ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING)?))
    } else if *algorithm == rcgen::PKCS_ECDSA_P384_SHA384 {
        Some(("ES384", ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING)?))
    } else if *algorithm == rcgen::PKCS_RSA_SHA256 {
        Some(("RS256", Signer::Rsa(Box::new(RsaKeyPair::from_pkcs8(der).ok()?))))
    } else {
        None
    }
}

impl Signer {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, JwtSignError> {
        let random = SystemRandom::new();
        match self {
            Self::Ecdsa(pair) => pair.sign(&random, message).map(|signature| signature.as_ref().to_vec()),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map(|()| signature)
            }
        }
        .map_err(|_| JwtSignError::Sign)
    }
}

fn encode(part: &impl Serialize) -> Result<String, JwtSignError> {
    let json = serde_json::to_vec(part).map_err(|_| JwtSignError::Sign)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(json))
}

/// Why a key cannot sign JWT-SVIDs.
#[derive(Debug, thiserror::Error)]
pub enum JwtKeyError {
    /// The key cannot be read.
    #[error(transparent)]
    Key(#[from] PrivateKeyError),
    /// Not a kind that JWT-SVIDs are signed with.
    #[error(
        "JWT-SVIDs are signed with EC P-256, EC P-384 or RSA keys (JWT-SVID, section 2.1), not with this one"
    )]
    Kind,
    /// Signing failed.
    #[error(transparent)]
    Sign(#[from] JwtSignError),
    /// The public key cannot be put into a bundle.
    #[error(transparent)]
    Bundle(#[from] TrustBundleError),
    /// What it signs does not verify.
    #[error("a token signed with the JWT key does not verify: {0}")]
    Throwaway(String),
}

/// Why a token cannot be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwtSignError {
    /// No audience, too many, or one that is empty or too long.
    #[error(
        "a JWT-SVID needs 1 to {MAX_AUDIENCES} audiences, none empty or longer than {MAX_AUDIENCE_BYTES} bytes"
    )]
    Audience,
    /// The key has expired.
    #[error("the key that signs JWT-SVIDs has expired; the authority cannot sign until it has a new one")]
    KeyExpired,
    /// The signature could not be made.
    #[error("the JWT-SVID could not be signed")]
    Sign,
}
