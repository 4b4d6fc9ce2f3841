//! The file of one namespace: records one after another, each readable without the others.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::record::{Hint, MAX_LINE_BYTES, Published, Record};
use crate::{
    digest::Digest,
    policy::{AuthorizationPolicy, ResourceKey},
    tiers::TierKey,
};

/// How many lines may come to a file before it is looked at whether some can go.
const SLACK_LINES: usize = 256;

/// The file of one namespace, and what must be known of it to write on.
#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    /// The versions whose content it holds.
    contents: HashSet<Digest>,
    /// The number of the last publication of each tier.
    numbers: BTreeMap<TierKey, u64>,
    lines: usize,
    /// How many lines it had when it was last written anew.
    lean: usize,
}

/// Everything in a file that is whole.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) policies: HashMap<Digest, Arc<AuthorizationPolicy>>,
    pub(super) published: Vec<Published>,
    /// The last choice for each resource, if it has not ended.
    pub(super) pins: BTreeMap<ResourceKey, Record>,
    pub(super) damages: Vec<Damage>,
    /// Where a write that was cut short began.
    torn_at: Option<u64>,
    lines: usize,
}

/// A line that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) line: u32,
    pub(super) hint: Hint,
    /// How many publications stood before it.
    pub(super) after: usize,
}

impl Contents {
    /// Reads a file, whole lines only.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let mut reader = BufReader::new(File::open(path)?);
        let mut contents = Self::default();
        let (mut number, mut at) = (0_u32, 0_u64);
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = reader.by_ref().take(MAX_LINE_BYTES as u64).read_until(b'\n', &mut line)?;
            if length == 0 {
                return Ok(contents);
            }
            number = number.saturating_add(1);
            let complete = line.pop_if(|end| *end == b'\n').is_some();
            if !complete && length < MAX_LINE_BYTES {
                // The daemon ended while it wrote this; nothing that came of it was ever served.
                contents.torn_at = Some(at);
                return Ok(contents);
            }
            at += length as u64;
            if !complete {
                at += skip_line(&mut reader)?;
            }
            if !line.is_empty() {
                contents.line(number, &line);
            }
        }
    }

    fn line(&mut self, number: u32, line: &[u8]) {
        self.lines += 1;
        match Record::read(line) {
            Some(Record::Content { version, policy }) => drop(self.policies.insert(version, policy)),
            Some(Record::Published(published)) => self.published.push(published),
            Some(pinned @ Record::Pinned { .. }) => {
                if let Record::Pinned { resource, .. } = &pinned {
                    self.pins.insert(resource.clone(), pinned);
                }
            }
            Some(Record::Released { resource, .. }) => drop(self.pins.remove(&resource)),
            None => {
                let after = self.published.len();
                self.damages.push(Damage { line: number, hint: Hint::of(line), after });
            }
        }
    }

    /// What stays when only so many publications of each tier are kept, as lines.
    fn lean(&self, keep: usize) -> Vec<Record> {
        let mut left: BTreeMap<&TierKey, usize> = BTreeMap::new();
        let kept = self.published.iter().rev().filter(|published| {
            let left = left.entry(&published.tier).or_insert(keep);
            let room = *left > 0;
            *left = left.saturating_sub(1);
            room
        });
        let mut kept: Vec<&Published> = kept.collect();
        kept.reverse();
        let pinned = self.pins.values().filter_map(|pin| match pin {
            Record::Pinned { to: Some(to), .. } => Some(to.version),
            _ => None,
        });
        let members = kept.iter().flat_map(|published| published.members.iter().map(|member| member.version));
        let needed: BTreeSet<Digest> = members.chain(pinned).collect();
        let content = |version| {
            let policy = Arc::clone(self.policies.get(&version)?);
            Some(Record::Content { version, policy })
        };
        let mut records: Vec<Record> = needed.into_iter().filter_map(content).collect();
        records.extend(kept.into_iter().cloned().map(Record::Published));
        records.extend(self.pins.values().cloned());
        records
    }

    fn numbers(&self) -> BTreeMap<TierKey, u64> {
        self.published.iter().map(|published| (published.tier.clone(), published.number)).collect()
    }
}

fn skip_line(reader: &mut impl BufRead) -> io::Result<u64> {
    let mut skipped = 0;
    loop {
        let buffer = reader.fill_buf()?;
        let (length, ended) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        reader.consume(length);
        skipped += length as u64;
        if ended {
            return Ok(skipped);
        }
    }
}

impl Segment {
    /// A file that is not there yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, contents: HashSet::new(), numbers: BTreeMap::new(), lines: 0, lean: 0 }
    }

    /// Opens a file that is there. What is damaged in it is kept beside it under another name.
    pub(super) fn open(path: PathBuf) -> io::Result<(Self, Contents)> {
        let contents = Contents::read(&path)?;
        if let Some(at) = contents.torn_at {
            let file = OpenOptions::new().write(true).open(&path)?;
            file.set_len(at)?;
            file.sync_all()?;
        }
        if !contents.damages.is_empty() {
            fs::copy(&path, path.with_extension("damaged"))?;
        }
        let segment = Self {
            path,
            contents: contents.policies.keys().copied().collect(),
            numbers: contents.numbers(),
            lines: contents.lines,
            lean: contents.lines,
        };
        Ok((segment, contents))
    }

    /// What the next publication of a tier is numbered.
    pub(super) fn next_number(&mut self, tier: &TierKey) -> u64 {
        let number = self.numbers.entry(tier.clone()).or_default();
        *number += 1;
        *number
    }

    pub(super) fn holds(&self, version: &Digest) -> bool {
        self.contents.contains(version)
    }

    /// Appends records. When this returns they are on disk.
    pub(super) fn append(&mut self, records: &[Record]) -> io::Result<()> {
        // The line end before may be missing, if writing failed in the middle.
        let mut bytes = vec![b'\n'];
        for record in records {
            record.write(&mut bytes);
        }
        let is_new = !self.path.try_exists()?;
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        if is_new {
            sync_folder(&self.path)?;
        }
        self.lines += records.len();
        self.contents.extend(records.iter().filter_map(|record| match record {
            Record::Content { version, .. } => Some(*version),
            _ => None,
        }));
        Ok(())
    }

    /// Whether so much has come that some of it should go.
    pub(super) fn has_grown(&self) -> bool {
        self.lines > 2 * self.lean + SLACK_LINES
    }

    /// Writes the file anew with so many publications of each tier, or with fewer when it would be larger than allowed.
    pub(super) fn make_lean(&mut self, keep: usize, max_bytes: usize) -> io::Result<()> {
        let contents = Contents::read(&self.path)?;
        let mut keep = keep.max(1);
        let (records, bytes) = loop {
            let records = contents.lean(keep);
            let mut bytes = Vec::new();
            records.iter().for_each(|record| record.write(&mut bytes));
            if bytes.len() <= max_bytes || keep == 1 {
                break (records, bytes);
            }
            keep /= 2;
        };
        let temporary = self.path.with_extension("new");
        remove_if_there(&temporary)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        sync_folder(&self.path)?;
        self.lines = records.len();
        self.lean = records.len();
        self.contents = records
            .iter()
            .filter_map(|record| match record {
                Record::Content { version, .. } => Some(*version),
                _ => None,
            })
            .collect();
        Ok(())
    }

    pub(super) fn read(&self) -> io::Result<Contents> {
        match Contents::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Contents::default()),
            other => other,
        }
    }
}

pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
