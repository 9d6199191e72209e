//! The end of a session in whatever state it is.

use std::{
    io::Write,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use alknet_ssh::{RecordingLimits, RecordingPolicy, SESSIONS_SCOPE};
use tokio::time::timeout;

use crate::{
    churn::tasks_of,
    live::permit,
    node::{Client, Node, runs, wait_for},
    revoked::{SOON, ends_soon, pid_of},
    starting::obedient,
};

/// Writes to a client without end.
fn flood(child: &mut Child) {
    let mut stdin = child.stdin.take().unwrap();
    thread::spawn(move || while stdin.write_all(&[0; 65536]).is_ok() {});
}

/// Waits until so many bytes came from the only client.
fn came(node: &Node, bytes: u64) {
    let looking = permit(node, SESSIONS_SCOPE);
    wait_for("the flood", || node.live.list(&looking).unwrap().iter().any(|session| session.received > bytes));
}

/// SSH-40: a process that takes nothing, of which much is held.
#[test]
fn a_removed_peers_stalled_process_ends() {
    let node = Node::start();
    let mut ssh = node.ssh(&[], "echo $$ > pid; exec sleep 600");
    let mut client = Client(ssh.stdin(Stdio::piped()).spawn().unwrap());
    flood(&mut client.0);
    let pid = pid_of(&node);
    came(&node, 4 << 20);
    let begin = Instant::now();
    assert_eq!(node.remove("me", "alice"), 1);
    ends_soon(client, &pid, begin);
}

/// SSH-31, SSH-40: a terminal whose process reads nothing, so that the kernel's buffer for what is typed is full.
#[test]
fn a_terminal_that_takes_nothing_leaves_the_others_alone_and_ends() {
    let node = Node::start();
    let (master, join) = node.master();
    let mut ssh = node.ssh(&["-o", &join, "-tt"], "stty raw -echo; echo $$ > pid; exec sleep 600");
    let mut client = Client(ssh.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let pid = pid_of(&node);
    flood(&mut client.0);
    came(&node, 1 << 20);
    assert_eq!(node.text(&["-o", &join], "head -c 8000000 /dev/zero | wc -c"), "8000000\n");
    let begin = Instant::now();
    assert_eq!(node.remove("me", "alice"), 1);
    ends_soon(master, &pid, begin);
}

/// SSH-40: a session that is recorded, and shows more than anybody reads.
#[test]
fn a_removed_peers_recorded_session_ends() {
    let node = Node::with(|config| {
        let (folder, who) = (config.home.join("recordings"), vec!["*".parse().unwrap()]);
        config.recording = Some(RecordingPolicy { folder, who, limits: RecordingLimits::default() });
    });
    let mut ssh = node.ssh(&["-tt"], "echo $$ > pid; exec cat /dev/zero");
    let client = Client(ssh.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let pid = pid_of(&node);
    let begin = Instant::now();
    assert_eq!(node.remove("me", "alice"), 1);
    ends_soon(client, &pid, begin);
}

/// A port whose queue is full: whoever connects waits.
fn black_hole() -> (u16, impl Sized) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(waiting) = TcpStream::connect_timeout(&addr, Duration::from_millis(300)) {
        queue.push(waiting);
        assert!(queue.len() < 10_000, "the queue has no end");
    }
    (addr.port(), (listener, queue))
}

/// FWD-40: a connection that is still being made when its client is removed, or goes away.
#[test]
fn a_forward_that_is_still_connecting_ends_with_its_client() {
    let (port, _hole) = black_hole();
    for removed in [true, false] {
        let node = Node::start();
        let tasks = tasks_of(&node);
        let mut ssh = node.ssh(&["-W", &format!("127.0.0.1:{port}")], "");
        let mut client = Client(ssh.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        wait_for("the request", || node.audit.events().iter().any(|event| event.action == "ssh/forward.local"));
        assert!(node.runtime.metrics().num_alive_tasks() > tasks + 1, "it is not being connected");
        let begin = Instant::now();
        if removed {
            assert_eq!(node.remove("me", "alice"), 1);
            wait_for("the client to be cut off", || client.0.try_wait().unwrap().is_some());
        }
        drop(client);
        wait_for("all tasks to end", || node.runtime.metrics().num_alive_tasks() == tasks);
        assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    }
}

/// FWD-40: a client that goes away while the node begins to listen for it.
#[test]
fn a_listener_for_a_client_that_is_gone_goes_too() {
    let node = Node::start();
    let tasks = tasks_of(&node);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for patience in 0..10 {
        node.runtime.block_on(async {
            let client = obedient(&node, 1 << 20).await;
            // The answer may be there by then or not.
            let _ = timeout(Duration::from_millis(patience), client.tcpip_forward("127.0.0.1", port.into())).await;
        });
    }
    wait_for("all tasks to end", || node.runtime.metrics().num_alive_tasks() == tasks);
    TcpListener::bind(("127.0.0.1", port)).unwrap();
}

/// SSH-40, SSH-41: a background job that outlived its command is no session's, as with OpenSSH.
#[test]
fn what_a_command_left_behind_lives_on() {
    let node = Node::start();
    let pid = node.text(&[], "sleep 600 < /dev/null > /dev/null 2>&1 & echo $!");
    wait_for("the session to end", || node.sessions.list().is_empty());
    let (_master, _) = node.master();
    assert_eq!(node.remove("me", "alice"), 1);
    wait_for("the session to end", || node.sessions.list().is_empty());
    assert!(runs(&pid));
    assert!(Command::new("kill").arg(pid.trim()).status().unwrap().success());
}
