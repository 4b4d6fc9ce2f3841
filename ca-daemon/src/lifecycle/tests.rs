//! The life of authorities in a real database, by a clock that the test moves.

use std::collections::BTreeSet;

use prost::Message;
use rstest::rstest;
use secplane_identity::PrivateKey;
use secplane_proto::secplane::ca::v1::AuditRecord;

use super::{
    testing::{DAY, HOUR, World},
    *,
};
use crate::{
    authority::{CertificateRequest, SignedCertificate, Subject},
    issuance::{Order, Requester},
    store::{AuthorityRow, Change, Revocation, RevocationTarget, testing::REPLICA},
};

const MINUTE: Duration = Duration::from_secs(60);

fn command(line: Line, step: Step, force: bool) -> Command {
    Command { line, step, force, by: Requester::local("test") }
}

impl Lifecycle {
    async fn step(self: &Arc<Self>, line: Line, step: Step) -> Result<AuthorityRow, LifecycleError> {
        self.take(command(line, step, false)).await
    }

    async fn forced(self: &Arc<Self>, line: Line, step: Step) -> Result<AuthorityRow, LifecycleError> {
        self.take(command(line, step, true)).await
    }

    fn active_id(&self, line: Line) -> String {
        self.standing().active(line).unwrap().key_id.clone()
    }
}

fn roots(issuance: &Issuance) -> BTreeSet<String> {
    let bundle = issuance.bundle().borrow().clone();
    bundle.authorities().map(|root| root.subject_key_id.clone().unwrap()).collect()
}

fn jwt_keys(issuance: &Issuance) -> BTreeSet<String> {
    issuance.bundle().borrow().jwt_authorities().iter().map(|key| key.key_id.clone()).collect()
}

fn these<const N: usize>(ids: [&str; N]) -> BTreeSet<String> {
    ids.map(str::to_owned).into()
}

async fn issue(issuance: &Issuance) -> SignedCertificate {
    let key = PrivateKey::generate().unwrap();
    let order = Order {
        request: CertificateRequest::parse(&key.bare_request().unwrap()).unwrap(),
        subject: Subject::Client { common_name: "a".into(), dns_names: vec![], ip_addresses: vec![] },
        lifetime: None,
        requester: Requester::local("test"),
        entry_id: None,
        renews: None,
    };
    issuance.issue(order).await.unwrap()
}

async fn revoke(issuance: &Issuance, serial: &str) {
    let target = RevocationTarget::Lineage(serial.to_owned());
    let at = crate::instant::unix(issuance.clock().now());
    let revocation = Revocation { target, at, reason: "gone".to_owned() };
    issuance.store().write(Change::Revoke(revocation)).await.unwrap();
}

/// The root that a certificate leads to.
fn root_of(lifecycle: &Lifecycle, certificate: &SignedCertificate) -> String {
    lifecycle.standing().row(&certificate.issuer_key_id).unwrap().issuer_key_id.clone()
}

#[tokio::test]
async fn rotates_the_root_step_by_step() {
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    let first = lifecycle.active_id(Line::Root);
    let before = issue(&issuance).await;
    let sequence = issuance.bundle().borrow().sequence();

    let next = lifecycle.step(Line::Root, Step::Prepare).await.unwrap().key_id;
    assert_eq!(roots(&issuance), these([&first, &next]));
    assert_eq!(issuance.bundle().borrow().sequence(), sequence + 1);
    assert_eq!(root_of(&lifecycle, &issue(&issuance).await), first, "it does not sign yet");
    let again = lifecycle.step(Line::Root, Step::Prepare).await.unwrap();
    assert_eq!(again.key_id, next, "one is enough");

    let early = lifecycle.step(Line::Root, Step::Activate(next.clone())).await.unwrap_err();
    assert_eq!(early.wait_until(), Some(world.now() + MINUTE * 5));
    world.advance(MINUTE * 5);
    lifecycle.step(Line::Root, Step::Activate(next.clone())).await.unwrap();
    let after = issue(&issuance).await;
    assert_eq!(root_of(&lifecycle, &after), next, "at once");
    assert_eq!(lifecycle.domain_ca().key_id(), next);
    assert_eq!(issuance.bundle().borrow().sequence(), sequence + 1, "trust did not change");
    assert!(!issuance.is_withdrawn(&before.issuer_key_id));

    let row = lifecycle.step(Line::Root, Step::Taint(first.clone())).await.unwrap();
    assert!(row.tainted);
    assert!(issuance.is_withdrawn(&before.issuer_key_id) && !issuance.is_withdrawn(&after.issuer_key_id));
    assert_eq!(roots(&issuance).len(), 2, "it is still trusted");
    let tainted: Vec<_> =
        issuance.bundle().borrow().tainted_roots().map(|root| root.subject_key_id.clone()).collect();
    assert_eq!(tainted, [Some(first.clone())]);

    let in_use = lifecycle.step(Line::Root, Step::Revoke(first.clone())).await.unwrap_err();
    assert!(matches!(in_use, LifecycleError::StillValid { count: 2, .. }), "{in_use}");
    assert_eq!(in_use.wait_until(), Some(before.not_after()));
    world.advance(HOUR);
    let row = lifecycle.step(Line::Root, Step::Revoke(first.clone())).await.unwrap();
    assert_eq!(row.state, AuthorityState::Revoked);
    assert_eq!(roots(&issuance), these([&next]));
    assert_eq!(issuance.bundle().borrow().sequence(), sequence + 3);
    assert!(!world.key_file(&first).exists(), "its key is destroyed");
}

#[tokio::test]
async fn does_not_count_what_was_revoked() {
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    let first = lifecycle.active_id(Line::Root);
    let held = issue(&issuance).await;
    let next = lifecycle.step(Line::Root, Step::Prepare).await.unwrap().key_id;
    lifecycle.forced(Line::Root, Step::Activate(next)).await.unwrap();
    issue(&issuance).await;
    lifecycle.step(Line::Root, Step::Taint(first.clone())).await.unwrap();
    assert!(lifecycle.step(Line::Root, Step::Revoke(first.clone())).await.is_err());
    revoke(&issuance, &held.serial).await;
    lifecycle.step(Line::Root, Step::Revoke(first)).await.unwrap();
}

#[tokio::test]
async fn revokes_by_force_what_is_in_use() {
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    let first = lifecycle.active_id(Line::Root);
    issue(&issuance).await;
    let next = lifecycle.step(Line::Root, Step::Prepare).await.unwrap().key_id;
    lifecycle.forced(Line::Root, Step::Activate(next.clone())).await.unwrap();
    let untainted = lifecycle.step(Line::Root, Step::Revoke(first.clone())).await.unwrap_err();
    assert!(untainted.to_string().contains("it is not possible to revoke an untainted root CA"));
    lifecycle.forced(Line::Root, Step::Revoke(first.clone())).await.unwrap();
    assert_eq!(roots(&issuance), these([&next]));
}

#[tokio::test]
async fn puts_a_prepared_one_aside_by_force() {
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    let first = lifecycle.active_id(Line::Root);
    let aside = lifecycle.step(Line::Root, Step::Prepare).await.unwrap().key_id;
    let next = lifecycle.forced(Line::Root, Step::Prepare).await.unwrap().key_id;
    assert_eq!(roots(&issuance), these([&first, &next]));
    assert!(!world.key_file(&aside).exists());
}

#[tokio::test]
async fn rotates_the_jwt_key_step_by_step() {
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    let first = lifecycle.active_id(Line::Jwt);
    assert_eq!(jwt_keys(&issuance), these([&first]));
    let next = lifecycle.step(Line::Jwt, Step::Prepare).await.unwrap().key_id;
    assert_eq!(jwt_keys(&issuance), these([&first, &next]));
    assert_eq!(lifecycle.jwt_svids.key().unwrap().key_id(), first);
    world.advance(MINUTE * 5);
    let activated = world.now();
    lifecycle.step(Line::Jwt, Step::Activate(next.clone())).await.unwrap();
    assert_eq!(lifecycle.jwt_svids.key().unwrap().key_id(), next);
    world.advance(MINUTE);
    lifecycle.step(Line::Jwt, Step::Taint(first.clone())).await.unwrap();
    let refused = lifecycle.step(Line::Jwt, Step::Revoke(first.clone())).await.unwrap_err();
    assert_eq!(refused.wait_until(), Some(activated + HOUR), "tokens that it signed last");
    world.advance(HOUR);
    lifecycle.step(Line::Jwt, Step::Revoke(first)).await.unwrap();
    assert_eq!(jwt_keys(&issuance), these([&next]));
}

#[tokio::test]
async fn takes_the_steps_that_age_brings() {
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    let first = [Line::Root, Line::Jwt].map(|line| lifecycle.active_id(line));
    lifecycle.keep_up().await.unwrap();
    assert_eq!([roots(&issuance).len(), jwt_keys(&issuance).len()], [1, 1], "nothing is due");

    world.advance(DAY * 16);
    lifecycle.keep_up().await.unwrap();
    assert_eq!([roots(&issuance).len(), jwt_keys(&issuance).len()], [1, 2]);
    world.advance(DAY * 10);
    lifecycle.keep_up().await.unwrap();
    assert_ne!(lifecycle.active_id(Line::Jwt), first[1]);
    assert_eq!(lifecycle.active_id(Line::Root), first[0]);
    world.advance(DAY * 4 + HOUR);
    lifecycle.keep_up().await.unwrap();
    assert_eq!(jwt_keys(&issuance).len(), 1, "the first one has expired");
    assert!(lifecycle.standing().row(&first[1]).is_none());
    assert!(!world.key_file(&first[1]).exists());

    // Asleep for years, past the end of everything.
    world.advance(DAY * 365 * 3);
    lifecycle.keep_up().await.unwrap();
    lifecycle.keep_up().await.unwrap();
    assert_ne!(lifecycle.active_id(Line::Root), first[0]);
    assert_eq!(roots(&issuance), these([&lifecycle.active_id(Line::Root)]));
    issue(&issuance).await;
}

#[rstest]
#[tokio::test]
async fn begins_with_another_root_when_the_root_expired_meanwhile(#[values(false, true)] is_prepared: bool) {
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    let first = lifecycle.active_id(Line::Root);
    world.advance(DAY * 300);
    if is_prepared {
        lifecycle.step(Line::Root, Step::Prepare).await.unwrap();
    }
    issuance.store().clone().close().await;
    world.advance(DAY * 100);
    let (issuance, lifecycle) = world.start().await;
    let next = lifecycle.active_id(Line::Root);
    assert_ne!(next, first);
    assert_eq!(roots(&issuance), these([&next]));
    assert_eq!(root_of(&lifecycle, &issue(&issuance).await), next);
}

#[rstest]
#[tokio::test]
async fn goes_on_after_a_restart_in_any_state(#[values(0, 1, 2, 3)] steps: usize) {
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    let first = lifecycle.active_id(Line::Root);
    let before = issue(&issuance).await;
    let next = lifecycle.step(Line::Root, Step::Prepare).await.unwrap().key_id;
    world.advance(MINUTE * 5);
    let rest = [Step::Activate(next.clone()), Step::Taint(first.clone()), Step::Revoke(first.clone())];
    for step in &rest[..steps] {
        lifecycle.forced(Line::Root, step.clone()).await.unwrap();
    }
    let (trusted, issuing) = (roots(&issuance), issuance.issuing().key_id().to_owned());
    lifecycle.close().await;
    issuance.store().clone().close().await;

    let (issuance, lifecycle) = world.start().await;
    assert_eq!(roots(&issuance), trusted);
    assert_eq!(issuance.issuing().key_id(), issuing, "what stands is used again");
    assert_eq!(issuance.is_withdrawn(&before.issuer_key_id), steps >= 2);
    for step in &rest[steps..] {
        lifecycle.forced(Line::Root, step.clone()).await.unwrap();
    }
    assert_eq!(roots(&issuance), these([&next]));
    assert_eq!(root_of(&lifecycle, &issue(&issuance).await), next);
}

/// Killed when a step was on disk, and nothing else of it had happened.
#[tokio::test]
async fn follows_at_the_start_what_it_could_not_follow_before() {
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    let next = lifecycle.step(Line::Root, Step::Prepare).await.unwrap().key_id;
    world.advance(MINUTE * 5);
    let standing = lifecycle.standing();
    let moves = standing.succession(Line::Root).activate(&next, MINUTE, world.now(), false).unwrap();
    for change in lifecycle.vault.moved(&standing, &moves) {
        issuance.store().write(change).await.unwrap();
    }
    assert_ne!(root_of(&lifecycle, &issue(&issuance).await), next);
    issuance.store().clone().close().await;

    let (issuance, lifecycle) = world.start().await;
    assert_eq!(root_of(&lifecycle, &issue(&issuance).await), next);
}

#[tokio::test]
async fn lets_every_replica_follow_and_take_a_step_once() {
    let world = World::new();
    let store = world.store().await;
    let (here, ours) = world.start_replica(&store, REPLICA).await;
    let (there, theirs) = world.start_replica(&store, "00000000000000bb").await;
    let first = ours.active_id(Line::Root);
    assert_eq!(first, theirs.active_id(Line::Root));
    assert_ne!(here.issuing().key_id(), there.issuing().key_id(), "each has its own issuing CA");

    let (one, other) =
        tokio::join!(ours.step(Line::Root, Step::Prepare), theirs.step(Line::Root, Step::Prepare));
    let next = one.unwrap().key_id;
    assert_eq!(other.unwrap().key_id, next, "both prepared the same one");
    assert_eq!(store.authorities(&crate::store::AuthorityFilter::default()).await.unwrap().len(), 5);

    world.advance(MINUTE * 5);
    ours.step(Line::Root, Step::Activate(next.clone())).await.unwrap();
    let refused = ours.step(Line::Root, Step::Taint(first.clone())).await.unwrap_err();
    let LifecycleError::StillSigning(replicas) = refused else { panic!("{refused}") };
    assert_eq!(replicas, ["00000000000000bb"]);
    theirs.keep_up().await.unwrap();
    assert_eq!(root_of(&theirs, &issue(&there).await), next);
    ours.step(Line::Root, Step::Taint(first)).await.unwrap();
}

/// Between reading that a step is due and taking it, another replica took it.
#[tokio::test]
async fn fails_at_no_step_that_another_replica_was_faster_with() {
    let world = World::new();
    let store = world.store().await;
    let (_, ours) = world.start_replica(&store, REPLICA).await;
    let (_, theirs) = world.start_replica(&store, "00000000000000bb").await;
    for passed in [DAY * 183, DAY * 122] {
        world.advance(passed);
        let (due, _) = theirs.next_step(&theirs.standing(), Line::Root).unwrap();
        ours.keep_up().await.unwrap();
        let turn = theirs.turn.lock().await;
        theirs.take_due_step(&turn, Line::Root, due).await.unwrap();
        drop(turn);
        assert_eq!(
            theirs.standing().succession(Line::Root).members(),
            ours.standing().succession(Line::Root).members()
        );
    }
    assert_eq!(ours.standing().succession(Line::Root).members().len(), 2, "one successor, and it signs");
}

#[tokio::test]
async fn trusts_no_row_that_somebody_else_wrote() {
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    let ours = lifecycle.standing().active(Line::Root).unwrap().clone();
    let forged = lifecycle.vault.new_root(AuthorityState::Prepared).await.unwrap();
    for mac in [None, Some(vec![0; 32]), ours.mac.clone()] {
        let row = AuthorityRow { mac, ..forged.clone() };
        issuance.store().write(Change::AddAuthority(row)).await.unwrap();
        lifecycle.keep_up().await.unwrap();
        assert_eq!(roots(&issuance), these([&ours.key_id]));
        issuance.store().write(Change::ForgetAuthority(forged.key_id.clone())).await.unwrap();
    }
    // It does not stand in the way of a step either.
    let row = AuthorityRow { mac: Some(vec![0; 32]), ..forged.clone() };
    issuance.store().write(Change::AddAuthority(row)).await.unwrap();
    let next = lifecycle.step(Line::Root, Step::Prepare).await.unwrap();
    assert_ne!(next.key_id, forged.key_id);
    // An edit of a row of ours takes it out, and makes nothing else of it.
    let edited = AuthorityRow { state: AuthorityState::Active, ..next.clone() };
    let replace = |old: AuthorityRow, new: AuthorityRow| Change::ReplaceAuthority {
        old: Box::new(old),
        new: Box::new(new),
    };
    let demoted = AuthorityRow { state: AuthorityState::Old, ..ours.clone() };
    issuance.store().write(replace(ours.clone(), demoted)).await.unwrap();
    issuance.store().write(replace(next, edited)).await.unwrap();
    assert!(matches!(lifecycle.keep_up().await.unwrap_err(), LifecycleError::NoRoot));
    assert_eq!(roots(&issuance).len(), 2, "the last good state stays");
}

#[tokio::test]
async fn takes_over_rows_of_the_first_schema_once() {
    let world = World::new();
    let store = world.store().await;
    let founded = world.found(&store, "example.org").await.unwrap();
    let root = founded.domain_ca().key_id().to_owned();
    let rows = founded.authorities.authorities.rows().to_vec();
    for row in &rows {
        store.write(Change::ForgetAuthority(row.key_id.clone())).await.unwrap();
        if row.kind != Line::Jwt.kind() {
            let first = AuthorityRow {
                issuer_key_id: String::new(),
                replica: String::new(),
                mac: None,
                ..row.clone()
            };
            store.write(Change::AddAuthority(first)).await.unwrap();
        }
    }
    let (issuance, lifecycle) = world.start_replica(&store, REPLICA).await;
    assert_eq!(lifecycle.active_id(Line::Root), root);
    assert_eq!(jwt_keys(&issuance).len(), 1, "a JWT key is made");
    assert!(lifecycle.standing().refused().is_empty());

    // Once a row is proven, one without a proof is nobody's.
    let standing = lifecycle.standing();
    let row = standing.active(Line::Root).unwrap();
    store.write(Change::ForgetAuthority(row.key_id.clone())).await.unwrap();
    store.write(Change::AddAuthority(AuthorityRow { mac: None, ..row.clone() })).await.unwrap();
    assert!(matches!(lifecycle.keep_up().await.unwrap_err(), LifecycleError::NoRoot));
}

#[tokio::test]
async fn takes_over_no_root_whose_key_it_does_not_have() {
    let world = World::new();
    let store = world.store().await;
    let founded = world.found(&store, "example.org").await.unwrap();
    for row in founded.authorities.authorities.rows() {
        store.write(Change::ForgetAuthority(row.key_id.clone())).await.unwrap();
    }
    let other = World::new();
    let theirs = other.found(&other.store().await, "example.org").await.unwrap();
    let root = theirs.authorities.authorities.active(Line::Root).unwrap();
    store.write(Change::AddAuthority(AuthorityRow { mac: None, ..root.clone() })).await.unwrap();
    assert!(world.found(&store, "example.org").await.is_err());
}

async fn sign_for(lifecycle: &Arc<Lifecycle>, whose: CaOfAnother, lifetime: Duration) -> CertifiedCa {
    let csr = PrivateKey::generate().unwrap().bare_request().unwrap();
    let request = CertificateRequest::parse_for_ca(&csr, &lifecycle.vault.trust_domain).unwrap();
    let order = OrderForAnother { whose, request, lifetime, by: Requester::local("test") };
    lifecycle.sign_for_another(order).await.unwrap()
}

/// A mesh or a downstream authority has a CA below the root: what that signs is not known here.
#[rstest]
#[case(CaOfAnother::Mesh, DAY * 90, DAY * 90)]
#[case(CaOfAnother::Downstream, DAY * 90, DAY)]
#[tokio::test]
async fn keeps_a_root_that_others_have_a_ca_below(
    #[case] whose: CaOfAnother,
    #[case] wanted: Duration,
    #[case] granted: Duration,
) {
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    let first = lifecycle.active_id(Line::Root);
    sign_for(&lifecycle, whose, wanted).await;
    let end = world.now() + granted;
    let next = lifecycle.step(Line::Root, Step::Prepare).await.unwrap().key_id;
    lifecycle.forced(Line::Root, Step::Activate(next.clone())).await.unwrap();

    let refused = lifecycle.step(Line::Root, Step::Taint(first.clone())).await.unwrap_err();
    let LifecycleError::CasOfOthers { names, until } = &refused else { panic!("{refused}") };
    assert_eq!((names.len(), *until), (1, end));
    lifecycle.forced(Line::Root, Step::Taint(first.clone())).await.unwrap();
    let refused = lifecycle.step(Line::Root, Step::Revoke(first.clone())).await.unwrap_err();
    assert_eq!(refused.wait_until(), Some(end), "{refused}");

    // One below the next root does not count.
    sign_for(&lifecycle, whose, wanted).await;
    world.advance(granted + Duration::from_secs(1));
    lifecycle.step(Line::Root, Step::Revoke(first)).await.unwrap();
    assert_eq!(roots(&issuance), these([&next]));
}

/// Another root began to sign while the call waited for its turn.
#[tokio::test]
async fn answers_the_roots_that_the_ca_of_a_mesh_leads_to() {
    let world = World::new();
    let (_, lifecycle) = world.start().await;
    let next = lifecycle.step(Line::Root, Step::Prepare).await.unwrap().key_id;
    world.advance(MINUTE * 5);
    let turn = lifecycle.turn.lock().await;
    let waiting = Arc::clone(&lifecycle);
    let waiting = tokio::spawn(async move { sign_for(&waiting, CaOfAnother::Mesh, DAY).await });
    tokio::task::yield_now().await;
    lifecycle.take_due_step(&turn, Line::Root, DueStep::Activate(next.clone())).await.unwrap();
    drop(turn);
    let ca = waiting.await.unwrap();
    let read = |der: &[u8]| secplane_identity::x509::Certificate::parse(der).unwrap();
    assert_eq!(read(&ca.chain[0]).authority_key_id, Some(next.clone()));
    let roots: Vec<_> = ca.roots.iter().map(|root| read(root).subject_key_id.unwrap()).collect();
    assert_eq!(roots, [next]);
}

#[tokio::test]
async fn does_not_count_a_ca_of_others_that_was_revoked() {
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    let first = lifecycle.active_id(Line::Root);
    sign_for(&lifecycle, CaOfAnother::Mesh, DAY).await;
    let standing = lifecycle.look().await.unwrap();
    let [mesh] = standing.of_others_below(&first, 0)[..] else { panic!("{standing:?}") };
    let change = row::revoke(mesh.clone(), 0, &lifecycle.vault.mac);
    issuance.store().write(change).await.unwrap();
    let next = lifecycle.step(Line::Root, Step::Prepare).await.unwrap().key_id;
    lifecycle.forced(Line::Root, Step::Activate(next)).await.unwrap();
    lifecycle.step(Line::Root, Step::Taint(first)).await.unwrap();
}

/// Whoever downstream is: its CA ends with ours, and another authority below it is refused.
#[tokio::test]
async fn bounds_what_a_downstream_ca_may_do() {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    let chain = sign_for(&lifecycle, CaOfAnother::Downstream, DAY * 90).await.chain;
    assert_eq!(chain[1], issuance.issuing().certificate().der);
    let (_, ca) = X509Certificate::from_der(&chain[0]).unwrap();
    let constraints = ca.basic_constraints().unwrap().unwrap().value;
    assert_eq!((constraints.ca, constraints.path_len_constraint), (true, Some(1)));
    assert!(ca.subject().to_string().contains("OU=DOWNSTREAM-1"), "{}", ca.subject());
    let end = secplane_identity::x509::Certificate::parse(&chain[0]).unwrap().not_after;
    assert_eq!(end, issuance.issuing().validity().not_after);
    let row = lifecycle.look().await.unwrap();
    let row = row.rows().iter().find(|row| row.kind == crate::store::AuthorityKind::Downstream).unwrap();
    assert_eq!(row.issuer_key_id, issuance.issuing().key_id());
}

#[tokio::test]
async fn signs_with_another_issuing_ca_when_one_was_revoked() {
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    let before = issuance.issuing().key_id().to_owned();
    let row = lifecycle.look().await.unwrap().row(&before).unwrap().clone();
    issuance.store().write(row::revoke(row, 0, &lifecycle.vault.mac)).await.unwrap();
    lifecycle.keep_up().await.unwrap();
    assert_ne!(issuance.issuing().key_id(), before);
    assert!(issuance.is_withdrawn(&before), "what it signed is replaced");
}

fn foreign_root(trust_domain: &str, now: SystemTime) -> secplane_identity::x509::Certificate {
    let key = crate::authority::CaKey::try_from(&PrivateKey::generate().unwrap()).unwrap();
    let trust_domain = secplane_identity::TrustDomain::parse(trust_domain).unwrap();
    DomainCa::self_signed(&trust_domain, key, DAY * 2, now).unwrap().certificate().clone()
}

fn foreign_key(key_id: &str, expires_at: Option<SystemTime>) -> secplane_identity::JwtAuthority {
    let public_key_info = PrivateKey::generate().unwrap().public_key_info().unwrap();
    secplane_identity::JwtAuthority { key_id: key_id.into(), public_key_info, expires_at, tainted: false }
}

#[tokio::test]
async fn trusts_roots_and_keys_of_others_until_they_end() {
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    let ours = (roots(&issuance), jwt_keys(&issuance));
    let sequence = issuance.bundle().borrow().sequence();
    let root = foreign_root("example.org", world.now());
    let root_id = root.subject_key_id.clone().unwrap();
    let keys = vec![foreign_key("Theirs", None), foreign_key("short", Some(world.now() + DAY))];
    let foreign = ForeignAuthorities { roots: vec![root.clone()], jwt_keys: keys.clone() };
    lifecycle.publish_foreign(foreign.clone(), Requester::local("test")).await.unwrap();
    assert!(roots(&issuance).contains(&root_id));
    assert_eq!(jwt_keys(&issuance).len(), 3);
    assert_eq!(issuance.bundle().borrow().sequence(), sequence + 1);
    lifecycle.publish_foreign(foreign, Requester::local("test")).await.unwrap();
    assert_eq!(issuance.bundle().borrow().sequence(), sequence + 1, "nothing new");
    // They never were ours to sign with.
    let standing = lifecycle.standing();
    assert!(
        standing.succession(Line::Root).old().is_none() && standing.succession(Line::Jwt).old().is_none()
    );
    assert!(lifecycle.step(Line::Root, Step::Activate(root_id.clone())).await.is_err());

    // By command, as ours; when it will be unused is not known here.
    lifecycle.step(Line::Jwt, Step::Taint("short".into())).await.unwrap();
    let refused = lifecycle.step(Line::Jwt, Step::Revoke("short".into())).await.unwrap_err();
    assert_eq!(refused.wait_until(), Some(world.now() + DAY));
    lifecycle.forced(Line::Jwt, Step::Revoke("short".into())).await.unwrap();
    assert_eq!(jwt_keys(&issuance).len(), 2);

    issuance.store().clone().close().await;
    world.advance(DAY * 3);
    let (issuance, lifecycle) = world.start().await;
    lifecycle.keep_up().await.unwrap();
    assert_eq!(roots(&issuance), ours.0, "it has expired");
    assert!(jwt_keys(&issuance).contains("Theirs"));
    lifecycle.step(Line::Jwt, Step::Taint("Theirs".into())).await.unwrap();
    lifecycle.forced(Line::Jwt, Step::Revoke("Theirs".into())).await.unwrap();
    assert!(!jwt_keys(&issuance).contains("Theirs"));
}

/// What the audit log says was forgotten: the ID and the kind.
async fn forgotten(issuance: &Issuance) -> Vec<(String, String)> {
    let rows = issuance.store().audit_entries(REPLICA, 0, 1000).await.unwrap();
    let records = rows.iter().map(|row| AuditRecord::decode(row.leaf.as_slice()).unwrap());
    let expired = records.filter(|record| record.action == "authority.expire");
    expired.map(|record| (record.target.clone(), record.details["kind"].clone())).collect()
}

#[tokio::test]
async fn forgets_on_record_what_has_expired_and_once_on_two_replicas() {
    let world = World::new();
    let store = world.store().await;
    let (issuance, first) = world.start_replica(&store, REPLICA).await;
    let foreign = ForeignAuthorities {
        jwt_keys: vec![foreign_key("short", Some(world.now() + DAY))],
        ..ForeignAuthorities::default()
    };
    first.publish_foreign(foreign, Requester::local("test")).await.unwrap();
    let (others, second) = world.start_replica(&store, "other").await;
    assert!(second.standing().row("short").is_some());
    let sequence = issuance.bundle().borrow().sequence();
    world.advance(DAY * 2);

    first.keep_up().await.unwrap();
    assert!(first.standing().row("short").is_none());
    let told = || async {
        let told = forgotten(&issuance).await;
        told.into_iter().filter(|(id, _)| id == "short").collect::<Vec<_>>()
    };
    assert_eq!(told().await, [("short".to_owned(), "jwt".to_owned())]);
    assert_eq!(issuance.bundle().borrow().sequence(), sequence + 1);

    // It looked before the other one wrote.
    let turn = second.turn.lock().await;
    second.forget_expired(&turn).await.unwrap();
    assert!(second.standing().row("short").is_none());
    assert_eq!(told().await.len(), 1);
    assert_eq!(others.bundle().borrow().sequence(), sequence + 1, "the bundle changed once");
}

#[tokio::test]
async fn reckons_with_an_end_beyond_all_time() {
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    let key = foreign_key("endless", Some(crate::instant::from_unix(i64::MAX)));
    let foreign = ForeignAuthorities { roots: vec![], jwt_keys: vec![key] };
    lifecycle.publish_foreign(foreign, Requester::local("test")).await.unwrap();
    let row = lifecycle.standing().row("endless").unwrap().clone();
    assert_eq!(row.not_after, crate::instant::LAST_SECOND);

    // As it may stand there already.
    issuance.store().write(Change::ForgetAuthority(row.key_id.clone())).await.unwrap();
    let row = lifecycle.vault.add(AuthorityRow { not_after: i64::MAX, ..row });
    issuance.store().write(row).await.unwrap();
    lifecycle.keep_up().await.unwrap();
    assert!(jwt_keys(&issuance).contains("endless"));
    assert!(lifecycle.next_due() > world.now());
    lifecycle.step(Line::Jwt, Step::Taint("endless".into())).await.unwrap();
    let refused = lifecycle.step(Line::Jwt, Step::Revoke("endless".into())).await.unwrap_err();
    assert!(refused.to_string().contains("9999-12-31"), "{refused}");
    lifecycle.forced(Line::Jwt, Step::Revoke("endless".into())).await.unwrap();
}

#[tokio::test]
async fn trusts_nothing_of_others_that_does_not_fit() {
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    let publish = async |roots: Vec<_>, jwt_keys: Vec<_>| {
        let foreign = ForeignAuthorities { roots, jwt_keys };
        lifecycle.publish_foreign(foreign, Requester::local("test")).await
    };
    let foreign = foreign_root("example.com", world.now());
    assert!(matches!(publish(vec![foreign], vec![]).await, Err(LifecycleError::Unfit(_))));
    let issuing = issuance.issuing().certificate().clone();
    assert!(matches!(publish(vec![issuing], vec![]).await, Err(LifecycleError::Unfit(_))), "not a root");
    let expired = foreign_root("example.org", world.now() - DAY * 3);
    assert!(matches!(publish(vec![expired], vec![]).await, Err(LifecycleError::Unfit(_))));
    let no_key = secplane_identity::JwtAuthority { public_key_info: vec![1], ..foreign_key("a", None) };
    assert!(matches!(publish(vec![], vec![no_key]).await, Err(LifecycleError::Unfit(_))));
    let ours = jwt_keys(&issuance).into_iter().next().unwrap();
    let taken = publish(vec![], vec![foreign_key(&ours, None)]).await;
    assert!(matches!(taken, Err(LifecycleError::IdTaken(id)) if id == ours));
    let twice = publish(vec![], vec![foreign_key("a", None), foreign_key("a", None)]).await;
    assert!(matches!(twice, Err(LifecycleError::IdTaken(_))));
    assert_eq!((roots(&issuance).len(), jwt_keys(&issuance).len()), (1, 1));
}

#[tokio::test]
async fn deletes_the_keys_that_a_crash_left_behind() {
    let world = World::new();
    let (issuance, lifecycle) = world.start().await;
    let left = lifecycle.vault.new_root(AuthorityState::Prepared).await.unwrap().key_id;
    assert!(world.key_file(&left).exists());
    let used = [lifecycle.active_id(Line::Root), issuance.issuing().key_id().to_owned()];
    issuance.store().clone().close().await;
    world.start().await;
    assert!(!world.key_file(&left).exists());
    assert!(used.iter().all(|id| world.key_file(id).exists()));
}
