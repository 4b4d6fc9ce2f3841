//! What the service manager and signals bring about.

use std::{fs, os::unix::net::UnixDatagram, time::Duration};

use secplane_tests::{
    authority::CaFolder,
    process::{CaProcess, Signal},
    soon,
};
use tokio::net::UnixDatagram as AsyncDatagram;

/// The service manager's end of sd_notify(3).
struct ServiceManager {
    socket: AsyncDatagram,
    path: String,
}

impl ServiceManager {
    fn new(folder: &CaFolder) -> Self {
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
    async fn hears_of_state(&self) -> String {
        loop {
            let message = self.hears().await;
            if message != "WATCHDOG=1" {
                return message;
            }
        }
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

#[tokio::test]
async fn reads_its_configuration_again() {
    let mut folder = CaFolder::new();
    let manager = ServiceManager::new(&folder);
    let ca = CaProcess::start_in(&folder, &[], &[("NOTIFY_SOCKET", &manager.path)]).await;
    assert_eq!(manager.hears_of_state().await, "READY=1");
    let reload = async || {
        ca.signal(Signal::HUP);
        assert!(manager.hears_of_state().await.starts_with("RELOADING=1"));
        assert_eq!(manager.hears_of_state().await, "READY=1");
    };
    let lifetime = async || {
        let leaf = ca.admin().mint("/a", 0).await.unwrap().leaf();
        leaf.not_after.duration_since(std::time::SystemTime::now()).unwrap()
    };
    let hour = Duration::from_secs(3600);
    assert!(lifetime().await > hour / 2);

    let listen = folder.config.listen;
    folder.config.validity.x509_svid = hour / 4;
    folder.config.listen = "127.0.0.1:1".parse().unwrap();
    let path = folder.write_config();
    reload().await;
    assert!(lifetime().await < hour / 2, "the new lifetime holds");
    assert!(ca.log().contains("keep their value until the next start"), "{}", ca.log());
    assert!(ca.log().contains(r#"["listen"]"#), "{}", ca.log());

    folder.config.listen = listen;
    fs::write(&path, "trust_domain: [").unwrap();
    reload().await;
    assert!(lifetime().await < hour / 2, "a file that is not usable changes nothing");
    assert!(ca.log().contains("nothing changes"), "{}", ca.log());
    ca.terminate().await;
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
