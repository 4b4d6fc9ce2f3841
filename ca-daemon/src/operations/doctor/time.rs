//! Clocks and expiries.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use super::Finding;
use crate::instant::unix;

/// No clock that is right reads less: the first version is younger.
const EARLIEST: i64 = 1_767_225_600; // 2026-01-01
/// How far the clock may be behind the newest record before something is wrong with it, in seconds.
const BEHIND: i64 = 60;
/// systemd-timesyncd leaves it once it has synchronized the clock.
const SYNCHRONIZED: &str = "/run/systemd/timesync/synchronized";

/// Whether the clock is right, as far as that can be told.
pub(super) fn clock(newest_record: Option<i64>) -> Vec<Finding> {
    let now = unix(SystemTime::now());
    let mut findings = vec![against(now, newest_record)];
    if Path::new(SYNCHRONIZED).exists() {
        findings.push(Finding::ok("clock sync", "the clock is synchronized"));
    }
    findings
}

fn against(now: i64, newest_record: Option<i64>) -> Finding {
    const CHECK: &str = "clock";
    if now < EARLIEST {
        return Finding::fail(
            CHECK,
            "it reads a time before this program was written; set it, and keep it by NTP",
        );
    }
    match newest_record {
        Some(newest) if now < newest - BEHIND => Finding::fail(
            CHECK,
            format!(
                "it is {} behind the newest certificate on record; set it, and keep it by NTP",
                span(newest - now)
            ),
        ),
        Some(_) => Finding::ok(CHECK, "it is not behind the newest certificate on record"),
        None => Finding::ok(CHECK, "it reads a sane time"),
    }
}

/// What part of a life is over when a successor should have taken over.
const OVERDUE: f64 = 0.9;

/// How long something still lives, and whether its successor is overdue. `renewed_by` says what should have renewed
/// it.
pub(super) fn expiry(
    check: &'static str,
    what: &str,
    not_before: i64,
    not_after: i64,
    renewed_by: &str,
) -> Finding {
    let now = unix(SystemTime::now());
    if not_after <= now {
        return Finding::fail(check, format!("{what} expired {} ago; {renewed_by}", span(now - not_after)));
    }
    let left = span(not_after - now);
    #[expect(clippy::cast_precision_loss, reason = "seconds of a lifetime")]
    let part = (now - not_before) as f64 / (not_after - not_before).max(1) as f64;
    match part > OVERDUE {
        true => {
            Finding::warn(check, format!("{what} expires in {left} and has no successor yet; {renewed_by}"))
        }
        false => Finding::ok(check, format!("{what} expires in {left}")),
    }
}

/// A span of seconds, in its two largest units.
pub(super) fn span(seconds: i64) -> String {
    let rounded = match u64::try_from(seconds.max(0)).unwrap_or(0) {
        seconds if seconds >= 86_400 => seconds - seconds % 3600,
        seconds if seconds >= 3600 => seconds - seconds % 60,
        seconds => seconds,
    };
    humantime::format_duration(Duration::from_secs(rounded)).to_string()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::operations::doctor::Verdict;

    const NOW: i64 = EARLIEST + 1_000_000;

    #[rstest]
    #[case(0, None, Verdict::Fail)]
    #[case(NOW, None, Verdict::Ok)]
    #[case(NOW, Some(NOW - 5), Verdict::Ok)]
    #[case(NOW, Some(NOW + 5), Verdict::Ok)]
    #[case(NOW, Some(NOW + 3600), Verdict::Fail)]
    fn tells_a_clock_that_is_behind(#[case] now: i64, #[case] newest: Option<i64>, #[case] verdict: Verdict) {
        assert_eq!(against(now, newest).verdict, verdict);
    }

    #[rstest]
    #[case(-10, 100, Verdict::Ok)]
    #[case(-100, 5, Verdict::Warn)]
    #[case(-100, -5, Verdict::Fail)]
    fn tells_what_is_about_to_expire(#[case] from: i64, #[case] to: i64, #[case] verdict: Verdict) {
        let now = unix(SystemTime::now());
        let found = expiry("root", "root ab", now + from * 3600, now + to * 3600, "rotate it");
        assert_eq!(found.verdict, verdict, "{}", found.message);
    }

    #[test]
    fn rounds_spans() {
        assert_eq!(span(59), "59s");
        assert_eq!(span(3_661), "1h 1m");
        assert_eq!(span(86_400 + 3_700), "1day 1h");
    }
}
