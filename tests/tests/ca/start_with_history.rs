//! A start of an authority that has issued for years: what has expired is not read, however much it is.

use std::{fs, time::Duration};

use secplane_tests::{authority::CaFolder, database::Database, process::CaProcess, soon};

/// What each record of [`fill`] has at the least, in bytes.
const RECORD: i64 = 500;
/// A tenth of what [`fill`] writes.
const MUCH: i64 = 20_000 * RECORD;

/// Writes 200,000 records of certificates that have expired.
async fn fill(database: &mut Database) {
    match database {
        Database::Sqlite(_) => {
            database
                .run(
                    "INSERT INTO certificates (serial, kind, spiffe_id, dns_names, ip_addresses, not_before, not_after,
                         issued_at, requester, lineage, issuer_key_id, certificate, key_sha256)
                     WITH RECURSIVE numbers (number) AS
                         (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < 200000)
                     SELECT 'e' || number, 'x509-svid', 'spiffe://example.org/' || number, '', '', 1, 2,
                         1, 'somebody', 'e' || number, 'aa', zeroblob(500), randomblob(32) FROM numbers",
                )
                .await;
        }
        Database::Postgres(_) => {
            database
                .run(
                    "INSERT INTO certificates (serial, kind, spiffe_id, dns_names, ip_addresses, not_before, not_after,
                         issued_at, requester, lineage, issuer_key_id, certificate, key_sha256)
                     SELECT 'e' || number::text, 'x509-svid', 'spiffe://example.org/' || number::text, '', '', 1, 2,
                         1, 'somebody', 'e' || number::text, 'aa', decode(repeat('00', 500), 'hex'),
                         sha256(number::text::bytea)
                     FROM generate_series(1, 200000) AS number",
                )
                .await;
            // As a server does by itself, which is off where tests run.
            database.run("ANALYZE certificates").await;
        }
    }
}

/// Waits until nobody else is connected to a PostgreSQL database. Whoever goes tells the statistics before.
async fn until_alone(database: &mut Database) {
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    soon("the others are gone", async {
        while database.number(others).await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// How much one start reads, in bytes: of all files, or of the records on a server.
async fn read_by_a_start(folder: &CaFolder) -> i64 {
    let mut database = Database::open(folder).await;
    if matches!(database, Database::Sqlite(_)) {
        // Whoever closes it last leaves no journal to be read.
        database.close().await;
        let ca = CaProcess::start(folder).await;
        let io = fs::read_to_string(format!("/proc/{}/io", ca.pid())).unwrap();
        ca.terminate().await;
        return io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap();
    }
    until_alone(&mut database).await;
    database.run("SELECT pg_stat_reset()").await;
    CaProcess::start(folder).await.terminate().await;
    until_alone(&mut database).await;
    let read = "SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)
         FROM pg_stat_user_tables WHERE relname = 'certificates'";
    let records = database.number(read).await;
    database.close().await;
    records * RECORD
}

#[tokio::test]
async fn reads_hardly_more_than_without_it() {
    let folder = CaFolder::new();
    CaProcess::start(&folder).await.terminate().await;
    let before = read_by_a_start(&folder).await;
    let mut database = Database::open(&folder).await;
    fill(&mut database).await;
    assert!(database.certificates().await > 200_000);
    database.close().await;
    let after = read_by_a_start(&folder).await;
    assert!(after - before < MUCH, "{before} bytes without it, {after} with it");
}
