//! The generated table, read once.

use std::sync::{Arc, LazyLock};

use super::{Builtin, Capabilities, OpaVersion, Versions, signature};
use crate::types::Type;

const TEXT: &str = include_str!("table.txt");

static BUILTINS: LazyLock<Vec<Builtin>> =
    LazyLock::new(|| rows("builtin").filter_map(read_builtin).collect());

static CAPABILITIES: LazyLock<[Capabilities; OpaVersion::ALL.len()]> =
    LazyLock::new(|| OpaVersion::ALL.map(assemble));

pub(super) fn of(version: OpaVersion) -> &'static Capabilities {
    // Versions are numbered as they stand in `ALL`.
    &CAPABILITIES[version as usize]
}

pub(super) fn builtins() -> &'static [Builtin] {
    &BUILTINS
}

fn assemble(version: OpaVersion) -> Capabilities {
    let of_version = |builtin: &&Builtin| builtin.versions.include(version);
    Capabilities {
        version,
        builtins: BUILTINS.iter().filter(of_version).map(|builtin| (builtin.name, builtin)).collect(),
        features: names("feature", version),
        future_keywords: names("keyword", version),
    }
}

/// The columns of the rows of that kind.
fn rows(kind: &'static str) -> impl Iterator<Item = std::str::Split<'static, char>> {
    TEXT.lines().filter_map(move |line| {
        let mut columns = line.split('\t');
        (columns.next() == Some(kind)).then_some(columns)
    })
}

fn names(kind: &'static str, version: OpaVersion) -> Vec<&'static str> {
    let name = |mut columns: std::str::Split<'static, char>| {
        let versions = read_versions(columns.next()?)?;
        columns.next().filter(|_| versions.include(version))
    };
    rows(kind).filter_map(name).collect()
}

fn read_builtin(mut columns: std::str::Split<'static, char>) -> Option<Builtin> {
    let versions = read_versions(columns.next()?)?;
    let name = columns.next()?;
    let flags = columns.next()?;
    let Type::Function(declaration) = signature::read(columns.next()?)? else { return None };
    let has = |flag| flags.split(',').any(|each| each == flag);
    Some(Builtin {
        name,
        declaration: Arc::clone(&declaration),
        infix: flags.split(',').find_map(|flag| flag.strip_prefix("infix=")),
        is_relation: has("relation"),
        is_deprecated: has("deprecated"),
        is_nondeterministic: has("nondeterministic"),
        versions,
    })
}

fn read_versions(text: &str) -> Option<Versions> {
    let newest = OpaVersion::ALL[OpaVersion::ALL.len() - 1];
    match text.split_once('-') {
        Some((first, last)) => Some(Versions { first: first.parse().ok()?, last: last.parse().ok()? }),
        None => Some(Versions { first: text.parse().ok()?, last: newest }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_row() {
        assert_eq!(builtins().len(), rows("builtin").count());
        let known = ["version", "feature", "keyword", "builtin"];
        for line in TEXT.lines().filter(|line| !line.starts_with('#')) {
            assert!(known.iter().any(|kind| line.starts_with(&format!("{kind}\t"))), "{line}");
        }
        for kind in ["feature", "keyword"] {
            assert!(rows(kind).all(|mut columns| read_versions(columns.next().unwrap()).is_some()));
        }
    }

    #[test]
    fn names_the_versions_of_the_code() {
        let versions = rows("version").map(|mut columns| columns.next().unwrap().parse().unwrap());
        assert_eq!(versions.collect::<Vec<OpaVersion>>(), OpaVersion::ALL);
    }
}
