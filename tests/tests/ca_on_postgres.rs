//! The tests of `ca`, each once more on PostgreSQL: this program's name is what chooses the database.
//!
//! PostgreSQL itself has to be installed (Debian: `postgresql`); the first test starts a server of its own.

#[path = "ca/main.rs"]
mod ca;
