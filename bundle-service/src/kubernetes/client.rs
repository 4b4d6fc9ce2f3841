//! How the API server is reached.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use kube::{
    Client, Config,
    config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};

/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection may be silent while an answer is due: more than a watch lasts, which the server ends itself.
const SILENT_FOR: Duration = Duration::from_secs(75);

/// The API server cannot be reached with what is configured.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no service account of a pod.
    #[error("{0}; run the service in a pod with a service account, or set source.kubernetes.kubeconfig")]
    InCluster(#[from] InClusterError),
    /// The file is not usable.
    #[error("the kubeconfig {} cannot be used: {source}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KubeconfigError,
    },
    /// What it says cannot be made a client.
    #[error("the API server cannot be called: {0}")]
    Client(#[from] kube::Error),
}

/// A client of the API server: by a kubeconfig, or as the service account of the own pod.
pub(crate) async fn connect(kubeconfig: Option<&Path>) -> Result<Client, ClientError> {
    let mut config = match kubeconfig {
        None => Config::incluster()?,
        Some(path) => from_file(path)
            .await
            .map_err(|source| ClientError::Kubeconfig { path: path.to_owned(), source })?,
    };
    config.connect_timeout = Some(CONNECT_WITHIN);
    // Without it a list that is never answered would be waited for for ever.
    config.read_timeout = Some(SILENT_FOR);
    config.reset_reader_on_write = true;
    // Whoever calls has pauses of its own, and tells of what goes wrong.
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

async fn from_file(path: &Path) -> Result<Config, KubeconfigError> {
    let kubeconfig = Kubeconfig::read_from(path)?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn says_which_file_is_missing() {
        let error = connect(Some(Path::new("/nonexistent/kubeconfig"))).await.err().unwrap().to_string();
        assert!(error.contains("/nonexistent/kubeconfig"), "{error}");
    }
}
