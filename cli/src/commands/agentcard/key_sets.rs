//! The keys of signatures without certificates: from a file, or, from hosts that the user names, from where the card
//! says that they are (`jku`).

use std::{net::IpAddr, path::PathBuf};

use clap::Args;
use secplane_agent_card::{AgentCard, KeySet, KeySets, MAX_KEY_SET_BYTES};

use super::web::{WebRoots, WebUrl, get_from, is_public};
use crate::{failure::Failure, files};

/// The most URLs of one card that are asked.
const MAX_URLS: usize = 4;

/// Which keys may sign without a certificate. By default none may.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Signatures without certificates")]
pub(super) struct KeySetArgs {
    /// Trust the keys of this JSON Web Key Set to sign cards, whoever holds them
    #[arg(long, value_name = "FILE")]
    key_set: Option<PathBuf>,
    /// Trust this host to say which keys sign cards: key sets that a card names there (`jku`) are fetched, over https,
    /// from public addresses alone
    #[arg(long, value_name = "HOST[:PORT]")]
    allow_jku: Vec<String>,
}

impl KeySetArgs {
    /// The keys that a card may be signed with.
    pub(super) async fn load(&self, card: &AgentCard, roots: &WebRoots) -> Result<KeySets, Failure> {
        let mut sets = match &self.key_set {
            None => KeySets::default(),
            Some(path) => {
                let bytes = files::read_bytes(path, MAX_KEY_SET_BYTES)?;
                let what = || format!("use the key set `{}`", path.display());
                KeySets::trusting(KeySet::parse(&bytes).map_err(|error| Failure::refused(what(), error))?)
            }
        };
        if self.allow_jku.is_empty() {
            return Ok(sets);
        }
        for (position, text) in card.key_set_urls().into_iter().enumerate() {
            let keys = if position < MAX_URLS {
                self.fetch(&text, roots, is_public).await
            } else {
                Err(format!("the card names more than {MAX_URLS} URLs, and no more are asked"))
            };
            sets.add_fetched(text, keys);
        }
        Ok(sets)
    }

    /// The reasons become part of the report: what a card claims is no failure of the command.
    async fn fetch(
        &self,
        text: &str,
        roots: &WebRoots,
        admits: fn(IpAddr) -> bool,
    ) -> Result<KeySet, String> {
        let url = WebUrl::parse(text).map_err(|failure| failure.to_string())?;
        if !url.is_tls {
            return Err("key sets are fetched over https alone".to_owned());
        }
        if !self.allow_jku.iter().any(|allowed| is_allowed(allowed, &url)) {
            return Err(format!("its host is not allowed: --allow-jku {}", url.address()));
        }
        let bytes =
            get_from(&url, roots, MAX_KEY_SET_BYTES, admits).await.map_err(|failure| failure.to_string())?;
        KeySet::parse(&bytes).map_err(|error| error.to_string())
    }
}

/// A host without a port is allowed at 443.
fn is_allowed(allowed: &str, url: &WebUrl) -> bool {
    let is_same = |host: &str, port: u16| host.eq_ignore_ascii_case(&url.host) && port == url.port;
    match WebUrl::parse(&format!("https://{allowed}")) {
        Ok(allowed) => is_same(&allowed.host, allowed.port),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::commands::agentcard::web::tests::Web;

    /// What a host may answer that the user allowed, were it on the public internet.
    #[rstest]
    #[case("/jwks.json", Ok(1))]
    #[case("/moved", Err("redirects are not followed"))]
    #[case("/large", Err("at most 262144 bytes"))]
    #[case("/page", Err("it is not JSON"))]
    #[case("/nothing", Err("404"))]
    #[tokio::test]
    async fn takes_a_key_set_and_nothing_else(#[case] path: &str, #[case] expected: Result<usize, &str>) {
        let web = Web::start().await;
        let allow_jku = vec![format!("localhost:{}", web.port)];
        let args = KeySetArgs { allow_jku, ..KeySetArgs::default() };
        let fetched = args.fetch(&web.url(path), &web.roots, |_| true).await;
        match (fetched, expected) {
            (Ok(keys), Ok(count)) => assert_eq!(keys.len(), count),
            (Err(why), Err(expected)) => assert!(why.contains(expected), "{why}"),
            (fetched, expected) => panic!("{fetched:?} instead of {expected:?}"),
        }
    }

    #[rstest]
    #[case("keys.example", "https://keys.example/jwks.json", true)]
    #[case("KEYS.example", "https://keys.example:443/", true)]
    #[case("keys.example:8443", "https://keys.example:8443/", true)]
    #[case("keys.example", "https://keys.example:8443/", false)]
    #[case("keys.example", "https://other.keys.example/", false)]
    #[case("keys.example", "https://keys.example.evil.example/", false)]
    #[case("", "https://keys.example/", false)]
    fn allows_hosts(#[case] allowed: &str, #[case] url: &str, #[case] expected: bool) {
        assert_eq!(is_allowed(allowed, &WebUrl::parse(url).unwrap()), expected);
    }

    #[rstest]
    #[case("http://127.0.0.1/", "over https alone")]
    #[case("https://other.example/", "not allowed")]
    #[case("https://127.0.0.1/jwks.json", "not an address of the public internet")]
    #[case("https://[::1]/jwks.json", "not an address of the public internet")]
    #[case("https://localhost/jwks.json", "not an address of the public internet")]
    #[case("https://169.254.169.254/latest", "not an address of the public internet")]
    #[case("https://[::ffff:127.0.0.1]/jwks.json", "not an address of the public internet")]
    #[case("https://[::ffff:a9fe:a9fe]/jwks.json", "not an address of the public internet")]
    #[case("https://127.1/jwks.json", "not an address of the public internet")]
    #[case("https://0x7f000001/jwks.json", "not an address of the public internet")]
    #[case("https://2130706433/jwks.json", "not an address of the public internet")]
    #[case("https://a:b@127.0.0.1/", "user name")]
    #[case("file:///etc/passwd", "no URL")]
    #[case("ftp://keys.example/", "only https")]
    #[tokio::test]
    async fn refuses_what_a_card_could_misuse(#[case] url: &str, #[case] expected: &str) {
        let roots = tempfile::NamedTempFile::new().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let root = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        std::fs::write(roots.path(), root.pem()).unwrap();
        let roots = WebRoots { web_roots: roots.path().to_owned() };
        let hosts = [
            "127.0.0.1",
            "[::1]",
            "localhost",
            "169.254.169.254",
            "[::ffff:127.0.0.1]",
            "[::ffff:a9fe:a9fe]",
            "127.1",
            "0x7f000001",
            "2130706433",
        ];
        let args = KeySetArgs { allow_jku: hosts.map(str::to_owned).into(), ..KeySetArgs::default() };
        let why = args.fetch(url, &roots, is_public).await.unwrap_err();
        assert!(why.contains(expected), "{why}");
    }
}
