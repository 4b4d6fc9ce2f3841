//! The daemon itself, where it runs.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use secplane_proto::spire::api::server::debug::v1::{GetInfoRequest, debug_client::DebugClient};
use tokio::{net::TcpStream, time::timeout};
use tonic::transport::Endpoint;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{Finding, time::span};
use crate::{Config, instant::unix};

/// How long it may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// The most that is read of the metrics, in bytes.
const MAX_METRICS_BYTES: usize = 4 * 1024 * 1024;

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
    if let Some(address) = config.operations.listen.filter(|address| address.port() != 0) {
        findings.extend(counted(address).await);
    }
    findings
}

const REFUSED_ROWS: &str = "refused rows";
const RENEWAL: &str = "renewal";

/// What the daemon's own metrics tell.
async fn counted(address: SocketAddr) -> Vec<Finding> {
    let unread = |reason: String| {
        let warn = |check| Finding::warn(check, format!("the metrics cannot be read from {address}{reason}"));
        [REFUSED_ROWS, RENEWAL].map(warn).to_vec()
    };
    match timeout(ANSWERS_WITHIN, metrics(address)).await {
        Ok(Ok(text)) => vec![refused_rows(&text), renewal(&text)],
        Ok(Err(error)) => unread(format!(": {error}")),
        Err(_) => unread(" in time".to_owned()),
    }
}

/// Whether the daemon found rows in its database that it did not write.
fn refused_rows(metrics: &str) -> Finding {
    match sum_of_refused_rows(metrics) {
        0 => Finding::ok(
            REFUSED_ROWS,
            "it wrote every row that it read itself: entries, authorities, agents, revoked keys, federation, and \
             the join tokens that were brought",
        ),
        rows => Finding::fail(
            REFUSED_ROWS,
            format!(
                "{rows} rows of the database were not written by this authority; its log names them and the command that \
                 deletes each"
            ),
        ),
    }
}

/// Whether the daemon goes on with what it has because it can make nothing new.
fn renewal(metrics: &str) -> Finding {
    let failing = metrics.lines().find_map(|line| line.strip_prefix("secplane_ca_renewal_failing "));
    match failing {
        Some("0") => Finding::ok(RENEWAL, "what was due has been renewed"),
        Some(_) => Finding::warn(
            RENEWAL,
            "the authorities or the server's certificate cannot be renewed: what is valid goes on until it ends; the log \
             says what is in the way",
        ),
        None => {
            Finding::warn(RENEWAL, "the daemon does not say whether it can renew what is due: is it older?")
        }
    }
}

fn sum_of_refused_rows(metrics: &str) -> u64 {
    let of_table =
        |line: &str| line.strip_prefix("secplane_ca_refused_rows{")?.split_once("} ")?.1.parse::<u64>().ok();
    metrics.lines().filter_map(of_table).sum::<u64>()
}

async fn metrics(address: SocketAddr) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = http::Request::get("/metrics").header("host", address.to_string());
    let asked = async move {
        let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
        let body = Limited::new(response.into_body(), MAX_METRICS_BYTES).collect().await?.to_bytes();
        Ok(String::from_utf8(body.to_vec())?)
    };
    // The connection has to be driven for the answer to come, and ends with it.
    tokio::select! {
        text = asked => text,
        Err(error) = connection => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::{Metrics, doctor::Verdict};

    #[test]
    fn adds_up_what_the_metrics_show() {
        let metrics = Metrics::new();
        assert_eq!(sum_of_refused_rows(&metrics.encode().unwrap()), 0);
        metrics.set_refused_rows("entries", 2);
        metrics.set_refused_rows("agents", 3);
        assert_eq!(sum_of_refused_rows(&metrics.encode().unwrap()), 5);
    }

    #[test]
    fn warns_while_nothing_new_can_be_made() {
        let metrics = Metrics::new();
        for (is_failing, verdict) in [(false, Verdict::Ok), (true, Verdict::Warn), (false, Verdict::Ok)] {
            metrics.set_renewal_failing(is_failing);
            assert_eq!(renewal(&metrics.encode().unwrap()).verdict, verdict);
        }
    }

    #[tokio::test]
    async fn asks_the_daemon_for_them() {
        use axum::{Router, routing::get};
        use tokio::net::TcpListener;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app =
            Router::new().route("/metrics", get(async || "secplane_ca_refused_rows{table=\"entries\"} 1\n"));
        let serving = tokio::spawn(axum::serve(listener, app).into_future());
        let verdicts =
            async || counted(address).await.iter().map(|finding| finding.verdict).collect::<Vec<_>>();
        assert_eq!(verdicts().await, [Verdict::Fail, Verdict::Warn], "it does not say all");
        serving.abort();
        let _ = serving.await;
        assert_eq!(verdicts().await, [Verdict::Warn, Verdict::Warn]);
    }
}
