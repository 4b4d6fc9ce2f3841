//! A folder of manifests: every `*.yaml` and `*.yml` below it, in the order of their paths.
//!
//! Symbolic links are followed, as a mounted ConfigMap needs; entries whose names begin with a dot are not looked at,
//! which leaves out the folders that such a mount's links point into.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    io::Read,
    path::{Path, PathBuf},
};

use super::{
    Manifests, SourceOptions,
    changes::{Batch, Change, Changes},
    manifests::FileContent,
};
use crate::refusal::Refusal;

/// The largest file.
pub const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// The most files.
pub const MAX_FILES: usize = 10_000;
/// The most bytes in all files together.
pub const MAX_TOTAL_BYTES: u64 = 256 * 1024 * 1024;
/// How deep folders may nest.
const MAX_DEPTH: usize = 16;

/// Reads a folder once.
///
/// # Errors
/// When the folder itself cannot be read. What is wrong with one file is a refusal.
pub fn read(folder: &Path, options: &SourceOptions) -> Result<Manifests, ReadError> {
    let Batch { changes, refusals, .. } = Changes::default().update(read_files(folder, "", options)?);
    let objects = changes.into_iter().filter_map(|change| match change {
        Change::Set(object) => Some(object.as_ref().clone()),
        Change::Gone(_) => None,
    });
    Ok(Manifests { objects: objects.collect(), refusals })
}

/// The folder of manifests cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the manifests in {} cannot be read: {source}", folder.display())]
pub struct ReadError {
    /// The folder.
    pub folder: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// What files hold, by their names.
pub(crate) type Files = BTreeMap<String, FileContent>;

/// Reads a folder once. A file's name is its path relative to the folder, after `label`.
pub(crate) fn read_files(folder: &Path, label: &str, options: &SourceOptions) -> Result<Files, ReadError> {
    let mut walk = Walk { found: BTreeMap::new(), refused: Files::new(), above: BTreeSet::new() };
    walk.folder(folder, label, 0).map_err(|source| ReadError { folder: folder.to_owned(), source })?;
    let Walk { found, refused: mut files, .. } = walk;
    let mut left = MAX_TOTAL_BYTES;
    for (number, (name, path)) in found.into_iter().enumerate() {
        let content = if number < MAX_FILES {
            read_file(&name, &path, &mut left, options)
        } else {
            too_large(&name, format!("the folder has more than {MAX_FILES} manifest files"))
        };
        files.insert(name, content);
    }
    Ok(files)
}

fn too_large(name: &str, message: String) -> FileContent {
    let refusal = Refusal::new("too_large", message).in_file(name, 0, 0);
    FileContent::refused(refusal.suggest("split it, or move manifests elsewhere"))
}

fn read_file(name: &str, path: &Path, left: &mut u64, options: &SourceOptions) -> FileContent {
    let mut text = Vec::new();
    let read = fs::File::open(path).and_then(|file| {
        // Anything but a regular file could keep a reader waiting for ever.
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text)
    });
    let length = text.len() as u64;
    match read {
        Err(error) => {
            let message = format!("the file cannot be read: {error}");
            FileContent::refused(Refusal::new("unreadable", message).in_file(name, 0, 0))
        }
        Ok(_) if length > MAX_FILE_BYTES => {
            too_large(name, format!("the file has more than {MAX_FILE_BYTES} bytes"))
        }
        Ok(_) if length > *left => {
            too_large(name, format!("the folder's manifests have more than {MAX_TOTAL_BYTES} bytes together"))
        }
        Ok(_) => {
            *left -= length;
            FileContent::read(name, &text, options)
        }
    }
}

struct Walk {
    found: BTreeMap<String, PathBuf>,
    refused: Files,
    /// The folders on the way, links resolved, so that a link back ends.
    above: BTreeSet<PathBuf>,
}

impl Walk {
    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> io::Result<()> {
        let real = folder.canonicalize()?;
        if !self.above.insert(real.clone()) {
            return Ok(());
        }
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            let name = format!("{prefix}{name}");
            self.entry(&entry.path(), name, depth);
            // Beyond the limit only a few are collected, to say what is left out.
            if self.found.len() > MAX_FILES + 100 {
                break;
            }
        }
        self.above.remove(&real);
        Ok(())
    }

    fn entry(&mut self, path: &Path, name: String, depth: usize) {
        let is_manifest = matches!(path.extension().and_then(|e| e.to_str()), Some("yaml" | "yml"));
        let problem = match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() && depth < MAX_DEPTH => {
                self.folder(path, &format!("{name}/"), depth + 1).err().map(|error| error.to_string())
            }
            Ok(metadata) if metadata.is_dir() => Some(format!("folders nest more than {MAX_DEPTH} deep")),
            Ok(_) if is_manifest => {
                self.found.insert(name, path.to_owned());
                return;
            }
            Ok(_) => None,
            Err(error) => is_manifest.then(|| error.to_string()),
        };
        if let Some(problem) = problem {
            let refusal = Refusal::new("unreadable", format!("this cannot be read: {problem}"));
            self.refused.insert(name.clone(), FileContent::refused(refusal.in_file(&name, 0, 0)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const MANIFEST: &str = "apiVersion: agent.kagenti.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {name: NAME}\n\
                            spec: {policies: [{path: a.rego, content: x}]}\n";

    fn write(folder: &Path, file: &str, name: &str) {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, MANIFEST.replace("NAME", name)).unwrap();
    }

    fn names(manifests: &Manifests) -> Vec<&str> {
        manifests.objects.iter().map(|object| object.key.name.as_str()).collect()
    }

    #[test]
    fn reads_folders_in_order() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "b/two.yml", "two");
        write(folder.path(), "a.yaml", "one");
        write(folder.path(), "b/c/three.yaml", "three");
        write(folder.path(), "ignored.txt", "ignored");
        write(folder.path(), ".hidden/x.yaml", "hidden");
        let manifests = read(folder.path(), &SourceOptions::default()).unwrap();
        assert_eq!(names(&manifests), ["one", "three", "two"]);
        assert_eq!(manifests.objects[1].file, "b/c/three.yaml");
    }

    #[test]
    fn follows_the_links_of_a_mounted_config_map() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "..2026_01/policy.yaml", "mounted");
        symlink("..2026_01", folder.path().join("..data")).unwrap();
        symlink("..data/policy.yaml", folder.path().join("policy.yaml")).unwrap();
        let manifests = read(folder.path(), &SourceOptions::default()).unwrap();
        assert_eq!((names(&manifests), manifests.refusals.len()), (vec!["mounted"], 0));
    }

    #[test]
    fn a_link_in_a_circle_ends() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a/one.yaml", "one");
        symlink("..", folder.path().join("a/back")).unwrap();
        symlink("nowhere.yaml", folder.path().join("broken.yaml")).unwrap();
        let manifests = read(folder.path(), &SourceOptions::default()).unwrap();
        assert_eq!(names(&manifests), ["one"]);
        assert_eq!(manifests.refusals[0].file.as_deref(), Some("broken.yaml"));
    }

    #[test]
    fn an_oversized_file_is_refused_alone() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a.yaml", "one");
        fs::write(folder.path().join("big.yaml"), vec![b'#'; 4 * 1024 * 1024 + 1]).unwrap();
        let manifests = read(folder.path(), &SourceOptions::default()).unwrap();
        assert_eq!(names(&manifests), ["one"]);
        assert_eq!(manifests.refusals[0].code, "too_large");
    }

    #[test]
    fn one_object_in_two_files_is_refused_the_second_time() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a.yaml", "same");
        write(folder.path(), "b.yaml", "same");
        let manifests = read(folder.path(), &SourceOptions::default()).unwrap();
        assert_eq!(names(&manifests), ["same"]);
        assert_eq!(manifests.refusals[0].file.as_deref(), Some("b.yaml"));
        assert!(manifests.refusals[0].message.contains("a.yaml"));
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        assert!(read(Path::new("/nonexistent/policies"), &SourceOptions::default()).is_err());
    }
}
