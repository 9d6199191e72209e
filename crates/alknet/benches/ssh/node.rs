//! Our side: the release binary on a data folder of its own, with a key file.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::client::{Key, Server, done, printed};

/// A node that serves until it is dropped.
pub struct Node {
    child: Child,
    port: u16,
    data: PathBuf,
}

/// `alknet` on a data folder.
pub fn alknet(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alknet"));
    command.arg("--data").arg(data).stdout(Stdio::null());
    command
}

impl Node {
    /// A new node that knows `key` as its owner's.
    pub fn start(folder: &Path, key: &Key) -> Self {
        let data = folder.join(format!("node-{}", std::process::id())).join(unused(folder));
        done(alknet(&data).args(["init", "--key-file"]).stderr(Stdio::null()));
        done(alknet(&data).args(["peer", "add", "me", "--role", "owner", "--key"]).arg(key.public()));
        Self::serve(&data)
    }

    /// Starts the node of an existing data folder, and returns when it says that it serves.
    pub fn serve(data: &Path) -> Self {
        let mut serve = alknet(data);
        serve.args(["--json", "serve", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = serve.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: serde_json::Value = serde_json::from_str(&line).expect("the line that says it serves");
        let port = u16::try_from(said["port"].as_u64().unwrap()).unwrap();
        Self { child, port, data: data.to_owned() }
    }

    /// A ProxyCommand that reaches this node over TLS as a pinned peer would, from a data folder of its own.
    pub fn proxy_command(&self, folder: &Path) -> String {
        let status = printed(alknet(&self.data).args(["status", "--json"]).stdout(Stdio::piped()));
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let data = folder.join("client").join(unused(folder));
        done(alknet(&data).args(["init", "--key-file"]).stderr(Stdio::null()));
        done(alknet(&data).args(["peer", "add", "box", "--ticket", status["ticket"].as_str().unwrap()]));
        let program = env!("CARGO_BIN_EXE_alknet");
        format!("ProxyCommand={program} --data {} connect --carrier tcp box alknet/ssh", data.display())
    }
}

impl Server for Node {
    fn port(&self) -> u16 {
        self.port
    }
    fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// Asks a process to end, and waits for it a while.
pub fn stop(child: &mut Child) {
    let pid = rustix::process::Pid::from_child(child);
    // It may have ended by itself.
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    let patience = Instant::now() + Duration::from_secs(10);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > patience {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A name that is not taken in this run.
fn unused(folder: &Path) -> String {
    tempfile::Builder::new()
        .prefix("d")
        .tempdir_in(folder)
        .unwrap()
        .path()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .into()
}
