//! `secctl`, the admin command of Secplane.

mod bundle_admin;
mod bundle_client;
mod ca_client;
mod cli;
mod client_identity;
mod commands;
mod config_map;
mod decision;
mod dev;
mod end_signals;
mod failure;
mod files;
mod holder_files;
mod output;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    match cli::Cli::parse().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::note(format_args!("error: {failure}"));
            failure.exit_code()
        }
    }
}
