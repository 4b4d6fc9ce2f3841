//! The bytes of an archive: a gzipped tar in several gzip members, each a pure function of what it holds.
//!
//! A tier is compressed once and shared by every bundle that has it; a bundle is members one after another, which
//! gzip readers take for one stream.

use std::{
    cell::RefCell,
    sync::{Arc, LazyLock},
};

use libdeflater::{CompressionLvl, Compressor};

use crate::digest::Digest;

/// The level is part of what makes equal content equal bytes on every replica.
const LEVEL: i32 = 6;
/// What ends a tar stream: two empty blocks.
const END: [u8; 1024] = [0; 1024];
/// How long an entry's name may be.
const MAX_NAME_BYTES: usize = 100;

thread_local! {
    /// A compressor clears hundreds of kilobytes when it is made, far more than a tier has; each thread keeps its own.
    static COMPRESSOR: RefCell<Compressor> =
        RefCell::new(Compressor::new(CompressionLvl::new(LEVEL).unwrap_or_default()));
}

/// One gzip member and the hash of its bytes.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) digest: Digest,
}

impl Member {
    /// Packs entries, in the order given. Names begin with a slash and have at most 100 bytes.
    pub(crate) fn pack<'a>(entries: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut tar = Vec::new();
        for (name, content) in entries {
            entry(&mut tar, name, content);
        }
        Self::compress(&tar)
    }

    /// The member that ends an archive.
    pub(crate) fn end() -> &'static Self {
        static MEMBER: LazyLock<Member> = LazyLock::new(|| Member::compress(&END));
        &MEMBER
    }

    /// The most bytes of a member of so many bytes of tar.
    pub(crate) fn most_bytes(tar: usize) -> usize {
        COMPRESSOR.with_borrow_mut(|compressor| compressor.gzip_compress_bound(tar))
    }

    fn compress(tar: &[u8]) -> Self {
        let bytes: Arc<[u8]> = COMPRESSOR.with_borrow_mut(|compressor| {
            let mut packed = vec![0; compressor.gzip_compress_bound(tar.len())];
            // There is room for whatever comes of it; if there were none, the archive would be cut and no reader would
            // take it. Its header has neither a time nor a name.
            let length = compressor.gzip_compress(tar, &mut packed).unwrap_or_default();
            packed.truncate(length);
            packed.into()
        });
        Self { digest: Digest::of(&[&bytes]), bytes }
    }
}

/// Appends one regular file. The tar crate refuses names with a leading slash, which OPA matches names with, so the
/// name is set as bytes.
fn entry(tar: &mut Vec<u8>, name: &str, content: &[u8]) {
    debug_assert!(name.len() <= MAX_NAME_BYTES && name.starts_with('/'));
    let mut header = tar::Header::new_ustar();
    let field = &mut header.as_old_mut().name;
    let length = name.len().min(field.len());
    field[..length].copy_from_slice(&name.as_bytes()[..length]);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    header.set_cksum();
    tar.extend_from_slice(header.as_bytes());
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

/// A name in an archive that nobody but us chooses: `/authbridge/<folder>/<n>-<owner>/<path>`. Of the path only what
/// is harmless is kept, and of a long one its end.
pub(crate) fn entry_name(folder: &str, number: usize, owner: &str, path: &str) -> String {
    let hash = Digest::of(&[owner.as_bytes()]);
    let start = format!("/authbridge/{folder}/{number}-{hash:.8}/");
    let stem = path.strip_suffix(".rego").unwrap_or(path);
    let harmless = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '/' { c } else { '_' };
    let stem: String = stem.chars().map(harmless).collect();
    let room = MAX_NAME_BYTES - ".rego".len() - start.len();
    let kept = stem.get(stem.len().saturating_sub(room)..).unwrap_or_default().trim_start_matches('/');
    format!("{start}{kept}.rego")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_same_content_gives_the_same_bytes() {
        let pack = || Member::pack([("/a", b"x".as_slice()), ("/b", b"y")]);
        assert_eq!(pack().bytes, pack().bytes);
        assert_ne!(pack().digest, Member::pack([("/a", b"xy".as_slice()), ("/b", b"")]).digest);
    }

    #[test]
    fn names_are_of_our_own_making() {
        let name = entry_name("ns", 3, "team-a/one", "inbound/request.rego");
        assert!(name.starts_with("/authbridge/ns/3-") && name.ends_with("/inbound/request.rego"), "{name}");
        assert_ne!(name, entry_name("ns", 3, "team-a/two", "inbound/request.rego"));
        assert_ne!(name, entry_name("ns", 4, "team-a/one", "inbound/request.rego"));
    }

    proptest! {
        #[test]
        fn no_name_escapes_its_folder(path in "[a-z0-9./_-]{0,260}", number in 0_usize..100_000) {
            let name = entry_name("client", number, "a/b", &path);
            let start = format!("/authbridge/client/{number}-");
            prop_assert!(name.starts_with(&start));
            prop_assert!(name.len() <= MAX_NAME_BYTES);
            prop_assert!(!name.contains("..") && name.ends_with(".rego"));
            prop_assert!(!name.ends_with(".manifest") && !name.ends_with("data.json"));
        }
    }
}
