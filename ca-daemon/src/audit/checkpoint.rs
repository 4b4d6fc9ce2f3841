//! A signed statement of what a log held: the C2SP tlog-checkpoint in a signed note.
//!
//! ```text
//! secplane-audit/<log>
//! <size>
//! <root, base64>
//! time <Unix milliseconds>
//!
//! — secplane-audit/<log> <base64 of the 4-byte key ID and the Ed25519 signature>
//! ```
//!
//! The signature is over the lines before the empty one. Further signatures, of witnesses who saw the same
//! checkpoint, may follow; they are left to who knows their keys.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    key::{KEY_ID_BYTES, LogKey, LogKeyError, PublicKey},
    tree::Hash,
};

/// Keeps this authority's notes apart from those of other programs.
const ORIGIN: &str = "secplane-audit/";
/// Extension lines of other writers are signed with the rest and passed over.
const TIME: &str = "time ";
const MAX_LOG_ID_BYTES: usize = 128;
/// Longer than any checkpoint with a good number of witnesses.
const MAX_TEXT_BYTES: usize = 16 * 1024;

/// The name of a log: that of the replica that writes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogId(String);

impl LogId {
    /// Reads 1 to 128 letters, digits, `-`, `_` and `.` of ASCII.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn parse(text: &str) -> Result<Self, LogIdError> {
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if (1..=MAX_LOG_ID_BYTES).contains(&text.len()) && text.bytes().all(is_legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(LogIdError)
        }
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Not the name of a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the ID of an audit log is 1 to {MAX_LOG_ID_BYTES} letters, digits, `-`, `_` or `.`")]
pub struct LogIdError;

/// The name of a log among all logs of the world, and of its key.
pub(super) fn origin(log: &LogId) -> String {
    format!("{ORIGIN}{log}")
}

pub(super) fn origin_log(origin: &str) -> Option<LogId> {
    origin.strip_prefix(ORIGIN).and_then(|log| LogId::parse(log).ok())
}

/// What a log held: its first `size` leaves have this root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log.
    pub log_id: LogId,
    /// How many leaves it had.
    pub size: u64,
    /// The root of their tree.
    pub root: Hash,
}

/// A checkpoint whose signature was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// What was signed.
    pub checkpoint: Checkpoint,
    /// When, by the clock of who signed; to the millisecond.
    pub at: SystemTime,
}

impl Checkpoint {
    pub(super) fn sign(&self, key: &LogKey, at: SystemTime) -> Result<String, LogKeyError> {
        let origin = origin(&self.log_id);
        let millis = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let root = BASE64_STANDARD.encode(self.root);
        let text = format!("{origin}\n{}\n{root}\n{TIME}{millis}\n", self.size);
        let mut signature = key.public_key().key_id(&self.log_id).to_vec();
        signature.extend(key.signature(text.as_bytes())?);
        Ok(format!("{text}\n\u{2014} {origin} {}\n", BASE64_STANDARD.encode(signature)))
    }

    /// Reads a signed checkpoint and verifies its signature.
    ///
    /// # Errors
    /// When the text is not a checkpoint of this authority, or `key` did not sign it.
    pub fn verify(text: &str, key: &PublicKey) -> Result<SignedCheckpoint, CheckpointError> {
        let (body, signatures) = split(text)?;
        let signed = parse(body)?;
        let origin = origin(&signed.checkpoint.log_id);
        let key_id = key.key_id(&signed.checkpoint.log_id);
        for line in signatures.lines() {
            let (name, signature) = signature(line)?;
            let Some((id, signature)) = signature.split_first_chunk::<KEY_ID_BYTES>() else {
                return Err(CheckpointError::Form("a signature has no key ID"));
            };
            if name == origin && *id == key_id {
                return if key.has_signed(body.as_bytes(), signature) {
                    Ok(signed)
                } else {
                    Err(CheckpointError::Signature)
                };
            }
        }
        Err(CheckpointError::NotSigned(signed.checkpoint.log_id))
    }

    /// The log that a text says it is a checkpoint of; nothing is verified.
    ///
    /// # Errors
    /// When the text is not a checkpoint of this authority.
    pub fn claimed_log(text: &str) -> Result<LogId, CheckpointError> {
        Ok(parse(split(text)?.0)?.checkpoint.log_id)
    }
}

/// The signed text and the lines of signatures.
fn split(text: &str) -> Result<(&str, &str), CheckpointError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(CheckpointError::Form("it is longer than any checkpoint"));
    }
    if text.chars().any(|c| c.is_control() && c != '\n') {
        return Err(CheckpointError::Form("it holds control characters"));
    }
    let end = text.rfind("\n\n").ok_or(CheckpointError::Form("no empty line parts text and signatures"))?;
    let (body, signatures) = (&text[..=end], &text[end + 2..]);
    if signatures.is_empty() || !signatures.ends_with('\n') {
        return Err(CheckpointError::Form("it does not end with a line of a signature"));
    }
    Ok((body, signatures))
}

fn parse(body: &str) -> Result<SignedCheckpoint, CheckpointError> {
    let mut lines = body.lines();
    let mut next = |missing| lines.next().ok_or(CheckpointError::Form(missing));
    let log_id = origin_log(next("it is empty")?).ok_or(CheckpointError::Origin)?;
    let size = number(next("it has no size")?).ok_or(CheckpointError::Form("its size is no number"))?;
    let root = BASE64_STANDARD
        .decode(next("it has no root")?)
        .ok()
        .and_then(|root| root.try_into().ok())
        .ok_or(CheckpointError::Form("its root is no SHA-256 hash in base64"))?;
    let time = next("it has no time")?
        .strip_prefix(TIME)
        .and_then(number)
        .ok_or(CheckpointError::Form("its time is no number"))?;
    let at = SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_millis(time))
        .ok_or(CheckpointError::Form("its time is beyond all clocks"))?;
    Ok(SignedCheckpoint { checkpoint: Checkpoint { log_id, size, root }, at })
}

/// A decimal number in its one form: what is signed has no second spelling.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

fn signature(line: &str) -> Result<(&str, Vec<u8>), CheckpointError> {
    let form = CheckpointError::Form("a signature is not `— <name> <base64>`");
    let Some((name, signature)) = line.strip_prefix("\u{2014} ").and_then(|rest| rest.split_once(' ')) else {
        return Err(form);
    };
    Ok((name, BASE64_STANDARD.decode(signature).map_err(|_| form)?))
}

/// Why a text is no checkpoint that one may rely on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not of its form.
    #[error("this is no signed checkpoint: {0}")]
    Form(&'static str),
    /// Another program's.
    #[error("this is no checkpoint of a Secplane audit log: its first line is not `{ORIGIN}<log>`")]
    Origin,
    /// The key did not sign it.
    #[error("the checkpoint of log {0} is not signed with the given key; it may be another log's")]
    NotSigned(LogId),
    /// The key's signature is of another text.
    #[error("the checkpoint's signature is wrong: it was changed after it was signed, or is forged")]
    Signature,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn key() -> LogKey {
        LogKey::generate().unwrap()
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint { log_id: LogId::parse("replica-1").unwrap(), size: 4711, root: [7; 32] }
    }

    fn at() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_280_000_123)
    }

    #[test]
    fn reads_what_it_signed() {
        let key = key();
        let text = key.sign(&checkpoint(), at()).unwrap();
        assert!(
            text.starts_with(
                "secplane-audit/replica-1\n4711\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\ntime 1795280000123\n\n\u{2014} \
                 secplane-audit/replica-1 "
            ),
            "{text}"
        );
        let signed = Checkpoint::verify(&text, &key.public_key()).unwrap();
        assert_eq!(signed, SignedCheckpoint { checkpoint: checkpoint(), at: at() });
        assert_eq!(Checkpoint::claimed_log(&text).unwrap().as_str(), "replica-1");
    }

    #[test]
    fn refuses_another_key() {
        let text = key().sign(&checkpoint(), at()).unwrap();
        let refused = Checkpoint::verify(&text, &key().public_key());
        assert_eq!(refused, Err(CheckpointError::NotSigned(checkpoint().log_id)));
    }

    #[test]
    fn passes_over_witnesses_but_not_over_what_is_no_signature() {
        let key = key();
        let text = key.sign(&checkpoint(), at()).unwrap();
        let witnessed = format!("{text}\u{2014} witness.example AAAAAAAAAAAA\n");
        assert!(Checkpoint::verify(&witnessed, &key.public_key()).is_ok());
        let spoiled = format!("{text}surplus\n").replace("\u{2014} secplane", "secplane");
        assert!(matches!(Checkpoint::verify(&spoiled, &key.public_key()), Err(CheckpointError::Form(_))));
    }

    #[test]
    fn refuses_a_changed_size() {
        let key = key();
        let text = key.sign(&checkpoint(), at()).unwrap().replace("4711", "4712");
        assert_eq!(Checkpoint::verify(&text, &key.public_key()), Err(CheckpointError::Signature));
    }

    #[rstest]
    #[case("")]
    #[case("\n\n")]
    #[case("secplane-audit/a\n1\n")]
    #[case("secplane-audit/a\n01\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\ntime 1\n\n\u{2014} x AAAA\n")]
    #[case("secplane-audit/a\n+1\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\ntime 1\n\n\u{2014} x AAAA\n")]
    #[case("secplane-audit/a\n1\nBwcH\ntime 1\n\n\u{2014} x AAAA\n")]
    #[case("secplane-audit/a\n1\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n\n\u{2014} x AAAA\n")]
    #[case("other.example/a\n1\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\ntime 1\n\n\u{2014} x AAAA\n")]
    fn refuses_what_is_no_checkpoint(#[case] text: &str) {
        assert!(Checkpoint::claimed_log(text).is_err());
        assert!(Checkpoint::verify(text, &key().public_key()).is_err());
    }

    #[rstest]
    #[case("", false)]
    #[case("a b", false)]
    #[case("a\nb", false)]
    #[case("a+b", false)]
    #[case("d9f0-1_2.x", true)]
    fn names_logs_without_room_for_tricks(#[case] text: &str, #[case] is_legal: bool) {
        assert_eq!(LogId::parse(text).is_ok(), is_legal);
    }

    proptest! {
        #[test]
        fn notices_any_changed_byte(position in 0_usize..200, byte in 32_u8..127) {
            let key = key();
            let text = key.sign(&checkpoint(), at()).unwrap();
            let mut bytes = text.clone().into_bytes();
            let position = position % bytes.len();
            bytes[position] = byte;
            if let Ok(changed) = String::from_utf8(bytes) && changed != text {
                prop_assert!(Checkpoint::verify(&changed, &key.public_key()).is_err());
            }
        }

        #[test]
        fn never_panics(text in "(secplane-audit/a|.{0,9})\n[0-9+]{0,4}\n[A-Za-z+/=]{0,50}\n(time [0-9]{0,30}\n)?\n.{0,40}\n?") {
            prop_assert!(Checkpoint::verify(&text, &key().public_key()).is_err());
        }
    }
}
