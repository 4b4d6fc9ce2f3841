//! An entry as a row of the database: protobuf, and a MAC over all of it.

use aws_lc_rs::digest;
use prost::Message;
use secplane_identity::TrustDomain;
use secplane_proto::spire::api::types;

use super::{Entry, EntryError, EntryFields, EntryId};
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
    EntryRow { id: id.to_owned(), revision, created_at, body, mac, likeness: Some(likeness(entry)) }
}

pub(super) fn open(row: &EntryRow, mac: &RowMac, trust_domain: &TrustDomain) -> Result<Entry, RowError> {
    let (revision, created_at) = (row.revision.to_be_bytes(), row.created_at.to_be_bytes());
    if !mac.is_of(&row.mac, TABLE, &columns(&row.id, &revision, &created_at, &row.body)) {
        return Err(RowError::Forged);
    }
    let wire = types::Entry::decode(row.body.as_slice())?;
    let fields = EntryFields::from_wire(wire)?;
    let id = EntryId::parse(&row.id)?;
    Ok(Entry::restore(id, fields, row.revision, from_unix(row.created_at), trust_domain)?)
}

/// SHA-256 of what makes two entries similar, each part with its length.
fn likeness(entry: &Entry) -> Vec<u8> {
    let fields = entry.fields();
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut part = |text: &str| {
        hash.update(&(text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    };
    part(fields.spiffe_id.as_str());
    part(fields.parent_id.as_str());
    for selector in &fields.selectors {
        part(selector.kind());
        part(selector.value());
    }
    hash.finish().as_ref().to_vec()
}

fn columns<'a>(id: &'a str, revision: &'a [u8], created_at: &'a [u8], body: &'a [u8]) -> [&'a [u8]; 4] {
    [id.as_bytes(), revision, created_at, body]
}

/// Why a row is not an entry of ours.
#[derive(Debug, thiserror::Error)]
pub(super) enum RowError {
    #[error("its MAC is wrong: this authority did not write it; somebody changed the database")]
    Forged,
    #[error("it cannot be decoded: {0}")]
    Decode(#[from] prost::DecodeError),
    #[error(transparent)]
    Invalid(#[from] EntryError),
}
