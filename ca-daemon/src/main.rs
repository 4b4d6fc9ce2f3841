//! The `ca-daemon` program: arguments in, exit status out.

use std::{
    error::Error,
    fmt::Write as _,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use ca_daemon::{
    CaDaemon, Config,
    init::{PemFiles, init},
    keys::generate_wrapping_key,
    operations::process,
};
use clap::{Args, Parser, Subcommand};
use secplane_configuration::logging;

/// The certificate authority of Secplane.
#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "Example:\n  ca-daemon wrapping-key --out wrapping.key\n  ca-daemon serve --config ca.yaml"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the authority in the foreground until SIGINT or SIGTERM.
    #[command(after_help = "Example:\n  ca-daemon serve --config ca.yaml")]
    Serve(Serve),
    /// Do the first start's work alone: make the root and the issuing CA, and write PEM files if asked to.
    #[command(
        after_help = "Example:\n  ca-daemon init --config ca.yaml --pem-dir pem --server-name localhost --client-name alice"
    )]
    Init(Init),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make a new key to seal private keys under.
    #[command(after_help = "Example:\n  ca-daemon wrapping-key --out wrapping.key")]
    WrappingKey {
        /// The file to write. It must not exist.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

#[derive(Args)]
struct Serve {
    /// The configuration file (YAML).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// For development only: gRPC without TLS, where every caller is an admin.
    #[arg(long)]
    insecure: bool,
    /// Let --insecure listen on an address that is not loopback.
    #[arg(long, requires = "insecure")]
    insecure_beyond_loopback: bool,
}

#[derive(Args)]
struct Init {
    /// The configuration file (YAML).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Validity of the root, such as 3650d.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    root_validity: Option<Duration>,
    /// Validity of the issuing CA, such as 24h.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    issuing_ca_validity: Option<Duration>,
    /// Validity of X.509-SVIDs, such as 1h.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    x509_svid_validity: Option<Duration>,
    /// Validity of the server certificate, such as 12h.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    server_validity: Option<Duration>,
    /// Validity of the client certificate, such as 12h.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    client_validity: Option<Duration>,
    /// Write ca.pem, server.pem, server-key.pem, client.pem and client-key.pem to this folder.
    #[arg(long, value_name = "DIR")]
    pem_dir: Option<PathBuf>,
    /// A DNS name or IP address of the server certificate. Can be given more than once.
    #[arg(long, value_name = "NAME", default_value = "localhost", requires = "pem_dir")]
    server_name: Vec<String>,
    /// The common name of the client certificate.
    #[arg(long, value_name = "NAME", default_value = "client", requires = "pem_dir")]
    client_name: String,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Print the effective configuration: the file, the environment over it, and the defaults.
    #[command(
        after_help = "Example:\n  CA_DAEMON_VALIDITY__X509_SVID=30m ca-daemon config print --config ca.yaml"
    )]
    Print {
        /// The configuration file (YAML).
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed; the exit status still says it.
            let _ = writeln!(io::stderr(), "ca-daemon: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Serve(arguments) => run_server(arguments).await,
        Command::Init(arguments) => run_init(arguments).await,
        Command::Config(ConfigCommand::Print { config }) => {
            let config = Config::load(&config)?;
            Ok(say(&secplane_configuration::to_yaml(&config)?)?)
        }
        Command::WrappingKey { out } => {
            generate_wrapping_key(&out)?;
            Ok(say(&format!(
                "{} holds a new wrapping key; keep a copy where the data folder is not\n",
                out.display()
            ))?)
        }
    }
}

async fn run_server(arguments: Serve) -> Result<(), Box<dyn Error>> {
    let load = || {
        let mut config = Config::load(&arguments.config)?;
        config.insecure |= arguments.insecure;
        config.insecure_beyond_loopback |= arguments.insecure_beyond_loopback;
        config.check()?;
        Ok(config)
    };
    Ok(process::serve(load, announce).await?)
}

fn announce(daemon: &CaDaemon) -> io::Result<()> {
    let mut text = format!(
        "trust domain      {}\nroot SHA-256      {}\ngRPC              {}\nadmin socket      {}\nWorkload API      {}\n",
        daemon.trust_domain(),
        daemon.root_fingerprint(),
        daemon.grpc_address(),
        daemon.admin_socket().display(),
        daemon.workload_api_socket().display(),
    );
    if let Some(address) = daemon.operations_address() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "operations        {address}");
    }
    say(&text)
}

async fn run_init(arguments: Init) -> Result<(), Box<dyn Error>> {
    let mut config = Config::load(&arguments.config)?;
    let validity = &mut config.validity;
    for (flag, key) in [
        (arguments.root_validity, &mut validity.root),
        (arguments.issuing_ca_validity, &mut validity.issuing_ca),
        (arguments.x509_svid_validity, &mut validity.x509_svid),
        (arguments.server_validity, &mut validity.server),
        (arguments.client_validity, &mut validity.client),
    ] {
        *key = flag.unwrap_or(*key);
    }
    logging::start(&config.log)?;
    let pem_files = arguments.pem_dir.map(|folder| PemFiles {
        folder,
        server_names: arguments.server_name,
        client_name: arguments.client_name,
    });
    let (fingerprint, written) = init(config, pem_files).await?;
    let mut text = format!("root SHA-256      {fingerprint}\n");
    for path in written {
        writeln!(text, "wrote             {}", path.display())?;
    }
    Ok(say(&text)?)
}

fn say(text: &str) -> io::Result<()> {
    io::stdout().write_all(text.as_bytes())?;
    io::stdout().flush()
}
