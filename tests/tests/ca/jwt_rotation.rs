//! The key that signs JWT-SVIDs is replaced while workloads show one another tokens.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use ca_daemon::authority::verify_jwt_svid;
use secplane_identity::TrustBundleSet;
use secplane_proto::spire::api::server::localauthority::v1::{
    ActivateJwtAuthorityRequest, GetJwtAuthorityStateRequest, PrepareJwtAuthorityRequest,
    RevokeJwtAuthorityRequest, TaintJwtAuthorityRequest,
};
use secplane_tests::{
    audit_log::AuditLog, authority::Ca, entries::entry_for_this_process, soon, workload::Workload,
};
use tokio::{sync::watch, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    jwt_svids::keys_of,
    root_rotation::{asking, hasty, when_safe},
};

const AUDIENCE: &str = "peer";
const PAUSE: Duration = Duration::from_millis(100);
/// How long a token is shown. It is a second less than it lives: times in tokens are whole seconds.
const SHOWN: Duration = Duration::from_secs(7);
const PATHS: [&str; 2] = ["/caller", "/callee"];
/// How many tokens a key has to sign, at least, while it is the one that signs.
const TOKENS: usize = 10;

type Keys = watch::Receiver<Arc<TrustBundleSet>>;

/// The keys of now, and what goes on keeping them as the Workload API pushes them.
async fn follow(api: Workload) -> (Keys, impl Future<Output = ()>) {
    let mut updates = api.jwt_bundles().await.unwrap();
    let (sender, keys) = watch::channel(Arc::new(keys_of(&updates.next().await)));
    let following = async move {
        loop {
            let keys = keys_of(&updates.next_whenever().await);
            sender.send_replace(Arc::new(keys));
        }
    };
    (keys, following)
}

fn knows(keys: &TrustBundleSet, key_id: &str) -> bool {
    keys.iter().any(|bundle| bundle.jwt_authority(key_id).is_some())
}

struct Token {
    text: String,
    until: SystemTime,
    was_good: bool,
}

/// What came of all the tokens that were shown.
#[derive(Default)]
struct Shown {
    /// How many were good at least once.
    good: usize,
    /// Why one was not, or there was none.
    failures: Vec<String>,
}

impl Shown {
    fn assert_no_failure(&self) {
        assert!(self.failures.is_empty(), "{} failed: {:#?}", self.failures.len(), &self.failures[..1]);
    }
}

/// Fetches tokens, and shows each of them again and again to somebody who follows the keys.
async fn talk(api: Workload, id: String, keys: Keys, shown: watch::Sender<Shown>, stop: CancellationToken) {
    let mut tokens: Vec<Token> = Vec::new();
    while !stop.is_cancelled() {
        let until = SystemTime::now() + SHOWN;
        let (mut good, mut failures) = (0, Vec::new());
        match api.jwt_svids(&[AUDIENCE], &id).await {
            Ok(svids) => {
                tokens.extend(svids.into_iter().map(|svid| Token {
                    text: svid.svid,
                    until,
                    was_good: false,
                }));
            }
            Err(refusal) => failures.push(format!("no token: {refusal}")),
        }
        // In this order: a token that is shown now was not to be given up when the keys were read, however long the
        // machine pauses in between.
        let known = Arc::clone(&keys.borrow());
        let now = SystemTime::now();
        tokens.retain(|token| now < token.until);
        for token in &mut tokens {
            match verify_jwt_svid(&token.text, &known, AUDIENCE, now) {
                Ok(_) => good += usize::from(!std::mem::replace(&mut token.was_good, true)),
                Err(error) => failures.push(error.to_string()),
            }
        }
        shown.send_modify(|shown| {
            shown.good += good;
            shown.failures.extend(failures);
        });
        sleep(PAUSE).await;
    }
}

/// Waits until the key that signs from now on has signed enough tokens that were good.
async fn enough_are_good(shown: &mut watch::Receiver<Shown>) {
    // Each talker may just hold one that was signed before.
    let enough = shown.borrow_and_update().good + TOKENS + PATHS.len();
    let shown = shown.wait_for(|shown| !shown.failures.is_empty() || shown.good >= enough);
    soon("tokens are fetched, shown, and good", shown).await.unwrap().assert_no_failure();
}

/// A token is good until it expires for everybody who follows the keys, whichever of them signed it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goes_on_under_traffic_without_a_failure() {
    const ROTATIONS: usize = 2;
    let ca = Ca::start_with(hasty).await;
    let admin = ca.admin();
    for path in PATHS {
        admin.create_entry(entry_for_this_process(path)).await;
    }
    let (keys, following) = follow(ca.workload()).await;
    let stop = CancellationToken::new();
    let mut followers = JoinSet::new();
    followers.spawn(stop.clone().run_until_cancelled_owned(following));
    let (reports, mut shown) = watch::channel(Shown::default());
    let mut talkers = JoinSet::new();
    for path in PATHS {
        let id = format!("spiffe://example.org{path}");
        talkers.spawn(talk(ca.workload(), id, keys.clone(), reports.clone(), stop.clone()));
    }

    let mut steps = admin.local_authority();
    let states = steps.get_jwt_authority_state(GetJwtAuthorityStateRequest {}).await.unwrap().into_inner();
    let mut signers = vec![states.active.unwrap().authority_id];
    enough_are_good(&mut shown).await;
    for _ in 0..ROTATIONS {
        let old = signers.last().unwrap().clone();
        let prepared = steps.prepare_jwt_authority(PrepareJwtAuthorityRequest {}).await.unwrap().into_inner();
        let next = prepared.prepared_authority.unwrap().authority_id;
        let mut followed = keys.clone();
        let published = followed.wait_for(|keys| knows(keys, &next));
        drop(soon("whoever follows knows the prepared key", published).await.unwrap());
        let activate = async || {
            let request = asking(ActivateJwtAuthorityRequest { authority_id: next.clone() }, false);
            admin.local_authority().activate_jwt_authority(request).await.map(drop)
        };
        when_safe("activate", activate).await;
        enough_are_good(&mut shown).await;
        let request = TaintJwtAuthorityRequest { authority_id: old.clone() };
        steps.taint_jwt_authority(request).await.unwrap();
        let revoke = async || {
            let request = asking(RevokeJwtAuthorityRequest { authority_id: old.clone() }, false);
            admin.local_authority().revoke_jwt_authority(request).await.map(drop)
        };
        when_safe("revoke", revoke).await;
        let forgotten = followed.wait_for(|keys| !knows(keys, &old));
        drop(soon("whoever follows forgets the old key", forgotten).await.unwrap());
        enough_are_good(&mut shown).await;
        signers.push(next);
    }
    stop.cancel();
    while let Some(ended) = talkers.join_next().await {
        ended.unwrap();
    }
    while let Some(ended) = followers.join_next().await {
        ended.unwrap();
    }
    shown.borrow().assert_no_failure();

    let mut signed = BTreeMap::<String, usize>::new();
    for record in AuditLog::read(&admin).await.of("jwt.issue") {
        *signed.entry(record.details["key"].clone()).or_default() += 1;
    }
    for key in &signers {
        assert!(signed.get(key).is_some_and(|count| *count >= TOKENS), "{key} of {signers:?}: {signed:?}");
    }
}
