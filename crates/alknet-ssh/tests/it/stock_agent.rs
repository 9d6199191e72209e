//! A stock ssh-agent.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::node::{Client, Node, listens, wait_for};

/// An ssh-agent that ends with this value.
pub struct StockAgent {
    pub socket: PathBuf,
    _process: Client,
}

impl StockAgent {
    /// Starts one without keys, beside the keys of a node's clients.
    pub fn start(node: &Node) -> Self {
        let socket = node.path("agent");
        let started = Command::new("ssh-agent").args(["-D", "-a"]).arg(&socket).stdout(Stdio::null()).spawn();
        let process = Client(started.unwrap());
        wait_for("the agent", || listens(&socket));
        Self { socket, _process: process }
    }

    /// Gives it a key.
    pub fn add(&self, key: &Path) {
        let mut add = Command::new("ssh-add");
        assert!(add.arg("-q").arg(key).env("SSH_AUTH_SOCK", &self.socket).status().unwrap().success());
    }
}

/// The same command with an agent, which the other tests do without.
pub fn with_agent(ssh: &Command, agent: &Path) -> Command {
    let mut command = Command::new(ssh.get_program());
    let words =
        ssh.get_args().map(|word| if word == "IdentityAgent=none" { OsStr::new("BatchMode=yes") } else { word });
    command.args(words).env("SSH_AUTH_SOCK", agent).stdin(Stdio::null());
    command
}
