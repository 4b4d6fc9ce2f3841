//! What differs between two readings of the same files.

use std::{collections::BTreeMap, sync::Arc};

use super::{directory::Files, manifests::Object};
use crate::{compile::policies::lies_in, policy::ResourceKey, refusal::Refusal};

/// One whole-object change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The object is new, or differs from before.
    Set(Arc<Object>),
    /// The object is no longer there.
    Gone(ResourceKey),
}

impl Change {
    /// What the object is called.
    #[must_use]
    pub fn key(&self) -> &ResourceKey {
        match self {
            Self::Set(object) => &object.key,
            Self::Gone(key) => key,
        }
    }
}

/// What one reading brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// What changed since the reading before.
    pub changes: Vec<Change>,
    /// All that is refused now and is no object's own fault, not only what is new.
    pub refusals: Vec<Refusal>,
    /// Files and folders that cannot be read now. What was in them may still be there.
    pub unreadable: Vec<String>,
}

/// Remembers the objects of the last reading.
#[derive(Debug, Default)]
pub struct Changes {
    known: BTreeMap<ResourceKey, Arc<Object>>,
}

impl Changes {
    /// Takes a new reading.
    ///
    /// An object that is missing from a file in which something cannot be read may be just that: it stays as it was.
    pub(crate) fn update(&mut self, files: Files) -> Batch {
        let mut batch = Batch::default();
        let before = std::mem::take(&mut self.known);
        let mut unreadable = Vec::new();
        for (name, content) in files {
            if content.unreadable {
                unreadable.push(name);
            }
            batch.refusals.extend(content.refusals);
            for object in content.objects {
                if let Some(first) = self.known.get(&object.key) {
                    batch.refusals.push(twice(&object, first));
                    continue;
                }
                let object = Arc::new(object);
                if before.get(&object.key) != Some(&object) {
                    batch.changes.push(Change::Set(Arc::clone(&object)));
                }
                self.known.insert(object.key.clone(), object);
            }
        }
        for (key, object) in before {
            if self.known.contains_key(&key) {
                continue;
            }
            if unreadable.iter().any(|name| lies_in(&object.file, name)) {
                self.known.insert(key, object);
            } else {
                batch.changes.push(Change::Gone(key));
            }
        }
        batch.unreadable = unreadable;
        batch
    }
}

fn twice(second: &Object, first: &Object) -> Refusal {
    let message =
        format!("{} is already defined in {}; this second definition is not used", second.key, first.file);
    Refusal::new("duplicate", message)
        .of(&second.key)
        .in_file(&second.file, 0, 0)
        .suggest("remove one of the two, or give it another name")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{SourceOptions, manifests::FileContent};

    fn manifest(name: &str, module: &str) -> String {
        format!(
            "---\napiVersion: agent.kagenti.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}}}\n\
             spec: {{policies: [{{path: a.rego, content: {module}}}]}}\n"
        )
    }

    fn files(files: &[(&str, &str)]) -> Files {
        let read =
            |name: &str, text: &str| FileContent::read(name, text.as_bytes(), &SourceOptions::default());
        files.iter().map(|(name, text)| ((*name).to_owned(), read(name, text))).collect()
    }

    /// The names of what changed; `-` before what is gone.
    fn names(batch: &Batch) -> Vec<String> {
        let name = |change: &Change| match change {
            Change::Set(object) => object.key.name.clone(),
            Change::Gone(key) => format!("-{}", key.name),
        };
        batch.changes.iter().map(name).collect()
    }

    #[test]
    fn tells_only_what_changed() {
        let mut changes = Changes::default();
        let both = manifest("one", "x") + &manifest("two", "x");
        assert_eq!(names(&changes.update(files(&[("a.yaml", &both)]))), ["one", "two"]);
        assert_eq!(changes.update(files(&[("a.yaml", &both)])), Batch::default());
        let changed = manifest("one", "x") + &manifest("two", "y");
        assert_eq!(names(&changes.update(files(&[("a.yaml", &changed)]))), ["two"]);
        assert_eq!(names(&changes.update(files(&[("a.yaml", &manifest("two", "y"))]))), ["-one"]);
        assert_eq!(names(&changes.update(files(&[]))), ["-two"]);
    }

    #[test]
    fn keeps_what_a_malformed_file_held() {
        let mut changes = Changes::default();
        let good = manifest("one", "x") + &manifest("two", "x");
        changes.update(files(&[("a.yaml", &good), ("b.yaml", &manifest("three", "x"))]));
        let torn = manifest("one", "y") + "---\na: [1";
        let batch = changes.update(files(&[("a.yaml", &torn)]));
        assert_eq!(names(&batch), ["one", "-three"], "two stays, three is another file's");
        assert_eq!(batch.refusals.len(), 1);
        let batch = changes.update(files(&[("a.yaml", &manifest("one", "y"))]));
        assert_eq!(names(&batch), ["-two"], "once the file can be read, what is missing is gone");
    }
}
