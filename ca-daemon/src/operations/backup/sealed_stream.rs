//! The form of a backup: a stream of bytes, encrypted and authenticated in chunks, so that it needs no more memory
//! than one of them.
//!
//! ```text
//! "SECPLANE-BACKUP" | version (1 byte) | salt (32 bytes) | key check (16 bytes) | chunk | chunk | … | last chunk
//! chunk = AES-256-GCM(key, nonce = number (11 bytes, big-endian) | is it the last (1 byte), header) of 64 KiB
//! ```
//!
//! Every file has a key of its own, derived from the chosen key and the salt, so no nonce is used twice under one
//! key. The number in the nonce makes a chunk fit at one place alone, and only the chunk that was sealed as the last
//! may end the file (the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár, 2015): a file that was cut,
//! re-ordered, extended or edited does not open. The key check tells a wrong key from a damaged file; it is derived
//! beside the key and gives nothing of it away.

use std::io::{self, Read, Write};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    constant_time::verify_slices_are_equal,
};

use crate::keys::WrappingKey;

const MAGIC: &[u8; 15] = b"SECPLANE-BACKUP";
const VERSION: u8 = 1;
const SALT_BYTES: usize = 32;
const CHECK_BYTES: usize = 16;
const HEADER_BYTES: usize = MAGIC.len() + 1 + SALT_BYTES + CHECK_BYTES;
/// Plain bytes in every chunk but the last, which has fewer or as many.
const CHUNK_BYTES: usize = 64 * 1024;
const TAG_BYTES: usize = 16;

/// The key of one file, and the header that everything in it is bound to.
struct FileKey {
    key: LessSafeKey,
    header: [u8; HEADER_BYTES],
}

impl FileKey {
    fn new(wrapping: &WrappingKey, salt: &[u8]) -> Result<Self, BackupFormError> {
        let secret = wrapping.derive(salt, b"secplane ca-daemon backup v1");
        let check = wrapping.derive(salt, b"secplane ca-daemon backup key check v1");
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(MAGIC);
        header.push(VERSION);
        header.extend_from_slice(salt);
        header.extend_from_slice(&check[..CHECK_BYTES]);
        let header = header.try_into().map_err(|_| BackupFormError::NotABackup)?;
        let key = UnboundKey::new(&AES_256_GCM, secret.as_ref()).map_err(|_| BackupFormError::Cipher)?;
        Ok(Self { key: LessSafeKey::new(key), header })
    }

    fn nonce(number: u64, is_last: bool) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[3..11].copy_from_slice(&number.to_be_bytes());
        nonce[11] = u8::from(is_last);
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Encrypts what is written to it. [`finish`](Self::finish) has to be called: without its last chunk a file does
/// not open.
pub(super) struct SealingWriter<W> {
    out: W,
    key: FileKey,
    number: u64,
    chunk: Vec<u8>,
}

impl<W: Write> SealingWriter<W> {
    /// Begins a file.
    pub(super) fn new(mut out: W, wrapping: &WrappingKey) -> io::Result<Self> {
        let mut salt = [0; SALT_BYTES];
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| io::Error::other(BackupFormError::Randomness))?;
        let key = FileKey::new(wrapping, &salt).map_err(io::Error::other)?;
        out.write_all(&key.header)?;
        Ok(Self { out, key, number: 0, chunk: Vec::with_capacity(CHUNK_BYTES + TAG_BYTES) })
    }

    /// Writes the last chunk.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.seal(true)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn seal(&mut self, is_last: bool) -> io::Result<()> {
        let nonce = FileKey::nonce(self.number, is_last);
        self.key
            .key
            .seal_in_place_append_tag(nonce, Aad::from(&self.key.header), &mut self.chunk)
            .map_err(|_| io::Error::other(BackupFormError::Cipher))?;
        self.out.write_all(&self.chunk)?;
        self.chunk.clear();
        self.number += 1;
        Ok(())
    }
}

impl<W: Write> Write for SealingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk waits until more comes: only then it is known not to be the last.
        if self.chunk.len() == CHUNK_BYTES {
            self.seal(false)?;
        }
        let taken = bytes.len().min(CHUNK_BYTES - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Decrypts what it reads. It gives out nothing that was not authenticated, and it ends only after the last chunk.
pub(super) struct OpeningReader<R> {
    input: R,
    key: FileKey,
    number: u64,
    chunk: Vec<u8>,
    position: usize,
    is_done: bool,
}

impl<R: Read> OpeningReader<R> {
    /// Reads the header.
    pub(super) fn new(mut input: R, wrapping: &WrappingKey) -> Result<Self, BackupFormError> {
        let mut header = [0; HEADER_BYTES];
        let length = read_full(&mut input, &mut header).map_err(BackupFormError::Read)?;
        if !header.starts_with(MAGIC) {
            return Err(BackupFormError::NotABackup);
        }
        let version = header[MAGIC.len()];
        if version != VERSION {
            return Err(BackupFormError::Version(version));
        }
        if length < HEADER_BYTES {
            return Err(BackupFormError::Cipher);
        }
        let salt = &header[MAGIC.len() + 1..][..SALT_BYTES];
        let key = FileKey::new(wrapping, salt)?;
        verify_slices_are_equal(&key.header, &header).map_err(|_| BackupFormError::OtherKey)?;
        Ok(Self { input, key, number: 0, chunk: Vec::new(), position: 0, is_done: false })
    }

    /// Opens the next chunk. One that is shorter than others, or that nothing follows, can only be the last.
    fn next_chunk(&mut self) -> io::Result<()> {
        let mut sealed = vec![0; CHUNK_BYTES + TAG_BYTES];
        let length = read_full(&mut self.input, &mut sealed)?;
        sealed.truncate(length);
        let refuse = || io::Error::new(io::ErrorKind::InvalidData, BackupFormError::Cipher);
        let open = |is_last| {
            let mut body = sealed.clone();
            let nonce = FileKey::nonce(self.number, is_last);
            let plain = self.key.key.open_in_place(nonce, Aad::from(&self.key.header), &mut body).ok()?.len();
            body.truncate(plain);
            Some(body)
        };
        let is_whole = length == CHUNK_BYTES + TAG_BYTES;
        let (chunk, is_last) = match is_whole.then(|| open(false)).flatten() {
            Some(chunk) => (chunk, false),
            None => (open(true).ok_or_else(refuse)?, true),
        };
        if is_last && read_full(&mut self.input, &mut [0])? != 0 {
            return Err(refuse());
        }
        self.chunk = chunk;
        self.position = 0;
        self.number += 1;
        self.is_done = is_last;
        Ok(())
    }
}

impl<R: Read> Read for OpeningReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position == self.chunk.len() {
            if self.is_done {
                return Ok(0);
            }
            self.next_chunk()?;
        }
        let rest = &self.chunk[self.position..];
        let taken = rest.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&rest[..taken]);
        self.position += taken;
        Ok(taken)
    }
}

/// Reads until the buffer is full or the input ends.
fn read_full(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match input.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// Why a file cannot be read as a backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupFormError {
    /// Not of this form.
    #[error("it is not a backup of this program")]
    NotABackup,
    /// Of a later form.
    #[error("it is a backup of form {0}, which this program does not know; use the version that wrote it")]
    Version(u8),
    /// Made under another key.
    #[error("it was made under another key; give the one that it was made with (`--key-file`)")]
    OtherKey,
    /// Changed or cut.
    #[error("it was changed or cut: a part of it does not open; use another backup")]
    Cipher,
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Read(#[source] io::Error),
    /// No randomness.
    #[error("the system gives no randomness")]
    Randomness,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn key(first: &str) -> WrappingKey {
        let rest = "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        WrappingKey::parse(&format!("{first}{rest}")).unwrap()
    }

    fn seal(plain: &[u8]) -> Vec<u8> {
        let mut writer = SealingWriter::new(Vec::new(), &key("00")).unwrap();
        writer.write_all(plain).unwrap();
        writer.finish().unwrap()
    }

    fn open(sealed: &[u8]) -> Result<Vec<u8>, String> {
        let mut reader = OpeningReader::new(sealed, &key("00")).map_err(|error| error.to_string())?;
        let mut plain = Vec::new();
        reader.read_to_end(&mut plain).map_err(|error| error.to_string())?;
        Ok(plain)
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0_u32..).map(|n| (n / 7 % 251) as u8).take(length).collect()
    }

    const SEALED_CHUNK: usize = CHUNK_BYTES + TAG_BYTES;

    #[rstest]
    fn opens_what_was_sealed(
        #[values(0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES)] length: usize,
    ) {
        let plain = pattern(length);
        let sealed = seal(&plain);
        assert!(length < 32 || !sealed.windows(32).any(|window| window == &plain[..32]));
        assert_eq!(open(&sealed).unwrap(), plain);
    }

    #[test]
    fn tells_a_wrong_key_from_a_damaged_file() {
        let sealed = seal(b"x");
        assert!(matches!(OpeningReader::new(&sealed[..], &key("01")), Err(BackupFormError::OtherKey)));
        assert!(matches!(
            OpeningReader::new(&b"something else"[..], &key("00")),
            Err(BackupFormError::NotABackup)
        ));
        let mut later = sealed;
        later[MAGIC.len()] = 2;
        assert!(matches!(OpeningReader::new(&later[..], &key("00")), Err(BackupFormError::Version(2))));
    }

    /// At a boundary between chunks nothing looks amiss: only the mark of the last chunk tells.
    #[test]
    fn refuses_a_file_that_was_cut_between_chunks() {
        let sealed = seal(&pattern(3 * CHUNK_BYTES));
        for chunks in 0..3 {
            assert!(open(&sealed[..HEADER_BYTES + chunks * SEALED_CHUNK]).is_err(), "{chunks}");
        }
        assert!(open(&sealed[..sealed.len() - 1]).is_err());
    }

    #[test]
    fn refuses_chunks_in_another_order_twice_or_of_another_file() {
        let sealed = seal(&pattern(3 * CHUNK_BYTES));
        let (header, chunks) = sealed.split_at(HEADER_BYTES);
        let chunk = |n: usize| &chunks[n * SEALED_CHUNK..][..SEALED_CHUNK];
        assert!(open(&[header, chunk(1), chunk(0), chunk(2)].concat()).is_err());
        assert!(open(&[header, chunk(0), chunk(0), chunk(1), chunk(2)].concat()).is_err());
        assert!(open(&[header, chunk(0), chunk(2)].concat()).is_err());
        assert!(open(&[header, chunk(0), chunk(1), chunk(2), chunk(2)].concat()).is_err());
        let other = seal(&pattern(3 * CHUNK_BYTES));
        let foreign = &other[HEADER_BYTES..][..SEALED_CHUNK];
        assert!(open(&[header, foreign, chunk(1), chunk(2)].concat()).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn notices_any_change(position: prop::sample::Index, change in 1_u8..) {
            let mut sealed = seal(&pattern(CHUNK_BYTES + 100));
            let position = position.index(sealed.len());
            sealed[position] ^= change;
            prop_assert!(open(&sealed).is_err());
        }

        #[test]
        fn notices_any_cut(length: prop::sample::Index) {
            let sealed = seal(&pattern(CHUNK_BYTES + 100));
            prop_assert!(open(&sealed[..length.index(sealed.len())]).is_err());
        }

        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(open(&bytes).is_err());
            let mut begun = seal(b"")[..HEADER_BYTES].to_vec();
            begun.extend(bytes);
            prop_assert!(open(&begun).is_err());
        }
    }
}
