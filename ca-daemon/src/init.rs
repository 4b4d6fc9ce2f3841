//! `ca-daemon init`: the first start's work alone, and PEM files for programs without SPIFFE.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use secplane_identity::{Fingerprint, private_key::PrivateKeyError, trust_bundle::to_certificate_pem};
use tokio_util::sync::CancellationToken;

use crate::{
    CaDaemon, Config, RunError, StartError,
    authority::{CertificateRequest, DnsName, NameError, Subject},
    config::OperationsConfig,
    issuance::{IssueError, Order, Requester},
    keys::KeyStoreError,
    whole_file,
};

/// The PEM files to write.
#[derive(Debug, Clone)]
pub struct PemFiles {
    /// The folder.
    pub folder: PathBuf,
    /// DNS names and IP addresses of the server certificate.
    pub server_names: Vec<String>,
    /// The common name of the client certificate.
    pub client_name: String,
}

/// Makes the authority of a configuration, if it is not there yet, and writes PEM files.
///
/// Answers the root's fingerprint and the files that were written.
///
/// # Errors
/// When the daemon could not start with this configuration, or a file cannot be written.
pub async fn init(
    config: Config,
    pem_files: Option<PemFiles>,
) -> Result<(Fingerprint, Vec<PathBuf>), InitError> {
    // Nobody asks for the health of what stops at once; and its port may be another daemon's.
    let config = Config { operations: OperationsConfig { listen: None }, ..config };
    let daemon = CaDaemon::start(config).await?;
    let fingerprint = daemon.root_fingerprint();
    let written = match pem_files {
        Some(files) => write_pem_files(&daemon, &files).await,
        None => Ok(Vec::new()),
    };
    // Run with a shutdown that has already come: it closes the database and removes the sockets.
    let stopped = CancellationToken::new();
    stopped.cancel();
    daemon.run(stopped).await?;
    Ok((fingerprint, written?))
}

async fn write_pem_files(daemon: &CaDaemon, files: &PemFiles) -> Result<Vec<PathBuf>, InitError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&files.folder)
        .map_err(|source| InitError::Write { path: files.folder.clone(), source })?;
    let mut dns_names = Vec::new();
    let mut ip_addresses = Vec::new();
    for name in &files.server_names {
        match name.parse() {
            Ok(address) => ip_addresses.push(address),
            Err(_) => dns_names.push(DnsName::parse(name)?),
        }
    }
    let server = Subject::Server { dns_names, ip_addresses };
    let client = Subject::Client {
        common_name: files.client_name.clone(),
        dns_names: Vec::new(),
        ip_addresses: Vec::new(),
    };
    let ca = daemon.services().issuance.bundle().borrow().to_pem();
    let mut written = vec![write(&files.folder, "ca.pem", ca.as_bytes(), 0o644)?];
    for (name, subject) in [("server", server), ("client", client)] {
        let key = daemon.services().keys.make().await?;
        let request = CertificateRequest::parse(&key.bare_request()?).map_err(IssueError::from)?;
        let order = Order {
            request,
            subject,
            lifetime: None,
            requester: Requester::local("ca-daemon init"),
            entry_id: None,
            renews: None,
        };
        let signed = daemon.services().issuance.issue(order).await?;
        let chain = to_certificate_pem(signed.chain.iter().map(AsRef::as_ref));
        written.push(write(&files.folder, &format!("{name}-key.pem"), key.to_pem().as_bytes(), 0o600)?);
        written.push(write(&files.folder, &format!("{name}.pem"), chain.as_bytes(), 0o644)?);
    }
    Ok(written)
}

fn write(folder: &Path, name: &str, content: &[u8], mode: u32) -> Result<PathBuf, InitError> {
    let path = folder.join(name);
    match whole_file::write(&path, content, mode) {
        Ok(()) => Ok(path),
        Err(source) => Err(InitError::Write { path, source }),
    }
}

/// Why `init` failed.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The daemon cannot start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The daemon cannot stop.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A certificate cannot be issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// A key cannot be made.
    #[error(transparent)]
    Keys(#[from] KeyStoreError),
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] PrivateKeyError),
    /// A server name is not usable.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A file cannot be written.
    #[error("{path} cannot be written: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
