//! Keys in a PKCS#11 token, which signs with them and never gives them out.
//!
//! A key's `CKA_ID` is its key identifier, and `CKA_LABEL` says whose it is: several trust domains may share a token.
//! Every operation opens a session of its own: signing with the CA's key is rare, and a token that was away for a moment
//! is no reason to restart.

mod public_key;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::digest;
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error as TokenFailure, RvError},
    mechanism::Mechanism,
    object::{Attribute, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    slot::Slot,
    types::{AuthPin, Ulong},
};
use rcgen::{PublicKeyData, SignatureAlgorithm, SigningKey};
use secplane_identity::{KeyKind, TrustDomain};

use self::public_key::{EcCurve, PublicKey, ecdsa_signature_der};
use super::{Pkcs11Config, WrappingKeyError};
use crate::authority::CaKey;

/// What the labels of keys begin with. The first version wrote nothing more: such a key may be of any trust domain.
const LABEL: &str = "secplane ca-daemon";
/// Some tokens have no room for longer labels, in bytes.
const MAX_LABEL_BYTES: usize = 40;

/// A token, logged in to for the time of each operation. Its calls may take as long as the token does and belong off
/// the async runtime.
pub(super) struct Token {
    library: Pkcs11,
    label: String,
    /// What the keys of this trust domain are labelled with.
    key_label: String,
    pin: AuthPin,
    /// One operation at a time: logging in is a matter of the whole process, not of a session.
    turn: Mutex<()>,
}

impl Token {
    /// Loads the library and finds the token, to which the PIN must open. Keys in it are made for a trust domain.
    pub(super) fn open(config: &Pkcs11Config, trust_domain: &TrustDomain) -> Result<Self, TokenError> {
        let failed = |source| TokenError::Library { path: config.module.clone(), source };
        let pin = config.pin.read_text()?;
        let library = Pkcs11::new(&config.module).map_err(failed)?;
        match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // Another part of this process uses the library as well.
            Ok(()) | Err(TokenFailure::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(failed(error)),
        }
        let token = Self {
            library,
            label: config.token_label.clone(),
            key_label: key_label(trust_domain),
            pin: AuthPin::from(pin.trim_end_matches(['\r', '\n']).to_owned()),
            turn: Mutex::new(()),
        };
        token.with_session("log in to", |_| Ok(()))?;
        Ok(token)
    }

    /// Makes a key that cannot leave the token.
    pub(super) fn make(self: Arc<Self>, kind: KeyKind) -> Result<CaKey, TokenError> {
        let public = self.with_session("make a key in", |session| {
            let label = || Attribute::Label(self.key_label.as_str().into());
            let shared = |class| vec![Attribute::Token(true), Attribute::Class(class), label()];
            let mut public = shared(ObjectClass::PUBLIC_KEY);
            public.push(Attribute::Verify(true));
            let mechanism = match kind {
                KeyKind::EcP256 | KeyKind::EcP384 => {
                    let curve = if kind == KeyKind::EcP256 { EcCurve::P256 } else { EcCurve::P384 };
                    public.push(Attribute::EcParams(curve.oid_der().to_vec()));
                    Mechanism::EccKeyPairGen
                }
                KeyKind::Rsa2048 | KeyKind::Rsa3072 | KeyKind::Rsa4096 => {
                    let bits = match kind {
                        KeyKind::Rsa2048 => 2048,
                        KeyKind::Rsa3072 => 3072,
                        _ => 4096,
                    };
                    public.push(Attribute::ModulusBits(Ulong::new(bits)));
                    public.push(Attribute::PublicExponent(vec![1, 0, 1]));
                    Mechanism::RsaPkcsKeyPairGen
                }
                KeyKind::Ed25519 => return Err(Trouble::Kind(kind)),
            };
            let mut private = shared(ObjectClass::PRIVATE_KEY);
            private.extend([
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Sign(true),
            ]);
            let (public, private) = session.generate_key_pair(&mechanism, &public, &private)?;
            let key = PublicKey::read(session, public)?;
            for object in [public, private] {
                session.update_attributes(object, &[Attribute::Id(key.identifier())])?;
            }
            Ok(key)
        })?;
        Ok(CaKey::of(TokenKey { token: self, public }))
    }

    /// The key of an identifier; `None` when the token does not have it.
    pub(super) fn key(self: Arc<Self>, key_id: &str) -> Result<Option<CaKey>, TokenError> {
        let Ok(id) = hex::decode(key_id) else { return Ok(None) };
        let public = self.with_session("look for a key in", |session| {
            let found = find(session, ObjectClass::PUBLIC_KEY, &id)?;
            found.map(|object| PublicKey::read(session, object)).transpose()
        })?;
        match public {
            Some(public) if public.identifier() == id => {
                Ok(Some(CaKey::of(TokenKey { token: self, public })))
            }
            Some(_) => Err(TokenError::Foreign { label: self.label.clone(), key_id: key_id.to_owned() }),
            None => Ok(None),
        }
    }

    /// Whether it has private keys of the trust domain, or such as may be.
    pub(super) fn holds_keys(&self) -> Result<bool, TokenError> {
        self.with_session("look for keys in", |session| {
            for label in [self.key_label.as_str(), LABEL] {
                let wanted = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label(label.into())];
                if !session.find_objects(&wanted)?.is_empty() {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    /// What names it in the configuration.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Destroys the key of an identifier, if the token has it.
    pub(super) fn destroy(&self, key_id: &str) -> Result<(), TokenError> {
        let Ok(id) = hex::decode(key_id) else { return Ok(()) };
        let is_its_own = self.with_session("destroy a key in", |session| {
            if let Some(public) = find(session, ObjectClass::PUBLIC_KEY, &id)?
                && PublicKey::read(session, public)?.identifier() != id
            {
                return Ok(false);
            }
            // The private one first: what is left when this is cut short signs nothing.
            for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
                if let Some(object) = find(session, class, &id)? {
                    session.destroy_object(object)?;
                }
            }
            Ok(true)
        })?;
        if is_its_own {
            Ok(())
        } else {
            Err(TokenError::Foreign { label: self.label.clone(), key_id: key_id.to_owned() })
        }
    }

    fn sign(&self, key: &PublicKey, message: &[u8]) -> Result<Vec<u8>, TokenError> {
        self.with_session("sign with a key in", |session| {
            let private = find(session, ObjectClass::PRIVATE_KEY, &key.identifier())?
                .ok_or_else(|| Trouble::NoPrivateKey(hex::encode(key.identifier())))?;
            let Some(curve) = key.curve() else {
                return Ok(session.sign(&Mechanism::Sha256RsaPkcs, private, message)?);
            };
            let algorithm = match curve {
                EcCurve::P256 => &digest::SHA256,
                EcCurve::P384 => &digest::SHA384,
            };
            let digest = digest::digest(algorithm, message);
            let raw = session.sign(&Mechanism::Ecdsa, private, digest.as_ref())?;
            ecdsa_signature_der(curve, &raw).ok_or(Trouble::Signature)
        })
    }

    fn with_session<T>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Session) -> Result<T, Trouble>,
    ) -> Result<T, TokenError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |trouble| TokenError::Operation { what, label: self.label.clone(), trouble };
        let run = || -> Result<T, Trouble> {
            let slot = self.slot()?.ok_or(Trouble::NoToken)?;
            let session = self.library.open_rw_session(slot)?;
            match session.login(UserType::User, Some(&self.pin)) {
                Ok(()) | Err(TokenFailure::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
                Err(error) => return Err(error.into()),
            }
            // The session ends, and with it the login, when it is dropped.
            work(&session)
        };
        run().map_err(failed)
    }

    fn slot(&self) -> Result<Option<Slot>, Trouble> {
        for slot in self.library.get_slots_with_token()? {
            if self.library.get_token_info(slot)?.label() == self.label {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }
}

/// The label of a trust domain's keys: its name, or a hash of one for which there is no room.
fn key_label(trust_domain: &TrustDomain) -> String {
    let named = format!("{LABEL}, {trust_domain}");
    if named.len() <= MAX_LABEL_BYTES {
        return named;
    }
    let hash = digest::digest(&digest::SHA256, trust_domain.as_str().as_bytes());
    format!("{LABEL}, {}", hex::encode(&hash.as_ref()[..8]))
}

fn find(session: &Session, class: ObjectClass, id: &[u8]) -> Result<Option<ObjectHandle>, Trouble> {
    let found = session.find_objects(&[Attribute::Class(class), Attribute::Id(id.to_vec())])?;
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        _ => Err(Trouble::SeveralKeys(hex::encode(id))),
    }
}

/// A key that signs inside the token.
struct TokenKey {
    token: Arc<Token>,
    public: PublicKey,
}

impl PublicKeyData for TokenKey {
    fn der_bytes(&self) -> &[u8] {
        self.public.bits()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.public.algorithm()
    }
}

impl SigningKey for TokenKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.token.sign(&self.public, message).map_err(|error| {
            // The library's error cannot carry the reason.
            tracing::error!(%error, "the token did not sign");
            rcgen::Error::RemoteKeyError
        })
    }
}

/// Why a token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The PIN is not to be had.
    #[error("the token's PIN cannot be read: {0}")]
    Pin(#[from] WrappingKeyError),
    /// The library cannot be loaded.
    #[error(
        "the PKCS#11 library {path} cannot be used: {source}; install it, or correct `keys.pkcs11.module`"
    )]
    Library {
        /// The file.
        path: PathBuf,
        /// Why.
        source: TokenFailure,
    },
    /// An operation failed.
    #[error("cannot {what} the token `{label}`: {trouble}")]
    Operation {
        /// Which.
        what: &'static str,
        /// The token.
        label: String,
        /// Why.
        trouble: Trouble,
    },
    /// A key has the identifier of another.
    #[error("the key {key_id} in the token `{label}` is another key than its CKA_ID says")]
    Foreign {
        /// The token.
        label: String,
        /// The identifier.
        key_id: String,
    },
}

/// What went wrong in a token.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// No token of that label.
    #[error("no slot has a token of this label; insert it, or correct `keys.pkcs11.token_label`")]
    NoToken,
    /// The token says so.
    #[error(transparent)]
    Token(#[from] TokenFailure),
    /// A kind of key that is not made in tokens.
    #[error("keys of kind {0} are not made in tokens here; use EC or RSA")]
    Kind(KeyKind),
    /// Several keys have one identifier.
    #[error("several keys have the CKA_ID {0}; remove all but one")]
    SeveralKeys(String),
    /// The public half is there, the private one is not.
    #[error("the private key {0} is not there")]
    NoPrivateKey(String),
    /// The public key cannot be understood.
    #[error("a public key in it cannot be understood: {0}")]
    PublicKey(&'static str),
    /// The signature has the wrong form.
    #[error("its signature has the wrong form")]
    Signature,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_the_keys_of_each_trust_domain_otherwise() {
        let label = |name: &str| key_label(&TrustDomain::parse(name).unwrap());
        assert_eq!(label("example.org"), "secplane ca-daemon, example.org");
        let (one, other) =
            (label(&format!("{}.org", "a".repeat(60))), label(&format!("{}.org", "b".repeat(60))));
        assert_ne!(one, other);
        for long in [one, other] {
            assert!(long.starts_with(LABEL) && long.len() <= MAX_LABEL_BYTES, "{long}");
        }
    }
}
