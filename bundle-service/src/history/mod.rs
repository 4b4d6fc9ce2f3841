//! What was in force, when and why: kept on disk, so that a broken policy falls back to its last good version after a
//! restart too, and an administrator can look back and go back.
//!
//! The folder holds a file a namespace. A record is a line with a checksum, and records of a change are on disk before
//! its bundles are served. A line that cannot be read is named, takes no other with it, and what it may have said is
//! not believed from older lines either: the resource then has no last good version.
//!
//! | module | holds |
//! |---|---|
//! | `record` | one record and its line |
//! | `segment` | the file of a namespace |
//! | [`query`] | looking back |

pub mod query;
mod record;
mod segment;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use record::{Member, Published};
use record::{PinnedVersion, Record};
use segment::{Contents, Segment, remove_if_there};

use crate::{
    compile::{
        policies::{PublishedTier, Remembered},
        publication::Publication,
        resource::{Pin, RememberedResource, StoredVersion},
    },
    policy::ResourceKey,
    refusal::Refusal,
    tiers::TierKey,
};

/// What is kept, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HistoryLimits {
    /// How many publications of each tier are kept, with the versions that were in them.
    #[serde(default = "default_publications")]
    pub publications: usize,
    /// The largest file of one namespace, in bytes. What is in force is kept even beyond that.
    #[serde(default = "default_namespace_bytes")]
    pub namespace_bytes: usize,
    /// How long a namespace in which nothing is in force any more is remembered.
    #[serde(default = "default_forget_after", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub forget_after: Duration,
}

fn default_publications() -> usize {
    50
}

fn default_namespace_bytes() -> usize {
    64 * 1024 * 1024
}

fn default_forget_after() -> Duration {
    Duration::from_secs(30 * 24 * 60 * 60)
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self {
            publications: default_publications(),
            namespace_bytes: default_namespace_bytes(),
            forget_after: default_forget_after(),
        }
    }
}

/// The history in a folder. Its calls touch the disk and belong off the async runtime.
#[derive(Debug)]
pub struct History {
    folder: PathBuf,
    limits: HistoryLimits,
    /// Where publications of the global tier are.
    system_namespace: String,
    segments: BTreeMap<String, Segment>,
    /// Held for as long as this lives, so that no other process writes here.
    _lock: File,
}

/// Why the history cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The folder or a file in it fails.
    #[error("the history in {} cannot be used: {source}; check data_dir and its disk", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has it.
    #[error("another process uses the history in {}; stop it, or configure another data_dir", .0.display())]
    InUse(PathBuf),
}

/// What a folder held.
#[derive(Debug, Default)]
pub struct Opened {
    /// What was in force.
    pub remembered: Remembered,
    /// Each line that cannot be read.
    pub damages: Vec<Refusal>,
}

impl History {
    /// Opens the history in a folder, which is made for its owner alone if it is not there.
    ///
    /// # Errors
    /// When the folder cannot be used, or another process uses it.
    pub fn open(
        folder: &Path,
        system_namespace: &str,
        limits: HistoryLimits,
        now: SystemTime,
    ) -> Result<(Self, Opened), HistoryError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| HistoryError::Io { path, source }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed(folder))?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(failed(folder))?;
        let lock = lock(folder)?;
        let mut history = Self {
            folder: folder.to_owned(),
            limits,
            system_namespace: system_namespace.to_owned(),
            segments: BTreeMap::new(),
            _lock: lock,
        };
        let mut opened = Opened::default();
        for entry in fs::read_dir(folder).map_err(failed(folder))? {
            let path = entry.map_err(failed(folder))?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                // A file that was not finished when the process ended.
                Some("new") => remove_if_there(&path).map_err(failed(&path))?,
                Some("jsonl") => history.open_segment(&path, now, &mut opened)?,
                _ => {}
            }
        }
        Ok((history, opened))
    }

    fn open_segment(
        &mut self,
        path: &Path,
        now: SystemTime,
        opened: &mut Opened,
    ) -> Result<(), HistoryError> {
        let failed = |source| HistoryError::Io { path: path.to_owned(), source };
        let Some(namespace) = path.file_stem().and_then(|stem| stem.to_str()) else { return Ok(()) };
        let (segment, contents) = match Segment::open(path.to_owned()) {
            Ok(read) => read,
            Err(error) => {
                // One unreadable file is named like an unreadable line; it takes no other with it.
                opened.damages.push(damaged(path, 0, &format!("the file cannot be read: {error}")));
                return Ok(());
            }
        };
        if self.is_over(&contents, now) {
            return remove_if_there(path).map_err(failed);
        }
        remember(path, &contents, opened);
        self.segments.insert(namespace.to_owned(), segment);
        Ok(())
    }

    /// Whether nothing of a namespace is in force, and has not been for long.
    fn is_over(&self, contents: &Contents, now: SystemTime) -> bool {
        let last: BTreeMap<&TierKey, &Published> =
            contents.published.iter().map(|published| (&published.tier, published)).collect();
        let newest = last.values().map(|published| published.at).max().unwrap_or_default();
        let forget = seconds(now).saturating_sub(self.limits.forget_after.as_secs());
        contents.damages.is_empty()
            && !last.is_empty()
            && last.values().all(|published| published.members.is_empty() && published.digest.is_none())
            && newest < forget
    }

    fn namespace<'a>(&'a self, tier: &'a TierKey) -> &'a str {
        match tier {
            TierKey::Global => &self.system_namespace,
            TierKey::Namespace(namespace) => namespace,
            TierKey::Client(client) => &client.namespace,
        }
    }

    fn segment(&mut self, namespace: &str) -> &mut Segment {
        let path = self.folder.join(format!("{namespace}.jsonl"));
        self.segments.entry(namespace.to_owned()).or_insert_with(|| Segment::new(path))
    }

    /// Records what came into force, with the content of versions that are new. When this returns it is on disk.
    ///
    /// # Errors
    /// When the disk fails for some namespace; the others are on disk all the same.
    pub fn publish(&mut self, publications: &[Publication], at: SystemTime) -> Result<(), HistoryError> {
        let mut records: BTreeMap<String, (BTreeSet<crate::digest::Digest>, Vec<Record>)> = BTreeMap::new();
        for publication in publications {
            let namespace = self.namespace(&publication.tier).to_owned();
            let segment = self.segment(&namespace);
            let (written, records) = records.entry(namespace).or_default();
            for member in &publication.members {
                if !segment.holds(&member.hash) && written.insert(member.hash) {
                    records.push(content(member));
                }
            }
            let number = segment.next_number(&publication.tier);
            records.push(Record::Published(Published::of(publication, number, seconds(at))));
        }
        let mut first_failure = None;
        for (namespace, (_, records)) in records {
            let failure = self.write(&namespace, &records).err();
            first_failure = first_failure.or(failure);
        }
        first_failure.map_or(Ok(()), Err)
    }

    /// Records an administrator's choice.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn pin(
        &mut self,
        key: &ResourceKey,
        pin: &Pin<StoredVersion>,
        at: SystemTime,
    ) -> Result<(), HistoryError> {
        let Pin { to, of, by } = pin;
        let held = to.as_ref().filter(|to| !self.segment(&key.namespace).holds(&to.hash));
        let mut records: Vec<Record> = held.map(content).into_iter().collect();
        let to = to.as_ref().map(PinnedVersion::of);
        let (at, resource, of, by) = (seconds(at), key.clone(), *of, by.clone());
        records.push(Record::Pinned { at, resource, to, of, by });
        self.write(&key.namespace, &records)
    }

    /// Records that a choice ended.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn release(&mut self, key: &ResourceKey, by: &str, at: SystemTime) -> Result<(), HistoryError> {
        let record = Record::Released { at: seconds(at), resource: key.clone(), by: by.to_owned() };
        self.write(&key.namespace, &[record])
    }

    fn write(&mut self, namespace: &str, records: &[Record]) -> Result<(), HistoryError> {
        let path = self.folder.join(format!("{namespace}.jsonl"));
        let (keep, most) = (self.limits.publications, self.limits.namespace_bytes);
        let segment = self.segment(namespace);
        let written = segment.append(records).and_then(|()| match segment.has_grown() {
            true => segment.make_lean(keep, most),
            false => Ok(()),
        });
        written.map_err(|source| HistoryError::Io { path, source })
    }
}

fn content(version: &StoredVersion) -> Record {
    Record::Content { version: version.hash, policy: Arc::clone(&version.policy) }
}

fn lock(folder: &Path) -> Result<File, HistoryError> {
    let path = folder.join("lock");
    let failed = |source| HistoryError::Io { path: path.clone(), source };
    let file =
        File::options().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(HistoryError::InUse(folder.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn damaged(path: &Path, line: u32, message: &str) -> Refusal {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Refusal::new("history_damaged", message).warning().in_file(&format!("history/{name}"), line, 0).suggest(
        "what it held is kept beside it as .damaged; what the source has now counts, and a policy that is broken there \
         may deny until it is corrected",
    )
}

/// What was in force by a file. Of a tier that a damaged line after its last record may be about, nothing is believed.
fn remember(path: &Path, contents: &Contents, opened: &mut Opened) {
    let last: BTreeMap<&TierKey, (usize, &Published)> = contents
        .published
        .iter()
        .enumerate()
        .map(|(index, published)| (&published.tier, (index, published)))
        .collect();
    for damage in &contents.damages {
        let about = match (&damage.hint.tier, &damage.hint.resource) {
            (Some(tier), _) => format!("it seems to be about the tier {tier}"),
            (None, Some(resource)) => format!("it seems to be about {resource}"),
            (None, None) => "nothing tells what it was about".to_owned(),
        };
        opened.damages.push(damaged(
            path,
            damage.line,
            &format!("a record of the history is damaged: {about}"),
        ));
    }
    for (tier, (index, published)) in last {
        let doubtful = contents.damages.iter().any(|damage| {
            let unknown = damage.hint.tier.is_none() && damage.hint.resource.is_none();
            damage.after > index && (damage.hint.tier.as_ref() == Some(tier) || unknown)
        });
        if doubtful {
            continue;
        }
        let mut complete = true;
        for member in &published.members {
            let Some(policy) = contents.policies.get(&member.version).map(Arc::clone) else {
                complete = false;
                let message = format!("the content of {} {:.12} is missing", member.resource, member.version);
                opened.damages.push(damaged(path, 0, &message));
                continue;
            };
            let (tier, hash, origin) = (tier.clone(), member.version, Arc::clone(&member.origin));
            let good = Some(StoredVersion { tier, policy, hash, origin, commit: member.commit.clone() });
            opened.remembered.resources.entry(member.resource.clone()).or_default().good = good;
        }
        if complete {
            let members = published.members.iter().map(|member| (&member.resource, member.version));
            let (digest, denied) = (published.digest, published.denied.is_some());
            let kept = PublishedTier::of(digest, denied, published.tests, members);
            opened.remembered.tiers.insert(tier.clone(), kept);
        }
    }
    for (resource, pin) in &contents.pins {
        let Record::Pinned { to, of, by, .. } = pin else { continue };
        let to = match to {
            None => None,
            Some(PinnedVersion { version, tier, origin, commit }) => match contents.policies.get(version) {
                Some(policy) => Some(StoredVersion {
                    tier: tier.clone(),
                    policy: Arc::clone(policy),
                    hash: *version,
                    origin: Arc::clone(origin),
                    commit: commit.clone(),
                }),
                None => {
                    let message =
                        format!("the content of {resource} {version:.12}, which was chosen, is missing");
                    opened.damages.push(damaged(path, 0, &message));
                    continue;
                }
            },
        };
        let pin = Some(Pin { to, of: *of, by: by.clone() });
        let remembered: &mut RememberedResource =
            opened.remembered.resources.entry(resource.clone()).or_default();
        remembered.pin = pin;
    }
}

#[cfg(test)]
mod tests;
