//! Bundles and relationships as rows of the database: protobuf, and a MAC over all of it.

use std::{collections::BTreeMap, sync::Arc};

use prost::Message;
use secplane_identity::TrustDomain;
use secplane_proto::spire::api::types;

use super::{BundleError, FederatedBundle, Kept, Relationship, RelationshipError, State};
use crate::{
    keys::RowMac,
    store::{FederationRow, FederationTable, Store, StoreError},
};

pub(super) fn seal_bundle(bundle: &FederatedBundle, mac: &RowMac) -> FederationRow {
    seal(FederationTable::Bundles, bundle.trust_domain(), bundle.to_wire(), mac)
}

pub(super) fn seal_relationship(relationship: &Relationship, mac: &RowMac) -> FederationRow {
    seal(FederationTable::Relationships, &relationship.trust_domain, &relationship.to_wire(), mac)
}

fn seal(
    table: FederationTable,
    trust_domain: &TrustDomain,
    message: &impl Message,
    mac: &RowMac,
) -> FederationRow {
    let body = message.encode_to_vec();
    let mac = mac.of(name(table), &[trust_domain.as_str().as_bytes(), &body]);
    FederationRow { trust_domain: trust_domain.to_string(), body, mac }
}

impl State {
    /// Everything that the store holds. A row that is not ours is reported and left out.
    pub(super) async fn read(store: &Store, mac: &RowMac) -> Result<Self, StoreError> {
        let relationships = store.federation(FederationTable::Relationships).await?;
        let bundles = store.federation(FederationTable::Bundles).await?;
        let mut refused = Vec::new();
        let relationships =
            opened(FederationTable::Relationships, relationships, mac, &mut refused, |body| {
                let relationship = Relationship::from_wire(&types::FederationRelationship::decode(body)?)?;
                Ok((relationship.trust_domain.clone(), relationship))
            });
        let bundles = opened(FederationTable::Bundles, bundles, mac, &mut refused, |body| {
            let bundle = FederatedBundle::new(types::Bundle::decode(body)?)?;
            Ok((bundle.trust_domain().clone(), bundle))
        });
        Ok(Self { relationships, bundles, refused })
    }
}

fn opened<T>(
    table: FederationTable,
    rows: Vec<FederationRow>,
    mac: &RowMac,
    refused: &mut Vec<(FederationTable, String)>,
    decode: impl Fn(&[u8]) -> Result<(TrustDomain, T), RowError>,
) -> BTreeMap<TrustDomain, Kept<T>> {
    let mut kept = BTreeMap::new();
    for row in rows {
        match open(table, &row, mac, &decode) {
            Ok((trust_domain, value)) => {
                kept.insert(trust_domain, Kept { value: Arc::new(value), mac: row.mac });
            }
            Err(error) => {
                tracing::error!(
                    table = name(table),
                    trust_domain = row.trust_domain,
                    %error,
                    "a row of federation is refused; `{}` deletes it",
                    remedy(table, &row.trust_domain)
                );
                refused.push((table, row.trust_domain));
            }
        }
    }
    kept
}

fn open<T>(
    table: FederationTable,
    row: &FederationRow,
    mac: &RowMac,
    decode: impl Fn(&[u8]) -> Result<(TrustDomain, T), RowError>,
) -> Result<(TrustDomain, T), RowError> {
    if !is_ours(table, row, mac) {
        return Err(RowError::Forged);
    }
    let (trust_domain, value) = decode(&row.body)?;
    if trust_domain.as_str() == row.trust_domain { Ok((trust_domain, value)) } else { Err(RowError::Forged) }
}

/// Whether this authority wrote the row as it stands.
pub(super) fn is_ours(table: FederationTable, row: &FederationRow, mac: &RowMac) -> bool {
    mac.is_of(&row.mac, name(table), &[row.trust_domain.as_bytes(), &row.body])
}

/// What the rows of a table are.
pub(super) fn what(table: FederationTable) -> &'static str {
    match table {
        FederationTable::Relationships => "relationship",
        FederationTable::Bundles => "bundle",
    }
}

/// The command that deletes a row.
pub(super) fn remedy(table: FederationTable, trust_domain: &str) -> String {
    let bundle_too = match table {
        FederationTable::Relationships => "",
        FederationTable::Bundles => " --bundle",
    };
    format!("secctl federation delete {trust_domain}{bundle_too}")
}

fn name(table: FederationTable) -> &'static str {
    match table {
        FederationTable::Relationships => "federation_relationships",
        FederationTable::Bundles => "federated_bundles",
    }
}

/// Why a row is not ours.
#[derive(Debug, thiserror::Error)]
enum RowError {
    #[error("its MAC is wrong: this authority did not write it; somebody changed the database")]
    Forged,
    #[error("it cannot be decoded: {0}")]
    Decode(#[from] prost::DecodeError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Relationship(#[from] RelationshipError),
}
