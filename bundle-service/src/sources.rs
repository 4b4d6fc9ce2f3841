//! Every source that the configuration names, opened, followed and merged into one stream of batches.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{
    StreamExt,
    stream::{self, BoxStream, SelectAll},
};
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::SourceConfig,
    kubernetes::{Cluster, KubernetesSource},
    metrics::Metrics,
    policy::ResourceKey,
    source::{
        Batch, Change, SourceKind, SourceOptions,
        git::{GitError, GitSource},
        precedence::Precedence,
        reach::Reach,
        watch::{DirectorySource, SourceError},
    },
};

/// The sources, not followed yet.
pub(crate) struct Sources {
    directory: Option<(DirectorySource, Batch)>,
    git: Option<GitSource>,
    kubernetes: Option<KubernetesSource>,
    precedence: Precedence,
    reaches: Vec<Reach>,
}

/// Why a source cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be read.
    #[error("{0}; check source.directory")]
    Directory(#[from] SourceError),
    /// There is no way to read the repository.
    #[error(transparent)]
    Git(#[from] GitError),
}

impl Sources {
    /// Opens them. The folder has to be there; the repository and the API server need not be reachable yet.
    ///
    /// `remembered` says in which file each resource was that was in force before.
    pub(crate) async fn open(
        config: &SourceConfig,
        cluster: Option<&Cluster>,
        remembered: &BTreeMap<ResourceKey, Arc<str>>,
        metrics: &Metrics,
    ) -> Result<Self, OpenError> {
        let options = || SourceOptions { api_groups: config.api_groups.clone() };
        let mut reaches = Vec::new();
        let mut reach = |kind| {
            let reach = Reach::new(kind, metrics.failing(kind));
            reaches.push(reach.clone());
            reach
        };
        let directory = match &config.directory {
            Some(folder) => {
                Some(DirectorySource::open(folder, options(), reach(SourceKind::Directory)).await?)
            }
            None => None,
        };
        let git = match config.git.clone() {
            Some(git) => Some(GitSource::open(git, options(), reach(SourceKind::Git)).await?),
            None => None,
        };
        let kubernetes = cluster.map(Cluster::source);
        let precedence = Precedence::new(&config.kinds(), remembered);
        Ok(Self { directory, git, kubernetes, precedence, reaches })
    }

    /// What is known at the start, when the folder is the only source.
    pub(crate) fn first(&mut self) -> Option<Batch> {
        let (_, batch) = self.directory.as_mut()?;
        self.precedence.merge(SourceKind::Directory, std::mem::take(batch))
    }

    /// Whether the folder and the repository can be read.
    pub(crate) fn reaches(&self) -> Vec<Reach> {
        self.reaches.clone()
    }

    /// Follows them until `ending`.
    pub(crate) fn follow(self, ending: &CancellationToken) -> (Batches, Following) {
        let Self { directory, git, kubernetes, precedence, reaches: _ } = self;
        let mut batches = Batches { incoming: SelectAll::new(), precedence };
        let mut tasks = JoinSet::new();
        if let Some((source, _)) = directory {
            tasks.spawn(source.follow(batches.of(SourceKind::Directory), ending.clone()));
        }
        if let Some(source) = git {
            tasks.spawn(source.follow(batches.of(SourceKind::Git), ending.clone()));
        }
        if let Some(source) = kubernetes {
            tasks.spawn(source.follow(batches.of(SourceKind::Kubernetes), ending.clone()));
        }
        (batches, Following(tasks))
    }
}

/// What the sources say, as if they were one.
pub(crate) struct Batches {
    incoming: SelectAll<BoxStream<'static, (SourceKind, Batch)>>,
    precedence: Precedence,
}

/// What one source's batch led to.
pub(crate) struct Merged {
    /// What it spoke of, whether or not that changed anything.
    pub(crate) spoken_of: Vec<ResourceKey>,
    /// What changed of the whole; none when another source has not spoken yet.
    pub(crate) batch: Option<Batch>,
}

impl Batches {
    /// Where a source sends its batches.
    fn of(&mut self, kind: SourceKind) -> mpsc::Sender<Batch> {
        let (sender, receiver) = mpsc::channel(1);
        let batches = stream::unfold(receiver, move |mut receiver| async move {
            let batch = receiver.recv().await?;
            Some(((kind, batch), receiver))
        });
        self.incoming.push(batches.boxed());
        sender
    }

    /// The next one; `None` once every source has ended.
    pub(crate) async fn next(&mut self) -> Option<Merged> {
        let (kind, batch) = self.incoming.next().await?;
        let spoken_of = batch.changes.iter().map(Change::key).cloned().collect();
        Some(Merged { spoken_of, batch: self.precedence.merge(kind, batch) })
    }
}

#[cfg(test)]
impl Batches {
    /// Those of one source, as they come.
    pub(crate) fn of_one(batches: impl futures_util::Stream<Item = Batch> + Send + 'static) -> Self {
        let kind = SourceKind::Directory;
        let precedence = Precedence::new(&[kind], &BTreeMap::new());
        let mut all = Self { incoming: SelectAll::new(), precedence };
        all.incoming.push(batches.map(move |batch| (kind, batch)).boxed());
        all
    }
}

/// The tasks that follow the sources.
pub(crate) struct Following(JoinSet<()>);

impl Following {
    /// Waits until all have ended.
    pub(crate) async fn join(mut self) -> Result<(), JoinError> {
        while let Some(ended) = self.0.join_next().await {
            ended?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, time::Duration};

    use tokio::time::timeout;

    use super::*;
    use crate::{
        config::Config,
        source::git::{
            GitConfig,
            testing::{MANIFEST, Repository},
        },
    };

    fn config(folder: &Path, repository: &Repository) -> SourceConfig {
        let git = GitConfig { every: Duration::from_millis(10), ..repository.config() };
        SourceConfig { git: Some(git), ..Config::new("unix:/a", folder).source }
    }

    async fn open(config: &SourceConfig, metrics: &Metrics) -> Result<Sources, OpenError> {
        Sources::open(config, None, &BTreeMap::new(), metrics).await
    }

    async fn next(batches: &mut Batches) -> Vec<String> {
        let place = |change: &Change| match change {
            Change::Set(object) => object.file.clone(),
            Change::Gone(key) => format!("-{}", key.name),
        };
        loop {
            let merged = timeout(Duration::from_secs(60), batches.next()).await.unwrap().unwrap();
            // A folder may be read once more than it has changed.
            match merged.batch.filter(|batch| !batch.changes.is_empty()) {
                Some(batch) => return batch.changes.iter().map(place).collect(),
                None => continue,
            }
        }
    }

    #[tokio::test]
    async fn a_folder_and_a_repository_are_one() {
        let (folder, repository, metrics) =
            (tempfile::tempdir().unwrap(), Repository::with_one(), Metrics::new());
        repository.write("b.yaml", "two");
        repository.commit();
        fs::write(folder.path().join("x.yaml"), MANIFEST.replace("NAME", "one")).unwrap();
        let mut sources = open(&config(folder.path(), &repository), &metrics).await.unwrap();
        assert_eq!(sources.first(), None, "the repository was not read yet");
        assert_eq!(sources.reaches().iter().filter_map(Reach::missing).count(), 1);
        let ending = CancellationToken::new();
        let (mut batches, following) = sources.follow(&ending);
        assert_eq!(next(&mut batches).await, ["directory:x.yaml", "git:b.yaml"]);
        fs::remove_file(folder.path().join("x.yaml")).unwrap();
        assert_eq!(next(&mut batches).await, ["git:a.yaml"]);
        repository.git(&["rm", "--quiet", "b.yaml"]);
        repository.commit();
        assert_eq!(next(&mut batches).await, ["-two"]);
        ending.cancel();
        timeout(Duration::from_secs(60), following.join()).await.unwrap().unwrap();
        assert!(batches.next().await.is_none());
    }

    #[tokio::test]
    async fn a_folder_alone_is_known_at_once() {
        let (folder, metrics) = (tempfile::tempdir().unwrap(), Metrics::new());
        fs::write(folder.path().join("x.yaml"), MANIFEST.replace("NAME", "one")).unwrap();
        let alone = Config::new("unix:/a", folder.path()).source;
        let batch = open(&alone, &metrics).await.unwrap().first().unwrap();
        assert_eq!((batch.changes.len(), batch.refusals.len()), (1, 0));
        let missing = Config::new("unix:/a", &folder.path().join("missing")).source;
        let error = open(&missing, &metrics).await.err().unwrap().to_string();
        assert!(error.contains("source.directory"), "{error}");
    }
}
