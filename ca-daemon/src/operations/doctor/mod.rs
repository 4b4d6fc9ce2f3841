//! `ca-daemon doctor`: looks at everything that makes an authority stop one day, while there is time.
//!
//! It changes nothing, and works whether the daemon runs or not.

mod database;
mod files;
mod lists;
mod played_back;
mod running;
mod time;

use serde::Serialize;

use crate::Config;

/// How something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, but will not for ever, or not as safely as it could.
    Warn,
    /// It does not work, or is not safe.
    Fail,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found, and what to do about it.
    pub message: String,
}

impl Finding {
    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, message: message.into() }
    }

    fn warn(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warn, message: message.into() }
    }

    fn fail(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Fail, message: message.into() }
    }
}

/// Everything that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Report(Vec<Finding>);

impl Report {
    /// A report of a configuration that is not usable: nothing else can be looked at.
    #[must_use]
    pub fn without_configuration(error: &crate::config::ConfigError) -> Self {
        Self(vec![Finding::fail("configuration", error.to_string())])
    }

    /// The findings.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.0
    }

    /// The worst of them.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.0.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok)
    }
}

/// One line a finding.
impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for Finding { check, verdict, message } in &self.0 {
            let verdict = match verdict {
                Verdict::Ok => "ok",
                Verdict::Warn => "warn",
                Verdict::Fail => "fail",
            };
            writeln!(f, "{verdict:<5} {check:<14} {message}")?;
        }
        Ok(())
    }
}

/// Looks at everything that belongs to a configuration.
pub async fn examine(config: &Config) -> Report {
    let mut findings = vec![Finding::ok("configuration", "it can be used")];
    findings.extend(files::wrapping_key(config));
    findings.extend(files::permissions(config));
    findings.extend(files::disk(config));
    let mut newest_record = None;
    match database::Database::open(config).await {
        Ok(mut database) => match database.examine(config).await {
            Ok(examined) => {
                newest_record = examined.newest_record;
                findings.extend(examined.findings);
            }
            Err(error) => findings.push(Finding::fail("database", format!("it cannot be read: {error}"))),
        },
        Err(finding) => findings.push(finding),
    }
    findings.extend(time::clock(newest_record));
    findings.extend(running::daemon(config).await);
    Report(findings)
}
