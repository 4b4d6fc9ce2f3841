//! Revoked keys at rest, with a proof of who wrote them.

use secplane_identity::revocation::KeyHash;

use crate::{keys::RowMac, store::RevokedKeyRow};

const TABLE: &str = "revoked_keys";

pub(super) fn seal(key: &KeyHash, revoked_at: i64, reason: &str, mac: &RowMac) -> RevokedKeyRow {
    let mac = mac.of(TABLE, &[key.as_bytes(), &revoked_at.to_be_bytes(), reason.as_bytes()]);
    RevokedKeyRow { key_sha256: key.as_bytes().to_vec(), revoked_at, reason: reason.to_owned(), mac }
}

/// The key of a row. A row that this authority did not write is reported, and the key is revoked all the same: refusing
/// is the safe side.
pub(super) fn open(row: &RevokedKeyRow, mac: &RowMac) -> Option<KeyHash> {
    let key = KeyHash::from_bytes(&row.key_sha256);
    if key.is_none() || !is_ours(row, mac) {
        tracing::error!(
            key_sha256 = hex::encode(&row.key_sha256),
            "a revoked key's row has a wrong MAC: this authority did not write it; somebody changed the database. The key stays refused; `secctl cert revoke --key-sha256` revokes it in earnest, and to lift it delete the row from the table `revoked_keys` and restart the daemon"
        );
    }
    key
}

/// Whether this authority wrote the row as it stands.
pub(super) fn is_ours(row: &RevokedKeyRow, mac: &RowMac) -> bool {
    let columns: [&[u8]; 3] = [&row.key_sha256, &row.revoked_at.to_be_bytes(), row.reason.as_bytes()];
    mac.is_of(&row.mac, TABLE, &columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_a_forged_key_revoked() {
        let mac = RowMac::new(&[7; RowMac::KEY_BYTES]);
        let key = KeyHash::of(b"a key");
        let row = seal(&key, 7, "stolen", &mac);
        assert!(mac.is_of(&row.mac, TABLE, &[key.as_bytes(), &7_i64.to_be_bytes(), b"stolen"]));
        assert_eq!(open(&row, &mac), Some(key));
        assert_eq!(open(&RevokedKeyRow { reason: "another".into(), ..row.clone() }, &mac), Some(key));
        assert_eq!(open(&RevokedKeyRow { key_sha256: vec![1], ..row }, &mac), None);
    }
}
