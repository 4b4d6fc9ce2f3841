//! Connections that die without a word: whatever is on the way to PostgreSQL forgot them, or its machine is gone.

use std::{path::PathBuf, sync::Arc, time::Duration};

use ca_daemon::{
    instant::Clock,
    store::{Notice, Patience, Store, StoreLocation},
};
use secplane_tests::{postgres, soon};
use sqlx::{
    Connection, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, UnixStream},
    sync::{broadcast, watch},
};

/// A way to PostgreSQL that forgets what is connected when it is told to.
struct Way {
    port: u16,
    forgetting: watch::Sender<()>,
}

impl Way {
    async fn to(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let forgetting = watch::Sender::new(());
        let told = forgetting.clone();
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut server = UnixStream::connect(&socket).await.unwrap();
                let mut told = told.subscribe();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        // Nothing is closed, and nothing gets through.
                        _ = told.changed() => std::future::pending().await,
                    }
                });
            }
        });
        Self { port, forgetting }
    }

    /// What is connected now stays so and hears nothing more; who comes later gets through.
    fn forget(&self) {
        self.forgetting.send_replace(());
    }
}

/// Tells of a change as another replica does until that is heard. Who was away is told that anything may have changed.
async fn is_heard(database: &mut PgConnection, changes: &mut broadcast::Receiver<Notice>) {
    const TELL: &str = r#"SELECT pg_notify('secplane', '{"from":"another","notice":"Revocations"}')"#;
    loop {
        sqlx::query(TELL).execute(&mut *database).await.unwrap();
        if changes.recv().await.unwrap() == Notice::Revocations {
            return;
        }
    }
}

#[tokio::test]
async fn are_heard_again_after_a_connection_died_without_a_word() {
    let url = postgres::new_database();
    let direct: PgConnectOptions = url.parse().unwrap();
    let mut database = PgConnection::connect_with(&direct).await.unwrap();
    let socket = direct.get_socket().unwrap().join(format!(".s.PGSQL.{}", direct.get_port()));
    let way = Way::to(socket).await;
    let through = PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(way.port)
        .ssl_mode(PgSslMode::Disable)
        .username("secplane")
        .database(direct.get_database().unwrap());
    let location = StoreLocation::Postgres(Box::new(through));
    let patience = Patience { silence: Duration::from_millis(100), answer: Duration::from_secs(1) };
    let store = Store::open_with(&location, "one", Clock::system(), Arc::default(), patience).await.unwrap();
    soon("a change", is_heard(&mut database, &mut store.changes())).await;

    way.forget();
    let mut changes = store.changes();
    soon("that anything may have changed", async {
        while changes.recv().await.unwrap() != Notice::Everything {}
    })
    .await;
    soon("a change, once more", is_heard(&mut database, &mut changes)).await;
}
