//! What a request says of the bundle that its sender holds, and how long it is willing to wait for another.

use std::time::Duration;

use http::{HeaderMap, header};

/// The longest that a poll is held.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Whether the sender holds the representation with this entity tag (RFC 9110, section 13.1.2). Weak tags and ones
/// without quotes count as well: OPA sends back whatever it was given, and did so by other servers too.
pub(super) fn holds(headers: &HeaderMap, etag: &str) -> bool {
    let own = etag.trim_matches('"');
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(tags)
        .any(|tag| tag == "*" || tag == own)
}

/// The opaque parts of a list of entity tags. A quoted tag may hold commas.
fn tags(list: &str) -> Vec<&str> {
    let mut tags = Vec::new();
    let mut rest = list;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let tag = rest.strip_prefix("W/").unwrap_or(rest);
        let end = match tag.strip_prefix('"') {
            Some(quoted) => quoted.find('"').map(|end| (&quoted[..end], &quoted[end + 1..])),
            None => {
                let end = tag.find(',').unwrap_or(tag.len());
                Some((tag[..end].trim_end(), &tag[end..]))
            }
        };
        match end {
            Some(("", "")) | None => return tags,
            Some((tag, after)) => {
                tags.push(tag);
                rest = after;
            }
        }
    }
}

/// How long the sender is willing to wait: `wait` of the `Prefer` header (RFC 7240, section 4.3), which OPA puts
/// behind its modes as in `modes=snapshot,delta;wait=60`.
pub(super) fn wait(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']))
        .find_map(|preference| {
            let (name, seconds) = preference.split_once('=')?;
            let wanted = name.trim().eq_ignore_ascii_case("wait");
            wanted.then(|| seconds.trim().trim_matches('"').parse().ok()).flatten()
        })
        .map(|seconds| Duration::from_secs(seconds).min(LONGEST_WAIT))
        .filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[rstest]
    #[case(&["\"a\""], true)]
    #[case(&["W/\"a\""], true)]
    #[case(&["a"], true)]
    #[case(&["*"], true)]
    #[case(&["\"x\", \"a\""], true)]
    #[case(&["\"x\",\"y,z\" , W/\"a\""], true)]
    #[case(&["\"x\"", "\"a\""], true)]
    #[case(&["x, a"], true)]
    #[case(&[], false)]
    #[case(&[""], false)]
    #[case(&["\"A\""], false)]
    #[case(&["\"aa\""], false)]
    #[case(&["\"x,a\""], false)]
    #[case(&["\"a"], false)]
    fn reads_if_none_match_as_a_list(#[case] values: &[&str], #[case] expected: bool) {
        assert_eq!(holds(&headers("if-none-match", values), "\"a\""), expected);
    }

    #[rstest]
    #[case(&["modes=snapshot,delta;wait=60"], Some(60))]
    #[case(&["wait=1"], Some(1))]
    #[case(&["respond-async, Wait=10"], Some(10))]
    #[case(&["respond-async", "wait = 10"], Some(10))]
    #[case(&["wait=100000"], Some(300))]
    #[case(&["wait=0"], None)]
    #[case(&["wait=-1"], None)]
    #[case(&["wait=abc"], None)]
    #[case(&["await=5"], None)]
    #[case(&["modes=snapshot,delta"], None)]
    #[case(&[], None)]
    fn reads_wait(#[case] values: &[&str], #[case] seconds: Option<u64>) {
        assert_eq!(wait(&headers("prefer", values)), seconds.map(Duration::from_secs));
    }

    proptest! {
        #[test]
        fn never_panics(text in "[ -~]{0,60}") {
            let _ = holds(&headers("if-none-match", &[&text]), "\"a\"");
            let _ = wait(&headers("prefer", &[&text]));
        }
    }
}
