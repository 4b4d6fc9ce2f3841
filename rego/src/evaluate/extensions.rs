//! Built-in functions that OPA has and the engine lacks: hashes, CIDR sets and JSON Web Tokens.
//!
//! As in OPA a function that fails is undefined.

mod cidr;
mod hash;
mod jwt;

use regorus::{Engine, Value};

/// A function of so many arguments; `None` when it fails.
type Function = fn(&[Value]) -> Option<Value>;

const FUNCTIONS: [(&str, u8, Function); 27] = [
    ("crypto.sha1", 1, hash::sha1),
    ("crypto.sha256", 1, hash::sha256),
    ("crypto.hmac.sha1", 2, hash::hmac_sha1),
    ("crypto.hmac.sha256", 2, hash::hmac_sha256),
    ("crypto.hmac.sha512", 2, hash::hmac_sha512),
    ("crypto.hmac.equal", 2, hash::equal),
    ("net.cidr_contains", 2, cidr::contains),
    ("net.cidr_contains_matches", 2, cidr::contains_matches),
    ("net.cidr_intersects", 2, cidr::intersects),
    ("net.cidr_merge", 1, cidr::merge),
    ("net.cidr_is_valid", 1, cidr::is_valid),
    ("net.cidr_expand", 1, cidr::expand),
    ("io.jwt.decode", 1, jwt::decode),
    ("io.jwt.decode_verify", 2, jwt::decode_verify),
    ("io.jwt.verify_rs256", 2, |args| jwt::verify(args, "RS256")),
    ("io.jwt.verify_rs384", 2, |args| jwt::verify(args, "RS384")),
    ("io.jwt.verify_rs512", 2, |args| jwt::verify(args, "RS512")),
    ("io.jwt.verify_ps256", 2, |args| jwt::verify(args, "PS256")),
    ("io.jwt.verify_ps384", 2, |args| jwt::verify(args, "PS384")),
    ("io.jwt.verify_ps512", 2, |args| jwt::verify(args, "PS512")),
    ("io.jwt.verify_es256", 2, |args| jwt::verify(args, "ES256")),
    ("io.jwt.verify_es384", 2, |args| jwt::verify(args, "ES384")),
    ("io.jwt.verify_es512", 2, |args| jwt::verify(args, "ES512")),
    ("io.jwt.verify_eddsa", 2, |args| jwt::verify(args, "EdDSA")),
    ("io.jwt.verify_hs256", 2, |args| jwt::verify(args, "HS256")),
    ("io.jwt.verify_hs384", 2, |args| jwt::verify(args, "HS384")),
    ("io.jwt.verify_hs512", 2, |args| jwt::verify(args, "HS512")),
];

/// Whether a function is one of these.
pub(super) fn has(name: &str) -> bool {
    FUNCTIONS.iter().any(|(known, ..)| *known == name)
}

/// Gives an engine the functions that it lacks.
pub(super) fn add(engine: &mut Engine) -> Result<(), String> {
    for (name, arguments, function) in FUNCTIONS {
        let call = move |arguments: Vec<Value>| Ok(function(&arguments).unwrap_or(Value::Undefined));
        let added = engine.add_extension(name.to_owned(), arguments, Box::new(call));
        added.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The argument at an index, as text.
fn text(arguments: &[Value], index: usize) -> Option<&str> {
    match arguments.get(index)? {
        Value::String(text) => Some(text),
        _ => None,
    }
}
