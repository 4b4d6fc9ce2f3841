//! The proof that this authority wrote a row of the table `authorities`.
//!
//! Who can only write the database could otherwise make everybody trust a root of their own. The MAC covers every
//! column, so that a row cannot be edited either; a row that once stood can be put back, which only the audit log
//! shows.

use crate::{
    keys::RowMac,
    store::{AuthorityRow, AuthorityState, Change},
};

const TABLE: &str = "authorities";

/// The row with its proof.
pub(super) fn seal(row: AuthorityRow, mac: &RowMac) -> AuthorityRow {
    let proof = with_columns(&row, |columns| mac.of(TABLE, columns));
    AuthorityRow { mac: Some(proof), ..row }
}

/// Whether this authority wrote the row as it stands.
pub(crate) fn is_ours(row: &AuthorityRow, mac: &RowMac) -> bool {
    row.mac.as_deref().is_some_and(|proof| with_columns(row, |columns| mac.is_of(proof, TABLE, columns)))
}

/// The change that takes the trust from a CA below one of ours, at an instant in Unix seconds.
pub(crate) fn revoke(old: AuthorityRow, at: i64, mac: &RowMac) -> Change {
    let new = seal(AuthorityRow { state: AuthorityState::Revoked, since: at, ..old.clone() }, mac);
    Change::ReplaceAuthority { old: Box::new(old), new: Box::new(new) }
}

fn with_columns<T>(row: &AuthorityRow, work: impl FnOnce(&[&[u8]]) -> T) -> T {
    // Destructured, so that a new column cannot be forgotten.
    let AuthorityRow {
        key_id,
        kind,
        state,
        tainted,
        public,
        chain,
        issuer_key_id,
        replica,
        key_storage,
        not_before,
        not_after,
        created_at,
        since,
        mac: _,
    } = row;
    work(&[
        key_id.as_bytes(),
        kind.as_str().as_bytes(),
        state.as_str().as_bytes(),
        &[u8::from(*tainted)],
        public,
        chain,
        issuer_key_id.as_bytes(),
        replica.as_bytes(),
        key_storage.as_bytes(),
        &not_before.to_be_bytes(),
        &not_after.to_be_bytes(),
        &created_at.to_be_bytes(),
        &since.to_be_bytes(),
    ])
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::store::{AuthorityKind, AuthorityState};

    fn mac(digit: u8) -> RowMac {
        RowMac::new(&[digit; RowMac::KEY_BYTES])
    }

    fn row() -> AuthorityRow {
        AuthorityRow {
            key_id: "0a".into(),
            kind: AuthorityKind::Root,
            state: AuthorityState::Old,
            tainted: false,
            public: vec![1, 2],
            chain: vec![3],
            issuer_key_id: "0a".into(),
            replica: String::new(),
            key_storage: "file".into(),
            not_before: 1,
            not_after: 2,
            created_at: 3,
            since: 4,
            mac: None,
        }
    }

    #[test]
    fn knows_its_own_rows() {
        let sealed = seal(row(), &mac(0));
        assert!(is_ours(&sealed, &mac(0)));
        assert!(!is_ours(&sealed, &mac(1)));
        assert!(!is_ours(&row(), &mac(0)), "a row without a proof");
    }

    #[rstest]
    #[case(|row: &mut AuthorityRow| row.key_id = "0b".into())]
    #[case(|row: &mut AuthorityRow| row.kind = AuthorityKind::Issuing)]
    #[case(|row: &mut AuthorityRow| row.state = AuthorityState::Active)]
    #[case(|row: &mut AuthorityRow| row.tainted = true)]
    #[case(|row: &mut AuthorityRow| row.public = vec![1])]
    #[case(|row: &mut AuthorityRow| row.chain = Vec::new())]
    #[case(|row: &mut AuthorityRow| row.issuer_key_id = "0b".into())]
    #[case(|row: &mut AuthorityRow| row.replica = "r".into())]
    #[case(|row: &mut AuthorityRow| row.key_storage = "outside".into())]
    #[case(|row: &mut AuthorityRow| row.not_before = 0)]
    #[case(|row: &mut AuthorityRow| row.not_after = i64::MAX)]
    #[case(|row: &mut AuthorityRow| row.created_at = 0)]
    #[case(|row: &mut AuthorityRow| row.since = 0)]
    fn refuses_an_edited_row(#[case] edit: fn(&mut AuthorityRow)) {
        let mut sealed = seal(row(), &mac(0));
        edit(&mut sealed);
        assert!(!is_ours(&sealed, &mac(0)));
    }
}
