//! The `bundle-service` program: arguments in, exit status out.

use std::{
    error::Error,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use bundle_service::{
    BundleService, Config,
    policy_tests::{WORKER_COMMAND, worker},
};
use clap::{Parser, Subcommand};
use secplane_configuration::logging;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Serves each workload the OPA bundle of its own SPIFFE ID.
#[derive(Parser)]
#[command(version, about, after_help = "Example:\n  bundle-service serve --config bundle.yaml")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service in the foreground until SIGINT or SIGTERM.
    #[command(after_help = "Example:\n  bundle-service serve --config bundle.yaml")]
    Serve {
        /// The configuration file (YAML).
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Runs the tests of policies in a process of its own; the service starts it by itself.
    #[command(name = WORKER_COMMAND, hide = true)]
    PolicyTestWorker {
        /// How much processor time it may take, in seconds.
        seconds: u64,
        /// How large its address space may be, in bytes.
        bytes: u64,
    },
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Print the effective configuration: the file, the environment over it, and the defaults.
    #[command(
        after_help = "Example:\n  BUNDLE_SERVICE_LOG__FORMAT=json bundle-service config print --config bundle.yaml"
    )]
    Print {
        /// The configuration file (YAML).
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve { config } => on_runtime(serve(config)),
        Command::Config(ConfigCommand::Print { config }) => print(config),
        // Without the runtime's threads, whose stacks would count as its memory.
        Command::PolicyTestWorker { seconds, bytes } => worker::run(seconds, bytes).map_err(Into::into),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed; the exit status still says it.
            let _ = writeln!(io::stderr(), "bundle-service: {error}");
            ExitCode::FAILURE
        }
    }
}

fn on_runtime(work: impl Future<Output = Result<(), Box<dyn Error>>>) -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

fn print(config: PathBuf) -> Result<(), Box<dyn Error>> {
    say(&Config::load(&config)?.to_yaml()?)
}

async fn serve(config: PathBuf) -> Result<(), Box<dyn Error>> {
    let config = Config::load(&config)?;
    logging::start(&config.log)?;
    let shutdown = CancellationToken::new();
    let signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let signals = tokio::spawn(stop_at(signals, shutdown.clone()));
    let service = tokio::select! {
        started = BundleService::start(config) => started?,
        () = shutdown.cancelled() => return Ok(()),
    };
    let mut listening = format!(
        "trust domain      {}\nbundles           {}\nhealth            {}\n",
        service.trust_domain(),
        service.address(),
        service.health_address(),
    );
    if let Some(address) = service.webhook_address() {
        listening += &format!("webhook           {address}\n");
    }
    say(&listening)?;
    let result = service.run(shutdown).await;
    signals.abort();
    Ok(result?)
}

async fn stop_at((mut terminate, mut interrupt): (Signal, Signal), shutdown: CancellationToken) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    shutdown.cancel();
}

fn say(text: &str) -> Result<(), Box<dyn Error>> {
    io::stdout().write_all(text.as_bytes())?;
    Ok(io::stdout().flush()?)
}
