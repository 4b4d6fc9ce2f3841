//! Whether a source can be read at the moment, for whoever watches over the process.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use prometheus_client::metrics::gauge::Gauge;

use super::SourceKind;

/// What is known of a source's reach. Cheap to clone; all clones know the same.
#[derive(Debug, Clone)]
pub struct Reach(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kind: SourceKind,
    /// 1 while it cannot be read.
    failing: Gauge,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Whether it was ever read.
    read: bool,
    trouble: Option<Trouble>,
}

#[derive(Debug)]
struct Trouble {
    since: SystemTime,
    reason: String,
}

impl Reach {
    /// Of a source that was not read yet. The gauge is 1 while it cannot be.
    #[must_use]
    pub fn new(kind: SourceKind, failing: Gauge) -> Self {
        Self(Arc::new(Inner { kind, failing, state: Mutex::default() }))
    }

    /// The source was read.
    pub(crate) fn succeeded(&self) {
        let mut state = self.state();
        state.read = true;
        if state.trouble.take().is_some() {
            tracing::info!(source = self.0.kind.name(), "the source can be read again");
        }
        self.0.failing.set(0);
    }

    /// The source cannot be read. Returns whether that, or the reason, is news.
    pub(crate) fn failed(&self, reason: String) -> bool {
        let mut state = self.state();
        let news = state.trouble.as_ref().is_none_or(|trouble| trouble.reason != reason);
        let since = state.trouble.take().map_or_else(SystemTime::now, |trouble| trouble.since);
        state.trouble = Some(Trouble { since, reason });
        self.0.failing.set(1);
        news
    }

    /// What keeps the service from being ready.
    pub(crate) fn missing(&self) -> Option<String> {
        let state = self.state();
        let name = self.0.kind.name();
        match &state.trouble {
            _ if state.read => None,
            Some(trouble) => Some(format!("source.{name} cannot be read: {}", trouble.reason)),
            None => Some(format!("source.{name} is not read yet")),
        }
    }

    /// What is not as it should be, although the source was read once.
    pub(crate) fn note(&self, now: SystemTime) -> Option<String> {
        let state = self.state();
        let Trouble { since, reason } = state.trouble.as_ref()?;
        let seconds = now.duration_since(*since).unwrap_or(Duration::ZERO).as_secs();
        let name = self.0.kind.name();
        Some(format!(
            "source.{name} cannot be read since {seconds} s, what it held last stays in use: {reason}"
        ))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in it panics half way through a change.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_source_that_was_never_read_from_one_that_is_lost() {
        let gauge = Gauge::default();
        let reach = Reach::new(SourceKind::Git, gauge.clone());
        assert_eq!(reach.missing().as_deref(), Some("source.git is not read yet"));
        assert!(reach.failed("no route".to_owned()));
        assert!(!reach.failed("no route".to_owned()), "told once");
        assert!(reach.failed("no entry".to_owned()), "another reason");
        assert_eq!((reach.missing().unwrap().contains("no entry"), gauge.get()), (true, 1));
        reach.succeeded();
        assert_eq!((reach.missing(), reach.note(SystemTime::now()), gauge.get()), (None, None, 0));

        assert!(reach.failed("no route".to_owned()));
        assert_eq!(reach.missing(), None, "what it held last stays in use");
        let later = SystemTime::now() + Duration::from_secs(90);
        let note = reach.note(later).unwrap();
        assert!(note.contains("since 9") && note.contains("no route"), "{note}");
    }
}
