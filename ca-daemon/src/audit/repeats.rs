//! Events that anybody can cause as often as they like: the first is told at once, its repeats are counted.
//!
//! Without this, whoever may open a connection could fill the disk with it.

use std::{collections::HashMap, net::IpAddr};

use super::{Action, Event, Outcome};

/// How many kinds of event are told apart within a window; all others are told as one.
const MOST: usize = 128;

/// What makes one event the repeat of another: all but the port and the details.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    action: Action,
    outcome: Outcome,
    actor: String,
    address: Option<IpAddr>,
    target: String,
}

/// Counts repeats within a window of time. At most two events for each of 128 kinds leave it in a window, and one for
/// each action.
#[derive(Debug, Default)]
pub struct Repeats {
    counted: HashMap<Kind, Counted>,
    others: HashMap<(Action, Outcome), u64>,
}

#[derive(Debug)]
struct Counted {
    latest: Event,
    repeats: u64,
}

impl Repeats {
    /// Takes an event, and gives it back if it is to be told at once.
    pub fn take(&mut self, event: Event) -> Option<Event> {
        let kind = Kind {
            action: event.action,
            outcome: event.outcome,
            actor: event.actor.clone(),
            address: event.address.map(|address| address.ip()),
            target: event.target.clone(),
        };
        if let Some(counted) = self.counted.get_mut(&kind) {
            counted.latest = event;
            counted.repeats += 1;
            return None;
        }
        if self.counted.len() >= MOST {
            self.count_other(&event);
            return None;
        }
        self.counted.insert(kind, Counted { latest: event.clone(), repeats: 0 });
        Some(event)
    }

    /// Counts an event that could not be told.
    pub fn count_other(&mut self, event: &Event) {
        *self.others.entry((event.action, event.outcome)).or_default() += 1;
    }

    /// The repeats that were counted, each kind as its latest event with `count`. Everything is new after it.
    pub fn end_window(&mut self) -> Vec<Event> {
        let counted = self.counted.drain().map(|(_, counted)| counted).filter(|counted| counted.repeats > 0);
        let mut events: Vec<_> =
            counted.map(|counted| counted.latest.with("count", counted.repeats.to_string())).collect();
        events.extend(self.others.drain().map(|((action, outcome), count)| Event {
            actor: "others".to_owned(),
            outcome,
            ..Event::by_daemon(action, "").with("count", count.to_string())
        }));
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(actor: &str, port: u16) -> Event {
        Event {
            actor: actor.to_owned(),
            address: Some(([192, 0, 2, 1], port).into()),
            ..Event::by_daemon(Action::CallDeny, "/a").denied("no admin")
        }
    }

    fn count_of(event: &Event) -> &str {
        &event.details.iter().find(|(key, _)| *key == "count").unwrap().1
    }

    #[test]
    fn tells_the_first_at_once_and_counts_the_rest() {
        let mut repeats = Repeats::default();
        assert_eq!(repeats.take(denied("a", 1)), Some(denied("a", 1)));
        assert_eq!(repeats.take(denied("a", 2)), None);
        assert_eq!(repeats.take(denied("a", 3)), None);
        assert_eq!(repeats.take(denied("b", 4)), Some(denied("b", 4)));

        let told = repeats.end_window();
        assert_eq!(told, [denied("a", 3).with("count", "2")]);
        assert_eq!(repeats.take(denied("a", 5)), Some(denied("a", 5)), "a new window");
    }

    #[test]
    fn stays_small_however_many_there_are() {
        let mut repeats = Repeats::default();
        let at_once = (0..100_000).filter_map(|n| repeats.take(denied(&format!("{n}"), 1))).count();
        assert_eq!(at_once, MOST);
        let told = repeats.end_window();
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].actor.as_str(), told[0].outcome), ("others", Outcome::Denied));
        assert_eq!(count_of(&told[0]), (100_000 - MOST).to_string());
    }

    #[test]
    fn counts_what_could_not_be_told() {
        let mut repeats = Repeats::default();
        repeats.count_other(&denied("a", 1));
        repeats.count_other(&denied("b", 1));
        assert_eq!(count_of(&repeats.end_window()[0]), "2");
        assert_eq!(repeats.end_window(), []);
    }
}
