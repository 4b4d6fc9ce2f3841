//! An entry as a row of the database: protobuf, and a MAC over all of it.

use prost::Message;
use secplane_identity::TrustDomain;
use secplane_proto::spire::api::types;

use super::{Entry, EntryError, EntryFields, EntryId, likeness::Likeness};
use crate::{
    instant::{from_unix, unix},
    keys::RowMac,
    store::EntryRow,
};

const TABLE: &str = "entries";

pub(super) fn seal(entry: &Entry, mac: &RowMac) -> EntryRow {
    let body = entry.to_wire().encode_to_vec();
    let (id, revision, created_at) = (entry.id().as_str(), entry.revision(), unix(entry.created_at()));
    let mac = mac.of(TABLE, &columns(id, &revision.to_be_bytes(), &created_at.to_be_bytes(), &body));
    let likeness = Some(Likeness::of(entry).as_bytes().to_vec());
    EntryRow { id: id.to_owned(), revision, created_at, body, mac, likeness }
}

/// The entry of a row, and its likeness.
pub(super) fn open(
    row: &EntryRow,
    mac: &RowMac,
    trust_domain: &TrustDomain,
) -> Result<(Entry, Likeness), RowError> {
    let (revision, created_at) = (row.revision.to_be_bytes(), row.created_at.to_be_bytes());
    if !mac.is_of(&row.mac, TABLE, &columns(&row.id, &revision, &created_at, &row.body)) {
        return Err(RowError::Forged);
    }
    let wire = types::Entry::decode(row.body.as_slice())?;
    let fields = EntryFields::from_wire(wire, trust_domain)?;
    let id = EntryId::parse(&row.id)?;
    let entry = Entry::restore(id, fields, row.revision, from_unix(row.created_at), trust_domain)?;
    // The MAC does not cover it: it follows from the rest.
    let likeness = Likeness::of(&entry);
    if row.likeness.as_deref().is_some_and(|stored| stored != likeness.as_bytes()) {
        return Err(RowError::Likeness);
    }
    Ok((entry, likeness))
}

fn columns<'a>(id: &'a str, revision: &'a [u8], created_at: &'a [u8], body: &'a [u8]) -> [&'a [u8]; 4] {
    [id.as_bytes(), revision, created_at, body]
}

/// Why a row is not an entry of ours.
#[derive(Debug, thiserror::Error)]
pub(super) enum RowError {
    #[error("its MAC is wrong: this authority did not write it; somebody changed the database")]
    Forged,
    #[error("its likeness is not that of the entry; somebody changed the database")]
    Likeness,
    #[error("it cannot be decoded: {0}")]
    Decode(#[from] prost::DecodeError),
    #[error(transparent)]
    Invalid(#[from] EntryError),
}
