//! The daemon's secrets, whatever they are kept in.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use secplane_identity::{KeyKind, PrivateKey, TrustDomain, private_key::PrivateKeyError};
use tokio::sync::RwLock;
use zeroize::Zeroizing;

use super::{
    Pkcs11Config, RowMac, SealError, SecretName, TokenError, WrappingKey, WrappingKeyError, WrappingKeyId,
    WrappingKeySource,
    database::Database,
    file::KeyFiles,
    memory::Memory,
    sealed::{open, seal, sealed_under},
    token::Token,
};
use crate::{
    authority::CaKey,
    store::{Store, StoreError},
};

/// How often sealing everything anew begins again because a secret was added meanwhile.
const REKEY_ATTEMPTS: usize = 5;
const ROW_MAC: &str = "row-mac";
/// How records say that a key is in a token.
pub(crate) const IN_TOKEN: &str = "pkcs11";

/// What sealed secrets are kept in.
#[derive(Clone)]
pub enum KeyStorage {
    /// Files in a folder of this machine.
    Files(PathBuf),
    /// The database, where every replica finds them.
    Database(Store),
    /// Memory: they end with the process.
    Memory,
}

/// Where the daemon's private keys and other secrets live. Cheap to clone.
#[derive(Clone)]
pub struct KeyStore {
    inner: Arc<Inner>,
    /// Where the keys of the trust domain's CAs are, if not with the others.
    token: Option<Arc<Token>>,
}

struct Inner {
    place: Place,
    kind: KeyKind,
    /// Held for writing while everything is sealed anew, so that nothing is sealed under the old key meanwhile.
    wrapping: RwLock<WrappingKey>,
    /// Where the wrapping key is read again from, once another replica has sealed everything under another one.
    source: Mutex<Option<WrappingKeySource>>,
}

enum Place {
    Files(Arc<KeyFiles>),
    Database(Database),
    Memory(Memory),
}

/// What sealing everything anew has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rekeyed {
    /// How many secrets were sealed anew.
    pub sealed: usize,
    /// The wrapping key that opens nothing any more.
    pub from: WrappingKeyId,
    /// The wrapping key that opens them all.
    pub to: WrappingKeyId,
}

impl KeyStore {
    /// Uses what is kept in a place under a wrapping key. New keys are of `kind`.
    ///
    /// # Errors
    /// When the place cannot be used, or what is in it is sealed under another wrapping key.
    pub async fn open(
        storage: KeyStorage,
        wrapping: WrappingKey,
        kind: KeyKind,
    ) -> Result<Self, KeyStoreError> {
        let place = match storage {
            KeyStorage::Files(folder) => {
                let id = wrapping.id();
                let files = off_the_runtime(move || {
                    let files = KeyFiles::open(folder)?;
                    check_wrapping_key(&files.all()?, id)?;
                    Ok(files)
                });
                Place::Files(Arc::new(files.await?))
            }
            KeyStorage::Database(store) => Place::Database(Database::open(store, wrapping.id()).await?),
            KeyStorage::Memory => Place::Memory(Memory::default()),
        };
        let inner = Inner { place, kind, wrapping: RwLock::new(wrapping), source: Mutex::default() };
        Ok(Self { inner: Arc::new(inner), token: None })
    }

    /// The same, with the keys of the trust domain's CAs in a token.
    ///
    /// # Errors
    /// When the token cannot be used.
    pub async fn with_token(
        self,
        config: Pkcs11Config,
        trust_domain: TrustDomain,
    ) -> Result<Self, KeyStoreError> {
        let token = off_the_runtime(move || Ok(Token::open(&config, &trust_domain)?)).await?;
        Ok(Self { token: Some(Arc::new(token)), ..self })
    }

    /// The same, reading the wrapping key again when another replica has sealed everything under another one.
    #[must_use]
    pub fn reading_wrapping_key_from(self, source: WrappingKeySource) -> Self {
        *self.source() = Some(source);
        self
    }

    /// The wrapping key is in another place from now on; it is the one that everything is sealed under, or will be when
    /// another replica has sealed everything anew.
    ///
    /// # Errors
    /// When what is there is not the wrapping key that everything is sealed under.
    pub async fn read_wrapping_key_from(&self, source: WrappingKeySource) -> Result<(), KeyStoreError> {
        self.take_wrapping_key_of(&source).await?;
        *self.source() = Some(source);
        Ok(())
    }

    /// Goes on under the wrapping key that another replica has sealed everything under, if it is where ours came from.
    async fn follow_rekey(&self) -> Result<(), KeyStoreError> {
        let source = self.source().clone().ok_or(KeyStoreError::RekeyedByAnother)?;
        self.take_wrapping_key_of(&source).await
    }

    async fn take_wrapping_key_of(&self, source: &WrappingKeySource) -> Result<(), KeyStoreError> {
        let reading = source.clone();
        let key = off_the_runtime(move || Ok(reading.read()?)).await?;
        let mut wrapping = self.inner.wrapping.write().await;
        let in_use = match &self.inner.place {
            Place::Database(database) => database.wrapping_key().await?.unwrap_or_else(|| wrapping.id()),
            Place::Files(_) | Place::Memory(_) => wrapping.id(),
        };
        if key.id() != in_use {
            let sealed_under = in_use.to_string();
            return Err(KeyStoreError::OtherWrappingKey { sealed_under, configured: key.id() });
        }
        if wrapping.id() != in_use {
            tracing::warn!(key = %in_use, "another replica has sealed the secrets anew; this one follows");
            *wrapping = key;
        }
        Ok(())
    }

    fn source(&self) -> MutexGuard<'_, Option<WrappingKeySource>> {
        self.inner.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where keys are kept, as records say it: `file`, `database` or `memory`.
    #[must_use]
    pub fn storage(&self) -> &'static str {
        match &self.inner.place {
            Place::Files(_) => "file",
            Place::Database(_) => "database",
            Place::Memory(_) => "memory",
        }
    }

    /// Makes a key of the configured kind, which is kept nowhere yet.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub async fn make(&self) -> Result<PrivateKey, KeyStoreError> {
        let kind = self.inner.kind;
        off_the_runtime(move || Ok(PrivateKey::generate_kind(kind)?)).await
    }

    /// The kind of the keys that are made here.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        self.inner.kind
    }

    /// Keeps a key. When this returns it is durable.
    ///
    /// # Errors
    /// When it cannot be sealed or written.
    pub async fn keep(&self, key_id: &str, key: &PrivateKey) -> Result<(), KeyStoreError> {
        self.keep_secret(key_id, key.pkcs8_der()).await
    }

    /// Reads a key.
    ///
    /// # Errors
    /// When it is not there, does not open, or is no key.
    pub async fn load(&self, key_id: &str) -> Result<PrivateKey, KeyStoreError> {
        let secret =
            self.load_secret(key_id).await?.ok_or_else(|| KeyStoreError::NoKey(key_id.to_owned()))?;
        PrivateKey::from_pkcs8(secret.to_vec())
            .map_err(|source| KeyStoreError::NotAKey { name: key_id.to_owned(), source })
    }

    /// Makes the key of a trust domain's CA where such keys are kept; durable when this returns.
    ///
    /// # Errors
    /// When it cannot be made or kept.
    pub async fn make_ca_key(&self) -> Result<CaKey, KeyStoreError> {
        if let Some(token) = self.token.clone() {
            let kind = self.kind();
            return off_the_runtime(move || Ok(token.make(kind)?)).await;
        }
        let private = self.make().await?;
        let key = CaKey::try_from(&private)?;
        self.keep(&key.id(), &private).await?;
        Ok(key)
    }

    /// The key of a trust domain's CA.
    ///
    /// # Errors
    /// When it is not there or cannot be used.
    pub async fn ca_key(&self, key_id: &str) -> Result<CaKey, KeyStoreError> {
        if let Some(token) = self.token.clone() {
            let id = key_id.to_owned();
            // A CA that was made before there was a token has its key with the others.
            if let Some(key) = off_the_runtime(move || Ok(token.key(&id)?)).await? {
                return Ok(key);
            }
        }
        Ok(CaKey::try_from(&self.load(key_id).await?)?)
    }

    /// Where the keys of a trust domain's CAs are kept, as records say it: as the others, or `pkcs11`.
    #[must_use]
    pub fn ca_storage(&self) -> &'static str {
        if self.token.is_some() { IN_TOKEN } else { self.storage() }
    }

    /// Keeps a secret under a name of at most 64 lower-case letters, digits and `-`, in the place of one that has the
    /// name. When this returns it is durable.
    ///
    /// # Errors
    /// When it cannot be sealed or written.
    pub async fn keep_secret(&self, name: &str, secret: &[u8]) -> Result<(), KeyStoreError> {
        let name = SecretName::parse(name)?;
        match self.keep_once(name.clone(), secret).await {
            Err(KeyStoreError::RekeyedByAnother) => {
                self.follow_rekey().await?;
                self.keep_once(name, secret).await
            }
            result => result,
        }
    }

    async fn keep_once(&self, name: SecretName, secret: &[u8]) -> Result<(), KeyStoreError> {
        let wrapping = self.inner.wrapping.read().await;
        let sealed = seal(&wrapping, name.as_str(), secret)
            .map_err(|source| KeyStoreError::Seal { name: name.to_string(), source })?;
        match &self.inner.place {
            Place::Files(files) => {
                let files = Arc::clone(files);
                off_the_runtime(move || files.write(&name, &sealed)).await
            }
            Place::Database(database) => database.write(&name, sealed, wrapping.id()).await,
            Place::Memory(memory) => {
                memory.with(|secrets| secrets.insert(name, sealed));
                Ok(())
            }
        }
    }

    /// Reads a secret; `None` when there is none of this name.
    ///
    /// # Errors
    /// When it cannot be read or does not open.
    pub async fn load_secret(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreError> {
        let name = SecretName::parse(name)?;
        match self.load_once(&name).await {
            Err(KeyStoreError::Seal { source: SealError::OtherWrappingKey(_), .. }) => {
                self.follow_rekey().await?;
                self.load_once(&name).await
            }
            result => result,
        }
    }

    async fn load_once(&self, name: &SecretName) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreError> {
        let wrapping = self.inner.wrapping.read().await;
        let Some(sealed) = self.inner.place.read(name).await? else { return Ok(None) };
        open(&wrapping, name.as_str(), &sealed)
            .map(Some)
            .map_err(|source| KeyStoreError::Seal { name: name.to_string(), source })
    }

    /// Forgets a secret or a key, if there is one of this name.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub async fn forget(&self, name: &str) -> Result<(), KeyStoreError> {
        let name = SecretName::parse(name)?;
        let _not_while_sealing_anew = self.inner.wrapping.read().await;
        match &self.inner.place {
            Place::Files(files) => {
                let files = Arc::clone(files);
                off_the_runtime(move || files.delete(&name)).await
            }
            Place::Database(database) => database.delete(&name).await,
            Place::Memory(memory) => {
                memory.with(|secrets| secrets.remove(&name));
                Ok(())
            }
        }
    }

    /// Destroys a private key wherever it is kept, be it in the token, if there is one of this name.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub async fn forget_key(&self, key_id: &str) -> Result<(), KeyStoreError> {
        self.forget(key_id).await?;
        let Some(token) = self.token.clone() else { return Ok(()) };
        let id = key_id.to_owned();
        off_the_runtime(move || Ok(token.destroy(&id)?)).await
    }

    /// Whether private keys are kept on this machine. Those in a database are lost with it.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn holds_keys(&self) -> Result<bool, KeyStoreError> {
        let Place::Files(files) = &self.inner.place else { return Ok(false) };
        let files = Arc::clone(files);
        off_the_runtime(move || Ok(files.all()?.iter().any(|(name, _)| name.is_key_id()))).await
    }

    /// The label of the token, if private keys of the trust domain are in one.
    ///
    /// # Errors
    /// When the token cannot be used.
    pub async fn token_with_keys(&self) -> Result<Option<String>, KeyStoreError> {
        let Some(token) = self.token.clone() else { return Ok(None) };
        off_the_runtime(move || Ok(token.holds_keys()?.then(|| token.label().to_owned()))).await
    }

    /// The names of the secrets and keys that begin with a text.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub(crate) async fn names_beginning_with(&self, prefix: &str) -> Result<Vec<String>, KeyStoreError> {
        let all = self.inner.place.all().await?;
        Ok(all
            .into_iter()
            .filter(|(name, _)| name.as_str().starts_with(prefix))
            .map(|(name, _)| name.to_string())
            .collect())
    }

    /// Deletes the private keys of this machine that are not among those named, and answers which. Those in a database
    /// are other replicas', too, and stay; so do other secrets.
    ///
    /// # Errors
    /// When they cannot be listed or removed.
    pub async fn forget_keys_but(&self, needed: &HashSet<String>) -> Result<Vec<String>, KeyStoreError> {
        let Place::Files(files) = &self.inner.place else { return Ok(Vec::new()) };
        let (files, needed) = (Arc::clone(files), needed.clone());
        let _not_while_sealing_anew = self.inner.wrapping.read().await;
        off_the_runtime(move || {
            let mut deleted = Vec::new();
            for (name, _) in files.all()? {
                if name.is_key_id() && !needed.contains(name.as_str()) {
                    files.delete(&name)?;
                    deleted.push(name.to_string());
                }
            }
            Ok(deleted)
        })
        .await
    }

    /// The MAC that proves which rows of the database this authority wrote.
    ///
    /// Its key is a secret of its own, made when the authority begins. `has_begun` says that the database holds a
    /// trust domain already: if there is no such secret then, the first version wrote the rows, under a key that it
    /// derived from the wrapping key; that becomes the secret.
    ///
    /// # Errors
    /// When it cannot be read or kept.
    pub async fn row_mac(&self, has_begun: bool) -> Result<RowMac, KeyStoreError> {
        if self.load_secret(ROW_MAC).await?.is_none() {
            let mut key = Zeroizing::new([0; RowMac::KEY_BYTES]);
            if has_begun {
                key = self.inner.wrapping.read().await.row_mac_key();
            } else {
                aws_lc_rs::rand::fill(key.as_mut()).map_err(|_| KeyStoreError::Randomness)?;
            }
            self.add_row_mac_key(key.as_ref()).await?;
        }
        // Read again: of two replicas that begin at once, both go on with the key that came first.
        let kept = self.load_secret(ROW_MAC).await?.ok_or(KeyStoreError::RowMac)?;
        kept.as_slice().try_into().map(RowMac::new).map_err(|_| KeyStoreError::RowMac)
    }

    async fn add_row_mac_key(&self, key: &[u8]) -> Result<(), KeyStoreError> {
        let Place::Database(database) = &self.inner.place else {
            return self.keep_secret(ROW_MAC, key).await;
        };
        let name = SecretName::parse(ROW_MAC)?;
        let wrapping = self.inner.wrapping.read().await;
        let sealed = seal(&wrapping, ROW_MAC, key)
            .map_err(|source| KeyStoreError::Seal { name: ROW_MAC.to_owned(), source })?;
        database.add(&name, sealed, wrapping.id()).await
    }

    /// Seals every secret under another wrapping key, all at once: whenever this is cut short, either the old
    /// wrapping key opens all of them or the new one does.
    ///
    /// # Errors
    /// When a secret does not open or the place cannot be written; then the old wrapping key opens them as before.
    pub async fn rekey(&self, new: WrappingKey) -> Result<Rekeyed, KeyStoreError> {
        let mut wrapping = self.inner.wrapping.write().await;
        let ids = (wrapping.id(), new.id());
        if ids.0 == ids.1 {
            return Err(KeyStoreError::SameWrappingKey(new.id()));
        }
        let mut attempt = 1;
        let sealed = loop {
            let old = self.inner.place.all().await?;
            let sealed = sealed_anew(&old, &wrapping, &new)?;
            let count = sealed.len();
            match self.inner.place.replace_all(old, sealed, ids).await {
                Ok(()) => break count,
                // Another replica has added a secret since they were read.
                Err(KeyStoreError::RekeyedByAnother) if attempt < REKEY_ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
        };
        *wrapping = new;
        Ok(Rekeyed { sealed, from: ids.0, to: ids.1 })
    }
}

impl Place {
    async fn read(&self, name: &SecretName) -> Result<Option<Vec<u8>>, KeyStoreError> {
        match self {
            Self::Files(files) => {
                let (files, name) = (Arc::clone(files), name.clone());
                off_the_runtime(move || files.read(&name)).await
            }
            Self::Database(database) => database.read(name).await,
            Self::Memory(memory) => Ok(memory.with(|secrets| secrets.get(name).cloned())),
        }
    }

    async fn all(&self) -> Result<Vec<(SecretName, Vec<u8>)>, KeyStoreError> {
        match self {
            Self::Files(files) => {
                let files = Arc::clone(files);
                off_the_runtime(move || files.all()).await
            }
            Self::Database(database) => database.all().await,
            Self::Memory(memory) => Ok(memory.with(|secrets| secrets.clone().into_iter().collect())),
        }
    }

    async fn replace_all(
        &self,
        old: Vec<(SecretName, Vec<u8>)>,
        new: Vec<(SecretName, Vec<u8>)>,
        wrapping: (WrappingKeyId, WrappingKeyId),
    ) -> Result<(), KeyStoreError> {
        match self {
            Self::Files(files) => {
                let files = Arc::clone(files);
                off_the_runtime(move || files.replace_all(&new)).await
            }
            Self::Database(database) => database.replace_all(old, new, wrapping).await,
            Self::Memory(memory) => {
                memory.with(|secrets| *secrets = new.into_iter().collect::<BTreeMap<_, _>>());
                Ok(())
            }
        }
    }
}

fn sealed_anew(
    all: &[(SecretName, Vec<u8>)],
    old: &WrappingKey,
    new: &WrappingKey,
) -> Result<Vec<(SecretName, Vec<u8>)>, KeyStoreError> {
    all.iter()
        .map(|(name, sealed)| {
            let failed = |source| KeyStoreError::Seal { name: name.to_string(), source };
            let secret = open(old, name.as_str(), sealed).map_err(failed)?;
            let again = seal(new, name.as_str(), &secret).map_err(failed)?;
            Ok((name.clone(), again))
        })
        .collect()
}

/// Says early, and which, when secrets are sealed under another wrapping key than the one that is configured.
fn check_wrapping_key(all: &[(SecretName, Vec<u8>)], configured: WrappingKeyId) -> Result<(), KeyStoreError> {
    for (name, sealed) in all {
        let sealed_under =
            sealed_under(sealed).map_err(|source| KeyStoreError::Seal { name: name.to_string(), source })?;
        if let Some(other) = sealed_under.filter(|id| *id != configured) {
            return Err(KeyStoreError::OtherWrappingKey { sealed_under: other.to_string(), configured });
        }
    }
    Ok(())
}

async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KeyStoreError> + Send + 'static,
) -> Result<T, KeyStoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(KeyStoreError::Interrupted))
}

/// Why a secret cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyStoreError {
    /// Not a name.
    #[error("`{0}` is not the name of a secret: use at most 64 lower-case letters, digits and `-`")]
    Name(String),
    /// There is no such key.
    #[error("the private key {0} is not there; restore it from a backup")]
    NoKey(String),
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("{path} cannot be written: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The token failed.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// It cannot be sealed or opened.
    #[error("the secret {name} cannot be used: {source}")]
    Seal {
        /// Which.
        name: String,
        /// Why.
        source: SealError,
    },
    /// What is inside is no key.
    #[error("the private key {name} cannot be used: {source}")]
    NotAKey {
        /// Which.
        name: String,
        /// Why.
        source: PrivateKeyError,
    },
    /// A key cannot be made.
    #[error(transparent)]
    Key(#[from] PrivateKeyError),
    /// The wrapping key cannot be read.
    #[error(transparent)]
    WrappingKey(#[from] WrappingKeyError),
    /// The secrets are sealed under another wrapping key.
    #[error(
        "the private keys are sealed under wrapping key {sealed_under}, but `wrapping_key` names {configured}; \
         configure the one that they are sealed under, which after a `secctl ca rekey` is the new one"
    )]
    OtherWrappingKey {
        /// The ID of the one.
        sealed_under: String,
        /// The ID of the other.
        configured: WrappingKeyId,
    },
    /// Everything is sealed under this wrapping key already.
    #[error(
        "everything is sealed under wrapping key {0} already; make a new one with `ca-daemon wrapping-key`"
    )]
    SameWrappingKey(WrappingKeyId),
    /// Another replica has sealed everything under another wrapping key.
    #[error(
        "another replica has sealed the secrets anew; put the new wrapping key where `wrapping_key` says, or configure \
         where it is and send SIGHUP"
    )]
    RekeyedByAnother,
    /// The key of the row MAC is missing or has the wrong size.
    #[error("the secret `{ROW_MAC}` is not the key that it should be; restore it from a backup")]
    RowMac,
    /// No randomness.
    #[error("the system gives no randomness")]
    Randomness,
    /// The work was interrupted by the end of the process.
    #[error("the daemon is stopping")]
    Interrupted,
}

#[cfg(test)]
mod tests;
