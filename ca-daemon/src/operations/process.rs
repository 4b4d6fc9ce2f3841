//! The daemon as a process: signals, the service manager, reading the configuration again.
//!
//! | signal | does |
//! |---|---|
//! | SIGTERM, SIGINT | lets calls in flight end, then stops; the second one ends the process at once |
//! | SIGHUP | reads the configuration again |

use std::{io, sync::Arc, time::Duration};

use secplane_configuration::logging;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{
    reload, systemd,
    traces::{Traces, TracesError},
};
use crate::{CaDaemon, Config, RunError, StartError, api::Services, config::ConfigError};

/// How long the daemon may take to stop, before the process ends all the same. Longer than every drain time in it.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// What a process ends with that did not stop in order.
const CUT_SHORT: i32 = 1;

/// Runs the daemon until a signal ends it.
///
/// `load` reads the configuration: at the start, and again at each SIGHUP. `announce` is called once everything
/// listens.
///
/// # Errors
/// When the daemon cannot start, or stops by itself.
pub async fn serve(
    load: impl Fn() -> Result<Config, ConfigError>,
    announce: impl FnOnce(&CaDaemon) -> io::Result<()>,
) -> Result<(), ServeError> {
    let config = load()?;
    let traces = start_logging(&config)?;
    let hangup = signal(SignalKind::hangup())?;
    let shutdown = CancellationToken::new();
    let stopper = tokio::spawn(stop_at_signal(
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        shutdown.clone(),
    ));
    let daemon = tokio::select! {
        started = CaDaemon::start(config) => started?,
        () = shutdown.cancelled() => return Ok(()),
    };
    announce(&daemon)?;
    systemd::ready();

    let services = Arc::clone(daemon.services());
    let result = tokio::select! {
        result = daemon.run(shutdown.clone()) => result,
        never = reload_at_signal(hangup, &load, &services) => match never {},
        never = systemd::watchdog() => match never {},
        () = overdue(&shutdown) => {
            tracing::error!("the daemon did not stop within {} s; it is ended", STOP_WITHIN.as_secs());
            std::process::exit(CUT_SHORT);
        }
    };
    if let Some(traces) = traces {
        // It may take longer than it should; the second signal still ends the process.
        let _ = tokio::task::spawn_blocking(move || traces.stop()).await;
    }
    stopper.abort();
    Ok(result?)
}

fn start_logging(config: &Config) -> Result<Option<Traces>, ServeError> {
    let (traces, layer) = match &config.telemetry.otlp.endpoint {
        Some(endpoint) => Some(Traces::start(endpoint)?).unzip(),
        None => (None, None),
    };
    logging::start_with(&config.log, layer)
        .map_err(|error| ConfigError::Invalid { key: "log.filter", reason: error.to_string() })?;
    Ok(traces)
}

async fn stop_at_signal(mut terminate: Signal, mut interrupt: Signal, shutdown: CancellationToken) {
    let mut any = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    any().await;
    tracing::info!("stopping; a second signal ends the process at once");
    systemd::stopping();
    shutdown.cancel();
    any().await;
    tracing::warn!("ended by a second signal");
    std::process::exit(CUT_SHORT);
}

async fn overdue(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(STOP_WITHIN).await;
}

async fn reload_at_signal(
    mut hangup: Signal,
    load: &impl Fn() -> Result<Config, ConfigError>,
    services: &Services,
) -> std::convert::Infallible {
    loop {
        if hangup.recv().await.is_none() {
            return std::future::pending().await;
        }
        systemd::reloading();
        reload::reload(services, load()).await;
        systemd::ready();
    }
}

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration is not usable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Traces cannot be sent.
    #[error(transparent)]
    Traces(#[from] TracesError),
    /// The daemon cannot start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The daemon stopped by itself.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Signals cannot be received, or nothing be printed.
    #[error("the process cannot be set up: {0}")]
    Process(#[from] io::Error),
}
