//! The tests of `ca`, each once more on PostgreSQL: this program's name is what chooses the database.
//!
//! Beside them stand the tests of several replicas on one database, and the library's own tests of what stands on it.
//!
//! PostgreSQL itself has to be installed (Debian: `postgresql`); the first test starts a server of its own.

#[path = "ca/main.rs"]
mod ca;

#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#[path = "postgres/replicas.rs"]
mod replicas;

#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#[path = "postgres/library.rs"]
mod library;
