//! What tells this daemon from others on the same database: it names its issuing CAs and its audit log.

use std::{fs, io, path::Path};

use crate::whole_file;

const FILE: &str = "replica";
const ID_BYTES: usize = 8;

/// The replica's ID: 16 hex digits in the file `replica` of the data folder, made at the first start.
///
/// # Errors
/// When the file cannot be read or written, or holds anything else.
pub fn replica_id(data_dir: &Path) -> io::Result<String> {
    let path = data_dir.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let id = text.trim();
            let is_id = id.len() == 2 * ID_BYTES && id.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !is_id {
                return Err(io::Error::other(format!(
                    "{} does not hold a replica ID of {} hex digits; restore it, or delete it to begin as a new replica",
                    path.display(),
                    2 * ID_BYTES
                )));
            }
            Ok(id.to_ascii_lowercase())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut bytes = [0; ID_BYTES];
            aws_lc_rs::rand::fill(&mut bytes)
                .map_err(|_| io::Error::other("the system gives no randomness"))?;
            let id = hex::encode(bytes);
            whole_file::write(&path, format!("{id}\n").as_bytes(), 0o600)?;
            Ok(id)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_the_same_and_differs_from_others() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let id = replica_id(one.path()).unwrap();
        assert_eq!(replica_id(one.path()).unwrap(), id);
        assert_ne!(replica_id(other.path()).unwrap(), id);
    }

    #[test]
    fn refuses_what_is_no_id() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "../../etc").unwrap();
        assert!(replica_id(folder.path()).is_err());
    }
}
