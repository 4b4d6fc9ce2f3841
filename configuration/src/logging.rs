//! Log lines on standard error, and how much is logged while the program runs.

use std::{fmt, io::IsTerminal, sync::OnceLock};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{LevelFilter, ParseError},
    layer::Layered,
    prelude::*,
    reload,
};

/// What is logged and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// A filter such as `info` or `info,ca_daemon=debug`.
    pub filter: String,
    /// `text` for people or `json` for programs.
    pub format: LogFormat,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text }
    }
}

impl LogConfig {
    /// Whether the filter can be read.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn check(&self) -> Result<(), ParseError> {
        EnvFilter::try_new(&self.filter).map(drop)
    }

    /// The most that the filter lets through of anything; everything, when it cannot be read.
    #[must_use]
    pub fn level(&self) -> LevelFilter {
        let level = EnvFilter::try_new(&self.filter).ok().and_then(|filter| filter.max_level_hint());
        level.unwrap_or(LevelFilter::TRACE)
    }
}

/// Something that takes log events and spans beside the lines on standard error, such as a sender of traces.
pub type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// What the lines on standard error stand on.
type Below = Layered<Option<BoxedLayer>, Registry>;

/// The filter of this process, once [`start`] has set one.
static FILTER: OnceLock<LogFilter> = OnceLock::new();

/// Sends log lines to standard error from now on.
///
/// # Errors
/// When the filter cannot be read. A second call changes nothing.
pub fn start(config: &LogConfig) -> Result<(), ParseError> {
    start_with(config, None)
}

/// As [`start`], with something beside the lines.
///
/// # Errors
/// As [`start`].
pub fn start_with(config: &LogConfig, beside: Option<BoxedLayer>) -> Result<(), ParseError> {
    let (filter, handle) = reload::Layer::new(EnvFilter::try_new(&config.filter)?);
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let below = tracing_subscriber::registry().with(beside);
    // A program that embeds the daemon may have its own subscriber, which then stays.
    let started = match config.format {
        LogFormat::Text => below.with(lines.with_filter(filter)).try_init(),
        LogFormat::Json => below.with(lines.json().with_filter(filter)).try_init(),
    };
    if started.is_ok() {
        let _ = FILTER.set(LogFilter(handle));
    }
    Ok(())
}

/// What is logged by this process; `None` when it does not log through [`start`].
#[must_use]
pub fn filter() -> Option<&'static LogFilter> {
    FILTER.get()
}

/// What is logged, and may change while the program runs.
pub struct LogFilter(reload::Handle<EnvFilter, Below>);

impl LogFilter {
    /// Logs what another filter lets through from now on.
    ///
    /// # Errors
    /// When it cannot be read; then the old one stays.
    pub fn set(&self, filter: &str) -> Result<(), ParseError> {
        let filter = EnvFilter::try_new(filter)?;
        // It fails only when the subscriber is gone, which lives as long as the process.
        let _ = self.0.reload(filter);
        Ok(())
    }

    /// The most that is logged of anything.
    #[must_use]
    pub fn level(&self) -> LevelFilter {
        let level = self.0.with_current(EnvFilter::max_level_hint);
        level.ok().flatten().unwrap_or(LevelFilter::TRACE)
    }
}

impl fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogFilter").field(&self.level()).finish()
    }
}
