//! What `git` prints of a commit: the list of its files, and their content.

use std::{collections::BTreeMap, path::Path};

use crate::{
    refusal::Refusal,
    source::{
        directory::{self, Files, MAX_FILE_BYTES, MAX_FILES, MAX_TOTAL_BYTES},
        manifests::FileContent,
    },
};

/// The manifests of a commit.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The hash of the content of each, by its name.
    pub(super) blobs: BTreeMap<String, String>,
    /// What is not read, and why.
    pub(super) refused: Files,
}

/// Reads what `ls-tree -r -z --long` printed. `prefix` comes before each path.
pub(super) fn listing(list: &[u8], prefix: &str) -> Listing {
    let mut listing = Listing::default();
    let mut left = MAX_TOTAL_BYTES;
    for line in list.split(|byte| *byte == 0).filter(|line| !line.is_empty()) {
        let mut halves = line.splitn(2, |byte| *byte == b'\t');
        let (Some(facts), Some(path)) = (halves.next(), halves.next()) else { continue };
        let facts = String::from_utf8_lossy(facts);
        let (path, is_text) = match std::str::from_utf8(path) {
            Ok(path) => (path.to_owned(), true),
            Err(_) => (path.escape_ascii().to_string(), false),
        };
        let [mode, kind, blob, size] = facts.split_whitespace().collect::<Vec<_>>()[..] else { continue };
        if kind != "blob" || !is_manifest(&path) {
            continue;
        }
        let size: u64 = size.parse().unwrap_or(u64::MAX);
        let problem = match mode {
            // Two such names may look alike once they are made readable.
            _ if !is_text => Some("its name is not UTF-8".to_owned()),
            "120000" => Some("it is a symbolic link, which is not followed in a repository".to_owned()),
            _ if size > MAX_FILE_BYTES => Some(format!("the file has more than {MAX_FILE_BYTES} bytes")),
            _ if size > left => {
                Some(format!("the manifests have more than {MAX_TOTAL_BYTES} bytes together"))
            }
            _ if listing.blobs.len() == MAX_FILES => {
                Some(format!("there are more than {MAX_FILES} manifest files"))
            }
            _ => None,
        };
        let name = format!("{prefix}{path}");
        match problem {
            Some(problem) => {
                let refusal = Refusal::new("unreadable", problem).in_file(&name, 0, 0);
                listing.refused.insert(name, FileContent::refused(refusal));
            }
            None => {
                left -= size;
                listing.blobs.insert(name, blob.to_owned());
            }
        }
    }
    listing
}

/// Named as in a folder, and nothing below a name that begins with a dot.
fn is_manifest(path: &str) -> bool {
    directory::is_manifest(Path::new(path)) && !path.split('/').any(|step| step.starts_with('.'))
}

/// Takes the next object off what `cat-file --batch` printed: `<name> blob <size>`, a line end, the content, a line end.
pub(super) fn next_object<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let (head, after) = rest.split_at_checked(end)?;
    let size: usize = std::str::from_utf8(head).ok()?.rsplit(' ').next()?.parse().ok()?;
    let (content, after) = after.get(1..)?.split_at_checked(size)?;
    *rest = after.strip_prefix(b"\n")?;
    Some(content)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(lines: &[&str]) -> Vec<u8> {
        lines.iter().flat_map(|line| line.bytes().chain([0])).collect()
    }

    #[test]
    fn lists_manifests_alone() {
        let list = list(&[
            "100644 blob aa      12\ta.yaml",
            "100755 blob bb      12\tb/c.yml",
            "100644 blob ab      12\td.json",
            "100644 blob cc      12\tREADME.md",
            "100644 blob dd      12\t.github/workflow.yaml",
            "160000 commit ee       -\tmodule.yaml",
            "120000 blob ff      12\tlink.yaml",
            "100644 blob 11 99999999\tlarge.yaml",
        ]);
        let Listing { blobs, refused } = listing(&list, "git:p/");
        let blobs: Vec<_> = blobs.iter().map(|(name, blob)| (name.as_str(), blob.as_str())).collect();
        assert_eq!(blobs, [("git:p/a.yaml", "aa"), ("git:p/b/c.yml", "bb"), ("git:p/d.json", "ab")]);
        assert_eq!(refused.keys().collect::<Vec<_>>(), ["git:p/large.yaml", "git:p/link.yaml"]);
    }

    #[test]
    fn refuses_a_name_that_is_not_text() {
        let list = b"100644 blob aa 12\t\xfe.yaml\x00100644 blob bb 12\t\xff/b.yaml\x00100644 blob cc 12\t\xef\xbf\xbd.yaml\0\
                     100644 blob dd 12\t\xff.txt\0";
        let Listing { blobs, refused } = listing(list, "git:");
        assert_eq!(blobs.keys().collect::<Vec<_>>(), ["git:\u{fffd}.yaml"]);
        assert_eq!(refused.keys().collect::<Vec<_>>(), [r"git:\xfe.yaml", r"git:\xff/b.yaml"]);
    }

    #[test]
    fn all_files_together_are_bounded() {
        let lines: Vec<String> = (0..MAX_TOTAL_BYTES / MAX_FILE_BYTES + 1)
            .map(|number| format!("100644 blob {number:x} {MAX_FILE_BYTES}\t{number:03}.yaml"))
            .collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let Listing { blobs, refused } = listing(&list(&lines), "");
        assert_eq!((blobs.len() as u64 * MAX_FILE_BYTES, refused.len()), (MAX_TOTAL_BYTES, 1));
        let many: Vec<String> = (0..=MAX_FILES).map(|n| format!("100644 blob {n:x} 1\t{n}.yaml")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let Listing { blobs, refused } = listing(&list(&many), "");
        assert_eq!((blobs.len(), refused.len()), (MAX_FILES, 1));
    }

    #[test]
    fn takes_objects_apart() {
        let mut rest: &[u8] = b"aa blob 3\na\nb\nbb blob 0\n\ncc blob 9\nshort";
        assert_eq!(next_object(&mut rest), Some(&b"a\nb"[..]));
        assert_eq!(next_object(&mut rest), Some(&b""[..]));
        assert_eq!(next_object(&mut rest), None);
        assert_eq!(next_object(&mut &b"aa missing\n"[..]), None);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[a-f0-9 \t\nblob]{0,80}") {
            for bytes in [bytes.as_slice(), text.as_bytes()] {
                listing(bytes, "git:");
                let mut rest = bytes;
                while next_object(&mut rest).is_some() {}
            }
        }
    }
}
