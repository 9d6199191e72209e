//! `alknet ssh` as its users meet it.

use std::{
    io::{BufRead, BufReader},
    process::{Output, Stdio},
};

use crate::{
    folder::{Folder, errors, wait_until},
    running::RunningNode,
};

/// A node `box`, and another folder whose node key is its owner's.
pub struct Pair {
    pub client: Folder,
    pub server: Folder,
    pub node: RunningNode,
}

impl Pair {
    pub fn start() -> Self {
        let (client, server) = (Folder::with_identity(), Folder::with_identity());
        let node = server.serve();
        let pair = Self { client, server, node };
        pair.let_in("owner");
        let ticket = pair.server.json(&["status"])["ticket"].as_str().unwrap().to_owned();
        pair.client.run(&["peer", "add", "box", "--ticket", &ticket]);
        pair
    }

    fn let_in(&self, role: &str) {
        let id = self.client.json(&["identity", "show"])["node_id"].as_str().unwrap().to_owned();
        self.server.run(&["peer", "add", "laptop", "--key", &id, "--role", role]);
    }

    fn ssh(&self, words: &[&str]) -> Output {
        self.client.output(&[&["ssh"], words].concat())
    }
}

/// CLI-31, over both carriers.
#[test]
fn a_command_has_our_streams_and_gives_us_its_status() {
    let pair = Pair::start();
    for carrier in ["tcp", "quic"] {
        let run = pair.ssh(&["--carrier", carrier, "box", "echo out; echo err >&2; exit 7"]);
        assert_eq!((run.status.code(), &run.stdout[..], &run.stderr[..]), (Some(7), &b"out\n"[..], &b"err\n"[..]));
    }
    assert_eq!(pair.ssh(&["box", "kill -TERM $$"]).status.code(), Some(143), "128 and the signal's number");
    let echoed = pair.client.output_of(&["ssh", "box", "cat; echo done"], &"x".repeat(3_000_000));
    assert_eq!(echoed.stdout.len(), 3_000_005);
    assert_eq!(pair.ssh(&["box", "echo", "-n", "a  b"]).stdout, b"a b", "as ssh joins it");
    assert_eq!(pair.ssh(&["-t", "box", "tty"]).stdout[..5], *b"/dev/");
    assert_eq!(pair.client.output_of(&["ssh", "-T", "box"], "exit 5\n").status.code(), Some(5));
}

/// CLI-32.
#[test]
fn who_is_not_let_in_is_told_why() {
    let pair = Pair::start();
    let refused = pair.ssh(&["nobody-here@box", "true"]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(errors(&refused).contains("none of the 2 keys that were offered"), "{}", errors(&refused));
    pair.server.run(&["peer", "remove", "laptop"]);
    pair.let_in("observer");
    let refused = pair.ssh(&["box", "true"]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(errors(&refused).contains("the node refuses to run the command"), "{}", errors(&refused));
    let unknown = pair.ssh(&["nowhere", "true"]);
    assert_eq!(unknown.status.code(), Some(4));
}

/// CLI-31: the session ends with this process, and at once.
#[test]
fn a_process_ends_with_its_client() {
    let pair = Pair::start();
    let mut command = pair.client.command(&["ssh", "--carrier", "quic", "box", "echo $$; exec sleep 1000"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut pid = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut pid).unwrap();
    let process = std::path::PathBuf::from(format!("/proc/{}", pid.trim()));
    assert!(process.exists());
    let ours = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(ours, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(255));
    wait_until("the process is gone", || !process.exists());
}

/// CLI-02.
#[test]
fn an_unpinned_node_gets_no_login() {
    let pair = Pair::start();
    let address = format!("127.0.0.1:{}", pair.node.port);
    let other = Folder::with_identity();
    let refused = other.refused(&["ssh", &address, "true"], 3);
    assert!(refused.contains("which nobody vouched for") && refused.contains("--trust-on-first-use"), "{refused}");
    assert!(pair.server.json(&["audit", "--denied"]).as_array().unwrap().is_empty(), "it was not even tried");
}

/// An address whose key was taken on trust once is pinned from then on, with and without the flag.
#[test]
fn a_key_that_was_taken_on_trust_is_pinned() {
    let pair = Pair::start();
    let node = format!("@127.0.0.1:{}", pair.node.port);
    let other = Folder::with_identity();
    for flag in [Some("--trust-on-first-use"), Some("--trust-on-first-use"), None] {
        let words: Vec<&str> = ["call", &node, "node/identify", "{}"].into_iter().chain(flag).collect();
        other.run(&words);
    }
    assert_eq!(other.json(&["peer", "list"]).as_array().unwrap().len(), 1);
}
