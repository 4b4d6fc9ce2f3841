//! Reading a configuration.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use figment::{
    Figment,
    providers::{Env, Serialized},
};
use serde::{Serialize, de::DeserializeOwned};

/// The largest configuration file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Reads a YAML file and puts the environment over it.
///
/// A variable is named `<prefix><KEY>`, with `__` between the keys of nested values: `CA_DAEMON_LOG__FORMAT`.
///
/// Variables named in `not_settings` (without the prefix, in lower case) are passed over: they hold secrets that a
/// setting refers to by name, and must not be shown in an error.
///
/// # Errors
/// When the file cannot be read, or a key is unknown, missing or of another kind than the type wants.
pub fn load<T: DeserializeOwned>(path: &Path, prefix: &str, not_settings: &[&str]) -> Result<T, LoadError> {
    let text = read(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    extract(&text, Env::prefixed(prefix).ignore(not_settings).split("__"))
        .map_err(|reason| LoadError::Value { path: path.to_owned(), reason })
}

/// Reads a configuration that is at hand as YAML, without the environment.
///
/// # Errors
/// As [`load`], without the file: says what is wrong.
pub fn from_yaml<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    // A prefix that no variable can have.
    extract(text, Env::prefixed("=\0"))
}

/// A configuration as YAML.
///
/// # Errors
/// When the type cannot be written as YAML.
pub fn to_yaml<T: Serialize>(config: &T) -> Result<String, String> {
    serde_saphyr::to_string(config).map_err(|error| error.to_string())
}

fn extract<T: DeserializeOwned>(text: &str, environment: Env) -> Result<T, String> {
    let file: serde_json::Value =
        serde_saphyr::from_str(text).map_err(|error| format!("it is not YAML: {error}"))?;
    if !file.is_object() {
        return Err("it is not a mapping of keys to values".to_owned());
    }
    Figment::from(Serialized::defaults(file)).merge(environment).extract().map_err(|error| reason(&error))
}

/// What is wrong and with which key; not where in this program it was noticed.
fn reason(error: &figment::Error) -> String {
    let wrong: Vec<_> = error
        .clone()
        .into_iter()
        .map(|error| match error.path.join(".") {
            key if key.is_empty() => error.kind.to_string(),
            key => format!("`{}`: {}", key.to_lowercase(), error.kind),
        })
        .collect();
    wrong.join("; ")
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let length = fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if u64::try_from(length).is_ok_and(|length| length > MAX_FILE_BYTES) {
        return Err(io::Error::other(format!("it is larger than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("the configuration {path} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The content is not what the daemon wants.
    #[error("the configuration {path}, with the environment over it, is not usable: {reason}")]
    Value {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        name: String,
        #[serde(default)]
        nested: Nested,
    }

    #[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
    #[serde(deny_unknown_fields, default)]
    struct Nested {
        size: u32,
    }

    #[test]
    fn reads_and_writes_yaml() {
        let example: Example = from_yaml("name: a\nnested: {size: 3}\n").unwrap();
        assert_eq!(example, Example { name: "a".into(), nested: Nested { size: 3 } });
        assert_eq!(from_yaml::<Example>(&to_yaml(&example).unwrap()).unwrap(), example);
    }

    #[test]
    fn names_what_is_wrong() {
        let refused = |text: &str| from_yaml::<Example>(text).unwrap_err();
        assert!(refused("name: a\nsise: 3\n").contains("sise"));
        assert!(refused("nested: {size: 3}\n").contains("name"));
        assert!(refused("name: a\nnested: {size: x}\n").contains("nested.size"));
        assert!(refused("- a\n").contains("mapping"));
        assert!(refused("name: [\n").contains("YAML"));
    }

    #[test]
    fn refuses_a_file_that_is_too_large_or_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        assert!(matches!(load::<Example>(&path, "EXAMPLE_", &[]), Err(LoadError::Read { .. })));
        fs::write(&path, "#".repeat(1024 * 1024 + 1)).unwrap();
        assert!(matches!(load::<Example>(&path, "EXAMPLE_", &[]), Err(LoadError::Read { .. })));
    }
}
