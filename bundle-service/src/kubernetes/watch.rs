//! Follows the resource in every group: a list, and then what changes.
//!
//! A watch goes on where it broke off. When that place is no longer known to the API server (410), when the server could
//! not be reached at all (it may be another one behind the same name, with a restored backup), and now and then without
//! a reason, everything is listed anew. What is in use stays in use until a list has been read to its end.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::StreamExt;
use kube::{
    Api, Client,
    core::DynamicObject,
    runtime::watcher::{self, Event, watcher},
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    inventory::{Shared, StoredKey, Trouble},
    object,
};
use crate::source::Batch;

/// How many objects a list brings at once.
const PAGE: u32 = 250;
/// How long one watch lasts, in seconds. A connection that died unseen is noticed a moment after.
const WATCH_SECONDS: u32 = 60;
/// How often everything is listed without a reason.
const RELIST: Duration = Duration::from_secs(15 * 60);
/// The pauses after failures.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(15);
/// How long nothing may have changed before a batch is made, and how long changes that never end put that off.
const QUIET: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// How long reading one object may take, and when it is tried again.
const READ_WITHIN: Duration = Duration::from_secs(10);
const READ_AGAIN: Duration = Duration::from_secs(2);

/// The resource in every group, followed.
pub(crate) struct KubernetesSource {
    client: Client,
    groups: Vec<String>,
    shared: Arc<Shared>,
}

impl KubernetesSource {
    pub(crate) fn new(client: Client, groups: Vec<String>, shared: Arc<Shared>) -> Self {
        Self { client, groups, shared }
    }

    /// Sends a first batch once everything is known, and then each change, until `shutdown` or until nobody receives.
    pub(crate) async fn follow(self, batches: mpsc::Sender<Batch>, shutdown: CancellationToken) {
        let mut watches = JoinSet::new();
        for (group, name) in self.groups.iter().enumerate() {
            let watch = Watch { group, api: self.api(name), shared: Arc::clone(&self.shared) };
            watches.spawn(watch.run());
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.send(&batches) => {}
        }
        // Nothing of theirs has to be finished.
        watches.shutdown().await;
    }

    fn api(&self, group: &str) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &object::api_resource(group))
    }

    /// Returns when nobody receives.
    async fn send(&self, batches: &mpsc::Sender<Batch>) {
        loop {
            let unread = self.shared.inventory().has_unread();
            tokio::select! {
                () = self.shared.changed.notified() => {}
                // Nothing tells when what could not be read can be.
                () = sleep(READ_AGAIN), if unread => {}
            }
            let latest = Instant::now() + LONGEST_WAIT;
            while Instant::now() < latest && timeout(QUIET, self.shared.changed.notified()).await.is_ok() {}
            self.read_again().await;
            let batch = self.shared.inventory().take();
            if let Some(batch) = batch
                && batches.send(batch).await.is_err()
            {
                return;
            }
        }
    }

    /// Reads the objects whose content is not known any more.
    async fn read_again(&self) {
        loop {
            let Some(at) = self.shared.inventory().begin_reading() else { return };
            let StoredKey { key, group } = &at;
            let Some(name) = self.groups.get(*group) else { continue };
            let resource = object::api_resource(name);
            let api: Api<DynamicObject> =
                Api::namespaced_with(self.client.clone(), &key.namespace, &resource);
            match timeout(READ_WITHIN, api.get_opt(&key.name)).await {
                Ok(Ok(stored)) => self.shared.inventory().read(&at, stored.as_ref()),
                Ok(Err(error)) => return self.unread(&at, &say(&error)),
                Err(_) => return self.unread(&at, "the API server did not answer in time"),
            }
        }
    }

    fn unread(&self, at: &StoredKey, reason: &str) {
        tracing::debug!(resource = %at.key, group = at.group, reason, "an object could not be read again");
        self.shared.inventory().fail_reading();
    }
}

/// The resource in one group, followed.
struct Watch {
    group: usize,
    api: Api<DynamicObject>,
    shared: Arc<Shared>,
}

/// How following goes on after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Go,
    Relist,
}

impl Watch {
    async fn run(self) {
        let config = watcher::Config::default().page_size(PAGE).timeout(WATCH_SECONDS);
        let mut pause = FIRST_PAUSE;
        loop {
            let mut events = pin!(watcher(self.api.clone(), config.clone()));
            let relist_at = Instant::now() + RELIST;
            let mut listed = false;
            loop {
                let event = tokio::select! {
                    () = sleep_until(relist_at), if listed => break,
                    event = events.next() => event,
                };
                match event {
                    Some(Ok(event)) => {
                        listed |= matches!(event, Event::InitDone);
                        // A list that begins is no sign yet that anybody answers.
                        if !matches!(event, Event::Init) {
                            pause = FIRST_PAUSE;
                        }
                        self.take(event);
                    }
                    Some(Err(error)) => {
                        let next = self.failed(&error);
                        sleep(pause).await;
                        pause = (pause * 2).min(LAST_PAUSE);
                        if next == Next::Relist {
                            break;
                        }
                    }
                    None => break,
                }
            }
        }
    }

    fn take(&self, event: Event<DynamicObject>) {
        let mut inventory = self.shared.inventory();
        let answered = !matches!(event, Event::Init);
        match event {
            Event::Init => inventory.begin(self.group),
            Event::InitApply(stored) => inventory.set(self.group, &stored),
            Event::InitDone => inventory.finish(self.group),
            Event::Apply(stored) => inventory.set(self.group, &stored),
            Event::Delete(stored) => {
                if let Some(key) = object::key_of(&stored) {
                    inventory.gone(self.group, &key);
                }
            }
        }
        if answered {
            inventory.recovered(self.group);
        }
        drop(inventory);
        self.shared.changed.notify_one();
        self.shared.unsettled.notify_one();
    }

    fn failed(&self, error: &watcher::Error) -> Next {
        tracing::debug!(%error, group = self.group, "following the resource failed");
        let Some(trouble) = judge(error, SystemTime::now()) else { return Next::Go };
        let words = format!("{trouble:?}");
        if self.shared.inventory().failed(self.group, trouble) {
            tracing::warn!(trouble = words, "the policies of a group cannot be followed; trying again");
        }
        // Another group may have been waiting for this word.
        self.shared.changed.notify_one();
        Next::Relist
    }
}

/// What an error means; `None` when the watcher goes on by itself.
fn judge(error: &watcher::Error, now: SystemTime) -> Option<Trouble> {
    let failing = |reason: String| Some(Trouble::Failing { since: now, reason });
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 404 => {
            Some(Trouble::NotInstalled)
        }
        watcher::Error::InitialListFailed(source) => failing(say(source)),
        // The server was away, and what comes back may be another one.
        watcher::Error::WatchStartFailed(source) => failing(say(source)),
        watcher::Error::NoResourceVersion => failing(error.to_string()),
        // It goes on where it was, or lists anew when that place is gone (410). If it cannot, it says so next.
        watcher::Error::WatchError(_) | watcher::Error::WatchFailed(_) => None,
    }
}

/// An error in words, with its cause: the outermost alone often says no more than that a service failed.
fn say(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.clone();
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn api(code: u16) -> kube::Error {
        kube::Error::Api(Box::new(Status { code, message: "words".to_owned(), ..Status::default() }))
    }

    #[test]
    fn tells_a_group_that_is_not_installed_from_a_server_that_fails() {
        let now = SystemTime::now();
        let failing = Trouble::Failing { since: now, reason: "words".to_owned() };
        let judged = |error| judge(&error, now);
        assert_eq!(judged(watcher::Error::InitialListFailed(api(404))), Some(Trouble::NotInstalled));
        assert_eq!(judged(watcher::Error::InitialListFailed(api(403))), Some(failing.clone()));
        assert_eq!(judged(watcher::Error::WatchStartFailed(api(404))), Some(failing));
        assert_eq!(judged(watcher::Error::WatchFailed(api(500))), None);
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod script;
