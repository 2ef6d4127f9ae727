//! Debian's docker-registry as a fixture: somebody else's registry, on loopback, with storage of its own.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The binary of Debian's package `docker-registry`.
const BINARY: &str = "/usr/bin/docker-registry";

/// A running registry that goes with this value.
#[derive(Debug)]
pub struct DebianRegistry {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl DebianRegistry {
    /// Starts one without TLS and without users.
    ///
    /// # Panics
    /// When the package is not installed (`scripts/setup test` does that) or it does not come up.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("shipway-registry-").tempdir_in("/dev/shm").expect("tempdir");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
        let settings = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:{port}\n",
            folder.path().join("data").display()
        );
        let path = folder.path().join("config.yml");
        std::fs::write(&path, settings).expect("settings");
        let child = Command::new(BINARY)
            .arg("serve")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed: scripts/setup test");
        let registry = Self { child, port, folder };
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "docker-registry does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        registry
    }

    /// Its name in references.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where its data is.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }
}

impl Drop for DebianRegistry {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
