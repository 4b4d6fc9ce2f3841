//! Events that anybody can cause as often as they like: the first is told at once, its repeats are counted.
//!
//! Without this, whoever may open a connection could fill the disk with it. Nor can they hide others by the number of
//! their own events: callers who proved who they are share nothing with strangers, and nobody has more than a part.

use std::collections::HashMap;

use secplane_identity::Origin;

use super::{Action, Event, Outcome};

/// How many kinds of event of strangers are told apart within a window; all others are told as one.
const MOST_OF_STRANGERS: usize = 128;
/// As many of those who proved who they are.
const MOST_OF_KNOWN: usize = 256;
/// As many of one of either.
const MOST_OF_ONE: usize = 32;

/// Counts repeats within a window of time. At most two events for each of 384 kinds leave it in a window, and one for
/// each action.
#[derive(Debug)]
pub struct Repeats {
    known: Kinds,
    strangers: Kinds,
    others: HashMap<(Action, Outcome), u64>,
}

/// What makes one event the repeat of another: all but the address within its origin, and the details.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    action: Action,
    outcome: Outcome,
    actor: String,
    origin: Origin,
    target: String,
}

/// Who causes events.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Cause {
    /// Somebody who proved who they are: wherever they come from.
    Known(String),
    /// Somebody who proved nothing: they have only where they come from.
    Stranger(Origin),
}

/// The kinds that are told apart.
#[derive(Debug)]
struct Kinds {
    most: usize,
    counted: HashMap<Kind, Counted>,
    of_one: HashMap<Cause, usize>,
}

#[derive(Debug)]
struct Counted {
    latest: Event,
    repeats: u64,
}

impl Default for Repeats {
    fn default() -> Self {
        Self {
            known: Kinds::at_most(MOST_OF_KNOWN),
            strangers: Kinds::at_most(MOST_OF_STRANGERS),
            others: HashMap::new(),
        }
    }
}

impl Repeats {
    /// Takes an event of somebody who proved who they are, and gives it back if it is to be told at once.
    pub fn take(&mut self, event: Event) -> Option<Event> {
        let told = self.known.take(Cause::Known(event.actor.clone()), event);
        self.told(told)
    }

    /// As [`Repeats::take`], of somebody who is known by their address alone.
    pub fn take_of_stranger(&mut self, event: Event) -> Option<Event> {
        let told = self.strangers.take(Cause::Stranger(Origin::of(event.address)), event);
        self.told(told)
    }

    fn told(&mut self, told: Told) -> Option<Event> {
        match told {
            Told::Now(event) => Some(event),
            Told::AsRepeat => None,
            Told::AsOther(event) => {
                self.count_other(&event);
                None
            }
        }
    }

    /// Counts an event that could not be told.
    pub fn count_other(&mut self, event: &Event) {
        *self.others.entry((event.action, event.outcome)).or_default() += 1;
    }

    /// The repeats that were counted, each kind as its latest event with `count`. Everything is new after it.
    pub fn end_window(&mut self) -> Vec<Event> {
        let mut events = self.known.end_window();
        events.extend(self.strangers.end_window());
        events.extend(self.others.drain().map(|((action, outcome), count)| Event {
            actor: "others".to_owned(),
            outcome,
            ..Event::by_daemon(action, "").with("count", count.to_string())
        }));
        events
    }
}

/// How an event is told.
enum Told {
    Now(Event),
    AsRepeat,
    AsOther(Event),
}

impl Kinds {
    fn at_most(most: usize) -> Self {
        Self { most, counted: HashMap::new(), of_one: HashMap::new() }
    }

    fn take(&mut self, cause: Cause, event: Event) -> Told {
        let kind = Kind {
            action: event.action,
            outcome: event.outcome,
            actor: event.actor.clone(),
            origin: Origin::of(event.address),
            target: event.target.clone(),
        };
        if let Some(counted) = self.counted.get_mut(&kind) {
            counted.latest = event;
            counted.repeats += 1;
            return Told::AsRepeat;
        }
        let of_one = self.of_one.get(&cause).copied().unwrap_or_default();
        if self.counted.len() >= self.most || of_one >= MOST_OF_ONE {
            return Told::AsOther(event);
        }
        self.of_one.insert(cause, of_one + 1);
        self.counted.insert(kind, Counted { latest: event.clone(), repeats: 0 });
        Told::Now(event)
    }

    fn end_window(&mut self) -> Vec<Event> {
        self.of_one.clear();
        let counted = self.counted.drain().map(|(_, counted)| counted).filter(|counted| counted.repeats > 0);
        counted.map(|counted| counted.latest.with("count", counted.repeats.to_string())).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

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
        assert_eq!(at_once, MOST_OF_KNOWN);
        let told = repeats.end_window();
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].actor.as_str(), told[0].outcome), ("others", Outcome::Denied));
        assert_eq!(count_of(&told[0]), (100_000 - MOST_OF_KNOWN).to_string());
    }

    fn of_stranger(address: &str, target: &str) -> Event {
        let address = SocketAddr::new(address.parse().unwrap(), 1);
        Event { address: Some(address), target: target.to_owned(), ..denied("anonymous", 1) }
    }

    #[test]
    fn takes_a_whole_network_for_one_stranger() {
        let mut repeats = Repeats::default();
        assert!(repeats.take_of_stranger(of_stranger("2001:db8::1", "/a")).is_some());
        for n in 2..1000 {
            assert_eq!(repeats.take_of_stranger(of_stranger(&format!("2001:db8::{n:x}"), "/a")), None);
        }
        assert!(repeats.take_of_stranger(of_stranger("2001:db8:0:1::1", "/a")).is_some(), "another network");
    }

    #[test]
    fn lets_strangers_hide_nobody_who_is_known() {
        let mut repeats = Repeats::default();
        for network in 0..1000 {
            repeats.take_of_stranger(of_stranger(&format!("2001:db8:0:{network:x}::1"), "/a"));
        }
        assert_eq!(repeats.take(denied("admin", 1)), Some(denied("admin", 1)));
    }

    #[test]
    fn lets_nobody_have_all_the_room_of_their_like() {
        let mut repeats = Repeats::default();
        for n in 0..1000 {
            let target = format!("/{n}");
            repeats.take_of_stranger(of_stranger("192.0.2.1", &target));
            repeats.take(Event { target, ..denied("workload", 1) });
        }
        assert!(repeats.take_of_stranger(of_stranger("192.0.2.2", "/a")).is_some());
        assert!(repeats.take(denied("admin", 1)).is_some());
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
