//! A PostgreSQL database of the first schema is carried on.
//!
//! An authority of today fills it: no table of the first schema has changed its columns since, so its rows are those
//! that the first version wrote. They are moved into tables that the first migration makes.

use std::path::Path;

use ca_daemon::config::DatabaseConfig;
use secplane_identity::{PrivateKey, revocation::KeyHash};
use secplane_proto::{
    secplane::ca::v1::revoke_request::Target,
    spire::api::{
        server::{
            bundle::v1::{BatchCreateFederatedBundleRequest, GetFederatedBundleRequest},
            trustdomain::v1::{BatchCreateFederationRelationshipRequest, GetFederationRelationshipRequest},
        },
        types::{
            Bundle, Entry, FederationRelationship, HttpsspiffeProfile,
            federation_relationship::BundleEndpointProfile,
        },
    },
};
use secplane_tests::{
    agents::Agent,
    audit_log::AuditLog,
    authority::{Ca, CaFolder},
    clients::Clients,
    entries::entry,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection, migrate::Migrator};

/// Where there may be nothing to move: what is made by the way, or kept elsewhere.
const MAY_BE_EMPTY: [&str; 4] = ["audit_nodes", "leases", "replicas", "secrets"];

/// Puts what stands in the database of an authority into the first schema.
async fn into_first_schema(folder: &CaFolder) {
    let DatabaseConfig::Postgres(config) = &folder.config.database else {
        unreachable!("these tests run on PostgreSQL")
    };
    let mut connection = PgConnection::connect(&config.url).await.unwrap();
    run(&mut connection, "ALTER SCHEMA public RENAME TO today".to_owned()).await;
    run(&mut connection, "CREATE SCHEMA public".to_owned()).await;
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations/postgres");
    Migrator::new(migrations.as_path()).await.unwrap().run_to(1, &mut connection).await.unwrap();
    let tables: Vec<(String, String)> = sqlx::query_as(
        "SELECT table_name::text, string_agg(quote_ident(column_name), ', ') FROM information_schema.columns
         WHERE table_schema = 'public' AND table_name <> '_sqlx_migrations' GROUP BY table_name",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    for (table, columns) in tables {
        let statement = format!(
            "INSERT INTO public.{table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM today.{table}"
        );
        let moved = run(&mut connection, statement).await;
        assert!(moved > 0 || MAY_BE_EMPTY.contains(&table.as_str()), "there is no row of {table}");
    }
    // As if each row had taken its position there.
    let next =
        "SELECT setval(pg_get_serial_sequence('certificates', 'position'), max(position)) FROM certificates";
    run(&mut connection, next.to_owned()).await;
    run(&mut connection, "DROP SCHEMA today CASCADE".to_owned()).await;
    connection.close().await.unwrap();
}

async fn run(connection: &mut PgConnection, statement: String) -> u64 {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.unwrap().rows_affected()
}

/// A foreign trust domain: its bundle, and where it is fetched.
async fn federate(admin: &Clients) {
    let bundle = Bundle { trust_domain: "a.net".to_owned(), ..Bundle::default() };
    let request = BatchCreateFederatedBundleRequest { bundle: vec![bundle], output_mask: None };
    admin.bundle().batch_create_federated_bundle(request).await.unwrap();
    let relationship = FederationRelationship {
        trust_domain: "a.net".to_owned(),
        // Nothing listens there.
        bundle_endpoint_url: "https://127.0.0.1:1/".to_owned(),
        bundle_endpoint_profile: Some(BundleEndpointProfile::HttpsSpiffe(HttpsspiffeProfile {
            endpoint_spiffe_id: "spiffe://a.net/spire/server".to_owned(),
        })),
        trust_domain_bundle: None,
    };
    let request = BatchCreateFederationRelationshipRequest {
        federation_relationships: vec![relationship],
        output_mask: None,
    };
    admin.trust_domain().batch_create_federation_relationship(request).await.unwrap();
}

#[tokio::test]
async fn is_carried_on_with_rows_in_every_table() {
    let ca = Ca::start().await;
    let (admin, root) = (ca.admin(), ca.root_fingerprint());
    let web = Entry { x509_svid_ttl: 1800, ..entry("/web", &["uid:4711"]) };
    let web = admin.create_entry(web).await;
    let alice = admin.issue_client("alice", 0).await.unwrap();
    let bob = admin.issue_client("bob", 0).await.unwrap();
    admin.revoke(&bob).await.unwrap();
    let carol = admin.issue_client("carol", 0).await.unwrap();
    let hash = KeyHash::of(&carol.leaf().public_key_info).to_string();
    assert_eq!(admin.revoke_all(Target::PublicKeySha256(hash)).await.unwrap(), 1);
    let agent = Agent::attest(&ca).await;
    let token = admin.join_token().await;
    federate(&admin).await;
    let mut kept = vec![AuditLog::read(&admin).await.checkpoint()];
    let folder = ca.stop().await;
    into_first_schema(&folder).await;

    let mut ca = folder.start().await;
    // Once as an authority that finds the first schema, once as one that has migrated already.
    for _ in 0..2 {
        let (admin, bundle) = (ca.admin(), ca.bundle().await);
        assert_eq!(ca.root_fingerprint(), root);
        assert_eq!(admin.get_entry(&web.id).await.unwrap(), web);
        let similar = admin.try_create_entry(entry("/web", &["uid:4711"])).await.unwrap();
        assert_eq!(similar.id, web.id, "a similar entry is answered, not created");
        alice.knock(ca.grpc_address(), &bundle).await.unwrap();
        for revoked in [&bob, &carol] {
            let alert = revoked.knock(ca.grpc_address(), &bundle).await.unwrap_err();
            assert!(alert.to_string().contains("CertificateRevoked"), "{alert}");
        }
        ca.connect_as(&agent.holder).await.new_svids(&["none"]).await.unwrap();
        let request = GetFederatedBundleRequest { trust_domain: "a.net".to_owned(), output_mask: None };
        admin.bundle().get_federated_bundle(request).await.unwrap();
        let request =
            GetFederationRelationshipRequest { trust_domain: "a.net".to_owned(), output_mask: None };
        admin.trust_domain().get_federation_relationship(request).await.unwrap();
        let issued = admin.mint("/b", 0).await.unwrap();
        issued.knock(ca.grpc_address(), &bundle).await.unwrap();
        let log = AuditLog::read(&admin).await;
        let issues = log.of("certificate.issue");
        assert!(issues.iter().any(|record| record.target == issued.leaf().serial), "{issues:?}");
        log.verify(&kept).unwrap();
        kept.push(log.checkpoint());
        ca = ca.restart().await;
    }
    let key = PrivateKey::generate().unwrap();
    ca.connect_anonymously().await.attest(&token, &key).await.unwrap();
}
