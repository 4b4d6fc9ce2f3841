//! The `keys` section of the configuration.

use std::path::PathBuf;

use schemars::JsonSchema;
use secplane_identity::KeyKind;
use serde::{Deserialize, Serialize};

use super::WrappingKeySource;

/// Where private keys live and of which kind they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeysConfig {
    /// Where private keys are kept: `file` or `database`, sealed; `pkcs11` for the key of the CA that signs issuing
    /// CAs in a token, and the others as by default; `memory` for an authority that is thrown away. Default: `file`
    /// with SQLite, `database` with PostgreSQL.
    pub storage: Option<KeyStorageKind>,
    /// The kind of the keys that the daemon makes: `ec-p256`, `ec-p384`, `ed25519`, `rsa-2048`, `rsa-3072` or
    /// `rsa-4096`. JWT-SVIDs cannot be signed with Ed25519; their keys are of `ec-p256` then.
    #[schemars(with = "String")]
    pub kind: KeyKind,
    /// The token, with `storage: pkcs11`.
    pub pkcs11: Option<Pkcs11Config>,
}

/// Where private keys are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyStorageKind {
    /// Sealed files in `data_dir`.
    File,
    /// Sealed in the database, where every replica finds them.
    Database,
    /// Until the process ends.
    Memory,
    /// The key of the CA that signs issuing CAs in a token.
    Pkcs11,
}

/// A PKCS#11 token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pkcs11Config {
    /// The library of the token's maker, such as `/usr/lib/softhsm/libsofthsm2.so`.
    pub module: PathBuf,
    /// The label of the token.
    pub token_label: String,
    /// Where the PIN of the token's user comes from.
    pub pin: WrappingKeySource,
}

impl KeysConfig {
    /// Checks that the values fit together, and to the database.
    ///
    /// # Errors
    /// Says what does not fit.
    pub fn check(&self, shared_database: bool) -> Result<(), &'static str> {
        match (self.storage, &self.pkcs11) {
            (Some(KeyStorageKind::Pkcs11), None) => Err("`storage: pkcs11` needs a `pkcs11` section"),
            (Some(KeyStorageKind::Pkcs11), Some(_)) => Ok(()),
            (_, Some(_)) => Err("a `pkcs11` section is used with `storage: pkcs11` only"),
            (Some(KeyStorageKind::File | KeyStorageKind::Memory), None) if shared_database => {
                Err("with PostgreSQL other replicas must find the keys: use `storage: database`, or `pkcs11`")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(None, false, false, true)]
    #[case(None, false, true, true)]
    #[case(Some(KeyStorageKind::File), false, false, true)]
    #[case(Some(KeyStorageKind::File), false, true, false)]
    #[case(Some(KeyStorageKind::Memory), false, true, false)]
    #[case(Some(KeyStorageKind::Database), false, true, true)]
    #[case(Some(KeyStorageKind::Database), false, false, true)]
    #[case(Some(KeyStorageKind::Pkcs11), true, true, true)]
    #[case(Some(KeyStorageKind::Pkcs11), false, false, false)]
    #[case(None, true, false, false)]
    fn takes_only_what_fits(
        #[case] storage: Option<KeyStorageKind>,
        #[case] has_token: bool,
        #[case] shared_database: bool,
        #[case] fits: bool,
    ) {
        let token = Pkcs11Config {
            module: "/m.so".into(),
            token_label: "t".into(),
            pin: WrappingKeySource::Env("PIN".into()),
        };
        let keys = KeysConfig { storage, pkcs11: has_token.then_some(token), ..KeysConfig::default() };
        assert_eq!(keys.check(shared_database).is_ok(), fits);
    }
}
