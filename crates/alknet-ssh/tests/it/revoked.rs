use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use alknet_core::ProtocolHandler;

use crate::node::{Client, Node, runs, wait_for};

/// How soon a removed peer is out.
pub const SOON: Duration = Duration::from_secs(5);

pub fn pid_of(node: &Node) -> String {
    let read = || std::fs::read_to_string(node.path("pid")).unwrap_or_default();
    wait_for("the process", || read().ends_with('\n'));
    read()
}

pub fn ends_soon(mut client: Client, pid: &str, begin: Instant) {
    wait_for("the client to be cut off", || client.0.try_wait().unwrap().is_some());
    wait_for("the process to end", || !runs(pid));
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
}

/// SSH-40, in each state that a session can be in.
#[test]
fn a_removed_peer_is_out_within_seconds() {
    let sleeping = "echo $$ > pid; exec sleep 600";
    let writing = "echo $$ > pid; exec cat /dev/zero";
    for (options, command, output) in [
        (vec![], sleeping, Stdio::null()),
        (vec![], "trap '' HUP; echo $$ > pid; while :; do sleep 0.2; done", Stdio::null()),
        // Nobody reads what these write: the window is closed, and the terminal's buffer is full.
        (vec![], writing, Stdio::piped()),
        (vec!["-tt"], writing, Stdio::piped()),
        // In the midst of one rekey after the other.
        (vec!["-o", "RekeyLimit=16K"], writing, Stdio::null()),
    ] {
        let node = Node::start();
        let mut ssh = node.ssh(&options, command);
        let client = Client(ssh.stdout(output).stderr(Stdio::null()).spawn().unwrap());
        let pid = pid_of(&node);
        let begin = Instant::now();
        assert_eq!(node.remove("me", "alice"), 1);
        ends_soon(client, &pid, begin);
        assert!(node.sessions.list().is_empty());
        assert_eq!(node.run(&[], "true").status.code(), Some(255), "and does not come in again");
    }
}

/// SSH-40: a connection without a channel.
#[test]
fn a_removed_peers_idle_connection_ends() {
    let node = Node::start();
    let (mut master, _) = node.master();
    let begin = Instant::now();
    assert_eq!(node.remove("me", "alice"), 1);
    wait_for("the client to be cut off", || master.0.try_wait().unwrap().is_some());
    assert!(begin.elapsed() < SOON);
}

/// SSH-41: SIGHUP first, for those that want to tidy up; SIGKILL for those that do not listen.
#[test]
fn processes_end_with_their_connection() {
    let node = Node::start();
    for command in [
        "trap 'touch tidied; exit' HUP; echo $$ > pid; while :; do sleep 0.05; done",
        "trap '' HUP; echo $$ > pid; while :; do sleep 1; done",
    ] {
        let _ = std::fs::remove_file(node.path("pid"));
        let client = Client(node.ssh(&[], command).spawn().unwrap());
        let (pid, begin) = (pid_of(&node), Instant::now());
        drop(client);
        wait_for("the process to end", || !runs(&pid));
        assert!(begin.elapsed() < SOON);
    }
    assert!(node.path("tidied").exists());
}

/// SSH-41: the whole group, not only its leader.
#[test]
fn the_whole_group_ends() {
    let node = Node::start();
    let command = "sh -c 'trap \"\" HUP; echo $$ > pid; while :; do sleep 1; done' & wait";
    let client = Client(node.ssh(&[], command).spawn().unwrap());
    let pid = pid_of(&node);
    drop(client);
    wait_for("the grandchild to end", || !runs(&pid));
}

/// SSH-42.
#[test]
fn a_stopping_server_lets_running_sessions_finish() {
    let node = Node::start();
    let mut running = node.ssh(&[], "touch up; while [ ! -e go ]; do sleep 0.05; done; echo finished");
    let running = running.stdout(Stdio::piped()).spawn().unwrap();
    wait_for("the session", || node.path("up").exists());
    node.runtime.block_on(node.server.shutdown());
    assert_eq!(node.run(&[], "true").status.code(), Some(255), "nothing new");
    std::fs::write(node.path("go"), "").unwrap();
    assert_eq!(running.wait_with_output().unwrap().stdout, b"finished\n");
    wait_for("the session to end", || node.sessions.list().is_empty());
}
