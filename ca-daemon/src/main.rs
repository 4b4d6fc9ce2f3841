//! The `ca-daemon` program: arguments in, exit status out.

use std::{
    error::Error,
    fmt::Write as _,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use ca_daemon::{
    CaDaemon, Config,
    init::{PemFiles, init},
    keys::{WrappingKey, WrappingKeySource, generate_wrapping_key},
    operations::{backup, doctor, process},
};
use clap::{Args, Parser, Subcommand, ValueEnum};
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
    /// Check what will make the authority stop one day. Exits with 0 (ok), 1 (a warning) or 2 (a failure).
    #[command(after_help = "Example:\n  ca-daemon doctor --config ca.yaml")]
    Doctor {
        /// The configuration file (YAML).
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// In which form to print what was found.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Write an encrypted backup; the daemon may serve meanwhile. Or check one.
    #[command(
        after_help = "Example:\n  ca-daemon backup --config ca.yaml --out ca-monday.backup\n  ca-daemon backup --config ca.yaml --verify ca-monday.backup"
    )]
    Backup(Backup),
    /// Begin again from a backup. The daemon must not run.
    #[command(after_help = "Example:\n  ca-daemon restore --config ca.yaml --from ca-monday.backup")]
    Restore(Restore),
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

#[derive(Args)]
struct Backup {
    /// The configuration file (YAML).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The file to write. It must not exist.
    #[arg(long, value_name = "FILE", required_unless_present = "verify", conflicts_with = "verify")]
    out: Option<PathBuf>,
    /// A backup to read to its end, without restoring it.
    #[arg(long, value_name = "FILE")]
    verify: Option<PathBuf>,
    /// A file with the key of the backup, as `ca-daemon wrapping-key` makes it. Default: the wrapping key.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

#[derive(Args)]
struct Restore {
    /// The configuration file (YAML).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The backup.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The key file that the backup was made with. Default: the wrapping key.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Move what is there aside first, and keep it.
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
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
        Ok(code) => code,
        Err(error) => {
            // Standard error may be closed; the exit status still says it.
            let _ = writeln!(io::stderr(), "ca-daemon: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<ExitCode, Box<dyn Error>> {
    match command {
        Command::Serve(arguments) => run_server(arguments).await?,
        Command::Init(arguments) => run_init(arguments).await?,
        Command::Config(ConfigCommand::Print { config }) => {
            let config = Config::load(&config)?;
            say(&secplane_configuration::to_yaml(&config)?)?;
        }
        Command::Doctor { config, output } => return run_doctor(&config, output).await,
        Command::Backup(arguments) => run_backup(arguments).await?,
        Command::Restore(arguments) => run_restore(arguments).await?,
        Command::WrappingKey { out } => {
            generate_wrapping_key(&out)?;
            say(&format!(
                "{} holds a new wrapping key; keep a copy where the data folder is not\n",
                out.display()
            ))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn run_doctor(config: &Path, output: Output) -> Result<ExitCode, Box<dyn Error>> {
    let report = match Config::load(config) {
        Ok(config) => doctor::examine(&config).await,
        Err(error) => doctor::Report::without_configuration(&error),
    };
    say(&match output {
        Output::Text => report.to_string(),
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&report)?),
    })?;
    Ok(match report.verdict() {
        doctor::Verdict::Ok => ExitCode::SUCCESS,
        doctor::Verdict::Warn => ExitCode::from(1),
        doctor::Verdict::Fail => ExitCode::from(2),
    })
}

async fn run_backup(arguments: Backup) -> Result<(), Box<dyn Error>> {
    let config = Config::load(&arguments.config)?;
    let key = backup_key(&config, arguments.key_file)?;
    let (path, manifest, done) = match (arguments.out, arguments.verify) {
        (Some(out), _) => {
            // Recorded before it is there, as everything that leaves.
            if !out.exists() && !backup::record(&config, &out).await? {
                let _ = writeln!(
                    io::stderr(),
                    "note: the daemon is not running, so its audit log does not tell of this"
                );
            }
            let manifest = backup::write(&config, key, &out).await?;
            (out, manifest, "wrote")
        }
        (None, Some(file)) => {
            let manifest = backup::verify(key, &file).await?;
            (file, manifest, "whole")
        }
        // The arguments were checked to hold one of them.
        (None, None) => return Ok(()),
    };
    Ok(say(&describe(done, &path, &manifest))?)
}

async fn run_restore(arguments: Restore) -> Result<(), Box<dyn Error>> {
    let config = Config::load(&arguments.config)?;
    logging::start(&config.log)?;
    let key = backup_key(&config, arguments.key_file)?;
    let manifest = backup::restore(&config, key, &arguments.from, arguments.force).await?;
    Ok(say(&describe("restored", &arguments.from, &manifest))?)
}

fn backup_key(config: &Config, key_file: Option<PathBuf>) -> Result<Arc<WrappingKey>, Box<dyn Error>> {
    let source = key_file.map_or_else(|| config.wrapping_key.clone(), WrappingKeySource::File);
    Ok(Arc::new(source.read()?))
}

fn describe(done: &str, path: &Path, manifest: &backup::Manifest) -> String {
    let made = UNIX_EPOCH + Duration::from_secs(u64::try_from(manifest.created_at).unwrap_or(0));
    format!(
        "{done:<17} {}\ntrust domain      {}\nmade              {}\ndatabase          {}, schema {}\n",
        path.display(),
        manifest.trust_domain,
        humantime::format_rfc3339_seconds(made),
        manifest.database,
        manifest.schema
    )
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
