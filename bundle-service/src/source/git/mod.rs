//! Manifests in a Git repository, at one ref.
//!
//! The server is asked where the ref stands. When that is news, its commit alone is fetched, without history, into a
//! bare repository of ours, and files are listed and printed from there. Nothing is ever checked out, so no filter, hook,
//! attribute or symbolic link of the repository is followed. When something fails, what was read last stays in use, and
//! it is tried again after a pause that grows up to a bound.
//!
//! | module | holds |
//! |---|---|
//! | `config` | the settings |
//! | `program` | running `git` within limits |
//! | `tree` | what it prints of a commit |

mod config;
mod program;
mod tree;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{sync::mpsc, task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;

pub use config::GitConfig;
pub use program::GitError;

use self::{program::Git, tree::Listing};
use super::{
    Batch, SourceKind, SourceOptions,
    changes::Changes,
    directory::{Files, MAX_FILES, MAX_TOTAL_BYTES},
    manifests::FileContent,
    reach::Reach,
};
use crate::refusal::Refusal;

/// What the fetched commit is called here.
const HEAD: &str = "refs/secplane/head";
/// The most that a list of refs, or of files, may take.
const MAX_LIST_BYTES: u64 = 64 * 1024 * 1024;
/// The pauses after failures.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(5 * 60);

/// A repository that is followed.
#[derive(Debug)]
pub struct GitSource {
    config: GitConfig,
    options: SourceOptions,
    git: Git,
    reach: Reach,
    changes: Changes,
    /// Where the ref stood when it was read last.
    tip: Option<String>,
    /// What was read, by the names of the files.
    seen: BTreeMap<String, Seen>,
    /// What was refused last.
    refused: Option<Vec<Refusal>>,
}

/// A file as it was read.
#[derive(Debug, Clone)]
struct Seen {
    /// The hash of its content.
    blob: String,
    content: FileContent,
}

impl GitSource {
    /// Prepares to follow a repository, which need not be reachable yet.
    ///
    /// # Errors
    /// When there is no `git`, it is too old, or there is no place for what it fetches.
    pub async fn open(config: GitConfig, options: SourceOptions, reach: Reach) -> Result<Self, GitError> {
        let git = Git::find(config.clone()).await?;
        let (changes, seen) = (Changes::default(), BTreeMap::new());
        Ok(Self { config, options, git, reach, changes, tip: None, seen, refused: None })
    }

    /// Sends all that is there once it could be read, and then each change, until `shutdown` or until nobody receives.
    pub async fn follow(mut self, batches: mpsc::Sender<Batch>, shutdown: CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.send(&batches) => {}
        }
        self.git.tidy().await;
    }

    /// Returns when nobody receives.
    async fn send(&mut self, batches: &mpsc::Sender<Batch>) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.read().await {
                Ok(batch) => {
                    self.reach.succeeded();
                    pause = FIRST_PAUSE;
                    if let Some(batch) = batch
                        && batches.send(batch).await.is_err()
                    {
                        return;
                    }
                    sleep(self.config.every).await;
                }
                Err(error) => {
                    if self.reach.failed(error.to_string()) {
                        tracing::warn!(%error, url = self.config.url, "the repository cannot be read; trying again");
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(LAST_PAUSE);
                }
            }
        }
    }

    /// What changed since the last reading; `None` when nothing did.
    async fn read(&mut self) -> Result<Option<Batch>, GitError> {
        let tip = self.tip().await?;
        if self.tip.as_ref() == Some(&tip) {
            return Ok(None);
        }
        let commit = self.fetch(&tip).await?;
        let files = self.files(&commit).await?;
        tracing::info!(commit, url = self.config.url, reference = self.config.reference, "policies fetched");
        self.tip = Some(tip);
        let batch = self.changes.update(files);
        if batch.changes.is_empty() && self.refused.as_ref() == Some(&batch.refusals) {
            return Ok(None);
        }
        self.refused = Some(batch.refusals.clone());
        Ok(Some(batch))
    }

    /// Asks the server where the ref stands.
    async fn tip(&self) -> Result<String, GitError> {
        let reference = self.config.reference.as_str();
        let asked = ["ls-remote", "--quiet", "--", &self.config.url, reference];
        let answer = self.git.run("ls-remote", &asked, b"", MAX_LIST_BYTES).await?;
        // A name is matched by its end, so that others may come with it.
        let answer = String::from_utf8_lossy(&answer);
        let tips = answer.lines().filter_map(|line| line.split_once('\t'));
        let tip = tips.filter(|(_, name)| *name == reference).map(|(tip, _)| tip).next();
        let is_hash = |tip: &&str| matches!(tip.len(), 40 | 64) && tip.bytes().all(|b| b.is_ascii_hexdigit());
        tip.filter(is_hash).map(str::to_owned).ok_or_else(|| GitError::NoReference(reference.to_owned()))
    }

    /// Fetches the commit that the ref stands at.
    async fn fetch(&self, tip: &str) -> Result<String, GitError> {
        self.git.begin_anew(if tip.len() == 64 { "sha256" } else { "sha1" }).await?;
        let refspec = format!("+{}:{HEAD}", self.config.reference);
        let fetch = [
            "fetch",
            "--quiet",
            "--no-tags",
            "--depth=1",
            "--no-recurse-submodules",
            "--no-auto-maintenance",
        ];
        let arguments = [&fetch[..], &["--no-write-fetch-head", "--", &self.config.url, &refspec]].concat();
        self.git.run("fetch", &arguments, b"", MAX_LIST_BYTES).await?;
        let commit = format!("{HEAD}^{{commit}}");
        let commit = self.git.run("rev-parse", &["rev-parse", "--verify", &commit], b"", 4096).await?;
        Ok(String::from_utf8_lossy(&commit).trim().to_owned())
    }

    /// The manifests of a commit. Those that are as they were are not read again, and keep the commit that they were
    /// first read in.
    async fn files(&mut self, commit: &str) -> Result<Files, GitError> {
        let list = ["ls-tree", "-r", "-z", "--long", &self.tree(commit).await?];
        let list = self.git.run("ls-tree", &list, b"", MAX_LIST_BYTES).await?;
        let folder = self.config.folder.as_str();
        let slash = if folder.is_empty() { "" } else { "/" };
        let prefix = format!("{}{folder}{slash}", SourceKind::Git.label());
        let Listing { blobs, refused: mut files } = tree::listing(&list, &prefix);
        let mut fresh = self.read_fresh(commit, &blobs).await?;
        let mut before = std::mem::take(&mut self.seen);
        for (name, blob) in blobs {
            let seen =
                fresh.remove(&name).map(|content| Seen { blob, content }).or_else(|| before.remove(&name));
            if let Some(seen) = seen {
                files.insert(name.clone(), seen.content.clone());
                self.seen.insert(name, seen);
            }
        }
        Ok(files)
    }

    /// The folder's tree.
    async fn tree(&self, commit: &str) -> Result<String, GitError> {
        let folder = &self.config.folder;
        if folder.is_empty() {
            return Ok(commit.to_owned());
        }
        let tree = format!("{commit}:{folder}");
        match self.git.run("rev-parse", &["rev-parse", "--verify", "--quiet", &tree], b"", 4096).await {
            Ok(tree) => Ok(String::from_utf8_lossy(&tree).trim().to_owned()),
            Err(GitError::Failed { .. }) => {
                Err(GitError::NoFolder { commit: commit.to_owned(), folder: folder.clone() })
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the files whose content is new.
    async fn read_fresh(
        &self,
        commit: &str,
        blobs: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, FileContent>, GitError> {
        let is_fresh = |name: &str, blob: &str| self.seen.get(name).is_none_or(|seen| seen.blob != blob);
        let fresh = blobs.iter().filter(|(name, blob)| is_fresh(name, blob));
        let (names, wanted): (Vec<String>, Vec<String>) =
            fresh.map(|(name, blob)| (name.clone(), format!("{blob}\n"))).unzip();
        let wanted = wanted.concat();
        let most = MAX_TOTAL_BYTES + 200 * MAX_FILES as u64;
        let printed = self.git.run("cat-file", &["cat-file", "--batch"], wanted.as_bytes(), most).await?;
        let (options, commit) = (self.options.clone(), Arc::from(format!("{}@{commit}", self.config.url)));
        spawn_blocking(move || read_printed(&names, &printed, &options, &commit))
            .await
            .map_err(|_| GitError::Interrupted)?
    }
}

fn read_printed(
    names: &[String],
    printed: &[u8],
    options: &SourceOptions,
    commit: &Arc<str>,
) -> Result<BTreeMap<String, FileContent>, GitError> {
    let mut rest = printed;
    let mut read = BTreeMap::new();
    for name in names {
        let text = tree::next_object(&mut rest).ok_or_else(|| {
            let message = format!("`{name}` was not printed");
            GitError::Failed { what: "cat-file", message }
        })?;
        read.insert(name.clone(), FileContent::read(name, text, options).of_commit(commit));
    }
    Ok(read)
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
