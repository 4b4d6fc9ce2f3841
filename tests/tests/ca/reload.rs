//! Reading the configuration again at SIGHUP: what takes effect at once, what waits for the next start, what is refused.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use ca_daemon::{
    Config,
    authority::{CrlUrl, verify_jwt_svid},
    keys::{WrappingKeySource, generate_wrapping_key},
};
use secplane_identity::{
    KeyKind, PrivateKey,
    revocation::{RevocationList, SerialNumber},
    x509::Certificate,
};
use secplane_proto::{
    secplane::ca::v1::{AuditOutcome, AuditRecord, RekeyRequest, rekey_request::NewWrappingKey},
    spire::api::{
        server::{
            localauthority::v1::{ActivateJwtAuthorityRequest, PrepareJwtAuthorityRequest},
            logger::v1::{GetLoggerRequest, logger_client::LoggerClient},
            svid::v1::{MintJwtsvidRequest, MintX509svidRequest, NewJwtsvidRequest},
        },
        types::{Entry, LogLevel},
    },
};
use secplane_tests::{
    agents::entry_below,
    audit_log::AuditLog,
    authority::CaFolder,
    entries::{entry_for_this_process, id},
    process::CaProcess,
    requests, soon,
    workload::{Workload, holder},
};
use tonic::Code;

use super::{jwt_svids::keys_of, service_manager::ServiceManager};

const MINUTE: Duration = Duration::from_secs(60);

/// A daemon whose configuration changes.
struct Changing {
    folder: CaFolder,
    manager: ServiceManager,
    ca: CaProcess,
}

impl Changing {
    async fn start() -> Self {
        let folder = CaFolder::new();
        let manager = ServiceManager::new(&folder);
        let ca = CaProcess::start_in(&folder, &[], &[("NOTIFY_SOCKET", &manager.path)]).await;
        assert_eq!(manager.hears_of_state().await, "READY=1");
        Self { folder, manager, ca }
    }

    /// Changes the file, and has the daemon read it.
    async fn reload(&mut self, change: impl FnOnce(&mut Config)) {
        change(&mut self.folder.config);
        let _ = self.folder.write_config();
        self.manager.reload(&self.ca).await;
    }

    /// Writes something else into the file, and has the daemon read it.
    async fn reload_text(&self, text: &str) {
        let path = self.folder.write_config();
        fs::write(path, text).unwrap();
        self.manager.reload(&self.ca).await;
    }

    /// How long an X.509-SVID lives.
    async fn lifetime(&self) -> Duration {
        let leaf = self.ca.admin().mint("/a", 0).await.unwrap().leaf();
        leaf.not_after.duration_since(SystemTime::now()).unwrap()
    }

    /// What the audit log tells of the last time that the file was read.
    async fn last_record(&self) -> AuditRecord {
        let log = AuditLog::read(&self.ca.admin()).await;
        log.of("configuration.reload").pop().unwrap()
    }
}

#[tokio::test]
async fn changes_lifetimes_of_certificates() {
    let mut daemon = Changing::start().await;
    assert!(daemon.lifetime().await > MINUTE * 30);
    daemon.reload(|config| config.validity.x509_svid = MINUTE * 15).await;
    assert!(daemon.lifetime().await < MINUTE * 30, "the new lifetime holds");
    let record = daemon.last_record().await;
    assert_eq!((record.actor.as_str(), record.target.as_str()), ("ca-daemon", "configuration"));
    assert_eq!(record.outcome(), AuditOutcome::Done);
    assert_eq!(record.details["changed"], "validity.x509_svid");
    assert_eq!(record.details["need_restart"], "");
    daemon.ca.terminate().await;
}

#[tokio::test]
async fn changes_lifetimes_of_tokens() {
    let mut daemon = Changing::start().await;
    daemon.reload(|config| config.jwt.svid_validity = MINUTE).await;
    let request =
        MintJwtsvidRequest { id: Some(id("/a")), audience: vec!["one".to_owned()], ..Default::default() };
    let svid = daemon.ca.admin().svid().mint_jwtsvid(request).await.unwrap().into_inner().svid.unwrap();
    assert_eq!(svid.expires_at - svid.issued_at, 60);
    daemon.ca.terminate().await;
}

/// To refuse what entries ask for would cut their workloads off.
#[tokio::test]
async fn cuts_what_entries_grant_down_to_the_longest_lifetime() {
    const TWO_HOURS: i32 = 2 * 60 * 60;
    let long = |entry: Entry| Entry { x509_svid_ttl: TWO_HOURS, jwt_svid_ttl: TWO_HOURS, ..entry };
    let mut daemon = Changing::start().await;
    let admin = daemon.ca.admin();
    let token = admin.join_token().await;
    let key = PrivateKey::generate().unwrap();
    let agent = daemon.ca.connect(None).await.attest(&token, &key).await.unwrap();
    let agent = daemon.ca.connect(Some(&agent)).await;
    let parent = format!("/spire/agent/join_token/{token}");
    // One is there before the limit falls below it, the other comes after.
    let before = admin.create_entry(long(entry_below(&parent, "/before"))).await.id;
    let granted = agent.new_svids(&[&before]).await.unwrap().remove(0).svid.unwrap();
    assert!(left(granted.expires_at) > MINUTE * 90, "the entry's own lifetime holds while it is allowed");
    daemon
        .reload(|config| {
            config.validity.longest = MINUTE * 30;
            config.validity.agent = MINUTE * 30;
        })
        .await;
    let after = admin.create_entry(long(entry_below(&parent, "/after"))).await.id;
    for entry_id in [before, after] {
        let svid = agent.new_svids(&[&entry_id]).await.unwrap().remove(0).svid;
        assert_is_cut(left(svid.expect("the entry grants it").expires_at));
        let request = NewJwtsvidRequest { entry_id, audience: vec!["one".to_owned()] };
        let token = agent.svid().new_jwtsvid(request).await.unwrap().into_inner().svid.unwrap();
        assert_eq!(token.expires_at - token.issued_at, 30 * 60);
    }

    admin.create_entry(long(entry_for_this_process("/here"))).await;
    let workload = Workload::at(&daemon.folder.config.workload_api_socket());
    let svid = holder(&workload.x509_svids().await.unwrap().next_svid().await);
    assert_is_cut(left(unix(svid.leaf().not_after)));
    let renewed = daemon.ca.connect(Some(&svid)).await.renew().await.unwrap();
    assert_is_cut(left(unix(renewed.leaf().not_after)));
    let token = workload.jwt_svids(&["one"], "").await.unwrap().remove(0).svid;
    let keys = keys_of(&workload.jwt_bundles().await.unwrap().next().await);
    let claims = verify_jwt_svid(&token, &keys, "one", SystemTime::now()).unwrap().claims;
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 30 * 60);

    // So is a default that is longer, and what an admin asks for; only certificates for people to renew are refused.
    assert_is_cut(daemon.lifetime().await);
    let csr = requests::naming(&key, &["spiffe://example.org/a"]);
    let request = MintX509svidRequest { csr, ttl: TWO_HOURS };
    let minted = admin.svid().mint_x509svid(request).await.unwrap().into_inner().svid.unwrap();
    assert_is_cut(left(minted.expires_at));
    let leaf = Certificate::parse(&minted.cert_chain[0]).unwrap();
    assert_eq!(unix(leaf.not_after), minted.expires_at, "the answer tells when it ends");
    let request = MintJwtsvidRequest { id: Some(id("/a")), audience: vec!["one".to_owned()], ttl: TWO_HOURS };
    let minted = admin.svid().mint_jwtsvid(request).await.unwrap().into_inner().svid.unwrap();
    assert_eq!(minted.expires_at - minted.issued_at, 30 * 60);
    let refused = admin.issue_client("alice", TWO_HOURS.into()).await.err().unwrap();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    daemon.ca.terminate().await;
}

fn unix(instant: SystemTime) -> i64 {
    i64::try_from(instant.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// How long it is until then.
fn left(expires_at: i64) -> Duration {
    Duration::from_secs(u64::try_from(expires_at - unix(SystemTime::now())).unwrap())
}

/// To half an hour, of which the test may have taken some.
fn assert_is_cut(left: Duration) {
    assert!(MINUTE * 15 < left && left <= MINUTE * 30, "{left:?}");
}

#[tokio::test]
async fn changes_when_a_successor_may_sign() {
    let mut daemon = Changing::start().await;
    let mut steps = daemon.ca.admin().local_authority();
    let prepared = steps.prepare_jwt_authority(PrepareJwtAuthorityRequest {}).await.unwrap().into_inner();
    let authority_id = prepared.prepared_authority.unwrap().authority_id;
    let request = ActivateJwtAuthorityRequest { authority_id };
    let early = steps.activate_jwt_authority(request.clone()).await.unwrap_err();
    assert_eq!(early.code(), Code::FailedPrecondition, "it was not in the bundle for long enough: {early}");
    daemon.reload(|config| config.rotation.publish_ahead = Duration::ZERO).await;
    steps.activate_jwt_authority(request).await.unwrap();
    daemon.ca.terminate().await;
}

#[tokio::test]
async fn changes_how_much_an_agent_may_ask_for() {
    let mut daemon = Changing::start().await;
    let admin = daemon.ca.admin();
    let token = admin.join_token().await;
    let key = PrivateKey::generate().unwrap();
    let agent = daemon.ca.connect(None).await.attest(&token, &key).await.unwrap();
    let parent = format!("/spire/agent/join_token/{token}");
    let entry = admin.create_entry(entry_below(&parent, "/a")).await.id;
    let agent = daemon.ca.connect(Some(&agent)).await;
    let two = [entry.as_str(), entry.as_str()];
    agent.new_svids(&two).await.unwrap();
    daemon.reload(|config| config.limits.signatures = 1).await;
    // More than one second's worth is never granted at once, however long one waits.
    let refused = agent.new_svids(&two).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    daemon.ca.terminate().await;
}

#[tokio::test]
async fn changes_what_is_logged() {
    let mut daemon = Changing::start().await;
    let mut logger = LoggerClient::new(daemon.ca.admin().channel());
    daemon.reload(|config| config.log.filter = "info,ca_daemon=debug".to_owned()).await;
    let now = logger.get_logger(GetLoggerRequest {}).await.unwrap().into_inner();
    assert_eq!(now.current_level(), LogLevel::Debug);
    daemon.ca.terminate().await;
}

#[tokio::test]
async fn changes_how_long_a_workload_without_an_entry_is_held() {
    let mut daemon = Changing::start().await;
    let workload = Workload::at(&daemon.folder.config.workload_api_socket());
    assert_eq!(workload.x509_svids().await.unwrap().end().await.code(), Code::PermissionDenied);
    daemon.reload(|config| config.workload_api.hold = MINUTE).await;
    let mut svids = workload.x509_svids().await.unwrap();
    daemon.ca.admin().create_entry(entry_for_this_process("/a")).await;
    assert_eq!(svids.next_svid().await.spiffe_id, "spiffe://example.org/a");
    daemon.ca.terminate().await;
}

#[tokio::test]
async fn changes_how_long_a_revocation_list_is_valid() {
    let mut daemon = Changing::start().await;
    let admin = daemon.ca.admin();
    daemon.reload(|config| config.crl.validity = MINUTE * 10).await;
    let revoked = admin.mint("/a", 0).await.unwrap();
    admin.revoke(&revoked).await.unwrap();
    let issuer = revoked.leaf().authority_key_id.unwrap();
    let serial = revoked.leaf().serial.parse::<SerialNumber>().unwrap();
    let list = soon("the list that names the certificate", async {
        let mut lists = admin.watch_revocation_lists().await.unwrap();
        loop {
            let message = lists.message().await.unwrap().unwrap();
            let of_issuer = message.lists.iter().find(|list| list.issuer_key_id == issuer).unwrap();
            let list = RevocationList::parse(&of_issuer.crl).unwrap();
            if list.contains(&serial) {
                return list;
            }
        }
    })
    .await;
    // It begins a little before it is made, for those whose clock is behind.
    let validity = list.next_update().duration_since(list.this_update()).unwrap();
    assert!(validity < MINUTE * 30, "{validity:?}, where a day is the default");
    daemon.ca.terminate().await;
}

#[tokio::test]
async fn takes_the_wrapping_key_that_is_in_use_and_no_other() {
    let mut daemon = Changing::start().await;
    let (new, other) = (daemon.folder.path().join("new.key"), daemon.folder.path().join("other.key"));
    for path in [&new, &other] {
        generate_wrapping_key(path).unwrap();
    }
    let file = NewWrappingKey::File(new.to_str().unwrap().to_owned());
    let request = RekeyRequest { new_wrapping_key: Some(file) };
    daemon.ca.admin().authority().rekey(request).await.unwrap();
    daemon.reload(|config| config.wrapping_key = WrappingKeySource::File(new)).await;
    let record = daemon.last_record().await;
    assert_eq!((record.outcome(), record.details["changed"].as_str()), (AuditOutcome::Done, "wrapping_key"));

    let change = |config: &mut Config| {
        config.wrapping_key = WrappingKeySource::File(other);
        config.validity.x509_svid = MINUTE * 15;
    };
    daemon.reload(change).await;
    let record = daemon.last_record().await;
    assert_eq!(record.outcome(), AuditOutcome::Failed);
    assert!(record.details["reason"].contains("wrapping_key"), "{record:?}");
    assert!(daemon.lifetime().await > MINUTE * 30, "nothing of that file holds");
    daemon.ca.terminate().await;
}

#[tokio::test]
async fn names_what_waits_for_the_next_start() {
    let mut daemon = Changing::start().await;
    let change = |config: &mut Config| {
        config.listen = "127.0.0.1:1".parse().unwrap();
        config.server_names.push("b.example.org".to_owned());
        config.keys.kind = KeyKind::EcP384;
        config.federation.web_roots = "/nowhere/roots.pem".into();
        config.workload_api.agent_path = "/agents/local".to_owned();
        config.crl.url = Some(CrlUrl::parse("http://ca.example.org/crl/").unwrap());
        config.validity.x509_svid = MINUTE * 15;
    };
    daemon.reload(change).await;
    let record = daemon.last_record().await;
    assert_eq!(record.outcome(), AuditOutcome::Done);
    assert_eq!(record.details["changed"], "validity.x509_svid");
    assert_eq!(
        record.details["need_restart"],
        "crl.url federation.web_roots keys.kind listen server_names workload_api.agent_path"
    );
    let log = daemon.ca.log();
    let said = log.lines().find(|line| line.contains("keep their value until the next start"));
    assert!(said.unwrap_or_default().contains("keys.kind"), "{log}");
    assert!(daemon.lifetime().await < MINUTE * 30, "the rest takes effect all the same");
    // It listens where it did, and issues by what it began with.
    let client = daemon.ca.connect(None).await;
    client.call("/grpc.health.v1.Health/Check").await.unwrap();
    daemon.ca.terminate().await;
}

#[tokio::test]
async fn keeps_everything_when_the_file_is_not_usable() {
    let mut daemon = Changing::start().await;
    daemon.reload(|config| config.validity.x509_svid = MINUTE * 15).await;
    let mut contradiction = daemon.folder.config.clone();
    contradiction.validity.x509_svid = contradiction.validity.issuing_ca * 2;
    let good = fs::read_to_string(daemon.folder.write_config()).unwrap();
    for (broken, named) in [
        ("trust_domain: [".to_owned(), "not YAML"),
        (format!("{good}\nsomething_else: 1\n"), "something_else"),
        (serde_saphyr::to_string(&contradiction).unwrap(), "validity.x509_svid"),
        (String::new(), "mapping"),
    ] {
        daemon.reload_text(&broken).await;
        let record = daemon.last_record().await;
        assert_eq!(record.outcome(), AuditOutcome::Failed, "{record:?}");
        assert!(record.details["reason"].contains(named), "{record:?}");
        assert!(daemon.lifetime().await < MINUTE * 30, "what held before holds still");
    }
    assert_eq!(daemon.ca.log().matches("is refused; nothing changes").count(), 4, "{}", daemon.ca.log());
    daemon.reload(|config| config.validity.x509_svid = MINUTE * 45).await;
    assert!(daemon.lifetime().await > MINUTE * 30, "a good file is taken again");
    daemon.ca.terminate().await;
}
