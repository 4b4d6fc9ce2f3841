//! The MAC that proves who wrote a row of the database.

use aws_lc_rs::hmac;

/// HMAC-SHA-256 over a row of the database, under a key that is not in the database in the clear.
#[derive(Clone)]
pub struct RowMac(hmac::Key);

impl RowMac {
    /// The size of its key in bytes.
    pub const KEY_BYTES: usize = 32;

    /// Uses a key.
    #[must_use]
    pub fn new(key: &[u8; Self::KEY_BYTES]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The MAC of a row: of its table and of each column, with lengths, so that no two rows read alike.
    #[must_use]
    pub fn of(&self, table: &str, columns: &[&[u8]]) -> Vec<u8> {
        hmac::sign(&self.0, &Self::message(table, columns)).as_ref().to_vec()
    }

    /// Whether `mac` is the row's, in constant time.
    #[must_use]
    pub fn is_of(&self, mac: &[u8], table: &str, columns: &[&[u8]]) -> bool {
        hmac::verify(&self.0, &Self::message(table, columns), mac).is_ok()
    }

    fn message(table: &str, columns: &[&[u8]]) -> Vec<u8> {
        let mut message = Vec::new();
        for part in std::iter::once(table.as_bytes()).chain(columns.iter().copied()) {
            message.extend_from_slice(&(part.len() as u64).to_be_bytes());
            message.extend_from_slice(part);
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_rows_apart() {
        let mac = RowMac::new(&[7; 32]);
        let proof = mac.of("entries", &[b"ab", b"c"]);
        assert!(mac.is_of(&proof, "entries", &[b"ab", b"c"]));
        assert!(!mac.is_of(&proof, "entries", &[b"a", b"bc"]));
        assert!(!mac.is_of(&proof, "others", &[b"ab", b"c"]));
        assert!(!mac.is_of(b"", "entries", &[b"ab", b"c"]));
        assert!(!RowMac::new(&[8; 32]).is_of(&proof, "entries", &[b"ab", b"c"]));
    }
}
