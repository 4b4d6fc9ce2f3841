//! The settings of a Git repository of manifests, and what of them is refused.

use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A Git repository of manifests, read at one ref. The program `git` (2.32 or newer) has to be installed, and `ssh` for
/// a repository behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GitConfig {
    /// The repository: `https://…`, `ssh://…`, `user@host:path`, or the path of one on this machine that belongs to
    /// the user of the service.
    pub url: String,
    /// The ref whose manifests count, such as `refs/heads/main` or `refs/tags/v1`.
    #[serde(default = "default_reference")]
    pub reference: String,
    /// The folder in the repository. Default: all of it.
    #[serde(default)]
    pub folder: String,
    /// A folder for what is fetched, for this service alone. What is there need not outlive the process.
    pub scratch: PathBuf,
    /// A file with `user:password`, or `user:token`, for an https server. It is read at every fetch. Default: none.
    #[serde(default)]
    pub credentials: Option<PathBuf>,
    /// The private key for an ssh server. Default: what `ssh` finds by itself.
    #[serde(default)]
    pub ssh_key: Option<PathBuf>,
    /// The keys of ssh servers, as `ssh` keeps them. Default: what `ssh` finds by itself.
    #[serde(default)]
    pub ssh_known_hosts: Option<PathBuf>,
    /// How often the ref is asked for, such as `60s`.
    #[serde(default = "default_every", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub every: Duration,
    /// How long one call of `git` may take.
    #[serde(default = "default_timeout", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// The most that a fetch may bring, in bytes, as it is packed.
    #[serde(default = "default_max_bytes")]
    pub max_bytes: u64,
}

fn default_reference() -> String {
    "refs/heads/main".to_owned()
}

fn default_every() -> Duration {
    Duration::from_secs(60)
}

fn default_timeout() -> Duration {
    Duration::from_secs(60)
}

fn default_max_bytes() -> u64 {
    256 * 1024 * 1024
}

impl GitConfig {
    /// The defaults for a repository and a folder for what is fetched.
    #[must_use]
    pub fn new(url: &str, scratch: PathBuf) -> Self {
        Self {
            url: url.to_owned(),
            reference: default_reference(),
            folder: String::new(),
            scratch,
            credentials: None,
            ssh_key: None,
            ssh_known_hosts: None,
            every: default_every(),
            timeout: default_timeout(),
            max_bytes: default_max_bytes(),
        }
    }

    /// What of it cannot be used: the key, and why.
    #[must_use]
    pub fn fault(&self) -> Option<(&'static str, String)> {
        if let Some(reason) = fault_of_url(&self.url) {
            return Some(("source.git.url", reason));
        }
        if !is_full_ref(&self.reference) {
            let reason = format!("`{}` is no full ref, such as refs/heads/main", self.reference);
            return Some(("source.git.reference", reason));
        }
        if !is_folder(&self.folder) {
            let reason = format!("`{}` is no folder in a repository, which is written as a/b", self.folder);
            return Some(("source.git.folder", reason));
        }
        if self.credentials.is_some() && !self.url.starts_with("https://") {
            return Some(("source.git.credentials", "they are for https; for ssh set ssh_key".to_owned()));
        }
        if self.every.is_zero() || self.timeout.is_zero() {
            return Some(("source.git", "`every` and `timeout` cannot be nothing".to_owned()));
        }
        if self.max_bytes < 512 {
            return Some(("source.git.max_bytes", "the least is 512".to_owned()));
        }
        None
    }
}

/// What `git` makes of an address is wide: options, helper programs (`x::y`), transports without encryption. Only the
/// forms that are meant are taken.
fn fault_of_url(url: &str) -> Option<String> {
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Some("it holds a space or a control character".to_owned());
    }
    if let Some((user, _)) = authority(url).and_then(|authority| authority.rsplit_once('@'))
        && user.contains(':')
    {
        return Some(
            "it holds a password, which the configuration is not for; set source.git.credentials".to_owned(),
        );
    }
    let is_meant = url.starts_with('/')
        || ["https://", "ssh://", "file:///"].iter().any(|scheme| url.starts_with(scheme))
        || is_host_and_path(url);
    (!is_meant).then(|| format!("`{url}` is neither https://…, ssh://…, user@host:path nor an absolute path"))
}

/// The part of an address between its scheme and its path.
fn authority(url: &str) -> Option<&str> {
    url.split_once("://")?.1.split('/').next()
}

/// `user@host:path`, as ssh's own programs write it.
fn is_host_and_path(url: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '@');
    url.split_once(':').is_some_and(|(host, path)| {
        !host.is_empty()
            && !host.starts_with('-')
            && host.chars().all(plain)
            && !path.is_empty()
            && !path.starts_with([':', '-'])
            && !path.starts_with("//")
    })
}

fn is_full_ref(reference: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '@' | '#');
    let step = |step: &str| !step.is_empty() && !step.starts_with('.') && step.chars().all(plain);
    reference.starts_with("refs/") && !reference.contains("..") && reference.split('/').all(step)
}

fn is_folder(folder: &str) -> bool {
    let step = |step: &str| !matches!(step, "" | "." | "..") && !step.chars().any(char::is_control);
    folder.is_empty() || folder.split('/').all(step)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn config() -> GitConfig {
        GitConfig::new("https://git.example.org/policies.git", PathBuf::from("/scratch"))
    }

    #[rstest]
    #[case("https://git.example.org/policies.git")]
    #[case("https://[::1]:8443/policies.git")]
    #[case("https://reader@git.example.org/policies.git")]
    #[case("ssh://git@git.example.org:22/policies.git")]
    #[case("git@git.example.org:team/policies.git")]
    #[case("/srv/policies.git")]
    #[case("file:///srv/policies.git")]
    fn takes_addresses_that_are_meant(#[case] url: &str) {
        assert_eq!(GitConfig { url: url.to_owned(), ..config() }.fault(), None);
    }

    #[rstest]
    #[case("")]
    #[case("--upload-pack=evil")]
    #[case("-oProxyCommand=evil:x")]
    #[case("ext::sh -c evil")]
    #[case("ext::sh")]
    #[case("http://git.example.org/policies.git")]
    #[case("git://git.example.org/policies.git")]
    #[case("policies.git")]
    #[case("../policies.git")]
    #[case("https://reader:secret@git.example.org/policies.git")]
    #[case("https://git.example.org/a\nb")]
    fn refuses_other_addresses(#[case] url: &str) {
        let (key, reason) = GitConfig { url: url.to_owned(), ..config() }.fault().unwrap();
        assert_eq!(key, "source.git.url");
        assert!(!reason.contains("secret"), "{reason}");
    }

    #[rstest]
    #[case(GitConfig { reference: "main".to_owned(), ..config() }, "reference")]
    #[case(GitConfig { reference: "refs/heads/a:b".to_owned(), ..config() }, "reference")]
    #[case(GitConfig { reference: "refs/heads/../x".to_owned(), ..config() }, "reference")]
    #[case(GitConfig { reference: "refs/heads/*".to_owned(), ..config() }, "reference")]
    #[case(GitConfig { reference: "refs/".to_owned(), ..config() }, "reference")]
    #[case(GitConfig { folder: "../x".to_owned(), ..config() }, "folder")]
    #[case(GitConfig { folder: "/x".to_owned(), ..config() }, "folder")]
    #[case(GitConfig { folder: "x/".to_owned(), ..config() }, "folder")]
    #[case(GitConfig { url: "/srv/a.git".to_owned(), credentials: Some("/c".into()), ..config() }, "credentials")]
    #[case(GitConfig { every: Duration::ZERO, ..config() }, "source.git")]
    #[case(GitConfig { timeout: Duration::ZERO, ..config() }, "source.git")]
    #[case(GitConfig { max_bytes: 0, ..config() }, "max_bytes")]
    fn refuses_what_cannot_be_used(#[case] config: GitConfig, #[case] named: &str) {
        let (key, reason) = config.fault().unwrap();
        assert!(key.contains(named), "{key}: {reason}");
    }
}
