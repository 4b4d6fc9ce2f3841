//! A backup stands in the audit log of the daemon that it was made of, if that is running: nobody else may write there.

use std::{path::Path, time::Duration};

use secplane_proto::secplane::ca::v1::{RecordBackupRequest, audit_client::AuditClient};
use tokio::{net::UnixStream, time::timeout};
use tonic::{Status, transport::Endpoint};

use crate::Config;

/// How long the daemon may take.
const RECORDS_WITHIN: Duration = Duration::from_secs(30);

/// Has the running daemon record that a backup is being written to `file`; false when none is running.
///
/// # Errors
/// When a daemon is running and cannot record it.
pub async fn record(config: &Config, file: &Path) -> Result<bool, Status> {
    let socket = config.admin_socket();
    if UnixStream::connect(&socket).await.is_err() {
        return Ok(false);
    }
    let file = file.display().to_string();
    let recorded = async {
        let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display()));
        let channel = endpoint.map_err(failed)?.connect().await.map_err(failed)?;
        AuditClient::new(channel).record_backup(RecordBackupRequest { file }).await
    };
    timeout(RECORDS_WITHIN, recorded)
        .await
        .map_err(|_| Status::deadline_exceeded("the daemon does not answer"))?
        .map(|_| true)
}

fn failed(error: tonic::transport::Error) -> Status {
    Status::from_error(error.into())
}
