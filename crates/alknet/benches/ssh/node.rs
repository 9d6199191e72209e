//! Our side: the release binary on a data folder of its own, with a key file.

use std::{
    io::{BufRead, BufReader},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::client::{Key, Server, Site, Sites, done, printed};

/// A node that serves until it is dropped.
pub struct Node<'a> {
    child: Child,
    port: u16,
    data: PathBuf,
    sites: Sites<'a>,
}

/// `alknet` on a data folder.
pub fn alknet(data: &Path) -> Command {
    alknet_at(Site::Here, data)
}

/// The same, running there.
pub fn alknet_at(site: Site<'_>, data: &Path) -> Command {
    let mut command = site.command(env!("CARGO_BIN_EXE_alknet"));
    command.arg("--data").arg(data).stdout(Stdio::null());
    command
}

impl<'a> Node<'a> {
    /// A new node that knows `key` as its owner's.
    pub fn start(folder: &Path, key: &Key) -> Self {
        Self::start_at(Sites::HERE, folder, key)
    }

    /// The same, somewhere else.
    pub fn start_at(sites: Sites<'a>, folder: &Path, key: &Key) -> Self {
        let data = folder.join(format!("node-{}", std::process::id())).join(unused(folder));
        done(alknet(&data).args(["init", "--key-file"]).stderr(Stdio::null()));
        done(alknet(&data).args(["peer", "add", "me", "--role", "owner", "--key"]).arg(key.public()));
        Self::serve_at(sites, &data)
    }

    /// Starts the node of an existing data folder, and returns when it says that it serves.
    pub fn serve(data: &Path) -> Self {
        Self::serve_at(Sites::HERE, data)
    }

    fn serve_at(sites: Sites<'a>, data: &Path) -> Self {
        let mut serve = alknet_at(sites.servers, data);
        let listen = format!("{}:0", sites.servers.addr());
        serve.args(["--json", "serve", "--listen", &listen]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = serve.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: serde_json::Value = serde_json::from_str(&line).expect("the line that says it serves");
        let port = u16::try_from(said["port"].as_u64().unwrap()).unwrap();
        Self { child, port, data: data.to_owned(), sites }
    }

    /// A ProxyCommand that reaches this node over TLS as a pinned peer would, from a data folder of its own.
    pub fn proxy_command(&self, folder: &Path) -> String {
        let (data, program) = (self.befriend(folder), env!("CARGO_BIN_EXE_alknet"));
        format!("ProxyCommand={program} --data {} connect --carrier tcp box alknet/ssh", data.display())
    }

    /// The data folder of another node, which is an owner here and knows this one as `box`.
    pub fn befriend(&self, folder: &Path) -> PathBuf {
        let ask = |data: &Path, question: &[&str]| -> serde_json::Value {
            let answer = printed(alknet(data).args(question).arg("--json").stdout(Stdio::piped()));
            serde_json::from_str(&answer).unwrap()
        };
        let data = folder.join("client").join(unused(folder));
        done(alknet(&data).args(["init", "--key-file"]).stderr(Stdio::null()));
        let ticket = ask(&self.data, &["status"])["ticket"].as_str().unwrap().to_owned();
        done(alknet(&data).args(["peer", "add", "box", "--ticket", &ticket]));
        let id = ask(&data, &["identity", "show"])["node_id"].as_str().unwrap().to_owned();
        let name = format!("friend-{}", &id[..8]);
        done(alknet(&self.data).args(["peer", "add", &name, "--role", "owner", "--key", &id]));
        data
    }
}

impl Server for Node<'_> {
    fn clients(&self) -> Site<'_> {
        self.sites.clients
    }
    fn host(&self) -> Ipv4Addr {
        self.sites.servers.addr()
    }
    fn port(&self) -> u16 {
        self.port
    }
    fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Node<'_> {
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
