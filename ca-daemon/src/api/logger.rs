//! `spire.api.server.logger.v1.Logger`: how much is logged, changed while the daemon runs. For the local admin alone.

use std::sync::Arc;

use secplane_configuration::logging::{self, LogFilter};
use secplane_proto::spire::api::{
    server::logger::v1::{
        GetLoggerRequest, ResetLogLevelRequest, SetLogLevelRequest, logger_server::Logger as LoggerService,
    },
    types::{LogLevel, Logger},
};
use tonic::{Request, Response, Status};
use tracing_subscriber::filter::LevelFilter;

use super::{refusal::ToStatus, services::Services};
use crate::{
    access::{Caller, Permission},
    audit::{Action, Event},
};

pub(super) struct LoggerApi(pub(super) Arc<Services>);

impl LoggerApi {
    fn authorize<T>(&self, request: &Request<T>) -> Result<(Caller, &'static LogFilter), Status> {
        let caller = self.0.authorize(request, Permission::LocalAdmin)?;
        let filter = logging::filter().ok_or_else(|| {
            Status::failed_precondition(
                "this daemon runs inside another program, which decides what is logged",
            )
        })?;
        Ok((caller, filter))
    }

    /// Logs as asked from now on, once that is on record: who can make the daemon say less leaves a trace.
    async fn change(&self, caller: &Caller, filter: &LogFilter, wanted: &str) -> Result<(), Status> {
        let event =
            Event::by(caller, Action::ConfigurationReload, "log.filter").with("filter", wanted.to_owned());
        self.0.issuance.store().record(event).await.map_err(|error| error.to_status())?;
        filter.set(wanted).map_err(|error| Status::internal(error.to_string()))
    }

    fn answer(&self, filter: &LogFilter) -> Response<Logger> {
        let launch = self.0.settings.load().log.level();
        Response::new(Logger {
            current_level: to_wire(filter.level()).into(),
            launch_level: to_wire(launch).into(),
        })
    }
}

#[tonic::async_trait]
impl LoggerService for LoggerApi {
    async fn get_logger(&self, request: Request<GetLoggerRequest>) -> Result<Response<Logger>, Status> {
        let (_, filter) = self.authorize(&request)?;
        Ok(self.answer(filter))
    }

    async fn set_log_level(&self, request: Request<SetLogLevelRequest>) -> Result<Response<Logger>, Status> {
        let (caller, filter) = self.authorize(&request)?;
        let wanted = filter_of(request.get_ref().new_level())
            .ok_or_else(|| Status::invalid_argument("new_level names no level; use ERROR to TRACE"))?;
        self.change(&caller, filter, wanted).await?;
        tracing::warn!(filter = wanted, "the log level was changed by an admin");
        Ok(self.answer(filter))
    }

    async fn reset_log_level(
        &self,
        request: Request<ResetLogLevelRequest>,
    ) -> Result<Response<Logger>, Status> {
        let (caller, filter) = self.authorize(&request)?;
        let configured = self.0.settings.load().log.filter.clone();
        self.change(&caller, filter, &configured).await?;
        tracing::warn!(filter = %configured, "the log level is that of the configuration again");
        Ok(self.answer(filter))
    }
}

/// The filter of a level. More than `info` is meant for the daemon itself: what the libraries below it say then
/// would drown it, and shows the headers of requests.
fn filter_of(level: LogLevel) -> Option<&'static str> {
    match level {
        LogLevel::Unspecified => None,
        LogLevel::Panic | LogLevel::Fatal | LogLevel::Error => Some("error"),
        LogLevel::Warn => Some("warn"),
        LogLevel::Info => Some("info"),
        LogLevel::Debug => Some("info,ca_daemon=debug,secplane_identity=debug"),
        LogLevel::Trace => Some("info,ca_daemon=trace,secplane_identity=trace"),
    }
}

fn to_wire(level: LevelFilter) -> LogLevel {
    match level.into_level() {
        None => LogLevel::Panic,
        Some(tracing::Level::ERROR) => LogLevel::Error,
        Some(tracing::Level::WARN) => LogLevel::Warn,
        Some(tracing::Level::INFO) => LogLevel::Info,
        Some(tracing::Level::DEBUG) => LogLevel::Debug,
        Some(tracing::Level::TRACE) => LogLevel::Trace,
    }
}

#[cfg(test)]
mod tests {
    use secplane_configuration::logging::LogConfig;

    use super::*;

    #[test]
    fn sets_the_level_that_it_then_shows() {
        for level in [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace] {
            let filter = filter_of(level).unwrap().to_owned();
            let config = LogConfig { filter, ..LogConfig::default() };
            assert_eq!(to_wire(config.level()), level);
        }
        assert!(filter_of(LogLevel::Unspecified).is_none());
    }
}
