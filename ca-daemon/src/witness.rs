//! What is recorded although it changes nothing: who connected, which calls were denied, and what was asked for and
//! not given.
//!
//! Anybody can cause these, so nobody waits for their record, and repeats are counted instead of being recorded one by
//! one: see [`Repeats`].

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use secplane_identity::serve::{Connection, Watch};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    access::{Caller, LocalPeer},
    audit::{Action, Event, Repeats},
    store::{Commit, Store},
};

/// How long repeats are counted before their number is recorded.
const WINDOW: Duration = Duration::from_secs(60);
/// How many events may wait to be recorded; further ones are counted.
const QUEUE: usize = 512;

/// Takes note of what happens. Cheap to clone.
#[derive(Clone)]
pub struct Witness {
    counted: Arc<Counted>,
    events: mpsc::Sender<Event>,
}

/// Records what a [`Witness`] saw.
pub struct Recorder {
    counted: Arc<Counted>,
    events: mpsc::Receiver<Event>,
    store: Store,
}

/// What is counted until its window ends. Whoever asks for one thing after another must not use up the room in which
/// connections and denied calls are told apart.
#[derive(Default)]
struct Counted {
    calls: Mutex<Repeats>,
    requests: Mutex<Repeats>,
}

impl Counted {
    fn end_window(&self) -> Vec<Event> {
        let mut events = lock(&self.calls).end_window();
        events.extend(lock(&self.requests).end_window());
        events
    }
}

impl Witness {
    /// A witness, and who records what it sees.
    #[must_use]
    pub fn new(store: Store) -> (Self, Recorder) {
        let counted = Arc::new(Counted::default());
        let (sender, events) = mpsc::channel(QUEUE);
        let recorder = Recorder { counted: Arc::clone(&counted), events, store };
        (Self { counted, events: sender }, recorder)
    }

    /// A connection of `caller` to `listener` was opened.
    pub fn connected(&self, caller: &Caller, listener: &str) {
        let event = Event::by(caller, Action::ConnectionAuthenticate, listener);
        let event = match caller.holder() {
            Some(holder) => event.with("serial", holder.serial.clone()),
            None => event,
        };
        self.saw_of(caller, event);
    }

    /// A process of this machine connected to the Workload API.
    pub fn process_connected(&self, peer: &LocalPeer) {
        self.saw(of_process(peer, Action::ConnectionAuthenticate, "workload-api"));
    }

    /// A call of a process to the Workload API was denied.
    pub fn process_denied(&self, peer: &LocalPeer, method: &str, reason: &str) {
        self.saw(of_process(peer, Action::CallDeny, method).denied(reason));
    }

    /// A call of `caller` to `method` was denied.
    pub fn denied(&self, caller: &Caller, method: &str, reason: &str) {
        self.saw_of(caller, Event::by(caller, Action::CallDeny, method).denied(reason));
    }

    /// `caller` did not prove to be a node, by this kind of evidence.
    pub fn attestation_refused(&self, caller: &Caller, kind: &str, reason: &str) {
        self.saw_of(caller, Event::by(caller, Action::AgentAttest, kind).denied(reason));
    }

    /// `caller` asked for something and was not given it: what, and why, says the event.
    pub fn not_given(&self, caller: &Caller, event: Event) {
        self.saw_of_in(&self.counted.requests, caller, event);
    }

    /// Takes note of an event that a caller caused.
    fn saw_of(&self, caller: &Caller, event: Event) {
        self.saw_of_in(&self.counted.calls, caller, event);
    }

    /// Somebody without a name is told from others by their address alone: not by their port, which is another one each
    /// time.
    fn saw_of_in(&self, repeats: &Mutex<Repeats>, caller: &Caller, event: Event) {
        let stranger = |name: &str, event| Event { actor: name.to_owned(), ..event };
        match caller {
            Caller::Anonymous { .. } => {
                self.note(repeats, stranger("anonymous", event), Repeats::take_of_stranger);
            }
            Caller::Insecure { .. } => {
                self.note(repeats, stranger("insecure", event), Repeats::take_of_stranger);
            }
            Caller::LocalAdmin(_) | Caller::Svid { .. } | Caller::Certificate(_) => {
                self.note(repeats, event, Repeats::take);
            }
        }
    }

    /// Takes note of an event of a process of this machine.
    fn saw(&self, event: Event) {
        self.note(&self.counted.calls, event, Repeats::take);
    }

    /// Never waits.
    fn note(&self, repeats: &Mutex<Repeats>, event: Event, take: fn(&mut Repeats, Event) -> Option<Event>) {
        // It is kept for a while, and callers say what is in it.
        let event = event.cut();
        let mut repeats = lock(repeats);
        if let Some(event) = take(&mut repeats, event)
            && let Err(unsent) = self.events.try_send(event)
        {
            repeats.count_other(&unsent.into_inner());
        }
    }
}

fn of_process(peer: &LocalPeer, action: Action, target: &str) -> Event {
    Event { actor: format!("process(uid={})", peer.uid), ..Event::by_daemon(action, target) }
}

/// Whoever connects over TLS.
impl Watch for Witness {
    fn connected(&self, connection: &Connection) {
        self.connected(&Caller::of(connection), "grpc");
    }

    fn refused(&self, address: SocketAddr, reason: &str) {
        let event = Event::by_daemon(Action::ConnectionAuthenticate, "grpc").denied(reason);
        let event = Event { actor: "unauthenticated".to_owned(), address: Some(address), ..event };
        self.note(&self.counted.calls, event, Repeats::take_of_stranger);
    }
}

impl Recorder {
    /// Records until `stop`, and then what is left.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut windows = interval(WINDOW);
        windows.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick comes at once.
        windows.tick().await;
        let mut events = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                received = self.events.recv_many(&mut events, QUEUE) => if received == 0 { break },
                _ = windows.tick() => events.extend(self.counted.end_window()),
            }
            self.record(&mut events).await;
        }
        while let Ok(event) = self.events.try_recv() {
            events.push(event);
        }
        events.extend(self.counted.end_window());
        self.record(&mut events).await;
    }

    async fn record(&self, events: &mut Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let count = events.len();
        let commit = Commit { changes: Vec::new(), events: std::mem::take(events) };
        if let Err(error) = self.store.commit(commit).await {
            tracing::error!(%error, count, "connections and refusals could not be recorded");
        }
    }
}

/// The counts are whole after every statement that changes them, so a panic elsewhere does not spoil them.
fn lock(repeats: &Mutex<Repeats>) -> MutexGuard<'_, Repeats> {
    repeats.lock().unwrap_or_else(PoisonError::into_inner)
}
