//! What is read of real repositories, with the real program.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use prometheus_client::metrics::gauge::Gauge;
use tokio::time::timeout;

use super::{
    testing::{MANIFEST, Repository},
    *,
};
use crate::{digest::Digest, source::Change};

const LONG: Duration = Duration::from_secs(60);

fn reach() -> Reach {
    Reach::new(SourceKind::Git, Gauge::default())
}

async fn open(config: GitConfig) -> GitSource {
    GitSource::open(config, SourceOptions::default(), reach()).await.unwrap()
}

/// The names and places of what changed; `-` before what is gone.
fn places(batch: &Batch) -> Vec<String> {
    let name = |change: &Change| match change {
        Change::Set(object) => format!("{} {}", object.key.name, object.file),
        Change::Gone(key) => format!("-{}", key.name),
    };
    batch.changes.iter().map(name).collect()
}

fn commits(batch: &Batch) -> Vec<String> {
    let commit = |change: &Change| match change {
        Change::Set(object) => object.commit.as_deref().map(str::to_owned),
        Change::Gone(_) => None,
    };
    batch.changes.iter().filter_map(commit).collect()
}

#[tokio::test]
async fn reads_one_ref_and_follows_it() {
    let repository = Repository::with_one();
    let mut source = open(repository.config()).await;
    assert_eq!(places(&source.read().await.unwrap().unwrap()), ["one git:a.yaml"]);
    assert_eq!(source.read().await.unwrap(), None, "nothing has changed");

    repository.git(&["checkout", "--quiet", "-b", "other"]);
    repository.write("b.yaml", "two");
    repository.commit();
    assert_eq!(source.read().await.unwrap(), None, "another branch is none of ours");

    repository.git(&["checkout", "--quiet", "main"]);
    repository.git(&["rm", "--quiet", "a.yaml"]);
    repository.write("c/d.yml", "three");
    repository.commit();
    assert_eq!(places(&source.read().await.unwrap().unwrap()), ["three git:c/d.yml", "-one"]);

    repository.git(&["reset", "--quiet", "--hard", "other"]);
    assert_eq!(
        places(&source.read().await.unwrap().unwrap()),
        ["one git:a.yaml", "two git:b.yaml", "-three"]
    );
}

#[tokio::test]
async fn says_in_which_commit_each_object_was_first_read() {
    let repository = Repository::with_one();
    repository.write("b.yaml", "two");
    let first = repository.commit();
    let mut source = open(repository.config()).await;
    let url = repository.config().url;
    let batch = source.read().await.unwrap().unwrap();
    assert_eq!(commits(&batch), vec![format!("{url}@{first}"); 2]);

    repository.put("README.md", "not a manifest");
    repository.put("b.yaml", &MANIFEST.replace("NAME", "two").replace("content: x", "content: y"));
    let second = repository.commit();
    let batch = source.read().await.unwrap().unwrap();
    assert_eq!(
        (places(&batch), commits(&batch)),
        (vec!["two git:b.yaml".to_owned()], vec![format!("{url}@{second}")])
    );

    repository.put("README.md", "changed");
    repository.commit();
    assert_eq!(source.read().await.unwrap(), None, "no manifest has changed");
}

#[tokio::test]
async fn reads_a_tag_and_a_repository_of_the_other_hash() {
    let repository = Repository::with_one();
    repository.git(&["tag", "--annotate", "--message", "x", "v1"]);
    repository.write("b.yaml", "two");
    repository.commit();
    let config = GitConfig { reference: "refs/tags/v1".to_owned(), ..repository.config() };
    let batch = open(config).await.read().await.unwrap().unwrap();
    assert_eq!(places(&batch), ["one git:a.yaml"]);

    let repository = Repository::of_format("sha256");
    repository.write("a.yaml", "one");
    repository.commit();
    let batch = open(repository.config()).await.read().await.unwrap().unwrap();
    assert_eq!(places(&batch), ["one git:a.yaml"]);
}

#[tokio::test]
async fn reads_one_folder_alone() {
    let repository = Repository::with_one();
    repository.write("policies/b.yaml", "two");
    repository.write("policies-old/c.yaml", "three");
    repository.commit();
    let config = |folder: &str| GitConfig { folder: folder.to_owned(), ..repository.config() };
    let batch = open(config("policies")).await.read().await.unwrap().unwrap();
    assert_eq!(places(&batch), ["two git:policies/b.yaml"]);
    // A misspelt folder is no repository without policies.
    let error = open(config("polices")).await.read().await.unwrap_err();
    assert!(matches!(error, GitError::NoFolder { .. }), "{error}");
    let error = open(config("a.yaml")).await.read().await.unwrap_err();
    assert!(matches!(error, GitError::Failed { what: "ls-tree", .. }), "{error}");
}

#[tokio::test]
async fn keeps_what_a_malformed_file_held() {
    let repository = Repository::with_one();
    repository.write("b.yaml", "two");
    repository.commit();
    let mut source = open(repository.config()).await;
    source.read().await.unwrap();
    repository.put("a.yaml", "a: [1\n");
    repository.commit();
    let torn = source.read().await.unwrap().unwrap();
    assert_eq!((torn.changes.len(), torn.unreadable), (0, vec!["git:a.yaml".to_owned()]));
    assert_eq!(torn.refusals[0].file.as_deref(), Some("git:a.yaml"));
    repository.put("a.yaml", "");
    repository.commit();
    let batch = source.read().await.unwrap().unwrap();
    assert_eq!((places(&batch), batch.refusals.len()), (vec!["-one".to_owned()], 0));
}

#[tokio::test]
async fn follows_no_link_and_runs_nothing() {
    let repository = Repository::with_one();
    let trace = repository.place().join("ran");
    let program = repository.place().join("program");
    fs::write(&program, format!("#!/bin/sh\ntouch {}\nexec \"$@\"\n", trace.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let program = program.display().to_string();
    symlink("/etc/passwd", repository.work().join("link.yaml")).unwrap();
    repository.put(".gitattributes", "*.yaml filter=evil diff=evil text\n");
    repository.put(".gitmodules", "[submodule \"m\"]\n\tpath = m\n\turl = ext::sh -c evil\n");
    repository.commit();
    repository.git(&["config", "filter.evil.smudge", &program]);
    repository.git(&["config", "uploadpack.packObjectsHook", &program]);
    for hook in ["post-checkout", "reference-transaction", "pre-auto-gc"] {
        let path = repository.work().join(".git/hooks").join(hook);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(&program, path).unwrap();
    }
    let batch = open(repository.config()).await.read().await.unwrap().unwrap();
    assert_eq!(places(&batch), ["one git:a.yaml"]);
    assert_eq!(batch.refusals[0].file.as_deref(), Some("git:link.yaml"));
    assert!(!trace.exists());
}

#[tokio::test]
async fn tells_what_is_not_there() {
    let repository = Repository::with_one();
    // Only the end of its name is that of the ref which is asked for.
    repository.git(&["update-ref", "refs/heads/x/refs/heads/missing", "HEAD"]);
    let config = GitConfig { reference: "refs/heads/missing".to_owned(), ..repository.config() };
    let error = open(config).await.read().await.unwrap_err();
    assert!(matches!(error, GitError::NoReference(_)), "{error}");
    let config = GitConfig { url: "/nonexistent/repository".to_owned(), ..repository.config() };
    let error = open(config).await.read().await.unwrap_err();
    assert!(matches!(error, GitError::Failed { what: "ls-remote", .. }), "{error}");
    let blocked = repository.place().join("file");
    fs::write(&blocked, "").unwrap();
    let config = GitConfig { scratch: blocked.join("scratch"), ..repository.config() };
    let error = GitSource::open(config, SourceOptions::default(), reach()).await.unwrap_err();
    assert!(matches!(error, GitError::Scratch { .. }), "{error}");
}

#[tokio::test]
async fn credentials_are_one_line_and_are_not_told() {
    let repository = Repository::with_one();
    let path = repository.place().join("credentials");
    let config = GitConfig { credentials: Some(path.clone()), ..repository.config() };
    fs::write(&path, "reader:secret\n").unwrap();
    let mut source = open(config).await;
    source.read().await.unwrap().unwrap();
    repository.write("b.yaml", "two");
    repository.commit();
    for wrong in ["secret", "reader:secret\nsecond:secret"] {
        fs::write(&path, wrong).unwrap();
        let error = source.read().await.unwrap_err().to_string();
        assert!(error.contains("source.git.credentials") && !error.contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn a_fetch_is_bounded() {
    let repository = Repository::with_one();
    // What does not compress: digests one after another, in many files that are small each.
    for file in 0..40_u32 {
        let noise = (0..100_u32).map(|n| Digest::of(&[&file.to_be_bytes(), &n.to_be_bytes()]).to_string());
        repository.put(&format!("noise-{file}"), &noise.collect::<String>());
    }
    repository.commit();
    let config = GitConfig { max_bytes: 64 * 1024, ..repository.config() };
    let error = open(config).await.read().await.unwrap_err();
    assert!(matches!(error, GitError::Failed { what: "fetch", .. }), "{error}");
    open(repository.config()).await.read().await.unwrap().unwrap();
}

#[tokio::test]
async fn a_call_is_given_up_in_time() {
    let repository = Repository::with_one();
    let config = GitConfig { timeout: Duration::from_nanos(1), ..repository.config() };
    let error = GitSource::open(config, SourceOptions::default(), reach()).await.unwrap_err();
    assert!(matches!(error, GitError::Slow { .. }), "{error}");
}

#[tokio::test]
async fn what_was_read_stays_while_the_repository_is_away() {
    let repository = Repository::with_one();
    let gauge = Gauge::default();
    let reach = Reach::new(SourceKind::Git, gauge.clone());
    let config = GitConfig { every: Duration::from_millis(10), ..repository.config() };
    let away = repository.place().join("away");
    fs::rename(repository.work(), &away).unwrap();
    let source = GitSource::open(config, SourceOptions::default(), reach.clone()).await.unwrap();
    let (sender, mut batches) = mpsc::channel(1);
    let shutdown = CancellationToken::new();
    let following = tokio::spawn(source.follow(sender, shutdown.clone()));
    let until = async |failing: i64| {
        let reached = async {
            while gauge.get() != failing {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LONG, reached).await.unwrap();
    };

    until(1).await;
    assert!(reach.missing().unwrap().contains("ls-remote"), "{:?}", reach.missing());
    fs::rename(&away, repository.work()).unwrap();
    let first = timeout(LONG, batches.recv()).await.unwrap().unwrap();
    assert_eq!((places(&first), reach.missing()), (vec!["one git:a.yaml".to_owned()], None));

    fs::rename(repository.work(), &away).unwrap();
    until(1).await;
    assert!(batches.try_recv().is_err(), "nothing is gone");
    fs::rename(&away, repository.work()).unwrap();
    until(0).await;
    repository.write("b.yaml", "two");
    repository.commit();
    let next = timeout(LONG, batches.recv()).await.unwrap().unwrap();
    assert_eq!(places(&next), ["two git:b.yaml"]);

    shutdown.cancel();
    timeout(LONG, following).await.unwrap().unwrap();
    let left = fs::read_dir(repository.place().join("scratch")).unwrap().count();
    assert_eq!(left, 0, "nothing is left behind");
}
