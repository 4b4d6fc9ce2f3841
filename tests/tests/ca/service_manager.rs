//! What the service manager and signals bring about.

use std::{os::unix::net::UnixDatagram, time::Duration};

use secplane_tests::{
    authority::CaFolder,
    process::{CaProcess, Signal},
    soon,
};
use tokio::net::UnixDatagram as AsyncDatagram;

/// The service manager's end of sd_notify(3).
pub(super) struct ServiceManager {
    socket: AsyncDatagram,
    pub(super) path: String,
}

impl ServiceManager {
    pub(super) fn new(folder: &CaFolder) -> Self {
        let path = folder.path().join("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket: AsyncDatagram::from_std(socket).unwrap(), path: path.to_str().unwrap().to_owned() }
    }

    async fn hears(&self) -> String {
        let mut message = [0; 4096];
        let length = soon("the daemon tells its state", self.socket.recv(&mut message)).await.unwrap();
        String::from_utf8_lossy(&message[..length]).trim_end().to_owned()
    }

    /// The next message but the watchdog's.
    pub(super) async fn hears_of_state(&self) -> String {
        loop {
            let message = self.hears().await;
            if message != "WATCHDOG=1" {
                return message;
            }
        }
    }

    /// Has the daemon read its configuration again, and waits until it has.
    pub(super) async fn reload(&self, ca: &CaProcess) {
        ca.signal(Signal::HUP);
        assert!(self.hears_of_state().await.starts_with("RELOADING=1"));
        assert_eq!(self.hears_of_state().await, "READY=1");
    }
}

#[tokio::test]
async fn tells_the_service_manager_how_it_goes() {
    let folder = CaFolder::new();
    let manager = ServiceManager::new(&folder);
    let environment = [("NOTIFY_SOCKET", manager.path.as_str()), ("WATCHDOG_USEC", "100000")];
    let ca = CaProcess::start_in(&folder, &[], &environment).await;
    assert_eq!(manager.hears_of_state().await, "READY=1");
    for _ in 0..3 {
        assert_eq!(manager.hears().await, "WATCHDOG=1");
    }
    ca.signal(Signal::HUP);
    let reloading = manager.hears_of_state().await;
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(manager.hears_of_state().await, "READY=1");
    ca.terminate().await;
    assert_eq!(manager.hears_of_state().await, "STOPPING=1");
}

/// A caller who never finishes makes the daemon wait; whoever has no time for that says so twice.
#[tokio::test]
async fn ends_at_once_at_the_second_signal() {
    let folder = CaFolder::new();
    let ca = CaProcess::start(&folder).await;
    let socket = folder.config.workload_api_socket();
    let stuck = secplane_tests::workload::begin_and_never_finish(&socket).await;
    ca.signal(Signal::TERM);
    soon("it has begun to stop", async {
        while !ca.log().contains("a second signal ends the process") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    ca.signal(Signal::INT);
    let status = ca.wait().await;
    assert_eq!(status.code(), Some(1), "{status}");
    drop(stuck);
}
