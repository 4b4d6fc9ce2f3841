//! The daemon itself, where it runs.

use std::time::{Duration, SystemTime};

use secplane_proto::spire::api::server::debug::v1::{GetInfoRequest, debug_client::DebugClient};
use tokio::time::timeout;
use tonic::transport::Endpoint;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{Finding, time::span};
use crate::{Config, instant::unix};

/// How long it may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Whether the daemon answers over its admin socket, whether it is ready, and how long its certificate lives.
pub(super) async fn daemon(config: &Config) -> Vec<Finding> {
    const CHECK: &str = "daemon";
    let socket = config.admin_socket();
    if !socket.exists() {
        return vec![Finding::ok(CHECK, "it is not running")];
    }
    let shown = socket.display();
    let asked = async {
        let channel = Endpoint::from_shared(format!("unix:{shown}"))?.connect().await?;
        let health = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await?;
        let info = DebugClient::new(channel).get_info(GetInfoRequest {}).await?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((health.into_inner(), info.into_inner()))
    };
    let (health, info) = match timeout(ANSWERS_WITHIN, asked).await {
        Ok(Ok(answered)) => answered,
        Ok(Err(error)) => {
            return vec![Finding::warn(
                CHECK,
                format!("it does not answer on {shown}: {error}; look at its log"),
            )];
        }
        Err(_) => {
            let seconds = ANSWERS_WITHIN.as_secs();
            return vec![Finding::fail(CHECK, format!("it does not answer on {shown} within {seconds} s"))];
        }
    };
    let mut findings = vec![match health.status() {
        ServingStatus::Serving => {
            Finding::ok(CHECK, format!("it has been running for {}", span(info.uptime.into())))
        }
        _ => Finding::fail(CHECK, "it runs but is not ready; `/ready` of `operations.listen` says why"),
    }];
    if let Some(own) = info.svid_chain.first() {
        let left = own.expires_at - unix(SystemTime::now());
        findings.push(match left > 0 {
            true => Finding::ok("certificate", format!("the server's own expires in {}", span(left))),
            false => {
                Finding::fail("certificate", "the server's own has expired; its log says why no new one came")
            }
        });
    }
    findings
}
