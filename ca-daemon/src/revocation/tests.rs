//! Revoking in a real database, by a clock that the test moves.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use secplane_identity::{
    KeyKind, PrivateKey,
    revocation::{Revocable, RevocationList},
};

use super::*;
use crate::{
    authority::{CertificateRequest, Lifetimes, SignedCertificate, Subject},
    founding::found,
    issuance::{Issuance, IssueError, Order},
    keys::{KeyStorage, KeyStore, WrappingKey},
    lifecycle::{AuthorityLifetimes, Vault},
    store::{AuthorityFilter, AuthorityState, CertificateFilter, Notice, Page, RevocationListRow, testing},
};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

struct World {
    folder: tempfile::TempDir,
    seconds: Arc<AtomicU64>,
}

/// An authority that is open.
struct Open {
    store: Store,
    issuance: Issuance,
    revoker: Arc<Revoker>,
    upkeep: Upkeep,
}

impl World {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), seconds: Arc::new(AtomicU64::new(1_800_000_000)) }
    }

    fn clock(&self) -> Clock {
        let seconds = Arc::clone(&self.seconds);
        Clock::of(move || SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::SeqCst)))
    }

    fn advance(&self, by: Duration) {
        self.seconds.fetch_add(by.as_secs(), Ordering::SeqCst);
    }

    /// As a start of the daemon does it.
    async fn open(&self) -> Open {
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        let wrapping = WrappingKey::parse(KEY).unwrap();
        let mac = wrapping.row_mac();
        let storage = KeyStorage::Files(self.folder.path().join("keys"));
        let keys = KeyStore::open(storage, wrapping, KeyKind::EcP256).await.unwrap();
        let store = testing::open(self.folder.path(), self.clock()).await;
        let vault = Vault {
            trust_domain: trust_domain.clone(),
            replica: testing::REPLICA.to_owned(),
            store: store.clone(),
            keys: keys.clone(),
            mac: mac.clone(),
            lifetimes: arc_swap::ArcSwap::from_pointee(AuthorityLifetimes {
                root: HOUR * 24 * 365,
                issuing: HOUR * 24,
                jwt_key: HOUR * 24,
            }),
            crl_url: None,
            clock: self.clock(),
        };
        let founded = found(&vault).await.unwrap();
        let revoker =
            Revoker::open(trust_domain.clone(), store.clone(), mac.clone(), self.clock()).await.unwrap();
        let lifetimes = Lifetimes { x509_svid: HOUR, server: HOUR, client: HOUR, longest: HOUR * 24 };
        let revoked = Arc::clone(revoker.revoked());
        let (issuing, bundle) = (founded.issuing, founded.bundle);
        let issuance = Issuance::new(issuing, bundle, lifetimes, revoked, store.clone(), mac, self.clock());
        let upkeep = Upkeep::new(Arc::clone(&revoker), Signers::new(trust_domain, keys), HOUR);
        upkeep.begin().await.unwrap();
        Open { store, issuance, revoker, upkeep }
    }

    /// Changes the database while no daemon has it open.
    async fn tamper(&self, open: Open, statement: &'static str) {
        open.store.close().await;
        assert!(testing::change(self.folder.path(), statement).await > 0, "{statement}");
    }

    /// As [`World::tamper`], by somebody who writes what no column may hold.
    async fn tamper_past_checks(&self, open: Open, statement: &'static str) {
        open.store.close().await;
        assert!(testing::change_past_checks(self.folder.path(), statement).await > 0, "{statement}");
    }
}

impl Open {
    async fn issue(&self, path: &str, key: &PrivateKey) -> Result<SignedCertificate, IssueError> {
        self.order(path, key, None).await
    }

    async fn renew(&self, path: &str, serial: &str) -> Result<SignedCertificate, IssueError> {
        let record = self.issuance.record(serial).await.unwrap();
        self.order(path, &PrivateKey::generate().unwrap(), Some(record)).await
    }

    async fn order(
        &self,
        path: &str,
        key: &PrivateKey,
        renews: Option<crate::store::CertificateRecord>,
    ) -> Result<SignedCertificate, IssueError> {
        let request = CertificateRequest::parse(&key.bare_request().unwrap()).unwrap();
        let subject = Subject::X509Svid { id: id(path), dns_names: vec![] };
        let requester = Requester::local("test");
        self.issuance
            .issue(Order { request, subject, lifetime: None, requester, entry_id: None, renews })
            .await
    }

    async fn revoke(&self, target: Target) -> Result<usize, RevocationError> {
        let revoked = self.revoker.revoke(target, "lost".to_owned(), Requester::local("test")).await;
        self.upkeep.pass_here().await;
        revoked
    }

    fn refuses(&self, signed: &SignedCertificate) -> bool {
        let names = Revocable::of(&leaf(signed));
        assert_eq!(
            self.list_of(signed).contains(&names.serial.unwrap()),
            self.revoker.revoked().contains(&names)
        );
        self.revoker.revoked().contains(&names)
    }

    /// The current list of a certificate's issuer, once it is seen to be its own.
    fn list_of(&self, signed: &SignedCertificate) -> RevocationList {
        let list = RevocationList::parse(&self.row_of(signed).crl).unwrap();
        assert!(list.is_signed_by(&Certificate::parse(&signed.chain[1]).unwrap()));
        list
    }

    fn row_of(&self, signed: &SignedCertificate) -> RevocationListRow {
        let lists = self.revoker.lists().borrow().clone();
        lists.of_issuer(&signed.issuer_key_id).unwrap().row().clone()
    }
}

fn id(path: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://example.org{path}")).unwrap()
}

fn leaf(signed: &SignedCertificate) -> Certificate {
    Certificate::parse(&signed.chain[0]).unwrap()
}

fn certificate(signed: &SignedCertificate) -> Target {
    Target::Certificate(signed.serial.parse().unwrap())
}

fn new_key() -> PrivateKey {
    PrivateKey::generate().unwrap()
}

#[tokio::test]
async fn revokes_a_certificate_with_all_its_renewals() {
    let world = World::new();
    let open = world.open().await;
    let first = open.issue("/a", &new_key()).await.unwrap();
    let second = open.renew("/a", &first.serial).await.unwrap();
    let third = open.renew("/a", &second.serial).await.unwrap();
    let other = open.issue("/a", &new_key()).await.unwrap();

    assert_eq!(open.revoke(certificate(&second)).await.unwrap(), 3);
    for signed in [&first, &second, &third] {
        assert!(open.refuses(signed));
        let record = open.issuance.record(&signed.serial).await.unwrap();
        assert_eq!(record.revocation_reason.as_deref(), Some("lost"));
    }
    assert!(!open.refuses(&other));
    let refused = open.renew("/a", &third.serial).await;
    assert!(matches!(refused, Err(IssueError::Store(StoreError::Refused(_)))), "{refused:?}");
    assert_eq!(open.revoke(certificate(&second)).await.unwrap(), 0, "no news");

    open.store.close().await;
    let again = world.open().await;
    assert!(again.refuses(&first) && again.refuses(&third) && !again.refuses(&other));
}

#[tokio::test]
async fn revokes_what_was_issued_for_a_spiffe_id_until_now() {
    let world = World::new();
    let open = world.open().await;
    let expired = open.issue("/a", &new_key()).await.unwrap();
    world.advance(HOUR * 2);
    let first = open.issue("/a", &new_key()).await.unwrap();
    let second = open.issue("/a", &new_key()).await.unwrap();
    let other = open.issue("/ab", &new_key()).await.unwrap();
    assert_eq!(open.revoke(Target::SpiffeId(id("/a"))).await.unwrap(), 2);
    assert!(open.refuses(&first) && open.refuses(&second) && !open.refuses(&other));
    assert!(open.issuance.record(&expired.serial).await.unwrap().revoked_at.is_none());
    assert!(open.renew("/a", &first.serial).await.is_err());

    let later = open.issue("/a", &new_key()).await.unwrap();
    assert!(!open.refuses(&later));
    assert_eq!(open.revoke(Target::SpiffeId(id("/nobody"))).await.unwrap(), 0);
    let foreign = SpiffeId::parse("spiffe://example.com/a").unwrap();
    assert!(matches!(
        open.revoke(Target::SpiffeId(foreign)).await,
        Err(RevocationError::OtherTrustDomain(..))
    ));
}

#[tokio::test]
async fn revokes_a_key_now_and_later() {
    let world = World::new();
    let open = world.open().await;
    let key = new_key();
    let first = open.issue("/a", &key).await.unwrap();
    let second = open.issue("/b", &key).await.unwrap();
    let other = open.issue("/a", &new_key()).await.unwrap();
    let hash = KeyHash::of(&leaf(&first).public_key_info);
    assert_eq!(open.revoke(Target::Key(hash)).await.unwrap(), 2);
    assert!(open.refuses(&first) && open.refuses(&second) && !open.refuses(&other));
    assert!(matches!(open.issue("/c", &key).await, Err(IssueError::KeyRevoked(named)) if named == hash));

    open.store.close().await;
    world.advance(HOUR * 48);
    let again = world.open().await;
    assert!(matches!(again.issue("/c", &key).await, Err(IssueError::KeyRevoked(_))), "for ever");
    assert!(again.issue("/c", &new_key()).await.is_ok());
}

#[tokio::test]
async fn says_that_there_is_no_such_certificate() {
    let world = World::new();
    let open = world.open().await;
    let refused = open.revoke(Target::Certificate("0a1b".parse().unwrap())).await;
    assert!(matches!(refused, Err(RevocationError::NotFound(serial)) if serial == "a1b"));
}

#[tokio::test]
async fn takes_the_place_of_a_revoked_keys_row_that_somebody_wrote() {
    let world = World::new();
    let open = world.open().await;
    let key = KeyHash::of(b"a key");
    let theirs = RowMac::new(&[9; RowMac::KEY_BYTES]);
    let planted = proof::seal(&key, 1_800_000_000, "planted", &theirs);
    open.store.write(Change::RevokeKey(planted)).await.unwrap();
    open.upkeep.pass_here().await;
    assert!(open.revoker.revoked().contains_key(&key));
    assert_eq!(open.revoker.refused_rows(), 1);

    open.revoke(Target::Key(key)).await.unwrap();
    assert!(open.revoker.revoked().contains_key(&key));
    assert_eq!(open.revoker.refused_rows(), 0);
    assert_eq!(open.store.revoked_keys().await.unwrap()[0].reason, "lost");
}

/// Another replica may sign for a key before it hears that it was revoked.
#[tokio::test]
async fn revokes_what_was_issued_for_a_key_while_the_news_was_on_its_way() {
    let world = World::new();
    let open = world.open().await;
    let key = new_key();
    let latecomer = open.issue("/a", &key).await.unwrap();
    let row = proof::seal(
        &KeyHash::of(&leaf(&latecomer).public_key_info),
        1_800_000_000,
        "lost",
        &open.revoker.mac,
    );
    open.store.write(Change::RevokeKey(row)).await.unwrap();
    assert!(open.issuance.record(&latecomer.serial).await.unwrap().revoked_at.is_none());
    open.upkeep.pass_here().await;
    assert!(open.refuses(&latecomer));
    assert!(open.issuance.record(&latecomer.serial).await.unwrap().revoked_at.is_some());
}

/// Looking every few seconds is for what nobody tells of. A revocation does not wait for it: here the clock stands
/// still, and while it does nobody looks.
#[tokio::test]
async fn heeds_what_another_replica_revoked_as_soon_as_it_is_told() {
    let world = World::new();
    let open = world.open().await;
    let signed = open.issue("/a", &new_key()).await.unwrap();
    let names = Revocable::of(&leaf(&signed));
    let Open { store, revoker, upkeep, .. } = open;
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    let mac = WrappingKey::parse(KEY).unwrap().row_mac();
    let there = Revoker::open(trust_domain, store.clone(), mac, world.clock()).await.unwrap();
    there.revoke(certificate(&signed), "lost".to_owned(), Requester::local("test")).await.unwrap();
    assert!(!revoker.revoked().contains(&names), "nobody has told it");

    let mut changes = revoker.revoked().changes();
    let heeded = async {
        store.read_again(Notice::Revocations);
        while !revoker.revoked().contains(&names) {
            changes.changed().await.unwrap();
        }
    };
    tokio::select! {
        // It listens before it is told.
        biased;
        () = upkeep.keep_current() => panic!("it has ended"),
        heeded = tokio::time::timeout(MINUTE, heeded) => heeded.unwrap(),
    }
}

#[tokio::test]
async fn has_a_list_from_the_start_and_a_new_one_for_every_revocation() {
    let world = World::new();
    let open = world.open().await;
    let signed = open.issue("/a", &new_key()).await.unwrap();
    assert_eq!(open.row_of(&signed).number, 1);
    assert_eq!(open.list_of(&signed).serials().len(), 0);
    open.upkeep.pass_here().await;
    assert_eq!(open.row_of(&signed).number, 1, "nothing is due");
    open.revoke(certificate(&signed)).await.unwrap();
    assert_eq!(open.row_of(&signed).number, 2);

    open.store.close().await;
    let again = world.open().await;
    assert_eq!(again.row_of(&signed).number, 2, "a restart signs nothing");
}

/// A list that nobody can read would take the place of one that works, and be signed again and again.
#[tokio::test]
async fn keeps_the_last_list_when_the_next_one_would_be_too_long() {
    let world = World::new();
    let mut open = world.open().await;
    open.upkeep.hold_at_most(1);
    let (first, second) =
        (open.issue("/a", &new_key()).await.unwrap(), open.issue("/b", &new_key()).await.unwrap());
    open.revoke(certificate(&first)).await.unwrap();
    let last = open.row_of(&first);
    open.revoke(certificate(&second)).await.unwrap();
    open.upkeep.pass_here().await;
    assert_eq!(open.row_of(&first), last);
    assert_eq!(open.store.revocation_list(&first.issuer_key_id).await.unwrap().unwrap(), last);
    assert!(open.list_of(&first).contains(&first.serial.parse().unwrap()));
    assert!(open.revoker.revoked().contains(&Revocable::of(&leaf(&second))), "this daemon refuses it");
}

#[tokio::test]
async fn replaces_a_list_when_half_of_its_time_is_over() {
    let world = World::new();
    let open = world.open().await;
    let signed = open.issue("/a", &new_key()).await.unwrap();
    let first = open.row_of(&signed);
    world.advance(MINUTE * 29);
    open.upkeep.pass_here().await;
    assert_eq!(open.row_of(&signed), first);
    world.advance(MINUTE);
    open.upkeep.pass_here().await;
    let second = open.row_of(&signed);
    assert_eq!(second.number, 2);
    assert_eq!(second.next_update - first.next_update, 30 * 60);
}

/// RFC 5280, section 3.3.
#[tokio::test]
async fn takes_a_certificate_off_the_lists_after_one_that_was_made_when_it_had_expired() {
    let world = World::new();
    let open = world.open().await;
    let signed = open.issue("/a", &new_key()).await.unwrap();
    open.revoke(certificate(&signed)).await.unwrap();
    let serial = signed.serial.parse().unwrap();
    let mut still_listed = Vec::new();
    for _ in 0..4 {
        world.advance(MINUTE * 31);
        open.upkeep.pass_here().await;
        still_listed.push(open.list_of(&signed).contains(&serial));
    }
    // It expires after an hour: the list made after 62 minutes names it, the one after 93 no longer has to.
    assert_eq!(still_listed, [true, true, false, false]);
    assert!(!open.revoker.revoked().contains(&Revocable::of(&leaf(&signed))), "nor does the memory");
}

#[tokio::test]
async fn keeps_the_list_of_an_issuing_ca_that_no_longer_signs() {
    let world = World::new();
    let open = world.open().await;
    let signed = open.issue("/a", &new_key()).await.unwrap();
    open.store.close().await;
    world.advance(HOUR * 13);
    let open = world.open().await;
    let later = open.issue("/a", &new_key()).await.unwrap();
    assert_ne!(signed.issuer_key_id, later.issuer_key_id);
    assert_eq!(open.revoker.lists().borrow().iter().len(), 3, "and that of the root");
    open.revoke(certificate(&later)).await.unwrap();
    assert!(open.refuses(&later));

    open.store.close().await;
    world.advance(HOUR * 12);
    let open = world.open().await;
    let lists = open.revoker.lists().borrow().clone();
    assert!(lists.of_issuer(&signed.issuer_key_id).is_none(), "it has expired");
    assert!(open.store.revocation_list(&signed.issuer_key_id).await.unwrap().is_none());
    assert!(lists.of_issuer(&later.issuer_key_id).is_some());
}

#[rstest::rstest]
#[case("UPDATE certificates SET revoked_at = NULL, revocation_reason = NULL")]
#[case("DELETE FROM certificates")]
#[tokio::test]
async fn keeps_revoked_what_somebody_cleared_in_the_database(#[case] statement: &'static str) {
    let world = World::new();
    let open = world.open().await;
    let signed = open.issue("/a", &new_key()).await.unwrap();
    open.revoke(certificate(&signed)).await.unwrap();
    world.tamper(open, statement).await;

    let open = world.open().await;
    assert!(open.refuses(&signed));
    if let Ok(record) = open.issuance.record(&signed.serial).await {
        assert!(record.revocation_reason.unwrap().contains("cleared"));
    }
    world.advance(MINUTE * 31);
    open.upkeep.pass_here().await;
    assert!(open.refuses(&signed), "on the next list too");
}

/// A record that says another issuer, or an early end, would have its certificate on no list that anybody asks for.
#[rstest::rstest]
#[case("UPDATE certificates SET issuer_key_id = 'aa'")]
#[case("UPDATE certificates SET not_after = 1")]
#[case("UPDATE certificates SET lineage = 'aa'")]
#[case("UPDATE certificates SET issuer_key_id = 'aa', not_after = 1, lineage = 'aa', mac = NULL")]
#[tokio::test]
async fn revokes_a_certificate_whose_record_somebody_edited(#[case] statement: &'static str) {
    let world = World::new();
    let open = world.open().await;
    let signed = open.issue("/a", &new_key()).await.unwrap();
    world.tamper(open, statement).await;
    let open = world.open().await;
    assert_eq!(open.revoke(certificate(&signed)).await.unwrap(), 1);
    assert!(open.refuses(&signed));
}

/// A root of ours still says whose CA it is.
#[rstest::rstest]
#[case("UPDATE authorities SET not_after = 1 WHERE kind = 'issuing'")]
#[case("UPDATE authorities SET kind = 'mesh', key_storage = 'elsewhere' WHERE kind = 'issuing'")]
#[tokio::test]
async fn revokes_a_certificate_whose_record_and_issuer_somebody_edited(#[case] statement: &'static str) {
    let world = World::new();
    let open = world.open().await;
    let signed = open.issue("/a", &new_key()).await.unwrap();
    world.tamper(open, "UPDATE certificates SET issuer_key_id = 'aa', not_after = 1").await;
    testing::change(world.folder.path(), statement).await;
    let open = world.open().await;
    assert_eq!(open.revoke(certificate(&signed)).await.unwrap(), 1);
    assert!(open.refuses(&signed));
}

/// Nothing of a record is believed that is neither proven nor what the certificate says.
#[tokio::test]
async fn revokes_what_renewed_a_certificate_whose_record_somebody_edited() {
    let world = World::new();
    let open = world.open().await;
    let first = open.issue("/a", &new_key()).await.unwrap();
    let second = open.renew("/a", &first.serial).await.unwrap();
    world.tamper(open, "UPDATE certificates SET lineage = 'aa' WHERE renews IS NULL").await;
    let open = world.open().await;
    assert_eq!(open.revoke(certificate(&first)).await.unwrap(), 2);
    assert!(open.refuses(&first) && open.refuses(&second));
}

#[rstest::rstest]
#[case("UPDATE certificates SET issuer_key_id = 'aa'")]
#[case("UPDATE certificates SET not_after = 1")]
#[tokio::test]
async fn keeps_on_the_list_what_somebody_edited_away(#[case] statement: &'static str) {
    let world = World::new();
    let open = world.open().await;
    let signed = open.issue("/a", &new_key()).await.unwrap();
    open.revoke(certificate(&signed)).await.unwrap();
    world.tamper(open, statement).await;

    let open = world.open().await;
    assert!(open.refuses(&signed));
    let record = open.issuance.record(&signed.serial).await.unwrap();
    assert!(open.issuance.wrote(&record), "it says again what it said");
    world.advance(MINUTE * 31);
    open.upkeep.pass_here().await;
    assert!(open.refuses(&signed), "on the next list too");
}

/// Records from before there were proofs end like any other.
#[tokio::test]
async fn takes_an_expired_certificate_without_a_proof_off_the_lists() {
    let world = World::new();
    let open = world.open().await;
    let signed = open.issue("/a", &new_key()).await.unwrap();
    open.revoke(certificate(&signed)).await.unwrap();
    world.tamper(open, "UPDATE certificates SET mac = NULL").await;
    let open = world.open().await;
    let serial = signed.serial.parse().unwrap();
    assert!(open.list_of(&signed).contains(&serial));
    for _ in 0..4 {
        world.advance(MINUTE * 31);
        open.upkeep.pass_here().await;
    }
    assert!(!open.list_of(&signed).contains(&serial));
}

#[rstest::rstest]
#[case("UPDATE revocation_lists SET crl = (SELECT public FROM authorities ORDER BY key_id LIMIT 1)")]
#[case("UPDATE revocation_lists SET number = number + 5")]
#[case("DELETE FROM revocation_lists")]
#[tokio::test]
async fn replaces_a_list_that_is_not_genuine(#[case] statement: &'static str) {
    let world = World::new();
    let open = world.open().await;
    let signed = open.issue("/a", &new_key()).await.unwrap();
    open.revoke(certificate(&signed)).await.unwrap();
    world.tamper(open, statement).await;
    assert!(world.open().await.refuses(&signed));
}

#[tokio::test]
async fn knows_the_keys_of_the_first_schema() {
    let world = World::new();
    let open = world.open().await;
    let signed = open.issue("/a", &new_key()).await.unwrap();
    world.tamper(open, "UPDATE certificates SET key_sha256 = NULL").await;
    let open = world.open().await;
    let hash = KeyHash::of(&leaf(&signed).public_key_info);
    assert_eq!(open.revoke(Target::Key(hash)).await.unwrap(), 1);
    assert!(open.refuses(&signed));
}

/// One that cannot be read keeps neither the daemon from starting nor the others from having theirs.
#[tokio::test]
async fn knows_the_keys_of_the_first_schema_beside_a_record_without_a_certificate() {
    let world = World::new();
    let open = world.open().await;
    open.issue("/a", &new_key()).await.unwrap();
    let signed = open.issue("/b", &new_key()).await.unwrap();
    let statement = "UPDATE certificates SET key_sha256 = NULL, \
         certificate = CASE WHEN spiffe_id = 'spiffe://example.org/a' THEN mac ELSE certificate END";
    world.tamper(open, statement).await;
    let open = world.open().await;
    let hash = KeyHash::of(&leaf(&signed).public_key_info);
    assert_eq!(open.revoke(Target::Key(hash)).await.unwrap(), 1);
    assert!(open.refuses(&signed));
}

/// It counts as one without a right proof; an error would be that of everybody who asks for a page.
#[tokio::test]
async fn revokes_and_lists_a_certificate_of_an_unknown_kind() {
    let world = World::new();
    let open = world.open().await;
    let signed = open.issue("/a", &new_key()).await.unwrap();
    open.issue("/b", &new_key()).await.unwrap();
    let statement = "UPDATE certificates SET kind = 'lost' WHERE spiffe_id = 'spiffe://example.org/a'";
    world.tamper_past_checks(open, statement).await;

    let open = world.open().await;
    let page = Page { before: None, size: 10 };
    let listed = open.store.list_certificates(&CertificateFilter::default(), page).await.unwrap();
    let ours: Vec<_> = listed.iter().map(|record| open.issuance.wrote(record)).collect();
    assert_eq!(ours, [true, false], "the newest first");
    assert_eq!(open.revoke(certificate(&signed)).await.unwrap(), 1);
    assert!(open.refuses(&signed));
}

#[tokio::test]
async fn lets_one_replica_alone_sign_a_list() {
    let world = World::new();
    let open = world.open().await;
    let signed = open.issue("/a", &new_key()).await.unwrap();
    let row = open.row_of(&signed);
    let next = RevocationListRow { number: 2, ..row };
    let put = |before| open.store.write(Change::PutRevocationList { row: next.clone(), before });
    put(1).await.unwrap();
    for taken in [0, 1] {
        assert!(matches!(put(taken).await, Err(StoreError::Conflict(_))));
    }
}

/// A CA below the root stands on the root's list, and goes on being refused whatever somebody does to its row.
#[rstest::rstest]
#[case("UPDATE authorities SET state = state")]
#[case("UPDATE authorities SET state = 'old' WHERE kind = 'issuing'")]
#[case("UPDATE authorities SET issuer_key_id = 'aa' WHERE kind = 'issuing'")]
#[case("UPDATE authorities SET not_after = 1 WHERE kind = 'issuing'")]
#[tokio::test]
async fn lists_a_revoked_issuing_ca_with_the_root(#[case] statement: &'static str) {
    let world = World::new();
    let open = world.open().await;
    let signed = open.issue("/a", &new_key()).await.unwrap();
    let issuing = Certificate::parse(&signed.chain[1]).unwrap();
    let root = issuing.authority_key_id.clone().unwrap();
    let serial: SerialNumber = issuing.serial.parse().unwrap();
    let is_listed = |open: &Open| {
        let lists = open.revoker.lists().borrow().clone();
        let list = RevocationList::parse(&lists.of_issuer(&root).unwrap().row().crl).unwrap();
        list.contains(&serial)
    };
    assert!(!is_listed(&open));
    assert_eq!(open.revoke(Target::Certificate(serial)).await.unwrap(), 1);
    assert!(is_listed(&open) && open.revoker.revoked().contains(&Revocable::of(&issuing)));
    assert!(!open.refuses(&signed), "the leaf itself is not; whoever verifies its chain refuses it");
    assert_eq!(open.revoke(Target::Certificate(serial)).await.unwrap(), 0, "no news");
    world.tamper(open, statement).await;

    let open = world.open().await;
    assert!(is_listed(&open) && open.revoker.revoked().contains(&Revocable::of(&issuing)));
    world.advance(HOUR * 25);
    open.upkeep.pass_here().await;
    assert!(is_listed(&open), "once more after its end");
    world.advance(MINUTE * 31);
    open.upkeep.pass_here().await;
    assert!(!is_listed(&open));
}

#[tokio::test]
async fn revokes_an_issuing_ca_by_its_key() {
    let world = World::new();
    let open = world.open().await;
    let signed = open.issue("/a", &new_key()).await.unwrap();
    let issuing = Certificate::parse(&signed.chain[1]).unwrap();
    assert_eq!(open.revoke(Target::Key(KeyHash::of(&issuing.public_key_info))).await.unwrap(), 1);
    assert!(open.revoker.revoked().contains(&Revocable::of(&issuing)));
    let row = open.revoker.ca(&issuing.serial.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(row.state, AuthorityState::Revoked);
}

/// Whoever can write the database can neither keep a CA from being revoked nor have our proof for what they wrote.
#[tokio::test]
async fn revokes_an_issuing_ca_whose_row_somebody_edited() {
    let world = World::new();
    let open = world.open().await;
    let signed = open.issue("/a", &new_key()).await.unwrap();
    let issuing = Certificate::parse(&signed.chain[1]).unwrap();
    let serial: SerialNumber = issuing.serial.parse().unwrap();
    world.tamper(open, "UPDATE authorities SET state = 'old' WHERE kind = 'issuing'").await;

    let open = world.open().await;
    assert_eq!(open.revoke(Target::Certificate(serial)).await.unwrap(), 1);
    assert!(open.revoker.revoked().contains(&Revocable::of(&issuing)));
    let lists = open.revoker.lists().borrow().clone();
    let root = lists.of_issuer(issuing.authority_key_id.as_deref().unwrap()).unwrap();
    assert!(RevocationList::parse(&root.row().crl).unwrap().contains(&serial));
    let row = open.revoker.ca(&serial).await.unwrap().unwrap();
    assert_eq!(row.state, AuthorityState::Revoked);
    assert!(!crate::lifecycle::row::is_ours(&row, &open.revoker.mac));
}

/// What an issuing CA signed is trusted until it ends, whatever somebody writes into its row, and so long it has a list.
#[rstest::rstest]
#[case("UPDATE authorities SET not_after = 1 WHERE kind = 'issuing'")]
#[case("UPDATE authorities SET kind = 'jwt', state = 'revoked' WHERE kind = 'issuing'")]
#[case("UPDATE authorities SET kind = 'mesh', key_storage = 'elsewhere' WHERE kind = 'issuing'")]
#[case("UPDATE authorities SET key_id = 'aa', state = 'old' WHERE kind = 'issuing'")]
#[tokio::test]
async fn goes_on_with_the_list_of_an_issuing_ca_whose_row_somebody_edited(#[case] statement: &'static str) {
    let world = World::new();
    let open = world.open().await;
    let first = open.issue("/a", &new_key()).await.unwrap();
    let second = open.issue("/b", &new_key()).await.unwrap();
    open.revoke(certificate(&first)).await.unwrap();
    world.tamper(open, statement).await;

    let open = world.open().await;
    open.upkeep.pass_here().await;
    assert!(open.store.revocation_list(&first.issuer_key_id).await.unwrap().is_some(), "it is not forgotten");
    open.revoke(certificate(&second)).await.unwrap();
    assert!(open.refuses(&first) && open.refuses(&second));
    let before = open.row_of(&first).number;
    world.advance(MINUTE * 31);
    open.upkeep.pass_here().await;
    assert!(open.row_of(&first).number > before, "it is renewed in time");
    world.advance(HOUR * 24);
    open.upkeep.pass_here().await;
    assert!(open.revoker.lists().borrow().of_issuer(&first.issuer_key_id).is_none(), "it has expired");
}

/// Another one signs in its place from then on, and it can still be revoked by what its certificate says.
#[tokio::test]
async fn revokes_an_issuing_ca_whose_row_was_in_the_way_of_the_next() {
    let world = World::new();
    let open = world.open().await;
    let signed = open.issue("/a", &new_key()).await.unwrap();
    let issuing = Certificate::parse(&signed.chain[1]).unwrap();
    let serial: SerialNumber = issuing.serial.parse().unwrap();
    world.tamper(open, "UPDATE authorities SET not_after = not_after + 1 WHERE kind = 'issuing'").await;

    let open = world.open().await;
    assert_ne!(open.issue("/a", &new_key()).await.unwrap().issuer_key_id, signed.issuer_key_id);
    let row = open.revoker.ca(&serial).await.unwrap().unwrap();
    assert_eq!(row.state, AuthorityState::Old);
    assert!(!crate::lifecycle::row::is_ours(&row, &open.revoker.mac), "it has no proof of ours");
    assert_eq!(open.revoke(Target::Certificate(serial)).await.unwrap(), 1);
    assert!(open.revoker.revoked().contains(&Revocable::of(&issuing)));
}

/// What none of our roots signed was never ours.
#[tokio::test]
async fn forgets_a_planted_row_in_the_place_of_an_issuing_ca() {
    let world = World::new();
    let open = world.open().await;
    let signed = open.issue("/a", &new_key()).await.unwrap();
    world.tamper(open, "UPDATE authorities SET public = mac WHERE kind = 'issuing'").await;

    let open = world.open().await;
    assert!(open.store.authority(&signed.issuer_key_id).await.unwrap().is_none());
}

/// Its row is refused as any other that somebody edited; an error would be that of all authorities.
#[rstest::rstest]
#[case("UPDATE authorities SET state = 'lost' WHERE kind = 'issuing'")]
#[case("UPDATE authorities SET kind = 'lost' WHERE kind = 'issuing'")]
#[tokio::test]
async fn revokes_an_issuing_ca_of_an_unknown_kind_or_state(#[case] statement: &'static str) {
    let world = World::new();
    let open = world.open().await;
    let signed = open.issue("/a", &new_key()).await.unwrap();
    let issuing = Certificate::parse(&signed.chain[1]).unwrap();
    let serial: SerialNumber = issuing.serial.parse().unwrap();
    world.tamper_past_checks(open, statement).await;

    let open = world.open().await;
    let rows = open.store.authorities(&AuthorityFilter::default()).await.unwrap();
    assert_eq!(rows.len(), 4, "the root, the JWT key, this one and the one in its place");
    let refused = rows.iter().filter(|row| !crate::lifecycle::row::is_ours(row, &open.revoker.mac));
    assert_eq!(refused.count(), 1);
    assert_eq!(open.revoke(certificate(&signed)).await.unwrap(), 1);
    assert!(open.refuses(&signed), "it still has its list");
    assert_eq!(open.revoke(Target::Certificate(serial)).await.unwrap(), 1);
    assert!(open.revoker.revoked().contains(&Revocable::of(&issuing)));
    assert_eq!(open.revoker.ca(&serial).await.unwrap().unwrap().state, AuthorityState::Revoked);
}
