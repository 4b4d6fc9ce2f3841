//! The tests of `ca`, each once more on PostgreSQL: this program's name is what chooses the database.
//!
//! Beside them stand the tests of several replicas on one database, of a database of the first schema, and the library's
//! own tests of what stands on a database.
//!
//! PostgreSQL itself has to be installed (Debian: `postgresql`); the first test starts a server of its own.

#[path = "ca/main.rs"]
mod ca;

#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#[path = "postgres/replicas.rs"]
mod replicas;

#[path = "postgres/library.rs"]
mod library;

#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#[path = "postgres/first_schema.rs"]
mod first_schema;
