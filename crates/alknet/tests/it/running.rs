//! A node that serves: a child process, ended with the test.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Child, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::folder::{Folder, wait_until};

/// The node of a folder.
pub struct RunningNode {
    child: Child,
    log: PathBuf,
    /// What it said when it served.
    pub node_id: String,
    /// The port that it chose.
    pub port: u16,
}

impl RunningNode {
    /// Starts a node with `alknet serve` or `alknet up` on a port of the system's choice, and waits until it serves.
    pub fn start(folder: &Folder, verb: &str) -> Self {
        Self::start_at(folder, verb, (Ipv4Addr::LOCALHOST, 0).into())
    }

    /// The same at a given address.
    pub fn start_at(folder: &Folder, verb: &str, listen: SocketAddr) -> Self {
        let log = folder.home().join("node.log");
        let mut command = folder.command(&[verb, "--json", "--listen", &listen.to_string()]);
        let mut child = command.stdout(Stdio::piped()).stderr(File::create(&log).unwrap()).spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let Ok(ready) = serde_json::from_str::<Value>(&ready) else {
            child.wait().unwrap();
            panic!("the node did not start: {}", fs::read_to_string(log).unwrap());
        };
        let port = u16::try_from(ready["port"].as_u64().unwrap()).unwrap();
        Self { child, log, node_id: ready["node_id"].as_str().unwrap().to_owned(), port }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits until it is gone.
    pub fn gone(mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the node is gone", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for RunningNode {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
