//! Foreign trust domains as they are kept: relationships and bundles, whole, with a proof of who wrote them.

use sqlx::FromRow;

use super::{
    Conflict, Store, StoreError,
    database::{Transaction, on, within},
    readable::all_readable,
};

/// Which of the two tables; their columns are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FederationTable {
    /// Where the bundles of foreign trust domains are fetched.
    Relationships,
    /// The bundles of foreign trust domains.
    Bundles,
}

/// One row of either table. What `body` and `mac` mean is the federation's business.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct FederationRow {
    /// The foreign trust domain.
    pub trust_domain: String,
    /// The encoded relationship or bundle.
    pub body: Vec<u8>,
    /// Proof that this authority wrote the row. It changes with the body, so it also names the row's version.
    pub mac: Vec<u8>,
}

impl Store {
    /// Every row of a table.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn federation(&self, table: FederationTable) -> Result<Vec<FederationRow>, StoreError> {
        let (name, statement) = match table {
            FederationTable::Relationships => {
                ("federation_relationships", "SELECT trust_domain, body, mac FROM federation_relationships")
            }
            FederationTable::Bundles => {
                ("federated_bundles", "SELECT trust_domain, body, mac FROM federated_bundles")
            }
        };
        on!(&self.readers, pool => all_readable(name, sqlx::query_as(statement).fetch(pool)).await)
    }
}

/// Adds a row; refused when there is one of that trust domain.
pub(super) async fn add(
    transaction: &mut Transaction,
    table: FederationTable,
    row: &FederationRow,
) -> Result<(), StoreError> {
    let statement = match table {
        FederationTable::Relationships => {
            "INSERT INTO federation_relationships (trust_domain, body, mac) VALUES ($1, $2, $3)"
        }
        FederationTable::Bundles => {
            "INSERT INTO federated_bundles (trust_domain, body, mac) VALUES ($1, $2, $3)"
        }
    };
    within!(transaction, connection => {
        sqlx::query(statement)
            .bind(&row.trust_domain)
            .bind(&row.body)
            .bind(&row.mac)
            .execute(connection)
            .await?;
    });
    Ok(())
}

/// Replaces a row that is still what it was.
pub(super) async fn replace(
    transaction: &mut Transaction,
    table: FederationTable,
    row: &FederationRow,
    old_mac: &[u8],
) -> Result<(), StoreError> {
    let statement = match table {
        FederationTable::Relationships => {
            "UPDATE federation_relationships SET body = $2, mac = $3 WHERE trust_domain = $1 AND mac = $4"
        }
        FederationTable::Bundles => {
            "UPDATE federated_bundles SET body = $2, mac = $3 WHERE trust_domain = $1 AND mac = $4"
        }
    };
    let changed = within!(transaction, connection => {
        sqlx::query(statement)
            .bind(&row.trust_domain)
            .bind(&row.body)
            .bind(&row.mac)
            .bind(old_mac)
            .execute(connection)
            .await?
            .rows_affected()
    });
    if changed == 1 { Ok(()) } else { Err(Conflict::Changed.into()) }
}

/// Removes a row; one that is gone already is no failure.
pub(super) async fn remove(
    transaction: &mut Transaction,
    table: FederationTable,
    trust_domain: &str,
) -> Result<(), StoreError> {
    let statement = match table {
        FederationTable::Relationships => "DELETE FROM federation_relationships WHERE trust_domain = $1",
        FederationTable::Bundles => "DELETE FROM federated_bundles WHERE trust_domain = $1",
    };
    within!(transaction, connection => {
        sqlx::query(statement).bind(trust_domain).execute(connection).await?;
    });
    Ok(())
}
