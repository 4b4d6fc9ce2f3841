//! JWT-SVIDs (SPIFFE JWT-SVID): signing them with the key of the trust domain, and verifying anybody's.
//!
//! A token is a JWS in compact form whose header says `alg`, `kid` and `typ` and nothing else, and whose claims are
//! `sub`, `aud`, `exp` and `iat`, with `iss` and `jti` if they are wanted.

mod sign;
mod verify;

pub use sign::{JwtKey, JwtKeyError, JwtSignError, JwtSubject, SignedJwt};
pub use verify::{JwtError, LEEWAY, MAX_TOKEN_BYTES, VerifiedJwt, verify_jwt_svid};

/// The most audiences of one token.
pub const MAX_AUDIENCES: usize = 32;
/// The longest audience, in bytes.
pub const MAX_AUDIENCE_BYTES: usize = 2048;

#[cfg(test)]
mod tests;
