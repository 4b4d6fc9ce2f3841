//! What other replicas changed in the database that all of them share.

use serde::{Deserialize, Serialize};

/// Something that another replica changed. Whoever keeps it in memory reads it again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Notice {
    /// These entries were created, changed or deleted.
    Entries(Vec<String>),
    /// Certificates or keys were revoked, or a revocation list was renewed.
    Revocations,
    /// An authority changed, and with it perhaps the trust bundle.
    Authorities,
    /// These agents changed, by SPIFFE ID.
    Agents(Vec<String>),
    /// A federated trust domain or its bundle changed.
    Federation,
    /// Notices may have been lost: anything may have changed.
    Everything,
}

/// The channel of PostgreSQL that notices travel on.
pub(super) const CHANNEL: &str = "secplane";
/// PostgreSQL takes payloads of less than 8000 bytes.
const LARGEST_PAYLOAD: usize = 7900;

/// A notice on its way, with the replica that it is from.
#[derive(Serialize, Deserialize)]
struct Letter<'a> {
    from: std::borrow::Cow<'a, str>,
    notice: Notice,
}

/// The payloads for what one commit changed: as few as fit.
pub(super) fn payloads(replica: &str, notices: impl IntoIterator<Item = Notice>) -> Vec<String> {
    merged(notices)
        .into_iter()
        .map(|notice| {
            let payload = to_payload(replica, notice);
            if payload.len() <= LARGEST_PAYLOAD { payload } else { to_payload(replica, Notice::Everything) }
        })
        .collect()
}

/// What a payload says, unless this replica sent it itself.
pub(super) fn from_payload(replica: &str, payload: &str) -> Option<Notice> {
    match serde_json::from_str::<Letter<'_>>(payload) {
        Ok(letter) => (letter.from != replica).then_some(letter.notice),
        // A later version may say what this one cannot read.
        Err(_) => Some(Notice::Everything),
    }
}

fn to_payload(replica: &str, notice: Notice) -> String {
    // Strings and lists of them always have a JSON form.
    serde_json::to_string(&Letter { from: replica.into(), notice }).unwrap_or_default()
}

fn merged(notices: impl IntoIterator<Item = Notice>) -> Vec<Notice> {
    let (mut entries, mut agents, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for notice in notices {
        match notice {
            Notice::Entries(ids) => entries.extend(ids),
            Notice::Agents(ids) => agents.extend(ids),
            other => others.push(other),
        }
    }
    others.sort();
    others.dedup();
    others.extend((!entries.is_empty()).then_some(Notice::Entries(entries)));
    others.extend((!agents.is_empty()).then_some(Notice::Agents(agents)));
    others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_others_and_not_oneself() {
        let sent = payloads("a", [Notice::Entries(vec!["x".into()]), Notice::Entries(vec!["y".into()])]);
        assert_eq!(sent.len(), 1);
        assert_eq!(from_payload("b", &sent[0]), Some(Notice::Entries(vec!["x".into(), "y".into()])));
        assert_eq!(from_payload("a", &sent[0]), None);
    }

    #[test]
    fn says_everything_where_too_much_changed() {
        let many = (0..1000).map(|n| Notice::Entries(vec![format!("entry-{n}")]));
        let sent = payloads("a", many);
        assert_eq!(sent.len(), 1);
        assert_eq!(from_payload("b", &sent[0]), Some(Notice::Everything));
    }

    #[test]
    fn takes_what_it_cannot_read_for_everything() {
        assert_eq!(from_payload("a", "{\"from\":\"b\",\"notice\":\"Later\"}"), Some(Notice::Everything));
    }
}
