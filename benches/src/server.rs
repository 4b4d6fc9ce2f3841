//! A `ca-daemon` in a process of its own, measured from outside.

use std::{fs, time::Duration};

use secplane_tests::{authority::CaFolder, postgres, process::CaProcess};

use ca_daemon::config::{DatabaseConfig, PostgresConfig};

/// The kernel counts CPU time in hundredths of a second, on every Linux that there is.
const TICK: Duration = Duration::from_millis(10);

/// A running daemon.
pub(crate) struct Server {
    pub(crate) process: CaProcess,
    pub(crate) folder: CaFolder,
}

impl Server {
    pub(crate) async fn start(on_postgres: bool) -> Self {
        Self::start_in(folder(on_postgres)).await
    }

    /// Starts two on one database, which has to be PostgreSQL's: a file takes only one.
    pub(crate) async fn start_two() -> [Self; 2] {
        let first = folder(true);
        let second = CaFolder::replica_of(&first);
        [Self::start_in(first).await, Self::start_in(second).await]
    }

    pub(crate) async fn start_in(folder: CaFolder) -> Self {
        let process = CaProcess::start(&folder).await;
        Self { process, folder }
    }

    /// How much CPU time it has used.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.pid())).unwrap();
        // The name may hold spaces; what follows it does not. utime and stime are fields 14 and 15 (proc(5)).
        let after_name = stat.rsplit_once(')').unwrap().1;
        let fields: Vec<_> = after_name.split_whitespace().collect();
        let ticks: u32 = fields[11..=12].iter().map(|ticks| ticks.parse::<u32>().unwrap()).sum();
        TICK * ticks
    }

    /// How much memory is resident, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

fn folder(on_postgres: bool) -> CaFolder {
    let mut folder = CaFolder::new();
    if on_postgres {
        let config = PostgresConfig { url: postgres::new_database(), password: None };
        folder.config.database = DatabaseConfig::Postgres(config);
    }
    folder.config.log.filter = "warn".to_owned();
    // What one agent may ask for is not what is measured.
    folder.config.limits.signatures = 0;
    folder
}
