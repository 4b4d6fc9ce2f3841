//! Where modules to begin with come from.

use std::{fs, io, path::Path};

use crate::set::Set;

/// The line between the modules of a file of the gate's own tests.
const SEPARATOR: &str = "# module\n";
/// Longer ones make everything slow and find nothing that shorter ones do not.
const MAX_BYTES: usize = 20_000;

/// The sets of a file of lines of JSON, of a `.rego` file, or of all such files in a folder.
pub(crate) fn read(path: &Path, into: &mut Vec<Set>) -> io::Result<()> {
    if path.is_dir() {
        let mut entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::path);
        let paths = entries.iter().map(fs::DirEntry::path);
        let mut modules = paths.filter(|path| path.is_dir() || path.extension().is_some_and(|e| e == "rego"));
        return modules.try_for_each(|path| read(&path, into));
    }
    let text = fs::read_to_string(path)?;
    if path.extension().is_some_and(|extension| extension == "rego") {
        into.push(Set::of(path.display().to_string(), text.split(SEPARATOR).map(str::to_owned).collect()));
        return Ok(());
    }
    for line in text.lines() {
        let set: Set = serde_json::from_str(line)?;
        // Without a text it was no UTF-8.
        if set.modules.iter().all(|module| module.text.len() < MAX_BYTES) {
            into.push(Set { verdict: None, ..set });
        }
    }
    Ok(())
}
