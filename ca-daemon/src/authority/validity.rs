//! How long certificates are valid.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;

use crate::instant::no_end;

/// How far `notBefore` lies in the past, for peers whose clock is behind.
pub const BACKDATE: Duration = Duration::from_secs(10);

/// The instants between which a certificate is valid, to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Inclusive.
    pub not_before: SystemTime,
    /// Inclusive.
    pub not_after: SystemTime,
}

impl Validity {
    /// From shortly before `now` until `lifetime` after it, but never beyond `limit` (the issuer's end), nor beyond what a
    /// certificate can say.
    #[must_use]
    pub fn starting(now: SystemTime, lifetime: Duration, limit: Option<SystemTime>) -> Self {
        let now = whole_second(now);
        let limit = limit.unwrap_or_else(no_end);
        let not_after = now.checked_add(lifetime).map_or(limit, |wanted| wanted.min(limit));
        Self { not_before: now - BACKDATE, not_after }
    }

    /// The instant at which half of the life is over: when a successor is due.
    ///
    /// The life begins with the issuing; the time before it is for peers whose clock is behind. Counted with it, a
    /// certificate of a few seconds would be past its half from the start.
    #[must_use]
    pub fn half_life(&self) -> SystemTime {
        self.at_thousandths(500)
    }

    /// The instant at which so many thousandths of the life are over.
    #[must_use]
    pub fn at_thousandths(&self, thousandths: u16) -> SystemTime {
        let issued = self.not_before + BACKDATE;
        issued + self.not_after.duration_since(issued).unwrap_or_default() * u32::from(thousandths) / 1000
    }

    pub(super) fn bounds(&self) -> (OffsetDateTime, OffsetDateTime) {
        (self.not_before.into(), self.not_after.into())
    }
}

/// Certificates carry whole seconds (RFC 5280, section 4.1.2.5); records must say the same.
fn whole_second(instant: SystemTime) -> SystemTime {
    let since = instant.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

/// The default lifetimes of leaves and the longest that a caller may ask for.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// Of an X.509-SVID.
    pub x509_svid: Duration,
    /// Of a server certificate.
    pub server: Duration,
    /// Of a client certificate.
    pub client: Duration,
    /// The longest lifetime of any leaf.
    pub longest: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 750)
    }

    #[test]
    fn begins_before_now_and_ends_on_a_whole_second() {
        let validity = Validity::starting(at(1000), Duration::from_secs(60), None);
        assert_eq!(validity.not_before, SystemTime::UNIX_EPOCH + Duration::from_secs(990));
        assert_eq!(validity.not_after, SystemTime::UNIX_EPOCH + Duration::from_secs(1060));
        assert_eq!(validity.half_life(), SystemTime::UNIX_EPOCH + Duration::from_secs(1030));
    }

    #[test]
    fn never_outlives_its_issuer() {
        let limit = SystemTime::UNIX_EPOCH + Duration::from_secs(1030);
        for lifetime in [Duration::from_secs(60), Duration::MAX] {
            assert_eq!(Validity::starting(at(1000), lifetime, Some(limit)).not_after, limit);
        }
        assert_eq!(Validity::starting(at(1000), Duration::MAX, None).not_after, no_end());
    }
}
