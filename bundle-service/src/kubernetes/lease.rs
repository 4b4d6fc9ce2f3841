//! Which replica writes: whoever holds a Lease (`coordination.k8s.io`).
//!
//! The clocks of the replicas are never compared. A holder has lost the lease when its record did not change for the
//! lease's duration by the observer's own clock, and it stops writing well before that by its own. Should two write
//! for a moment all the same, they write the same: a status is a function of the resources.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::host;

/// How long a holder is believed in without a sign of life.
const DURATION: Duration = Duration::from_secs(15);
/// How long after its last renewal a holder goes on writing.
const WRITES_FOR: Duration = Duration::from_secs(10);
/// How often a holder renews, and the others look.
const INTERVAL: Duration = Duration::from_secs(4);
/// How long one call may take.
const CALL_WITHIN: Duration = Duration::from_secs(5);

/// A replica that would write.
pub(crate) struct Candidate {
    leases: Api<Lease>,
    name: String,
    holder: String,
    state: State,
    until: watch::Sender<Option<Instant>>,
}

/// Whether this replica writes.
#[derive(Debug, Clone)]
pub(crate) struct Leadership(watch::Receiver<Option<Instant>>);

impl Leadership {
    /// Whether this replica may write at this moment.
    pub(crate) fn is_held(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }

    #[cfg(test)]
    pub(super) fn of(until: watch::Receiver<Option<Instant>>) -> Self {
        Self(until)
    }

    /// Waits until this replica may write.
    pub(crate) async fn held(&mut self) {
        while !self.is_held() {
            if self.0.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Candidate {
    pub(crate) fn new(client: Client, namespace: &str, name: &str, holder: String) -> (Self, Leadership) {
        let (until, leadership) = watch::channel(None);
        let leases = Api::namespaced(client, namespace);
        let state = State { holder: holder.clone(), seen: None };
        (Self { leases, name: name.to_owned(), holder, state, until }, Leadership(leadership))
    }

    /// Stands for the lease until `shutdown`, and then gives it back.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut failing = false;
        loop {
            match timeout(CALL_WITHIN, self.round()).await {
                Ok(Ok(())) => failing = false,
                Ok(Err(error)) if !failing => {
                    failing = true;
                    tracing::warn!(%error, lease = self.name, "the lease cannot be had; another replica may write");
                }
                Ok(Err(_)) | Err(_) => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = sleep(INTERVAL) => {}
            }
        }
        if self.until.send_replace(None).is_some() {
            // Should it fail, the others wait for the lease to run out.
            let _ = timeout(CALL_WITHIN, self.give_back()).await;
        }
    }

    /// One look at the lease, and what follows from it.
    async fn round(&mut self) -> Result<(), kube::Error> {
        let found = self.leases.get_opt(&self.name).await?;
        let asked = Instant::now();
        let lease = match found {
            None => Lease {
                metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
                spec: Some(self.state.record(None)),
            },
            Some(lease) => match self.state.look(lease.spec.as_ref(), asked) {
                Step::Write => {
                    Lease { spec: Some(self.state.record(lease.spec.as_ref())), metadata: lease.metadata }
                }
                Step::Wait => {
                    self.lose();
                    return Ok(());
                }
            },
        };
        let parameters = PostParams::default();
        // The version that was read goes along: of two that write at once, one is refused.
        let written = match lease.metadata.resource_version {
            None => self.leases.create(&parameters, &lease).await,
            Some(_) => self.leases.replace(&self.name, &parameters, &lease).await,
        };
        match written {
            Ok(_) => {
                if self.until.send_replace(Some(asked + WRITES_FOR)).is_none() {
                    tracing::info!(
                        lease = self.name,
                        holder = self.holder,
                        "this replica writes statuses now"
                    );
                }
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                self.lose();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn lose(&self) {
        if self.until.send_replace(None).is_some() {
            tracing::info!(lease = self.name, "another replica writes statuses now");
        }
    }

    async fn give_back(&self) -> Result<(), kube::Error> {
        let lease = self.leases.get(&self.name).await?;
        let Some(spec) = lease.spec.filter(|spec| spec.holder_identity.as_deref() == Some(&self.holder))
        else {
            return Ok(());
        };
        let spec = LeaseSpec { holder_identity: Some(String::new()), ..spec };
        let lease = Lease { metadata: lease.metadata, spec: Some(spec) };
        self.leases.replace(&self.name, &PostParams::default(), &lease).await.map(drop)
    }
}

/// A name for this replica that no other has: that of the machine or pod, and something random.
pub(crate) fn own_name() -> String {
    let mut random = [0; 4];
    // Without randomness there is no TLS either; the process ID tells two replicas apart well enough.
    if aws_lc_rs::rand::fill(&mut random).is_err() {
        random = std::process::id().to_be_bytes();
    }
    format!("{}-{}", host::name(), hex::encode(random))
}

/// What is to be done about a lease that was found.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// It is one's own, or nobody's any more: write oneself in.
    Write,
    /// Another one holds it.
    Wait,
}

/// What a candidate remembers of the lease.
#[derive(Debug)]
struct State {
    holder: String,
    /// Another one's record, and since when it has not changed.
    seen: Option<(LeaseSpec, Instant)>,
}

impl State {
    fn look(&mut self, spec: Option<&LeaseSpec>, now: Instant) -> Step {
        let Some(spec) = spec else { return Step::Write };
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        if holder.is_empty() || holder == self.holder {
            return Step::Write;
        }
        match &self.seen {
            Some((record, since)) if record == spec => {
                let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
                let duration = seconds.map_or(DURATION, Duration::from_secs);
                if now.duration_since(*since) >= duration { Step::Write } else { Step::Wait }
            }
            _ => {
                self.seen = Some((spec.clone(), now));
                Step::Wait
            }
        }
    }

    /// The record of oneself, after another or as a renewal.
    fn record(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let mine = before.filter(|spec| spec.holder_identity.as_deref() == Some(&self.holder));
        let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(self.holder.clone()),
            lease_duration_seconds: Some(15),
            acquire_time: mine.and_then(|spec| spec.acquire_time.clone()).or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(match (before, mine) {
                (None, _) => 0,
                (Some(_), Some(_)) => transitions,
                (Some(_), None) => transitions.saturating_add(1),
            }),
            ..LeaseSpec::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(holder: &str) -> State {
        State { holder: holder.to_owned(), seen: None }
    }

    fn later(now: Instant, seconds: u64) -> Instant {
        now + Duration::from_secs(seconds)
    }

    #[test]
    fn takes_what_nobody_holds_and_renews_what_is_its_own() {
        let now = Instant::now();
        let mut a = state("a");
        assert_eq!(a.look(None, now), Step::Write);
        let first = a.record(None);
        assert_eq!((first.holder_identity.as_deref(), first.lease_transitions), (Some("a"), Some(0)));
        assert_eq!(a.look(Some(&first), later(now, 100)), Step::Write);
        let renewed = a.record(Some(&first));
        assert_eq!((&renewed.acquire_time, renewed.lease_transitions), (&first.acquire_time, Some(0)));
        let given_back = LeaseSpec { holder_identity: Some(String::new()), ..first };
        assert_eq!(state("b").look(Some(&given_back), now), Step::Write);
    }

    #[test]
    fn waits_while_the_holder_renews_whatever_the_clocks_say() {
        let now = Instant::now();
        let (a, mut b) = (state("a"), state("b"));
        let mut record = a.record(None);
        // A holder whose clock is a day behind.
        record.renew_time = Some(MicroTime(Timestamp::from_second(1_000_000).unwrap()));
        for seconds in (0..100).step_by(4) {
            let renewed = Timestamp::from_second(1_000_000 + i64::try_from(seconds).unwrap()).unwrap();
            record.renew_time = Some(MicroTime(renewed));
            assert_eq!(b.look(Some(&record), later(now, seconds)), Step::Wait);
        }
        assert_eq!(b.look(Some(&record), later(now, 96 + 14)), Step::Wait);
        assert_eq!(b.look(Some(&record), later(now, 96 + 15)), Step::Write);
        let taken = b.record(Some(&record));
        assert_eq!((taken.holder_identity.as_deref(), taken.lease_transitions), (Some("b"), Some(1)));
    }

    #[test]
    fn stops_writing_before_another_may_begin() {
        assert!(WRITES_FOR + CALL_WITHIN <= DURATION);
        assert!(INTERVAL + CALL_WITHIN < WRITES_FOR);
    }

    #[test]
    fn two_replicas_of_one_machine_have_two_names() {
        assert_ne!(own_name(), own_name());
    }

    #[tokio::test(start_paused = true)]
    async fn leadership_runs_out_by_itself() {
        let (sender, receiver) = watch::channel(None);
        let mut leadership = Leadership(receiver);
        assert!(!leadership.is_held());
        sender.send_replace(Some(Instant::now() + WRITES_FOR));
        leadership.held().await;
        tokio::time::advance(WRITES_FOR).await;
        assert!(!leadership.is_held());
    }
}
