use std::{io::Write, process::Stdio, time::Duration};

use crate::node::{Client, Node, wait_for};

/// SSH-27.
#[test]
fn many_channels_share_a_connection() {
    let node = Node::start();
    let (_master, join) = node.master();
    let commands: Vec<_> = (0..24)
        .map(|n| {
            let mut ssh = node.ssh(&["-o", &join], &format!("head -c 1000000 /dev/zero | wc -c; echo m{n}"));
            ssh.stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for (n, child) in commands.into_iter().enumerate() {
        assert_eq!(child.wait_with_output().unwrap().stdout, format!("1000000\nm{n}\n").into_bytes());
    }
    assert_eq!(node.sessions.list().len(), 1, "one login");
}

/// SSH-27.
#[test]
fn more_channels_than_allowed_are_refused_and_come_free_again() {
    let node = Node::with(|config| config.limits.max_channels = 1);
    let (_master, join) = node.master();
    let first = Client(node.ssh(&["-o", &join], "touch up; exec sleep 60").spawn().unwrap());
    wait_for("the first", || node.path("up").exists());
    // A refused client makes a connection of its own.
    let refused = || String::from_utf8_lossy(&node.run(&["-o", &join], "true").stderr).contains("refused");
    assert!(refused());
    drop(first);
    wait_for("a place", || !refused());
}

fn write_endlessly(node: &Node, join: &str) -> Client {
    let mut ssh = node.ssh(&["-o", join], "touch stalled; exec sleep 600");
    let mut child = ssh.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::spawn(move || while stdin.write_all(&[0; 65536]).is_ok() {});
    wait_for("the stalled process", || node.path("stalled").exists());
    Client(child)
}

/// SSH-31: what a stalled channel may hold does not disturb the others.
#[test]
fn a_stalled_channel_leaves_the_others_alone() {
    let node = Node::start();
    let (_master, join) = node.master();
    let mut ssh = node.ssh(&["-o", &join], "touch stalled; exec sleep 600");
    let mut child = ssh.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // As much as a pipe, a window and the client's own buffers take without being read.
    std::thread::spawn(move || stdin.write_all(&vec![0; 4 << 20]));
    let _stalled = Client(child);
    wait_for("the stalled process", || node.path("stalled").exists());
    assert_eq!(node.text(&["-o", &join], "head -c 8000000 /dev/zero | wc -c"), "8000000\n");
}

/// SSH-32: one that is written to without end loses its channel.
#[test]
fn a_channel_that_holds_up_the_others_is_closed() {
    let node = Node::with(|config| config.limits.stall_timeout = Duration::from_secs(1));
    let (_master, join) = node.master();
    let mut stalled = write_endlessly(&node, &join);
    assert_eq!(node.text(&["-o", &join], "echo moving"), "moving\n");
    // With another channel open the first one has to go.
    let mut other =
        node.ssh(&["-o", &join], "while [ ! -e done ]; do sleep 0.1; done; head -c 100000 /dev/zero | wc -c");
    let other = other.stdout(Stdio::piped()).spawn().unwrap();
    wait_for("the end of the stalled client", || stalled.0.try_wait().unwrap().is_some());
    std::fs::write(node.path("done"), "").unwrap();
    assert_eq!(other.wait_with_output().unwrap().stdout, b"100000\n");
    assert_eq!(node.text(&["-o", &join], "echo on"), "on\n");
}

/// SSH-33: a client that is gone is noticed although nothing more is read from it.
#[test]
fn a_vanished_client_ends_its_stalled_process() {
    let node = Node::start();
    let mut ssh = node.ssh(&[], "echo $$ > pid; exec sleep 600");
    let mut child = ssh.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::spawn(move || while stdin.write_all(&[0; 65536]).is_ok() {});
    wait_for("the process", || std::fs::read_to_string(node.path("pid")).is_ok_and(|pid| pid.ends_with('\n')));
    let pid = std::fs::read_to_string(node.path("pid")).unwrap();
    // Until the client can get rid of nothing more.
    let written = || std::fs::read_to_string(format!("/proc/{}/io", child.id())).unwrap_or_default();
    let mut before = String::new();
    wait_for("a full pipe", || {
        std::thread::park_timeout(Duration::from_millis(500));
        let now = written();
        std::mem::replace(&mut before, now.clone()) == now
    });
    drop(Client(child));
    wait_for("the end of the process", || !crate::node::runs(&pid));
}

/// SSH-05: keys change in mid-stream without a break.
#[test]
fn a_rekey_in_the_middle_does_no_harm() {
    let node = Node::start();
    let text = node.text(&["-o", "RekeyLimit=1M"], "head -c 16000000 /dev/zero | tr '\\0' x");
    assert_eq!(text.len(), 16_000_000);
}
