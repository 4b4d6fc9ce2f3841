//! Events (`events.k8s.io`) on a resource: that it is refused, and that it is in order again.
//!
//! An Event's name is made from what it says, so that the same one of another replica, or after a restart, is no second
//! one: it counts up the first.

use aws_lc_rs::digest::{SHA256, digest};
use k8s_openapi::{
    api::{
        core::v1::ObjectReference,
        events::v1::{Event, EventSeries},
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::{
    MANAGER,
    inventory::{Entry, StoredKey},
    status::{ACCEPTED, AuthorizationPolicyStatus, Condition, PUBLISHED},
};
use crate::{
    policy::{KIND, VERSION},
    shorten::cut,
};

/// The API server refuses a longer note.
pub(super) const MAX_NOTE_BYTES: usize = 1024;
const TRUE: &str = "True";
const FALSE: &str = "False";

/// What an Event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) kind: &'static str,
    pub(super) reason: &'static str,
    pub(super) note: String,
}

/// What changed from one status to the next, as far as an author wants to be told.
pub(super) fn notice(
    before: &AuthorizationPolicyStatus,
    after: &AuthorizationPolicyStatus,
) -> Option<Notice> {
    let is = |condition: Option<&Condition>, status: &str| condition.is_some_and(|c| c.status == status);
    let (old, new) = (before.condition(ACCEPTED), after.condition(ACCEPTED)?);
    let (was, published) = (before.condition(PUBLISHED), after.condition(PUBLISHED));
    let in_force = published.map(|condition| condition.message.as_str()).unwrap_or_default();
    // Out of force it may stay while that turns which keeps it there: an administrator who chooses, a neighbour.
    let stays_out = |was: &Condition| {
        was.status == FALSE && published.is_some_and(|published| published.reason == was.reason)
    };
    let (kind, reason, mut note) =
        if new.status == FALSE && !old.is_some_and(|old| old.status == FALSE && old.message == new.message) {
            let note = match in_force == new.message {
                true => in_force.to_owned(),
                false => format!("{}\n{in_force}", new.message),
            };
            ("Warning", "Refused", note)
        } else if new.status == TRUE && is(old, FALSE) {
            ("Normal", "Recovered", in_force.to_owned())
        } else if is(published, FALSE) && !was.is_some_and(stays_out) {
            ("Warning", "NotPublished", in_force.to_owned())
        } else if is(was, FALSE) && is(published, TRUE) {
            ("Normal", "Recovered", in_force.to_owned())
        } else {
            return None;
        };
    cut(&mut note, MAX_NOTE_BYTES);
    Some(Notice { kind, reason, note })
}

/// Records a notice on an object.
pub(super) async fn record(
    client: &Client,
    at: &StoredKey,
    entry: &Entry,
    notice: &Notice,
    replica: &str,
) -> Result<(), kube::Error> {
    let events: Api<Event> = Api::namespaced(client.clone(), &at.key.namespace);
    let event = event(at, entry, notice, replica);
    match events.create(&PostParams::default(), &event).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            let name = event.metadata.name.unwrap_or_default();
            let count = events.get(&name).await?.series.map_or(1, |series| series.count);
            let last_observed_time = MicroTime(Timestamp::now());
            let series = EventSeries { count: count.saturating_add(1), last_observed_time };
            let patch = Patch::Merge(json!({ "series": series }));
            events.patch(&name, &PatchParams::default(), &patch).await.map(drop)
        }
        done => done.map(drop),
    }
}

fn event(at: &StoredKey, entry: &Entry, notice: &Notice, replica: &str) -> Event {
    let Entry { group, uid, generation, .. } = entry;
    let said = format!("{group} {uid} {generation} {} {}", notice.reason, notice.note);
    let hash = hex::encode(digest(&SHA256, said.as_bytes()));
    // A name has at most 253 characters, and that of the resource may have as many.
    let mut name = at.key.name.clone();
    name.truncate(200);
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{}", name.trim_end_matches(['.', '-']), &hash[..16])),
            namespace: Some(at.key.namespace.clone()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(Timestamp::now())),
        type_: Some(notice.kind.to_owned()),
        reason: Some(notice.reason.to_owned()),
        action: Some("Check".to_owned()),
        note: Some(notice.note.clone()),
        regarding: Some(ObjectReference {
            api_version: Some(format!("{group}/{VERSION}")),
            kind: Some(KIND.to_owned()),
            name: Some(at.key.name.clone()),
            namespace: Some(at.key.namespace.clone()),
            uid: Some(uid.clone()),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(format!("secplane.dev/{MANAGER}")),
        reporting_instance: Some(replica.to_owned()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// `Accepted` with its message, and `Published` with its reason where that is another than the usual one.
    fn status(accepted: Option<(&str, &str)>, published: &str) -> AuthorizationPolicyStatus {
        let (published, why) = published.split_once(' ').unwrap_or((published, "x"));
        let condition = |kind: &str, status: &str, reason: &str, message: &str| Condition {
            kind: kind.to_owned(),
            status: status.to_owned(),
            observed_generation: Some(1),
            last_transition_time: String::new(),
            reason: reason.to_owned(),
            message: message.to_owned(),
        };
        let accepted = accepted.map(|(status, message)| {
            vec![condition(ACCEPTED, status, "x", message), condition(PUBLISHED, published, why, "published")]
        });
        AuthorizationPolicyStatus { conditions: accepted.unwrap_or_default(), ..Default::default() }
    }

    #[rstest]
    #[case::new_and_good(None, "True", ("True", ""), "True", None)]
    #[case::new_and_bad(None, "True", ("False", "a"), "False", Some("Refused"))]
    #[case::new_and_kept_out_by_another(None, "True", ("True", ""), "False", Some("NotPublished"))]
    #[case::goes_bad(Some(("True", "")), "True", ("False", "a"), "False", Some("Refused"))]
    #[case::stays_bad(Some(("False", "a")), "False", ("False", "a"), "False", None)]
    #[case::bad_for_another_reason(Some(("False", "a")), "False", ("False", "b"), "False", Some("Refused"))]
    #[case::bad_and_rolled_back(
        Some(("False", "a")), "False LastGoodVersion", ("False", "a"), "False RolledBack", Some("NotPublished")
    )]
    #[case::is_corrected(Some(("False", "a")), "False", ("True", ""), "True", Some("Recovered"))]
    #[case::suffers_from_another(Some(("True", "")), "True", ("True", ""), "False", Some("NotPublished"))]
    #[case::suffers_still(Some(("True", "")), "False", ("True", ""), "False", None)]
    #[case::is_left_out_besides(
        Some(("True", "")), "False RolledBack", ("True", ""), "False LeftOut", Some("NotPublished")
    )]
    #[case::suffers_no_more(Some(("True", "")), "False", ("True", ""), "True", Some("Recovered"))]
    #[case::stays_good(Some(("True", "")), "True", ("True", ""), "True", None)]
    fn tells_what_an_author_wants_to_know(
        #[case] old: Option<(&str, &str)>,
        #[case] old_published: &str,
        #[case] new: (&str, &str),
        #[case] new_published: &str,
        #[case] reason: Option<&str>,
    ) {
        let told = notice(&status(old, old_published), &status(Some(new), new_published));
        assert_eq!(told.map(|notice| notice.reason), reason);
    }

    #[test]
    fn says_once_what_both_conditions_say() {
        let passed_over = status(Some(("False", "published")), "False");
        let told = notice(&AuthorizationPolicyStatus::default(), &passed_over).unwrap();
        assert_eq!(told.note, "published");
        let refused = status(Some(("False", "a")), "False");
        assert_eq!(notice(&passed_over, &refused).unwrap().note, "a\npublished");
    }

    #[test]
    fn one_notice_has_one_name_on_every_replica() {
        let at = StoredKey { key: crate::policy::ResourceKey::new("team-a", &"a".repeat(253)), group: 0 };
        let entry = Entry {
            group: "agent.kagenti.dev".to_owned(),
            uid: "u".to_owned(),
            generation: 1,
            status: [0; 32],
            passed_over: None,
        };
        let mut notice = Notice { kind: "Warning", reason: "Refused", note: "x".to_owned() };
        let name = |notice: &Notice, replica| event(&at, &entry, notice, replica).metadata.name.unwrap();
        let first = name(&notice, "one");
        assert!(first.len() <= 253, "{first}");
        assert_eq!(name(&notice, "two"), first);
        notice.note.push('y');
        assert_ne!(name(&notice, "one"), first);
    }
}
