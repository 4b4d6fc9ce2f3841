//! Keys and checkpoints that somebody kept: what a log is held to.

use std::{fmt, path::Path, str::FromStr};

use ca_daemon::audit::{Checkpoint, CheckpointError, LogId, LogKeyError, PublicKey, SignedCheckpoint};

use crate::{
    failure::{Failure, Kind},
    files,
};

const MAX_CHECKPOINT_FILE_BYTES: usize = 1024 * 1024;

/// A key with the log that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PinnedKey {
    pub(super) log: LogId,
    pub(super) key: PublicKey,
}

impl FromStr for PinnedKey {
    type Err = LogKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        PublicKey::parse_verifier(text).map(|(log, key)| Self { log, key })
    }
}

impl fmt::Display for PinnedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key.verifier(&self.log))
    }
}

/// A checkpoint whose signature was verified, with its text and the key that signed it.
#[derive(Debug, Clone)]
pub(super) struct KnownCheckpoint {
    pub(super) text: String,
    pub(super) key: PinnedKey,
    pub(super) signed: SignedCheckpoint,
}

impl KnownCheckpoint {
    pub(super) fn verify(text: &str, key: &PinnedKey) -> Result<Self, CheckpointError> {
        let signed = Checkpoint::verify(text, &key.key)?;
        Ok(Self { text: text.to_owned(), key: key.clone(), signed })
    }
}

/// The checkpoints of one file, with the log that each says it is of; their signatures are not verified.
pub(super) fn read_checkpoints(path: &Path) -> Result<Vec<(LogId, String)>, Failure> {
    let what = format!("read the checkpoints in `{}`", path.display());
    let text = files::read_text(path, MAX_CHECKPOINT_FILE_BYTES)?;
    let notes = split_notes(&text);
    if notes.is_empty() {
        return Err(Failure::refused(what, "the file holds none"));
    }
    let claimed = |note: String| {
        let log = Checkpoint::claimed_log(&note).map_err(|error| Failure::refused(what.clone(), error))?;
        Ok((log, note))
    };
    notes.into_iter().map(claimed).collect()
}

/// Several signed notes in one file, one after another: each ends with the lines of its signatures.
fn split_notes(text: &str) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    let mut is_signed = true;
    for line in text.lines() {
        let is_signature = line.starts_with('\u{2014}');
        if is_signed && !is_signature {
            if line.is_empty() {
                continue;
            }
            notes.push(String::new());
        }
        is_signed = is_signature;
        if let Some(note) = notes.last_mut() {
            note.push_str(line);
            note.push('\n');
        }
    }
    notes
}

/// The key that a log must have: the pinned one, or what is claimed where none was given at all.
pub(super) fn choose_key(
    pinned: &[PinnedKey],
    log: &LogId,
    claimed: PublicKey,
) -> Result<PinnedKey, Failure> {
    if pinned.is_empty() {
        return Ok(PinnedKey { log: log.clone(), key: claimed });
    }
    let what = format!("verify the audit log {log}");
    match pinned.iter().find(|pinned| pinned.log == *log) {
        None => Err(Failure::usage(what, "no --public-key was given for it")),
        Some(pinned) if pinned.key != claimed => Err(Failure::new(
            Kind::CheckFailed,
            what,
            "its key is another one than the --public-key that was given: it was begun anew, or is forged",
        )),
        Some(pinned) => Ok(pinned.clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use ca_daemon::audit::LogKey;

    use super::*;

    fn checkpoint(log: &str) -> (PinnedKey, String) {
        let key = LogKey::generate().unwrap();
        let log_id = LogId::parse(log).unwrap();
        let checkpoint = Checkpoint { log_id: log_id.clone(), size: 3, root: [1; 32] };
        let text = key.sign(&checkpoint, SystemTime::now()).unwrap();
        (PinnedKey { log: log_id, key: key.public_key() }, text)
    }

    #[test]
    fn keeps_several_checkpoints_in_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoints");
        let ((a, text_a), (b, text_b)) = (checkpoint("a"), checkpoint("b"));
        std::fs::write(&path, format!("{text_a}\n{text_b}{text_a}")).unwrap();
        let found = read_checkpoints(&path).unwrap();
        assert_eq!(found.len(), 3);
        for ((log, text), (key, expected)) in found.iter().zip([(&a, &text_a), (&b, &text_b), (&a, &text_a)])
        {
            assert_eq!((log, text), (&key.log, expected));
            assert!(KnownCheckpoint::verify(text, key).is_ok());
        }
    }

    #[test]
    fn refuses_a_file_without_checkpoints() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoints");
        for text in ["", "\n\n", "something else\n"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read_checkpoints(&path).unwrap_err().kind(), Kind::Refused);
        }
    }

    #[test]
    fn takes_no_other_key_than_the_pinned_one() {
        let ((a, _), (b, _)) = (checkpoint("a"), checkpoint("b"));
        assert_eq!(choose_key(&[], &a.log, a.key).unwrap(), a);
        assert_eq!(choose_key(std::slice::from_ref(&a), &a.log, a.key).unwrap(), a);
        assert_eq!(
            choose_key(std::slice::from_ref(&a), &a.log, b.key).unwrap_err().kind(),
            Kind::CheckFailed
        );
        assert_eq!(choose_key(&[a], &b.log, b.key).unwrap_err().kind(), Kind::Usage);
    }

    #[test]
    fn reads_a_key_as_it_is_shown() {
        let (key, _) = checkpoint("a");
        assert_eq!(key.to_string().parse(), Ok(key));
    }
}
