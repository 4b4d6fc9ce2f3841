//! A folder of manifests, read again whenever something in it changes.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{
    sync::mpsc,
    task::spawn_blocking,
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    Batch, SourceKind, SourceOptions,
    changes::Changes,
    directory::{ReadError, read_files},
    reach::Reach,
};

/// How long nothing may have changed before the folder is read: an editor writes in several steps.
const QUIET: Duration = Duration::from_millis(50);
/// The longest that changes which never end put the reading off.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How often the folder is read without a sign of change: notifications get lost on some file systems, and when a folder
/// further up is replaced.
const RESCAN: Duration = Duration::from_secs(30);

/// A folder that is followed.
pub struct DirectorySource {
    folder: PathBuf,
    options: SourceOptions,
    reach: Reach,
    changes: Changes,
    watcher: RecommendedWatcher,
    touched: mpsc::Receiver<()>,
    /// Device and number of the folder that is watched.
    watched: Option<(u64, u64)>,
}

/// The folder cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The system gives no notifications.
    #[error("changes in {} cannot be watched: {source}", folder.display())]
    Watch {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: notify::Error,
    },
    /// The reading task was ended.
    #[error("the reading of the folder was interrupted")]
    Interrupted,
}

impl DirectorySource {
    /// Starts to watch a folder and reads it for the first time.
    ///
    /// # Errors
    /// When it cannot be read or watched.
    pub async fn open(
        folder: &Path,
        options: SourceOptions,
        reach: Reach,
    ) -> Result<(Self, Batch), SourceError> {
        let (sender, touched) = mpsc::channel(1);
        let watch_error = |source| SourceError::Watch { folder: folder.to_owned(), source };
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let own = folder.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading is no change, and would follow each of our own readings; nor is what lies beside the folder.
            let beside = |path: &PathBuf| !path.starts_with(&own);
            let is_nothing = |event: notify::Event| {
                event.kind.is_access() || (!event.paths.is_empty() && event.paths.iter().all(beside))
            };
            if !event.is_ok_and(is_nothing) {
                // A full channel says already what there is to say.
                let _ = sender.try_send(());
            }
        })
        .map_err(watch_error)?;
        let changes = Changes::default();
        let mut source = Self { folder, options, reach, changes, watcher, touched, watched: None };
        // First the watch, then the reading: what changes in between is seen by one of the two.
        source.watch().map_err(watch_error)?;
        // The folder may be replaced by another one, or be a link that is: the one above tells.
        if let Some(above) = source.folder.parent()
            && let Err(error) = source.watcher.watch(above, RecursiveMode::NonRecursive)
        {
            tracing::debug!(%error, folder = %above.display(), "that the folder is replaced will be seen late");
        }
        let batch = source.read().await?;
        Ok((source, batch))
    }

    /// Sends each change until `shutdown`, or until nobody receives.
    pub async fn follow(mut self, batches: mpsc::Sender<Batch>, shutdown: CancellationToken) {
        let mut last_refusals = None;
        while self.wait_for_change(&shutdown).await {
            let batch = match self.read().await {
                Ok(batch) => batch,
                Err(error) => {
                    if self.reach.failed(error.to_string()) {
                        tracing::warn!(%error, "the last policies stay in use");
                    }
                    continue;
                }
            };
            if batch.changes.is_empty() && last_refusals.as_ref() == Some(&batch.refusals) {
                continue;
            }
            last_refusals = Some(batch.refusals.clone());
            if batches.send(batch).await.is_err() {
                return;
            }
        }
    }

    /// False at shutdown.
    async fn wait_for_change(&mut self, shutdown: &CancellationToken) -> bool {
        let rescan = Instant::now() + RESCAN;
        tokio::select! {
            () = shutdown.cancelled() => return false,
            () = sleep_until(rescan) => {
                // Whatever is watched may be nothing that is left.
                self.watched = None;
                return true;
            }
            touched = self.touched.recv() => if touched.is_none() {
                return false;
            }
        }
        let latest = Instant::now() + LONGEST_WAIT;
        loop {
            let quiet_at = (Instant::now() + QUIET).min(latest);
            tokio::select! {
                () = shutdown.cancelled() => return false,
                more = timeout_at(quiet_at, self.touched.recv()) => match more {
                    Ok(Some(())) if Instant::now() < latest => {}
                    _ => return true,
                }
            }
        }
    }

    fn watch(&mut self) -> notify::Result<()> {
        let folder = fs::metadata(&self.folder).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        if folder.is_some() && folder == self.watched {
            return Ok(());
        }
        self.watched = None;
        // It is not watched the first time.
        let _ = self.watcher.unwatch(&self.folder);
        self.watcher.watch(&self.folder, RecursiveMode::Recursive)?;
        self.watched = folder;
        Ok(())
    }

    async fn read(&mut self) -> Result<Batch, SourceError> {
        // The folder may be another one under the same name by now.
        if let Err(error) = self.watch() {
            tracing::debug!(%error, folder = %self.folder.display(), "the folder cannot be watched now");
        }
        let (folder, options) = (self.folder.clone(), self.options.clone());
        let files = spawn_blocking(move || read_files(&folder, SourceKind::Directory.label(), &options))
            .await
            .map_err(|_| SourceError::Interrupted)??;
        self.reach.succeeded();
        Ok(self.changes.update(files))
    }
}

impl std::fmt::Debug for DirectorySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DirectorySource").field("folder", &self.folder).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use prometheus_client::metrics::gauge::Gauge;
    use tokio::time::timeout;

    use super::*;
    use crate::source::Change;

    const MANIFEST: &str = "apiVersion: agent.kagenti.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {name: one}\n\
                            spec: {policies: [{path: a.rego, content: x}]}\n";

    #[tokio::test]
    async fn sends_what_changes_until_shutdown() {
        let folder = tempfile::tempdir().unwrap();
        let (options, reach) =
            (SourceOptions::default(), Reach::new(SourceKind::Directory, Gauge::default()));
        let (source, first) = DirectorySource::open(folder.path(), options, reach).await.unwrap();
        assert_eq!(first, Batch::default());
        let (sender, mut batches) = mpsc::channel(1);
        let shutdown = CancellationToken::new();
        let following = tokio::spawn(source.follow(sender, shutdown.clone()));
        let mut next = async || timeout(Duration::from_secs(20), batches.recv()).await.unwrap().unwrap();

        fs::write(folder.path().join("a.yaml"), MANIFEST).unwrap();
        assert!(matches!(next().await.changes.as_slice(), [Change::Set(_)]));
        fs::write(folder.path().join("a.yaml"), "a: [1").unwrap();
        let torn = next().await;
        assert_eq!((torn.changes.len(), torn.refusals.len()), (0, 1));
        fs::remove_file(folder.path().join("a.yaml")).unwrap();
        assert!(matches!(next().await.changes.as_slice(), [Change::Gone(_)]));

        shutdown.cancel();
        timeout(Duration::from_secs(20), following).await.unwrap().unwrap();
    }

    /// Long before it would be read again anyway.
    #[tokio::test]
    async fn sees_that_the_folder_itself_is_swapped() {
        let place = tempfile::tempdir().unwrap();
        for (version, name) in ["one", "two", "three"].iter().enumerate() {
            let folder = place.path().join(version.to_string());
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("a.yaml"), MANIFEST.replace("name: one", &format!("name: {name}")))
                .unwrap();
        }
        let current = place.path().join("current");
        let link = |version: &str| {
            symlink(version, place.path().join("new")).unwrap();
            fs::rename(place.path().join("new"), &current).unwrap();
        };
        link("0");
        let (options, reach) =
            (SourceOptions::default(), Reach::new(SourceKind::Directory, Gauge::default()));
        let (source, first) = DirectorySource::open(&current, options, reach).await.unwrap();
        let names = |batch: &Batch| -> Vec<String> {
            let set = |change: &Change| matches!(change, Change::Set(_)).then(|| change.key().name.clone());
            batch.changes.iter().filter_map(set).collect()
        };
        assert_eq!(names(&first), ["one"]);
        let (sender, mut batches) = mpsc::channel(1);
        let shutdown = CancellationToken::new();
        let following = tokio::spawn(source.follow(sender, shutdown.clone()));
        let mut next = async || timeout(Duration::from_secs(20), batches.recv()).await.unwrap().unwrap();
        link("1");
        assert_eq!(names(&next().await), ["two"]);
        link("2");
        assert_eq!(names(&next().await), ["three"]);
        // The folder that it points to now is the one that is watched.
        fs::write(place.path().join("2/b.yaml"), MANIFEST.replace("name: one", "name: four")).unwrap();
        assert_eq!(names(&next().await), ["four"]);
        shutdown.cancel();
        timeout(Duration::from_secs(20), following).await.unwrap().unwrap();
    }
}
