//! What the log tells: one event an entry.

use std::{net::SocketAddr, time::SystemTime};

use prost::Message;
use secplane_proto::secplane::ca::v1::{AuditOutcome, AuditRecord};

use crate::access::Caller;

/// The longest actor and the longest target, in bytes: that of a SPIFFE ID.
const MAX_NAME_BYTES: usize = 2048;
/// The most details of one event; further ones are left out.
const MAX_DETAILS: usize = 16;
const MAX_DETAIL_KEY_BYTES: usize = 64;
const MAX_DETAIL_BYTES: usize = 1024;
/// Stands where a text was cut.
const CUT: &str = "…";

/// The longest leaf that an event is encoded to, in bytes.
pub const MAX_LEAF_BYTES: usize = 24 * 1024;

/// What somebody did, or was kept from doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What.
    pub action: Action,
    /// Who, in the form in which callers stand in records; `ca-daemon` for the daemon itself.
    pub actor: String,
    /// Where from, over the network; `None` for the daemon itself and for sockets of this machine.
    pub address: Option<SocketAddr>,
    /// To what: a serial number, an entry's ID, a SPIFFE ID, a key's ID.
    pub target: String,
    /// With which result.
    pub outcome: Outcome,
    /// What else belongs to it. Never a secret.
    pub details: Vec<(&'static str, String)>,
}

/// With which result something was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was done.
    Done,
    /// They may not.
    Denied,
    /// It did not work.
    Failed,
}

impl Event {
    /// Somebody did this to `target`. The result is [`Outcome::Done`] until [`Event::denied`] or [`Event::failed`]
    /// says otherwise.
    #[must_use]
    pub fn by(caller: &Caller, action: Action, target: impl Into<String>) -> Self {
        Self { actor: caller.to_string(), address: caller.address(), ..Self::by_daemon(action, target) }
    }

    /// The daemon did this to `target` by itself.
    #[must_use]
    pub fn by_daemon(action: Action, target: impl Into<String>) -> Self {
        Self {
            action,
            actor: "ca-daemon".to_owned(),
            address: None,
            target: target.into(),
            outcome: Outcome::Done,
            details: Vec::new(),
        }
    }

    /// They may not, and why.
    #[must_use]
    pub fn denied(self, reason: impl Into<String>) -> Self {
        Self { outcome: Outcome::Denied, ..self.with("reason", reason) }
    }

    /// It did not work, and why.
    #[must_use]
    pub fn failed(self, reason: impl Into<String>) -> Self {
        Self { outcome: Outcome::Failed, ..self.with("reason", reason) }
    }

    /// It is about a row of the database that this authority did not write, and refuses.
    #[must_use]
    pub fn of_refused_row(self) -> Self {
        self.with("refused", "the row was not of this authority")
    }

    /// Adds what else belongs to it. Never a secret.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.details.push((key, value.into()));
        self
    }

    /// The texts that say whom or what it is about: others may have chosen the words.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.target.as_str()).chain(self.details.iter().map(|(_, value)| value.as_str()))
    }

    /// As [`Event::texts`], to be changed.
    pub(crate) fn texts_mut(&mut self) -> impl Iterator<Item = &mut String> {
        std::iter::once(&mut self.target).chain(self.details.iter_mut().map(|(_, value)| value))
    }

    /// Drops what is far beyond what the log keeps. What is at the edge is kept, so that it can be told what it is.
    pub(crate) fn drop_excess(&mut self) {
        const EDGE: usize = 256;
        let keep = |text: &mut String, most: usize| text.truncate(text.floor_char_boundary(most + EDGE));
        keep(&mut self.target, MAX_NAME_BYTES);
        self.details.truncate(MAX_DETAILS);
        self.details.iter_mut().for_each(|(_, value)| keep(value, MAX_DETAIL_BYTES));
    }

    /// Cuts what is too long as the log does, for whoever keeps events that others can make long.
    #[must_use]
    pub fn cut(mut self) -> Self {
        shorten(&mut self.actor, MAX_NAME_BYTES);
        shorten(&mut self.target, MAX_NAME_BYTES);
        self.details.truncate(MAX_DETAILS);
        self.details.iter_mut().for_each(|(_, value)| shorten(value, MAX_DETAIL_BYTES));
        self
    }

    /// The leaf: an encoded `AuditRecord`, of at most [`MAX_LEAF_BYTES`]. What is too long is cut, and says so.
    #[must_use]
    pub fn encode(&self, at: SystemTime) -> Vec<u8> {
        let millis = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let details = self.details.iter().take(MAX_DETAILS);
        AuditRecord {
            time: i64::try_from(millis).unwrap_or(i64::MAX),
            action: self.action.as_str().to_owned(),
            actor: cut(&self.actor, MAX_NAME_BYTES),
            address: self.address.map(|address| address.to_string()).unwrap_or_default(),
            target: cut(&self.target, MAX_NAME_BYTES),
            outcome: self.outcome.to_wire().into(),
            details: details
                .map(|(key, value)| (cut(key, MAX_DETAIL_KEY_BYTES), cut(value, MAX_DETAIL_BYTES)))
                .collect(),
        }
        .encode_to_vec()
    }
}

impl Outcome {
    fn to_wire(self) -> AuditOutcome {
        match self {
            Self::Done => AuditOutcome::Done,
            Self::Denied => AuditOutcome::Denied,
            Self::Failed => AuditOutcome::Failed,
        }
    }
}

fn shorten(text: &mut String, most: usize) {
    if text.len() > most {
        *text = cut(text, most);
    }
}

fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    format!("{}{CUT}", &text[..text.floor_char_boundary(most - CUT.len())])
}

macro_rules! actions {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// What the log knows to tell. Each has one dotted name, which never changes its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Action {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Action {
            /// Every action.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Its name in the log.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

actions! {
    /// A connection was opened and its peer verified, or refused.
    ConnectionAuthenticate = "connection.authenticate",
    /// A call was denied. Repeats are counted instead of being recorded one by one.
    CallDeny = "call.deny",
    /// A certificate was issued.
    CertificateIssue = "certificate.issue",
    /// A certificate was issued to the holder of the one before.
    CertificateRenew = "certificate.renew",
    /// Roots or JWT keys of others came into the trust bundle.
    AuthorityPublish = "authority.publish",
    /// The trust was taken from a certificate, a SPIFFE ID or a key.
    CertificateRevoke = "certificate.revoke",
    /// A JWT-SVID was issued.
    JwtIssue = "jwt.issue",
    /// A registration entry was created.
    EntryCreate = "entry.create",
    /// A registration entry was changed.
    EntryUpdate = "entry.update",
    /// A registration entry was deleted.
    EntryDelete = "entry.delete",
    /// An agent proved what node it runs on.
    AgentAttest = "agent.attest",
    /// An agent got its next SVID.
    AgentRenew = "agent.renew",
    /// An agent was banned.
    AgentBan = "agent.ban",
    /// An agent was forgotten, and may attest again.
    AgentEvict = "agent.evict",
    /// A join token was made.
    TokenCreate = "token.create",
    /// An outside CA was to certify our CA: the key of that was made, if it did not wait already, and the request for it
    /// was handed out.
    AuthorityRequest = "authority.request",
    /// The next root or JWT key was made.
    AuthorityPrepare = "authority.prepare",
    /// A root, an issuing CA or a JWT key began to sign.
    AuthorityActivate = "authority.activate",
    /// Holders of what an authority signed were told to renew.
    AuthorityTaint = "authority.taint",
    /// An authority left the trust bundle.
    AuthorityRevoke = "authority.revoke",
    /// An authority was forgotten that had expired, or whose key is not here. What it signed is trusted no more.
    AuthorityExpire = "authority.expire",
    /// An authority was replaced because of its age, or by command in one step.
    AuthorityRotate = "authority.rotate",
    /// A CA below an outside root has a new certificate or chain for the key that it had.
    AuthorityRenew = "authority.renew",
    /// A trust domain was federated with.
    FederationCreate = "federation.create",
    /// A federation or a federated bundle was changed.
    FederationUpdate = "federation.update",
    /// A federation ended.
    FederationDelete = "federation.delete",
    /// The configuration was read again, or changed while running.
    ConfigurationReload = "configuration.reload",
    /// The daemon began to serve.
    DaemonStart = "daemon.start",
    /// The daemon stopped when it was asked to.
    DaemonStop = "daemon.stop",
    /// The sealed keys were sealed anew under another wrapping key.
    KeysRekey = "keys.rekey",
    /// A backup was written.
    BackupWrite = "backup.write",
    /// The authority began again from a backup.
    BackupRestore = "backup.restore",
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, time::Duration};

    use super::*;

    fn decoded(event: &Event) -> AuditRecord {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_280_000_123);
        AuditRecord::decode(event.encode(at).as_slice()).unwrap()
    }

    #[test]
    fn says_everything() {
        let event = Event {
            address: Some("192.0.2.7:4711".parse().unwrap()),
            actor: "spiffe://example.org/ns/a/sa/b".to_owned(),
            ..Event::by_daemon(Action::EntryDelete, "e1").denied("not an admin").with("count", "3")
        };
        let details = [("reason", "not an admin"), ("count", "3")];
        assert_eq!(
            decoded(&event),
            AuditRecord {
                time: 1_795_280_000_123,
                action: "entry.delete".to_owned(),
                actor: "spiffe://example.org/ns/a/sa/b".to_owned(),
                address: "192.0.2.7:4711".to_owned(),
                target: "e1".to_owned(),
                outcome: AuditOutcome::Denied.into(),
                details: details.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            }
        );
    }

    #[test]
    fn bounds_a_leaf() {
        let long = "ü".repeat(100_000);
        let mut event = Event { actor: long.clone(), ..Event::by_daemon(Action::EntryCreate, long.clone()) };
        const KEYS: [&str; 20] = [
            "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s",
            "t",
        ];
        event.details = KEYS.map(|key| (key, long.clone())).into();
        assert!(event.encode(SystemTime::now()).len() <= MAX_LEAF_BYTES);
        let record = decoded(&event);
        assert_eq!(record.details.len(), MAX_DETAILS);
        assert!(record.target.len() <= MAX_NAME_BYTES && record.target.ends_with("ü…"));
        assert!(record.details["a"].len() <= MAX_DETAIL_BYTES);
    }

    #[test]
    fn keeps_no_more_than_it_records() {
        let long = "ü".repeat(100_000);
        let event = Event { actor: long.clone(), ..Event::by_daemon(Action::EntryCreate, long.clone()) };
        let event = event.failed(long);
        let kept = event.clone().cut();
        assert!(kept.actor.len() <= MAX_NAME_BYTES && kept.target.len() <= MAX_NAME_BYTES);
        assert!(kept.details[0].1.len() <= MAX_DETAIL_BYTES);
        assert_eq!(kept.encode(SystemTime::UNIX_EPOCH), event.encode(SystemTime::UNIX_EPOCH));
    }

    /// A leaf is hashed as it is stored, but whoever compares two logs is glad of it.
    #[test]
    fn encodes_one_event_in_one_way() {
        let encoded = || {
            let keys = ["a", "b", "c", "d", "e", "f", "g"];
            let event = Event::by_daemon(Action::DaemonStart, "");
            keys.iter().fold(event, |event, key| event.with(key, "x")).encode(SystemTime::UNIX_EPOCH)
        };
        assert_eq!(encoded(), encoded());
    }

    #[test]
    fn names_each_action_once() {
        let names: HashSet<_> = Action::ALL.iter().map(|action| action.as_str()).collect();
        assert_eq!(names.len(), Action::ALL.len());
        assert!(names.iter().all(|name| name.split_once('.').is_some()));
    }
}
