//! JSON Web Tokens, as OPA decodes and verifies them. Signatures are checked by `jsonwebtoken`, but for ES512, which it
//! lacks.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{ECDSA_P521_SHA512_FIXED, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey, crypto,
    jwk::{Jwk, JwkSet},
};
use regorus::Value;
use serde_json::Value as Json;
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo, X509Certificate};

use super::text;

/// The longest token.
const MAX_TOKEN_BYTES: usize = 64 * 1024;

struct Token<'a> {
    header: Json,
    payload: Json,
    /// What is signed.
    message: &'a str,
    signature: &'a str,
}

impl<'a> Token<'a> {
    fn read(text: &'a str) -> Option<Self> {
        if text.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let (message, signature) = text.rsplit_once('.')?;
        let (header, payload) = message.split_once('.')?;
        let object = |part: &str| {
            let json = URL_SAFE_NO_PAD.decode(part).ok()?;
            serde_json::from_slice::<Json>(&json).ok().filter(Json::is_object)
        };
        Some(Self { header: object(header)?, payload: object(payload)?, message, signature })
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.header.get(name).and_then(Json::as_str)
    }

    /// RFC 7515 section 4.1.11: whoever does not know what a token calls critical must not take it. Here nothing is known.
    fn has_critical_parts(&self) -> bool {
        self.header.get("crit").is_some()
    }

    fn is_signed_by(&self, key: &DecodingKey, algorithm: Signing) -> bool {
        let message = self.message.as_bytes();
        match algorithm {
            Signing::By(algorithm) => {
                crypto::verify(self.signature, message, key, algorithm).unwrap_or(false)
            }
            Signing::Es512 => match (key.try_get_as_bytes(), URL_SAFE_NO_PAD.decode(self.signature)) {
                (Ok(point), Ok(signature)) => UnparsedPublicKey::new(&ECDSA_P521_SHA512_FIXED, point)
                    .verify(message, &signature)
                    .is_ok(),
                _ => false,
            },
        }
    }
}

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signing {
    By(Algorithm),
    Es512,
}

impl Signing {
    fn named(name: &str) -> Option<Self> {
        match name {
            "ES512" => Some(Self::Es512),
            _ => name.parse().ok().map(Self::By),
        }
    }

    fn is_symmetric(self) -> bool {
        matches!(self, Self::By(Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512))
    }
}

/// `io.jwt.decode(token)`: header, payload, and the signature in hexadecimal digits.
pub(super) fn decode(arguments: &[Value]) -> Option<Value> {
    let token = Token::read(text(arguments, 0)?)?;
    let signature = URL_SAFE_NO_PAD.decode(token.signature).ok()?;
    let parts = [value(&token.header)?, value(&token.payload)?, hex::encode(signature).into()];
    Some(Value::from(parts.to_vec()))
}

/// `io.jwt.verify_*(token, key)`. The key is a secret, or a certificate or public key in PEM, a JSON Web Key, or a
/// set of them.
pub(super) fn verify(arguments: &[Value], algorithm: &str) -> Option<Value> {
    let algorithm = Signing::named(algorithm)?;
    let token = Token::read(text(arguments, 0)?)?;
    let keys = keys(text(arguments, 1)?, algorithm, token.header("kid"))?;
    Some(keys.iter().any(|key| token.is_signed_by(key, algorithm)).into())
}

/// `io.jwt.decode_verify(token, constraints)`: whether it is valid, header and payload. Both are empty when it is not.
pub(super) fn decode_verify(arguments: &[Value]) -> Option<Value> {
    let token = Token::read(text(arguments, 0)?)?;
    let constraints: Json = serde_json::from_str(&arguments.get(1)?.to_json_str().ok()?).ok()?;
    let constraints = constraints.as_object()?;
    let known = ["cert", "secret", "alg", "iss", "time", "aud"];
    let key = match (constraints.get("cert"), constraints.get("secret")) {
        (Some(Json::String(key)), None) | (None, Some(Json::String(key))) => key,
        _ => return None,
    };
    if constraints.keys().any(|name| !known.contains(&name.as_str())) {
        return None;
    }
    let now = match constraints.get("time") {
        Some(time) => time.as_f64()? / 1e9,
        None => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
    };
    let is_secret = constraints.contains_key("secret");
    let valid = !token.has_critical_parts()
        && is_signed(&token, key, is_secret, constraints.get("alg"))
        && issuer_fits(&token, constraints.get("iss"))
        && audience_fits(&token, constraints.get("aud"))
        && is_current(&token, now);
    let empty = Value::new_object;
    let parts = match valid {
        true => [Value::from(true), value(&token.header)?, value(&token.payload)?],
        false => [Value::from(false), empty(), empty()],
    };
    Some(Value::from(parts.to_vec()))
}

fn is_signed(token: &Token<'_>, key: &str, is_secret: bool, wanted: Option<&Json>) -> bool {
    let Some(name) = token.header("alg") else { return false };
    let Some(algorithm) = Signing::named(name) else { return false };
    // A public key is no secret: whoever has it could make tokens of the other kind.
    let fits =
        is_secret == algorithm.is_symmetric() && wanted.is_none_or(|wanted| wanted.as_str() == Some(name));
    let keys = keys(key, algorithm, token.header("kid")).unwrap_or_default();
    fits && keys.iter().any(|key| token.is_signed_by(key, algorithm))
}

fn issuer_fits(token: &Token<'_>, wanted: Option<&Json>) -> bool {
    wanted.is_none_or(|wanted| token.payload.get("iss") == Some(wanted))
}

/// A token for somebody is for nobody else: with no audience asked for, it must name none.
fn audience_fits(token: &Token<'_>, wanted: Option<&Json>) -> bool {
    match (token.payload.get("aud"), wanted) {
        (None, None) => true,
        (Some(Json::Array(audiences)), Some(wanted)) => audiences.contains(wanted),
        (Some(audience), Some(wanted)) => audience == wanted,
        _ => false,
    }
}

fn is_current(token: &Token<'_>, now: f64) -> bool {
    let time = |name: &str| token.payload.get(name).map(|time| time.as_f64());
    let not_over = match time("exp") {
        None => true,
        Some(end) => end.is_some_and(|end| now < end),
    };
    let begun = match time("nbf") {
        None => true,
        Some(begin) => begin.is_some_and(|begin| now >= begin),
    };
    not_over && begun
}

/// The keys that may have signed: of a set those of the token's key ID, or all when none has it.
fn keys(text: &str, algorithm: Signing, id: Option<&str>) -> Option<Vec<DecodingKey>> {
    if algorithm.is_symmetric() {
        return Some(vec![DecodingKey::from_secret(text.as_bytes())]);
    }
    if let Ok(set) = serde_json::from_str::<JwkSet>(text) {
        let named: Vec<_> =
            set.keys.iter().filter(|key| id.is_some() && key.common.key_id.as_deref() == id).collect();
        let candidates = if named.is_empty() { set.keys.iter().collect() } else { named };
        return Some(candidates.into_iter().filter_map(|key| DecodingKey::from_jwk(key).ok()).collect());
    }
    if let Ok(key) = serde_json::from_str::<Jwk>(text) {
        return Some(DecodingKey::from_jwk(&key).into_iter().collect());
    }
    let pem = pem::parse(text).ok()?;
    let key = match pem.tag() {
        "CERTIFICATE" => X509Certificate::from_der(pem.contents()).ok()?.1.tbs_certificate.subject_pki,
        "PUBLIC KEY" => SubjectPublicKeyInfo::from_der(pem.contents()).ok()?.1,
        _ => return None,
    };
    let bytes = key.subject_public_key.data.as_ref();
    let key = match algorithm {
        Signing::By(Algorithm::ES256 | Algorithm::ES384) | Signing::Es512 => DecodingKey::from_ec_der(bytes),
        Signing::By(Algorithm::EdDSA) => DecodingKey::from_ed_der(bytes),
        _ => DecodingKey::from_rsa_der(bytes),
    };
    Some(vec![key])
}

fn value(json: &Json) -> Option<Value> {
    Value::from_json_str(&json.to_string()).ok()
}
