//! What one forward does to the others, and many to the node.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    process::Stdio,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use crate::{
    forward::local_forward,
    node::{Client, Node, listens, wait_for},
    targets::{at_path, echo, kept},
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client with a forward to a target that takes nothing, and one to a target that says everything back.
struct Beside {
    client: Client,
    stalled: std::path::PathBuf,
    moving: std::path::PathBuf,
    /// Connections that nobody reads from.
    held: std::sync::mpsc::Receiver<UnixStream>,
}

fn beside(node: &Node) -> Beside {
    let (keep, held) = kept::<UnixStream>();
    at_path(&node.path("sink"), keep);
    at_path(&node.path("echo"), echo);
    let [stalled, moving] = ["stalled", "moving"].map(|name| node.path(name));
    let spec = |near: &Path, far: &str| format!("{}:{}", near.display(), node.path(far).display());
    let forwards = ["-N", "-L", &spec(&stalled, "sink"), "-L", &spec(&moving, "echo")];
    let client = Client(node.ssh(&forwards, "").spawn().unwrap());
    wait_for("the forwards", || listens(&stalled) && listens(&moving));
    Beside { client, stalled, moving, held }
}

/// Sends this much to where it comes back from.
fn moves(near: &Path, bytes: usize) {
    let mut stream = UnixStream::connect(near).unwrap();
    let mut writer = stream.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all(&vec![7; bytes]).unwrap();
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        assert_eq!(back.len(), bytes);
    });
}

/// FWD-20 and point P1 of docs/upstream: what a stalled target makes the node hold does not disturb the others.
#[test]
fn a_stalled_forward_leaves_the_others_alone() {
    let node = Node::start();
    let forwards = beside(&node);
    let mut stalled = UnixStream::connect(&forwards.stalled).unwrap();
    stalled.set_write_timeout(Some(PATIENCE)).unwrap();
    // A window's worth, and what the client and the sockets hold.
    stalled.write_all(&vec![0; alknet_ssh::limits::WINDOW_BYTES as usize]).unwrap();
    moves(&forwards.moving, 8_000_000);
}

/// FWD-20: one that is written to without end is closed.
#[test]
fn a_forward_that_holds_up_the_others_is_closed() {
    let node = Node::with(|config| config.limits.stall_timeout = Duration::from_secs(1));
    let forwards = beside(&node);
    let mut stalled = UnixStream::connect(&forwards.stalled).unwrap();
    let mut other = UnixStream::connect(&forwards.moving).unwrap();
    let flood = thread::spawn(move || while stalled.write_all(&[0; 65536]).is_ok() {});
    let begin = Instant::now();
    // The others go on, slowly at the worst.
    while !flood.is_finished() {
        assert!(begin.elapsed() < 3 * PATIENCE, "the stalled forward is still there");
        other.write_all(b"x").unwrap();
        other.read_exact(&mut [0]).unwrap();
        thread::park_timeout(Duration::from_millis(20));
    }
    moves(&forwards.moving, 1_000_000);
}

/// FWD-21 and point P2: a client that does not read one connection gets the others all the same.
#[test]
fn a_forward_that_the_client_does_not_read_leaves_the_others_alone() {
    let node = Node::start();
    at_path(&node.path("source"), |mut stream: UnixStream| while stream.write_all(&[0; 65536]).is_ok() {});
    let (_client, near) = local_forward(&node, &node.path("source").display().to_string());
    let unread = UnixStream::connect(&near).unwrap();
    let (_master, join) = node.master();
    let mut cat = node.ssh(&["-o", &join], "exec cat /dev/zero");
    let _unread = Client(cat.stdout(Stdio::piped()).spawn().unwrap());
    assert_eq!(node.text(&["-o", &join], "head -c 8000000 /dev/zero | wc -c"), "8000000\n");
    let mut read = UnixStream::connect(&near).unwrap();
    read.read_exact(&mut vec![0; 8_000_000]).unwrap();
    drop(unread);
}

/// FWD-40: a client whose forward stands still is out as soon as any other.
#[test]
fn a_removed_peers_stalled_forward_ends_within_seconds() {
    let node = Node::start();
    let mut forwards = beside(&node);
    let mut stalled = UnixStream::connect(&forwards.stalled).unwrap();
    let flood = thread::spawn(move || while stalled.write_all(&[0; 65536]).is_ok() {});
    let mut target = forwards.held.recv_timeout(PATIENCE).unwrap();
    target.read_exact(&mut vec![0; 1_000_000]).unwrap();
    let begin = Instant::now();
    assert_eq!(node.remove("me", "alice"), 1);
    wait_for("the client to be cut off", || forwards.client.0.try_wait().unwrap().is_some());
    flood.join().unwrap();
    std::io::copy(&mut target, &mut std::io::sink()).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

/// Point P5: what the library cannot answer is refused, and the connection goes on.
#[test]
fn requests_that_nobody_knows_do_no_harm() {
    let node = Node::start();
    // keepalive@openssh.com from the client, more often than it may go without an answer; no-more-sessions@openssh.com comes by itself.
    let options = ["-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=3"];
    assert_eq!(node.text(&options, "sleep 5; echo on"), "on\n");
}

/// FWD-32 and point P3: what 100,000 channels leave behind is bounded.
#[test]
fn a_hundred_thousand_channels_leave_little_behind() {
    const ALL: usize = 100_000;
    const FIRST: usize = 5_000;
    let node = Node::start();
    at_path(&node.path("far"), |mut stream: UnixStream| stream.write_all(b"x").unwrap_or_default());
    let (_client, near) = local_forward(&node, &node.path("far").display().to_string());
    let run = |count: usize| {
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while next.fetch_add(1, SeqCst) < count {
                        let mut back = Vec::new();
                        UnixStream::connect(&near).unwrap().read_to_end(&mut back).unwrap();
                        assert_eq!(back, b"x");
                        // It keeps a line for each of them.
                        node.audit.clear();
                    }
                });
            }
        });
    };
    run(FIRST);
    let before = resident_bytes();
    run(ALL - FIRST);
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more");
    assert_eq!(node.sessions.list().len(), 1, "on one connection");
}

fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
