//! Sessions that come and go in every way: nothing of them stays.

use std::{
    process::{Child, Stdio},
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use crate::{
    node::{Client, Node, wait_for},
    targets::{at_path, echo},
};

/// Sessions of an ordinary run; `cargo xtask soak ssh` has more.
const SESSIONS: u64 = 60;
/// Clients at a time.
const AT_A_TIME: u64 = 6;

/// What is counted before and after.
#[derive(Debug, PartialEq, Eq)]
struct Counts {
    tasks: usize,
    descriptors: usize,
    children: usize,
}

fn counts(node: &Node) -> Counts {
    let lines = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let own = std::process::id();
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let children = threads.map(|thread| {
        let list = lines(&format!("/proc/{own}/task/{}/children", thread.file_name().to_string_lossy()));
        list.split_whitespace().count()
    });
    Counts {
        tasks: node.runtime.metrics().num_alive_tasks(),
        descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count(),
        children: children.sum(),
    }
}

/// One client that does something and goes, or is cut off in the midst of it.
fn visit(node: &Node, number: u64) {
    // Spread by a multiplicative hash, so that every kind meets every moment.
    let chance = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    let far = node.path("far").display().to_string();
    let near = node.path(&format!("near{number}")).display().to_string();
    let (forward, back) = (format!("{near}:{far}"), format!("{near}.back:{far}"));
    let (options, command): (Vec<&str>, &str) = match number % 8 {
        0 => (vec![], "true"),
        1 => (vec![], "head -c 3000000 /dev/zero"),
        2 => (vec![], "trap '' HUP; while :; do sleep 0.2; done"),
        3 => (vec!["-tt"], "cat /dev/zero"),
        4 => (vec!["-N", "-L", &forward, "-R", &back], ""),
        5 => (vec![], "sleep 60 & exec cat /dev/zero"),
        6 => (vec!["-tt"], ""),
        _ => (vec!["-o", "RekeyLimit=16K"], "head -c 500000 /dev/zero"),
    };
    let mut ssh = node.ssh(&options, command);
    let client = Client(ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    if number % 8 == 4 {
        thread::park_timeout(Duration::from_millis(chance % 200));
        // It may not be there yet.
        let _ = std::os::unix::net::UnixStream::connect(&near)
            .map(|mut stream| std::io::Write::write_all(&mut stream, b"x"));
    }
    leave(client, Duration::from_millis(chance % 600));
}

/// Ends the client after a while, whatever it is doing.
fn leave(mut client: Client, after: Duration) {
    let begin = Instant::now();
    let ended = |child: &mut Child| child.try_wait().unwrap().is_some();
    while begin.elapsed() < after && !ended(&mut client.0) {
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// FWD-40, SSH-41: no task, descriptor or child is left of sessions that came and went in every way.
#[test]
fn sessions_come_and_go_without_a_trace() {
    let sessions = std::env::var("ALKNET_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SESSIONS);
    let first: u64 = std::env::var("ALKNET_FIRST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let node = Node::start();
    at_path(&node.path("far"), echo);
    // What is made once, is made before the count.
    (0..8).for_each(|kind| visit(&node, kind));
    wait_for("the first to leave", || node.sessions.list().is_empty());
    wait_for("their tasks to end", || counts(&node).children == 0);
    let before = settled(&node);
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, SeqCst);
                    if number >= sessions {
                        return;
                    }
                    visit(&node, first.wrapping_add(number));
                }
            });
        }
    });
    wait_for("all to leave", || node.sessions.list().is_empty());
    let mut now = counts(&node);
    let end = Instant::now() + Duration::from_secs(20);
    while now != before {
        assert!(Instant::now() < end, "before {before:?}, after {now:?}, from number {first} on");
        thread::park_timeout(Duration::from_millis(50));
        now = counts(&node);
    }
}

/// The tasks of a node without clients, once all that is made once is there.
pub fn tasks_of(node: &Node) -> usize {
    node.text(&[], "true");
    wait_for("the visitor to leave", || node.sessions.list().is_empty());
    settled(node).tasks
}

/// The counts, once they do not change any more.
fn settled(node: &Node) -> Counts {
    let mut last = counts(node);
    loop {
        thread::park_timeout(Duration::from_millis(1500));
        let now = counts(node);
        if now == last {
            return now;
        }
        last = now;
    }
}
