//! The server's process: on a free loopback port, in a folder of its own.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(10);

pub struct Process {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Process {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("nats-server");
        command.args(["--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir"]).arg(folder.path());
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut child = spawned.unwrap_or_else(|error| {
            panic!("nats-server: {error}; `cargo xtask bench peers` installs it, or: apt-get install nats-server")
        });
        let address = address_of(&mut child, folder.path());
        Self { child, address, _folder: folder }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails when it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// It writes its address into a file once it listens.
fn address_of(child: &mut Child, folder: &Path) -> SocketAddr {
    let file = folder.join(format!("nats-server_{}.ports", child.id()));
    let given_up = Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read(&file).unwrap_or_default();
        if let Ok(ports) = serde_json::from_slice::<serde_json::Value>(&text) {
            return ports["nats"][0].as_str().unwrap().trim_start_matches("nats://").parse().unwrap();
        }
        if let Some(status) = child.try_wait().unwrap() {
            panic!("nats-server ended with {status}");
        }
        assert!(Instant::now() < given_up, "nats-server does not listen");
        thread::sleep(Duration::from_millis(10));
    }
}
