//! Files that are there whole or not at all, and reading with a limit.

use std::{
    fs::{self, File, Permissions},
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::failure::{Failure, Kind};

/// The mode of a file that only its owner may read.
pub(crate) const SECRET: u32 = 0o600;
/// The mode of a file that everybody may read.
pub(crate) const PUBLIC: u32 = 0o644;

/// Writes a file so that a reader finds the old one or the whole new one, which has `mode` from its first moment
/// (less what the umask takes away).
pub(crate) fn write(path: &Path, contents: &[u8], mode: u32) -> Result<(), Failure> {
    write_whole(path, contents, mode)
        .map_err(|error| Failure::from_io(format!("write `{}`", path.display()), &error))
}

fn write_whole(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let folder = folder_of(path);
    let mut file = tempfile::Builder::new()
        .prefix(".secctl-")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(&folder)?;
    file.write_all(contents)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    // Without this the name may be lost although the contents are safe.
    File::open(&folder)?.sync_all()
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Makes a folder, and those above it, if it is not there.
pub(crate) fn make_folder(path: &Path) -> Result<(), Failure> {
    fs::create_dir_all(path)
        .map_err(|error| Failure::from_io(format!("make the folder `{}`", path.display()), &error))
}

/// Reads a text file of at most `limit` bytes; `-` is standard input.
pub(crate) fn read_text(path: &Path, limit: usize) -> Result<String, Failure> {
    let bytes = read_bytes(path, limit)?;
    String::from_utf8(bytes).map_err(|_| Failure::refused(reading(path), "it is not UTF-8 text"))
}

/// Reads a file of at most `limit` bytes; `-` is standard input.
pub(crate) fn read_bytes(path: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    let read = if path == Path::new("-") {
        read_at_most(io::stdin().lock(), limit)
    } else {
        File::open(path).and_then(|file| read_at_most(file, limit))
    };
    let bytes = read.map_err(|error| Failure::from_io(reading(path), &error))?;
    if bytes.len() > limit {
        return Err(Failure::new(
            Kind::Refused,
            reading(path),
            format_args!("it has more than {limit} bytes, and no more are read"),
        ));
    }
    Ok(bytes)
}

/// Reads one byte more than the limit, so that the caller sees when there was more.
fn read_at_most(from: impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn reading(path: &Path) -> String {
    if path == Path::new("-") { "read standard input".into() } else { format!("read `{}`", path.display()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_with_the_mode_and_replaces_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        write(&path, b"first", PUBLIC).unwrap();
        write(&path, b"second", SECRET).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, SECRET);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn refuses_a_file_over_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        fs::write(&path, [0; 11]).unwrap();
        assert_eq!(read_bytes(&path, 10).unwrap_err().kind(), Kind::Refused);
        assert_eq!(read_bytes(&path, 11).unwrap().len(), 11);
    }

    #[test]
    fn names_the_missing_file() {
        let failure = read_text(Path::new("/nonexistent/a"), 10).unwrap_err();
        assert_eq!(failure.kind(), Kind::NotFound);
        assert!(failure.to_string().contains("/nonexistent/a"));
    }
}
