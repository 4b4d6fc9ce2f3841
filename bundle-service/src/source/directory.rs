//! A folder of manifests: every `*.yaml`, `*.yml` and `*.json` below it, in the order of their paths.
//!
//! Symbolic links are followed, as a mounted ConfigMap needs; entries whose names begin with a dot are not looked at,
//! which leaves out the folders that such a mount's links point into.
//!
//! A folder is read as it was at one moment. What was found is looked at again after reading, and if anything has
//! changed since, as when a mount's link or the folder itself is swapped, everything is read anew: half of an old version
//! with half of a new one may allow what neither does.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    io::Read,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
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
/// How often a folder is read that changes meanwhile, and the pause in between.
const READINGS: usize = 10;
const PAUSE: Duration = Duration::from_millis(30);

/// Reads a folder once.
///
/// # Errors
/// When the folder itself cannot be read, holds too many files, or changes all the time. What is wrong with one file is a
/// refusal.
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
    let error = |source| ReadError { folder: folder.to_owned(), source };
    let mut walk = Walk::over(folder, label).map_err(error)?;
    for _ in 0..READINGS {
        let files = read_found(&walk.found, options);
        let after = Walk::over(folder, label).map_err(error)?;
        match files {
            Some(files) if after.found == walk.found => {
                walk.refused.extend(files);
                return Ok(walk.refused);
            }
            _ => walk = after,
        }
        sleep(PAUSE);
    }
    Err(error(io::Error::other("it changes all the time; write it elsewhere, and put it in place at once")))
}

/// The content of what was found; `None` when a file is not the one that was found.
fn read_found(found: &BTreeMap<String, Found>, options: &SourceOptions) -> Option<Files> {
    let mut files = Files::new();
    let mut left = MAX_TOTAL_BYTES;
    for (name, found) in found {
        files.insert(name.clone(), read_file(name, found, &mut left, options)?);
    }
    Some(files)
}

fn too_large(name: &str, message: String) -> FileContent {
    let refusal = Refusal::new("too_large", message).in_file(name, 0, 0);
    FileContent::refused(refusal.suggest("split it, or move manifests elsewhere"))
}

fn read_file(name: &str, found: &Found, left: &mut u64, options: &SourceOptions) -> Option<FileContent> {
    let mut text = Vec::new();
    let mut is_another = false;
    let read = fs::File::open(&found.path).and_then(|file| {
        let metadata = file.metadata()?;
        is_another = Stamp::of(&metadata) != found.stamp;
        // Anything but a regular file could keep a reader waiting for ever.
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text)
    });
    if is_another {
        return None;
    }
    let length = text.len() as u64;
    let content = match read {
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
    };
    Some(content)
}

/// A manifest file.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    path: PathBuf,
    stamp: Stamp,
}

/// What is another when a file has changed, or is another file.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

struct Walk {
    found: BTreeMap<String, Found>,
    refused: Files,
    /// The folders on the way, links resolved, so that a link back ends.
    above: BTreeSet<PathBuf>,
}

impl Walk {
    fn over(folder: &Path, label: &str) -> io::Result<Self> {
        let mut walk = Self { found: BTreeMap::new(), refused: Files::new(), above: BTreeSet::new() };
        walk.folder(folder, label, 0)?;
        // A folder is listed in no order: which files were left out would be chance, and differ by replica.
        if walk.found.len() > MAX_FILES {
            return Err(io::Error::other(format!("there are more than {MAX_FILES} manifest files")));
        }
        Ok(walk)
    }

    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> io::Result<()> {
        let real = folder.canonicalize()?;
        if !self.above.insert(real.clone()) {
            return Ok(());
        }
        let walked = self.entries(folder, prefix, depth);
        self.above.remove(&real);
        walked
    }

    fn entries(&mut self, folder: &Path, prefix: &str, depth: usize) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            match name.to_str() {
                _ if name.as_bytes().starts_with(b".") => {}
                Some(name) => self.entry(&entry.path(), format!("{prefix}{name}"), depth),
                None => self.nameless(&entry.path(), format!("{prefix}{}", name.as_bytes().escape_ascii())),
            }
            if self.found.len() > MAX_FILES {
                break;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, name: String, depth: usize) {
        let is_manifest = is_manifest(path);
        let problem = match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() && depth < MAX_DEPTH => {
                self.folder(path, &format!("{name}/"), depth + 1).err().map(|error| error.to_string())
            }
            Ok(metadata) if metadata.is_dir() => Some(format!("folders nest more than {MAX_DEPTH} deep")),
            Ok(metadata) if is_manifest => {
                self.found.insert(name, Found { path: path.to_owned(), stamp: Stamp::of(&metadata) });
                return;
            }
            Ok(_) => None,
            // What cannot be looked at may be a folder: a mount that is gone, a link to nothing. What was in it stays.
            // What is not there at all was removed since the folder was listed.
            Err(error) => {
                let is_link = || fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
                let may_be_folder = error.kind() != io::ErrorKind::NotFound || is_link();
                (is_manifest || may_be_folder).then(|| error.to_string())
            }
        };
        if let Some(problem) = problem {
            self.refuse(name, &problem);
        }
    }

    /// An entry that nothing can be told of by its name: two of them may look alike once they are made readable.
    fn nameless(&mut self, path: &Path, name: String) {
        if is_manifest(path) || !fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) {
            self.refuse(name, "its name is not UTF-8");
        }
    }

    fn refuse(&mut self, name: String, problem: &str) {
        let refusal = Refusal::new("unreadable", format!("this cannot be read: {problem}"));
        let content = FileContent::refused(refusal.in_file(&name, 0, 0));
        self.refused.insert(name, content);
    }
}

/// Whether a file is named like one.
pub(super) fn is_manifest(path: &Path) -> bool {
    matches!(path.extension().and_then(|extension| extension.to_str()), Some("yaml" | "yml" | "json"))
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
        let json = serde_json::json!({
            "apiVersion": "agent.kagenti.dev/v1alpha1", "kind": "AuthorizationPolicy", "metadata": { "name": "four" },
            "spec": { "policies": [{ "path": "a.rego", "content": "x" }] },
        });
        fs::write(folder.path().join("d.json"), json.to_string()).unwrap();
        fs::write(folder.path().join("data.json"), "{}").unwrap();
        write(folder.path(), "ignored.txt", "ignored");
        write(folder.path(), ".hidden/x.yaml", "hidden");
        let manifests = read(folder.path(), &SourceOptions::default()).unwrap();
        assert_eq!((names(&manifests), manifests.refusals.len()), (vec!["one", "three", "two", "four"], 0));
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
    fn refuses_a_name_that_is_not_text() {
        let folder = tempfile::tempdir().unwrap();
        let named = |name: &[u8]| folder.path().join(std::ffi::OsStr::from_bytes(name));
        for (name, object) in [(&b"\xfe.yaml"[..], "one"), (&b"\xff.yaml"[..], "two")] {
            fs::write(named(name), MANIFEST.replace("NAME", object)).unwrap();
        }
        write(&named(b"\xff"), "three.yaml", "three");
        write(folder.path(), "\u{fffd}.yaml", "four");
        fs::write(named(b"\xff.txt"), "none of ours").unwrap();
        let files = read_files(folder.path(), "", &SourceOptions::default()).unwrap();
        let read =
            |content: &FileContent| content.objects.iter().map(|object| object.key.name.clone()).next();
        let files: Vec<_> = files.iter().map(|(name, content)| (name.as_str(), read(content))).collect();
        let refused = [r"\xfe.yaml", r"\xff", r"\xff.yaml"].map(|name| (name, None));
        assert_eq!(files, [&refused[..], &[("\u{fffd}.yaml", Some("four".to_owned()))]].concat());
    }

    /// As when a mount goes away: the deny tiers in it may not go with it.
    #[test]
    fn keeps_what_a_linked_folder_held_that_is_away() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(elsewhere.path(), "mounted/deep/one.yaml", "one");
        write(folder.path(), "team-b/two.yaml", "two");
        symlink(elsewhere.path().join("mounted"), folder.path().join("team-a")).unwrap();
        let mut changes = Changes::default();
        let mut update = || changes.update(read_files(folder.path(), "", &SourceOptions::default()).unwrap());
        assert_eq!(update().changes.len(), 2);

        fs::rename(elsewhere.path().join("mounted"), elsewhere.path().join("away")).unwrap();
        let away = update();
        assert_eq!((away.changes, away.unreadable), (Vec::new(), vec!["team-a".to_owned()]));
        assert_eq!(away.refusals[0].file.as_deref(), Some("team-a"));

        fs::rename(elsewhere.path().join("away"), elsewhere.path().join("mounted")).unwrap();
        assert_eq!(update(), Batch::default());
        fs::remove_file(folder.path().join("team-a")).unwrap();
        assert!(matches!(update().changes.as_slice(), [Change::Gone(key)] if key.name == "one"));
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
    fn refuses_a_folder_of_too_many_files_whole() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("below")).unwrap();
        let put = |number: usize| fs::write(folder.path().join(format!("below/{number}.yaml")), "").unwrap();
        (0..MAX_FILES).for_each(put);
        assert!(read(folder.path(), &SourceOptions::default()).is_ok());
        put(MAX_FILES);
        let error = read(folder.path(), &SourceOptions::default()).unwrap_err().to_string();
        assert!(error.contains(&format!("more than {MAX_FILES} manifest files")), "{error}");
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

    /// A mount whose files are swapped all at once, again and again, while it is read.
    #[test]
    fn what_is_swapped_at_once_is_never_read_by_halves() {
        const FILES: usize = 20;
        let folder = tempfile::tempdir().unwrap();
        let put = |version: usize| {
            for file in 0..FILES {
                write(folder.path(), &format!("..{version}/{file}.yaml"), &format!("v{version}-{file}"));
            }
            symlink(format!("..{version}"), folder.path().join("..new")).unwrap();
            fs::rename(folder.path().join("..new"), folder.path().join("..data")).unwrap();
            if version > 1 {
                fs::remove_dir_all(folder.path().join(format!("..{}", version - 2))).unwrap();
            }
        };
        put(0);
        for file in 0..FILES {
            symlink(format!("..data/{file}.yaml"), folder.path().join(format!("{file}.yaml"))).unwrap();
        }
        let mut seen = BTreeSet::new();
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| (1..200).for_each(&put));
            loop {
                let last = writing.is_finished();
                // One that gives up has read nothing, which is as good.
                if let Ok(manifests) = read(folder.path(), &SourceOptions::default()) {
                    let versions: BTreeSet<&str> =
                        names(&manifests).iter().filter_map(|name| name.split('-').next()).collect();
                    assert_eq!((versions.len(), names(&manifests).len()), (1, FILES), "{versions:?}");
                    assert_eq!(manifests.refusals, []);
                    seen.extend(versions.iter().map(|version| (*version).to_owned()));
                }
                if last {
                    break;
                }
            }
        });
        assert!(seen.contains("v199"), "{seen:?}");
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        assert!(read(Path::new("/nonexistent/policies"), &SourceOptions::default()).is_err());
    }
}
