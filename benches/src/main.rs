//! Measures the daemons under load, and prints one JSON line a figure.
//!
//! | module | holds |
//! |---|---|
//! | [`load`] | callers in a closed loop, and how long their calls took |
//! | [`server`] | a daemon in a process of its own, with its CPU time and memory |
//! | [`agent`] | an attested node agent and the entries below it |
//! | [`cards`] | verifying AgentCards, in this process |
//! | [`policies`] | the bundle service's way in, in this process |
//! | [`gate`] | the gate on texts that are hard to compile, in this process |
//! | [`propagation`] | how soon other replicas and the bundle service heed what was done |
//! | [`figures`] | what is measured, one function a figure |
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measurement that cannot go on ends, and its figures go to standard output"
)]

mod agent;
mod cards;
mod figures;
mod gate;
mod load;
mod policies;
mod propagation;
mod server;

use std::path::PathBuf;

use clap::Parser;

/// Measures the daemons: one JSON line a figure.
#[derive(Parser)]
struct Cli {
    /// Which figures; all of them without a name.
    names: Vec<String>,
    /// Keep the records in a PostgreSQL server that is started for it, instead of SQLite.
    #[arg(long)]
    postgres: bool,
    /// How long each load runs, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How many records or entries the figures of size are taken at, at the most.
    #[arg(long, default_value_t = 1_000_000)]
    size: usize,
    /// Start once with the resources in this folder: a part of `resources_by_size`, in a process of its own.
    #[arg(long, hide = true)]
    start_with: Option<PathBuf>,
}

fn main() {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let (Some(folder), [name]) = (&cli.start_with, cli.names.as_slice()) {
        return runtime.block_on(policies::start_with(folder, name, cli.size));
    }
    let known = figures::names();
    for name in &cli.names {
        assert!(
            known.contains(&name.as_str()),
            "there is no figure `{name}`; there are {}",
            known.join(", ")
        );
    }
    for name in known {
        if cli.names.is_empty() || cli.names.iter().any(|wanted| wanted == name) {
            runtime.block_on(figures::measure(name, &cli));
        }
    }
}
